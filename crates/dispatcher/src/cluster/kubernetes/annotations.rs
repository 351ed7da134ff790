//! Writes the annotations that protect pods in use: node autoscalers keep their nodes, a ReplicaSet deletes other pods
//! first, and KEDA, if `keda_guard` is set, does not scale in while there are sessions (`pause`). Annotations are written only if
//! they differ, a few at a time. In a pool of a Deployment, this also deletes retiring pods that the ReplicaSet kept
//! while it deleted others instead.

use super::calls::CallError;
use super::pause::{Pause, Proof};
use super::snapshot::{DELETION_COST, DO_NOT_DISRUPT, KEPT, SAFE_TO_EVICT};
use super::{Living, Site, orders};
use crate::cluster::{Attendance, Attended};
use crate::io::now;
use serde_json::{Value, json};
use slotkeeper_core::{Ordinal, planted};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

/// The interval of checks. Annotations that were written are read back by the watch, and not written twice.
const LOOK: Duration = Duration::from_secs(1);
/// Maximum of pods written per check.
const AT_ONCE: usize = 10;
const SLOWEST: Duration = Duration::from_secs(60);

pub(super) struct Annotations {
    site: Arc<Site>,
    /// `None` before the fleet has been read.
    attended: watch::Receiver<Option<Attendance>>,
    pause: Pause,
}

/// The annotations that protect a pod: the word for each in `KEPT` (which lists those that are the dispatcher's), its key,
/// its value.
const KEEPS: [(&str, &str, &str); 2] =
    [("safe-to-evict", SAFE_TO_EVICT, "false"), ("do-not-disrupt", DO_NOT_DISRUPT, "true")];

/// A delay before the next attempt that grows with each failure.
struct Delay {
    time: Duration,
    over: Option<Instant>,
}

impl Delay {
    fn new() -> Delay {
        Delay { time: LOOK, over: None }
    }

    fn is_over(&self) -> bool {
        self.over.is_none_or(|over| over <= now())
    }

    fn after(&mut self, site: &Site, what: &str, written: Result<(), CallError>) {
        match written {
            Ok(()) => *self = Delay::new(),
            Err(error) => {
                tracing::warn!(pool = %site.pool, "cannot {what}: {error}");
                self.over = Some(now() + self.time);
                self.time = (self.time * 2).min(SLOWEST);
            }
        }
    }
}

impl Annotations {
    pub(super) fn new(
        site: Arc<Site>,
        attended: watch::Receiver<Option<Attendance>>,
        proven: mpsc::UnboundedSender<Proof>,
    ) -> Annotations {
        let pause = Pause::new(site.clone(), proven);
        Annotations { site, attended, pause }
    }

    pub(super) async fn run(mut self) {
        let (mut pods, mut guard) = (Delay::new(), Delay::new());
        loop {
            tokio::time::sleep(LOOK).await;
            // Before the fleet has been read, it is not known whether there are sessions.
            let Some(attendance) = self.attended.borrow_and_update().clone() else { continue };
            // If the report is outdated, nothing is written: a dispatcher that reads the journal does it.
            if attendance.until.is_some_and(|until| until <= now()) {
                continue;
            }
            if guard.is_over() {
                let written = self.pause.look(&attendance).await;
                guard.after(&self.site, "write the guard against KEDA", written);
            }
            if pods.is_over() {
                let written = self.pods(&attendance).await;
                pods.after(&self.site, "write the annotations of pods", written);
            }
        }
    }

    async fn pods(&self, attendance: &Attendance) -> Result<(), CallError> {
        let mut todo = Vec::new();
        {
            let seen = self.site.seen();
            for (ordinal, living) in seen.pods.iter().filter(|(_, p)| !p.terminating) {
                let attended = attendance.pods.get(&Ordinal(*ordinal)).filter(|a| a.uid == living.uid);
                if let Some(changes) = attended.and_then(|a| self.changes(living, a)) {
                    todo.push((living.clone(), changes));
                }
                if todo.len() == AT_ONCE {
                    break;
                }
            }
        }
        for (living, changes) in todo {
            self.site.annotate(&living.name, &living.uid, None, changes).await?;
        }
        if self.site.is_deployment() {
            self.misfit(attendance).await;
        }
        Ok(())
    }

    /// The annotations to change; a value of null removes one.
    fn changes(&self, living: &Living, attended: &Attended) -> Option<Value> {
        let has = |key: &str| living.annotations.get(key).map(String::as_str);
        let mut changes = serde_json::Map::new();
        let busy = attended.sessions > 0;
        match has(KEPT) {
            None if busy => {
                let ours = KEEPS.into_iter().filter(|(_, key, _)| has(key).is_none());
                let words: Vec<&str> = ours.clone().map(|(word, ..)| word).collect();
                if !words.is_empty() {
                    changes.extend(ours.map(|(_, key, value)| (key.to_owned(), json!(value))));
                    changes.insert(KEPT.into(), json!(words.join(",")));
                }
            }
            Some(words) if !busy => take_away(words, &mut changes),
            None | Some(_) => {}
        }
        if self.site.is_deployment() {
            let cost = cost(attended).to_string();
            if has(DELETION_COST).unwrap_or("0") != cost {
                changes.insert(DELETION_COST.into(), json!(cost));
            }
        }
        (!changes.is_empty()).then_some(Value::Object(changes))
    }

    /// Deletes a retiring pod if the ReplicaSet has deleted another one instead (it deletes pods that are not ready first,
    /// regardless of their deletion cost). Otherwise the ordinal of the other pod would stay empty forever.
    async fn misfit(&self, attendance: &Attendance) {
        let misfit = {
            let seen = self.site.seen();
            let Some(workload) = seen.workload.as_ref().filter(|w| w.is_caught_up()) else { return };
            let living = || seen.pods.iter().filter(|(_, p)| !p.terminating);
            let is_full = living().count() as u32 == workload.span.len();
            let hole = (0..workload.span.len()).any(|n| !seen.pods.contains_key(&n));
            let retires = |o: &u32, p: &Living| {
                let attended = attendance.pods.get(&Ordinal(*o)).filter(|a| a.uid == p.uid);
                !workload.span.contains(*o) && attended.is_some_and(|a| a.retiring && a.sessions == 0)
            };
            let found = living().filter(|_| is_full && hole).find(|(o, p)| retires(o, p));
            found.map(|(_, p)| (p.name.clone(), p.uid.clone()))
        };
        if let Some((name, uid)) = misfit {
            tracing::info!(pool = %self.site.pool, pod = name, "deleting a retiring pod, because the ReplicaSet deleted another one instead");
            if let Err(error) = orders::delete(&self.site, &name, &uid).await {
                tracing::warn!(pool = %self.site.pool, pod = name, "cannot delete the pod: {error}");
            }
        }
    }
}

/// Removes the annotations that the dispatcher wrote, named by these words.
fn take_away(words: &str, changes: &mut serde_json::Map<String, Value>) {
    planted!(MarksStay => ());
    let ours = KEEPS.into_iter().filter(|(word, ..)| words.split(',').any(|w| w == *word));
    changes.extend(ours.map(|(_, key, _)| (key.to_owned(), Value::Null)));
    changes.insert(KEPT.into(), Value::Null);
}

/// The deletion cost: retiring pods first, then free ones, then by the logarithm of their sessions, because every change
/// is a write.
fn cost(attended: &Attended) -> i64 {
    planted!(DeletionCostEqual => if attended.retiring && attended.sessions == 0 { -1 } else { 0 });
    match attended.sessions {
        0 if attended.retiring => -1,
        0 => 0,
        n => i64::from(n.ilog2()) + 1,
    }
}
