//! Gateways on a table: tens of thousands of clients that each hold a socket for hours, pods that hold thousands of them, and
//! what happens when pods come and go. Not how many pods there should be (that is `crate::tabletop`), but what a pod's end
//! costs those who are connected: who is cut off without a word, how long everybody is away, how hard the others are hit.
//!
//! A `Design` is who chooses the pod (Slotkeeper's own core, or what people use instead), how a pod takes its leave, and how
//! clients come back. One clock of integer milliseconds, one seed. What a slow reader does to a server is in `queues`.
//! Deliberately absent: bytes, TLS, the network between the parts (a connect just takes a while).

mod balance;
mod outcome;
mod pods;
pub mod queues;
mod reconnect;
mod scenarios;
mod stage;
mod tally;

pub use outcome::{Chart, Figures, Line, Look, Outcome, QueueFigures, SocketFigures};
pub use reconnect::Reconnect;
pub use scenarios::{Scenario, scenario, scenarios};

use crate::chance::{Chance, Draw};
use slotkeeper_core::Rules;

/// What is the same for every design: clients, pods, and what happens to them. Times are milliseconds.
#[derive(Clone, Debug)]
pub struct Setting {
    /// For a reader who was not there.
    pub story: String,
    pub chance: Chance,
    pub length: u64,
    /// Each comes once, some time within `arrival`, and stays connected as well as it can.
    pub clients: u32,
    pub arrival: u64,
    /// Pods that are wanted, and how many of them are ready when it begins; the others have just been created.
    pub pods: u32,
    pub ready: u32,
    /// From the creation of a pod until it is ready.
    pub cold_start: Draw,
    pub limits: Limits,
    /// How long a connect is on its way.
    pub connect: Draw,
    /// `terminationGracePeriodSeconds`: who is connected after that is cut off.
    pub kill_after: u64,
    /// A restart of all pods goes on with the next one when the last one has been ready for this long.
    pub min_ready: u64,
    pub happenings: Vec<(u64, Happening)>,
    /// Figures are about what happened from here on: until then the clients arrive.
    pub from: u64,
}

/// What one pod can do.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at most; more are refused.
    pub connections: u32,
    /// Connections accepted per second: handshake, who are you, the first messages.
    pub accepts: u32,
    /// Connections that may wait to be accepted (`listen(2)`); more are refused.
    pub backlog: u32,
}

/// Something that is done to the pods, whatever the design.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Happening {
    /// All pods are made anew, from the highest, one at a time.
    RollingRestart,
    /// One pod fewer is wanted: the highest goes. Not done where the dispatcher itself decides about the number.
    ScaleDown,
    /// A node is gone, and this pod with it, without a word. It is made anew.
    Loss { ordinal: u32 },
}

/// Who chooses the pod, how a pod takes its leave, and how clients come back.
#[derive(Clone, Debug)]
pub struct Design {
    pub title: String,
    pub balance: Balance,
    pub farewell: Farewell,
    pub reconnect: Reconnect,
}

/// Who chooses the pod.
#[derive(Clone, Debug)]
pub enum Balance {
    /// kube-proxy with iptables: any of the ready ones.
    Random,
    /// One after the other: IPVS, and most proxies unless told otherwise.
    RoundRobin,
    /// The one with the fewest connections, by the own count of each of so many balancers.
    LeastConnections { balancers: u32 },
    /// Slotkeeper's core with these rules; the number of pods is its own if `rules.scaling` says so.
    Slotkeeper(Box<Rules>),
}

impl Balance {
    /// How long news of a pod takes. Endpoints go through a controller and are applied about once a second; the dispatcher
    /// watches the pods themselves.
    fn lag(&self) -> u64 {
        match self {
            Balance::Random | Balance::RoundRobin | Balance::LeastConnections { .. } => 1000,
            Balance::Slotkeeper(_) => 200,
        }
    }
}

/// How a pod that is deleted takes its leave of whoever is connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Farewell {
    /// The process ends, and its sockets with it.
    Cut,
    /// `preStop` goes on serving for `wait`, until no balancer sends anybody; then everybody gets close 1001, spread over
    /// `over` (0: at once).
    Notice { wait: u64, over: u64 },
    /// As the dispatcher says (`Effect::Drain`): close 1001, spread over its drain time. Nobody new meanwhile.
    Dispatcher { over: u64 },
}

/// Plays the setting to its end with this design.
#[must_use]
pub fn run(setting: &Setting, design: &Design) -> Outcome {
    stage::run(setting, design)
}
