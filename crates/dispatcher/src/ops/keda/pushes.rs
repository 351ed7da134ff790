//! The push stream of KEDA: `true` is sent at once when the pool becomes active, and again every few seconds while it is
//! active, which keeps the workload alive whatever KEDA's polls return. `false` is never sent: since 2.18 KEDA ignores it.

use super::answers::{self, Scaler};
use super::messages::IsActiveResponse;
use crate::engine::view::View;
use crate::front::Pool;
use crate::io::now;
use crate::metrics::Counted;
use crate::shell::stopped;
use futures_util::Stream;
use futures_util::stream::unfold;
use prometheus::IntCounter;
use slotkeeper_core::planted;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;
use tonic::Status;

/// The pause between two messages while nothing changes.
pub const REPEAT: Duration = Duration::from_secs(10);
/// Unlike activity, certainty can be lost by time alone, without an entry: it is checked this often.
const LOOK: Duration = Duration::from_secs(1);
/// Maximum of open streams of one pool. KEDA has one for each trigger; those of earlier KEDA processes end by themselves.
const MOST: i64 = 64;

/// One open stream.
struct Pushes {
    scaler: Arc<Scaler>,
    pool: Arc<Pool>,
    view: watch::Receiver<View>,
    stopping: watch::Receiver<bool>,
    /// When `true` was sent last, unless the pool has been inactive since.
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
        tracing::info!(pool = %self.pool.config.id, why = self.why, "stream of KEDA ended");
    }
}

/// The stream ends without an error, even if a number is not certain: only after a clean end does KEDA reconnect within
/// two seconds, to the next replica.
pub(super) fn open(
    scaler: Arc<Scaler>,
    pool: Arc<Pool>,
) -> Result<impl Stream<Item = Result<IsActiveResponse, Status>> + Send + 'static, Status> {
    let (metrics, id) = (&scaler.dispatcher.metrics, &*pool.config.id.0);
    let streams = metrics.scaling.scaler_streams.with_label_values(&[id]);
    if streams.get() >= MOST {
        return Err(Status::resource_exhausted(format!("pool {id} has {MOST} open streams already")));
    }
    tracing::info!(pool = %pool.config.id, "stream of KEDA opened");
    let pushed = metrics.scaling.scaler_pushes.with_label_values(&[id]);
    let open = Open { _counted: Counted::one(&streams), pool: pool.clone(), why: "closed by KEDA" };
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

    /// Whether `true` is due for an active pool.
    fn is_due(&self) -> bool {
        planted!(PushedOnce => self.said.is_none());
        self.said.is_none_or(|said| said + REPEAT <= now())
    }

    /// Waits until `true` is due; `Err` is the reason why the stream ends.
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
