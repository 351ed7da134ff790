//! The faults of a world, with their times and durations: drawn from the seed, with a separate stream for each kind,
//! so that removing one does not affect the others. Each family of kinds has a file: how often its faults occur and
//! where, what begins, and what ends.

mod api;
mod disks;
mod dispatchers;
mod links;
mod nodes;
mod operations;
mod pods;
mod shared_journal;

use super::World;
use super::setting::{Selection, Setting};
use crate::chance::Chance;
use api::ApiServer;
use disks::Disks;
use dispatchers::Dispatchers;
use links::Links;
use nodes::Nodes;
use operations::Operations;
use pods::Pods;
use rand::Rng;
use serde::{Deserialize, Serialize};
use shared_journal::SharedJournal;
use std::fmt;
use std::str::FromStr;
use turmoil::Sim;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    pub kind: FaultKind,
    /// Milliseconds since the world began.
    pub at: u64,
    pub until: u64,
    /// Selects the affected component.
    pub target: u32,
    /// Its number among the faults that the seed draws.
    #[serde(skip)]
    pub number: u32,
}

/// A family describes each of its kinds of faults.
pub(super) trait Family {
    /// Returns the maximum number per world, and the maximum duration in milliseconds.
    fn shape(&self) -> (u32, u64);

    /// Reports whether this kind can occur. `asked`: the hunt is for this kind, so it is not rare.
    fn applies(&self, _setting: &Setting, _asked: bool) -> bool {
        true
    }

    fn begin(&self, fault: Fault, sim: &mut Sim<'_>, world: &World);

    fn end(&self, fault: Fault, sim: &mut Sim<'_>, world: &World);

    /// Returns all pairs that cannot communicate because of the fault.
    fn parted(&self, _fault: Fault, _world: &World) -> Vec<(String, String)> {
        Vec::new()
    }
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $family:ident::$kind:ident = $word:literal,)*) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(rename_all = "kebab-case")]
        pub enum FaultKind {
            $($(#[$doc])* $kind,)*
        }

        impl FaultKind {
            pub const ALL: &[FaultKind] = &[$(FaultKind::$kind),*];

            /// Returns the word used in commands and tables.
            #[must_use]
            pub fn word(self) -> &'static str {
                match self {
                    $(FaultKind::$kind => $word,)*
                }
            }

            /// Returns the kind as its family knows it.
            pub(super) fn family(self) -> &'static dyn Family {
                match self {
                    $(FaultKind::$kind => &$family::$kind,)*
                }
            }
        }
    };
}

kinds! {
    /// A link is slow.
    Links::Latency = "latency",
    /// A link delays everything, and delivers it later.
    Links::Hold = "hold",
    /// Every connection over a link is reset.
    Links::SocketDrop = "socket-drop",
    /// A dispatcher and a node cannot communicate.
    Links::PodPartition = "pod-partition",
    /// A dispatcher and the API server cannot communicate.
    Links::ApiPartition = "api-partition",
    /// A dispatcher and the journal cannot communicate.
    Links::JournalPartition = "journal-partition",
    /// No dispatcher can reach the journal.
    Links::JournalAway = "journal-away",
    /// A home and a dispatcher cannot communicate.
    Links::HomePartition = "home-partition",
    /// A container crashes, and is restarted in the same pod.
    Pods::PodCrash = "pod-crash",
    /// A pod fails permanently, and is replaced.
    Pods::PodFailure = "pod-failure",
    /// A node is lost, and returns much later.
    Nodes::NodeLoss = "node-loss",
    /// Cold starts take five times as long.
    Pods::SlowStart = "slow-start",
    /// New pods are not scheduled.
    Pods::StuckStart = "stuck-start",
    /// A dispatcher is killed, and started again.
    Dispatchers::DispatcherCrash = "dispatcher-crash",
    /// A dispatcher is killed while writing to the journal, and started again.
    Dispatchers::WriterCrash = "writer-crash",
    /// A dispatcher is asked to stop, and started again.
    Dispatchers::DispatcherRestart = "dispatcher-restart",
    /// A dispatcher's clock is wrong after its next start.
    Dispatchers::DispatcherClock = "dispatcher-clock",
    /// The journal's server is down, and loses nothing.
    SharedJournal::JournalCrash = "journal-crash",
    /// The journal's server is down, and loses its newest entries.
    SharedJournal::JournalLoss = "journal-loss",
    /// Another server replaces the journal's, without its newest entries.
    SharedJournal::JournalFailover = "journal-failover",
    /// An operator deletes everything in the journal.
    SharedJournal::JournalFlush = "journal-flush",
    /// The journal has no memory for new entries.
    SharedJournal::JournalFull = "journal-full",
    /// The journal answers slowly.
    SharedJournal::JournalSlow = "journal-slow",
    /// The journal's clock jumps, and jumps back.
    SharedJournal::JournalClock = "journal-clock",
    /// The API server is down.
    ApiServer::ApiCrash = "api-crash",
    /// Watches are slow, stutter, and break: deletions are missed.
    ApiServer::ShakyWatch = "shaky-watch",
    /// Prometheus is down.
    Operations::PrometheusOutage = "prometheus-outage",
    /// A dispatcher and KEDA cannot communicate.
    Links::KedaPartition = "keda-partition",
    /// An operator removes the pool; the next start of a dispatcher creates it again.
    Operations::PoolRemoval = "pool-removal",
    /// A dispatcher's host loses power while it writes its journal, and starts again.
    Disks::PowerLoss = "power-loss",
    /// The disk of a dispatcher's journal is full.
    Disks::DiskFull = "disk-full",
    /// The disk is slow.
    Disks::DiskSlow = "disk-slow",
    /// The disk fails occasionally.
    Disks::DiskFailing = "disk-failing",
    /// A dispatcher's process does not run for a while; its connections stay open.
    Dispatchers::Stall = "stall",
    /// A link loses everything in one direction.
    Links::OneWay = "one-way",
    /// A dispatcher can open no more sockets and files.
    Dispatchers::Descriptors = "descriptors",
    /// The API server rejects some or all requests with 429 and Retry-After (API priority and fairness).
    ApiServer::ApiOverload = "api-overload",
    /// The API server answers late, often after the client has given up: the request is executed.
    ApiServer::ApiSlow = "api-slow",
    /// The API server executes writes late, often after the client has given up.
    ApiServer::ApiLateWrites = "api-late-writes",
    /// A pod with a higher priority preempts a pod; there is no capacity for its successor.
    Pods::Preemption = "preemption",
    /// An operator drains a node: it takes no new pods, and its pods are evicted as far as a disruption budget allows.
    Nodes::NodeDrain = "node-drain",
    /// A node's kubelet and the API server cannot communicate: its pods continue to run, and count as lost.
    Nodes::NodeSilent = "node-silent",
    /// An operator deletes the StatefulSet without its pods, and creates it again.
    Pods::SetRecreated = "set-recreated",
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl FromStr for FaultKind {
    type Err = String;
    fn from_str(word: &str) -> Result<FaultKind, String> {
        let all = || FaultKind::ALL.iter().map(|k| k.word()).collect::<Vec<_>>().join(", ");
        FaultKind::ALL
            .iter()
            .copied()
            .find(|k| k.word() == word)
            .ok_or_else(|| format!("{word:?} is no kind of fault; there are: {}", all()))
    }
}

impl Fault {
    #[must_use]
    pub fn new(kind: FaultKind, at: u64, until: u64, target: u32) -> Fault {
        Fault { kind, at, until, target, number: 0 }
    }

    /// Draws the faults of a world. The frequency of each kind is drawn per world: a bug that needs only one kind
    /// would be hidden by the others.
    #[must_use]
    pub fn draw(setting: &Setting, selection: &Selection) -> Vec<Fault> {
        let only = &selection.only;
        let kinds = FaultKind::ALL.iter().copied().filter(|k| only.is_empty() || only.contains(k));
        let kinds: Vec<FaultKind> = kinds.filter(|k| k.family().applies(setting, only.contains(k))).collect();
        let mut faults: Vec<Fault> = if kinds.is_empty() {
            Vec::new()
        } else {
            let times = often(setting.seed, &kinds, selection);
            times.into_iter().flat_map(|(kind, times)| kind.happens(setting, times)).collect()
        };
        faults.sort_by_key(|f| f.at);
        (0..).zip(&mut faults).for_each(|(number, fault)| fault.number = number);
        faults
    }
}

/// In percent of the usual number of faults of a kind.
const INTENSITIES: [u32; 7] = [20, 30, 45, 70, 100, 140, 200];

/// Draws how often each kind occurs in this world.
fn often(seed: u64, kinds: &[FaultKind], selection: &Selection) -> Vec<(FaultKind, u32)> {
    let chance = Chance::new(seed);
    let mut dice = chance.stream("weather");
    let sparse = dice.random_ratio(1, 10);
    let share = dice.random_range(15..=100);
    let intensity = INTENSITIES[dice.random_range(0..INTENSITIES.len())];
    if selection.sparse || sparse && selection.only.is_empty() {
        let number = dice.random_range(1..=2);
        return (0..number).map(|_| (kinds[dice.random_range(0..kinds.len())], 1)).collect();
    }
    let times = |kind: FaultKind| {
        let is_only = selection.only.contains(&kind);
        let mut own = chance.stream(&format!("{kind} occurs"));
        let chosen = own.random_ratio(share, 100) || is_only;
        let hundredths = own.random_range(0..=kind.family().shape().0) * intensity;
        // The remainder is a probability.
        let times = hundredths / 100 + u32::from(own.random_ratio(hundredths % 100, 100));
        (kind, if chosen { times.max(u32::from(is_only)) } else { 0 })
    };
    kinds.iter().copied().map(times).collect()
}

impl FaultKind {
    /// Draws the first `times` faults of this kind, from a separate stream.
    fn happens(self, setting: &Setting, times: u32) -> Vec<Fault> {
        let mut dice = Chance::new(setting.seed).stream(self.word());
        let (_, longest) = self.family().shape();
        let mut fault = || {
            let at = dice.random_range(1_000..setting.chaos);
            let lasts = dice.random_range(longest / 10..=longest);
            Fault::new(self, at, (at + lasts).min(setting.chaos), dice.random())
        };
        (0..times).map(|_| fault()).collect()
    }
}

/// Draws whether a rare kind can occur in this world: in one of `of` worlds.
fn is_rare(setting: &Setting, stream: &str, of: u32) -> bool {
    Chance::new(setting.seed).stream(stream).random_ratio(1, of)
}

/// Ends what is left of all faults.
pub(super) fn heal(world: &World) {
    shared_journal::heal(world);
    pods::heal(world);
    nodes::heal(world);
    api::heal(world);
    operations::heal(world);
    dispatchers::heal(world);
    disks::heal(world);
}
