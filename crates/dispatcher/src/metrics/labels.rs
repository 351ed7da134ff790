//! The values of the metrics' labels: causes, outcomes, kinds.

/// What was wrong with a pod's response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Corrected {
    /// It set or deleted a session cookie.
    Cookie,
    /// It stated its length in addition to a coding, or twice.
    Framing,
    /// It named the pod's own address.
    Location,
}

/// Why a request began no session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sessionless {
    /// A CORS preflight.
    Preflight,
    /// Its response cannot carry the cookie.
    Cookie,
    /// It looks like another first request, and was sent again.
    Again,
    /// Its client disconnected before it was answered.
    Gone,
    /// It does not use the pool.
    Passive,
    /// It was sent by a background page whose session has ended.
    Background,
}

impl Sessionless {
    pub(super) const ALL: [Sessionless; 6] = [
        Sessionless::Preflight,
        Sessionless::Cookie,
        Sessionless::Again,
        Sessionless::Gone,
        Sessionless::Passive,
        Sessionless::Background,
    ];

    pub(super) fn word(self) -> &'static str {
        match self {
            Sessionless::Preflight => "preflight",
            Sessionless::Cookie => "cookie",
            Sessionless::Again => "again",
            Sessionless::Gone => "gone",
            Sessionless::Passive => "passive",
            Sessionless::Background => "background",
        }
    }
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Answered by a pod.
    Forwarded,
    /// Became a tunnel.
    Upgraded,
    /// Answered by the waiting room, or with a request to retry.
    Waiting,
    /// Answered by the dispatcher itself (its own pages and assets).
    Own,
    /// Refused or failed; the label `fault` names the cause.
    Failed,
}

impl Outcome {
    pub(super) const ALL: [Outcome; 5] =
        [Outcome::Forwarded, Outcome::Upgraded, Outcome::Waiting, Outcome::Own, Outcome::Failed];

    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Outcome::Forwarded => "forwarded",
            Outcome::Upgraded => "upgraded",
            Outcome::Waiting => "waiting",
            Outcome::Own => "own",
            Outcome::Failed => "failed",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    Visitor,
    Pod,
    Us,
}

impl Fault {
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Fault::Visitor => "visitor",
            Fault::Pod => "pod",
            Fault::Us => "us",
        }
    }
}

/// The step that took too long, and its side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Late {
    /// The head of the pod's response.
    Answer,
    /// The same, of a page and a pod that fails its health probes.
    Page,
    /// The visitor stopped sending the request's body.
    UploadVisitor,
    /// The pod stopped reading the request's body.
    UploadPod,
    /// The pod stopped sending the response's body.
    DownloadPod,
    /// The visitor stopped reading the response's body.
    DownloadVisitor,
}

impl Late {
    pub const ALL: [Late; 6] =
        [Late::Answer, Late::Page, Late::UploadVisitor, Late::UploadPod, Late::DownloadPod, Late::DownloadVisitor];

    /// The name in metrics and logs.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Late::Answer => "answer",
            Late::Page => "page",
            Late::UploadVisitor => "upload_visitor",
            Late::UploadPod => "upload_pod",
            Late::DownloadPod => "download_pod",
            Late::DownloadVisitor => "download_visitor",
        }
    }

    #[must_use]
    pub fn fault(self) -> Fault {
        match self {
            Late::Answer | Late::Page | Late::UploadPod | Late::DownloadPod => Fault::Pod,
            Late::UploadVisitor | Late::DownloadVisitor => Fault::Visitor,
        }
    }
}

/// The sender of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reporter {
    Page,
    Pod,
}

impl Reporter {
    pub const ALL: [Reporter; 2] = [Reporter::Page, Reporter::Pod];

    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Reporter::Page => "page",
            Reporter::Pod => "pod",
        }
    }
}

/// The methods of KEDA's external scaler; the last one is not supported.
pub const SCALER_METHODS: [&str; 5] = ["IsActive", "StreamIsActive", "GetMetricSpec", "GetMetrics", "StreamMetricSpec"];
