//! Limits for names, texts and the rate of messages.

use tokio::time::Instant;

use super::protocol::Refusal;

/// The limit for a name, in characters.
const NAME: usize = 32;
/// The limit for a message, in characters.
pub(super) const TEXT: usize = 2000;
const CLIENT_ID: usize = 64;

/// The number of messages allowed at once, after a pause ...
const BURST: f64 = 20.0;
/// ... and per second in the long run.
const PER_SECOND: f64 = 5.0;
/// After this many consecutive refusals, the client is closed.
const REPEATED: u32 = 500;

/// Removes hidden characters from a name; `guest` if nothing remains.
pub(super) fn name(told: &str) -> String {
    let words: Vec<&str> = told.split(|c: char| c.is_whitespace() || is_hidden(c)).filter(|w| !w.is_empty()).collect();
    let name: String = words.join(" ").chars().take(NAME).collect();
    if name.is_empty() { "guest".to_owned() } else { name.trim_end().to_owned() }
}

/// Removes hidden characters from a text, except line breaks and tabs.
pub(super) fn text(told: &str) -> Result<String, Refusal> {
    let text: String = told.chars().filter(|c| *c == '\n' || *c == '\t' || !is_hidden(*c)).collect();
    let text = text.trim();
    if text.is_empty() {
        return Err(Refusal::Empty);
    }
    if text.chars().count() > TEXT {
        return Err(Refusal::TooLong);
    }
    Ok(text.to_owned())
}

/// Control characters, and those that change the direction of the text around them.
fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200E}' | '\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}' | '\u{FEFF}')
}

pub(super) fn is_client_id(id: &str) -> bool {
    (1..=CLIENT_ID).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

/// The rate limit of one socket: a token bucket.
pub(super) struct Pace {
    left: f64,
    at: Instant,
    refused: u32,
}

pub(super) enum Allowance {
    Fine,
    TooFast,
    Flood,
}

impl Default for Pace {
    fn default() -> Pace {
        Pace { left: BURST, at: Instant::now(), refused: 0 }
    }
}

impl Pace {
    pub(super) fn step(&mut self) -> Allowance {
        let now = Instant::now();
        self.left = (self.left + (now - self.at).as_secs_f64() * PER_SECOND).min(BURST);
        self.at = now;
        if self.left >= 1.0 {
            self.left -= 1.0;
            self.refused = 0;
            return Allowance::Fine;
        }
        self.refused += 1;
        if self.refused > REPEATED { Allowance::Flood } else { Allowance::TooFast }
    }
}
