//! What clients may call themselves and say, and how fast.

use tokio::time::Instant;

use super::protocol::Refusal;

/// Characters of a name.
const NAME: usize = 32;
/// Characters of a message.
pub(super) const TEXT: usize = 2000;
const CLIENT_ID: usize = 64;

/// So many messages at once, after a pause ...
const BURST: f64 = 20.0;
/// ... and so many per second in the long run.
const PER_SECOND: f64 = 5.0;
/// Who is told so many times in a row to be slower does not listen.
const REPEATED: u32 = 500;

/// What can be shown of a name; `guest` if that is nothing.
pub(super) fn name(told: &str) -> String {
    let words: Vec<&str> = told.split(|c: char| c.is_whitespace() || is_hidden(c)).filter(|w| !w.is_empty()).collect();
    let name: String = words.join(" ").chars().take(NAME).collect();
    if name.is_empty() { "guest".to_owned() } else { name.trim_end().to_owned() }
}

/// What can be shown of a text: line breaks stay, other things that nobody sees go.
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

/// Control characters, and those that change the direction of what stands around them.
fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200E}' | '\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}' | '\u{FEFF}')
}

pub(super) fn is_client_id(id: &str) -> bool {
    (1..=CLIENT_ID).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

/// How fast one socket talks: a bucket that fills by the second.
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
