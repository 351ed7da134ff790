//! Writes the annotations that protect pods in use: node autoscalers keep their nodes, a ReplicaSet deletes other pods
//! first, and KEDA, if `keda_guard` is set, does not scale in while there are sessions. Annotations are written only if
//! they differ, a few at a time. In a pool of a Deployment, this also deletes retiring pods that the ReplicaSet kept
//! while it deleted others instead.

use super::calls::{CallError, patch_params};
use super::sight::{DELETION_COST, DO_NOT_DISRUPT, KEPT, SAFE_TO_EVICT};
use super::{Living, Site, orders};
use crate::cluster::{Attendance, Attended};
use crate::outside::now;
use kube::Api;
use kube::api::{ApiResource, DynamicObject, Patch};
use serde_json::{Value, json};
use slotkeeper_core::{Ordinal, Timeline, planted};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// KEDA's own annotation (KEDA docs, "Pause autoscaling of scaling in").
const PAUSED_SCALE_IN: &str = "autoscaling.keda.sh/paused-scale-in";
/// Marks the pause as the dispatcher's: an operator's own pause is left alone.
const GUARD: &str = "slotkeeper.dev/guard";
/// The interval of checks. Annotations that were written are read back by the watch, and not written twice.
const LOOK: Duration = Duration::from_secs(1);
/// Maximum of pods written per check.
const AT_ONCE: usize = 10;
/// How long there must be no session before the guard is removed: each change of the guard changes KEDA's HPA.
const QUIET: Duration = Duration::from_secs(30);
/// How often a dispatcher checks that the guard still exists.
const VERIFY: Duration = Duration::from_secs(60);
/// The same during the first [`AT_FIRST`], in which a removal by another dispatcher, that did not know of the session yet,
/// may arrive.
const VERIFY_AT_FIRST: Duration = Duration::from_secs(5);
const AT_FIRST: Duration = Duration::from_secs(30);
const SLOWEST: Duration = Duration::from_secs(60);

pub(super) struct Marks {
    site: Arc<Site>,
    /// `None` before the fleet has been read.
    attended: watch::Receiver<Option<Attendance>>,
    /// The guard of the ScaledObject as last read, and when.
    guarded: Option<(Guard, Instant)>,
    active_until: Option<Instant>,
    /// Since when there have been sessions, without a break and in this timeline.
    active_since: Option<(Timeline, Instant)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Guard {
    /// Written by a dispatcher, in this timeline. A dispatcher of another timeline may be about to remove it.
    Ours(Timeline),
    Theirs,
    Off,
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

impl Marks {
    pub(super) fn new(site: Arc<Site>, attended: watch::Receiver<Option<Attendance>>) -> Marks {
        Marks { site, attended, guarded: None, active_until: None, active_since: None }
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
                let written = self.guard(attendance.active, attendance.timeline).await;
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
    /// whatever their deletion cost). Otherwise the ordinal of the other pod would stay empty forever.
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
                tracing::warn!(pool = %self.site.pool, pod = name, "cannot be deleted: {error}");
            }
        }
    }

    /// Keeps KEDA from scaling in while there are sessions (in an outage it may write 0 although it has only seen errors).
    async fn guard(&mut self, active: bool, timeline: Timeline) -> Result<(), CallError> {
        let Some(name) = self.site.config.scaled_object.clone().filter(|_| self.site.config.keda_guard) else {
            return Ok(());
        };
        // After a start it is not known since when there have been no sessions.
        let until = self.active_until.filter(|_| !active).unwrap_or_else(|| now() + QUIET);
        self.active_until = Some(until);
        let wanted = match self.guarded {
            _ if active => true,
            _ if until <= now() => false,
            Some((Guard::Ours(_), _)) => true,
            Some((Guard::Theirs | Guard::Off, _)) | None => return Ok(()),
        };
        let fits = |guard| match guard {
            Guard::Theirs => true,
            Guard::Off => !wanted,
            Guard::Ours(own) => wanted && own == timeline,
        };
        let since = self.active_since.filter(|(own, _)| active && *own == timeline);
        let (_, since) = since.unwrap_or((timeline, now()));
        let is_new = self.active_since.is_none_or(|(_, before)| before != since);
        self.active_since = active.then_some((timeline, since));
        let verify = if now() < since + AT_FIRST { VERIFY_AT_FIRST } else { VERIFY };
        let known = self.guarded.filter(|(_, seen)| !wanted || !is_new && now() < *seen + verify);
        if known.is_some_and(|(guard, _)| fits(guard)) {
            return Ok(());
        }
        let resource = scaled_object();
        let api: Api<DynamicObject> = Api::namespaced_with(self.site.client.clone(), &self.site.namespace, &resource);
        let (calls, limit) = (&self.site.calls, self.site.pace.call);
        let object = calls.make(("get", "scaledobjects"), limit, api.get(&name)).await?;
        let mut guard = guard_of(&object);
        if !fits(guard) {
            let name_of =
                |timeline: Timeline| if timeline == Timeline::FIRST { "true".to_owned() } else { timeline.to_string() };
            let (paused, owner) =
                if wanted { (json!("true"), json!(name_of(timeline))) } else { (Value::Null, Value::Null) };
            let metadata = json!({
                "resourceVersion": object.metadata.resource_version,
                "annotations": { PAUSED_SCALE_IN: paused, GUARD: owner },
            });
            let body: Patch<Value> = Patch::Merge(json!({ "metadata": metadata }));
            let call = async { api.patch(&name, &patch_params(), &body).await };
            guard = match calls.make(("patch", "scaledobjects"), limit, call).await {
                Ok(patched) => guard_of(&patched),
                // KEDA has written its status meanwhile: the next check reads it.
                Err(error) if error.is(409) => return Ok(()),
                Err(error) => return Err(error),
            };
            tracing::info!(pool = %self.site.pool, scaled_object = name, paused = wanted, "pause of KEDA's scale-in written");
        }
        self.guarded = Some((guard, now()));
        Ok(())
    }
}

/// Removes the annotations that the dispatcher wrote, named by these words.
fn take_away(words: &str, changes: &mut serde_json::Map<String, Value>) {
    planted!(MarksStay => ());
    let ours = KEEPS.into_iter().filter(|(word, ..)| words.split(',').any(|w| w == *word));
    changes.extend(ours.map(|(_, key, _)| (key.to_owned(), Value::Null)));
    changes.insert(KEPT.into(), Value::Null);
}

fn guard_of(object: &DynamicObject) -> Guard {
    planted!(GuardStolen => guard_whosever(object));
    let annotations = object.metadata.annotations.as_ref();
    let has = |key: &str| annotations.and_then(|a| a.get(key));
    // As KEDA reads it: any value that is not a boolean counts as true, false as not set.
    match (has(PAUSED_SCALE_IN).filter(|v| *v != "false"), has(GUARD)) {
        (None, _) => Guard::Off,
        (Some(_), Some(owner)) => Guard::Ours(owner.parse().unwrap_or_default()),
        (Some(_), None) => Guard::Theirs,
    }
}

fn scaled_object() -> ApiResource {
    ApiResource {
        group: "keda.sh".into(),
        version: "v1alpha1".into(),
        api_version: "keda.sh/v1alpha1".into(),
        kind: "ScaledObject".into(),
        plural: "scaledobjects".into(),
    }
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

#[cfg(feature = "planted")]
fn guard_whosever(object: &DynamicObject) -> Guard {
    let paused =
        object.metadata.annotations.as_ref().and_then(|a| a.get(PAUSED_SCALE_IN)).is_some_and(|v| v != "false");
    let owner = object.metadata.annotations.as_ref().and_then(|a| a.get(GUARD)).and_then(|owner| owner.parse().ok());
    if paused { Guard::Ours(owner.unwrap_or_default()) } else { Guard::Off }
}
