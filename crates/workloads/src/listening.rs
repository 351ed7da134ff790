//! Listening sockets, and the HTTP settings for connections before they become sockets.

use std::net::SocketAddr;
use std::time::Duration;

use hyper_util::rt::TokioTimer;
use tokio::net::{TcpListener, TcpSocket};

/// The time limit for a request's headers, and for the wait for the next request.
const HEADER_TIME: Duration = Duration::from_secs(10);

/// Accepted sockets inherit the size of the send buffer, in bytes.
pub(crate) fn listen(address: SocketAddr, send_buffer: u32, waiting: u32) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.set_send_buffer_size(send_buffer)?;
    socket.bind(address)?;
    socket.listen(waiting)
}

pub(crate) fn http1() -> hyper::server::conn::http1::Builder {
    let mut builder = hyper::server::conn::http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEADER_TIME).max_buf_size(16 * 1024);
    builder
}
