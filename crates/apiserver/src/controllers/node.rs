//! The writes of the node controller and the taint manager to the pods of a node whose kubelet is silent, and of one that
//! has recovered (tests/transcripts 11). The kubelet itself writes nothing meanwhile: the test puts the pods of a lost node
//! on hold.

use std::sync::Arc;

use serde_json::{Value, json};

use super::kubelet::Pod;
use crate::store::Deletion;
use crate::{Status, stamp};

impl Pod<'_> {
    /// Its node has been silent for the grace period (50 s by default): only the status and the time of its condition Ready
    /// change; reason, `ContainersReady` and everything else stay as the kubelet wrote them.
    pub fn lost(&mut self) -> Result<Arc<Value>, Status> {
        self.ready_is("False")
    }

    /// The node has recovered, and its kubelet reports the pod unchanged.
    pub fn found(&mut self) -> Result<Arc<Value>, Status> {
        self.ready_is("True")
    }

    /// Its toleration of the taint `node.kubernetes.io/unreachable` has expired: it is deleted, and stays until `end` is
    /// called.
    pub fn evict_from_lost_node(&mut self) -> Result<Option<Arc<Value>>, Status> {
        self.status(|pod, now| {
            let condition = json!({
                "type": "DisruptionTarget", "status": "True", "lastProbeTime": null, "lastTransitionTime": stamp(now),
                "reason": "DeletionByTaintManager", "message": "Taint manager: deleting due to NoExecute taint",
            });
            if let Some(conditions) = pod["status"]["conditions"].as_array_mut() {
                conditions.push(condition);
            }
        })?;
        self.store.delete(&self.key, &Deletion::default(), self.now)
    }

    fn ready_is(&mut self, status: &str) -> Result<Arc<Value>, Status> {
        self.status(|pod, now| {
            for condition in pod["status"]["conditions"].as_array_mut().into_iter().flatten() {
                if condition["type"] == "Ready" {
                    condition["status"] = json!(status);
                    condition["lastTransitionTime"] = json!(stamp(now));
                }
            }
        })
    }
}
