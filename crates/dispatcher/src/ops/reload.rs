//! `SIGHUP`: applies the settings of a changed configuration that can change without a restart, and reports the others. As at a
//! start, the rules of a pool are written to the journal, for all replicas.

mod pools;

use crate::cluster::{ClusterError, Maker};
use crate::config::{self, Config, ConfigError, PoolConfig, Row, differ, merge_all, rows};
use crate::fleet::rules::{begin_idle_clocks, write_rules};
use crate::fleet::tasks::Tasks;
use crate::front::Dispatcher;
use crate::front::cookie::Keys;
use crate::io::service;
use pools::Changing;
use slotkeeper_core::{Command, PoolId, Scaling};
use std::fmt::Debug;
use std::sync::Arc;
use tokio::sync::{Semaphore, mpsc};

/// Configurations that have been read again, and the maker of clusters for added pools.
pub struct Reloads {
    /// Each file that was read, or why it is wrong.
    pub configurations: mpsc::UnboundedReceiver<Result<Config, ConfigError>>,
    /// Makes the cluster of an added pool.
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
    /// They are in force now.
    pub applied: Vec<String>,
    /// They keep their old values until a restart.
    pub needs_restart: Vec<String>,
    /// Pools that only the new file has.
    pub added: Vec<PoolId>,
    /// Pools that only the old file has.
    pub removed: Vec<PoolId>,
}

impl Changes {
    /// The settings of these rows: `prefix` is the name of their table.
    fn rows<T>(&mut self, prefix: &str, rows: &[Row<T>], old: &T, new: &mut T) {
        for (key, live) in merge_all(rows, old, new) {
            let names = if live { &mut self.applied } else { &mut self.needs_restart };
            names.push(format!("{prefix}{key}"));
        }
    }

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
        // Also after a refused one: the log may have been rotated.
        dispatcher.access_log.reopen(&dispatcher.config.access_log);
        dispatcher.metrics.process.reloads(outcome).inc();
        service::ready();
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
/// The rows of the settings say which ones do; this function adds the cases of several settings together, and secrets.
#[must_use]
pub fn merge(old: &Config, mut new: Config) -> (Config, Changes) {
    let mut changes = Changes::default();
    changes.rows("", rows::TOP, old, &mut new);
    if old.tls.listen.is_empty() == new.tls.listen.is_empty() {
        changes.rows("tls.", rows::TLS, &old.tls, &mut new.tls);
    } else {
        // Listeners that stay need their certificates; without listeners, nothing uses them.
        changes.fixed("tls", old.tls.clone(), &mut new.tls);
    }
    changes.rows("http2.", rows::HTTP2, &old.http2, &mut new.http2);
    changes.rows("limits.", rows::LIMITS, &old.limits, &mut new.limits);
    changes.rows("access_log.", rows::ACCESS_LOG, &old.access_log, &mut new.access_log);
    changes.rows("admin.", rows::ADMIN, old, &mut new);
    if new.admin.token != old.admin.token {
        changes.applied.push("admin.token".to_owned());
    }
    changes.fixed("keda", old.keda.clone(), &mut new.keda);
    changes.fixed("kubernetes", old.kubernetes.clone(), &mut new.kubernetes);
    // Not compared by `differ`: its password is a secret.
    if new.journal != old.journal {
        changes.needs_restart.push("journal".to_owned());
        new.journal = old.journal.clone();
    }
    if new.cookie_keys != old.cookie_keys {
        // Without configured keys, a generated key is in force.
        if new.cookie_keys.is_empty() || old.cookie_keys.is_empty() {
            changes.needs_restart.push("cookie_keys".to_owned());
            new.cookie_keys.clone_from(&old.cookie_keys);
        } else {
            changes.applied.push("cookie_keys".to_owned());
        }
    }
    for is in &mut new.pools {
        match old.pools.iter().find(|was| was.id == is.id) {
            Some(was) => pool(&mut changes, was, is),
            None => changes.added.push(is.id.clone()),
        }
    }
    let removed = old.pools.iter().filter(|was| new.pools.iter().all(|is| is.id != was.id));
    changes.removed = removed.map(|was| was.id.clone()).collect();
    (new, changes)
}

fn pool(changes: &mut Changes, old: &PoolConfig, new: &mut PoolConfig) {
    let name = |key: &str| format!("pools.{}.{key}", old.id);
    changes.rows(&name(""), rows::POOL, old, new);
    changes.live(&name("targets"), &old.rules.targets, &new.rules.targets);
    changes.live(&name("targets.gauge"), &old.gauge, &new.gauge);
    changes.live(&name("passive"), &old.passive, &new.passive);
    changes.live(&name("activity"), &old.activity, &new.activity);
    changes.fixed(&name("connections"), old.connections, &mut new.connections);
    let other_pods = differ(&old.cluster, &new.cluster);
    changes.fixed(&name("kubernetes, processes or fixed"), old.cluster.clone(), &mut new.cluster);
    if other_pods && old.rules.scaling == Scaling::None {
        // For a fixed list, both are the length of the list.
        (new.rules.min, new.rules.max) = (old.rules.min, old.rules.max);
    }
}
