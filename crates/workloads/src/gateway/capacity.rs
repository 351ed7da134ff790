//! The pod's capacity for sockets, and whether it is so nearly full that new visitors should go to other pods.

use std::sync::{Arc, Mutex, PoisonError};

use super::metrics::Metrics;

/// Percent of the limit from which the pod is not ready ...
const CROWDED: usize = 95;
/// ... until usage is below this percentage. In the range between them, readiness does not change.
const ROOMY: usize = 90;

pub(super) struct Capacity {
    limit: usize,
    state: Mutex<State>,
    metrics: Arc<Metrics>,
}

#[derive(Default)]
struct State {
    taken: usize,
    crowded: bool,
}

/// One socket's place, released on drop.
pub(super) struct Place(Arc<Capacity>);

impl Capacity {
    pub(super) fn new(limit: usize, metrics: Arc<Metrics>) -> Arc<Capacity> {
        metrics.limit(limit);
        Arc::new(Capacity { limit, state: Mutex::default(), metrics })
    }

    /// `None` if all places are taken.
    pub(super) fn take(self: &Arc<Capacity>) -> Option<Place> {
        self.change(|taken| taken + 1).then(|| Place(self.clone()))
    }

    pub(super) fn is_full(&self) -> bool {
        self.taken() >= self.limit
    }

    pub(super) fn is_crowded(&self) -> bool {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).crowded
    }

    pub(super) fn taken(&self) -> usize {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).taken
    }

    fn change(&self, to: impl Fn(usize) -> usize) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = to(state.taken);
        if taken > self.limit {
            return false;
        }
        state.taken = taken;
        state.crowded = match taken * 100 {
            share if share >= self.limit * CROWDED => true,
            share if share < self.limit * ROOMY => false,
            _ => state.crowded,
        };
        self.metrics.active(taken, self.limit);
        true
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.change(|taken| taken.saturating_sub(1));
    }
}

/// File descriptors for everything but sockets: plain requests, metrics, Redis, the runtime.
pub(super) const OTHER_FILES: usize = 64 + super::server::PLAIN_CONNECTIONS;

/// Raises the limit of open files as far as allowed. Returns how many sockets that is enough for.
pub(super) fn room_for(wanted: usize) -> usize {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        // If this is not allowed, the current limit applies.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    }
    // `None`: unlimited.
    let Some(files) = getrlimit(Resource::Nofile).current else { return wanted };
    let files = usize::try_from(files).unwrap_or(usize::MAX);
    if wanted.saturating_add(OTHER_FILES) <= files {
        return wanted;
    }
    let room = files.saturating_sub(OTHER_FILES).max(1);
    tracing::warn!(
        wanted,
        room,
        "open files are limited to {files} (ulimit -n), too few for --connections: accepting fewer sockets"
    );
    room
}
