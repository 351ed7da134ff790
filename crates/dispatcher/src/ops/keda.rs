//! KEDA's external scaler (`scaling = "keda-push"`): the listener, its connections, and the dispatch of calls. The answers
//! are in `keda/answers.rs`, the push stream in `keda/pushes.rs`; `keda/externalscaler.proto` is the protocol.

mod answers;
pub mod messages;
mod pushes;

pub use answers::METRIC;
pub use pushes::REPEAT;

use self::answers::Scaler;
use self::messages::{GetMetricsRequest, ScaledObjectRef};
use crate::front::{Dispatcher, Pool};
use crate::io::listener::{Connection, Limit, Secured, Serving};
use crate::io::{Listener, Socket};
use crate::metrics::labels::SCALER_METHODS;
use crate::shell::stopped;
use http::{Request, Response, StatusCode, header};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use std::convert::Infallible;
use std::future::{Ready, ready};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::body::Body;
use tonic::server::Grpc;
use tonic::{Code, Status};
use tonic_prost::ProstCodec;

/// The gRPC service that KEDA calls.
pub const SERVICE: &str = "externalscaler.ExternalScaler";
/// Maximum of concurrent connections. Each replica of KEDA has one.
const CONNECTIONS: usize = 64;
/// Maximum of concurrent calls on one connection.
const CALLS: u32 = 256;
/// Maximum size of a request in bytes. KEDA's have a few hundred.
const REQUEST: usize = 16 * 1024;
const HEADERS: u32 = 16 * 1024;
/// How long a client may take to send the beginning of a connection, or a request.
const PATIENCE: Duration = Duration::from_secs(10);
/// A connection is pinged this often, and must answer within `PATIENCE`.
const KEEP_ALIVE: Duration = Duration::from_secs(30);
/// When the dispatcher stops: how long the streams may take to end.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// The first bytes of every HTTP/2 connection (RFC 9113 §3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const WRONG_PROTOCOL: &str = "HTTP/1.1 505 HTTP Version Not Supported\r\nconnection: close\r\n\
                              content-type: text/plain\r\ncontent-length: 41\r\n\r\nthis port is KEDA's: it speaks only gRPC\n";

/// Serves KEDA until the dispatcher stops; then the streams end, and new connections are refused.
pub(crate) async fn open(dispatcher: Arc<Dispatcher>, listener: Box<dyn Listener>, tls: Option<Secured>) {
    let errors = dispatcher.metrics.process.accept_errors("keda");
    let serving = Serving { listener, of: "keda", errors, proxied: None, tls, last: LAST_WORDS };
    let mut stopping = dispatcher.stopping.clone();
    let scaler = Arc::new(Scaler::new(dispatcher));
    let current = scaler.clone();
    let stop = async {
        tokio::select! {
            biased;
            () = stopped(&mut stopping) => {}
            () = current.keep_current() => {}
        }
    };
    let limit = Few(Arc::new(Semaphore::new(CONNECTIONS)));
    serving.run(stop, limit, move |connection, permit| serve(scaler.clone(), connection, permit)).await;
}

/// Beyond the limit a connection is refused at once: for KEDA a slow answer is worse than a fast failure.
struct Few(Arc<Semaphore>);

impl Limit for Few {
    type Permit = OwnedSemaphorePermit;

    fn permit(&mut self, _: SocketAddr) -> Option<OwnedSemaphorePermit> {
        self.0.clone().try_acquire_owned().ok()
    }
}

async fn serve(scaler: Arc<Scaler>, connection: Connection, _permit: OwnedSemaphorePermit) {
    let Connection { socket, since, .. } = connection;
    let Ok(begun) = tokio::time::timeout_at(since + PATIENCE, begin(socket)).await else { return };
    let Ok(stream) = begun.inspect_err(|error| tracing::debug!("connection from KEDA failed: {error}")) else { return };
    let mut stopping = scaler.dispatcher.stopping.clone();
    let service = service_fn(move |request| {
        let scaler = scaler.clone();
        async move { Ok::<_, Infallible>(answer(&scaler, request).await) }
    });
    // The preface has been consumed already, so it is put in front of the stream again.
    let (reading, writing) = tokio::io::split(stream);
    let io = TokioIo::new(tokio::io::join(PREFACE.chain(reading), writing));
    let connection = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(PATIENCE)
        .max_concurrent_streams(CALLS)
        .max_header_list_size(HEADERS)
        .auto_date_header(false)
        .serve_connection(io, service);
    tokio::pin!(connection);
    let ended = tokio::select! {
        biased;
        ended = connection.as_mut() => ended,
        () = stopped(&mut stopping) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!("connection from KEDA ended: {error}");
    }
}

/// Reads the connection preface of HTTP/2, with a timeout set by the caller: the library would wait for it forever.
async fn begin(mut stream: Socket) -> io::Result<Socket> {
    let mut read = 0;
    let mut first = [0; PREFACE.len()];
    while let Some(rest) = first.get_mut(read..).filter(|rest| !rest.is_empty()) {
        let more = stream.read(rest).await?;
        read += more;
        if more == 0 || !PREFACE.starts_with(first.get(..read).unwrap_or_default()) {
            if more > 0 && first[0].is_ascii_uppercase() {
                stream.write_all(WRONG_PROTOCOL.as_bytes()).await?;
                stream.shutdown().await?;
                // The rest of the request is read, too: a client that is still sending may not read the answer otherwise.
                tokio::io::copy(&mut stream.take(REQUEST as u64), &mut tokio::io::sink()).await?;
            }
            return Err(io::Error::new(io::ErrorKind::InvalidData, "this is not HTTP/2"));
        }
    }
    Ok(stream)
}

async fn answer(scaler: &Arc<Scaler>, request: Request<Incoming>) -> Response<Body> {
    let is_grpc =
        request.headers().get(header::CONTENT_TYPE).is_some_and(|v| v.as_bytes().starts_with(b"application/grpc"));
    if !is_grpc {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::UNSUPPORTED_MEDIA_TYPE;
        return response;
    }
    let own = request.uri().path().strip_prefix('/').and_then(|path| path.strip_prefix(SERVICE)?.strip_prefix('/'));
    let method = SCALER_METHODS.iter().find(|method| Some(**method) == own).copied().unwrap_or("other");
    let mut asked = None;
    let answered = tokio::time::timeout(PATIENCE, call(scaler, method, request, &mut asked)).await;
    let response =
        answered.unwrap_or_else(|_| Status::deadline_exceeded("the request did not arrive in time").into_http());
    let pool = asked.as_ref().map_or("-", |p: &Arc<Pool>| &p.config.id.0);
    let code = Status::from_header_map(response.headers()).map_or(Code::Ok, |status| status.code());
    scaler.dispatcher.metrics.scaling.scaler_requests.with_label_values(&[pool, method, word(code)]).inc();
    response
}

/// Answers one call. `asked` is set to the pool that the call is about.
async fn call(
    scaler: &Arc<Scaler>,
    method: &str,
    request: Request<Incoming>,
    asked: &mut Option<Arc<Pool>>,
) -> Response<Body> {
    let mut pool = |asks: &ScaledObjectRef| -> Result<Arc<Pool>, Status> {
        let pool = scaler.pool(asks)?;
        *asked = Some(pool.clone());
        Ok(pool.clone())
    };
    match method {
        "IsActive" => {
            let call = Call(|asks: ScaledObjectRef| pool(&asks).and_then(|pool| scaler.is_active(&pool)));
            Grpc::new(ProstCodec::default()).max_decoding_message_size(REQUEST).unary(call, request).await
        }
        "GetMetricSpec" => {
            let call = Call(|asks: ScaledObjectRef| pool(&asks).map(|_| Scaler::spec()));
            Grpc::new(ProstCodec::default()).max_decoding_message_size(REQUEST).unary(call, request).await
        }
        "GetMetrics" => {
            let call = Call(|asks: GetMetricsRequest| {
                let pool = pool(asks.scaled_object_ref.as_ref().unwrap_or(&ScaledObjectRef::default()))?;
                scaler.metrics(&pool, &asks)
            });
            Grpc::new(ProstCodec::default()).max_decoding_message_size(REQUEST).unary(call, request).await
        }
        "StreamIsActive" => {
            let call = Call(|asks: ScaledObjectRef| pushes::open(scaler.clone(), pool(&asks)?));
            Grpc::new(ProstCodec::default()).max_decoding_message_size(REQUEST).server_streaming(call, request).await
        }
        _ => Status::unimplemented(format!("there is only {SERVICE} with {}", SCALER_METHODS[..4].join(", ")))
            .into_http(),
    }
}

/// A call that is answered at once: its function is not async, so it cannot wait.
struct Call<F>(F);

impl<M, R, F: FnMut(M) -> Result<R, Status>> tower::Service<tonic::Request<M>> for Call<F> {
    type Response = tonic::Response<R>;
    type Error = Status;
    type Future = Ready<Result<tonic::Response<R>, Status>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: tonic::Request<M>) -> Self::Future {
        ready((self.0)(request.into_inner()).map(tonic::Response::new))
    }
}

fn word(code: Code) -> &'static str {
    match code {
        Code::Ok => "ok",
        Code::Cancelled => "cancelled",
        Code::Unknown => "unknown",
        Code::InvalidArgument => "invalid_argument",
        Code::DeadlineExceeded => "deadline_exceeded",
        Code::NotFound => "not_found",
        Code::AlreadyExists => "already_exists",
        Code::PermissionDenied => "permission_denied",
        Code::ResourceExhausted => "resource_exhausted",
        Code::FailedPrecondition => "failed_precondition",
        Code::Aborted => "aborted",
        Code::OutOfRange => "out_of_range",
        Code::Unimplemented => "unimplemented",
        Code::Internal => "internal",
        Code::Unavailable => "unavailable",
        Code::DataLoss => "data_loss",
        Code::Unauthenticated => "unauthenticated",
    }
}
