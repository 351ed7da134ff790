//! The dispatcher's interfaces to the outside: sockets, time, randomness. The real implementations are
//! here; the simulation has its own. No other code in this crate may read a clock, draw a random number or dial.

pub(crate) mod accept;
pub(crate) mod accounts;
pub(crate) mod cgroup;
pub mod endpoint;
pub(crate) mod fetch;
pub mod inherited;
pub(crate) mod key_lines;
pub mod lines;
pub(crate) mod listener;
pub(crate) mod private;
pub mod proxy;
pub mod service;
pub mod sockets;
pub(crate) mod throttle;
pub mod tls;

use endpoint::Endpoint;
use slotkeeper_core::{Millis, Time};
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock};
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::server::TlsStream;

/// Any error.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A future of a trait's method.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Sockets.
pub trait Net: Send + Sync + 'static {
    /// Listens on this address; port 0 picks a free one.
    fn listen(&self, at: SocketAddr) -> BoxFuture<'_, io::Result<Box<dyn Listener>>>;
    /// Opens the listeners of an endpoint.
    fn open<'a>(&'a self, endpoint: &'a Endpoint) -> BoxFuture<'a, io::Result<Vec<Box<dyn Listener>>>> {
        Box::pin(async move {
            match endpoint.address() {
                Some(address) => Ok(vec![self.listen(address).await?]),
                None => Err(io::ErrorKind::Unsupported.into()),
            }
        })
    }
    /// Connects to this address.
    fn dial(&self, to: SocketAddr) -> BoxFuture<'_, io::Result<Socket>>;
    /// The addresses of a `host:port`, in the resolver's order.
    fn resolve<'a>(&'a self, host_port: &'a str) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>>;
}

/// A socket that accepts.
pub trait Listener: Send {
    /// Waits for the next connection, and returns it with the peer's address.
    fn accept(&mut self) -> BoxFuture<'_, io::Result<(Socket, SocketAddr)>>;
    /// The address that it listens on, with the actual port if port 0 was requested.
    fn address(&self) -> SocketAddr;
    /// The path of a Unix socket. `None`: it has an address.
    fn path(&self) -> Option<PathBuf> {
        None
    }
    /// The process stops: directs new connections to the next process, if it listens at the same place. Returns how long this
    /// listener must still accept those that are on their way to it.
    fn hand_over(&mut self) -> Option<Duration> {
        None
    }
}

/// The other end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its address, according to the socket or to a PROXY header. A process at the other end of a Unix socket counts as one
    /// at `127.0.0.1`.
    pub address: SocketAddr,
    /// The address that it has connected to, if known.
    pub to: Option<SocketAddr>,
    /// A proxy has stated that it does not know the address of its client: `address` is the proxy's.
    pub is_hidden: bool,
}

impl Peer {
    /// A peer that is the other end of the socket.
    #[must_use]
    pub fn at(address: SocketAddr) -> Peer {
        Peer { address, to: None, is_hidden: false }
    }
}

/// Any two-way stream of bytes.
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// A connection: a real socket, or one of a simulated network.
pub enum Socket {
    /// A socket of the operating system.
    Tcp(TcpStream),
    /// A connection through a Unix socket.
    Unix(UnixStream),
    /// Encrypted, over a connection of a visitor.
    Tls(Box<TlsStream<Socket>>),
    /// A connection of another [`Net`].
    Other(Box<dyn Io>),
}

macro_rules! either {
    ($self:ident, $stream:ident => $call:expr) => {
        match $self.get_mut() {
            Socket::Tcp(s) => {
                let $stream = Pin::new(s);
                $call
            }
            Socket::Unix(s) => {
                let $stream = Pin::new(s);
                $call
            }
            Socket::Tls(s) => {
                let $stream = Pin::new(s);
                $call
            }
            Socket::Other(s) => {
                let $stream = Pin::new(s);
                $call
            }
        }
    };
}

impl Socket {
    /// The socket below, if there is a real one.
    #[must_use]
    pub fn tcp(&self) -> Option<&TcpStream> {
        match self {
            Socket::Tcp(socket) => Some(socket),
            Socket::Tls(stream) => stream.get_ref().0.tcp(),
            Socket::Unix(_) | Socket::Other(_) => None,
        }
    }

    /// The protocol that the TLS handshake has chosen (ALPN).
    #[must_use]
    pub fn protocol(&self) -> Option<&[u8]> {
        match self {
            Socket::Tls(stream) => stream.get_ref().1.alpn_protocol(),
            Socket::Tcp(_) | Socket::Unix(_) | Socket::Other(_) => None,
        }
    }

    /// Returns whether the client uses TLS.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        matches!(self, Socket::Tls(_))
    }
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        either!(self, s => s.poll_read(cx, buf))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        either!(self, s => s.poll_write(cx, buf))
    }
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, s => s.poll_flush(cx))
    }
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, s => s.poll_shutdown(cx))
    }
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        either!(self, s => s.poll_write_vectored(cx, bufs))
    }
    fn is_write_vectored(&self) -> bool {
        match self {
            Socket::Tcp(s) => s.is_write_vectored(),
            Socket::Unix(s) => s.is_write_vectored(),
            Socket::Tls(s) => s.is_write_vectored(),
            Socket::Other(s) => s.is_write_vectored(),
        }
    }
}

/// The operating system's sockets.
pub struct RealNet;

impl Net for RealNet {
    fn listen(&self, at: SocketAddr) -> BoxFuture<'_, io::Result<Box<dyn Listener>>> {
        Box::pin(async move {
            let opened = sockets::open(&at.into())?;
            opened.into_iter().next().ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
        })
    }

    fn open<'a>(&'a self, endpoint: &'a Endpoint) -> BoxFuture<'a, io::Result<Vec<Box<dyn Listener>>>> {
        Box::pin(async move { sockets::open(endpoint) })
    }

    #[expect(clippy::disallowed_methods, reason = "this is the place where the dispatcher dials")]
    fn dial(&self, to: SocketAddr) -> BoxFuture<'_, io::Result<Socket>> {
        Box::pin(async move {
            let stream = TcpStream::connect(to).await?;
            stream.set_nodelay(true)?;
            // Without it, a request to a machine that has died would wait forever.
            socket2::SockRef::from(&stream).set_tcp_keepalive(&keepalive())?;
            Ok(Socket::Tcp(stream))
        })
    }

    fn resolve<'a>(&'a self, host_port: &'a str) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        Box::pin(async move { Ok(tokio::net::lookup_host(host_port).await?.collect()) })
    }
}

/// Probes start after 30 seconds of silence; the connection is closed 30 seconds later.
fn keepalive() -> socket2::TcpKeepalive {
    let (time, interval) = (Duration::from_secs(30), Duration::from_secs(10));
    socket2::TcpKeepalive::new().with_time(time).with_interval(interval).with_retries(3)
}

/// Two clocks. The journal's time starts at wall time and is advanced by tokio's clock (which a simulation controls): it
/// measures durations, and neither steps of the system's clock nor suspends of the machine affect it. Wall time follows
/// the system's clock: for schedules and the age of cookies.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    wall: Time,
    since: tokio::time::Instant,
    system: System,
}

#[derive(Clone, Copy, Debug)]
enum System {
    /// There is no system clock: wall time equals the journal's time.
    None,
    Real,
    /// This many milliseconds ahead of the journal's time.
    Ahead(&'static AtomicI64),
}

impl Clock {
    /// A clock without a system's: it shows `wall` now, and advances with tokio's time.
    #[must_use]
    pub fn starting_at(wall: Time) -> Clock {
        Clock { wall, since: now(), system: System::None }
    }

    /// A system clock that is ahead of the journal's time by this many milliseconds, which may change.
    #[must_use]
    pub fn stepping(wall: Time, ahead: &'static AtomicI64) -> Clock {
        Clock { system: System::Ahead(ahead), ..Clock::starting_at(wall) }
    }

    /// The operating system's clock.
    #[must_use]
    pub fn real() -> Clock {
        Clock { system: System::Real, ..Clock::starting_at(system_time()) }
    }

    /// Wall time.
    #[must_use]
    pub fn wall(&self) -> Time {
        match self.system {
            System::None => self.now(),
            System::Real => system_time(),
            System::Ahead(by) => Time(self.now().0.saturating_add_signed(by.load(Ordering::Relaxed))),
        }
    }

    /// The journal's time.
    #[must_use]
    pub fn now(&self) -> Time {
        self.wall + Millis(now().duration_since(self.since).as_millis() as u64)
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the place where wall time is read")]
fn system_time() -> Time {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Time(since_epoch.as_millis() as u64)
}

/// The local clock that has advanced most: the monotonic clock stands still while the machine is suspended, and while a
/// container or virtual machine is frozen to be restored later. It never underestimates how long this process has been
/// silent to others (law 5): a step of the system's clock can only make that time longer.
#[must_use]
pub fn latest() -> tokio::time::Instant {
    now() + suspended()
}

/// How much more than the monotonic clock the clocks that run during a suspend have advanced since [`watch_for_suspends`].
#[must_use]
pub fn suspended() -> Duration {
    #[cfg(test)]
    if let Some(set) = SUSPENDED.get() {
        return set;
    }
    let Some(begun) = AHEAD_AT_START.get() else { return Duration::ZERO };
    let ahead = clocks_ahead();
    let gained = (ahead.0 - begun.0).max(ahead.1 - begun.1).max(0) as u64;
    // The result never decreases.
    Duration::from_millis(MOST_AHEAD.fetch_max(gained, Ordering::Relaxed).max(gained))
}

/// Starts the measurement of [`suspended`]. A simulation has no such clocks and does not call this.
pub fn watch_for_suspends() {
    AHEAD_AT_START.get_or_init(clocks_ahead);
}

static AHEAD_AT_START: OnceLock<(i64, i64)> = OnceLock::new();
static MOST_AHEAD: AtomicU64 = AtomicU64::new(0);

#[cfg(test)]
thread_local! {
    pub(crate) static SUSPENDED: std::cell::Cell<Option<Duration>> = const { std::cell::Cell::new(None) };
}

/// Milliseconds by which the boot clock and the system's clock are ahead of the monotonic one.
fn clocks_ahead() -> (i64, i64) {
    use rustix::time::{ClockId, clock_gettime};
    let millis = |clock| {
        let time = clock_gettime(clock);
        time.tv_sec * 1000 + time.tv_nsec / 1_000_000
    };
    let monotonic = millis(ClockId::Monotonic);
    (millis(ClockId::Boottime) - monotonic, millis(ClockId::Realtime) - monotonic)
}

/// The local monotonic clock, for durations only.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "this is the place where the local clock is read")]
pub fn now() -> tokio::time::Instant {
    tokio::time::Instant::now()
}

/// Converts a duration of the journal.
#[must_use]
pub fn duration(millis: Millis) -> Duration {
    Duration::from_millis(millis.0)
}

/// Random numbers: the operating system's, or a seed's.
pub enum Ids {
    /// Of the operating system.
    Os,
    /// The same numbers for the same seed: for the simulation and tests.
    Seeded(Mutex<u64>),
}

impl Ids {
    /// Returns the numbers of this seed.
    #[must_use]
    pub fn seeded(seed: u64) -> Ids {
        Ids::Seeded(Mutex::new(seed))
    }

    /// 64 random bits.
    ///
    /// # Errors
    /// When the operating system provides no randomness.
    #[expect(clippy::disallowed_methods, reason = "this is the place where randomness is drawn")]
    pub fn draw(&self) -> io::Result<u64> {
        match self {
            Ids::Os => {
                let mut bytes = [0; 8];
                getrandom::fill(&mut bytes).map_err(io::Error::other)?;
                Ok(u64::from_ne_bytes(bytes))
            }
            // SplitMix64 (Steele, Lea, Flood 2014).
            Ids::Seeded(state) => {
                let mut state = state.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
                let mut z = *state;
                z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
                z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
                Ok(z ^ (z >> 31))
            }
        }
    }

    /// 128 random bits.
    ///
    /// # Errors
    /// As [`Ids::draw`].
    pub fn draw128(&self) -> io::Result<u128> {
        Ok(u128::from(self.draw()?) << 64 | u128::from(self.draw()?))
    }
}
