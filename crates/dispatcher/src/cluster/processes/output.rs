//! A pod's standard output and error: logged line by line under the target `pod` (off with `pod=off`), within a rate
//! limit. Keeps at most one line of bounded length of each.

use crate::io::now;
use prometheus::IntCounter;
use std::time::Duration;
use tokio::time::Instant;

/// Maximum bytes of a line that are logged; the rest of the line is dropped.
const LINE: usize = 4096;
/// Shortest time between two reports of suppressed lines.
const REPORT: Duration = Duration::from_secs(10);
/// A pod that has been quiet may log this many seconds' worth of lines at once.
const BURST: f64 = 10.0;

/// The output of one pod.
pub(super) struct Output {
    /// Pool and ordinal, the prefix of each line.
    name: String,
    output: Lines,
    errors: Lines,
    meter: Meter,
    suppressed: Option<IntCounter>,
}

impl Output {
    pub(super) fn new(name: String, lines_per_second: Option<u32>, suppressed: Option<IntCounter>) -> Output {
        let meter = Meter::new(lines_per_second, now());
        Output { name, output: Lines::default(), errors: Lines::default(), meter, suppressed }
    }

    pub(super) fn take(&mut self, bytes: &[u8], is_error: bool) {
        let Output { name, output, errors, meter, suppressed } = self;
        let lines = if is_error { errors } else { output };
        lines.take(bytes, |line| log(name, meter, suppressed.as_ref(), line));
    }

    /// Logs the incomplete last lines, and the number of suppressed ones.
    pub(super) fn end(&mut self) {
        let Output { name, output, errors, meter, suppressed } = self;
        output.end(|line| log(name, meter, suppressed.as_ref(), line));
        errors.end(|line| log(name, meter, suppressed.as_ref(), line));
        say(name, std::mem::take(&mut meter.suppressed));
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        say(&self.name, self.meter.suppressed);
    }
}

fn log(name: &str, meter: &mut Meter, suppressed: Option<&IntCounter>, line: &str) {
    let (allowed, before) = meter.take(now());
    say(name, before);
    if allowed {
        tracing::info!(target: "pod", "{name}: {line}");
    } else {
        suppressed.into_iter().for_each(IntCounter::inc);
    }
}

fn say(name: &str, suppressed: u64) {
    if suppressed > 0 {
        tracing::warn!(target: "pod", "{name}: {suppressed} lines suppressed (log_lines_per_second)");
    }
}

/// A token bucket: lines per second, and several seconds' worth at once after a pause.
struct Meter {
    /// `None`: no limit.
    rate: Option<f64>,
    credit: f64,
    counted: Instant,
    suppressed: u64,
    reported: Instant,
}

impl Meter {
    fn new(lines_per_second: Option<u32>, now: Instant) -> Meter {
        let rate = lines_per_second.map(f64::from);
        Meter { rate, credit: rate.unwrap_or_default() * BURST, counted: now, suppressed: 0, reported: now }
    }

    /// Returns whether the next line is logged, and the number of suppressed lines to report before it.
    fn take(&mut self, now: Instant) -> (bool, u64) {
        let Some(rate) = self.rate else { return (true, 0) };
        let passed = now.duration_since(self.counted).as_secs_f64();
        self.counted = now;
        self.credit = (self.credit + passed * rate).min(rate * BURST);
        let allowed = self.credit >= 1.0;
        if allowed {
            self.credit -= 1.0;
        } else {
            self.suppressed += 1;
        }
        let due = self.suppressed > 0 && now.duration_since(self.reported) >= REPORT;
        if due {
            self.reported = now;
        }
        (allowed, if due { std::mem::take(&mut self.suppressed) } else { 0 })
    }
}

/// Cuts bytes into lines.
#[derive(Default)]
struct Lines {
    line: Vec<u8>,
    cut: bool,
}

impl Lines {
    fn take(&mut self, bytes: &[u8], mut say: impl FnMut(&str)) {
        for part in bytes.split_inclusive(|b| *b == b'\n') {
            let (text, ends) = match part.strip_suffix(b"\n") {
                Some(text) => (text, true),
                None => (part, false),
            };
            let room = LINE - self.line.len();
            self.line.extend_from_slice(&text[..text.len().min(room)]);
            self.cut |= text.len() > room;
            if ends {
                self.end(&mut say);
            }
        }
    }

    /// Passes the line on, unless it is blank. Removes control characters: a pod must not control the operator's terminal.
    fn end(&mut self, mut say: impl FnMut(&str)) {
        let mut text: String =
            String::from_utf8_lossy(&self.line).chars().filter(|c| *c == '\t' || !c.is_control()).collect();
        if self.cut {
            text.push_str(" (cut)");
        }
        self.line.clear();
        self.cut = false;
        if !text.trim().is_empty() {
            say(text.trim_end());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(chunks: &[&[u8]]) -> Vec<String> {
        let mut said = Vec::new();
        let mut lines = Lines::default();
        for chunk in chunks {
            lines.take(chunk, |line| said.push(line.to_owned()));
        }
        lines.end(|line| said.push(line.to_owned()));
        said
    }

    #[test]
    fn lines_are_complete_however_the_bytes_are_divided() {
        assert_eq!(lines(&[b"on", b"e\r\ntwo\n\n", b"three"]), ["one", "two", "three"]);
        assert_eq!(lines(&[b"\x1b[31mred\xff\x07\n"]), ["[31mred\u{fffd}"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_is_cut_to_the_rate_and_every_suppressed_line_is_counted() {
        let mut meter = Meter::new(Some(10), now());
        let (mut logged, mut counted) = (0, 0);
        for _ in 0..60 {
            for _ in 0..1000 {
                let (allowed, suppressed) = meter.take(now());
                logged += u64::from(allowed);
                counted += suppressed;
            }
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        assert!((600..=700).contains(&logged), "{logged}: ten a second, and ten seconds' worth at once");
        assert_eq!(logged + counted + meter.suppressed, 60_000);
        assert!(counted > 0, "reported while it continues");
        let mut endless = Meter::new(None, now());
        assert!((0..100_000).all(|_| endless.take(now()) == (true, 0)));
    }

    #[test]
    fn long_lines_are_cut() {
        let long = vec![b'x'; 3 * LINE];
        let said = lines(&[&long[..], b"\nnext\n"]);
        assert_eq!(said.len(), 2);
        assert_eq!(said[0], format!("{} (cut)", "x".repeat(LINE)));
        assert_eq!(said[1], "next");
    }
}
