//! Reports slot occupancy to the clusters that ask for it, at most once a second, and only when the state has changed.

use crate::cluster::{Attendance, Attended, Cluster};
use crate::dispatcher::Dispatcher;
use slotkeeper_core::{Fleet, PoolId, Standing, planted};
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
            // If this replica's state is outdated, other replicas report. During a lapse there may be streams that the
            // journal does not contain, so nothing is changed.
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
    Attendance { active: is_active(fleet, pool), timeline: fleet.timeline(), until, pods: attended.collect() }
}

/// Whether any session exists.
fn is_active(fleet: &Fleet, pool: &PoolId) -> bool {
    planted!(GuardOnlyWhileQueued => fleet.census(pool).is_some_and(|c| c.queued > 0));
    fleet.census(pool).is_some_and(|c| c.is_active())
}

#[cfg(test)]
mod tests {
    use super::attendance;
    use slotkeeper_core::{
        Command, Entry, Fleet, Ordinal, Phase, PoolId, ReplicaId, Rules, Scaling, SessionId, Sighting, Time,
    };

    #[test]
    fn a_pool_is_active_as_long_as_a_session_waits_or_has_a_slot() {
        let (mut fleet, pool, session) = (Fleet::new(), PoolId::from("p"), SessionId(7));
        let mut number = 0;
        let mut after = |command| {
            number += 1;
            let _ = fleet.apply(&Entry { at: Time(number), from: ReplicaId(1), number, pool: pool.clone(), command });
            let attendance = attendance(&fleet, None, &pool);
            (attendance.active, attendance.pods.values().map(|pod| pod.sessions).sum::<u32>())
        };
        assert_eq!(after(Command::Rules(Rules { max: 1, scaling: Scaling::None, ..Rules::default() })), (false, 0));
        assert_eq!(after(Command::Visit { session, hint: None, class: 0 }), (true, 0), "the session waits");
        let phase = Phase::Ready { address: ([10, 0, 0, 1], 80).into() };
        let pods = vec![Sighting { pod: Ordinal(0), uid: "u".into(), phase }];
        assert_eq!(after(Command::PodsListed { pods, version: 1 }), (true, 1), "a slot is held for it");
        assert_eq!(after(Command::Attach { session }), (true, 1), "the session is attached");
        assert_eq!(after(Command::Leave { session }), (true, 1), "its streams still run");
        assert_eq!(after(Command::Detach { session }), (false, 0));
    }
}
