//! What a pod says on its standard output and error: logged line by line under the target `pod` (silence it with
//! `pod=off`). Reading never waits for anything but the pod, and keeps no more than one line of bounded length.

use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncReadExt};

/// Most bytes of a line that are logged; the rest of the line is dropped.
const LINE: usize = 4096;

/// Logs all lines until the end of `from`. `name` (pool and ordinal) is in front of each.
pub(super) async fn log(mut from: impl AsyncRead + Unpin, name: Arc<str>) {
    let mut lines = Lines::default();
    let mut chunk = [0; 4096];
    while let Ok(read @ 1..) = from.read(&mut chunk).await {
        lines.take(&chunk[..read], |line| tracing::info!(target: "pod", "{name}: {line}"));
    }
    lines.end(|line| tracing::info!(target: "pod", "{name}: {line}"));
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

    /// Says the line, unless it is blank. Control characters are left out: a pod must not paint the operator's terminal.
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
    fn lines_come_whole_whatever_the_chunks() {
        assert_eq!(lines(&[b"on", b"e\r\ntwo\n\n", b"three"]), ["one", "two", "three"]);
        assert_eq!(lines(&[b"\x1b[31mred\xff\x07\n"]), ["[31mred\u{fffd}"]);
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
