//! The dispatchers' sockets on the simulated network. Every write of a dispatcher to a pod is checked (laws 4 and 5).
//! Turmoil's TCP neither retransmits nor notices that a peer has died, so `Connections` breaks connections that real
//! TCP would give up (keep-alive), or that have lost bytes.

use super::kube::Kube;
use super::oracle::Oracle;
use super::stall::Gate;
use super::window::{Windowed, Windows};
use slotkeeper::io::{BoxFuture, Io, Listener, Net, Socket};
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use turmoil::net::{TcpListener, TcpStream};

/// The sockets of dispatcher `host`.
pub struct SimNet {
    pub host: usize,
    pub oracle: Oracle,
    pub connections: Connections,
    /// Knows the current owners of the pods' addresses.
    pub kube: Kube,
    /// The checks of the second pool.
    pub annex: Option<Oracle>,
    /// Blocks all traffic while the process is stopped.
    pub gate: Gate,
}

/// All open connections of dispatchers.
#[derive(Clone)]
pub struct Connections {
    table: Arc<Mutex<Table>>,
    windows: Windows,
}

#[derive(Default)]
struct Table {
    next: u64,
    open: BTreeMap<u64, Ends>,
}

struct Ends {
    local: IpAddr,
    remote: IpAddr,
    broken: bool,
    waiting: [Option<Waker>; 2],
}

impl Connections {
    #[must_use]
    pub fn new(windows: Windows) -> Connections {
        Connections { table: Arc::default(), windows }
    }

    fn locked(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Resets every open connection between these two addresses.
    pub fn reset(&self, a: IpAddr, b: IpAddr) {
        for ends in self.locked().open.values_mut() {
            if (ends.local, ends.remote) == (a, b) || (ends.local, ends.remote) == (b, a) {
                ends.broken = true;
                ends.waiting.iter_mut().filter_map(Option::take).for_each(Waker::wake);
            }
        }
    }

    /// Registers a connection to a dispatcher from another component.
    pub fn keep(&self, stream: TcpStream) -> io::Result<Socket> {
        Ok(Socket::Other(Box::new(Kept::new(stream, self, None)?)))
    }

    fn add(&self, stream: &Windowed) -> u64 {
        let (local, remote) = stream.ends();
        let (local, remote) = (local.ip(), remote.ip());
        let mut table = self.locked();
        table.next += 1;
        let id = table.next;
        table.open.insert(id, Ends { local, remote, broken: false, waiting: [None, None] });
        id
    }

    /// `side`: 0 reads, 1 writes.
    fn check(&self, id: u64, side: usize, cx: &Context<'_>) -> io::Result<()> {
        let mut table = self.locked();
        let Some(ends) = table.open.get_mut(&id) else { return Ok(()) };
        if ends.broken {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        ends.waiting[side] = Some(cx.waker().clone());
        Ok(())
    }

    fn remove(&self, id: u64) {
        self.locked().open.remove(&id);
    }
}

/// A registered connection.
struct Kept {
    stream: Windowed,
    id: u64,
    connections: Connections,
    /// The gate of the process at this end.
    gate: Option<Gate>,
}

impl Kept {
    fn new(stream: TcpStream, connections: &Connections, gate: Option<Gate>) -> io::Result<Kept> {
        let stream = connections.windows.open(stream)?;
        Ok(Kept { id: connections.add(&stream), stream, connections: connections.clone(), gate })
    }

    fn poll_open(&self, cx: &Context<'_>) -> Poll<()> {
        self.gate.as_ref().map_or(Poll::Ready(()), |gate| gate.poll_open(cx))
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.connections.remove(self.id);
    }
}

impl AsyncRead for Kept {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_open(cx));
        self.connections.check(self.id, 0, cx)?;
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Kept {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_open(cx));
        self.connections.check(self.id, 1, cx)?;
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl Net for SimNet {
    fn listen(&self, at: SocketAddr) -> BoxFuture<'_, io::Result<Box<dyn Listener>>> {
        Box::pin(async move {
            let listener = TcpListener::bind(at).await?;
            let address = listener.local_addr()?;
            let (connections, gate, oracle) = (self.connections.clone(), self.gate.clone(), self.oracle.clone());
            let backlog = VecDeque::new();
            Ok(Box::new(SimListener { listener, address, connections, gate, oracle, backlog }) as Box<dyn Listener>)
        })
    }

    fn dial(&self, to: SocketAddr) -> BoxFuture<'_, io::Result<Socket>> {
        Box::pin(async move {
            self.gate.open().await;
            if self.gate.is_exhausted() {
                return Err(no_descriptors(&self.oracle));
            }
            let pod = self.kube.route(to);
            let stream = TcpStream::connect(pod.unwrap_or(to)).await?;
            let stream = Kept::new(stream, &self.connections, Some(self.gate.clone()))?;
            let annex = self.annex.as_ref().filter(|annex| annex.has_pod_at(to));
            let (to, oracle) = match (pod, annex) {
                (Some(pod), _) => (pod, &self.oracle),
                (None, Some(annex)) => (to, annex),
                (None, None) => return Ok(Socket::Other(Box::new(stream))),
            };
            let watched = Watched { stream, to, host: self.host, oracle: oracle.clone(), session: None };
            Ok(Socket::Other(Box::new(watched)))
        })
    }

    fn resolve<'a>(&'a self, host_port: &'a str) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        Box::pin(async move { host_port.parse().map(|a| vec![a]).map_err(io::Error::other) })
    }
}

struct SimListener {
    listener: TcpListener,
    address: SocketAddr,
    connections: Connections,
    gate: Gate,
    oracle: Oracle,
    /// Connected, but not accepted for lack of a descriptor.
    backlog: VecDeque<(TcpStream, SocketAddr)>,
}

/// `EMFILE`
fn no_descriptors(oracle: &Oracle) -> io::Error {
    oracle.count("no descriptor left");
    io::Error::from_raw_os_error(24)
}

impl Listener for SimListener {
    fn accept(&mut self) -> BoxFuture<'_, io::Result<(Socket, SocketAddr)>> {
        Box::pin(async move {
            self.gate.open().await;
            if self.backlog.is_empty() {
                let next = self.listener.accept().await?;
                self.backlog.push_back(next);
                self.gate.open().await;
            }
            if self.gate.is_exhausted() {
                return Err(no_descriptors(&self.oracle));
            }
            let (stream, peer) = self.backlog.pop_front().ok_or(io::ErrorKind::WouldBlock)?;
            let kept = Kept::new(stream, &self.connections, Some(self.gate.clone()))?;
            Ok((Socket::Other(Box::new(kept) as Box<dyn Io>), peer))
        })
    }

    fn address(&self) -> SocketAddr {
        self.address
    }
}

/// A connection from a dispatcher to a pod: the head of the last request names the session.
struct Watched {
    stream: Kept,
    to: SocketAddr,
    host: usize,
    oracle: Oracle,
    session: Option<String>,
}

const NAMES: &[u8] = b"x-session-id: ";

impl Watched {
    fn look(&mut self, bytes: &[u8]) {
        // The methods that visitors of these worlds use.
        if [&b"GET "[..], b"POST "].iter().any(|method| bytes.starts_with(method)) {
            let at = bytes.windows(NAMES.len()).position(|w| w.eq_ignore_ascii_case(NAMES));
            let name = at.and_then(|at| bytes.get(at + NAMES.len()..at + NAMES.len() + 32));
            self.session = name.map(|n| String::from_utf8_lossy(n).into_owned());
        }
        match &self.session {
            Some(session) => self.oracle.egress(self.host, self.to, session),
            None => self.oracle.violate("attach, then forward", "bytes go to a pod, and their session is unknown"),
        }
    }
}

impl AsyncRead for Watched {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        if let Poll::Ready(Ok(n)) = written {
            self.look(&buf[..n]);
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
