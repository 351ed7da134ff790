//! The outcome of a gateway scenario for one design, for pictures, tables and JSON. Plain data: the stage and the
//! queues write it, `report` reads it.

use crate::record::{Mark, Quantiles};
use serde::Serialize;

/// One run of one design. Times are milliseconds since it began.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    pub title: String,
    /// Explains the scenario, understandable without further context.
    pub story: String,
    pub seed: u64,
    pub length: u64,
    pub figures: Figures,
    pub marks: Vec<Mark>,
    pub charts: Vec<Chart>,
}

/// The totals of a run.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Figures {
    Sockets(SocketFigures),
    Queues(QueueFigures),
}

/// Totals of a scenario with ending connections.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct SocketFigures {
    pub clients: u64,
    /// Connections that ended without a close frame.
    pub lost: u64,
    /// Connections that ended with a close frame.
    pub closed: u64,
    /// Time from when a client wants a connection and has none until it has one.
    pub back: Option<Quantiles>,
    /// Clients without a connection at the end.
    pub missing: u64,
    /// Attempts to connect; `refused` counts those that were refused.
    pub connects: u64,
    pub refused: u64,
    /// Highest rate of attempts per second, measured over a tenth of a second.
    pub peak: u64,
    /// Standard deviation over mean of the connections per ready pod, at the end, in percent.
    pub imbalance: f64,
    /// Pods at the end.
    pub pods: u32,
}

/// Totals of a scenario with messages queued for their readers, in one pod.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct QueueFigures {
    pub clients: u64,
    /// The slow readers among the clients.
    pub slow: u64,
    /// Peak size of all queues together, in bytes.
    pub memory: u64,
    /// Messages that a connected client did not receive.
    pub dropped: u64,
    /// Slow readers whose connection was closed with a close frame.
    pub closed: u64,
    /// Connections that ended without a close frame, because the pod ran out of memory.
    pub lost: u64,
    /// Highest delay of a message to a fast reader, in seconds.
    pub others: f64,
    /// Highest age of a message when a slow reader received it, in seconds.
    pub stale: f64,
}

/// Numbers over time, drawn as steps.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Chart {
    pub heading: String,
    pub lines: Vec<Line>,
    /// Draw each line in a row of its own.
    pub rows: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Line {
    pub look: Look,
    pub name: String,
    /// Each value holds until the next point.
    pub points: Vec<(u64, u32)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Look {
    /// Normal.
    Good,
    /// Waiting.
    Waiting,
    /// Harm.
    Bad,
}

impl Outcome {
    /// Returns the totals of connections; `None` if the scenario was about queues.
    #[must_use]
    pub fn sockets(&self) -> Option<&SocketFigures> {
        match &self.figures {
            Figures::Sockets(figures) => Some(figures),
            Figures::Queues(_) => None,
        }
    }

    /// Returns the totals of queues; `None` if the scenario was about connections.
    #[must_use]
    pub fn queues(&self) -> Option<&QueueFigures> {
        match &self.figures {
            Figures::Queues(figures) => Some(figures),
            Figures::Sockets(_) => None,
        }
    }
}
