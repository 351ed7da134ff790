//! Pauses KEDA's scale-in by an annotation while a session lives or waits (`keda_guard`): KEDA may write 0 in an outage,
//! although it saw only errors. If pods wait until it is certain that KEDA does not remove them, this also finds out when the
//! pause makes that certain (docs/lapse.md, "KEDA's guard").

use super::Site;
use super::calls::{CallError, patch_params};
use crate::cluster::Attendance;
use crate::io::now;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use kube::Api;
use kube::api::{ApiResource, DynamicObject, Patch};
use serde_json::{Value, json};
use slotkeeper_core::{Time, Timeline, planted};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;

/// KEDA's own annotation (KEDA docs, "Pause autoscaling of scaling in").
const PAUSED_SCALE_IN: &str = "autoscaling.keda.sh/paused-scale-in";
/// Annotations the pause as ours: an operator's own pause is left alone.
const GUARD: &str = "slotkeeper.dev/guard";
/// The journal position at which sessions lived or waited: only a dispatcher that has read it may end the pause.
const POSITION: &str = "slotkeeper.dev/guard-position";
/// Maximum age of a dispatcher's view of the journal when it ends the pause. `Pace::quiet` minus this is longer than an
/// observation of the pause is valid (`PAUSE_LASTS` in the core), plus the time until every dispatcher that could end it has
/// read that observation.
const OLDEST: Duration = Duration::from_secs(15);
/// Interval at which a dispatcher checks that the guard is still there.
const VERIFY: Duration = Duration::from_secs(60);
/// The same during `AT_FIRST`: a delayed removal by another dispatcher, which did not know of the session yet, may still arrive.
const VERIFY_AT_FIRST: Duration = Duration::from_secs(5);
/// Counted from the first session.
const AT_FIRST: Duration = Duration::from_secs(30);
/// Time between two proofs for the same pods.
const PROVE_AGAIN: Duration = Duration::from_secs(5);
/// Maximum age of the known fleet time.
const RECENT: Duration = Duration::from_secs(3);

pub(super) struct Pause {
    site: Arc<Site>,
    proven: mpsc::UnboundedSender<Proof>,
    /// The guard that was last seen on the ScaledObject, and when.
    guarded: Option<(Guard, Instant)>,
    /// When the pause may end. Renewed while sessions live.
    active_until: Option<Instant>,
    /// Since when sessions have lived without a break, and in this timeline.
    active_since: Option<(Timeline, Instant)>,
    /// The journal position since which no session lives or waits.
    quiet_from: Option<u64>,
    /// The autoscaler (its uid) that does not scale in because of the guard of this timeline and position, and when that was
    /// first seen.
    disabled: Option<(String, Mark, Instant)>,
    /// Earliest time of the next proof for pods that the last one did not help.
    prove_again: Option<Instant>,
    warned: bool,
}

/// Result for the reader of watch events, which checks the other conditions (docs/lapse.md) and reports to the journal.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Proof {
    /// The known fleet time is too old: an entry is needed.
    Outdated,
    /// At this fleet time, in this timeline, KEDA and its autoscaler could scale in nothing.
    ScaleInPaused { at: Time, timeline: Timeline },
}

/// The content of the guard's annotations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mark {
    timeline: Timeline,
    position: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Guard {
    /// Set by a dispatcher in the timeline of the mark. A dispatcher of another timeline may be about to remove it.
    Ours(Mark),
    /// Paused by an operator.
    Theirs,
    /// Not paused.
    Off,
}

impl Pause {
    pub(super) fn new(site: Arc<Site>, proven: mpsc::UnboundedSender<Proof>) -> Pause {
        Pause {
            site,
            proven,
            guarded: None,
            active_until: None,
            active_since: None,
            quiet_from: None,
            disabled: None,
            prove_again: None,
            warned: false,
        }
    }

    /// Keeps the pause while a session lives or waits, and proves it if pods wait for that.
    pub(super) async fn look(&mut self, attendance: &Attendance) -> Result<(), CallError> {
        let Some(name) = self.site.config.scaled_object.clone().filter(|_| self.site.config.keda_guard) else {
            return Ok(());
        };
        self.guard(&name, attendance).await?;
        if !attendance.awaits_pause {
            self.prove_again = None;
        }
        // Nothing shows which pods a Deployment's ReplicaSet is about to remove.
        if attendance.awaits_pause && !self.site.is_deployment() && self.prove_again.is_none_or(|at| at <= now()) {
            self.prove(&name, attendance).await?;
        }
        Ok(())
    }

    async fn guard(&mut self, name: &str, attendance: &Attendance) -> Result<(), CallError> {
        let Attendance { active, timeline, position, .. } = *attendance;
        let quiet_from = self.quiet_from.filter(|_| !active).unwrap_or(position);
        self.quiet_from = (!active).then_some(quiet_from);
        // A dispatcher that has just started does not know since when no session lives.
        let until = self.active_until.filter(|_| !active).unwrap_or_else(|| now() + self.site.pace.quiet);
        self.active_until = Some(until);
        let wanted = match self.guarded {
            _ if active => true,
            _ if until <= now() && attendance.read.is_none_or(|read| now() < read + OLDEST) => false,
            Some((Guard::Ours(_), _)) => true,
            Some((Guard::Theirs | Guard::Off, _)) | None => return Ok(()),
        };
        let fits = |guard| match guard {
            Guard::Theirs => true,
            Guard::Off => !wanted,
            Guard::Ours(own) => wanted && own.timeline == timeline,
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
        let object = self.object(name).await?;
        let mut guard = guard_of(&object);
        if let Guard::Ours(mark) = guard
            && !wanted
            && mark.timeline == timeline
            && mark.position > quiet_from
        {
            // A session lived or waited since then, and ended before this dispatcher noticed it.
            (self.active_until, self.quiet_from) = (Some(now() + self.site.pace.quiet), Some(position));
        } else if !fits(guard) {
            let mark = wanted.then_some(Mark { timeline, position });
            let Some(written) = self.write(name, &object, mark).await? else { return Ok(()) };
            guard = written;
            tracing::info!(pool = %self.site.pool, scaled_object = name, paused = wanted, "pause of KEDA's scale-in changed");
        }
        self.guarded = Some((guard, now()));
        if let Guard::Ours(mark) = guard
            && wanted
            && self.disabled.as_ref().is_none_or(|(_, known, _)| *known != mark)
        {
            self.autoscaler(&object, mark).await;
        }
        Ok(())
    }

    /// Checks whether scale-in has been disabled for long enough, and sends the proof.
    async fn prove(&mut self, name: &str, attendance: &Attendance) -> Result<(), CallError> {
        let Some((Guard::Ours(_), _)) = self.guarded else { return Ok(()) };
        let object = self.object(name).await?;
        let Guard::Ours(mark) = guard_of(&object) else { return Ok(()) };
        self.autoscaler(&object, mark).await;
        let Some((uid, since)) = self.is_disabled(mark) else { return Ok(()) };
        if mark.timeline != attendance.timeline || now() < since + self.site.pace.acts {
            return Ok(());
        }
        if attendance.heard.is_none_or(|heard| heard + RECENT < now()) {
            let _ = self.proven.send(Proof::Outdated);
            return Ok(());
        }
        // A delayed removal fails after this write, and no dispatcher sends another one before it knows of these sessions.
        let renewed = Mark { position: attendance.position, ..mark };
        let Some(Guard::Ours(written)) = self.write(name, &object, Some(renewed)).await? else { return Ok(()) };
        (self.guarded, self.disabled) = (Some((Guard::Ours(written), now())), Some((uid, written, since)));
        self.autoscaler(&object, written).await;
        if self.is_disabled(written).is_some() {
            self.prove_again = Some(now() + PROVE_AGAIN);
            let _ = self.proven.send(Proof::ScaleInPaused { at: attendance.at, timeline: attendance.timeline });
        }
        Ok(())
    }

    fn is_disabled(&self, mark: Mark) -> Option<(String, Instant)> {
        self.disabled.as_ref().filter(|(_, known, _)| *known == mark).map(|(uid, _, since)| (uid.clone(), *since))
    }

    /// Reads KEDA's autoscaler, and records since when it does not scale in because of this guard.
    async fn autoscaler(&mut self, object: &DynamicObject, mark: Mark) {
        let name = autoscaler_of(object);
        let api: Api<HorizontalPodAutoscaler> = Api::namespaced(self.site.client.clone(), &self.site.namespace);
        let call = async { api.get(&name).await };
        match self.site.calls.make(("get", "horizontalpodautoscalers"), self.site.pace.call, call).await {
            Ok(found) => {
                let uid = found.metadata.uid.clone().unwrap_or_default();
                let known = self.is_disabled(mark).filter(|(known, _)| *known == uid);
                self.disabled = keeps_all(&found, self.site.config.workload.name(), self.size()).then(|| {
                    let since = known.map_or_else(now, |(_, since)| since);
                    (uid, mark, since)
                });
            }
            Err(error) => {
                self.disabled = None;
                if !std::mem::replace(&mut self.warned, true) {
                    let pool = &self.site.pool;
                    tracing::warn!(
                        %pool, autoscaler = name,
                        "cannot read KEDA's autoscaler: pods that were given up are used again only after settle_seconds: {error}"
                    );
                }
            }
        }
    }

    /// The number of pods, as it was read last.
    fn size(&self) -> u32 {
        self.site.seen().workload.as_ref().map(|w| w.span.end).unwrap_or_default()
    }

    async fn object(&self, name: &str) -> Result<DynamicObject, CallError> {
        let call = self.objects();
        let call = call.get(name);
        self.site.calls.make(("get", "scaledobjects"), self.site.pace.call, call).await
    }

    /// Writes or removes the guard. `None`: the object has been written since it was read (by KEDA, for example, its status);
    /// the next call of `look` reads that.
    async fn write(&self, name: &str, read: &DynamicObject, mark: Option<Mark>) -> Result<Option<Guard>, CallError> {
        let name_of =
            |timeline: Timeline| if timeline == Timeline::FIRST { "true".to_owned() } else { timeline.to_string() };
        let annotations = match mark {
            Some(Mark { timeline, position }) => json!({
                PAUSED_SCALE_IN: "true", GUARD: name_of(timeline), POSITION: position.to_string(),
            }),
            None => json!({ PAUSED_SCALE_IN: null, GUARD: null, POSITION: null }),
        };
        let metadata = json!({ "resourceVersion": read.metadata.resource_version, "annotations": annotations });
        let body: Patch<Value> = Patch::Merge(json!({ "metadata": metadata }));
        let call = async { self.objects().patch(name, &patch_params(), &body).await };
        match self.site.calls.make(("patch", "scaledobjects"), self.site.pace.call, call).await {
            Ok(patched) => Ok(Some(guard_of(&patched))),
            Err(error) if error.is(409) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn objects(&self) -> Api<DynamicObject> {
        Api::namespaced_with(self.site.client.clone(), &self.site.namespace, &scaled_object())
    }
}

fn guard_of(object: &DynamicObject) -> Guard {
    planted!(GuardStolen => guard_whosever(object));
    let annotations = object.metadata.annotations.as_ref();
    let has = |key: &str| annotations.and_then(|a| a.get(key));
    let position = has(POSITION).and_then(|position| position.parse().ok()).unwrap_or_default();
    // As KEDA reads it: a value that is not a boolean counts as true, false as not set.
    match (has(PAUSED_SCALE_IN).filter(|v| *v != "false"), has(GUARD)) {
        (None, _) => Guard::Off,
        (Some(_), Some(owner)) => Guard::Ours(Mark { timeline: owner.parse().unwrap_or_default(), position }),
        (Some(_), None) => Guard::Theirs,
    }
}

#[cfg(feature = "planted")]
fn guard_whosever(object: &DynamicObject) -> Guard {
    let paused =
        object.metadata.annotations.as_ref().and_then(|a| a.get(PAUSED_SCALE_IN)).is_some_and(|v| v != "false");
    let owner = object.metadata.annotations.as_ref().and_then(|a| a.get(GUARD)).and_then(|owner| owner.parse().ok());
    let mark = Mark { timeline: owner.unwrap_or_default(), position: 0 };
    if paused { Guard::Ours(mark) } else { Guard::Off }
}

/// Returns the name of the autoscaler that KEDA creates for this ScaledObject.
fn autoscaler_of(object: &DynamicObject) -> String {
    let own = object.data["spec"]["advanced"]["horizontalPodAutoscalerConfig"]["name"].as_str();
    let name = object.metadata.name.as_deref().unwrap_or_default();
    own.map_or_else(|| format!("keda-hpa-{name}"), str::to_owned)
}

/// Reports whether the autoscaler is for this workload, has scale-in disabled, and has a maximum not below the size: an
/// autoscaler scales down to its maximum at once, regardless of its policies.
fn keeps_all(autoscaler: &HorizontalPodAutoscaler, workload: &str, size: u32) -> bool {
    let Some(spec) = &autoscaler.spec else { return false };
    let policy =
        spec.behavior.as_ref().and_then(|b| b.scale_down.as_ref()).and_then(|down| down.select_policy.as_deref());
    let most = u32::try_from(spec.max_replicas).unwrap_or_default();
    policy == Some("Disabled") && spec.scale_target_ref.name == workload && most >= size
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
