//! What goes wrong, when, and for how long: drawn from the seed, each kind from a stream of its own, so that taking one
//! away leaves the others as they are.

use super::setting::Setting;
use crate::chance::Chance;
use rand::Rng;
use serde::Serialize;
use std::fmt;
use std::str::FromStr;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Fault {
    pub kind: FaultKind,
    /// Milliseconds since the world began.
    pub at: u64,
    pub until: u64,
    /// Chooses among whatever it can happen to.
    pub target: u32,
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident = $word:literal,)*) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
        #[serde(rename_all = "kebab-case")]
        pub enum FaultKind {
            $($(#[$doc])* $kind,)*
        }

        impl FaultKind {
            pub const ALL: &[FaultKind] = &[$(FaultKind::$kind),*];

            /// As in commands and tables.
            #[must_use]
            pub fn word(self) -> &'static str {
                match self {
                    $(FaultKind::$kind => $word,)*
                }
            }
        }
    };
}

kinds! {
    /// A link is slow.
    Latency = "latency",
    /// A link keeps everything back, and delivers it later.
    Hold = "hold",
    /// Every connection over a link is reset.
    SocketDrop = "socket-drop",
    /// A dispatcher and a node cannot talk.
    PodPartition = "pod-partition",
    /// A dispatcher and the API server cannot talk.
    ApiPartition = "api-partition",
    /// A dispatcher and the journal cannot talk.
    JournalPartition = "journal-partition",
    /// No dispatcher and the journal can.
    JournalAway = "journal-away",
    /// A home and a dispatcher cannot talk.
    HomePartition = "home-partition",
    /// A container crashes, and starts again in the same pod.
    PodCrash = "pod-crash",
    /// A pod fails for good, and is replaced.
    PodFailure = "pod-failure",
    /// A node is gone, and comes back much later.
    NodeLoss = "node-loss",
    /// Cold starts take five times as long.
    SlowStart = "slow-start",
    /// New pods are not scheduled.
    StuckStart = "stuck-start",
    /// A dispatcher is killed, and started again.
    DispatcherCrash = "dispatcher-crash",
    /// A dispatcher is killed in the midst of writing to the journal, and started again.
    WriterCrash = "writer-crash",
    /// A dispatcher is asked to stop, and started again.
    DispatcherRestart = "dispatcher-restart",
    /// A dispatcher's clock is wrong after its next start.
    DispatcherClock = "dispatcher-clock",
    /// The journal's service is down, and has lost nothing.
    JournalCrash = "journal-crash",
    /// It is down, and has lost its newest entries.
    JournalLoss = "journal-loss",
    /// Another server takes its place, and has never had its newest entries.
    JournalFailover = "journal-failover",
    /// Somebody deletes everything in it.
    JournalFlush = "journal-flush",
    /// It has no memory for anything new.
    JournalFull = "journal-full",
    /// It takes its time with everything.
    JournalSlow = "journal-slow",
    /// The journal's clock jumps, and jumps back.
    JournalClock = "journal-clock",
    /// The API server is down.
    ApiCrash = "api-crash",
    /// Watches are slow, stutter, and break: deletions are missed.
    ShakyWatch = "shaky-watch",
    /// Prometheus is down.
    PrometheusOutage = "prometheus-outage",
    /// A dispatcher and KEDA cannot talk.
    KedaPartition = "keda-partition",
    /// An operator removes the pool; the next start of a dispatcher makes it anew.
    PoolRemoval = "pool-removal",
    /// The API server refuses some or all requests with 429 and Retry-After (API priority and fairness).
    ApiOverload = "api-overload",
    /// The API server answers late, often after the client has given up: what was asked for is done.
    ApiSlow = "api-slow",
    /// The API server carries out writes late, often after the client has given up.
    ApiLateWrites = "api-late-writes",
    /// A pod with a higher priority takes the place of one; its successor finds no room.
    Preemption = "preemption",
    /// An operator drains a node: it takes no new pods, and its pods are evicted as far as a disruption budget allows.
    NodeDrain = "node-drain",
    /// A node's kubelet and the API server cannot talk: its pods go on, and count as lost.
    NodeSilent = "node-silent",
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
        Fault { kind, at, until, target }
    }

    /// The faults of a day.
    #[must_use]
    pub fn draw(setting: &Setting) -> Vec<Fault> {
        let mut faults = Vec::new();
        for kind in FaultKind::ALL.iter().copied().filter(|k| k.applies(setting)) {
            let mut dice = Chance::new(setting.seed).stream(kind.word());
            let (times, longest) = kind.shape();
            for _ in 0..dice.random_range(0..=times) {
                let at = dice.random_range(1_000..setting.chaos);
                let lasts = dice.random_range(longest / 10..=longest);
                let target = dice.random();
                faults.push(Fault { kind, at, until: (at + lasts).min(setting.chaos), target });
            }
        }
        faults.sort_by_key(|f| f.at);
        faults
    }
}

impl FaultKind {
    fn applies(self, setting: &Setting) -> bool {
        let rare = |stream, of| Chance::new(setting.seed).stream(stream).random_ratio(1, of);
        let remote = matches!(
            self,
            FaultKind::JournalPartition
                | FaultKind::JournalAway
                | FaultKind::JournalCrash
                | FaultKind::JournalLoss
                | FaultKind::JournalFailover
                | FaultKind::JournalFlush
                | FaultKind::JournalFull
                | FaultKind::JournalSlow
        );
        let loses = matches!(self, FaultKind::JournalLoss | FaultKind::JournalFailover);
        (setting.shared_journal || !remote)
            && (setting.lag > 0 || !loses)
            && (setting.is_pushed() || self != FaultKind::KedaPartition)
            && (self != FaultKind::JournalFlush || rare("flushed", 8))
            && (self != FaultKind::PoolRemoval || rare("removed", 12))
    }

    /// How often at most in a day, and how many milliseconds it lasts at most.
    fn shape(self) -> (u32, u64) {
        match self {
            FaultKind::Latency => (2, 15_000),
            FaultKind::Hold => (2, 8_000),
            FaultKind::PodPartition | FaultKind::HomePartition => (1, 12_000),
            FaultKind::ApiPartition => (1, 25_000),
            FaultKind::JournalPartition => (2, 30_000),
            FaultKind::JournalAway => (1, 20_000),
            FaultKind::PodCrash | FaultKind::SocketDrop => (2, 1_000),
            FaultKind::PodFailure | FaultKind::DispatcherClock => (1, 1_000),
            FaultKind::NodeLoss => (1, 25_000),
            FaultKind::SlowStart | FaultKind::StuckStart => (1, 20_000),
            FaultKind::DispatcherCrash | FaultKind::DispatcherRestart | FaultKind::WriterCrash => (2, 12_000),
            FaultKind::JournalCrash | FaultKind::ApiCrash => (1, 15_000),
            FaultKind::JournalLoss => (1, 6_000),
            FaultKind::JournalFailover | FaultKind::JournalFlush => (1, 1_000),
            FaultKind::JournalFull | FaultKind::JournalSlow => (1, 20_000),
            FaultKind::JournalClock => (1, 20_000),
            FaultKind::ShakyWatch | FaultKind::PrometheusOutage => (1, 25_000),
            FaultKind::KedaPartition => (2, 15_000),
            FaultKind::PoolRemoval => (1, 6_000),
            FaultKind::ApiOverload => (1, 20_000),
            FaultKind::ApiSlow | FaultKind::ApiLateWrites => (1, 15_000),
            FaultKind::Preemption => (1, 12_000),
            FaultKind::NodeDrain => (1, 20_000),
            FaultKind::NodeSilent => (1, 25_000),
        }
    }
}
