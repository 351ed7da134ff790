//! How pods and visitors behave on their connections. Most are polite: they answer at once, read at once, and send
//! nothing unrequested. Others push data, send pings, half-close, read slowly, ignore a close, answer late; or
//! upload, read slowly, open many tabs, are suspended. All data can be checked at the other end: it is numbered, or
//! determined by two numbers.

use crate::chance::Chance;
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How many are impolite.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Conduct {
    /// Percentage of pods.
    pub pods: u32,
    /// Percentage of visitors.
    pub visitors: u32,
}

impl Conduct {
    pub const IMPOLITE: Conduct = Conduct { pods: 100, visitors: 100 };

    /// Draws the shares, each of which is 0 in half of all worlds.
    #[must_use]
    pub fn draw(chance: Chance) -> Conduct {
        let mut dice = chance.stream("conduct");
        let share = |dice: &mut ChaCha8Rng| [0, 0, 30, 80][dice.random_range(0..4)];
        Conduct { pods: share(&mut dice), visitors: share(&mut dice) }
    }
}

/// The behaviour of one incarnation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PodConduct {
    /// Sends unrequested messages.
    pub pushes: bool,
    /// Sends pings on its WebSockets.
    pub pings: bool,
    /// Stops sending on a WebSocket after a while, and ends the connection without a close frame.
    pub half_closes: bool,
    /// Waits before it reads more.
    pub reads_slowly: bool,
    /// Does nothing for a while when the visitor closes.
    pub ignores_close: bool,
    /// Answers requests late.
    pub late: bool,
    /// Sends bodies in chunks, with pauses.
    pub chunks: bool,
    /// Closes the connection with the last byte of an answer.
    pub hangs_up: bool,
}

impl PodConduct {
    #[must_use]
    pub fn draw(conduct: Conduct, chance: Chance, uid: &str) -> PodConduct {
        let mut dice = chance.stream(&format!("conduct of {uid}"));
        if dice.random_range(0..100) >= conduct.pods {
            return PodConduct::default();
        }
        let mut often = |of: u32| dice.random_ratio(1, of);
        PodConduct {
            pushes: often(2),
            pings: often(2),
            half_closes: often(4),
            reads_slowly: often(3),
            ignores_close: often(3),
            late: often(3),
            chunks: often(2),
            hangs_up: often(3),
        }
    }
}

/// The behaviour of one visitor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VisitorConduct {
    /// Sends bodies.
    pub uploads: bool,
    /// Fetches long bodies, and reads them slowly.
    pub downloads: bool,
    /// Opens six to ten tabs.
    pub many_tabs: bool,
    /// Makes five requests at once before it has a cookie.
    pub rushes: bool,
    /// Neither reads nor writes for a while, then continues.
    pub suspends: bool,
}

impl VisitorConduct {
    #[must_use]
    pub fn draw(conduct: Conduct, chance: Chance, number: usize) -> VisitorConduct {
        let mut dice = chance.stream(&format!("conduct of visitor {number}"));
        if dice.random_range(0..100) >= conduct.visitors {
            return VisitorConduct::default();
        }
        let mut often = |of: u32| dice.random_ratio(1, of);
        VisitorConduct {
            uploads: often(2),
            downloads: often(2),
            many_tabs: often(4),
            rushes: often(2),
            suspends: often(3),
        }
    }
}

/// Returns a random number of milliseconds in this range.
pub fn pause(dice: &mut ChaCha8Rng, from: u64, to: u64) -> Duration {
    Duration::from_millis(dice.random_range(from..=to))
}

/// Returns the content of a body or message, which is determined by its number and size.
#[must_use]
pub fn letters(number: u64, size: usize) -> String {
    (0..size as u64).map(|n| char::from(b'a' + (n.wrapping_mul(7).wrapping_add(number) % 26) as u8)).collect()
}

/// The header that describes a body's content.
pub const LETTERS: &str = "x-letters";

/// Returns the value of that header.
#[must_use]
pub fn described(number: u64, size: usize) -> String {
    format!("{number} {size}")
}

/// Reports whether the body matches its header. `None`: the header describes nothing.
#[must_use]
pub fn is_as_described(header: &str, body: &[u8]) -> Option<bool> {
    let (number, size) = header.split_once(' ')?;
    Some(letters(number.parse().ok()?, size.parse().ok()?).as_bytes() == body)
}

/// Returns the `number`-th message that a pod pushes on its WebSocket.
#[must_use]
pub fn push(number: u64, size: usize) -> String {
    format!("{PUSH}{number} {size}:{}", letters(number, size))
}

const PUSH: &str = "push ";
/// The prefix of a pod's pings, before their number.
pub const PING: &str = "pod ";

/// The report of one end of a WebSocket after its last message: how much it has sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    pub messages: u64,
    pub pings: u64,
}

impl Sent {
    /// `word`: "end" in a close frame, "last" in a message before a half-close.
    #[must_use]
    pub fn written(self, word: &str) -> String {
        format!("{word} {} {}", self.messages, self.pings)
    }

    #[must_use]
    pub fn read(text: &str, word: &str) -> Option<Sent> {
        let mut numbers = text.strip_prefix(word)?.strip_prefix(' ')?.split(' ');
        let mut number = || numbers.next()?.parse().ok();
        Some(Sent { messages: number()?, pings: number()? })
    }
}

/// The pushed messages and pings that a visitor has received from its pod.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Received {
    pub pushes: u64,
    pub pings: u64,
    /// The pod has announced that nothing more follows.
    pub is_over: bool,
}

impl Received {
    /// Checks a message that may be a push. `None`: it is something else. Returns an error if it is not the expected
    /// one.
    pub fn push(&mut self, message: &[u8]) -> Option<Result<(), String>> {
        let text = std::str::from_utf8(message).ok()?;
        let rest = text.strip_prefix(PUSH)?;
        let size = rest.split_once(':').and_then(|(head, _)| head.split_once(' ')?.1.parse().ok()).unwrap_or_default();
        let expected = push(self.pushes, size);
        self.pushes += 1;
        if expected == text {
            return Some(Ok(()));
        }
        Some(Err(format!("push {} was expected, {:.40?} was received", self.pushes - 1, text)))
    }

    /// The pod reports that it has sent this much. Returns an error if something is missing.
    pub fn end(&self, sent: Sent) -> Result<(), String> {
        if (self.pushes, self.pings) == (sent.messages, sent.pings) {
            return Ok(());
        }
        let (pushes, pings) = (self.pushes, self.pings);
        Err(format!("the pod sent {} messages and {} pings; {pushes} and {pings} arrived", sent.messages, sent.pings))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_or_reordered_messages_are_detected() {
        let mut received = Received::default();
        assert_eq!(received.push(b"7:echo"), None);
        assert_eq!(received.push(push(0, 5).as_bytes()), Some(Ok(())));
        assert!(received.push(push(2, 5).as_bytes()).is_some_and(|r| r.is_err()));
        let sent = Sent { messages: 2, pings: 1 };
        assert!(received.end(sent).is_err());
        received.pings = 1;
        assert_eq!(received.end(sent), Ok(()));
        assert_eq!(Sent::read(&sent.written("end"), "end"), Some(sent));
        assert_eq!(Sent::read("the pod stops", "end"), None);
    }

    #[test]
    fn a_body_is_checked_against_its_description() {
        let body = letters(3, 1_000);
        assert_eq!(is_as_described(&described(3, 1_000), body.as_bytes()), Some(true));
        assert_eq!(is_as_described(&described(3, 1_000), &body.as_bytes()[..999]), Some(false));
        assert_eq!(is_as_described(&described(4, 1_000), body.as_bytes()), Some(false));
        assert_eq!(is_as_described("", b""), None);
    }
}
