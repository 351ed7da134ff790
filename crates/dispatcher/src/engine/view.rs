//! The read side of the state: as of the last entry applied here. Waiting is level-triggered: until a condition holds.

use crate::io::{duration, latest};
use slotkeeper_core::{Fleet, Millis, Ordinal, PoolId, SessionId};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// The state as this replica has read it, and how current it is.
pub struct View {
    /// The state after the last entry that was read.
    pub fleet: Fleet,
    /// When (on the local clock) the last entry was applied.
    pub heard: tokio::time::Instant,
    /// Until when (on the [latest] clock) the fleet certainly counts this replica's streams as alive. `None`: forever,
    /// because the journal is not shared.
    pub trusted: Option<tokio::time::Instant>,
    /// Until when, on the same clock, the state is current enough for external decisions: to scale by it, to send visitors
    /// here.
    pub fresh: Option<tokio::time::Instant>,
    /// The last moment at which bytes may go to a pod.
    pub limit: Limit,
}

/// The last moment at which this replica may send bytes to a pod, shared with every stream (law 5). A timer closes streams
/// before it (`fencing.rs`). But a process that was stopped for a while may read bytes that its clients sent meanwhile
/// before its timers fire: so each stream also checks the clock before it forwards anything.
#[derive(Clone, Debug)]
pub struct Limit {
    since: Instant,
    /// Milliseconds after `since`, on the [latest] clock.
    until: Arc<AtomicU64>,
}

impl Limit {
    /// No limit yet.
    #[must_use]
    pub fn new() -> Limit {
        Limit { since: latest(), until: Arc::new(AtomicU64::new(u64::MAX)) }
    }

    /// Moves the limit, for all streams at once.
    pub fn set(&self, until: Instant) {
        let millis = until.duration_since(self.since).as_millis();
        self.until.store(u64::try_from(millis).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Returns whether no more bytes may be sent.
    #[must_use]
    pub fn has_passed(&self) -> bool {
        let until = self.until.load(Ordering::Relaxed);
        until != u64::MAX && latest().duration_since(self.since).as_millis() >= u128::from(until)
    }
}

impl Default for Limit {
    fn default() -> Limit {
        Limit::new()
    }
}

impl View {
    /// A view of this state as of now, of a journal that is not shared as far as is known.
    #[must_use]
    pub fn new(fleet: Fleet) -> View {
        View { fleet, heard: crate::io::now(), trusted: None, fresh: None, limit: Limit::new() }
    }

    /// How long ago, on the local clock, the state was current.
    #[must_use]
    pub fn age(&self) -> Millis {
        Millis(crate::io::now().duration_since(self.heard).as_millis() as u64)
    }

    /// The maximum age of this state: how long ago this replica last proved that it reads the journal. `None`: the journal
    /// is not shared.
    #[must_use]
    pub fn lag(&self) -> Option<Duration> {
        let silence = duration(self.fleet.silence());
        self.fresh.map(|until| (latest() + silence).saturating_duration_since(until))
    }

    /// This replica has not read the shared journal for so long that the fleet may reassign its slots: no byte may go to a pod
    /// (law 5).
    #[must_use]
    pub fn is_cut_off(&self) -> bool {
        self.trusted.is_some_and(|until| until <= latest())
    }

    /// This replica has not read the shared journal for a `silence`: its state may be outdated.
    #[must_use]
    pub fn is_stale(&self) -> bool {
        self.fresh.is_some_and(|until| until <= latest())
    }
}

/// Waits until the condition holds (also if it holds already). False if the dispatcher ends first.
pub async fn until(view: &mut watch::Receiver<View>, mut holds: impl FnMut(&View) -> bool) -> bool {
    view.wait_for(|v| holds(v)).await.is_ok()
}

/// The ids of a pool's sessions, in order: for listings. While a reader holds the view for long, the engine waits for it, and
/// all other readers for the engine. So this reads some pods at a time; a session that moves meanwhile may be missing.
pub fn session_ids(view: &watch::Receiver<View>, pool: &PoolId) -> Vec<SessionId> {
    const PODS_AT_A_TIME: usize = 64;
    // First: a session that leaves the queue meanwhile is listed all the same. And last: one that joins it.
    let queue = || view.borrow().fleet.queue(pool).collect::<Vec<_>>();
    let mut ids = queue();
    let mut next = Some(Ordinal(0));
    while let Some(first) = next.take() {
        let view = view.borrow();
        for (ordinal, pod) in view.fleet.pods(pool).skip_while(|(o, _)| *o < first).take(PODS_AT_A_TIME) {
            ids.extend(&pod.sessions);
            next = ordinal.0.checked_add(1).map(Ordinal);
        }
    }
    ids.extend(queue());
    ids.sort_unstable();
    ids.dedup();
    ids
}

#[cfg(test)]
mod tests {
    use super::{Limit, View, session_ids};
    use crate::io::{SUSPENDED, latest, now};
    use slotkeeper_core::{
        Command, Entry, Fleet, Ordinal, Phase, PoolId, ReplicaId, Rules, Scaling, SessionId, Sighting, Time, Timeline,
        Window,
    };
    use std::time::Duration;
    use tokio::sync::watch;

    #[test]
    fn all_sessions_are_listed_in_order_also_those_that_wait() {
        let (pods, pool) = (150, PoolId::from("pool"));
        let scaling = Scaling::Direct { window: Window::Fixed };
        let rules = Rules { slots_per_pod: 2, min: pods, max: pods, scaling, ..Rules::default() };
        let seen = Command::ScaleSeen { start: 0, replicas: pods, decided: 0, timeline: Timeline::FIRST, version: 1 };
        let ready = |o: u32| Sighting {
            pod: Ordinal(o),
            uid: o.to_string().as_str().into(),
            phase: Phase::Ready { address: ([10, 0, 0, o as u8], 80).into() },
        };
        let list = Command::PodsListed { pods: (0..pods).map(ready).collect(), version: 2 };
        // Not in the order of their arrival.
        let ids = (0..310u128).map(|n| SessionId(n * 7 % 310));
        let visits = ids.map(|session| Command::Visit { session, hint: None, class: 0 });
        let mut fleet = Fleet::new();
        for (number, command) in (1..).zip([Command::Rules(rules), seen, list].into_iter().chain(visits)) {
            let at = Time(1_000_000);
            let _ = fleet.apply(&Entry { at, from: ReplicaId(1), number, pool: pool.clone(), command });
        }
        assert_eq!(fleet.queue(&pool).count(), 10);
        let expected: Vec<SessionId> = fleet.sessions(&pool).into_iter().map(|(id, _)| id).collect();
        let (_sender, view) = watch::channel(View::new(fleet));
        assert_eq!(expected.len(), 310);
        assert_eq!(session_ids(&view, &pool), expected);
        assert!(session_ids(&view, &"other".into()).is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_limit_passes_at_its_moment_and_can_be_moved() {
        let limit = Limit::new();
        tokio::time::advance(Duration::from_secs(1_000)).await;
        assert!(!limit.has_passed(), "nothing has been set");
        let seen = limit.clone();
        limit.set(now() + Duration::from_secs(5));
        tokio::time::advance(Duration::from_millis(4_999)).await;
        assert!(!seen.has_passed());
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(seen.has_passed());
        limit.set(now() + Duration::from_millis(1));
        assert!(!seen.has_passed());
    }

    #[tokio::test(start_paused = true)]
    async fn a_limit_passes_while_the_machine_is_suspended() {
        SUSPENDED.set(Some(Duration::from_secs(7)));
        let limit = Limit::new();
        limit.set(latest() + Duration::from_secs(5));
        tokio::time::advance(Duration::from_secs(2)).await;
        assert!(!limit.has_passed());
        SUSPENDED.set(Some(Duration::from_secs(10)));
        assert!(limit.has_passed(), "the monotonic clock stood still for three seconds");
        limit.set(latest() + Duration::from_secs(5));
        assert!(!limit.has_passed());
        let mut view = View::new(Fleet::new());
        view.trusted = Some(latest() + Duration::from_secs(5));
        view.fresh = Some(latest() + Duration::from_secs(6));
        assert!(!view.is_cut_off() && !view.is_stale());
        SUSPENDED.set(Some(Duration::from_secs(16)));
        assert!(view.is_cut_off() && view.is_stale());
        SUSPENDED.set(None);
    }
}
