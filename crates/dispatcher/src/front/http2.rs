//! Visitors' connections that speak HTTP/2 (RFC 9113). A stream becomes a request of HTTP/1.1 (`message`), which is what the
//! rest of the front and the pods know. The library limits most of what a client may cost it; the rest is limited in `wire`.

mod budget;
mod frames;
mod message;
mod streams;
mod wire;

pub(crate) use message::Accept;
pub(crate) use streams::Open;

use crate::config::Config;
use crate::front::Dispatcher;
use crate::front::forward::body::{Holding, ResponseBody};
use crate::front::framed_socket::ConnectionPermit;
use crate::io::Socket;
use crate::io::throttle::Throttle;
use crate::metrics::{self, http2::Ended};
use crate::shell::stopped;
use http::{Request, Response, Version};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper::upgrade::Upgraded;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use message::{Asked, Refusal, into_http1, into_http2};
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use streams::Streams;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use wire::{Verdict, Wire};

/// The most of a window (RFC 9113 §6.9.1).
const WINDOW: u32 = (1 << 31) - 1;
/// The bytes of a stream's response that the library keeps for a slow reader, before it asks for more; and the most that is
/// written to a WebSocket at once.
const SEND_BUFFER: usize = 64 * 1024;
const PORTION: usize = 16 * 1024;
/// Streams that a client has cancelled before the library has accepted them (CVE-2023-44487); more end the connection.
const CANCELLED: usize = 20;
/// Streams that were reset here because of the client's errors (CVE-2025-8671), over the connection's life.
const RESET_HERE: usize = 1024;
/// How long a client without streams has to confirm the end of its connection.
const LAST_WORDS: Duration = Duration::from_secs(2);

static FLOODS: Throttle = Throttle::new();

/// The HTTP library, configured with our limits. It also limits the frames of one head (CONTINUATION floods, CVE-2024-27316)
/// by the size of the head, and small or empty DATA frames by themselves.
fn http(config: &Config) -> http2::Builder<TokioExecutor> {
    let own = &config.http2;
    let mut http = http2::Builder::new(TokioExecutor::new());
    http.timer(TokioTimer::new())
        .max_concurrent_streams(own.streams)
        .max_header_list_size(u32::try_from(config.limits.header_bytes).unwrap_or(u32::MAX))
        .initial_stream_window_size(own.window)
        // Streams whose data is not read do not use up the window of the others.
        .initial_connection_window_size(own.window.saturating_mul(own.streams).min(WINDOW))
        .max_send_buf_size(SEND_BUFFER)
        .max_pending_accept_reset_streams(CANCELLED)
        .max_local_error_reset_streams(RESET_HERE)
        .keep_alive_interval(own.ping);
    if let Some(ping) = own.ping {
        http.keep_alive_timeout(ping);
    }
    if own.websockets {
        http.enable_connect_protocol();
    }
    http
}

/// Serves one connection: its requests, at the same time. `permit`: that of this connection.
pub(super) async fn serve<F>(
    dispatcher: &Arc<Dispatcher>,
    socket: Socket,
    peer: SocketAddr,
    permit: ConnectionPermit,
    respond: impl Fn(Request<Incoming>) -> F + Clone,
) where
    F: Future<Output = Response<ResponseBody>> + Send + 'static,
{
    let _permit = permit;
    let figures = &dispatcher.metrics.process.http;
    let open_connection = metrics::Counted::one(&figures.connections);
    let (verdict, streams) = (Verdict::default(), Arc::<Streams>::default());
    let wire = Wire::new(socket, &dispatcher.config.limits, figures, verdict.clone());
    let service = service_fn(|mut request: Request<Incoming>| {
        figures.request(Version::HTTP_2);
        let open = Open::new(&streams);
        let key = || dispatcher.ids.draw128().ok();
        let answered = into_http1(&mut request, key, dispatcher.config.limits.header_fields).map(|asked| {
            if asked == Asked::WebSocket {
                request.extensions_mut().insert(open.clone());
            }
            (asked, respond(request))
        });
        async move {
            let (asked, response) = match answered {
                Ok((asked, responded)) => (asked, responded.await),
                Err(refusal) => (Asked::Content, refused(refusal)),
            };
            Ok::<_, Infallible>(into_http2(response, asked).map(|body| Holding::new(body, open)))
        }
    });
    let mut connection = pin!(http(&dispatcher.config).serve_connection(TokioIo::new(wire), service));
    let mut stopping = dispatcher.stopping.clone();
    let idle = dispatcher.config.limits.idle;
    let ended = tokio::select! {
        biased;
        ended = connection.as_mut() => Ok(ended),
        () = stopped(&mut stopping) => Err(Ended::Closed),
        () = streams.none_for(idle) => Err(Ended::Idle),
    };
    let (why, error) = match ended {
        Ok(Ok(())) => (Ended::Closed, None),
        Ok(Err(error)) => (Ended::Error, Some(error)),
        Err(why) => {
            // GOAWAY: streams that have begun may finish.
            connection.as_mut().graceful_shutdown();
            let ended = tokio::select! {
                biased;
                ended = connection.as_mut() => ended,
                () = streams.none_for(LAST_WORDS) => Ok(()),
            };
            (why, ended.err())
        }
    };
    drop(open_connection);
    let why = verdict.get().copied().unwrap_or(why);
    figures.ended(why);
    log(why, peer, error);
}

fn log(why: Ended, peer: SocketAddr, error: Option<hyper::Error>) {
    let word = why.word();
    if let (Ended::Flood | Ended::Resets, Some(times)) = (why, FLOODS.note()) {
        let peer = peer.ip();
        tracing::info!(%peer, why = word, times, "HTTP/2 connection closed: too many frames without use, or too many requests cancelled");
    }
    match error {
        Some(error) => tracing::debug!(why = word, "HTTP/2 connection ended: {error}"),
        None => tracing::debug!(why = word, "HTTP/2 connection ended"),
    }
}

fn refused(refusal: Refusal) -> Response<ResponseBody> {
    tracing::debug!(status = refusal.status.as_u16(), "request refused: {}", refusal.why);
    let mut response = Response::new(ResponseBody::Empty);
    *response.status_mut() = refusal.status;
    response
}

/// The stream of a WebSocket. The library copies and keeps some writes until the client accepts them, so each is small.
pub(super) struct WebSocket(TokioIo<Upgraded>);

impl WebSocket {
    pub(super) fn new(upgraded: Upgraded) -> WebSocket {
        WebSocket(TokioIo::new(upgraded))
    }
}

impl AsyncRead for WebSocket {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for WebSocket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, &buf[..buf.len().min(PORTION)])
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
