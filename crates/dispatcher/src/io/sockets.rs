//! The operating system's listening sockets: TCP, Unix, and those of the service manager; and how a process hands new
//! connections over to the next one.

use crate::io::endpoint::{At, Endpoint, UnixSocket};
use crate::io::{BoxFuture, Listener, Socket, accounts, keepalive, service};
use rustix::fs::{Mode, chmod, chown};
use socket2::{Domain, Protocol, SockRef, Socket as RawSocket, Type};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::net::{TcpListener, UnixListener};

/// The backlog of connections to be accepted: the default maximum of Linux.
const BACKLOG: i32 = 4096;

/// How long a process that stops still accepts connections whose handshake had begun at its socket.
const HANDOVER: Duration = Duration::from_secs(1);

/// A process at the other end of a Unix socket has no address: it counts as one of this machine.
const LOCAL: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// Listeners that were opened early.
static RESERVED: Mutex<Vec<Reserved>> = Mutex::new(Vec::new());

type Reserved = (Endpoint, Vec<Box<dyn Listener>>);

/// Opens the endpoints that another process may use at the same time, before this process is ready to serve: from then on,
/// connections wait here if the other process ends. `open` returns these listeners.
///
/// # Errors
/// Names the endpoint that cannot be listened on.
pub fn reserve<'e>(endpoints: impl Iterator<Item = &'e Endpoint>) -> Result<(), (&'e Endpoint, io::Error)> {
    // A Unix socket replaces the other process's: only a process that serves may do that.
    let may_wait = |endpoint: &&Endpoint| endpoint.reuse_port && matches!(endpoint.at, At::Tcp(_));
    for endpoint in endpoints.filter(may_wait) {
        let opened = open(endpoint).map_err(|error| (endpoint, error))?;
        RESERVED.lock().unwrap_or_else(PoisonError::into_inner).push((endpoint.clone(), opened));
    }
    Ok(())
}

/// Opens the sockets of an endpoint: one, or those that the service manager has given the name.
pub(super) fn open(endpoint: &Endpoint) -> io::Result<Vec<Box<dyn Listener>>> {
    let mut reserved = RESERVED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(at) = reserved.iter().position(|(known, _)| known == endpoint) {
        return Ok(reserved.swap_remove(at).1);
    }
    drop(reserved);
    Ok(match &endpoint.at {
        At::Tcp(address) => vec![tcp(*address, endpoint)?],
        At::Unix(socket) => vec![unix(socket, endpoint.reuse_port)?],
        At::Inherited(name) => {
            let sockets = service::take_sockets(name);
            if sockets.is_empty() {
                let names = service::names();
                let passed = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
                let what = format!("the service manager has passed no socket of this name; passed: {passed}");
                return Err(io::Error::new(io::ErrorKind::NotFound, what));
            }
            sockets.into_iter().map(adopt).collect::<io::Result<_>>()?
        }
    })
}

fn tcp(at: SocketAddr, endpoint: &Endpoint) -> io::Result<Box<dyn Listener>> {
    let socket = RawSocket::new(Domain::for_address(at), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if endpoint.reuse_port {
        socket.set_reuse_port(true)?;
    }
    if at.is_ipv6() {
        // Not left to `net.ipv6.bindv6only`.
        socket.set_only_v6(endpoint.only_v6)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&at.into())?;
    socket.listen(BACKLOG)?;
    let listener = TcpListener::from_std(socket.into())?;
    if endpoint.reuse_port {
        send_to(&listener, OLDEST)?;
    }
    let address = listener.local_addr()?;
    Ok(Box::new(Tcp { listener, address, hands_over: endpoint.reuse_port }))
}

/// A Unix socket. It gets its permissions under another name, and its own name when it accepts connections: so no client meets
/// a socket that is not ready, and a socket of a process that has ended is replaced at once.
fn unix(wanted: &UnixSocket, replaces: bool) -> io::Result<Box<dyn Listener>> {
    let path = &wanted.path;
    refuse_used(path, replaces)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let new = path.with_file_name(format!(".{name}.{}", std::process::id()));
    let _ = std::fs::remove_file(&new);
    let socket = RawSocket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.bind(&socket2::SockAddr::unix(&new)?)?;
    let prepared = prepare(&socket, &new, wanted).and_then(|()| std::fs::rename(&new, path));
    if let Err(error) = prepared {
        let _ = std::fs::remove_file(&new);
        return Err(error);
    }
    let inode = std::fs::symlink_metadata(path)?.ino();
    let listener = UnixListener::from_std(std::os::unix::net::UnixListener::from(OwnedFd::from(socket)))?;
    Ok(Box::new(Unix { listener, path: Some((path.clone(), inode)) }))
}

fn prepare(socket: &RawSocket, at: &Path, wanted: &UnixSocket) -> io::Result<()> {
    let (owner, group) = accounts::ids(wanted.owner.as_deref(), wanted.group.as_deref()).map_err(io::Error::other)?;
    if owner.is_some() || group.is_some() {
        let (owner, group) = (owner.map(rustix::fs::Uid::from_raw), group.map(rustix::fs::Gid::from_raw));
        chown(at, owner, group)?;
    }
    chmod(at, Mode::from_raw_mode(wanted.mode))?;
    socket.listen(BACKLOG)
}

/// Only a socket may be replaced; that of a process that has not ended only if this one `replaces` it.
fn refuse_used(path: &Path, replaces: bool) -> io::Result<()> {
    let used = |what| Err(io::Error::new(io::ErrorKind::AddrInUse, what));
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(found) if !found.file_type().is_socket() => used("there is a file that is no socket"),
        Ok(_) if replaces => Ok(()),
        Ok(_) => match StdUnixStream::connect(path) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
            Err(error) => Err(error),
            Ok(_) => used("another process listens there"),
        },
    }
}

/// A socket that another process has opened.
fn adopt(socket: OwnedFd) -> io::Result<Box<dyn Listener>> {
    let socket = RawSocket::from(socket);
    if socket.r#type()? != Type::STREAM || !socket.is_listener()? {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "the socket of the service manager accepts no connections; wanted: ListenStream= with Accept=no",
        ));
    }
    socket.set_nonblocking(true)?;
    if socket.local_addr()?.is_unix() {
        let listener = UnixListener::from_std(std::os::unix::net::UnixListener::from(OwnedFd::from(socket)))?;
        return Ok(Box::new(Unix { listener, path: None }));
    }
    let listener = TcpListener::from_std(socket.into())?;
    let address = listener.local_addr()?;
    Ok(Box::new(Tcp { listener, address, hands_over: false }))
}

struct Tcp {
    listener: TcpListener,
    address: SocketAddr,
    /// Another process may take over.
    hands_over: bool,
}

impl Listener for Tcp {
    fn accept(&mut self) -> BoxFuture<'_, io::Result<(Socket, SocketAddr)>> {
        Box::pin(async move {
            let (stream, peer) = self.listener.accept().await?;
            stream.set_nodelay(true)?;
            // Detects visitors that have disappeared without closing the connection.
            SockRef::from(&stream).set_tcp_keepalive(&keepalive())?;
            Ok((Socket::Tcp(stream), peer))
        })
    }

    fn address(&self) -> SocketAddr {
        self.address
    }

    /// Without this, the kernel would reset the connections that wait at this socket when it is closed.
    fn hand_over(&mut self) -> Option<Duration> {
        if !self.hands_over {
            return None;
        }
        if let Err(error) = send_to(&self.listener, NEXT) {
            tracing::warn!(address = %self.address, "new connections not handed over to another process: {error}");
        }
        Some(HANDOVER)
    }
}

/// Positions in the group of sockets that share a port, in the order in which they have begun to listen.
const OLDEST: u32 = 0;
const NEXT: u32 = 1;

/// Has the kernel give new connections to one socket of the group that shares the port, instead of distributing them: to the
/// oldest one until its process stops, then to the one of the next process. If there is no socket with this number, the
/// kernel distributes connections among those that there are.
#[expect(unsafe_code, reason = "no safe wrapper for this option")]
fn send_to(listener: &TcpListener, number: u32) -> io::Result<()> {
    use std::os::fd::AsRawFd as _;
    let mut code = [libc::sock_filter { code: (libc::BPF_RET | libc::BPF_K) as u16, jt: 0, jf: 0, k: number }];
    let program = libc::sock_fprog { len: 1, filter: code.as_mut_ptr() };
    // SAFETY: the option copies the program, and both live until the call returns.
    let result = unsafe {
        libc::setsockopt(
            listener.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_REUSEPORT_CBPF,
            (&raw const program).cast(),
            size_of::<libc::sock_fprog>() as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

struct Unix {
    listener: UnixListener,
    /// The file to remove at the end, and its number: another process may have replaced it.
    path: Option<(PathBuf, u64)>,
}

impl Listener for Unix {
    fn accept(&mut self) -> BoxFuture<'_, io::Result<(Socket, SocketAddr)>> {
        Box::pin(async move {
            let (stream, _) = self.listener.accept().await?;
            Ok((Socket::Unix(stream), LOCAL))
        })
    }

    fn address(&self) -> SocketAddr {
        LOCAL
    }

    fn path(&self) -> Option<PathBuf> {
        let own = self.listener.local_addr().ok();
        let inherited = own.and_then(|address| address.as_pathname().map(Path::to_owned));
        Some(self.path.as_ref().map(|(path, _)| path.clone()).or(inherited).unwrap_or_default())
    }

    /// Connections that wait at this socket would be lost with it, as those of a replaced socket.
    fn hand_over(&mut self) -> Option<Duration> {
        let (path, inode) = self.path.as_ref()?;
        let is_replaced = std::fs::symlink_metadata(path).is_ok_and(|found| found.ino() != *inode);
        is_replaced.then_some(HANDOVER)
    }
}

impl Drop for Unix {
    fn drop(&mut self) {
        if let Some((path, inode)) = &self.path
            && std::fs::symlink_metadata(path).is_ok_and(|found| found.ino() == *inode)
        {
            let _ = std::fs::remove_file(path);
        }
    }
}

#[cfg(test)]
mod tests;
