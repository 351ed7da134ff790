//! `[pools.NAME.activity]`: which signals count as activity of a visitor.

use super::field::choice;
use super::passive::pattern;
use super::setting::{DAY, Kind, Row, field, read_all, seconds};
use super::table::{Table, quoted};
use crate::config::request_rules::Pattern;
use std::fmt;
use std::time::Duration;

/// Which signals count as activity of a visitor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Activity {
    /// The kind of signals. The other settings narrow it down.
    pub signals: Signals,
    /// With [`Signals::Frames`]: the payloads of WebSocket frames that count.
    pub frame_bytes: Vec<Sizes>,
    /// Requests for these paths, and their bodies and WebSockets, never count.
    pub ignored_paths: Vec<Pattern>,
    /// One report makes a session busy for this long at most.
    pub busy_limit: Duration,
}

/// Sizes from one to another, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// In bytes.
    pub least: u64,
    /// In bytes; `u64::MAX`: no limit.
    pub most: u64,
}

impl Sizes {
    /// Every size, also 0.
    pub const ANY: Sizes = Sizes { least: 0, most: u64::MAX };

    /// `6`, `6-8` or `6-`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Sizes> {
        let number = |text: &str| text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok())?;
        let sizes = match text.split_once('-') {
            None => number(text).map(|size| Sizes { least: size, most: size }),
            Some((least, "")) => number(least).map(|least| Sizes { least, most: u64::MAX }),
            Some((least, most)) => number(least).zip(number(most)).map(|(least, most)| Sizes { least, most }),
        };
        sizes.filter(|sizes| sizes.least <= sizes.most)
    }

    /// Returns whether `size`, in bytes, is one of these.
    #[must_use]
    pub fn has(&self, size: u64) -> bool {
        (self.least..=self.most).contains(&size)
    }
}

impl fmt::Display for Sizes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Sizes { least, most: u64::MAX } => write!(f, "{least}-"),
            Sizes { least, most } if least == most => write!(f, "{least}"),
            Sizes { least, most } => write!(f, "{least}-{most}"),
        }
    }
}

/// The kinds of signals that count as activity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signals {
    /// Requests, bodies on their way, and WebSocket frames.
    Any,
    /// WebSocket frames of some size.
    Frames,
    /// Reports of pages and pods.
    Reported,
}

impl Default for Activity {
    fn default() -> Activity {
        Activity {
            signals: Signals::Any,
            frame_bytes: vec![Sizes::ANY],
            ignored_paths: Vec::new(),
            busy_limit: Duration::from_secs(4 * 3600),
        }
    }
}

pub(super) const ROWS: &[Row<Activity>] = &[
    Row::new("signals", choice::<Signals>(), field!(Activity, signals))
        .help("what counts as activity", ". Reports always count"),
    Row::new("frame_bytes", Kind::OneOrList("size"), field!(Activity, frame_bytes = [size], "none"))
        .help(
            "payload sizes of WebSocket frames that count",
            ", in bytes as sent (possibly compressed); with `\"frames\"` only. For noVNC: `[\"6-8\", \"12\"]`, \
             its pointer and key events; its answers to fences have 10",
        )
        .range("`\"N\"`, `\"N-M\"`, `\"N-\"`, or a list"),
    Row::new(
        "ignored_paths",
        Kind::OneOrList("path with `*` for anything"),
        field!(Activity, ignored_paths = [pattern], "none"),
    )
    .help("requests for these paths never count", ", nor do their bodies or the frames of their WebSockets"),
    Row::new("busy_limit_seconds", seconds(1.0, 30.0 * DAY), field!(Activity, busy_limit))
        .help("a report keeps a session busy for this long at most", ""),
];

/// Reads `[pools.NAME.activity]`.
pub(super) fn activity(pool: &Table<'_>, activity: &mut Activity) {
    let Some(table) = pool.table("activity") else { return };
    read_all(ROWS, &table, activity);
    if table.has_empty_list("frame_bytes") {
        table.wrong("frame_bytes", "no frame counts; allowed: at least one size");
    }
    if activity.signals != Signals::Frames && table.has("frame_bytes") {
        table.wrong("frame_bytes", "frames are not measured; allowed: with `signals = \"frames\"`");
    }
    table.finish();
}

fn size(text: &str) -> Result<Sizes, String> {
    let what = || format!("{} is not a size; allowed: such as \"6\", \"6-8\" or \"100-\"", quoted(text));
    Sizes::parse(text).ok_or_else(what)
}
