//! A dispatcher that speaks HTTP/2 without TLS on a network in memory (so that time can be paused), one pod that speaks
//! HTTP/1.1, and clients: the libraries'.

use crate::memory_dispatcher::{ADMIN, MemoryDispatcher};
use crate::memory_net::MemoryNet;
use base64::Engine as _;
use bytes::Bytes;
use futures_util::StreamExt as _;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::client::conn::http2::SendRequest;
use hyper::ext::Protocol;
use hyper::service::service_fn;
use hyper::upgrade::Upgraded;
use hyper_util::rt::{TokioExecutor, TokioIo};
use sha1::{Digest as _, Sha1};
use slotkeeper::config::parse;
use slotkeeper::io::{Listener, Net as _};
use std::convert::Infallible;
use std::ops::Deref;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::AsyncWriteExt as _;

pub(super) const AT: &str = "10.0.0.1:82";
pub(super) const PLAIN: &str = "10.0.0.1:80";
const POD: &str = "10.0.0.9:80";

/// Observations of the pod.
#[derive(Default)]
pub(super) struct Seen {
    /// The heads of its requests.
    pub(super) heads: Mutex<Vec<String>>,
    /// Bytes of `/big` that have been accepted from it.
    pub(super) sent: AtomicU64,
    /// Bodies of `/never` that were dropped.
    pub(super) cancelled: AtomicU64,
    /// Bodies sent to `/body` that were complete, and those that broke off.
    pub(super) whole: AtomicU64,
    pub(super) broken: AtomicU64,
}

impl Seen {
    pub(super) fn requests(&self) -> usize {
        self.heads.lock().unwrap().len()
    }
}

type Body = BoxBody<Bytes, hyper::Error>;

fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed()
}

fn empty() -> Body {
    full("")
}

/// Dropped when the request is.
struct Pending(Arc<Seen>);

impl Drop for Pending {
    fn drop(&mut self) {
        self.0.cancelled.fetch_add(1, Ordering::Relaxed);
    }
}

fn head_of(request: &Request<Incoming>) -> String {
    let mut head = format!("{} {} {:?}\r\n", request.method(), request.uri(), request.version());
    for (name, value) in request.headers() {
        head.push_str(&format!("{name}: {}\r\n", value.to_str().unwrap_or("?")));
    }
    head
}

async fn answer(mut request: Request<Incoming>, seen: Arc<Seen>) -> Response<Body> {
    let head = head_of(&request);
    seen.heads.lock().unwrap().push(head.clone());
    let path = request.uri().path().to_owned();
    match path.as_str() {
        // The request's body and trailers.
        "/echo" => {
            let answer = Response::builder().header("trailer", "x-check, grpc-status");
            answer.body(request.into_body().boxed()).unwrap()
        }
        "/body" => {
            let is_whole = request.into_body().collect().await.is_ok();
            (if is_whole { &seen.whole } else { &seen.broken }).fetch_add(1, Ordering::Relaxed);
            Response::new(full("read"))
        }
        // As long as anything is accepted.
        "/big" => {
            let chunks = futures_util::stream::repeat_with(move || {
                seen.sent.fetch_add(16 * 1024, Ordering::Relaxed);
                Ok(Frame::data(Bytes::from_static(&[b'x'; 16 * 1024])))
            });
            Response::new(BodyExt::boxed(StreamBody::new(chunks)))
        }
        // Never, and reads no body.
        "/never" => {
            let _pending = Pending(seen);
            std::future::pending().await
        }
        "/later" => {
            tokio::time::sleep(Duration::from_secs(3)).await;
            Response::new(full("later"))
        }
        path if path.starts_with("/ws") => socket(&mut request, path),
        _ => Response::new(full(head)),
    }
}

fn socket(request: &mut Request<Incoming>, path: &str) -> Response<Body> {
    match path {
        "/ws-none" => return Response::new(full("not a WebSocket")),
        "/ws-refused" => return Response::builder().status(403).body(full("not you")).unwrap(),
        _ => {}
    }
    let key = request.headers()["sec-websocket-key"].to_str().unwrap();
    let digest = Sha1::new().chain_update(key).chain_update("258EAFA5-E914-47DA-95CA-C5AB0DC85B11").finalize();
    let mut accept = base64::engine::general_purpose::STANDARD.encode(digest);
    if path == "/ws-wrong" {
        accept = accept.chars().rev().collect();
    }
    let upgrade = if path == "/ws-other" { "echo" } else { "websocket" };
    let mut response = Response::builder().status(101).header("upgrade", upgrade).header("connection", "upgrade");
    response = response.header("sec-websocket-accept", accept);
    if let Some(offered) = request.headers().get("sec-websocket-protocol") {
        let chosen = offered.to_str().unwrap().split(", ").last().unwrap().to_owned();
        response = response.header("sec-websocket-protocol", chosen);
    }
    if let Some(offered) = request.headers().get("sec-websocket-extensions") {
        response = response.header("sec-websocket-extensions", offered);
    }
    let upgraded = hyper::upgrade::on(request);
    tokio::spawn(async move {
        let (mut read, mut write) = tokio::io::split(TokioIo::new(upgraded.await.unwrap()));
        let _ = tokio::io::copy(&mut read, &mut write).await;
        let _ = write.shutdown().await;
    });
    response.body(empty()).unwrap()
}

async fn pod(mut listener: Box<dyn Listener>, seen: Arc<Seen>) {
    while let Ok((stream, _)) = listener.accept().await {
        let seen = seen.clone();
        let service = service_fn(move |request| {
            let seen = seen.clone();
            async move { Ok::<_, Infallible>(answer(request, seen).await) }
        });
        tokio::spawn(async move {
            let mut http = hyper::server::conn::http1::Builder::new();
            http.timer(hyper_util::rt::TokioTimer::new());
            let _ = http.serve_connection(TokioIo::new(stream), service).with_upgrades().await;
        });
    }
}

pub(super) struct Rig {
    dispatcher: MemoryDispatcher,
    pub(super) seen: Arc<Seen>,
}

impl Deref for Rig {
    type Target = MemoryDispatcher;

    fn deref(&self) -> &MemoryDispatcher {
        &self.dispatcher
    }
}

impl Rig {
    /// `http2`: settings of that table. `more`: other tables.
    pub(super) async fn start(http2: &str, more: &str) -> Rig {
        let pool = "[pools.a]\nadmission = 'immediate'\nslots_per_pod = 999";
        let pool = if more.contains("[pools.a]") { "" } else { pool };
        let text = format!(
            "listen = '{PLAIN}'\n[http2]\nlisten = '{AT}'\n{http2}\n[admin]\nlisten = '{ADMIN}'\n[journal]\nat = 'memory'\n\
             {more}\n{pool}\n[pools.a.fixed]\npods = ['{POD}']\n"
        );
        let config = parse(&text, "file", Path::new("")).unwrap_or_else(|error| panic!("{error}"));
        let (memory, seen) = (MemoryNet::default(), Arc::<Seen>::default());
        tokio::spawn(pod(memory.listen(POD.parse().unwrap()).await.unwrap(), seen.clone()));
        let dispatcher = MemoryDispatcher::start(config, &memory).await;
        assert_eq!(dispatcher.at.http2, [AT.parse().unwrap()]);
        Rig { dispatcher, seen }
    }

    pub(super) fn stop(&mut self) {
        self.dispatcher.stop();
    }

    pub(super) async fn ended(self) {
        self.dispatcher.ended().await;
    }

    /// The value of one series of the dispatcher's metrics.
    pub(super) async fn metric(&self, series: &str) -> f64 {
        self.dispatcher.metric(series).await.unwrap_or_else(|| panic!("no {series}"))
    }

    /// Waits until a metric has this value.
    pub(super) async fn shows(&self, series: &str, expected: f64) {
        for _ in 0..1000 {
            if self.metric(series).await == expected {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{series}: {}, not {expected}", self.metric(series).await);
    }

    pub(super) async fn ends(&self, why: &str, times: f64) {
        let series = format!("slotkeeper_http2_connections_ended_total{{why=\"{why}\"}}");
        for _ in 0..1000 {
            if self.metric(&series).await == times {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let all = self.admin("/metrics").await;
        let all: Vec<&str> = all.lines().filter(|line| line.starts_with("slotkeeper_http2_")).collect();
        panic!("{why}, {times}: {}", all.join("\n"));
    }

    /// A client of the library.
    pub(super) async fn client(&self) -> SendRequest<Body> {
        let io = TokioIo::new(self.dial(AT).await);
        let (sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
        tokio::spawn(connection);
        sender
    }

    /// ... which accepts little of each response before it is read.
    pub(super) async fn h2(&self, window: u32) -> h2::client::SendRequest<Bytes> {
        let mut builder = h2::client::Builder::new();
        builder.initial_window_size(window).initial_connection_window_size(1 << 24);
        let (sender, connection) = builder.handshake(self.dial(AT).await).await.unwrap();
        tokio::spawn(connection);
        sender
    }
}

pub(super) fn get(path: &str) -> http::request::Builder {
    Request::get(format!("http://play.example{path}"))
}

pub(super) fn bare(request: http::request::Builder) -> Request<Body> {
    request.body(empty()).unwrap()
}

pub(super) async fn text(response: Response<Incoming>) -> String {
    String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

/// Requests a path, and returns the status and body.
pub(super) async fn fetch(sender: &mut SendRequest<Body>, path: &str) -> (StatusCode, String) {
    let response = sender.send_request(bare(get(path))).await.unwrap();
    (response.status(), text(response).await)
}

/// Begins a session, and returns its cookie.
pub(super) async fn cookie(sender: &mut SendRequest<Body>) -> String {
    let response = sender.send_request(bare(get("/a"))).await.unwrap();
    let cookie = response.headers()["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned();
    text(response).await;
    cookie
}

pub(super) type WebSocket = TokioIo<Upgraded>;

/// Opens a WebSocket (RFC 8441).
pub(super) async fn open(
    sender: &mut SendRequest<Body>,
    path: &str,
    fields: &[(&str, &str)],
) -> Result<(WebSocket, HeaderMap), (StatusCode, String)> {
    let mut request = get(path).method(Method::CONNECT).header("sec-websocket-version", "13");
    request = request.extension(Protocol::from_static("websocket"));
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    let response = sender.send_request(bare(request)).await.unwrap();
    if response.status() != StatusCode::OK {
        return Err((response.status(), text(response).await));
    }
    let fields = response.headers().clone();
    Ok((TokioIo::new(hyper::upgrade::on(response).await.unwrap()), fields))
}

/// A client's frame, with the mask 0.
pub(super) fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x80 | opcode, 0xfe];
    frame.extend(u16::try_from(payload.len()).unwrap().to_be_bytes());
    frame.extend([0; 4]);
    frame.extend(payload);
    frame
}

pub(super) fn stream_body<S>(stream: S) -> Body
where
    S: futures_util::Stream<Item = Frame<Bytes>> + Send + Sync + 'static,
{
    BodyExt::boxed(StreamBody::new(stream.map(Ok::<_, hyper::Error>)))
}

pub(super) fn without_body() -> Request<()> {
    get("/big").body(()).unwrap()
}
