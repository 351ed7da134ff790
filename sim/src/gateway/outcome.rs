//! What one design made of a gateway scenario, for pictures, tables and machines. Plain data: the stage and the queues write
//! it, `report` reads it.

use crate::record::{Mark, Quantiles};
use serde::Serialize;

/// One run of one design. Times are milliseconds since it began.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    pub title: String,
    /// What a reader who was not there has to know.
    pub story: String,
    pub seed: u64,
    pub length: u64,
    pub figures: Figures,
    pub marks: Vec<Mark>,
    pub charts: Vec<Chart>,
}

/// What it comes down to.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Figures {
    Sockets(SocketFigures),
    Queues(QueueFigures),
}

/// Of connections that end and come back.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct SocketFigures {
    pub clients: u64,
    /// Connections that ended without a close frame.
    pub lost: u64,
    /// Connections that ended with one.
    pub closed: u64,
    /// From the moment a client has no connection and wants one until it has.
    pub back: Option<Quantiles>,
    /// Clients without a connection at the end.
    pub missing: u64,
    /// Attempts to connect, and how many of them were refused.
    pub connects: u64,
    pub refused: u64,
    /// Most attempts per second, over a tenth of one.
    pub peak: u64,
    /// Standard deviation over mean of the connections per ready pod, at the end, in percent.
    pub imbalance: f64,
    /// Pods at the end.
    pub pods: u32,
}

/// Of messages that wait for their readers, in one pod.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct QueueFigures {
    pub clients: u64,
    /// Of them.
    pub slow: u64,
    /// Most bytes in all queues together.
    pub memory: u64,
    /// Messages that somebody connected did not get.
    pub dropped: u64,
    /// Slow readers sent away, with a close frame.
    pub closed: u64,
    /// Connections that ended without one: the pod had used all its memory.
    pub lost: u64,
    /// How late a message reached somebody who reads quickly, at most. Seconds.
    pub others: f64,
    /// How old a message was when a slow reader got it, at most. Seconds.
    pub stale: f64,
}

/// Numbers over time, as steps.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Chart {
    pub heading: String,
    pub lines: Vec<Line>,
    /// Each line has a row of its own.
    pub rows: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Line {
    pub look: Look,
    pub name: String,
    /// Each holds until the next one.
    pub points: Vec<(u64, u32)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Look {
    /// What is as it should be.
    Good,
    /// Who waits.
    Waiting,
    /// Harm.
    Bad,
}

impl Outcome {
    /// Of connections; `None` if this was about queues.
    #[must_use]
    pub fn sockets(&self) -> Option<&SocketFigures> {
        match &self.figures {
            Figures::Sockets(figures) => Some(figures),
            Figures::Queues(_) => None,
        }
    }

    /// Of queues; `None` if this was about connections.
    #[must_use]
    pub fn queues(&self) -> Option<&QueueFigures> {
        match &self.figures {
            Figures::Queues(figures) => Some(figures),
            Figures::Sockets(_) => None,
        }
    }
}
