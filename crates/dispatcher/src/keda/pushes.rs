//! The stream on which KEDA is woken: `true` at once when the pool becomes active, and again every few seconds while it is,
//! which keeps the workload alive whatever its polls say. `false` is never said: since 2.18 KEDA ignores it.

use super::answers::{self, Scaler};
use super::messages::IsActiveResponse;
use crate::dispatcher::Pool;
use crate::metrics::Counted;
use crate::outside::now;
use crate::view::{View, stopped};
use futures_util::Stream;
use futures_util::stream::unfold;
use prometheus::IntCounter;
use slotkeeper_core::planted;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;
use tonic::Status;

/// Between two messages while nothing changes.
pub const REPEAT: Duration = Duration::from_secs(10);
/// Doubt can come with time alone, unlike activity: it is looked for this often.
const LOOK: Duration = Duration::from_secs(1);
/// Streams of one pool at once. KEDA has one for each trigger; those of its earlier lives end by themselves.
const MOST: i64 = 64;

/// One open stream.
struct Pushes {
    scaler: Arc<Scaler>,
    pool: Arc<Pool>,
    view: watch::Receiver<View>,
    stopping: watch::Receiver<bool>,
    /// When `true` was said last, unless the pool has been inactive since.
    said: Option<Instant>,
    pushed: IntCounter,
    open: Open,
}

/// A stream that is counted.
struct Open {
    _counted: Counted,
    pool: Arc<Pool>,
    why: &'static str,
}

impl Drop for Open {
    fn drop(&mut self) {
        tracing::info!(pool = %self.pool.config.id, why = self.why, "KEDA's stream has ended");
    }
}

/// Ends cleanly where others would fail: only after a clean end KEDA comes again in two seconds, and asks the next replica.
pub(super) fn open(
    scaler: Arc<Scaler>,
    pool: Arc<Pool>,
) -> Result<impl Stream<Item = Result<IsActiveResponse, Status>> + Send + 'static, Status> {
    let (metrics, id) = (&scaler.dispatcher.metrics, &*pool.config.id.0);
    let streams = metrics.scaler_streams.with_label_values(&[id]);
    if streams.get() >= MOST {
        return Err(Status::resource_exhausted(format!("pool {id} has {MOST} open streams already")));
    }
    tracing::info!(pool = %pool.config.id, "KEDA has opened a stream");
    let pushed = metrics.scaler_pushes.with_label_values(&[id]);
    let open = Open { _counted: Counted::one(&streams), pool: pool.clone(), why: "KEDA has closed it" };
    let (view, stopping) = (scaler.dispatcher.view.clone(), scaler.dispatcher.stopping.clone());
    let pushes = Pushes { scaler, pool, view, stopping, said: None, pushed, open };
    Ok(unfold(pushes, |mut pushes| async move {
        match pushes.next().await {
            Ok(()) => Some((Ok(IsActiveResponse { result: true }), pushes)),
            Err(why) => {
                pushes.end(why);
                None
            }
        }
    }))
}

impl Pushes {
    fn end(mut self, why: &'static str) {
        self.open.why = why;
    }

    /// Whether `true` is to be said to an active pool's scaler now.
    fn is_due(&self) -> bool {
        planted!(PushedOnce => self.said.is_none());
        self.said.is_none_or(|said| said + REPEAT <= now())
    }

    /// Waits until `true` is to be said; `Err` says why nothing is said any more.
    async fn next(&mut self) -> Result<(), &'static str> {
        loop {
            let is_active = {
                let view = self.view.borrow_and_update();
                if let Some(why) = self.scaler.doubt(&view, &self.pool) {
                    return Err(why);
                }
                answers::is_active(&view.fleet, &self.pool.config.id)
            };
            self.said = self.said.filter(|_| is_active);
            if is_active && self.is_due() {
                self.said = Some(now());
                self.pushed.inc();
                return Ok(());
            }
            tokio::select! {
                biased;
                () = stopped(&mut self.stopping) => {}
                changed = self.view.changed() => changed.map_err(|_| "this dispatcher has ended")?,
                () = tokio::time::sleep(LOOK) => {}
            }
        }
    }
}
