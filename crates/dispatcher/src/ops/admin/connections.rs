//! The connections of operators and probes. Their number is limited; at the limit, the connection that has been idle longest is
//! closed for a new one. So idle connections lock out no probe, and use no descriptors that visitors need.

use crate::front::Dispatcher;
use crate::io::listener::Limit;
use crate::io::now;
use crate::io::throttle::Throttle;
use crate::metrics::process::Refused;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use tokio::sync::Notify;
use tokio::time::Instant;

/// The limit of the admin listener.
pub(super) struct Operators {
    connections: Connections,
    dispatcher: Arc<Dispatcher>,
    full: Throttle,
}

impl Operators {
    pub(super) fn new(most: usize, dispatcher: Arc<Dispatcher>) -> Operators {
        Operators { connections: Connections::new(most), dispatcher, full: Throttle::new() }
    }
}

impl Limit for Operators {
    type Permit = Arc<Usage>;

    fn permit(&mut self, peer: SocketAddr) -> Option<Arc<Usage>> {
        let room = self.connections.make_room();
        if room != Room::Free {
            self.dispatcher.metrics.process.admin_refused(Refused::Connection);
            if let Some(times) = self.full.note() {
                tracing::warn!(%peer, times, "connection limit of the admin listener reached: idle connections are closed for new ones");
            }
        }
        (room != Room::None).then(|| self.connections.add())
    }
}

struct Connections {
    most: usize,
    open: Vec<Weak<Usage>>,
}

/// The use of one connection. Dropped when the connection ends.
pub(super) struct Usage {
    /// Number of requests that are being answered.
    at_work: AtomicUsize,
    last: Mutex<Instant>,
    close: Notify,
}

/// Held while a request is being answered.
pub(super) struct AtWork(Arc<Usage>);

impl Usage {
    pub(super) fn begin(self: &Arc<Self>) -> AtWork {
        self.at_work.fetch_add(1, Ordering::Relaxed);
        AtWork(self.clone())
    }

    /// Returns when the connection is to be closed for another one.
    pub(super) async fn closed(&self) {
        self.close.notified().await;
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
enum Room {
    Free,
    /// An idle connection was closed for it.
    Made,
    /// All connections are answering requests.
    None,
}

impl Connections {
    fn new(most: usize) -> Connections {
        Connections { most, open: Vec::new() }
    }

    fn make_room(&mut self) -> Room {
        self.open.retain(|usage| usage.strong_count() > 0);
        if self.open.len() < self.most {
            return Room::Free;
        }
        let idle = self.open.iter().enumerate().filter_map(|(at, usage)| Some((usage.upgrade()?.idle_since()?, at)));
        let Some((_, at)) = idle.min() else { return Room::None };
        if let Some(usage) = self.open.swap_remove(at).upgrade() {
            usage.close.notify_one();
        }
        Room::Made
    }

    fn add(&mut self) -> Arc<Usage> {
        let usage = Arc::new(Usage { at_work: AtomicUsize::new(0), last: Mutex::new(now()), close: Notify::new() });
        self.open.push(Arc::downgrade(&usage));
        usage
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt as _;
    use std::time::Duration;

    #[tokio::test(start_paused = true)]
    async fn the_connection_that_has_been_idle_longest_is_closed() {
        let mut connections = Connections::new(2);
        let mut open = Vec::new();
        for _ in 0..2 {
            assert_eq!(connections.make_room(), Room::Free);
            open.push(connections.add());
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        // The older one has been used since.
        drop(open[0].begin());
        let busy = open[0].begin();
        assert_eq!(connections.make_room(), Room::Made);
        open.remove(1).closed().await;
        let newer = connections.add();
        let working = newer.begin();
        assert_eq!(connections.make_room(), Room::None, "both are at work");
        drop(working);
        assert_eq!(connections.make_room(), Room::Made);
        newer.closed().await;
        assert!(open[0].closed().now_or_never().is_none());
        let _newest = connections.add();
        drop(busy);
        drop(open);
        assert_eq!(connections.make_room(), Room::Free, "one has ended by itself");
    }
}
