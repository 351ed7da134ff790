//! `SIGHUP`: applies the settings of a changed configuration that can change without a restart, and reports the others. As at a
//! start, the rules of a pool are written to the journal, for all replicas.

mod pools;

use crate::cluster::{ClusterError, Maker};
use crate::config::{self, Config, ConfigError, Limits, PoolConfig, TlsListeners};
use crate::fleet::rules::{begin_idle_clocks, write_rules};
use crate::fleet::tasks::Tasks;
use crate::front::Dispatcher;
use crate::front::cookie::Keys;
use pools::Changing;
use slotkeeper_core::{Command, PoolId, Rules};
use std::fmt::Debug;
use std::sync::Arc;
use tokio::sync::{Semaphore, mpsc};

/// Configurations that have been read again, and the maker of clusters for added pools.
pub struct Reloads {
    pub configurations: mpsc::UnboundedReceiver<Result<Config, ConfigError>>,
    pub maker: Maker,
}

impl Reloads {
    /// No reloads: the configuration never changes.
    #[must_use]
    pub fn none() -> Reloads {
        let (_, configurations) = mpsc::unbounded_channel();
        let refused = || Err(ClusterError::Refused("no pools can be added here".into()));
        Reloads { configurations, maker: Arc::new(move |_, _| Box::pin(async move { refused() })) }
    }
}

/// The names of settings that have changed.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Changes {
    pub applied: Vec<String>,
    pub needs_restart: Vec<String>,
    pub added: Vec<PoolId>,
    pub removed: Vec<PoolId>,
}

impl Changes {
    /// This setting takes effect at once.
    fn live<T: Debug>(&mut self, name: &str, old: &T, new: &T) {
        if differ(old, new) {
            self.applied.push(name.to_owned());
        }
    }

    /// This setting needs a restart: the old value stays.
    fn fixed<T: Debug>(&mut self, name: &str, old: T, new: &mut T) {
        if differ(&old, new) {
            self.needs_restart.push(name.to_owned());
        }
        *new = old;
    }
}

/// Compares two values by their debug output: not for secrets, which it hides.
fn differ<T: Debug>(old: &T, new: &T) -> bool {
    format!("{old:?}") != format!("{new:?}")
}

/// Applies configurations as they come, until the process ends.
pub(crate) async fn run(dispatcher: Arc<Dispatcher>, reloads: Reloads, connections: Arc<Semaphore>, tasks: Arc<Tasks>) {
    let Reloads { mut configurations, maker } = reloads;
    let mut changing = Changing::new(dispatcher.clone(), tasks, maker);
    loop {
        let read = tokio::select! {
            biased;
            read = configurations.recv() => match read {
                Some(read) => read,
                None => break,
            },
            () = changing.one_ended(), if !changing.is_settled() => continue,
        };
        let outcome = match read {
            Err(error) => {
                for problem in &error.problems {
                    tracing::warn!("configuration not reloaded, the old one stays in force: {problem}");
                }
                "refused"
            }
            Ok(new) => {
                for warning in config::doubts(&new) {
                    tracing::warn!("{warning}");
                }
                apply(&dispatcher, new, &connections, &mut changing).await
            }
        };
        dispatcher.metrics.process.reloads(outcome).inc();
    }
    std::future::pending::<()>().await;
}

async fn apply(
    dispatcher: &Arc<Dispatcher>,
    new: Config,
    connections: &Arc<Semaphore>,
    changing: &mut Changing,
) -> &'static str {
    let (config, changes) = merge(&dispatcher.config, new);
    if let Some(clash) = config::clash(&config.pools) {
        let (restart, names) = ("settings that need a restart keep their old values", changes.needs_restart.join(", "));
        tracing::warn!("configuration not reloaded, the old one stays in force: {clash}; {restart}: {names}");
        return "refused";
    }
    let added = match changing.prepare(&config, &changes.added).await {
        Ok(added) => added,
        Err(error) => {
            tracing::warn!("configuration not reloaded, the old one stays in force: {error}");
            return "refused";
        }
    };
    let (before, after) = (dispatcher.config.limits.connections, config.limits.connections);
    let keys = (config.cookie_keys != dispatcher.config.cookie_keys).then(|| Keys::new(&config.cookie_keys));
    let pools = config.pools.clone();
    if let Some(keys) = keys {
        dispatcher.keys.replace(keys);
    }
    dispatcher.config.replace(config);
    resize(connections, before, after);
    dispatcher.metrics.process.connections_limit.set(i64::try_from(after).unwrap_or(i64::MAX));
    for pool in pools {
        let Some(current) = dispatcher.pool(&pool.id) else { continue };
        let rules = (pool.rules != current.config.rules).then(|| pool.rules.clone());
        current.config.replace(pool);
        if let Some(rules) = rules {
            begin_idle_clocks(dispatcher, &current.config);
            if write_rules(dispatcher, &current.config.id, Command::Rules(rules)).await.is_err() {
                break;
            }
        }
    }
    changing.remove(&changes.removed);
    let config: &Config = &dispatcher.config;
    changing.add(config, added).await;
    // Scheduled spare slots are not in the rules that have just been written.
    dispatcher.reloaded.send_modify(|times| *times += 1);
    report(changes)
}

fn report(changes: Changes) -> &'static str {
    let Changes { mut applied, needs_restart, added, removed } = changes;
    applied.extend(added.iter().map(|id| format!("pools.{id} (added)")));
    applied.extend(removed.iter().map(|id| format!("pools.{id} (removed)")));
    if !applied.is_empty() {
        tracing::info!("configuration reloaded: {} in force now", applied.join(", "));
    }
    if !needs_restart.is_empty() {
        tracing::warn!("configuration reloaded in part: a restart is needed for {}", needs_restart.join(", "));
        return "in_part";
    }
    if applied.is_empty() {
        tracing::info!("configuration reloaded: no changes");
    }
    "applied"
}

/// Changes the limit of connections. Open connections stay; a lower limit is reached as they end.
fn resize(connections: &Arc<Semaphore>, before: usize, after: usize) {
    if after > before {
        connections.add_permits(after - before);
        return;
    }
    let fewer = before - after;
    let left = fewer - connections.forget_permits(fewer);
    if let Some(left) = u32::try_from(left).ok().filter(|left| *left > 0) {
        let connections = connections.clone();
        tokio::spawn(async move {
            if let Ok(permits) = connections.acquire_many_owned(left).await {
                permits.forget();
            }
        });
    }
}

/// Returns the configuration that is in force after a reload: the new one, with the old values of settings that need a restart.
/// Each setting has a line here: the compiler reports a missing one.
#[must_use]
pub fn merge(old: &Config, mut new: Config) -> (Config, Changes) {
    let mut changes = Changes::default();
    let Config {
        listen,
        tls,
        threads,
        admin,
        keda,
        journal,
        cookie_keys,
        trusted_proxies,
        limits,
        drain,
        kubernetes,
        pools,
        // Those of the new file.
        warnings: _,
    } = &mut new;
    changes.fixed("listen", old.listen.clone(), listen);
    self::tls(&mut changes, &old.tls, tls);
    changes.fixed("threads", old.threads, threads);
    changes.fixed("admin.listen", old.admin.listen, &mut admin.listen);
    if admin.token != old.admin.token {
        changes.applied.push("admin.token".to_owned());
    }
    changes.fixed("keda", old.keda.clone(), keda);
    // Not compared by `differ`: its password is a secret.
    if *journal != old.journal {
        changes.needs_restart.push("journal".to_owned());
        *journal = old.journal.clone();
    }
    if *cookie_keys != old.cookie_keys {
        // Without configured keys, a generated key is in force.
        if cookie_keys.is_empty() || old.cookie_keys.is_empty() {
            changes.needs_restart.push("cookie_keys".to_owned());
            cookie_keys.clone_from(&old.cookie_keys);
        } else {
            changes.applied.push("cookie_keys".to_owned());
        }
    }
    changes.live("trusted_proxies", &old.trusted_proxies, trusted_proxies);
    self::limits(&mut changes, &old.limits, limits);
    changes.live("drain_seconds", &old.drain, drain);
    changes.fixed("kubernetes", old.kubernetes.clone(), kubernetes);

    for is in pools.iter_mut() {
        match old.pools.iter().find(|was| was.id == is.id) {
            Some(was) => *is = pool(&mut changes, was, is.clone()),
            None => changes.added.push(is.id.clone()),
        }
    }
    let removed = old.pools.iter().filter(|was| pools.iter().all(|is| is.id != was.id));
    changes.removed = removed.map(|was| was.id.clone()).collect();
    (new, changes)
}

fn tls(changes: &mut Changes, old: &TlsListeners, new: &mut TlsListeners) {
    if old.listen.is_empty() || new.listen.is_empty() {
        // Listeners that stay need the old certificates; without listeners, nothing uses them.
        changes.fixed("tls", old.clone(), new);
        return;
    }
    let TlsListeners { listen, redirect, redirect_port, certificates, least_version, handshake, hsts } = new;
    changes.fixed("tls.listen", old.listen.clone(), listen);
    changes.fixed("tls.redirect_listen", old.redirect.clone(), redirect);
    changes.live("tls.redirect_port", &old.redirect_port, redirect_port);
    changes.live("tls.certificates", &old.certificates, certificates);
    changes.live("tls.min_version", &old.least_version, least_version);
    changes.live("tls.handshake_seconds", &old.handshake, handshake);
    changes.live("tls.hsts_seconds", &old.hsts, hsts);
}

fn limits(changes: &mut Changes, old: &Limits, new: &mut Limits) {
    let Limits {
        header_bytes,
        header_fields,
        header_time,
        body_bytes,
        idle,
        linger,
        linger_bytes,
        connections,
        streams_per_session,
        new_sessions_per_second,
    } = new;
    changes.live("limits.header_bytes", &old.header_bytes, header_bytes);
    // Connections to pods have been opened with it.
    changes.fixed("limits.header_fields", old.header_fields, header_fields);
    changes.live("limits.header_seconds", &old.header_time, header_time);
    changes.live("limits.body_bytes", &old.body_bytes, body_bytes);
    changes.live("limits.idle_seconds", &old.idle, idle);
    changes.live("limits.linger_seconds", &old.linger, linger);
    changes.live("limits.linger_bytes", &old.linger_bytes, linger_bytes);
    changes.live("limits.connections", &old.connections, connections);
    changes.live("limits.streams_per_session", &old.streams_per_session, streams_per_session);
    changes.live("limits.new_sessions_per_second", &old.new_sessions_per_second, new_sessions_per_second);
}

fn pool(changes: &mut Changes, old: &PoolConfig, mut new: PoolConfig) -> PoolConfig {
    let PoolConfig {
        id,
        title,
        hosts,
        path,
        rules,
        trigger,
        admission,
        linger,
        half_open,
        hold,
        hold_limit,
        cookie_name,
        cookie_max_age,
        allowed_origins,
        embedded_in,
        answer,
        stall,
        passive,
        rejoin,
        activity,
        connections,
        landing,
        active_sessions_gauge,
        priority_header,
        schedule,
        gauge,
        cluster,
    } = &mut new;
    let name = |key: &str| format!("pools.{}.{key}", old.id);
    *id = old.id.clone();
    changes.live(&name("title"), &old.title, title);
    changes.live(&name("hosts"), &old.hosts, hosts);
    changes.fixed(&name("path"), old.path.clone(), path);
    self::rules(changes, &name, &old.rules, rules);
    let scaled_by = (old.trigger, old.rules.scaling);
    if scaled_by != (*trigger, rules.scaling) {
        changes.needs_restart.push(name("scaling"));
        (*trigger, rules.scaling) = scaled_by;
    }
    changes.live(&name("admission"), &old.admission, admission);
    changes.live(&name("linger_seconds"), &old.linger, linger);
    changes.live(&name("half_open_seconds"), &old.half_open, half_open);
    changes.live(&name("hold_seconds"), &old.hold, hold);
    changes.fixed(&name("hold_limit"), old.hold_limit, hold_limit);
    changes.fixed(&name("cookie_name"), old.cookie_name.clone(), cookie_name);
    changes.live(&name("cookie_max_age_seconds"), &old.cookie_max_age, cookie_max_age);
    changes.live(&name("allowed_origins"), &old.allowed_origins, allowed_origins);
    changes.live(&name("embedded_in"), &old.embedded_in, embedded_in);
    changes.live(&name("answer_seconds"), &old.answer, answer);
    changes.live(&name("stall_seconds"), &old.stall, stall);
    changes.live(&name("passive"), &old.passive, passive);
    changes.live(&name("rejoin"), &old.rejoin, rejoin);
    changes.live(&name("activity"), &old.activity, activity);
    changes.fixed(&name("connections"), old.connections, connections);
    changes.live(&name("landing_url"), &old.landing, landing);
    changes.fixed(&name("active_sessions_gauge"), old.active_sessions_gauge.clone(), active_sessions_gauge);
    changes.live(&name("priority_header"), &old.priority_header, priority_header);
    changes.live(&name("schedule"), &old.schedule, schedule);
    changes.live(&name("targets.gauge"), &old.gauge, gauge);
    let other_pods = differ(&old.cluster, cluster);
    changes.fixed(&name("kubernetes, processes or fixed"), old.cluster.clone(), cluster);
    if other_pods && old.rules.scaling == slotkeeper_core::Scaling::None {
        // For a fixed list, both are the length of the list.
        (rules.min, rules.max) = (old.rules.min, old.rules.max);
    }
    new
}

fn rules(changes: &mut Changes, name: &impl Fn(&str) -> String, old: &Rules, new: &mut Rules) {
    // Defaults of other settings depend on it, and so does whether a connection to a pod may be reused.
    changes.fixed(&name("slots_per_pod"), old.slots_per_pod, &mut new.slots_per_pod);
    let Rules {
        slots_per_pod: _,
        min,
        max,
        placement,
        sticky_storage,
        after_session,
        scaling: _,
        shrink,
        targets,
        spare,
        queue_limit,
        queue_lease,
        claim,
        grace,
        idle,
        max_session,
        warn_before,
        extend_limit,
        silence,
        cooldown,
        stuck_after,
    } = &*new;
    changes.live(&name("min_pods"), &old.min, min);
    changes.live(&name("max_pods"), &old.max, max);
    changes.live(&name("placement"), &old.placement, placement);
    changes.live(&name("sticky_storage"), &old.sticky_storage, sticky_storage);
    changes.live(&name("after_session"), &old.after_session, after_session);
    changes.live(&name("shrink"), &old.shrink, shrink);
    changes.live(&name("targets"), &old.targets, targets);
    changes.live(&name("spare"), &old.spare, spare);
    changes.live(&name("queue_limit"), &old.queue_limit, queue_limit);
    changes.live(&name("queue_lease_seconds"), &old.queue_lease, queue_lease);
    changes.live(&name("claim_seconds"), &old.claim, claim);
    changes.live(&name("grace_seconds"), &old.grace, grace);
    changes.live(&name("idle_seconds"), &old.idle, idle);
    changes.live(&name("max_session_seconds"), &old.max_session, max_session);
    changes.live(&name("warn_before_seconds"), &old.warn_before, warn_before);
    changes.live(&name("extend_limit_seconds"), &old.extend_limit, extend_limit);
    changes.live(&name("silence_seconds"), &old.silence, silence);
    changes.live(&name("cooldown_seconds"), &old.cooldown, cooldown);
    changes.live(&name("stuck_after_seconds"), &old.stuck_after, stuck_after);
}
