//! Pods of a former dispatcher. A pod is adopted if its supervisor still runs (same pid and start time) and the settings
//! with which it was started have not changed; all others are ended first.

use super::child::Pool;
use super::folders;
use super::leftovers;
use super::link::Link;
use super::records::Record;
use crate::cluster::probe::{self, Health};
use crate::config::{DataBetween, OnRestart};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;

/// Time limit for ending pods, in addition to their grace. The next start at the same ordinal ends those that remain.
const PATIENCE: Duration = Duration::from_secs(15);

/// How many times a connection to a supervisor is retried, and the pause between two tries.
const TRIES: u32 = 40;
const PAUSE: Duration = Duration::from_millis(50);

/// An adopted pod.
pub(super) struct Adopted {
    pub(super) record: Record,
    pub(super) link: Link,
    /// The result of one probe.
    pub(super) health: Health,
}

/// Returns the adopted pods, after all others have been ended.
pub(super) async fn find(pool: &Arc<Pool>) -> Vec<Adopted> {
    let mut tasks = JoinSet::new();
    for record in pool.records.all() {
        tasks.spawn(meet(pool.clone(), record));
    }
    let mut found = Vec::new();
    let all = async {
        while let Some(met) = tasks.join_next().await {
            found.extend(met.ok().flatten());
        }
    };
    if tokio::time::timeout(PATIENCE + pool.config.stop_grace, all).await.is_err() {
        tracing::warn!(pool = %pool.id, "pods of a former dispatcher are still ending");
    }
    if let Err(e) = pool.records.delete_rubbish() {
        tracing::warn!(pool = %pool.id, "cannot delete data of former visitors: {e}");
    }
    found
}

async fn meet(pool: Arc<Pool>, record: Record) -> Option<Adopted> {
    let ordinal = record.ordinal;
    match adopt(&pool, &record).await {
        Ok((link, health)) => {
            tracing::info!(pool = %pool.id, ordinal, address = %record.address, "pod of a former dispatcher adopted");
            Some(Adopted { record, link, health })
        }
        Err(why) => {
            tracing::info!(pool = %pool.id, ordinal, "pod of a former dispatcher not adopted, ending it: {why}");
            let socket = pool.records.socket(ordinal);
            leftovers::end(&record, &pool.id.0, &socket, pool.config.stop_grace).await;
            wipe(&pool, &record).await;
            pool.records.remove(ordinal, &record.uid);
            None
        }
    }
}

/// # Errors
/// Why it cannot be adopted, in words.
async fn adopt(pool: &Pool, record: &Record) -> Result<(Link, Health), String> {
    if pool.config.on_restart != OnRestart::Adopt || !record.adopt {
        return Err("on_restart is \"stop\"".into());
    }
    if record.settings != pool.settings {
        return Err("it was started with other settings".into());
    }
    if !record.is_supervised() {
        return Err("its supervisor has ended".into());
    }
    let socket = pool.records.socket(record.ordinal);
    let mut tries = 0;
    let link = loop {
        match Link::find(&socket, &record.uid, pool.output(record.ordinal)).await {
            Ok(link) => break link,
            // The supervisor may not have noticed the end of the former dispatcher yet.
            Err(_) if tries < TRIES && record.is_supervised() => tries += 1,
            Err(e) => return Err(format!("its supervisor does not answer: {e}")),
        }
        tokio::time::sleep(PAUSE).await;
    };
    let answer = probe::ask(&*pool.net, record.address, &pool.config.probe).await;
    let mut health = Health::default();
    health.take(answer.is_ok(), pool.config.probe.failures);
    Ok((link, health))
}

async fn wipe(pool: &Arc<Pool>, record: &Record) {
    if pool.config.data != DataBetween::Wipe {
        return;
    }
    let (own, folder, uid) = (pool.clone(), pool.folder(record.ordinal), record.uid.clone());
    let wiped = tokio::task::spawn_blocking(move || folders::wipe(&folder, &uid, &own.records)).await;
    if let Some(e) = wiped.map_err(std::io::Error::other).and_then(|wiped| wiped).err() {
        tracing::warn!(pool = %pool.id, ordinal = record.ordinal, "cannot delete a former visitor's data: {e}");
    }
}
