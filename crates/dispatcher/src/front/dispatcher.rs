//! The visitors of this replica: what is known of them, for each pool, and which pool a request goes to.

use crate::authority::Host;
use crate::config::{Admission, PoolConfig};
use crate::front::access_log::AccessLog;
use crate::front::ages::Ages;
use crate::front::cookie::{Keys, Ticket};
use crate::front::error::{RequestError, Step};
use crate::front::forward::Upstreams;
use crate::front::newcomer::{Bursts, Firsts};
use crate::front::recently_ended::{RecentlyEnded, is_final};
use crate::front::repeats::Repeats;
use crate::front::visit::Visits;
use crate::front::waiting::starting::Starting;
use crate::io::now;
use crate::live::Live;
use crate::metrics::Metrics;
use crate::shell::{Orders, PoolShell, Shell};
use http::{HeaderValue, StatusCode};
use slotkeeper_core::{Ordinal, PoolId, ReplicaId, SessionId, Why, planted};
use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// The shell, and the visitors of this replica.
pub struct Dispatcher {
    pub shell: Arc<Shell>,
    pub keys: Live<Keys>,
    pub(crate) ages: Ages,
    /// One line for each request, if that is enabled.
    pub access_log: AccessLog,
    /// Also those that are being removed, which get no requests any more.
    pub pools: Live<Pools>,
    changing: Mutex<()>,
    /// True once no more bytes may go to a pod.
    left: AtomicBool,
    minting: Mutex<(tokio::time::Instant, u32)>,
    connections: AtomicU64,
}

impl Deref for Dispatcher {
    type Target = Shell;

    fn deref(&self) -> &Shell {
        &self.shell
    }
}

/// One configured pool, with its visitors.
pub struct Pool {
    pub shell: Arc<PoolShell>,
    pub visits: Visits,
    pub upstreams: Upstreams,
    pub recently_ended: RecentlyEnded,
    /// The path prefix of the dispatcher's own pages of this pool: `/.slotkeeper/` below the pool's path.
    pub own: String,
    /// The same as a header value.
    pub own_field: HeaderValue,
    /// The `Via` value of requests that have passed this pool of this replica (RFC 9110 §7.6.3).
    pub via: HeaderValue,
    pub starting: Starting,
    /// Permits for requests that are held until a slot is ready.
    pub holds: tokio::sync::Semaphore,
    /// First requests for a page, grouped by likeness.
    pub(crate) firsts: Firsts,
    pub(crate) bursts: Bursts,
    pub repeats: Repeats,
}

impl Deref for Pool {
    type Target = PoolShell;

    fn deref(&self) -> &PoolShell {
        &self.shell
    }
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
        let (pods, holds) = (config.connections, tokio::sync::Semaphore::new(config.hold_limit));
        let via = field(&format!("1.1 slotkeeper-{}-{:x}", config.id, me.0));
        let (shell, orders) = PoolShell::new(config, metrics, is_late)?;
        let pool = Pool {
            upstreams: Upstreams::new(pods, header_fields, shell.metrics.repeated.clone()),
            shell,
            visits: Visits::default(),
            recently_ended: RecentlyEnded::default(),
            own_field: field(&own),
            own,
            via,
            starting: Starting::default(),
            holds,
            firsts: Firsts::default(),
            bursts: Bursts::default(),
            repeats: Repeats::default(),
        };
        Ok((Arc::new(pool), orders))
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
    pub fn new(shell: Shell, keys: Keys) -> Result<(Arc<Dispatcher>, Vec<Orders>), prometheus::Error> {
        let header_fields = shell.config.limits.header_fields;
        let (mut pools, mut orders) = (Vec::new(), Vec::new());
        for config in &shell.config.pools {
            let (pool, own) = Pool::new(config.clone(), header_fields, &shell.metrics, shell.driver.me(), false)?;
            pools.push(pool);
            orders.push(own);
        }
        let dispatcher = Arc::new(Dispatcher {
            keys: Live::new(keys),
            ages: Ages::new(&shell.clock),
            access_log: AccessLog::new(shell.metrics.process.access_log.clone()),
            pools: Live::new(Pools::new(pools)),
            changing: Mutex::default(),
            left: AtomicBool::new(false),
            minting: Mutex::new((now(), 0)),
            connections: AtomicU64::new(0),
            shell: Arc::new(shell),
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

    /// Cuts all remaining streams and grants no seat from here on, not even for an attach already in flight.
    pub fn leave(&self) {
        self.left.store(true, Ordering::SeqCst);
        for pool in self.pools.iter() {
            pool.visits.forget_all();
        }
    }

    /// This replica is cut off from the journal: closes every stream at once.
    pub fn cut_off(&self) {
        planted!(SilenceKeepsStreams => ());
        for pool in self.pools.iter() {
            pool.visits.cut_off(pool, &self.driver);
        }
    }

    #[must_use]
    pub fn has_left(&self) -> bool {
        self.left.load(Ordering::SeqCst)
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
