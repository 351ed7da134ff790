//! Executes the fleet's orders: writes a size, in one write with a precondition, and deletes an incarnation, by its uid.

use super::Site;
use super::calls::{CallError, patch_params};
use super::snapshot::DELETION_COST;
use super::workload::{DECIDED, TIMELINE, Workload};
use crate::cluster::{ClusterError, Size};
use crate::config::Workload as Named;
use kube::api::{DeleteParams, Patch, Preconditions};
use serde_json::{Value, json};
use slotkeeper_core::{Decision, Span, Timeline, Uid, planted};
use std::sync::Arc;

/// Maximum of attempts if other writers cause conflicts.
const TRIES: usize = 5;

pub(super) struct Orders {
    site: Arc<Site>,
}

impl Orders {
    pub(super) fn new(site: Arc<Site>) -> Orders {
        Orders { site }
    }

    /// Start, replicas and the position that decided them are one merge patch with the version as precondition: so a dispatcher
    /// never overwrites a size that it has not read, and never undoes a later decision.
    pub(super) async fn scale(&self, size: Size) -> Result<(), ClusterError> {
        let (span, decided) = (size.span(), size.decided);
        for _ in 0..TRIES {
            let known = self.site.seen().workload.clone();
            let Some(known) = known else {
                return Err(ClusterError::Refused(format!("the {} has not been read yet", self.name())));
            };
            if is_settled(&known, &size, span) {
                return Ok(());
            }
            if self.site.slides && !known.parallel {
                let what = "its podManagementPolicy is OrderedReady: window = \"sliding\" needs Parallel";
                return Err(ClusterError::Refused(format!("{}: {what}", self.name())));
            }
            if self.site.is_deployment() && span.len() < known.span.len() {
                self.give_up(span).await?;
            }
            fault_point!(OrdersBeforePatch);
            match self.patch(&known, span, decided).await {
                Ok(written) => {
                    let Decision { timeline, position } = decided;
                    tracing::debug!(pool = %self.site.pool, ?span, position, %timeline, "size written");
                    written.into_iter().for_each(|w| self.site.take_workload(w));
                    return Ok(());
                }
                Err(error) if error.is(409) => {
                    fault_point!(OrdersAfterConflict);
                    self.read_again().await?;
                }
                Err(error) => return Err(error.into()),
            }
        }
        Err(ClusterError::Refused(format!("{}: too many conflicts with other writers", self.name())))
    }

    /// Does nothing if the incarnation does not exist (any more).
    pub(super) async fn recycle(&self, pod: u32, uid: Uid) -> Result<(), ClusterError> {
        let name = {
            let seen = self.site.seen();
            seen.pods.get(&pod).filter(|p| p.uid == uid && !p.terminating).map(|p| p.name.clone())
        };
        let Some(name) = name else { return Ok(()) };
        fault_point!(OrdersBeforeDelete);
        delete(&self.site, &name, &uid).await
    }

    async fn patch(&self, known: &Workload, span: Span, decided: Decision) -> Result<Option<Workload>, CallError> {
        let mut spec = json!({ "replicas": span.len() });
        if !span.is_empty() && span.start != known.start {
            spec["ordinals"] = json!({ "start": span.start });
        }
        let metadata = metadata(known, decided);
        let body: Patch<Value> = Patch::Merge(json!({ "metadata": metadata, "spec": spec }));
        let (params, pace) = (patch_params(), self.site.pace);
        let name = self.site.config.workload.name();
        match self.site.config.workload {
            Named::StatefulSet(_) => {
                let sets = self.site.sets();
                let call = sets.patch(name, &params, &body);
                self.site.calls.make(("patch", "statefulsets"), pace.call, call).await.map(Workload::of_set)
            }
            Named::Deployment(_) => {
                let deployments = self.site.deployments();
                let call = deployments.patch(name, &params, &body);
                self.site.calls.make(("patch", "deployments"), pace.call, call).await.map(Workload::of_deployment)
            }
        }
    }

    /// Before a scale-down, sets the deletion costs by which a ReplicaSet chooses pods: marks those outside of the span,
    /// and removes the mark from those inside (an order of entries that are lost may have set it).
    async fn give_up(&self, span: Span) -> Result<(), CallError> {
        let wrong: Vec<(String, Uid, &str)> = {
            let seen = self.site.seen();
            let living = seen.pods.iter().filter(|(_, p)| !p.terminating);
            let wrong = living.filter_map(|(ordinal, pod)| {
                let marked = pod.annotations.get(DELETION_COST).is_some_and(|cost| cost == "-1");
                let cost = if span.contains(*ordinal) { "0" } else { "-1" };
                (marked == span.contains(*ordinal)).then(|| (pod.name.clone(), pod.uid.clone(), cost))
            });
            wrong.collect()
        };
        for (name, uid, cost) in wrong {
            self.site.annotate(&name, &uid, None, json!({ DELETION_COST: cost })).await?;
        }
        Ok(())
    }

    async fn read_again(&self) -> Result<(), CallError> {
        let (name, pace) = (self.site.config.workload.name(), self.site.pace);
        let read = match self.site.config.workload {
            Named::StatefulSet(_) => {
                let call = async { self.site.sets().get(name).await };
                self.site.calls.make(("get", "statefulsets"), pace.call, call).await.map(Workload::of_set)
            }
            Named::Deployment(_) => {
                let call = async { self.site.deployments().get(name).await };
                self.site.calls.make(("get", "deployments"), pace.call, call).await.map(Workload::of_deployment)
            }
        };
        read?.into_iter().for_each(|w| self.site.take_workload(w));
        Ok(())
    }

    fn name(&self) -> String {
        let workload = &self.site.config.workload;
        format!("the {} {}/{}", workload.kind(), self.site.namespace, workload.name())
    }
}

/// Whether nothing must be written: a later decision must not be undone, or the size is already written.
fn is_settled(known: &Workload, size: &Size, span: Span) -> bool {
    planted!(UndoLaterDecision => known.decided == size.decided && known.span.is_same(span));
    !size.may_overwrite(known.decided) || known.decided == size.decided && known.span.is_same(span)
}

/// The metadata of a patch, with the version that was read as a precondition.
fn metadata(known: &Workload, decided: Decision) -> Value {
    // Null removes the annotation: older dispatchers do not know it, and there is only the first timeline while they take part.
    let timeline = (decided.timeline != Timeline::FIRST).then(|| decided.timeline.to_string());
    let annotations = json!({ DECIDED: decided.position.to_string(), TIMELINE: timeline });
    planted!(PatchUnguarded => json!({ "annotations": annotations }));
    json!({ "resourceVersion": known.resource_version, "annotations": annotations })
}

fn only(uid: &Uid) -> Option<Preconditions> {
    planted!(DeleteByName => None);
    Some(Preconditions { uid: Some(uid.0.to_string()), resource_version: None })
}

/// Deletes this incarnation, and no other pod of the same name.
pub(super) async fn delete(site: &Site, name: &str, uid: &Uid) -> Result<(), ClusterError> {
    let params = DeleteParams { preconditions: only(uid), ..DeleteParams::default() };
    let call = async { site.pods().delete(name, &params).await };
    match site.calls.make(("delete", "pods"), site.pace.call, call).await {
        Ok(_) => Ok(()),
        // Deleted already, or another incarnation has its name.
        Err(error) if error.is(404) || error.is(409) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
