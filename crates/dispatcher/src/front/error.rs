//! Why a request failed, at which step, and which side caused it: status, log level and metric label are derived from that here.

use crate::io::throttle::Throttle;
use http::StatusCode;
use slotkeeper_core::Ordinal;
use std::fmt;

pub use crate::io::BoxError;
pub use crate::metrics::Fault;

/// While this lasts, every request fails with it, so it is logged only once a minute.
pub const OUT_OF_FILES: &str = "the dispatcher can open no more connections";
static OUT_OF_FILES_LOGGED: Throttle = Throttle::new();

/// The steps of a request's life, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    Route,
    Cookie,
    Attach,
    Dial,
    Send,
    Respond,
}

#[derive(Debug)]
pub struct RequestError {
    pub fault: Fault,
    pub step: Step,
    pub status: StatusCode,
    /// Shown to the visitor: what was wrong, in one sentence.
    pub message: &'static str,
    pub source: Option<BoxError>,
}

impl RequestError {
    #[must_use]
    pub fn visitor(step: Step, status: StatusCode, message: &'static str) -> RequestError {
        RequestError { fault: Fault::Visitor, step, status, message, source: None }
    }

    pub fn pod(step: Step, message: &'static str, source: impl Into<BoxError>) -> RequestError {
        RequestError { fault: Fault::Pod, step, status: StatusCode::BAD_GATEWAY, message, source: Some(source.into()) }
    }

    pub fn us(step: Step, message: &'static str, source: impl Into<BoxError>) -> RequestError {
        let status = StatusCode::SERVICE_UNAVAILABLE;
        RequestError { fault: Fault::Us, step, status, message, source: Some(source.into()) }
    }

    /// Logs the error in one line: visitor faults at DEBUG, pod faults at INFO, our own at WARN. `repeated`: how many of
    /// the same kind were suppressed before it.
    pub fn log(&self, pool: &str, pod: Option<Ordinal>, repeated: u64) {
        let (step, status, pod) = (self.step.word(), self.status.as_u16(), pod.map(|pod| pod.0));
        match self.fault {
            Fault::Visitor => tracing::debug!(pool, pod, step, status, "{self}"),
            Fault::Pod if repeated > 0 => tracing::info!(pool, pod, step, status, repeated, "{self}"),
            Fault::Pod => tracing::info!(pool, pod, step, status, "{self}"),
            Fault::Us if self.message == OUT_OF_FILES => {
                if let Some(requests) = OUT_OF_FILES_LOGGED.note() {
                    tracing::warn!(pool, pod, step, status, requests, "{self}");
                }
            }
            Fault::Us => tracing::warn!(pool, pod, step, status, "{self}"),
        }
    }
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.message)?;
        let mut source = self.source.as_deref().map(|s| s as &dyn std::error::Error);
        while let Some(error) = source {
            write!(f, ": {error}")?;
            source = error.source();
        }
        Ok(())
    }
}

impl std::error::Error for RequestError {}

impl Step {
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Step::Route => "route",
            Step::Cookie => "cookie",
            Step::Attach => "attach",
            Step::Dial => "dial",
            Step::Send => "send",
            Step::Respond => "respond",
        }
    }
}
