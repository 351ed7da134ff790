//! What is read of a StatefulSet or a Deployment, and which ordinals it is certain to keep running.

use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ManagedFieldsEntry, ObjectMeta};
use kube::core::Selector;
use slotkeeper_core::{Decision, Span, planted};

/// The journal position that decided the size, written with it, and its timeline (without: the first one).
pub(super) const DECIDED: &str = "slotkeeper.dev/decided";
pub(super) const TIMELINE: &str = "slotkeeper.dev/timeline";

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Workload {
    pub(super) uid: String,
    pub(super) version: u64,
    pub(super) resource_version: String,
    /// `None`: it cannot be read, or selects everything.
    pub(super) selector: Option<String>,
    pub(super) generation: i64,
    /// The generation its controller has acted on.
    pub(super) observed: i64,
    /// The first ordinal as written, even if the size is 0.
    pub(super) start: u32,
    pub(super) span: Span,
    pub(super) decided: Decision,
    /// For a StatefulSet: pods start and end without waiting for each other.
    pub(super) parallel: bool,
    /// The last writer of `spec.replicas` in `managedFields`. A writer that scales to 0 through the scale subresource is
    /// not recorded.
    pub(super) writer: Option<String>,
    /// It is being deleted.
    pub(super) going: Option<Going>,
    /// Warnings for operators about its settings.
    pub(super) worries: Vec<&'static str>,
}

/// How a workload is deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Going {
    WithPods,
    /// Its pods stay, to be adopted by another one: `--cascade=orphan`.
    WithoutPods,
}

impl Workload {
    pub(super) fn of_set(set: StatefulSet) -> Option<Workload> {
        let StatefulSet { metadata, spec, status } = set;
        let spec = spec?;
        let start = spec.ordinals.as_ref().and_then(|o| o.start).unwrap_or(0);
        let parallel = spec.pod_management_policy.as_deref() == Some("Parallel");
        let on_delete = spec.update_strategy.as_ref().and_then(|s| s.type_.as_deref()) == Some("OnDelete");
        let retention = spec.persistent_volume_claim_retention_policy.as_ref();
        let loses_disks = retention.and_then(|r| r.when_scaled.as_deref()) == Some("Delete");
        let grace = spec.template.spec.as_ref().and_then(|s| s.termination_grace_period_seconds);
        let worries = [
            (
                !parallel,
                "podManagementPolicy is OrderedReady: one pod that does not get ready blocks all scaling; Parallel does not",
            ),
            (
                !on_delete,
                "updateStrategy is RollingUpdate: a new template ends busy pods one by one; OnDelete does not",
            ),
            (
                loses_disks,
                "persistentVolumeClaimRetentionPolicy.whenScaled is Delete: visitors' data are lost when the pool sleeps",
            ),
            (
                grace.is_some_and(|s| s < 10),
                "terminationGracePeriodSeconds is short: a pod may end before it has saved",
            ),
        ];
        let observed = status.as_ref().and_then(|s| s.observed_generation).unwrap_or_default();
        let worries = worries.into_iter().filter(|(is_so, _)| *is_so).map(|(_, words)| words).collect();
        Workload::new(metadata, &spec.selector, (start, spec.replicas.unwrap_or(1)), observed, parallel, worries)
    }

    pub(super) fn of_deployment(deployment: Deployment) -> Option<Workload> {
        let Deployment { metadata, spec, status } = deployment;
        let spec = spec?;
        let observed = status.as_ref().and_then(|s| s.observed_generation).unwrap_or_default();
        Workload::new(metadata, &spec.selector, (0, spec.replicas.unwrap_or(1)), observed, true, Vec::new())
    }

    fn new(
        metadata: ObjectMeta,
        selector: &LabelSelector,
        (start, replicas): (i32, i32),
        observed: i64,
        parallel: bool,
        worries: Vec<&'static str>,
    ) -> Option<Workload> {
        let start = u32::try_from(start).unwrap_or(0);
        let end = start.saturating_add(u32::try_from(replicas).unwrap_or(0));
        let resource_version = metadata.resource_version?;
        let annotation = |key| metadata.annotations.as_ref().and_then(|a| a.get(key));
        let decided = Decision {
            timeline: annotation(TIMELINE).and_then(|t| t.parse().ok()).unwrap_or_default(),
            position: annotation(DECIDED).and_then(|d| d.parse().ok()).unwrap_or_default(),
        };
        let selector = Selector::try_from(selector.clone()).ok().filter(|s| !s.selects_all());
        let going = metadata.deletion_timestamp.as_ref().map(|_| {
            let orphans = metadata.finalizers.iter().flatten().any(|finalizer| finalizer == "orphan");
            if orphans { Going::WithoutPods } else { Going::WithPods }
        });
        Some(Workload {
            uid: metadata.uid?,
            version: resource_version.parse().ok()?,
            resource_version,
            selector: selector.map(|s| s.to_string()),
            generation: metadata.generation.unwrap_or_default(),
            observed,
            start,
            span: if start < end { Span { start, end } } else { Span::EMPTY },
            decided,
            parallel,
            writer: writer(metadata.managed_fields.as_deref().unwrap_or_default()),
            going,
            worries,
        })
    }

    pub(super) fn is_caught_up(&self) -> bool {
        planted!(CertainAtOnce => true);
        self.observed >= self.generation
    }
}

/// The last writer among several owners of the field; entries of the scale subresource have no time.
fn writer(managed: &[ManagedFieldsEntry]) -> Option<String> {
    let owns = |entry: &&ManagedFieldsEntry| {
        entry.fields_v1.as_ref().is_some_and(|fields| fields.0["f:spec"].get("f:replicas").is_some())
    };
    let key = |entry: &&ManagedFieldsEntry| (entry.time.is_none(), entry.time.as_ref().map(|time| time.0));
    managed.iter().filter(owns).max_by_key(key)?.manager.clone()
}

/// The part of the workload's size that is certain. A controller that has not caught up may still act on any size since
/// the last one it observed, and it completes large batches: until it has caught up, only the ordinals common to all these
/// sizes are certain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Certain {
    pub(super) span: Span,
    pub(super) decided: Decision,
}

impl Certain {
    /// After this workload was read; `missed`: sizes between it and the last one may have been missed.
    pub(super) fn after(self, workload: &Workload, missed: bool) -> Certain {
        if workload.is_caught_up() {
            return Certain { span: workload.span, decided: workload.decided };
        }
        let (start, end) = (self.span.start.max(workload.span.start), self.span.end.min(workload.span.end));
        let span = if missed || start >= end { Span::EMPTY } else { Span { start, end } };
        // Of two timelines, only the one that its controller has acted on is certain.
        let earlier = if self.decided.covers(workload.decided) { workload.decided } else { self.decided };
        Certain { span, decided: earlier }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use slotkeeper_core::Timeline;

    fn at(position: u64) -> Decision {
        Decision { position, ..Decision::default() }
    }

    fn sized(end: u32, decided: u64, generation: i64, observed: i64) -> Workload {
        Workload {
            uid: "u".into(),
            version: 1,
            resource_version: "1".into(),
            selector: None,
            generation,
            observed,
            start: 0,
            span: Span { start: 0, end },
            decided: at(decided),
            parallel: true,
            writer: None,
            going: None,
            worries: Vec::new(),
        }
    }

    #[test]
    fn a_raised_size_is_certain_only_once_the_controller_has_observed_it() {
        let five = Certain::default().after(&sized(5, 10, 1, 1), false);
        assert_eq!(five, Certain { span: Span { start: 0, end: 5 }, decided: at(10) });
        let lowered = five.after(&sized(3, 20, 2, 1), false);
        assert_eq!(lowered.span.end, 3, "a lowered size counts at once");
        let raised = lowered.after(&sized(5, 30, 3, 1), false);
        assert_eq!(raised, Certain { span: Span { start: 0, end: 3 }, decided: at(10) });
        assert_eq!(
            raised.after(&sized(5, 30, 3, 2), false).span.end,
            3,
            "the controller has acted on the lower size only"
        );
        assert_eq!(
            raised.after(&sized(5, 30, 3, 3), false),
            Certain { span: Span { start: 0, end: 5 }, decided: at(30) }
        );
    }

    #[test]
    fn a_size_of_another_timeline_is_certain_only_once_the_controller_has_acted_on_it() {
        let before = Certain::default().after(&sized(5, 10, 1, 1), false);
        let mut next = sized(5, 3, 2, 1);
        next.decided.timeline = Timeline(7);
        assert_eq!(before.after(&next, false).decided, at(10));
        next.observed = 2;
        assert_eq!(before.after(&next, false).decided, next.decided);
    }

    #[test]
    fn nothing_is_certain_where_sizes_may_have_been_missed() {
        let five = Certain::default().after(&sized(5, 10, 1, 1), false);
        assert_eq!(five.after(&sized(5, 30, 3, 1), true).span, Span::EMPTY);
    }
}
