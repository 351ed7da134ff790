//! The dispatchers' sockets on the simulated network. What a dispatcher writes to a pod is looked at as it leaves (laws 4 and 5).

use super::truth::Truth;
use slotkeeper::outside::{BoxFuture, Io, Listener, Net, Stream};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use turmoil::net::{TcpListener, TcpStream};

/// The sockets of dispatcher `host`.
pub struct SimNet {
    pub host: usize,
    pub truth: Truth,
}

impl Net for SimNet {
    fn listen(&self, at: SocketAddr) -> BoxFuture<'_, io::Result<Box<dyn Listener>>> {
        Box::pin(async move {
            let listener = TcpListener::bind(at).await?;
            let address = listener.local_addr()?;
            Ok(Box::new(SimListener { listener, address }) as Box<dyn Listener>)
        })
    }

    fn dial(&self, to: SocketAddr) -> BoxFuture<'_, io::Result<Stream>> {
        Box::pin(async move {
            let stream = TcpStream::connect(to).await?;
            let watched =
                Watched { stream, to, host: self.host, truth: self.truth.clone(), session: None, line: Vec::new() };
            Ok(Stream::Other(Box::new(watched)))
        })
    }

    fn resolve<'a>(&'a self, host_port: &'a str) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        Box::pin(async move { host_port.parse().map(|a| vec![a]).map_err(io::Error::other) })
    }
}

struct SimListener {
    listener: TcpListener,
    address: SocketAddr,
}

impl Listener for SimListener {
    fn accept(&mut self) -> BoxFuture<'_, io::Result<(Stream, SocketAddr)>> {
        Box::pin(async move {
            let (stream, peer) = self.listener.accept().await?;
            Ok((Stream::Other(Box::new(stream) as Box<dyn Io>), peer))
        })
    }

    fn address(&self) -> SocketAddr {
        self.address
    }
}

/// A connection from a dispatcher to a pod: whose bytes they are is in the last request's head.
struct Watched {
    stream: TcpStream,
    to: SocketAddr,
    host: usize,
    truth: Truth,
    session: Option<String>,
    /// Of the head that is being written.
    line: Vec<u8>,
}

const NAMES: &[u8] = b"x-session-id: ";

impl Watched {
    fn look(&mut self, bytes: &[u8]) {
        let is_head = [&b"GET "[..], b"POST ", b"HEAD ", b"PUT "].iter().any(|method| bytes.starts_with(method));
        if is_head {
            self.line.clear();
            self.line.extend_from_slice(bytes);
            let at = self.line.windows(NAMES.len()).position(|w| w.eq_ignore_ascii_case(NAMES));
            let name = at.and_then(|at| self.line.get(at + NAMES.len()..at + NAMES.len() + 32));
            self.session = name.map(|n| String::from_utf8_lossy(n).into_owned());
        }
        // Health checks name nobody.
        if let Some(session) = &self.session {
            self.truth.egress(self.host, self.to, session);
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
