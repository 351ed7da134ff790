//! The connections to the pods of one pool, and which request may use an idle one. A connection serves one session; in a
//! pool that shares connections, one that has only carried requests without a body may serve any session. A connection that
//! was authenticated (NTLM, Negotiate: RFC 4559 §6) serves only the visitor's connection that authenticated it.

use super::body::Upload;
use super::pod_socket::{PodConnection, PodSocket, Redial};
use crate::config::KeptConnections;
use crate::front::error::{OUT_OF_FILES, RequestError, Step};
use crate::io::inherited::is_out_of_files;
use crate::io::proxy::{self, Stated};
use crate::io::{Net, Socket, now};
use hyper::client::conn::http1::{Builder, SendRequest};
use hyper_util::rt::TokioIo;
use prometheus::IntCounter;
use slotkeeper_core::{Incarnation, SessionId, Uid};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;
use tokio::io::AsyncWriteExt as _;
use tokio::time::Instant;

/// A pod that does not accept a connection within this time is unreachable.
const DIAL: Duration = Duration::from_secs(5);
/// The limit for idle connections to one incarnation.
const KEPT: usize = 1024;

/// The incarnations that this replica has connections to.
pub struct Upstreams {
    incarnations: Mutex<BTreeMap<Uid, Weak<Upstream>>>,
    kept: KeptConnections,
    /// The limit for fields of a response's head.
    header_fields: usize,
    repeated: IntCounter,
}

/// The connections to one incarnation.
pub struct Upstream {
    address: SocketAddr,
    kept: KeptConnections,
    header_fields: usize,
    repeated: IntCounter,
    idle: Mutex<Idle>,
}

#[derive(Default)]
struct Idle {
    /// Usable by any session.
    anybodys: Vec<Kept>,
    owned: BTreeMap<SessionId, Vec<Kept>>,
    count: usize,
}

/// Which requests a connection may carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    Anybody,
    Session(SessionId),
    /// Requests of one connection of a visitor, by its number.
    Visitor(SessionId, u64),
}

/// The session that makes a request, and the number of its connection.
#[derive(Clone, Copy, Debug)]
pub struct Asker {
    pub session: SessionId,
    pub connection: u64,
    /// What the PROXY header of its connection to the pod states, if the pool sends one.
    pub stated: Option<Stated>,
}

/// A connection in use.
pub struct Lease {
    pub sender: SendRequest<Upload>,
    pub line: Arc<PodConnection>,
    pub owner: Owner,
    /// What its PROXY header has stated: it carries only requests of the same client address.
    stated: Option<Stated>,
    /// How long it may be idle after this request, according to the pod.
    pub idle: Option<Duration>,
    opened: Instant,
    /// It has carried a request before.
    pub is_kept: bool,
}

struct Kept {
    lease: Lease,
    until: Instant,
}

impl Upstreams {
    #[must_use]
    pub fn new(kept: KeptConnections, header_fields: usize, repeated: IntCounter) -> Upstreams {
        Upstreams { incarnations: Mutex::default(), kept, header_fields, repeated }
    }

    /// The connections to this incarnation: shared by all its seats, and closed when the last of them is dropped.
    #[must_use]
    pub fn upstream(&self, incarnation: &Incarnation) -> Arc<Upstream> {
        let mut pods = self.incarnations.lock().unwrap_or_else(PoisonError::into_inner);
        let known = pods.get(&incarnation.uid).and_then(Weak::upgrade);
        if let Some(upstream) = known.filter(|u| u.address == incarnation.address) {
            return upstream;
        }
        pods.retain(|_, u| u.strong_count() > 0);
        let upstream = Arc::new(Upstream {
            address: incarnation.address,
            kept: self.kept,
            header_fields: self.header_fields,
            repeated: self.repeated.clone(),
            idle: Mutex::default(),
        });
        pods.insert(incarnation.uid.clone(), Arc::downgrade(&upstream));
        upstream
    }

    /// Closes connections that have been idle for too long.
    pub fn sweep(&self) {
        let upstreams: Vec<Arc<Upstream>> = {
            let pods = self.incarnations.lock().unwrap_or_else(PoisonError::into_inner);
            pods.values().filter_map(Weak::upgrade).collect()
        };
        let now = now();
        for upstream in upstreams {
            upstream.idle().retain(|kept| kept.is_good(now));
        }
    }
}

impl Kept {
    fn is_good(&self, now: Instant) -> bool {
        self.until > now && !self.lease.sender.is_closed()
    }
}

impl Idle {
    fn retain(&mut self, good: impl Fn(&Kept) -> bool) {
        self.anybodys.retain(&good);
        self.owned.retain(|_, kept| {
            kept.retain(&good);
            !kept.is_empty()
        });
        self.count = self.anybodys.len() + self.owned.values().map(Vec::len).sum::<usize>();
    }

    fn take(&mut self, asker: Asker, now: Instant) -> Option<Lease> {
        let fits = |kept: &Kept| {
            let mine = match kept.lease.owner {
                Owner::Anybody | Owner::Session(_) => true,
                Owner::Visitor(_, connection) => connection == asker.connection,
            };
            mine && kept.lease.stated == asker.stated && kept.is_good(now) && kept.lease.sender.is_ready()
        };
        let mut taken = None;
        if let Some(owned) = self.owned.get_mut(&asker.session) {
            taken = owned.iter().rposition(fits).map(|at| owned.swap_remove(at));
            if owned.is_empty() {
                self.owned.remove(&asker.session);
            }
        }
        let taken = taken.or_else(|| {
            let at = self.anybodys.iter().rposition(fits)?;
            Some(self.anybodys.swap_remove(at))
        })?;
        self.count -= 1;
        Some(taken.lease)
    }
}

impl Upstream {
    fn idle(&self) -> MutexGuard<'_, Idle> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a connection whose last exchange has ended cleanly for reuse.
    pub(crate) fn keep(&self, lease: Lease) {
        let now = now();
        let Some(idle_time) = self.kept.idle.map(|most| lease.idle.map_or(most, |asked| asked.min(most))) else {
            return;
        };
        let until = self.kept.age.map_or(now + idle_time, |age| (now + idle_time).min(lease.opened + age));
        let kept = Kept { lease, until };
        if !kept.is_good(now) || !kept.lease.line.is_fit() {
            return;
        }
        let mut idle = self.idle();
        if idle.count >= KEPT / 2 {
            idle.retain(|kept| kept.is_good(now));
        }
        if idle.count >= KEPT {
            return;
        }
        idle.count += 1;
        match kept.lease.owner {
            Owner::Anybody => idle.anybodys.push(kept),
            Owner::Session(session) | Owner::Visitor(session, _) => idle.owned.entry(session).or_default().push(kept),
        }
    }

    /// Returns a connection for a request of this session: an idle one that it may use, or a new one.
    ///
    /// # Errors
    /// If there is no idle one and the pod accepts no new one.
    pub(super) async fn lease(&self, net: &Arc<dyn Net>, asker: Asker) -> Result<Lease, RequestError> {
        let kept = self.idle().take(asker, now());
        match kept {
            Some(lease) => Ok(lease),
            None => self.dial(net, asker).await,
        }
    }

    /// The PROXY header of a new connection; empty if the pool sends none.
    fn header(&self, stated: Option<Stated>) -> Vec<u8> {
        let header = self.kept.proxy.zip(stated).map(|(version, stated)| proxy::header(version, stated));
        header.unwrap_or_default()
    }

    async fn dial(&self, net: &Arc<dyn Net>, asker: Asker) -> Result<Lease, RequestError> {
        let header = self.header(asker.stated);
        let dialled = tokio::time::timeout(DIAL, connect(&**net, self.address, &header)).await;
        let stream =
            dialled.map_err(|e| RequestError::pod(Step::Dial, "connecting timed out", e))?.map_err(not_reached)?;
        let line = Arc::new(PodConnection::default());
        let redial =
            Redial { net: net.clone(), address: self.address, header, within: DIAL, repeated: self.repeated.clone() };
        let mut builder = Builder::new();
        // A proxy may repair or ignore these (RFC 9112 §§5.1, 5.2); invalid fields are dropped.
        builder
            .preserve_header_case(self.kept.preserve_case)
            .allow_spaces_after_header_name_in_responses(true)
            .allow_obsolete_multiline_headers_in_responses(true)
            .ignore_invalid_headers_in_responses(true);
        if self.header_fields != crate::config::Limits::default().header_fields {
            builder.max_headers(self.header_fields);
        }
        let (sender, connection) = builder
            .handshake(TokioIo::new(PodSocket::new(stream, line.clone(), redial)))
            .await
            .map_err(|e| RequestError::pod(Step::Dial, "the pod cannot be reached", e))?;
        tokio::spawn(async move {
            // The pending request gets its errors; if an idle connection ends, no request is affected.
            let _ = connection.with_upgrades().await;
        });
        let owner = if self.kept.share { Owner::Anybody } else { Owner::Session(asker.session) };
        Ok(Lease { sender, line, owner, stated: asker.stated, idle: None, opened: now(), is_kept: false })
    }
}

/// Connects to a pod, and sends the bytes before all others.
pub(super) async fn connect(net: &dyn Net, address: SocketAddr, header: &[u8]) -> std::io::Result<Socket> {
    let mut stream = net.dial(address).await?;
    if !header.is_empty() {
        stream.write_all(header).await?;
    }
    Ok(stream)
}

/// The pod's fault, unless this process has no file descriptor for the connection.
fn not_reached(error: std::io::Error) -> RequestError {
    if is_out_of_files(&error) {
        return RequestError::us(Step::Dial, OUT_OF_FILES, error);
    }
    RequestError::pod(Step::Dial, "the pod cannot be reached", error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::front::forward::dialled::Dialled;

    fn idle(owners: &[Owner], leases: Vec<Lease>) -> Idle {
        let mut idle = Idle::default();
        for (owner, mut lease) in owners.iter().zip(leases) {
            lease.owner = *owner;
            let kept = Kept { lease, until: now() + Duration::from_secs(1) };
            idle.count += 1;
            match *owner {
                Owner::Anybody => idle.anybodys.push(kept),
                Owner::Session(session) | Owner::Visitor(session, _) => {
                    idle.owned.entry(session).or_default().push(kept);
                }
            }
        }
        idle
    }

    async fn leases(n: usize, net: &Arc<dyn Net>) -> Vec<Lease> {
        let pods = Upstreams::new(KeptConnections::new(false), 100, IntCounter::new("repeated", "repeated").unwrap());
        let incarnation = Incarnation { uid: "u".into(), address: SocketAddr::from(([127, 0, 0, 1], 1)) };
        let upstream = pods.upstream(&incarnation);
        let asker = Asker { session: SessionId(1), connection: 1, stated: None };
        let mut leases = Vec::new();
        for _ in 0..n {
            let mut lease = upstream.dial(net, asker).await.unwrap();
            lease.sender.ready().await.unwrap();
            leases.push(lease);
        }
        leases
    }

    #[tokio::test]
    async fn a_connection_is_reused_only_by_requests_that_may_use_it() {
        let [ana, ben] = [SessionId(1), SessionId(2)];
        let ask = |session, connection| Asker { session, connection, stated: None };
        for (owner, allowed) in [
            (Owner::Anybody, [true, true, true]),
            (Owner::Session(ana), [true, true, false]),
            (Owner::Visitor(ana, 1), [true, false, false]),
        ] {
            for (asker, allowed) in [ask(ana, 1), ask(ana, 2), ask(ben, 1)].into_iter().zip(allowed) {
                let net: Arc<dyn Net> = Arc::new(Dialled::default());
                let mut idle = idle(&[owner], leases(1, &net).await);
                let taken = idle.take(asker, now());
                assert_eq!(taken.is_some(), allowed, "{owner:?} {asker:?}");
                assert_eq!(idle.count, usize::from(taken.is_none()));
            }
        }
    }

    #[tokio::test]
    async fn a_connection_whose_header_states_an_address_is_reused_only_for_that_address() {
        let stated = |port| {
            let (source, destination) = (([192, 0, 2, 7], port).into(), ([10, 0, 0, 1], 80).into());
            Some(Stated::Addresses { source, destination })
        };
        let of = |stated| Asker { session: SessionId(1), connection: 1, stated };
        for owner in [Owner::Anybody, Owner::Session(SessionId(1))] {
            for (asker, allowed) in [(of(stated(1)), true), (of(stated(2)), false), (of(Some(Stated::Unknown)), false)]
            {
                let net: Arc<dyn Net> = Arc::new(Dialled::default());
                let mut leases = leases(1, &net).await;
                leases[0].stated = stated(1);
                assert_eq!(idle(&[owner], leases).take(asker, now()).is_some(), allowed, "{asker:?}");
            }
        }
    }

    #[tokio::test]
    async fn an_expired_connection_is_not_reused() {
        let net: Arc<dyn Net> = Arc::new(Dialled::default());
        let mut idle = idle(&[Owner::Anybody, Owner::Session(SessionId(1))], leases(2, &net).await);
        assert_eq!(idle.count, 2);
        let later = now() + Duration::from_secs(2);
        assert!(idle.take(Asker { session: SessionId(1), connection: 1, stated: None }, later).is_none());
        idle.retain(|kept| kept.is_good(later));
        assert_eq!((idle.count, idle.owned.len()), (0, 0));
    }
}
