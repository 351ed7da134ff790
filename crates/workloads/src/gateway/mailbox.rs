//! A socket's outgoing queue: bounded, filled by other tasks, and emptied by the socket's task. Messages are shared, not
//! copied.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use tokio::sync::Notify;
use tokio_tungstenite::tungstenite::Utf8Bytes;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use super::metrics::Metrics;
use super::settings::SlowConsumer;

/// A message for a client.
#[derive(Clone, Debug)]
pub(super) enum Letter {
    Text(Utf8Bytes),
    Binary(Bytes),
}

/// The reason for closing a socket.
#[derive(Clone, Copy, Debug)]
pub(super) struct Farewell {
    pub(super) code: CloseCode,
    pub(super) reason: &'static str,
    /// Its label in the metrics.
    pub(super) why: &'static str,
}

pub(super) const DRAIN: Farewell = Farewell { code: CloseCode::Away, reason: "server-shutdown", why: "drain" };
const SLOW: Farewell = Farewell { code: CloseCode::Again, reason: "slow consumer", why: "slow_consumer" };

/// The next thing for the socket to do.
pub(super) enum Next {
    Letter(Letter),
    /// This many messages were dropped since the last call.
    Dropped(u64),
    Farewell(Farewell),
}

pub(super) struct Mailbox {
    letters: Mutex<Letters>,
    /// Notified when there is something new.
    pub(super) bell: Notify,
    limit: usize,
    slow_consumer: SlowConsumer,
    metrics: Arc<Metrics>,
}

#[derive(Default)]
struct Letters {
    waiting: VecDeque<Letter>,
    /// How many queued messages, at the front, are the welcome and the history: they do not count against the limit.
    spare: usize,
    dropped: u64,
    farewell: Option<Farewell>,
}

impl Mailbox {
    pub(super) fn new(limit: usize, slow_consumer: SlowConsumer, metrics: Arc<Metrics>) -> Arc<Mailbox> {
        Arc::new(Mailbox { letters: Mutex::default(), bell: Notify::new(), limit, slow_consumer, metrics })
    }

    /// Queues a message. If the queue is full, the slow consumer's policy applies.
    pub(super) fn post(&self, letter: Letter) {
        let mut letters = self.lock();
        if letters.farewell.is_some() {
            return;
        }
        if letters.waiting.len() >= self.limit + letters.spare {
            let gone = match self.slow_consumer {
                SlowConsumer::Drop => letters.take().map_or(0, |_| 1),
                SlowConsumer::Close => {
                    letters.farewell = Some(SLOW);
                    letters.spare = 0;
                    // The new message is lost as well.
                    self.metrics.dropped.inc();
                    std::mem::take(&mut letters.waiting).len()
                }
            };
            letters.dropped += gone as u64;
            self.metrics.dropped.inc_by(gone as u64);
            self.metrics.backlog.sub(gone as i64);
        }
        if letters.farewell.is_none() {
            letters.waiting.push_back(letter);
            self.metrics.backlog.inc();
        }
        drop(letters);
        self.bell.notify_one();
    }

    /// Queues the first messages of a new socket, whatever the limit.
    pub(super) fn welcome(&self, first: impl Iterator<Item = Letter>) {
        let mut letters = self.lock();
        let before = letters.waiting.len();
        letters.waiting.extend(first);
        let more = letters.waiting.len() - before;
        letters.spare += more;
        self.metrics.backlog.add(more as i64);
        drop(letters);
        self.bell.notify_one();
    }

    /// Closes the socket after the queued messages.
    pub(super) fn close(&self, farewell: Farewell) {
        self.lock().farewell.get_or_insert(farewell);
        self.bell.notify_one();
    }

    /// Returns the oldest message, or the closing reason once the queue is empty.
    pub(super) fn next(&self) -> Option<Next> {
        let mut letters = self.lock();
        let dropped = std::mem::take(&mut letters.dropped);
        if dropped > 0 && letters.farewell.is_none() {
            return Some(Next::Dropped(dropped));
        }
        match letters.take() {
            Some(letter) => {
                self.metrics.backlog.dec();
                // Frees the memory that a burst needed.
                if letters.waiting.is_empty() && letters.waiting.capacity() > 8 {
                    letters.waiting = VecDeque::new();
                }
                Some(Next::Letter(letter))
            }
            None => letters.farewell.map(Next::Farewell),
        }
    }

    /// The client was too slow: the queue has been dropped, and the current write may never end.
    pub(super) fn is_given_up(&self) -> Option<Farewell> {
        let letters = self.lock();
        letters.farewell.filter(|farewell| farewell.why == SLOW.why)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Letters> {
        self.letters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Letters {
    fn take(&mut self) -> Option<Letter> {
        let letter = self.waiting.pop_front()?;
        self.spare = self.spare.saturating_sub(1);
        Some(letter)
    }
}

impl Drop for Mailbox {
    fn drop(&mut self) {
        self.metrics.backlog.sub(self.lock().waiting.len() as i64);
    }
}
