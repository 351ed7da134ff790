//! A journal that lives as long as the process: for tests, the demo and pools whose sessions need not survive a restart.

use super::{Append, Draft, Follow, Journal, JournalError, ReadResult};
use crate::io::{BoxFuture, Clock};
use slotkeeper_core::{Entry, Time};
use tokio::sync::mpsc;

/// A new, empty journal. Its time is the clock's, and never goes back.
#[must_use]
pub fn open(clock: Clock) -> Journal {
    let (sender, receiver) = mpsc::unbounded_channel();
    let append = Box::new(Writer { sender, clock, last: Time(0) });
    Journal::new(append, Box::new(Reader { receiver }), false)
}

struct Writer {
    // Unbounded, but never long: the driver has one append in flight and reads as fast as it applies.
    sender: mpsc::UnboundedSender<Entry>,
    clock: Clock,
    last: Time,
}

impl Append for Writer {
    fn append(&mut self, batch: Vec<Draft>) -> BoxFuture<'_, Result<(), JournalError>> {
        Box::pin(async move {
            self.last = self.last.max(self.clock.now());
            for Draft { from, number, pool, command } in batch {
                let entry = Entry { at: self.last, from, number, pool, command };
                self.sender.send(entry).map_err(|_| JournalError::Closed)?;
            }
            Ok(())
        })
    }
}

struct Reader {
    receiver: mpsc::UnboundedReceiver<Entry>,
}

/// Entries applied at a time.
const BATCH: usize = 256;

impl Follow for Reader {
    fn next(&mut self) -> BoxFuture<'_, Result<ReadResult, JournalError>> {
        Box::pin(async move {
            let mut entries = Vec::new();
            match self.receiver.recv_many(&mut entries, BATCH).await {
                0 => Err(JournalError::Closed),
                _ => Ok(ReadResult::Entries(entries)),
            }
        })
    }
}
