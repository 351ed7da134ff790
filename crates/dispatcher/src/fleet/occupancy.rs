//! Reports slot occupancy to a cluster that asks for it, at most once a second, and only when the state has changed.

use crate::cluster::{Attendance, Attended, Cluster};
use crate::engine::view::View;
use crate::io::duration;
use crate::shell::Shell;
use slotkeeper_core::{Fleet, PoolId, Standing, planted};
use std::sync::Arc;
use std::time::Duration;

const PACE: Duration = Duration::from_secs(1);

/// Runs until the pool or the dispatcher ends.
pub async fn run(shell: Arc<Shell>, pool: PoolId, cluster: Arc<dyn Cluster>) {
    if !cluster.wants_attendance() {
        return;
    }
    let mut view = shell.view.clone();
    loop {
        if view.changed().await.is_err() {
            return;
        }
        {
            let view = view.borrow_and_update();
            // If this replica's state is outdated, other replicas report. During a lapse there may be streams that the
            // journal does not contain, so nothing is changed.
            let may = !view.is_stale() && shell.has_read(&view) && !view.fleet.is_quiet();
            if may && view.fleet.is_listed(&pool) {
                cluster.attend(attendance(&view, &pool));
            }
        }
        tokio::time::sleep(PACE).await;
    }
}

fn attendance(view: &View, pool: &PoolId) -> Attendance {
    let (fleet, until) = (&view.fleet, view.fresh);
    let attended = fleet.pods(pool).filter_map(|(ordinal, pod)| {
        let life = pod.life.as_ref()?;
        let sessions = pod.sessions.len() as u32;
        Some((ordinal, Attended { uid: life.uid.clone(), sessions, retiring: life.standing == Standing::Retiring }))
    });
    let waits = fleet.census(pool).is_some_and(|c| c.is_active());
    Attendance {
        active: is_active(fleet, pool),
        awaits_pause: waits && fleet.awaits_pause(pool),
        timeline: fleet.timeline(),
        position: fleet.applied(),
        at: fleet.now(),
        heard: Some(view.heard),
        read: until.and_then(|until| until.checked_sub(duration(fleet.silence()))),
        until,
        pods: attended.collect(),
    }
}

/// Whether any session exists, or a pod is used that KEDA could still remove.
fn is_active(fleet: &Fleet, pool: &PoolId) -> bool {
    planted!(GuardOnlyWhileQueued => fleet.census(pool).is_some_and(|c| c.queued > 0));
    fleet.census(pool).is_some_and(|c| c.is_active()) || fleet.needs_pause(pool)
}

#[cfg(test)]
mod tests {
    use super::attendance;
    use crate::engine::view::View;
    use slotkeeper_core::{
        Command, Entry, Fleet, Ordinal, Phase, PoolId, ReplicaId, Rules, Scaling, SessionId, Sighting, Time,
    };

    #[test]
    fn a_pool_is_active_as_long_as_a_session_waits_or_has_a_slot() {
        let (mut view, pool, session) = (View::new(Fleet::new()), PoolId::from("p"), SessionId(7));
        let mut number = 0;
        let mut after = |command| {
            number += 1;
            let entry = Entry { at: Time(number), from: ReplicaId(1), number, pool: pool.clone(), command };
            let _ = view.fleet.apply(&entry);
            let attendance = attendance(&view, &pool);
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
