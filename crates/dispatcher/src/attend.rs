//! Tells the clusters that want to know who lives where. Once a second at most, and only what has changed.

use crate::cluster::{Attendance, Attended, Cluster};
use crate::dispatcher::Dispatcher;
use slotkeeper_core::{Fleet, PoolId, Standing};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

const PACE: Duration = Duration::from_secs(1);

/// Runs until the dispatcher ends.
pub async fn run(dispatcher: Arc<Dispatcher>, clusters: BTreeMap<PoolId, Arc<dyn Cluster>>) {
    let clusters: Vec<_> = clusters.into_iter().filter(|(_, c)| c.wants_attendance()).collect();
    if clusters.is_empty() {
        return std::future::pending().await;
    }
    let mut view = dispatcher.view.clone();
    loop {
        if view.changed().await.is_err() {
            return;
        }
        {
            let view = view.borrow_and_update();
            // What is old news here is done by others; where somebody may be whom nobody knows of, all stays as it is.
            if !view.is_stale() && dispatcher.has_read(&view) && !view.fleet.is_quiet() {
                for (pool, cluster) in clusters.iter().filter(|(pool, _)| view.fleet.is_listed(pool)) {
                    cluster.attend(attendance(&view.fleet, view.fresh, pool));
                }
            }
        }
        tokio::time::sleep(PACE).await;
    }
}

fn attendance(fleet: &Fleet, until: Option<Instant>, pool: &PoolId) -> Attendance {
    let attended = fleet.pods(pool).filter_map(|(ordinal, pod)| {
        let life = pod.life.as_ref()?;
        let sessions = pod.sessions.len() as u32;
        Some((ordinal, Attended { uid: life.uid.clone(), sessions, retiring: life.standing == Standing::Retiring }))
    });
    Attendance {
        active: fleet.census(pool).is_some_and(|c| c.is_active()),
        timeline: fleet.timeline(),
        until,
        pods: attended.collect(),
    }
}
