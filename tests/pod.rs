//! An upstream pod inside the test: it runs a script, and records its requests.

use crate::patience::eventually;
use crate::wire::{Head, Wire};
use futures_util::{SinkExt, StreamExt};
use std::future::Future;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

pub type Socket = WebSocketStream<TcpStream>;

/// A request as a pod got it.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// The number of the pod's connection that carried it, from 0.
    pub connection: usize,
    pub head: Head,
    pub body: Vec<u8>,
    pub trailers: Vec<(String, String)>,
    /// True if the body was complete.
    pub whole: bool,
}

/// The requests that a pod got, in order.
#[derive(Clone, Debug, Default)]
pub struct Seen(Arc<Mutex<Vec<Request>>>);

impl Seen {
    pub fn note(&self, request: Request) {
        self.0.lock().expect("no panic").push(request);
    }

    #[must_use]
    pub fn all(&self) -> Vec<Request> {
        self.0.lock().expect("no panic").clone()
    }

    #[must_use]
    pub fn count(&self) -> usize {
        self.0.lock().expect("no panic").len()
    }

    /// # Panics
    /// If there was none.
    #[must_use]
    pub fn last(&self) -> Request {
        self.all().pop().expect("the pod got a request")
    }
}

pub struct Pod {
    pub address: SocketAddr,
    pub seen: Seen,
    /// The number of open connections.
    pub open: Arc<AtomicUsize>,
    /// True if a script has panicked.
    failed: Arc<AtomicBool>,
    task: AbortHandle,
}

impl Drop for Pod {
    fn drop(&mut self) {
        self.task.abort();
        let failed = self.failed.load(Ordering::Relaxed);
        assert!(!failed || std::thread::panicking(), "a script of the pod has failed, see above");
    }
}

impl Pod {
    /// A pod that runs the script on every connection. (The dispatcher's probes connect and close without sending anything.)
    pub async fn start<F, Done>(script: F) -> Pod
    where
        F: Fn(Wire, Seen) -> Done + Send + Sync + 'static,
        Done: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        Pod::at(listener, script)
    }

    /// As `start`, on a listener that exists already.
    pub fn at<F, Done>(listener: TcpListener, script: F) -> Pod
    where
        F: Fn(Wire, Seen) -> Done + Send + Sync + 'static,
        Done: Future<Output = ()> + Send + 'static,
    {
        let address = listener.local_addr().expect("an address");
        let (seen, open, failed) = (Seen::default(), Arc::<AtomicUsize>::default(), Arc::<AtomicBool>::default());
        let task = tokio::spawn({
            let (seen, open, failed) = (seen.clone(), open.clone(), failed.clone());
            async move {
                let mut connections = JoinSet::new();
                loop {
                    tokio::select! {
                        biased;
                        accepted = listener.accept() => {
                            let Ok((stream, _)) = accepted else { continue };
                            let done = script(Wire::over(stream), seen.clone());
                            let counted = Counted::new(&open);
                            connections.spawn(async move {
                                done.await;
                                drop(counted);
                            });
                        }
                        Some(ended) = connections.join_next() => {
                            failed.fetch_or(ended.is_err(), Ordering::Relaxed);
                        }
                    }
                }
            }
        });
        Pod { address, seen, open, failed, task: task.abort_handle() }
    }

    /// An HTTP server: reads each request to its end, and sends what `answer` returns.
    pub async fn answering(answer: impl Fn(&Request) -> Vec<u8> + Send + Sync + 'static) -> Pod {
        let (answer, connections) = (Arc::new(answer), AtomicUsize::new(0));
        Pod::start(move |mut wire, seen| {
            let (answer, connection) = (answer.clone(), connections.fetch_add(1, Ordering::Relaxed));
            async move {
                while let Some(head) = wire.head().await {
                    let request = read(&mut wire, head, connection).await;
                    let bytes = answer(&request);
                    seen.note(request);
                    wire.send(bytes).await;
                }
            }
        })
        .await
    }

    /// A pod that answers every request with its name, and echoes over WebSockets.
    pub async fn named(name: &str) -> Pod {
        let name = name.to_owned();
        Pod::start(move |mut wire, seen| {
            let name = name.clone();
            async move {
                while let Some(head) = wire.head().await {
                    if head.get("upgrade").is_some() {
                        seen.note(Request { head: head.clone(), ..Request::default() });
                        return echo(switch(wire, &head, "").await).await;
                    }
                    let request = read(&mut wire, head, 0).await;
                    let head_only = request.head.method() == "HEAD";
                    seen.note(request);
                    wire.send(if head_only { ok("") } else { ok(&name) }).await;
                }
            }
        })
        .await
    }

    /// A pod that runs the script on every WebSocket.
    pub async fn sockets<F, Done>(script: F) -> Pod
    where
        F: Fn(Socket) -> Done + Send + Sync + 'static,
        Done: Future<Output = ()> + Send + 'static,
    {
        let script = Arc::new(script);
        Pod::start(move |mut wire, seen| {
            let script = script.clone();
            async move {
                let Some(head) = wire.head().await else { return };
                seen.note(Request { head: head.clone(), ..Request::default() });
                script(switch(wire, &head, "").await).await;
            }
        })
        .await
    }

    /// Waits until no connection is open.
    pub async fn is_left_alone(&self) {
        eventually("the pod to be left alone", async || self.open.load(Ordering::Relaxed) == 0).await;
    }
}

struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn new(count: &Arc<AtomicUsize>) -> Counted {
        count.fetch_add(1, Ordering::Relaxed);
        Counted(count.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Reads the rest of a request.
pub async fn read(wire: &mut Wire, head: Head, connection: usize) -> Request {
    let body = wire.body(head.request_length()).await;
    Request { connection, head, body: body.bytes, trailers: body.trailers, whole: body.whole }
}

/// A plain `200` response.
#[must_use]
pub fn ok(body: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

/// Any other response.
#[must_use]
pub fn answer(status: &str, fields: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status}\r\n{fields}Content-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

/// The `101` to a WebSocket handshake, with more fields.
#[must_use]
pub fn switching(head: &Head, fields: &str) -> Vec<u8> {
    let key = derive_accept_key(head.get("sec-websocket-key").unwrap_or_default().as_bytes());
    let common = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n";
    format!("{common}Sec-WebSocket-Accept: {key}\r\n{fields}\r\n").into_bytes()
}

/// Accepts a WebSocket.
pub async fn switch(mut wire: Wire, head: &Head, fields: &str) -> Socket {
    wire.send(switching(head, fields)).await;
    socket(wire, Role::Server).await
}

/// The WebSocket on a connection whose handshake is over.
pub async fn socket(wire: Wire, role: Role) -> Socket {
    let (stream, early) = wire.into_parts();
    let config = WebSocketConfig::default().max_frame_size(None).max_message_size(None);
    WebSocketStream::from_partially_read(stream, early, role, Some(config)).await
}

/// Sends every message back, until the other side closes.
pub async fn echo(mut socket: Socket) {
    while let Some(Ok(message)) = socket.next().await {
        if (message.is_text() || message.is_binary()) && socket.send(message).await.is_err() {
            return;
        }
    }
}
