//! The server: one handle on store, rights, faults and records, which serves connections of any kind. Time comes from a
//! closure, waiting from tokio; no threads, no randomness.

mod answering;
mod record;
mod stream;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;

pub use record::{Line, Records};

use crate::access::Access;
use crate::store::{Key, Store};
use crate::{Faults, Status};

type Body = UnsyncBoxBody<Bytes, std::io::Error>;

/// A cloneable handle; all clones are the same server.
#[derive(Clone)]
pub struct Server {
    inner: Arc<Inner>,
    /// Neither token nor rights are checked.
    trusts: bool,
}

struct Inner {
    now: Box<dyn Fn() -> u64 + Send + Sync>,
    state: Mutex<State>,
    /// Sent whenever anything in the state may have changed.
    changed: watch::Sender<u64>,
}

struct State {
    store: Store,
    faults: Faults,
    records: Records,
    access: Option<Access>,
    token: Option<String>,
    bookmark_every: Duration,
    open_watches: usize,
    /// Incremented to break watches (their connections are cut); the next field is incremented to end them in order.
    watches_broken: u64,
    watches_ended: u64,
    connections_cut: u64,
}

impl Server {
    /// `now` is the server's clock, in milliseconds since the epoch.
    pub fn new(now: impl Fn() -> u64 + Send + Sync + 'static) -> Server {
        Server::with_store(Store::default(), now)
    }

    /// Serves objects that exist already. `now` is the server's clock, in milliseconds since the epoch.
    pub fn with_store(store: Store, now: impl Fn() -> u64 + Send + Sync + 'static) -> Server {
        let state = State {
            store,
            faults: Faults::default(),
            records: Records::default(),
            access: None,
            token: None,
            bookmark_every: Duration::from_secs(60),
            open_watches: 0,
            watches_broken: 0,
            watches_ended: 0,
            connections_cut: 0,
        };
        Server {
            inner: Arc::new(Inner { now: Box::new(now), state: Mutex::new(state), changed: watch::Sender::new(0) }),
            trusts: false,
        }
    }

    /// A server whose clock starts at `start_ms` and advances with tokio's (also if that one is paused or simulated).
    #[must_use]
    pub fn on_tokio_time(start_ms: u64) -> Server {
        let start = tokio::time::Instant::now();
        Server::new(move || start_ms + u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX))
    }

    /// Returns the server's clock, in milliseconds since the epoch.
    #[must_use]
    pub fn now(&self) -> u64 {
        (self.inner.now)()
    }

    /// Reads or changes the objects, and then notifies the watches. The closure must not use this server, which is locked.
    pub fn store<T>(&self, act: impl FnOnce(&mut Store, u64) -> T) -> T {
        let now = self.now();
        let mut state = self.lock();
        let before = state.store.version();
        let value = act(&mut state.store, now);
        let written = state.store.version() != before;
        drop(state);
        if written {
            self.tell();
        }
        value
    }

    /// Switches faults on or off.
    pub fn faults<T>(&self, act: impl FnOnce(&mut Faults) -> T) -> T {
        self.act(|state| act(&mut state.faults))
    }

    /// Requires this bearer token; other requests get 401.
    pub fn require_token(&self, token: Option<&str>) {
        self.act(|state| state.token = token.map(str::to_owned));
    }

    /// Returns a handle whose connections may do everything, without a token (kubectl sends none without TLS).
    #[must_use]
    pub fn trusting(&self) -> Server {
        Server { trusts: true, ..self.clone() }
    }

    /// Allows only what these rules grant; everything else gets 403.
    pub fn restrict(&self, access: Option<Access>) {
        self.act(|state| state.access = access);
    }

    /// Sets how often a quiet watch that requests bookmarks gets one (default: 60 s).
    pub fn set_bookmarks(&self, every: Duration) {
        self.act(|state| state.bookmark_every = every);
    }

    /// Breaks all watches in the middle: their connections are cut without a last chunk.
    pub fn break_watches(&self) {
        self.act(|state| state.watches_broken += 1);
    }

    /// Ends all watches in order, as at their timeout.
    pub fn end_watches(&self) {
        self.act(|state| state.watches_ended += 1);
    }

    /// Cuts all connections, whatever they are doing. New ones are accepted (see `Faults::away`).
    pub fn cut_connections(&self) {
        self.act(|state| state.connections_cut += 1);
    }

    /// Expires all versions except the newest from now on (410); open watches continue.
    pub fn forget_history(&self) {
        self.act(|state| state.store.forget_history());
    }

    /// Hides the deletion of the current incarnation of this object from all watches.
    ///
    /// # Errors
    /// 404 if there is no such object.
    pub fn swallow_deletion(&self, key: &Key) -> Result<(), Status> {
        self.act(|state| {
            let object = state.store.get(key.resource, &key.namespace, &key.name)?;
            state.faults.swallowed.extend(object["metadata"]["uid"].as_str().map(str::to_owned));
            Ok(())
        })
    }

    /// Returns the number of watches that clients have open.
    #[must_use]
    pub fn open_watches(&self) -> usize {
        self.lock().open_watches
    }

    /// The record of requests so far.
    #[must_use]
    pub fn records(&self) -> Records {
        self.lock().records.clone()
    }

    /// How many requests there were, by verb and resource: `("patch", "statefulsets/scale")`.
    #[must_use]
    pub fn counts(&self) -> BTreeMap<(String, String), u64> {
        self.lock().records.counts.clone()
    }

    /// Clears the record of requests.
    pub fn forget_records(&self) {
        self.lock().records.clear();
    }

    /// Completes when anything has changed since `seen` (the value that this method returned last; 0 at first).
    pub async fn changed(&self, seen: u64) -> u64 {
        let mut changes = self.inner.changed.subscribe();
        // This cannot fail: this handle owns the sender.
        match changes.wait_for(|now| *now != seen).await {
            Ok(now) => *now,
            Err(_) => seen,
        }
    }

    /// Completes when a condition holds; checks it after each change. Has no timeout of its own.
    pub async fn until(&self, so: impl Fn(&Store) -> bool) {
        let mut seen = 0;
        while !so(&self.lock().store) {
            seen = self.changed(seen).await;
        }
    }

    /// Serves connections until the listener fails.
    ///
    /// # Errors
    /// The error of a failed accept.
    pub async fn listen(&self, listener: tokio::net::TcpListener) -> std::io::Result<()> {
        loop {
            let (io, _) = listener.accept().await?;
            io.set_nodelay(true)?;
            tokio::spawn(self.clone().serve(io));
        }
    }

    /// Serves one connection until it ends.
    pub fn serve<I>(self, io: I) -> impl Future<Output = ()> + Send + 'static
    where
        I: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let (refused, mut changes, cut) = {
            let mut state = self.lock();
            let refused = state.faults.away || state.faults.drop_connections > 0;
            state.faults.drop_connections = state.faults.drop_connections.saturating_sub(1);
            (refused, self.inner.changed.subscribe(), state.connections_cut)
        };
        async move {
            if refused {
                return;
            }
            let answering = self.clone();
            let service = service_fn(move |request| {
                let server = answering.clone();
                async move { Ok::<_, Infallible>(server.answer(request).await) }
            });
            let connection = hyper::server::conn::http1::Builder::new()
                // The header would have this machine's date, not that of `now`.
                .auto_date_header(false)
                .serve_connection(TokioIo::new(io), service);
            let cut = async {
                while self.lock().connections_cut == cut {
                    if changes.changed().await.is_err() {
                        break;
                    }
                }
            };
            // Clients may close connections at any time: the reason is not reported.
            tokio::select! {
                biased;
                () = cut => {}
                _ = connection => {}
            }
        }
    }

    async fn wait_while(&self, so: impl Fn(&State) -> bool) {
        let mut changes = self.inner.changed.subscribe();
        while so(&self.lock()) {
            if changes.changed().await.is_err() {
                return;
            }
        }
    }

    fn act<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        let value = act(&mut self.lock());
        self.tell();
        value
    }

    fn tell(&self) {
        self.inner.changed.send_modify(|count| *count += 1);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // If a test panics inside `store`, the test has failed, not the server.
        self.inner.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
