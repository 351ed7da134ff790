//! Checkpoints: begins a new segment, writes the checkpoint, and removes everything older than the previous checkpoint. The
//! previous one stays: if the newest is damaged, it leads to the same state.

use super::disk::{Disk, Lock};
use super::name::{Name, torn_name};
use super::tail::Tail;
use super::{checkpoint, folder, locked};
use crate::io::BoxFuture;
use crate::journal::metrics::JournalMetrics;
use crate::journal::{JournalError, Keep};
use slotkeeper_core::{Fleet, planted};
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

#[derive(Clone)]
pub(super) struct Keeper {
    pub(super) disk: Disk,
    pub(super) folder: PathBuf,
    pub(super) tail: Arc<Mutex<Tail>>,
    /// The position of the newest checkpoint.
    pub(super) newest: u64,
    pub(super) metrics: JournalMetrics,
    /// Held as long as anything may be written.
    pub(super) _lock: Lock,
}

impl Keep for Keeper {
    fn keep(&mut self, fleet: Arc<Fleet>) -> BoxFuture<'_, Result<(), JournalError>> {
        Box::pin(async move {
            let position = fleet.applied();
            if position <= self.newest {
                return Ok(());
            }
            let keeper = self.clone();
            let kept = self.disk.run(move || keeper.write(&fleet));
            match kept.await? {
                Ok(()) => {
                    self.newest = position;
                    Ok(())
                }
                Err((step, what, source)) => {
                    self.metrics.errors.with_label_values(&[step]).inc();
                    let what = format!("cannot {what} in {}", self.folder.display());
                    Err(JournalError::Io { what, source })
                }
            }
        })
    }
}

type Failure = (&'static str, &'static str, io::Error);

impl Keeper {
    fn write(&self, fleet: &Fleet) -> Result<(), Failure> {
        // First: then there is always a segment after a checkpoint, and a missing end is noticed.
        locked(&self.tail).turn().map_err(|e| ("segment", "begin a new segment", e))?;
        let name = Name::Checkpoint(fleet.applied()).to_string();
        let written = checkpoint::bytes(fleet)
            .map_err(io::Error::other)
            .and_then(|bytes| self.disk.create(&self.folder, &name, &bytes));
        written.map_err(|e| ("checkpoint", "write a checkpoint", e))?;
        self.metrics.kept.set(fleet.applied() as i64);
        self.forget().map_err(|e| ("remove", "remove what is not needed any more", e))
    }

    /// Removes the files that are not needed after the second newest checkpoint. Oldest first: the remaining files have no gap.
    pub(super) fn forget(&self) -> io::Result<()> {
        let listing = folder::list(&self.disk, &self.folder)?;
        let (mut checkpoints, mut segments) = (Vec::new(), Vec::new());
        for name in &listing.names {
            match name {
                Name::Checkpoint(position) => checkpoints.push(*position),
                Name::Entries(first) => segments.push(*first),
            }
        }
        let bound = bound(&checkpoints);
        let old_checkpoints = checkpoints.into_iter().filter(|p| *p < bound).map(|p| Name::Checkpoint(p).to_string());
        let covered = segments.windows(2).filter(|pair| pair[1] <= bound + 1).map(|p| Name::Entries(p[0]).to_string());
        let torn = listing.torn.into_iter().filter(|p| *p <= bound).map(torn_name);
        for name in old_checkpoints.chain(covered).chain(torn) {
            self.disk.remove(&self.folder.join(name))?;
        }
        self.metrics.size.set(folder::list(&self.disk, &self.folder)?.bytes as i64);
        Ok(())
    }
}

/// The position of the second newest checkpoint: entries up to it are not needed any more.
fn bound(checkpoints: &[u64]) -> u64 {
    planted!(ForgetTooMuch => checkpoints.last().copied().unwrap_or(0));
    checkpoints.iter().rev().nth(1).copied().unwrap_or(0)
}
