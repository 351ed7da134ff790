//! Writes entries, and retries until they are on the disk.

use super::disk::{Disk, Lock};
use super::tail::Tail;
use super::{line, locked};
use crate::io::{BoxFuture, Clock, now};
use crate::journal::metrics::JournalMetrics;
use crate::journal::{Append, Draft, JournalError};
use slotkeeper_core::{Entry, Millis, Time, planted};
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::mpsc;

pub(super) struct Writer {
    pub(super) disk: Disk,
    pub(super) tail: Arc<Mutex<Tail>>,
    /// Sends written entries to the reader. Unbounded, but never long: the driver has one append in flight and reads as
    /// fast as it applies.
    pub(super) written: mpsc::UnboundedSender<Vec<Entry>>,
    pub(super) clock: Clock,
    /// How far the journal's time is ahead of the clock, because the clock was set back: the journal's time never goes back.
    pub(super) ahead: Millis,
    pub(super) metrics: JournalMetrics,
    pub(super) lock: Lock,
}

/// The pause between two attempts.
const PAUSE: Duration = Duration::from_secs(1);

impl Append for Writer {
    fn append(&mut self, batch: Vec<Draft>) -> BoxFuture<'_, Result<(), JournalError>> {
        Box::pin(async move {
            let begun = now();
            let at = self.time();
            let entries: Vec<Entry> = batch
                .into_iter()
                .map(|Draft { from, number, pool, command }| Entry { at, from, number, pool, command })
                .collect();
            if entries.is_empty() {
                return Ok(());
            }
            fault_point!(FileBeforeSync);
            let entries = self.write(entries).await?;
            fault_point!(FileAfterSync);
            self.metrics.appends.observe(now().duration_since(begun).as_secs_f64());
            self.metrics.entries.inc_by(entries.len() as u64);
            self.written.send(entries).map_err(|_| JournalError::Closed)
        })
    }
}

impl Writer {
    fn time(&self) -> Time {
        planted!(TimeGoesBack => self.clock.now());
        self.clock.now() + self.ahead
    }

    /// Returns when the entries are on the disk, however long that takes. Meanwhile no session is placed; running sessions
    /// continue.
    async fn write(&self, entries: Vec<Entry>) -> Result<Vec<Entry>, JournalError> {
        let position = locked(&self.tail).next();
        let count = entries.len() as u64;
        let json = serde_json::to_vec(&entries).map_err(|e| JournalError::Unreadable(e.to_string()))?;
        let line: Arc<[u8]> = line::sealed(position, &json).into();
        let mut waiting = None;
        loop {
            let (tail, bytes, lock) = (self.tail.clone(), line.clone(), self.lock.clone());
            let attempt = self.disk.run(move || {
                // Held by this work: even if the process is ending, no other process writes here before the work is done.
                let _lock = lock;
                let mut tail = locked(&tail);
                tail.append(&bytes, count).map_err(|error| (error, tail.path().to_owned()))
            });
            let Err((error, path)) = attempt.await? else { break };
            self.metrics.errors.with_label_values(&[word(&error)]).inc();
            let file = path.display();
            if waiting.is_none() {
                waiting = Some(now());
                tracing::warn!(%file, "cannot write the journal: {error}; no session is placed until it succeeds (retried every second)");
            } else {
                tracing::debug!(%file, "still cannot write the journal: {error}");
            }
            tokio::time::sleep(PAUSE).await;
        }
        if let Some(since) = waiting {
            let seconds = now().duration_since(since).as_secs();
            tracing::warn!(seconds, "journal written again: nothing is lost");
        }
        self.metrics.size.add(line.len() as i64);
        Ok(entries)
    }
}

/// The `step` label of the error metric.
fn word(error: &io::Error) -> &'static str {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    if [StorageFull, QuotaExceeded, FileTooLarge].contains(&error.kind()) { "full" } else { "append" }
}
