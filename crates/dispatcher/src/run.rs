//! One life of the process: reads the journal, opens the listeners, serves, and drains at the end.

mod housekeeping;

use crate::cluster::Cluster;
use crate::config::{Config, Endpoint, ListenerKind, Secret};
use crate::engine::Engine;
use crate::fleet::tasks::Tasks;
use crate::front::Dispatcher;
use crate::front::visit::FAREWELL;
use crate::io::listener::Secured;
use crate::io::tls::{Tls, TlsError, TlsSettings};
use crate::io::{Clock, Ids, Listener, Net, service};
use crate::journal::Journal;
use crate::live::Live;
use crate::metrics::Metrics;
use crate::ops::certificates::Watched;
use crate::ops::reload::Reloads;
use crate::shell::{Orders, Shell};
use anyhow::Context as _;
use prometheus::core::Collector;
use slotkeeper_core::{Command, PoolId};
use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, watch};
use tokio::task::{AbortHandle, JoinError, JoinSet};

/// Everything that is not this process.
pub struct Outside {
    /// Listens and connects.
    pub net: Arc<dyn Net>,
    /// The wall clock.
    pub clock: Clock,
    /// Makes the ids of sessions and of this replica.
    pub ids: Ids,
    /// The pods of each configured pool.
    pub clusters: BTreeMap<PoolId, Arc<dyn Cluster>>,
    /// Where state outlives the process, and is shared.
    pub journal: Journal,
}

/// The addresses that the dispatcher listens on (port 0 resolved).
#[derive(Clone, Debug)]
pub struct Listening {
    /// The visitors' listeners, in the order of the configuration. (Those with an address, as in the following lists.)
    pub visitors: Vec<SocketAddr>,
    /// ... with TLS.
    pub tls: Vec<SocketAddr>,
    /// Where requests without TLS are redirected.
    pub redirect: Vec<SocketAddr>,
    /// Where visitors speak HTTP/2 without TLS.
    pub http2: Vec<SocketAddr>,
    /// Unix sockets, of all kinds.
    pub unix: Vec<PathBuf>,
    /// The admin listener. `None` if it is off.
    pub admin: Option<SocketAddr>,
    /// The listener of KEDA's external scaler. `None` if it is off.
    pub keda: Option<SocketAddr>,
}

/// Runs a dispatcher until `stop` resolves, then ends it gracefully: streams get a close frame spread over `drain`,
/// requests in flight may finish, local pods end. Calls `started` with the addresses.
///
/// # Errors
/// When it cannot start (for example, an address is in use), or the journal fails.
pub async fn run(
    outside: Outside,
    config: Config,
    stop: impl Future<Output = ()> + Send,
    started: impl FnOnce(&Listening),
) -> anyhow::Result<()> {
    run_until(outside, config, stop, std::future::pending(), Reloads::none(), started).await
}

/// As [`run`]; if `hurry` resolves during the shutdown, all streams get their close frame at once, and the shutdown waits
/// only for these. Configurations received through `reloads` are applied, as far as that is possible without a restart.
///
/// # Errors
/// As [`run`].
pub async fn run_until(
    outside: Outside,
    config: Config,
    stop: impl Future<Output = ()> + Send,
    hurry: impl Future<Output = ()> + Send,
    reloads: Reloads,
    started: impl FnOnce(&Listening),
) -> anyhow::Result<()> {
    let visitors_tls = tls("visitors", config.tls.settings(&config.http2), &outside.clock).context("[tls]")?;
    let keda_tls = tls("keda", config.keda.tls_settings(), &outside.clock).context("[keda]")?;
    let (listeners, admin, keda, listening) = listen(&*outside.net, &config).await?;
    let Prepared { dispatcher, orders, engine, stopper, clusters, shared, collectors } = prepare(outside, config)?;

    let mut engine = {
        let dispatcher = dispatcher.clone();
        tokio::spawn(async move { engine.run(dispatcher).await })
    };
    let mut helpers = JoinSet::new();
    let [visitors_tls, keda_tls] = secure(&dispatcher, &mut helpers, visitors_tls, keda_tls);
    // Opened first: until the journal has been read, KEDA gets an error at once instead of a timeout.
    let scaler = keda.map(|keda| helpers.spawn(crate::ops::keda::open(dispatcher.clone(), keda, keda_tls)));
    let mut serving: Vec<AbortHandle> = scaler.into_iter().collect();
    // Also opened first: probes and operators can see that a dispatcher waits for its journal.
    if let Some(admin) = admin {
        helpers.spawn(crate::ops::admin::open(dispatcher.clone(), admin));
    }
    tokio::pin!(stop);
    tokio::select! {
        biased;
        error = &mut engine => return Err(failure(error)),
        () = &mut stop => {
            tracing::info!("stopping before the journal was read");
            return Ok(());
        }
        introduced = crate::fleet::rules::introduce(&dispatcher) => if introduced.is_err() {
            // The engine has ended: it returns the reason.
            return Err(failure(engine.await));
        }
    }
    let tasks = start_tasks(&dispatcher, &mut helpers, &clusters, orders);
    forget_others(&dispatcher, shared);
    for collectors in clusters.values().flat_map(|c| c.collectors()).chain(collectors) {
        dispatcher.metrics.also(collectors).context("duplicate metric name")?;
    }
    // A pool that is removed later goes with its cluster.
    drop(clusters);
    let connections = limit(&dispatcher);
    serving.extend(open_visitors(&dispatcher, &mut helpers, listeners, visitors_tls.as_ref(), &connections));
    helpers.spawn(crate::ops::reload::run(dispatcher.clone(), reloads, connections, tasks.clone()));
    started(&listening);
    service::ready();

    let failed = tokio::select! {
        biased;
        error = &mut engine => Some(failure(error)),
        Some(Err(error)) = helpers.join_next() => Some(bug(error)),
        () = &mut stop => None,
    };
    stopper.send_replace(true);
    end_streams(&dispatcher, &serving, hurry).await;
    if failed.is_none() {
        let nowhere = "".into();
        let farewell = dispatcher.driver.write(&nowhere, Command::Farewell);
        let _ = tokio::time::timeout(Duration::from_secs(1), farewell).await;
    }
    tasks.stop().await;
    helpers.shutdown().await;
    engine.abort();
    dispatcher.access_log.flush().await;
    failed.map_or(Ok(()), Err)
}

/// Starts the task that keeps the certificates of these listeners current; returns their TLS, with its counters.
fn secure(
    dispatcher: &Dispatcher,
    helpers: &mut JoinSet<()>,
    visitors: Option<Arc<Tls>>,
    keda: Option<Arc<Tls>>,
) -> [Option<Secured>; 2] {
    let mut watched = Vec::new();
    let mut secured = |tls: Option<Arc<Tls>>, settings| {
        let tls = tls?;
        watched.push(Watched { tls: tls.clone(), settings });
        let handshakes = dispatcher.metrics.process.tls.handshakes(tls.of);
        Some(Secured { handshakes, tls, refused: Arc::default() })
    };
    let both = [
        secured(visitors, |shell| shell.config.tls.settings(&shell.config.http2)),
        secured(keda, |shell| shell.config.keda.tls_settings()),
    ];
    helpers.spawn(crate::ops::certificates::run(dispatcher.shell.clone(), watched));
    both
}

/// Starts the tasks of all pools, and those that act on the whole fleet.
fn start_tasks(
    dispatcher: &Arc<Dispatcher>,
    helpers: &mut JoinSet<()>,
    clusters: &BTreeMap<PoolId, Arc<dyn Cluster>>,
    orders: Vec<Orders>,
) -> Arc<Tasks> {
    let (tasks, starts) = Tasks::new();
    for (pool, orders) in dispatcher.pools.iter().zip(orders) {
        if let Some(cluster) = clusters.get(&pool.config.id) {
            tasks.start(pool.shell.clone(), cluster.clone(), orders);
        }
    }
    helpers.spawn(crate::fleet::tasks::run(dispatcher.shell.clone(), dispatcher.clone(), starts));
    helpers.spawn(housekeeping::run(dispatcher.clone()));
    let cut_off = {
        let dispatcher = dispatcher.clone();
        move || dispatcher.cut_off()
    };
    helpers.spawn(crate::fleet::fencing::run(dispatcher.shell.clone(), cut_off));
    tasks
}

/// Serves visitors on all their listeners, which share one limit of connections. Returns the tasks.
fn open_visitors(
    dispatcher: &Arc<Dispatcher>,
    helpers: &mut JoinSet<()>,
    listeners: Vec<Opened>,
    tls: Option<&Secured>,
    connections: &Arc<Semaphore>,
) -> Vec<AbortHandle> {
    let mut serving = Vec::new();
    for Opened { listener, kind, proxy } in listeners {
        let tls = tls.filter(|_| kind == ListenerKind::Tls).cloned();
        if kind == ListenerKind::Tls && tls.is_none() {
            continue;
        }
        let open = crate::front::connection::open(dispatcher.clone(), listener, kind, tls, proxy, connections.clone());
        serving.push(helpers.spawn(open));
    }
    serving
}

/// What is there before the first task starts.
struct Prepared {
    dispatcher: Arc<Dispatcher>,
    /// Orders to the clusters of the pools, in the pools' order.
    orders: Vec<Orders>,
    engine: Engine,
    /// Has every task know that the dispatcher is ending.
    stopper: watch::Sender<bool>,
    clusters: BTreeMap<PoolId, Arc<dyn Cluster>>,
    /// Other dispatchers may use the same journal.
    shared: bool,
    /// Metrics of the journal.
    collectors: Vec<Box<dyn Collector>>,
}

fn prepare(outside: Outside, config: Config) -> anyhow::Result<Prepared> {
    let Outside { net, clock, ids, clusters, mut journal } = outside;
    let keys = crate::front::cookie::Keys::new(&secrets(&config, journal.folder.as_deref(), &ids)?);
    let shared = journal.shared;
    let collectors = std::mem::take(&mut journal.collectors);
    // The shared journal may lose entries before this replica has read the rules of any pool from it.
    let rules = || config.pools.iter().map(|pool| &pool.rules);
    let (silence, grace) = (rules().map(|r| r.silence).max(), rules().map(|r| r.grace).max());
    journal.patience.at_least(silence.unwrap_or_default() + grace.unwrap_or_default());
    let (driver, engine, view) = crate::engine::new(journal, &ids).context("no randomness for this replica's name")?;
    let (stopper, stopping) = watch::channel(false);
    let shell = Shell {
        config: Live::new(config),
        net,
        clock,
        ids,
        driver,
        view,
        metrics: Metrics::new().context("duplicate metric name")?,
        stopping,
        again: watch::Sender::new(0),
        reloaded: watch::Sender::new(0),
    };
    let (dispatcher, orders) = Dispatcher::new(shell, keys).context("duplicate metric name")?;
    dispatcher.access_log.open(&dispatcher.config.access_log).context("cannot open access_log.output")?;
    Ok(Prepared { dispatcher, orders, engine, stopper, clusters, shared, collectors })
}

/// The permits for connections of visitors.
fn limit(dispatcher: &Dispatcher) -> Arc<Semaphore> {
    let most = dispatcher.config.limits.connections;
    dispatcher.metrics.process.connections_limit.set(i64::try_from(most).unwrap_or(i64::MAX));
    Arc::new(Semaphore::new(most))
}

/// Notifies all streams to end, waits for them, and cuts those that remain. Afterwards this replica sends nothing more to any
/// pod, as its `Farewell` states.
async fn end_streams(dispatcher: &Dispatcher, serving: &[AbortHandle], hurry: impl Future<Output = ()> + Send) {
    let drain = dispatcher.config.drain;
    tracing::info!(drain_seconds = drain.as_secs_f64(), "stopping");
    service::stopping();
    for pool in dispatcher.pools.iter() {
        pool.visits.stop(pool, &dispatcher.driver, drain);
    }
    if !drained(dispatcher, serving, hurry).await {
        tracing::info!("drain time over: cutting the remaining streams");
    }
    dispatcher.leave();
}

fn failure(engine: Result<crate::journal::JournalError, JoinError>) -> anyhow::Error {
    engine.map_or_else(bug, |error| anyhow::Error::new(error).context("the journal failed"))
}

fn bug(error: JoinError) -> anyhow::Error {
    anyhow::Error::new(error).context("a task of the dispatcher failed (this is a bug)")
}

/// Removes pools of an earlier configuration, which no route leads to any more. In a shared journal they may be another
/// replica's, so they are only logged.
fn forget_others(dispatcher: &Dispatcher, shared: bool) {
    let view = dispatcher.view.borrow();
    for pool in view.fleet.pools().filter(|id| dispatcher.pool(id).is_none()) {
        if shared {
            tracing::info!(%pool, "pool in the journal is not configured on this replica; if no replica configures it, remove it: DELETE /api/v1/pools/{pool}");
        } else {
            tracing::info!(%pool, "pool is no longer configured: removing it from the journal");
            dispatcher.driver.post(pool, Command::Remove);
        }
    }
}

/// The configured cookie keys, or a generated one, which is stored in the journal's folder if there is one.
fn secrets(config: &Config, folder: Option<&Path>, ids: &crate::io::Ids) -> anyhow::Result<Vec<Secret>> {
    if !config.cookie_keys.is_empty() {
        return Ok(config.cookie_keys.clone());
    }
    if let Some(folder) = folder {
        let path = folder.join(crate::config::KEY_FILE);
        let key = crate::front::cookie::kept_key(&path, ids)
            .with_context(|| format!("the cookie key in {}", path.display()))?;
        return Ok(vec![key]);
    }
    tracing::info!("no cookie keys configured: sessions will not be recognised after a restart");
    let halves = [ids.draw128(), ids.draw128()]
        .into_iter()
        .collect::<Result<Vec<_>, _>>()
        .context("no randomness for a cookie key")?;
    Ok(vec![Secret(halves.into_iter().flat_map(u128::to_be_bytes).collect())])
}

fn tls(of: &'static str, settings: Option<TlsSettings>, clock: &Clock) -> Result<Option<Arc<Tls>>, TlsError> {
    let Some(settings) = settings else { return Ok(None) };
    Ok(Some(Arc::new(Tls::new(of, settings, clock.wall())?)))
}

/// A listener for visitors.
struct Opened {
    listener: Box<dyn Listener>,
    kind: ListenerKind,
    /// Connections begin with a PROXY header.
    proxy: bool,
}

type Listeners = (Vec<Opened>, Option<Box<dyn Listener>>, Option<Box<dyn Listener>>, Listening);

async fn listen(net: &dyn Net, config: &Config) -> anyhow::Result<Listeners> {
    let mut listeners = Vec::new();
    for (kind, endpoint) in config.endpoints() {
        let opened = net.open(&endpoint).await.with_context(|| format!("cannot listen on {}", endpoint.at))?;
        listeners.extend(opened.into_iter().map(|listener| Opened { listener, kind, proxy: endpoint.proxy }));
    }
    let admin = match config.admin.listen {
        Some(at) => {
            Some(one(net, &config.internal(at)).await.with_context(|| format!("cannot listen on {at} (admin)"))?)
        }
        None => None,
    };
    let keda = match config.keda.listen {
        Some(at) => {
            Some(one(net, &config.internal(at)).await.with_context(|| format!("cannot listen on {at} (keda)"))?)
        }
        None => None,
    };
    let all = || listeners.iter().map(|opened| (&opened.listener, opened.kind));
    let of = |kind| {
        let those = all().filter(move |(listener, own)| *own == kind && listener.path().is_none());
        those.map(|(listener, _)| listener.address()).collect()
    };
    let listening = Listening {
        visitors: of(ListenerKind::Plain),
        tls: of(ListenerKind::Tls),
        redirect: of(ListenerKind::Redirect),
        http2: of(ListenerKind::Http2),
        unix: all().filter_map(|(listener, _)| listener.path()).collect(),
        admin: admin.as_ref().map(|l| l.address()),
        keda: keda.as_ref().map(|l| l.address()),
    };
    Ok((listeners, admin, keda, listening))
}

async fn one(net: &dyn Net, endpoint: &Endpoint) -> std::io::Result<Box<dyn Listener>> {
    let opened = net.open(endpoint).await?.into_iter().next();
    opened.ok_or_else(|| std::io::ErrorKind::NotFound.into())
}

/// Waits until every connection has ended (a tunnel is one) and the listeners for visitors and KEDA have finished, for `drain` plus [`FAREWELL`]
/// at most, and for [`FAREWELL`] after `hurry` has resolved. Returns true if all have ended.
async fn drained(dispatcher: &Dispatcher, serving: &[AbortHandle], hurry: impl Future<Output = ()> + Send) -> bool {
    let mut end = crate::io::now() + dispatcher.config.drain + FAREWELL;
    let mut hurry = std::pin::pin!(hurry);
    let mut hurries = false;
    loop {
        if dispatcher.metrics.replica.connections.get() == 0 && serving.iter().all(AbortHandle::is_finished) {
            return true;
        }
        if crate::io::now() >= end {
            return false;
        }
        tokio::select! {
            biased;
            () = &mut hurry, if !hurries => {
                tracing::info!("second stop signal: closing all streams at once");
                hurries = true;
                end = end.min(crate::io::now() + FAREWELL);
                for pool in dispatcher.pools.iter() {
                    pool.visits.stop(pool, &dispatcher.driver, Duration::ZERO);
                }
            }
            () = tokio::time::sleep(Duration::from_millis(20)) => {}
        }
    }
}
