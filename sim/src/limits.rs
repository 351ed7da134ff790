//! Options that select worlds and restrict them.

use clap::Args;
use slotkeeper_sim::proof::world::faults::FaultKind;
use slotkeeper_sim::proof::world::limits::{Limits, Numbers, Selection};
use slotkeeper_sim::proof::world::points::Names;
use slotkeeper_sim::proof::world::reset::Part;
use slotkeeper_sim::proof::world::shape::Shape;

/// Selects worlds and restricts them.
#[derive(Args)]
pub(crate) struct LimitArguments {
    /// Only worlds with several dispatchers.
    #[arg(long)]
    several: bool,
    /// Only worlds with at most two faults.
    #[arg(long)]
    sparse: bool,
    /// Only these kinds of faults, each at least once where it can happen (comma-separated).
    #[arg(long, value_name = "KINDS", value_delimiter = ',')]
    only: Vec<FaultKind>,
    /// Only worlds of this configuration; several are applied in the given order (`--config sliding,alone`).
    #[arg(long, value_name = "CONFIGS", value_delimiter = ',')]
    config: Vec<Shape>,
    /// At most this many dispatchers.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    dispatchers: Option<u32>,
    /// At most this many visitors.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    visitors: Option<u32>,
    /// At most this many nodes.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    nodes: Option<u32>,
    /// At most this many pods.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pods: Option<u32>,
    /// Faults for at most this long, in milliseconds.
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u64).range(1_000..))]
    chaos_ms: Option<u64>,
    /// Without these kinds of faults (comma-separated).
    #[arg(long, value_name = "KINDS", value_delimiter = ',')]
    without: Vec<FaultKind>,
    /// Only the faults with these numbers (`3,7`, or `none`), as a failing world lists them.
    #[arg(long, value_name = "NUMBERS")]
    faults: Option<Numbers>,
    /// Only the visitors with these numbers (`0,4`, or `none`).
    #[arg(long, value_name = "NUMBERS")]
    guests: Option<Numbers>,
    /// Only these fault points in the dispatcher's code (comma-separated, or `none`).
    #[arg(long, value_name = "POINTS")]
    points: Option<Names>,
    /// Resets these settings to a simple value (comma-separated).
    #[arg(long, value_name = "SETTINGS", value_delimiter = ',')]
    reset: Vec<Part>,
}

impl LimitArguments {
    pub(crate) fn limits(self) -> anyhow::Result<Limits> {
        let alone = self.config.iter().find(|shape| shape.is_alone());
        if let Some(alone) = alone.filter(|_| self.several) {
            anyhow::bail!("--several and --config {alone}: a world has either several dispatchers or one");
        }
        let kept = |kind: &&FaultKind| self.without.contains(kind);
        if let Some(kind) = self.only.iter().find(kept) {
            anyhow::bail!("--only {kind} and --without {kind}: a kind of fault is either wanted or not");
        }
        Ok(Limits {
            selection: Selection {
                several: self.several,
                sparse: self.sparse,
                only: self.only.into_iter().collect(),
                shapes: self.config,
            },
            dispatchers: self.dispatchers,
            visitors: self.visitors,
            nodes: self.nodes,
            pods: self.pods,
            chaos: self.chaos_ms,
            without: self.without.into_iter().collect(),
            faults: self.faults.map(|n| n.0),
            guests: self.guests.map(|n| n.0),
            points: self.points.map(|n| n.0),
            reset: self.reset.into_iter().collect(),
        })
    }
}
