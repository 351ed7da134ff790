//! One pod of a gateway that broadcasts messages to all clients, some of which read more slowly than it sends. The
//! policy for a full queue determines the pod's memory and the effects on slow and fast readers. A message occupies
//! its size once for each queue it is in. Deliberately not modelled: the buffers of the sockets on both sides.

use super::outcome::{Chart, Figures, Line, Look, Outcome, QueueFigures};
use super::reconnect::Reconnect;
use crate::chance::{Chance, Draw};
use crate::record::{Mark, MarkKind};
use std::collections::VecDeque;

/// Microseconds per millisecond: the queues need a finer clock than pods.
const MS: u64 = 1000;
/// Downtime of a pod that has run out of memory.
const RESTART: u64 = 10_000 * MS;

/// Shared by all policies. Times are milliseconds.
#[derive(Clone, Debug)]
pub struct Setting {
    pub story: String,
    pub chance: Chance,
    pub length: u64,
    pub clients: u32,
    /// One in this many clients reads slowly.
    pub one_in: u32,
    /// How long a slow reader takes for each message.
    pub reads: Draw,
    /// Messages per second to every client; `bytes` is the size of each.
    pub rate: u32,
    pub bytes: u32,
    /// Maximum number of messages in one reader's queue.
    pub limit: usize,
    /// Total size of all queues, in bytes, at which the pod is killed for its memory.
    pub memory: u64,
    pub reconnect: Reconnect,
}

/// The server's reaction to a reader that does not keep up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// Nothing: the queue grows without limit.
    Unbounded,
    /// The server waits until the queue has room, which delays all clients.
    Wait,
    /// Drops the oldest message in favour of the newest.
    DropOldest,
    /// Closes the reader's connection; the reader reconnects.
    Close,
}

impl Policy {
    pub const ALL: [Policy; 4] = [Policy::Unbounded, Policy::Wait, Policy::DropOldest, Policy::Close];

    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Policy::Unbounded => "unbounded queues",
            Policy::Wait => "the sender waits",
            Policy::DropOldest => "the oldest is dropped",
            Policy::Close => "the slow one is closed",
        }
    }
}

/// One slow reader. Times are microseconds.
struct Reader {
    period: u64,
    /// When each queued message was sent.
    queue: VecDeque<u64>,
    /// Busy with a message until then.
    busy: u64,
    /// Disconnected until then.
    back: u64,
}

impl Reader {
    /// Reads the messages it has had time for. Returns the highest age among them.
    fn read(&mut self, now: u64) -> u64 {
        let mut stale = 0;
        while self.busy <= now
            && let Some(sent) = self.queue.pop_front()
        {
            let began = self.busy.max(sent);
            stale = stale.max(began - sent);
            self.busy = began + self.period;
        }
        stale
    }
}

/// Sends messages for the setting's length, and returns the totals.
#[must_use]
pub fn run(setting: &Setting, policy: Policy) -> Outcome {
    let mut pod = Pod::new(setting, policy);
    let gap = 1000 * MS / u64::from(setting.rate.max(1));
    for sent in (0..setting.length * MS).step_by(usize::try_from(gap).unwrap_or(usize::MAX)) {
        pod.send(sent);
    }
    pod.finish()
}

struct Pod<'a> {
    setting: &'a Setting,
    policy: Policy,
    readers: Vec<Reader>,
    /// Busy with a message until `busy`, and down until `down`.
    busy: u64,
    down: u64,
    waiting: u64,
    figures: QueueFigures,
    marks: Vec<Mark>,
    memory: Vec<(u64, u32)>,
    delay: Vec<(u64, u32)>,
    waits: rand_chacha::ChaCha8Rng,
}

impl<'a> Pod<'a> {
    fn new(setting: &'a Setting, policy: Policy) -> Pod<'a> {
        let slow = setting.clients / setting.one_in.max(1);
        let mut chance = setting.chance.stream("readers");
        let reader = |_| Reader {
            period: setting.reads.sample(&mut chance).max(1) * MS,
            queue: VecDeque::new(),
            busy: 0,
            back: 0,
        };
        Pod {
            setting,
            policy,
            readers: (0..slow).map(reader).collect(),
            busy: 0,
            down: 0,
            waiting: 0,
            figures: QueueFigures {
                clients: u64::from(setting.clients),
                slow: u64::from(slow),
                ..QueueFigures::default()
            },
            marks: Vec::new(),
            memory: Vec::new(),
            delay: Vec::new(),
            waits: setting.chance.stream("waits"),
        }
    }

    /// Sends one message to all clients.
    fn send(&mut self, sent: u64) {
        if sent < self.down {
            return;
        }
        let mut now = self.busy.max(sent);
        for at in 0..self.readers.len() {
            now = self.offer(at, sent, now);
            let bytes = self.waiting * u64::from(self.setting.bytes);
            self.figures.memory = self.figures.memory.max(bytes);
            if bytes > self.setting.memory {
                return self.die(sent);
            }
        }
        // A fast reader may be the last one the message is sent to.
        self.busy = now;
        self.figures.others = self.figures.others.max((now - sent) as f64 / 1e6);
        let kib = self.waiting * u64::from(self.setting.bytes) / 1024;
        note(&mut self.memory, sent / MS, u32::try_from(kib).unwrap_or(u32::MAX));
        note(&mut self.delay, sent / MS, u32::try_from((now - sent) / (1000 * MS)).unwrap_or(u32::MAX));
    }

    /// Puts the message into one queue. Returns when that is done.
    fn offer(&mut self, at: usize, sent: u64, now: u64) -> u64 {
        if self.readers[at].back > now {
            return now;
        }
        let mut now = now;
        self.read(at, now);
        if self.policy != Policy::Unbounded && self.readers[at].queue.len() >= self.setting.limit {
            match self.policy {
                Policy::Unbounded => {}
                Policy::Wait => {
                    now = self.readers[at].busy;
                    self.read(at, now);
                }
                Policy::DropOldest => {
                    self.readers[at].queue.pop_front();
                    self.waiting -= 1;
                    self.figures.dropped += 1;
                }
                Policy::Close => {
                    self.close(at, now);
                    return now;
                }
            }
        }
        self.readers[at].queue.push_back(sent);
        self.waiting += 1;
        now
    }

    fn read(&mut self, at: usize, now: u64) {
        let reader = &mut self.readers[at];
        let before = reader.queue.len();
        let stale = reader.read(now);
        self.waiting -= (before - reader.queue.len()) as u64;
        self.figures.stale = self.figures.stale.max(stale as f64 / 1e6);
    }

    fn close(&mut self, at: usize, now: u64) {
        let reader = &mut self.readers[at];
        // The queued messages, and the one that did not fit.
        self.figures.dropped += reader.queue.len() as u64 + 1;
        self.figures.closed += 1;
        self.waiting -= reader.queue.len() as u64;
        reader.queue.clear();
        // The connection had been established, so the backoff starts from the first attempt.
        reader.back = now + self.setting.reconnect.delay(0, &mut self.waits) * MS;
        reader.busy = reader.back;
    }

    /// Memory is used up: the kernel ends the process, and all its connections.
    fn die(&mut self, now: u64) {
        let lost = self.readers.iter().map(|r| r.queue.len() as u64).sum::<u64>();
        self.figures.dropped += lost;
        self.figures.lost += u64::from(self.setting.clients);
        let text = format!("the pod is out of memory: {} connections end without a close frame", self.setting.clients);
        self.marks.push(Mark { at: now / MS, until: Some((now + RESTART) / MS), kind: MarkKind::Kill, text });
        note(&mut self.memory, now / MS, 0);
        self.down = now + RESTART;
        self.busy = self.down;
        self.waiting = 0;
        for reader in &mut self.readers {
            reader.queue.clear();
            reader.busy = self.down;
        }
    }

    fn finish(self) -> Outcome {
        let chart = |heading: &str, look, name: &str, points| Chart {
            heading: heading.to_owned(),
            lines: vec![Line { look, name: name.to_owned(), points }],
            rows: false,
        };
        Outcome {
            title: self.policy.title().to_owned(),
            story: self.setting.story.clone(),
            seed: self.setting.chance.seed,
            length: self.setting.length,
            figures: Figures::Queues(self.figures),
            marks: self.marks,
            charts: vec![
                chart("Memory of all queues, in KiB", Look::Good, "KiB", self.memory),
                chart("How late messages reach fast readers, in seconds", Look::Bad, "seconds", self.delay),
            ],
        }
    }
}

/// Keeps two values per second, which is enough for a picture.
fn note(points: &mut Vec<(u64, u32)>, now: u64, value: u32) {
    let due = points.last().is_none_or(|(at, last)| now >= at + 500 && *last != value);
    if due || value == 0 && points.last().is_some_and(|(_, last)| *last > 0) {
        points.push((now, value));
    }
}

#[cfg(test)]
mod tests {
    use super::Reader;
    use std::collections::VecDeque;

    #[test]
    fn a_reader_takes_one_message_per_period() {
        let mut reader = Reader { period: 10, queue: VecDeque::from([0, 1, 2, 3]), busy: 5, back: 0 };
        assert_eq!(reader.read(4), 0);
        assert_eq!(reader.queue.len(), 4, "it is busy until 5");
        assert_eq!(reader.read(24), 14, "the second one was sent at 1 and taken at 15");
        assert_eq!(reader.queue, [2, 3]);
        reader.read(100);
        assert_eq!((reader.queue.len(), reader.busy), (0, 45));
        reader.queue.push_back(90);
        reader.read(100);
        assert_eq!(reader.busy, 100, "a reader with an empty queue is not busy");
    }
}
