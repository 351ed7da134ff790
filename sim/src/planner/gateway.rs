//! Simulates gateways: tens of thousands of clients that each hold a socket for hours, pods that hold thousands of
//! these sockets, and the effects of pods starting and ending. It does not simulate the number of pods (that is
//! `crate::planner::tabletop`), but what the end of a pod costs the connected clients: how many connections end without a
//! close frame, how long clients are disconnected, and how much load the other pods get.
//!
//! A `Design` is a balancer (Slotkeeper's own core, or a common alternative), how a deleted pod closes its
//! connections, and how clients reconnect. One clock of integer milliseconds, one seed. The effect of slow readers on
//! a server is in `queues`. Deliberately not modelled: bytes, TLS, the network between the parts (a connect takes a
//! random time).

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

/// Shared by all designs: clients, pods, and events. Times are milliseconds.
#[derive(Clone, Debug)]
pub struct Setting {
    /// Explains the scenario, understandable without further context.
    pub story: String,
    pub chance: Chance,
    pub length: u64,
    /// Each client arrives once, within `arrival`, and reconnects whenever it loses its connection.
    pub clients: u32,
    pub arrival: u64,
    /// The wanted number of pods, and how many of them are ready at the start; the others have just been created.
    pub pods: u32,
    pub ready: u32,
    /// From the creation of a pod until it is ready.
    pub cold_start: Draw,
    pub limits: Limits,
    /// How long a connect takes to reach the pod.
    pub connect: Draw,
    /// `terminationGracePeriodSeconds`: remaining connections are cut after this time.
    pub kill_after: u64,
    /// A rolling restart continues with the next pod when the current one has been ready for this long.
    pub min_ready: u64,
    pub happenings: Vec<(u64, Happening)>,
    /// Figures count events from here on; the clients arrive before.
    pub from: u64,
}

/// The capacity of one pod.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Maximum number of connections; further ones are refused.
    pub connections: u32,
    /// Connections accepted per second: handshake, authentication, first messages.
    pub accepts: u32,
    /// Connections that may wait to be accepted (`listen(2)`); further ones are refused.
    pub backlog: u32,
}

/// An event that affects the pods, whatever the design.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Happening {
    /// All pods are replaced, one at a time, highest ordinal first.
    RollingRestart,
    /// The wanted number of pods drops by one: the highest pod is deleted. Ignored if the dispatcher itself decides
    /// the number.
    ScaleDown,
    /// A node is lost with this pod, without notice. The pod is created again.
    Loss { ordinal: u32 },
}

/// A balancer, how the connections of deleted pods are closed, and how clients reconnect.
#[derive(Clone, Debug)]
pub struct Design {
    pub title: String,
    pub balance: Balance,
    pub farewell: Farewell,
    pub reconnect: Reconnect,
}

/// The component that chooses the pod for a client.
#[derive(Clone, Debug)]
pub enum Balance {
    /// kube-proxy with iptables: a random ready pod.
    Random,
    /// Round robin: IPVS, and the default of most proxies.
    RoundRobin,
    /// The pod with the fewest connections, counted separately by each of this many balancers.
    LeastConnections { balancers: u32 },
    /// Slotkeeper's core with these rules; it decides the number of pods if `rules.scaling` is direct.
    Slotkeeper(Box<Rules>),
}

impl Balance {
    /// How long it takes until a pod's state is known. Endpoints go through a controller and are applied about once a
    /// second; the dispatcher watches the pods themselves.
    fn lag(&self) -> u64 {
        match self {
            Balance::Random | Balance::RoundRobin | Balance::LeastConnections { .. } => 1000,
            Balance::Slotkeeper(_) => 200,
        }
    }
}

/// How a deleted pod ends its connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Farewell {
    /// The process ends at once, and all its sockets with it.
    Cut,
    /// `preStop` continues to serve for `wait`, until no balancer sends new clients; then all connections are closed
    /// with code 1001, spread over `over` (0: at once).
    Notice { wait: u64, over: u64 },
    /// Connections are closed when the dispatcher drains the pod (`Effect::Drain`): close code 1001, spread over its
    /// drain time. No new clients meanwhile.
    Dispatcher { over: u64 },
}

/// Plays the whole setting with this design.
#[must_use]
pub fn run(setting: &Setting, design: &Design) -> Outcome {
    stage::run(setting, design)
}
