//! The read side of the state: as of the last entry applied here. Waiting is level-triggered: until a condition holds.

use crate::io::{duration, latest};
use slotkeeper_core::{Fleet, Millis};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

pub struct View {
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

    pub fn set(&self, until: Instant) {
        let millis = until.duration_since(self.since).as_millis();
        self.until.store(u64::try_from(millis).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

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

#[cfg(test)]
mod tests {
    use super::{Limit, View};
    use crate::io::{SUSPENDED, latest, now};
    use slotkeeper_core::Fleet;
    use std::time::Duration;

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
