//! Time limits for a request and its response: the pod's time to respond (`answer_seconds`), and the time in which no byte
//! of a body moves (`stall_seconds`), in either direction. The side that is waited for is at fault for a timeout.

use crate::front::error::{Fault, RequestError, Step};
use crate::io::now;
use http::StatusCode;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::Instant;

pub use crate::metrics::labels::Late;

/// The limits of a pool; `None`: unlimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeLimits {
    /// From the end of the request to the head of its response.
    pub answer: Option<Duration>,
    /// The longest time without progress of a body.
    pub stall: Option<Duration>,
}

impl Late {
    /// The error for a request whose pod has not responded yet.
    #[must_use]
    pub fn error(self) -> RequestError {
        let (fault, step, status, message) = match self {
            Late::UploadVisitor => {
                let message = "the rest of the request did not arrive in time";
                (Fault::Visitor, Step::Send, StatusCode::REQUEST_TIMEOUT, message)
            }
            Late::UploadPod => {
                (Fault::Pod, Step::Send, StatusCode::GATEWAY_TIMEOUT, "the pod did not read the request in time")
            }
            Late::Page => (
                Fault::Pod,
                Step::Respond,
                StatusCode::GATEWAY_TIMEOUT,
                "the pod answers neither its health probes nor this request",
            ),
            Late::Answer | Late::DownloadPod | Late::DownloadVisitor => {
                (Fault::Pod, Step::Respond, StatusCode::GATEWAY_TIMEOUT, "the pod did not answer in time")
            }
        };
        RequestError { fault, step, status, message, source: None }
    }
}

/// The progress of a body, and the side that is waited for.
#[derive(Debug)]
pub struct Progress {
    began: Instant,
    /// Milliseconds from `began` to the last progress.
    moved: AtomicU64,
    waits_for: AtomicU8,
    /// The response's head has been received.
    is_answered: AtomicBool,
}

const SOURCE: u8 = 0;
const SINK: u8 = 1;
const NOBODY: u8 = 2;

impl Progress {
    /// `is_whole`: there is no body, or no more of it.
    #[must_use]
    pub fn new(is_whole: bool) -> Progress {
        Progress {
            began: now(),
            moved: AtomicU64::new(0),
            waits_for: AtomicU8::new(if is_whole { NOBODY } else { SINK }),
            is_answered: AtomicBool::new(false),
        }
    }

    fn set(&self, waits_for: u8) {
        let elapsed = u64::try_from(now().duration_since(self.began).as_millis()).unwrap_or(u64::MAX);
        self.moved.store(elapsed, Ordering::Release);
        self.waits_for.store(waits_for, Ordering::Release);
    }

    /// The source was polled and has no data at the moment.
    pub fn waits_for_source(&self) {
        if self.waits_for.load(Ordering::Acquire) != SOURCE {
            self.set(SOURCE);
        }
    }

    /// Data was handed on; the sink will ask for more.
    pub fn moved(&self) {
        self.set(SINK);
    }

    /// The other direction has made progress: in a long exchange, one of them may be silent.
    pub fn touch(&self) {
        let waits_for = self.waits_for.load(Ordering::Acquire);
        if waits_for != NOBODY {
            self.set(waits_for);
        }
    }

    /// The body was handed on completely.
    pub fn is_over(&self) {
        self.set(NOBODY);
    }

    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.waits_for.load(Ordering::Acquire) == NOBODY
    }

    /// The response's head has been received: from now on `stalled_upload` applies instead of `late`.
    pub fn is_answered(&self) {
        self.is_answered.store(true, Ordering::Release);
    }

    fn last(&self) -> Instant {
        self.began + Duration::from_millis(self.moved.load(Ordering::Acquire))
    }

    /// Waits until the head of the response is late, or the request's body has stalled before it.
    pub async fn late(&self, limits: TimeLimits) -> Late {
        loop {
            let (limit, late) = match self.waits_for.load(Ordering::Acquire) {
                NOBODY => (limits.answer, Late::Answer),
                SOURCE => (limits.stall, Late::UploadVisitor),
                _ => (limits.stall, Late::UploadPod),
            };
            let shortest = limits.answer.into_iter().chain(limits.stall).min();
            let Some(shortest) = shortest else { return std::future::pending().await };
            match limit.map(|limit| self.last() + limit) {
                Some(due) if due <= now() => return late,
                Some(due) => tokio::time::sleep_until(due.min(now() + shortest)).await,
                // A state without a limit may change to one with a limit, once the request has been sent.
                None => tokio::time::sleep(shortest).await,
            }
        }
    }

    /// For a request whose response has begun: the side that has stalled for this long.
    #[must_use]
    pub fn stalled_upload(&self, stall: Duration) -> Option<Late> {
        let late = match self.waits_for.load(Ordering::Acquire) {
            NOBODY => return None,
            SOURCE => Late::UploadVisitor,
            _ => Late::UploadPod,
        };
        (self.is_answered.load(Ordering::Acquire) && self.is_due(stall)).then_some(late)
    }

    /// For the response to a request with this body: the side that has stalled for this long. `may_be_silent`: the pod sends
    /// events only when they happen.
    #[must_use]
    pub fn stalled_download(&self, stall: Duration, may_be_silent: bool, upload: &Progress) -> Option<Late> {
        let late = match self.waits_for.load(Ordering::Acquire) {
            SOURCE if may_be_silent => return None,
            SOURCE => Late::DownloadPod,
            SINK => Late::DownloadVisitor,
            _ => return None,
        };
        // A pod may respond only after it has read the whole request.
        (self.is_due(stall) && upload.is_due(stall)).then_some(late)
    }

    fn is_due(&self, stall: Duration) -> bool {
        self.last() + stall <= now()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn limits(answer: Option<u32>, stall: Option<u32>) -> TimeLimits {
        TimeLimits { answer: answer.map(|n| SECOND * n), stall: stall.map(|n| SECOND * n) }
    }

    async fn seconds_until(late: impl Future<Output = Late>) -> (Late, u64) {
        let begun = now();
        let late = late.await;
        (late, (now() - begun).as_secs())
    }

    #[tokio::test(start_paused = true)]
    async fn a_pods_time_starts_with_the_end_of_the_request() {
        let progress = Progress::new(true);
        assert_eq!(seconds_until(progress.late(limits(Some(5), Some(2)))).await, (Late::Answer, 5));
        let progress = Progress::new(false);
        let upload = async {
            for _ in 0..10 {
                tokio::time::sleep(SECOND).await;
                progress.moved();
            }
            progress.is_over();
            std::future::pending::<Late>().await
        };
        let late = async {
            tokio::select! {
                late = progress.late(limits(Some(5), Some(2))) => late,
                late = upload => late,
            }
        };
        assert_eq!(seconds_until(late).await, (Late::Answer, 15), "a long upload that moves is not late");
    }

    #[tokio::test(start_paused = true)]
    async fn a_stall_counts_against_the_side_that_is_waited_for() {
        let pod = Progress::new(false);
        assert_eq!(seconds_until(pod.late(limits(Some(60), Some(3)))).await, (Late::UploadPod, 3));
        let visitor = Progress::new(false);
        visitor.waits_for_source();
        assert_eq!(seconds_until(visitor.late(limits(Some(60), Some(3)))).await, (Late::UploadVisitor, 3));
    }

    #[tokio::test(start_paused = true)]
    async fn without_limits_nothing_is_late() {
        let whole = Progress::new(true);
        let day = SECOND * 86_400;
        assert!(tokio::time::timeout(day, whole.late(limits(None, None))).await.is_err());
        assert!(tokio::time::timeout(day, whole.late(limits(None, Some(1)))).await.is_err());
        let body = Progress::new(false);
        assert!(tokio::time::timeout(day, body.late(limits(Some(1), None))).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn bodies_stall_when_nothing_moves_for_the_whole_time() {
        let (body, none) = (Progress::new(false), Progress::new(true));
        tokio::time::sleep(SECOND * 4).await;
        assert_eq!(body.stalled_download(SECOND * 5, false, &none), None);
        // The same state again is not progress; another one is.
        body.waits_for_source();
        tokio::time::sleep(SECOND * 4).await;
        body.waits_for_source();
        assert_eq!(body.stalled_download(SECOND * 5, false, &none), None);
        tokio::time::sleep(SECOND).await;
        assert_eq!(body.stalled_download(SECOND * 5, false, &none), Some(Late::DownloadPod));
        assert_eq!(body.stalled_download(SECOND * 5, true, &none), None, "a stream of events may be silent");
        body.moved();
        tokio::time::sleep(SECOND * 5).await;
        assert_eq!(body.stalled_download(SECOND * 5, true, &none), Some(Late::DownloadVisitor), "its reader may not");
        assert_eq!(body.stalled_upload(SECOND * 5), None, "before the answer, the request itself is looked after");
        body.is_answered();
        assert_eq!(body.stalled_upload(SECOND * 5), Some(Late::UploadPod));
        body.is_over();
        tokio::time::sleep(SECOND * 10).await;
        assert_eq!((body.stalled_upload(SECOND), body.stalled_download(SECOND, false, &none)), (None, None));
    }

    #[tokio::test(start_paused = true)]
    async fn progress_in_one_direction_keeps_the_other_alive() {
        let (upload, download) = (Progress::new(false), Progress::new(false));
        upload.is_answered();
        download.waits_for_source();
        for _ in 0..5 {
            tokio::time::sleep(SECOND * 4).await;
            upload.moved();
            assert_eq!(download.stalled_download(SECOND * 5, false, &upload), None, "the pod still reads");
        }
        for _ in 0..5 {
            tokio::time::sleep(SECOND * 4).await;
            download.moved();
            upload.touch();
            assert_eq!(upload.stalled_upload(SECOND * 5), None, "the pod answers meanwhile");
        }
        tokio::time::sleep(SECOND * 5).await;
        assert_eq!(upload.stalled_upload(SECOND * 5), Some(Late::UploadPod));
        upload.is_over();
        upload.touch();
        assert!(upload.is_whole());
    }
}
