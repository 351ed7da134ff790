//! The open streams of a connection: a connection without any is idle.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::Notify;

#[derive(Default)]
pub(super) struct Streams {
    open: AtomicUsize,
    ended: Notify,
}

impl Streams {
    /// Returns when there has been no open stream for this long.
    pub(super) async fn none_for(&self, time: Duration) {
        loop {
            let ended = self.ended.notified();
            if self.open.load(Ordering::Acquire) > 0 {
                ended.await;
                continue;
            }
            // A stream that begins and ends meanwhile notifies.
            if tokio::time::timeout(time, ended).await.is_err() && self.open.load(Ordering::Acquire) == 0 {
                return;
            }
        }
    }
}

/// A stream that is open until all clones of this are dropped. Part of the extensions of a WebSocket's request.
#[derive(Clone)]
pub(crate) struct Open {
    _stream: Arc<One>,
}

struct One(Arc<Streams>);

impl Open {
    pub(super) fn new(streams: &Arc<Streams>) -> Open {
        streams.open.fetch_add(1, Ordering::AcqRel);
        Open { _stream: Arc::new(One(streams.clone())) }
    }
}

impl Drop for One {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::AcqRel);
        self.0.ended.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_connection_is_idle_a_while_after_its_last_stream() {
        let streams = Arc::<Streams>::default();
        let second = Duration::from_secs(1);
        let is_idle = async |within| tokio::time::timeout(within, streams.none_for(second)).await.is_ok();
        assert!(!is_idle(second / 2).await && is_idle(second * 2).await);
        let stream = Open::new(&streams);
        let other = stream.clone();
        drop(stream);
        assert!(!is_idle(second * 5).await, "a clone is left");
        let later = async {
            tokio::time::sleep(second / 2).await;
            drop(other);
        };
        let (idle, ()) = tokio::join!(is_idle(second * 5), later);
        assert!(idle);
    }
}
