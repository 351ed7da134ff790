//! Of the node controller and the taint manager: what they write on the pods of a node whose kubelet is silent, and of
//! one that is back (tests/transcripts 11). The kubelet itself writes nothing meanwhile: pods of a lost node are put on hold by
//! the test.

use std::sync::Arc;

use serde_json::{Value, json};

use super::kubelet::Pod;
use crate::store::Deletion;
use crate::{Status, stamp};

impl Pod<'_> {
    /// Its node has not been heard of for the grace period (50 s by default): only the status of its condition Ready
    /// changes; reason, `ContainersReady` and everything else stay as the kubelet left them.
    pub fn lost(&mut self) -> Result<Arc<Value>, Status> {
        self.ready_is("False")
    }

    /// The node was heard of again, and its kubelet says that nothing has happened to the pod.
    pub fn found(&mut self) -> Result<Arc<Value>, Status> {
        self.ready_is("True")
    }

    /// Its toleration of the taint `node.kubernetes.io/unreachable` is over: it is deleted, and stays until somebody
    /// ends it.
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
