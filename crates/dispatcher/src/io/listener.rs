//! The accept loop of every listener (visitors, admin, KEDA): waits until a connection is allowed, accepts it, reads its PROXY
//! header and secures it by TLS if the listener asks for these, serves it, and waits for the open connections when the listener
//! stops.

use crate::io::accept::Acceptor;
use crate::io::proxy::Proxied;
use crate::io::throttle::Throttle;
use crate::io::tls::{Accepts, Ask, Client, ClientCertificate, Handshake, Handshakes, Tls};
use crate::io::{Listener, Peer, Socket, now};
use prometheus::IntCounter;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::{self, HandshakeKind};

/// Limits the connections that a listener has at the same time.
pub(crate) trait Limit: Send {
    /// Kept by a connection until it ends.
    type Permit: Send + 'static;

    /// Returns when another connection may be accepted; until then, new ones wait in the operating system's queue.
    /// Cancel-safe.
    fn ready(&mut self) -> impl Future<Output = ()> + Send {
        std::future::ready(())
    }

    /// Returns the permit of a connection that has been accepted, or `None`: then it is closed at once.
    fn permit(&mut self, peer: SocketAddr) -> Option<Self::Permit>;
}

/// An accepted connection.
pub(crate) struct Connection {
    pub(crate) socket: Socket,
    pub(crate) peer: Peer,
    /// When it was accepted.
    pub(crate) since: Instant,
    /// The certificate of the client, if the listener asks for one.
    pub(crate) client: Option<Arc<ClientCertificate>>,
}

/// A listener that stops still waits this long, from its accept, for a connection's handshake and first request: they may be on
/// their way.
const FIRST_REQUEST: Duration = Duration::from_secs(1);

/// Returns when the listener has stopped, and the first request of a connection accepted at `since` is not waited for any longer.
pub(crate) async fn no_first_request(stopped: impl Future<Output = ()>, since: Instant) {
    stopped.await;
    tokio::time::sleep_until(since + FIRST_REQUEST).await;
}

/// A listener that is about to serve.
pub(crate) struct Serving {
    pub(crate) listener: Box<dyn Listener>,
    /// Its name in logs.
    pub(crate) of: &'static str,
    /// Counts connections that could not be accepted.
    pub(crate) errors: IntCounter,
    /// Connections begin with a PROXY header.
    pub(crate) proxied: Option<Proxied>,
    pub(crate) tls: Option<Secured>,
    /// How long open connections may take to end when the listener stops; then they are cut.
    pub(crate) last: Duration,
}

/// The TLS of a listener that has a certificate, and its counters.
#[derive(Clone)]
pub(crate) struct Secured {
    pub(crate) tls: Arc<Tls>,
    pub(crate) handshakes: Handshakes,
    /// Client certificates that were refused are logged once a minute.
    pub(crate) refused: Arc<Throttle>,
}

impl Serving {
    /// Accepts and serves connections until `stop` resolves, and returns when the open ones have ended. A connection whose
    /// task panics ends alone.
    pub(crate) async fn run<L, S, F>(self, stop: impl Future<Output = ()> + Send, mut limit: L, serve: S)
    where
        L: Limit,
        S: Fn(Connection, L::Permit) -> F + Clone + Send + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let Serving { listener, of, errors, proxied, tls, last } = self;
        let opening = (proxied.is_some() || tls.is_some()).then_some(Opening { proxied, tls, of });
        let mut acceptor = Acceptor::new(listener, of, errors);
        let mut connections = JoinSet::new();
        let stopping = watch::Sender::new(false);
        tokio::pin!(stop);
        // When this listener closes after it has been handed over.
        let mut until: Option<Instant> = None;
        loop {
            let handed_over = async {
                match until {
                    Some(until) => tokio::time::sleep_until(until).await,
                    None => std::future::pending().await,
                }
            };
            let next = async {
                limit.ready().await;
                acceptor.accept().await
            };
            let (socket, peer) = tokio::select! {
                biased;
                () = stop.as_mut(), if until.is_none() => match acceptor.hand_over() {
                    Some(time) => {
                        until = Some(now() + time);
                        continue;
                    }
                    None => break,
                },
                () = handed_over => break,
                next = next => next,
                Some(_) = connections.join_next() => continue,
            };
            while connections.try_join_next().is_some() {}
            let Some(permit) = limit.permit(peer) else { continue };
            let began = now();
            let peer = Peer { to: socket.tcp().and_then(|tcp| tcp.local_addr().ok()), ..Peer::at(peer) };
            let connection = Connection { socket, peer, since: began, client: None };
            match opening.clone() {
                None => connections.spawn(serve(connection, permit)),
                Some(opening) => {
                    let (serve, mut stopping) = (serve.clone(), stopping.subscribe());
                    connections.spawn(async move {
                        let connection = tokio::select! {
                            biased;
                            connection = opening.connection(connection) => connection,
                            () = no_first_request(async { _ = stopping.wait_for(|is| *is).await }, began) => return,
                        };
                        if let Some(connection) = connection {
                            serve(connection, permit).await;
                        }
                    })
                }
            };
        }
        drop(acceptor);
        stopping.send_replace(true);
        let ended = async { while connections.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(last, ended).await;
    }
}

/// The part of a connection before its requests.
#[derive(Clone)]
struct Opening {
    proxied: Option<Proxied>,
    tls: Option<Secured>,
    of: &'static str,
}

impl Opening {
    /// Reads the PROXY header and performs the TLS handshake, in the connection's own task. `None`: one of them failed.
    async fn connection(&self, mut connection: Connection) -> Option<Connection> {
        if let Some(proxied) = &self.proxied {
            connection.peer = proxied.peer(&mut connection.socket, connection.peer, connection.since).await?;
        }
        match &self.tls {
            Some(secured) => secured.connection(connection, self.of).await,
            None => Some(connection),
        }
    }
}

impl Secured {
    /// Performs the TLS handshake of a connection. `None`: it failed.
    async fn connection(&self, connection: Connection, of: &str) -> Option<Connection> {
        let Connection { socket, peer, since, .. } = connection;
        let accepts = self.tls.accepts();
        let shaken = tokio::time::timeout_at(since + accepts.handshake, accepts.acceptor().accept(socket)).await;
        let result = match &shaken {
            Err(_) => Handshake::Timeout,
            Ok(Ok(stream)) if stream.get_ref().1.handshake_kind() == Some(HandshakeKind::Resumed) => Handshake::Resumed,
            Ok(Ok(_)) => Handshake::Full,
            Ok(Err(error)) => match tls_error(error) {
                Some(rustls::Error::AlertReceived(_)) => Handshake::Rejected,
                Some(_) => Handshake::Refused,
                None => Handshake::Closed,
            },
        };
        self.handshakes.count(result);
        match shaken {
            Ok(Ok(stream)) => {
                let client = self.client(&accepts, stream.get_ref().1.peer_certificates());
                Some(Connection { socket: Socket::Tls(Box::new(stream)), peer, since, client })
            }
            Ok(Err(error)) => {
                self.failed(&accepts, &error, of, peer.address);
                None
            }
            Err(_) => {
                tracing::debug!(of, peer = %peer.address, "TLS handshake took too long");
                None
            }
        }
    }

    /// The certificate of the client, which has been verified.
    fn client(&self, accepts: &Accepts, chain: Option<&[CertificateDer<'_>]>) -> Option<Arc<ClientCertificate>> {
        if accepts.ask == Ask::Off {
            return None;
        }
        let leaf = chain.and_then(<[_]>::first);
        self.handshakes.count_client(if leaf.is_some() { Client::Verified } else { Client::Anonymous });
        ClientCertificate::of(leaf?).map(Arc::new)
    }

    fn failed(&self, accepts: &Accepts, error: &std::io::Error, of: &str, peer: SocketAddr) {
        tracing::debug!(of, %peer, "TLS handshake failed: {error}");
        let concerns_client = matches!(
            tls_error(error),
            Some(rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented)
        );
        if accepts.ask == Ask::Off || !concerns_client {
            return;
        }
        self.handshakes.count_client(Client::Refused);
        if let Some(times) = self.refused.note() {
            tracing::info!(of, %peer, times, "client certificate refused: {error}");
        }
    }
}

fn tls_error(error: &std::io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::BoxFuture;
    use std::io;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
    use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

    struct Incoming(mpsc::UnboundedReceiver<Socket>);

    impl Listener for Incoming {
        fn accept(&mut self) -> BoxFuture<'_, io::Result<(Socket, SocketAddr)>> {
            Box::pin(async {
                match self.0.recv().await {
                    Some(stream) => Ok((stream, self.address())),
                    None => std::future::pending().await,
                }
            })
        }

        fn address(&self) -> SocketAddr {
            ([127, 0, 0, 1], 1).into()
        }
    }

    struct One(Arc<Semaphore>);

    impl Limit for One {
        type Permit = OwnedSemaphorePermit;

        fn permit(&mut self, _: SocketAddr) -> Option<OwnedSemaphorePermit> {
            self.0.clone().try_acquire_owned().ok()
        }
    }

    /// Echoes one byte, then waits for the end of the stream.
    async fn echo(mut connection: Connection, _permit: OwnedSemaphorePermit) {
        if let Ok(byte) = connection.socket.read_u8().await {
            let _ = connection.socket.write_u8(byte).await;
            let _ = connection.socket.read_u8().await;
        }
    }

    async fn open(connections: &mpsc::UnboundedSender<Socket>) -> (DuplexStream, io::Result<u8>) {
        let (mut ours, theirs) = tokio::io::duplex(16);
        connections.send(Socket::Other(Box::new(theirs))).unwrap();
        // Fails if the connection has been closed already.
        let _ = ours.write_u8(7).await;
        let echoed = ours.read_u8().await;
        (ours, echoed)
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_over_the_limit_is_closed_and_open_ones_may_end_after_the_stop_or_are_cut() {
        for ends in [true, false] {
            let (connections, incoming) = mpsc::unbounded_channel();
            let (stop, stopped) = oneshot::channel::<()>();
            let errors = IntCounter::new("errors", "errors").unwrap();
            let last = Duration::from_secs(5);
            let serving =
                Serving { listener: Box::new(Incoming(incoming)), of: "test", errors, proxied: None, tls: None, last };
            let limit = One(Arc::new(Semaphore::new(1)));
            let mut running = tokio::spawn(serving.run(async { drop(stopped.await) }, limit, echo));
            let (first, echoed) = open(&connections).await;
            assert_eq!(echoed.unwrap(), 7);
            assert!(open(&connections).await.1.is_err(), "one too many");
            drop(first);
            let (mut open, echoed) = open(&connections).await;
            assert_eq!(echoed.unwrap(), 7, "the first has ended");
            stop.send(()).unwrap();
            assert!(tokio::time::timeout(last / 2, &mut running).await.is_err(), "it waits for the open connection");
            if ends {
                drop(open);
                assert!(tokio::time::timeout(last / 4, running).await.is_ok());
            } else {
                running.await.unwrap();
                assert!(open.read_u8().await.is_err(), "cut");
            }
        }
    }
}
