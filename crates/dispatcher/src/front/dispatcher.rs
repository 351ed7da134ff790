//! The state that the parts of one dispatcher share: configuration, view, driver, sessions of this replica, metrics.

use crate::authority::Host;
use crate::config::{Admission, Config, PoolConfig};
use crate::engine::view::View;
use crate::engine::{Driver, EffectSink};
use crate::fleet::actuator::Orders;
use crate::front::ages::Ages;
use crate::front::cookie::{Keys, Ticket, public_name};
use crate::front::error::{RequestError, Step};
use crate::front::forward::Pods;
use crate::front::newcomer::{Bursts, Firsts};
use crate::front::recently_ended::{RecentlyEnded, is_final};
use crate::front::repeats::Repeats;
use crate::front::visit::Visits;
use crate::front::waiting::coming::Coming;
use crate::io::{Clock, Ids, Net, now};
use crate::live::Live;
use crate::metrics::{Metrics, PoolMetrics};
use http::{HeaderValue, StatusCode};
use slotkeeper_core::{Command, Effect, Fleet, Ordinal, PoolId, ReplicaId, Rules, SessionId, Why, planted};
use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, watch};

pub struct Dispatcher {
    pub config: Live<Config>,
    pub keys: Live<Keys>,
    pub net: Arc<dyn Net>,
    pub clock: Clock,
    pub(crate) ages: Ages,
    pub ids: Ids,
    pub driver: Driver,
    pub view: watch::Receiver<View>,
    /// Also those that are being removed, which get no requests any more.
    pub pools: Live<Pools>,
    changing: Mutex<()>,
    pub metrics: Metrics,
    /// True once the dispatcher is ending.
    pub stopping: watch::Receiver<bool>,
    /// True once no more bytes may go to a pod either.
    left: AtomicBool,
    /// How often entries of this replica may have been lost: reports of lasting state are repeated then.
    pub again: watch::Sender<u64>,
    /// How often the configuration was reloaded.
    pub reloaded: watch::Sender<u64>,
    minting: Mutex<(tokio::time::Instant, u32)>,
    connections: AtomicU64,
}

/// One configured pool at run time.
pub struct Pool {
    pub config: Live<PoolConfig>,
    pub metrics: PoolMetrics,
    pub visits: Visits,
    pub pods: Pods,
    pub recently_ended: RecentlyEnded,
    /// The path prefix of the dispatcher's own pages of this pool: `/.slotkeeper/` below the pool's path.
    pub own: String,
    /// The same as a header value.
    pub own_field: HeaderValue,
    /// The `Via` value of requests that have passed this pool of this replica (RFC 9110 §7.6.3).
    pub via: HeaderValue,
    pub coming: Coming,
    /// Permits for requests that are held until a slot is ready.
    pub holds: tokio::sync::Semaphore,
    /// First requests for a page, grouped by likeness.
    pub(crate) firsts: Firsts,
    pub(crate) bursts: Bursts,
    pub repeats: Repeats,
    /// Orders to the cluster that an entry of ours has just made due.
    orders: mpsc::UnboundedSender<Effect>,
    /// It was not there when the dispatcher started.
    pub is_late: bool,
    /// How far its removal has come.
    removal: watch::Sender<Removal>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Removal {
    No,
    /// It gets no requests any more; its sessions end.
    Begun,
    /// Its cluster is not followed any more.
    Unfollowed,
}

/// Pools, in the order of the configuration.
pub struct Pools {
    all: Vec<Arc<Pool>>,
    by_id: BTreeMap<PoolId, usize>,
}

impl Pools {
    #[must_use]
    pub fn new(all: Vec<Arc<Pool>>) -> Pools {
        let by_id = all.iter().enumerate().map(|(i, p)| (p.config.id.clone(), i)).collect();
        Pools { all, by_id }
    }
}

impl Deref for Pools {
    type Target = [Arc<Pool>];

    fn deref(&self) -> &[Arc<Pool>] {
        &self.all
    }
}

/// The arguments of [`Dispatcher::new`].
pub struct Parts {
    pub config: Config,
    pub keys: Keys,
    pub net: Arc<dyn Net>,
    pub clock: Clock,
    pub ids: Ids,
    pub driver: Driver,
    pub view: watch::Receiver<View>,
    pub stopping: watch::Receiver<bool>,
}

impl Pool {
    /// A pool of this replica, and the orders to its cluster.
    ///
    /// # Errors
    /// Its own gauge has the name of another metric.
    pub fn new(
        config: PoolConfig,
        header_fields: usize,
        metrics: &Metrics,
        me: ReplicaId,
        is_late: bool,
    ) -> Result<(Arc<Pool>, Orders), prometheus::Error> {
        let own = format!("{}{}", config.path.trim_end_matches('/'), crate::front::endpoints::PREFIX);
        let field = |text: &str| HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static(""));
        let metrics = metrics.pool(&config)?;
        let (orders, received) = mpsc::unbounded_channel();
        let pool = Pool {
            pods: Pods::new(config.connections, header_fields, metrics.repeated.clone()),
            metrics,
            visits: Visits::default(),
            recently_ended: RecentlyEnded::default(),
            own_field: field(&own),
            own,
            via: field(&format!("1.1 slotkeeper-{}-{:x}", config.id, me.0)),
            coming: Coming::default(),
            holds: tokio::sync::Semaphore::new(config.hold_limit),
            firsts: Firsts::default(),
            bursts: Bursts::default(),
            repeats: Repeats::default(),
            orders,
            is_late,
            removal: watch::Sender::new(Removal::No),
            config: Live::new(config),
        };
        Ok((Arc::new(pool), received))
    }

    /// It is configured no more: from now on it gets no requests.
    pub fn begin_removal(&self) {
        self.removal.send_replace(Removal::Begun);
    }

    #[must_use]
    pub fn is_being_removed(&self) -> bool {
        *self.removal.borrow() != Removal::No
    }

    /// Its sessions have ended: the tasks that follow its cluster end.
    pub fn unfollow(&self) {
        self.removal.send_replace(Removal::Unfollowed);
    }

    /// Returns when its cluster is not to be followed any more.
    pub async fn unfollowed(&self) {
        let mut removal = self.removal.subscribe();
        // The sender lives as long as the pool does.
        let _ = removal.wait_for(|removal| *removal == Removal::Unfollowed).await;
    }

    /// The rules in force, which are those of the fleet. During a rollout they may differ from this replica's configuration,
    /// and all replicas must act on the same rules. The configuration applies only while the fleet does not know the pool.
    #[must_use]
    pub fn rules<'a>(&'a self, fleet: &'a Fleet) -> &'a Rules {
        fleet.rules(&self.config.id).unwrap_or(&self.config.rules)
    }

    /// Why this session may not simply continue: it has ended in a way after which a visitor must act to start again. (The
    /// clients of an `immediate` pool are often programs: they may reconnect at any time.)
    #[must_use]
    pub fn barred(&self, session: SessionId) -> Option<Why> {
        let why = self.recently_ended.of(session).filter(|_| self.config.admission == Admission::Returning);
        why.filter(|why| is_final(*why) || *why == Why::NoShow)
    }
}

impl Dispatcher {
    /// # Errors
    /// If a gauge of a pool has the name of another metric.
    pub fn new(parts: Parts) -> Result<(Arc<Dispatcher>, Vec<Orders>), prometheus::Error> {
        let metrics = Metrics::new()?;
        let Parts { config, keys, net, clock, ids, driver, view, stopping } = parts;
        let header_fields = config.limits.header_fields;
        let (mut pools, mut orders) = (Vec::new(), Vec::new());
        for config in &config.pools {
            let (pool, own) = Pool::new(config.clone(), header_fields, &metrics, driver.me(), false)?;
            pools.push(pool);
            orders.push(own);
        }
        let minting = Mutex::new((now(), 0));
        let dispatcher = Arc::new(Dispatcher {
            config: Live::new(config),
            keys: Live::new(keys),
            net,
            ages: Ages::new(&clock),
            clock,
            ids,
            driver,
            view,
            pools: Live::new(Pools::new(pools)),
            changing: Mutex::default(),
            metrics,
            stopping,
            left: AtomicBool::new(false),
            again: watch::Sender::new(0),
            reloaded: watch::Sender::new(0),
            minting,
            connections: AtomicU64::new(0),
        });
        Ok((dispatcher, orders))
    }

    /// Adds or removes pools.
    pub fn change_pools(&self, change: impl FnOnce(&mut Vec<Arc<Pool>>)) {
        let _alone = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all = self.pools.to_vec();
        change(&mut all);
        self.pools.replace(Pools::new(all));
    }

    /// Returns a number for a visitor's new connection.
    pub fn next_connection(&self) -> u64 {
        self.connections.fetch_add(1, Ordering::Relaxed)
    }

    #[must_use]
    pub fn pool(&self, id: &PoolId) -> Option<&Arc<Pool>> {
        let pools: &Pools = &self.pools;
        pools.by_id.get(id).and_then(|i| pools.get(*i))
    }

    /// The pool that a request goes to: the longest matching path among the pools of its host, else among those of the
    /// longest matching wildcard, else among those without hosts.
    #[must_use]
    pub fn route(&self, host: Option<&Host<'_>>, path: &str) -> Option<&Arc<Pool>> {
        let pools: &Pools = &self.pools;
        let fits = |p: &&Arc<Pool>| !p.is_being_removed() && is_below(path, &p.config.path);
        let longest = |p: &&Arc<Pool>| p.config.path.len();
        let named = host.and_then(|host| {
            let exact = pools.iter().filter(|p| p.config.hosts.iter().any(|h| h.is(host)));
            exact.filter(fits).max_by_key(longest).or_else(|| {
                let width = |p: &Arc<Pool>| {
                    let covering = p.config.hosts.iter().filter(|h| h.covers(host));
                    covering.filter_map(|h| h.suffix()).map(str::len).max()
                };
                let wide = pools.iter().filter(|p| width(p).is_some()).filter(fits);
                wide.max_by_key(|p| (width(p), p.config.path.len()))
            })
        });
        named.or_else(|| pools.iter().filter(|p| p.config.hosts.is_empty()).filter(fits).max_by_key(longest))
    }

    /// Whether this replica has read its own entries back, and so also all entries before them.
    #[must_use]
    pub fn has_read(&self, view: &View) -> bool {
        view.fleet.replica(self.driver.me()).is_some()
    }

    /// Cuts all remaining streams and grants no seat from here on, not even for an attach already in flight.
    pub fn leave(&self) {
        self.left.store(true, Ordering::SeqCst);
        for pool in self.pools.iter() {
            pool.visits.forget_all();
        }
    }

    #[must_use]
    pub fn has_left(&self) -> bool {
        self.left.load(Ordering::SeqCst)
    }

    /// Records that the number of pods wanted is being reported to KEDA: the time since then is part of the state (behaviour
    /// §7).
    pub fn serve(&self, fleet: &Fleet, pool: &Pool) {
        planted!(ServedNotWritten => ());
        if let Some(replicas) = fleet.unserved(&pool.config.id) {
            tracing::info!(pool = %pool.config.id, replicas, "pods wanted (reported to KEDA)");
            self.driver.post(&pool.config.id, Command::Served { replicas });
        }
    }

    /// Returns a new session, unless this second's limit for new sessions is reached. Allocates no slot.
    ///
    /// # Errors
    /// If the limit is reached, or no random id is available.
    pub fn mint(&self, pool: &Pool, last: Option<Ordinal>) -> Result<Ticket, RequestError> {
        if !self.may_mint() {
            let status = StatusCode::TOO_MANY_REQUESTS;
            return Err(RequestError::visitor(Step::Cookie, status, "too many new visitors at the moment"));
        }
        let id = self.ids.draw128().map_err(|e| RequestError::us(Step::Cookie, "no random id for a new session", e))?;
        pool.metrics.minted.inc();
        Ok(Ticket { session: SessionId(id), issued: self.clock.wall(), last })
    }

    fn may_mint(&self) -> bool {
        planted!(MintUnlimited => true);
        let mut minting = self.minting.lock().unwrap_or_else(PoisonError::into_inner);
        if now().duration_since(minting.0) >= Duration::from_secs(1) {
            *minting = (now(), 0);
        }
        minting.1 += 1;
        minting.1 <= self.config.limits.new_sessions_per_second
    }

    /// The fleet has dissolved all attaches of this replica: closes their streams.
    fn forget_visits(&self) {
        planted!(NewLifeKeepsStreams => ());
        for pool in self.pools.iter() {
            pool.visits.forget_all();
        }
    }

    /// The replica that caused an effect executes it at once, the others only if it is still owed a second later (see
    /// `fleet/actuator.rs`).
    fn order(&self, pool: &Pool, effect: &Effect, from: ReplicaId) {
        if from == self.driver.me() {
            let _ = pool.orders.send(effect.clone());
        }
    }
}

impl EffectSink for Arc<Dispatcher> {
    fn effect(&self, id: &PoolId, effect: &Effect, from: ReplicaId) {
        let Some(pool) = self.pool(id) else { return };
        let name = |session: &SessionId| -> String { public_name(*session)[..8].to_owned() };
        match effect {
            Effect::Placed { session, pod, waited } => {
                pool.metrics.placed(*waited);
                tracing::info!(pool = %id, session = name(session), pod = pod.0, waited_ms = waited.0, "placed");
            }
            Effect::Released { session, why, last } => {
                pool.metrics.released(*why);
                pool.recently_ended.note(*session, *why);
                pool.visits.end(pool, &self.driver, *session, *why);
                tracing::info!(pool = %id, session = name(session), reason = why.word(), pod = last.map(|o| o.0), "released");
            }
            Effect::Requeued { session, pod } => {
                pool.visits.forget(*session);
                tracing::info!(pool = %id, session = name(session), pod = pod.0, "pod terminating or lost: requeued at the front");
            }
            Effect::Drain { pod, uid, gone } => {
                let spread = if *gone { Duration::ZERO } else { self.config.drain };
                let told = pool.visits.drain(pool, &self.driver, uid, spread);
                if told > 0 {
                    tracing::info!(pool = %id, pod = pod.0, gone, sessions = told, "pod terminating: closing its streams");
                }
            }
            Effect::Started { pod, took } => {
                pool.metrics.started(*took);
                tracing::info!(pool = %id, pod = pod.0, took_ms = took.0, "a pod has started");
            }
            Effect::Scale { replicas, start, .. } => {
                tracing::info!(pool = %id, start, replicas, "pods wanted");
                self.order(pool, effect, from);
            }
            Effect::Recycle { pod, .. } => {
                tracing::info!(pool = %id, pod = pod.0, "recycling");
                self.order(pool, effect, from);
            }
            Effect::Broken { what } => {
                self.metrics.broken.inc();
                tracing::error!(pool = %id, "invariant violated, placing stopped in this pool: {what}");
            }
        }
    }

    fn new_life(&self, lost: bool) -> Vec<(PoolId, Command)> {
        self.metrics.new_lives.inc();
        self.forget_visits();
        if !lost {
            return Vec::new();
        }
        self.again.send_modify(|times| *times += 1);
        let pools = self.pools.iter().filter(|p| !p.is_being_removed());
        pools.map(|p| (p.config.id.clone(), Command::Rules(p.config.rules.clone()))).collect()
    }
}

/// Whether a path is equal to a prefix or below it, compared by whole segments.
fn is_below(path: &str, prefix: &str) -> bool {
    let prefix = prefix.trim_end_matches('/');
    path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/') || prefix.is_empty())
}

#[cfg(test)]
mod tests {
    use super::is_below;

    #[test]
    fn prefixes_are_whole_segments() {
        assert!(is_below("/", "/") && is_below("/a/b", "/") && is_below("*", "/"));
        assert!(is_below("/a", "/a") && is_below("/a/b", "/a") && is_below("/a/b", "/a/"));
        assert!(!is_below("/ab", "/a") && !is_below("/", "/a"));
    }
}
