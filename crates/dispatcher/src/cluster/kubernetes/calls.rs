//! Calls to the API server, each with a timeout and counted, and the meaning of their errors.

use crate::cluster::ClusterError;
use kube::Error;
use kube::api::PatchParams;
use prometheus::core::Collector;
use prometheus::{IntCounter, IntCounterVec, Opts};
use slotkeeper_core::PoolId;
use std::time::Duration;

/// The field manager, in `managedFields` and in the API server's log: also the first word of the user agent.
pub(super) const MANAGER: &str = "slotkeeper";

/// The parameters of every patch.
pub(super) fn patch_params() -> PatchParams {
    PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() }
}

/// Counters of one pool: calls by result, and sizes written by others.
pub(super) struct Calls {
    made: Option<IntCounterVec>,
    overwritten: Option<IntCounter>,
}

impl Calls {
    pub(super) fn new(pool: &PoolId) -> Calls {
        let help =
            "Calls to the Kubernetes API. A steady pool opens two watches every few minutes, and lists every hour.";
        let opts = Opts::new("slotkeeper_kubernetes_requests_total", help).const_label("pool", &*pool.0);
        // Only an invalid name of a metric or a label is an error, and these are valid.
        let made = IntCounterVec::new(opts, &["verb", "resource", "code"]).ok();
        let help = "Sizes of the workload written by others, although the dispatcher scales it.";
        let opts = Opts::new("slotkeeper_sizes_overwritten_total", help).const_label("pool", &*pool.0);
        Calls { made, overwritten: IntCounter::with_opts(opts).ok() }
    }

    pub(super) fn collectors(&self) -> Vec<Box<dyn Collector>> {
        let made = self.made.iter().map(|c| Box::new(c.clone()) as Box<dyn Collector>);
        made.chain(self.overwritten.iter().map(|c| Box::new(c.clone()) as Box<dyn Collector>)).collect()
    }

    pub(super) fn count_overwritten(&self) {
        self.overwritten.iter().for_each(IntCounter::inc);
    }

    /// Makes a call with the timeout `limit`, and counts it.
    pub(super) async fn make<T>(
        &self,
        (verb, resource): (&str, &str),
        limit: Duration,
        call: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, CallError> {
        let result = match tokio::time::timeout(limit, call).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(CallError::from(error)),
            Err(_) => Err(CallError::Silent(limit)),
        };
        let code = match &result {
            Ok(_) => "200".to_owned(),
            Err(CallError::Refused { code, .. }) => code.to_string(),
            Err(CallError::Silent(_)) => "timeout".to_owned(),
            Err(CallError::Unreachable(_)) => "error".to_owned(),
        };
        if let Some(counter) = &self.made {
            counter.with_label_values(&[verb, resource, &code]).inc();
        }
        result
    }
}

#[derive(Debug, thiserror::Error)]
pub(super) enum CallError {
    #[error("the API server refused the call ({code}): {message}")]
    Refused { code: u16, message: String },
    #[error("the API server has not answered within {0:?}")]
    Silent(Duration),
    #[error("the API server cannot be reached: {0}")]
    Unreachable(String),
}

impl CallError {
    /// Whether the API server refused the call with this status code.
    pub(super) fn is(&self, expected: u16) -> bool {
        matches!(self, CallError::Refused { code, .. } if *code == expected)
    }
}

impl From<Error> for CallError {
    fn from(error: Error) -> CallError {
        if let Error::Api(status) = error {
            return CallError::Refused { code: status.code, message: status.message };
        }
        // The innermost cause is more specific than the outer errors.
        let mut bottom: &dyn std::error::Error = &error;
        while let Some(source) = bottom.source() {
            bottom = source;
        }
        CallError::Unreachable(bottom.to_string())
    }
}

impl From<CallError> for ClusterError {
    fn from(error: CallError) -> ClusterError {
        match error {
            refused @ CallError::Refused { .. } => ClusterError::Refused(refused.to_string()),
            other @ (CallError::Silent(_) | CallError::Unreachable(_)) => {
                ClusterError::Unreachable(std::io::Error::other(other))
            }
        }
    }
}
