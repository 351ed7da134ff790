//! Receive windows. The simulated TCP counts segments and buffers thousands of them, so a reader that does not read
//! would never slow its writer down. Here a connection holds a limited number of unread bytes; beyond that, its
//! writer waits.

use super::oracle::Oracle;
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use turmoil::net::TcpStream;

/// Maximum number of unread bytes in one direction: more than any single message, so that two sides that both write
/// before they read do not block for ever.
const WINDOW: usize = 128 * 1024;

/// All windows of a world.
#[derive(Clone)]
pub struct Windows {
    flows: Arc<Mutex<BTreeMap<Way, Flow>>>,
    oracle: Oracle,
}

/// From the writer's address to the reader's.
type Way = (SocketAddr, SocketAddr);

#[derive(Default)]
struct Flow {
    unread: usize,
    /// The reader reports what it reads. Otherwise its writer never waits.
    is_counted: bool,
    writer: Option<Waker>,
}

impl Windows {
    #[must_use]
    pub fn new(oracle: Oracle) -> Windows {
        Windows { flows: Arc::default(), oracle }
    }

    fn locked(&self) -> MutexGuard<'_, BTreeMap<Way, Flow>> {
        self.flows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens one end of a connection.
    ///
    /// # Errors
    /// If the connection has no addresses any more.
    pub fn open(&self, stream: TcpStream) -> io::Result<Windowed> {
        let (here, there) = (stream.local_addr()?, stream.peer_addr()?);
        self.locked().entry((there, here)).or_default().is_counted = true;
        Ok(Windowed { stream, here, there, windows: self.clone() })
    }

    /// Returns how many bytes may be written now. If none, the writer is woken when there is room.
    fn room(&self, way: Way, cx: &Context<'_>) -> Option<usize> {
        let mut flows = self.locked();
        let flow = flows.entry(way).or_default();
        if !flow.is_counted || flow.unread < WINDOW {
            return Some(WINDOW.saturating_sub(flow.unread).max(1));
        }
        flow.writer = Some(cx.waker().clone());
        drop(flows);
        self.oracle.count("writer waits for its reader");
        None
    }

    fn wrote(&self, way: Way, bytes: usize) {
        self.locked().entry(way).or_default().unread += bytes;
    }

    fn read(&self, way: Way, bytes: usize) {
        let writer = self.locked().get_mut(&way).and_then(|flow| {
            flow.unread = flow.unread.saturating_sub(bytes);
            flow.writer.take()
        });
        writer.into_iter().for_each(Waker::wake);
    }

    fn close(&self, way: Way) {
        let flow = self.locked().remove(&way);
        flow.and_then(|flow| flow.writer).into_iter().for_each(Waker::wake);
    }
}

/// One end of a connection.
pub struct Windowed {
    stream: TcpStream,
    here: SocketAddr,
    there: SocketAddr,
    windows: Windows,
}

impl Windowed {
    #[must_use]
    pub fn ends(&self) -> (SocketAddr, SocketAddr) {
        (self.here, self.there)
    }
}

impl Drop for Windowed {
    fn drop(&mut self) {
        // This end is not read any more: its writer learns that from the connection.
        self.windows.close((self.there, self.here));
    }
}

impl AsyncRead for Windowed {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buf);
        let bytes = buf.filled().len() - before;
        if bytes > 0 {
            self.windows.read((self.there, self.here), bytes);
        }
        polled
    }
}

impl AsyncWrite for Windowed {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let way = (self.here, self.there);
        let Some(room) = self.windows.room(way, cx) else { return Poll::Pending };
        let written = Pin::new(&mut self.stream).poll_write(cx, &buf[..room.min(buf.len())]);
        if let Poll::Ready(Ok(bytes)) = &written {
            self.windows.wrote(way, *bytes);
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
