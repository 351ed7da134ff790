//! The connections of operators and probes. Their number is limited; at the limit, the connection that has been idle longest is
//! closed for a new one. So idle connections lock out no probe, and use no descriptors that visitors need.

use crate::io::now;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::task::AbortHandle;
use tokio::time::Instant;

pub(super) struct Connections {
    most: usize,
    open: Vec<(AbortHandle, Arc<Usage>)>,
}

/// The use of one connection.
pub(super) struct Usage {
    /// Number of requests that are being answered.
    at_work: AtomicUsize,
    last: Mutex<Instant>,
}

/// Held while a request is being answered.
pub(super) struct AtWork(Arc<Usage>);

impl Usage {
    pub(super) fn new() -> Arc<Usage> {
        Arc::new(Usage { at_work: AtomicUsize::new(0), last: Mutex::new(now()) })
    }

    pub(super) fn begin(self: &Arc<Self>) -> AtWork {
        self.at_work.fetch_add(1, Ordering::Relaxed);
        AtWork(self.clone())
    }

    /// Returns since when the connection is idle; `None` while it answers a request.
    fn idle_since(&self) -> Option<Instant> {
        let last = *self.last.lock().unwrap_or_else(PoisonError::into_inner);
        (self.at_work.load(Ordering::Relaxed) == 0).then_some(last)
    }
}

impl Drop for AtWork {
    fn drop(&mut self) {
        *self.0.last.lock().unwrap_or_else(PoisonError::into_inner) = now();
        self.0.at_work.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The result of making room for one more connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Room {
    Free,
    /// An idle connection was closed for it.
    Made,
    /// All connections are answering requests.
    None,
}

impl Connections {
    pub(super) fn new(most: usize) -> Connections {
        Connections { most, open: Vec::new() }
    }

    pub(super) fn make_room(&mut self) -> Room {
        self.open.retain(|(task, _)| !task.is_finished());
        if self.open.len() < self.most {
            return Room::Free;
        }
        let idle = self.open.iter().enumerate().filter_map(|(at, (_, usage))| Some((usage.idle_since()?, at)));
        let Some((_, at)) = idle.min() else { return Room::None };
        self.open.swap_remove(at).0.abort();
        Room::Made
    }

    pub(super) fn add(&mut self, task: AbortHandle, usage: Arc<Usage>) {
        self.open.push((task, usage));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test(start_paused = true)]
    async fn the_connection_that_has_been_idle_longest_is_closed() {
        let mut connections = Connections::new(2);
        let mut tasks = Vec::new();
        for _ in 0..2 {
            assert_eq!(connections.make_room(), Room::Free);
            let (task, usage) = (tokio::spawn(std::future::pending::<()>()), Usage::new());
            connections.add(task.abort_handle(), usage.clone());
            tasks.push((task, usage));
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        // The older one has been used since.
        drop(tasks[0].1.begin());
        let busy = tasks[0].1.begin();
        assert_eq!(connections.make_room(), Room::Made);
        assert!(tasks.remove(1).0.await.unwrap_err().is_cancelled());
        let usage = Usage::new();
        let working = usage.begin();
        connections.add(tokio::spawn(std::future::pending::<()>()).abort_handle(), usage);
        assert_eq!(connections.make_room(), Room::None, "both are at work");
        drop(working);
        assert_eq!(connections.make_room(), Room::Made);
        assert!(!tasks[0].0.is_finished());
        drop(busy);
        tasks[0].0.abort();
        tokio::task::yield_now().await;
        assert_eq!(connections.make_room(), Room::Free, "one has ended by itself");
    }
}
