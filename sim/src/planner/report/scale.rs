//! Converts milliseconds and numbers to positions in the picture. Widths are fractions of the whole, not pixels: the
//! page is as wide as the screen or paper, and its text keeps its size.

use crate::record::{Record, Sample};

/// The width of every picture, in hundredths of a percent.
pub(super) const WIDTH: u32 = 10_000;

/// Positions closer than this share a column: 834 columns, about a pixel each on a wide screen.
pub(super) const COLUMN: u32 = 12;

/// The scales, which all records of a page share.
pub(super) struct Scales {
    pub(super) time: Time,
    /// The highest number in the chart of pods.
    pub(super) pods: u32,
    /// The highest number of sessions, in a chart of its own if pods with many slots have far more sessions than
    /// there are pods.
    pub(super) seated: Option<u32>,
    pub(super) waiting: u32,
}

impl Scales {
    pub(super) fn of(records: &[Record]) -> Scales {
        let most =
            |value: fn(&Sample) -> u32| records.iter().flat_map(|r| &r.samples).map(value).max().unwrap_or_default();
        let pods = most(|s| s.desired.max(s.replicas).max(s.pods).max(s.ready));
        let seated = most(|s| s.seated);
        let apart = seated > pods.saturating_mul(3) / 2;
        Scales {
            time: Time::until(records.iter().map(end_of).max().unwrap_or_default()),
            pods: if apart { pods } else { pods.max(seated) },
            seated: apart.then_some(seated),
            waiting: most(|s| s.waiting),
        }
    }
}

/// Returns when the record ends: it holds no later time.
pub(super) fn end_of(record: &Record) -> u64 {
    let samples = record.samples.iter().map(|s| s.at);
    let pods = record.pods.iter().map(|p| p.gone.or(p.terminating).or(p.ready).unwrap_or(p.created));
    let sessions = record.sessions.iter().map(|s| s.end.unwrap_or(s.joined));
    let marks = record.marks.iter().map(|m| m.until.unwrap_or(m.at));
    samples.chain(pods).chain(sessions).chain(marks).fold(record.length, u64::max)
}

#[derive(Clone, Copy)]
pub(super) struct Time {
    extent: u64,
}

pub(super) struct Tick {
    pub(super) x: u32,
    pub(super) text: String,
}

const SECOND: u64 = 1000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// Distances between ticks that are easy to read.
const STEPS: [u64; 27] = [
    1,
    10,
    100,
    SECOND / 2,
    SECOND,
    2 * SECOND,
    5 * SECOND,
    10 * SECOND,
    15 * SECOND,
    30 * SECOND,
    MINUTE,
    2 * MINUTE,
    5 * MINUTE,
    10 * MINUTE,
    15 * MINUTE,
    30 * MINUTE,
    HOUR,
    2 * HOUR,
    3 * HOUR,
    6 * HOUR,
    12 * HOUR,
    DAY,
    2 * DAY,
    7 * DAY,
    28 * DAY,
    100 * DAY,
    1000 * DAY,
];

impl Time {
    pub(super) fn until(extent: u64) -> Time {
        Time { extent: extent.max(1) }
    }

    pub(super) fn x(self, at: u64) -> u32 {
        let part = u128::from(at.min(self.extent)) * u128::from(WIDTH) / u128::from(self.extent);
        u32::try_from(part).unwrap_or(WIDTH)
    }

    pub(super) fn ticks(self) -> Vec<Tick> {
        let step = STEPS.into_iter().find(|s| self.extent / s <= 10).unwrap_or(self.extent / 8);
        let mut ticks = Vec::new();
        let mut at = Some(0);
        while let Some(now) = at.filter(|t| *t <= self.extent) {
            ticks.push(Tick { x: self.x(now), text: self.label(now, step) });
            at = now.checked_add(step);
        }
        ticks
    }

    fn label(self, at: u64, step: u64) -> String {
        match at {
            0 => "0".to_owned(),
            _ if step < SECOND && self.extent < 2 * SECOND => format!("{at} ms"),
            _ if step < SECOND => format!("{}.{} s", at / SECOND, at / 100 % 10),
            _ if step < MINUTE && self.extent <= 2 * MINUTE => format!("{} s", at / SECOND),
            _ if step < MINUTE => format!("{}:{:02} min", at / MINUTE, at / SECOND % 60),
            _ if step < HOUR && self.extent <= 2 * HOUR => format!("{} min", at / MINUTE),
            _ if step < HOUR => format!("{}:{:02} h", at / HOUR, at / MINUTE % 60),
            _ if step < DAY => format!("{} h", at / HOUR),
            _ if at == DAY => "1 day".to_owned(),
            _ => format!("{} days", at / DAY),
        }
    }
}

/// Formats a width as an attribute: 1234 is 12.34%.
pub(super) fn part(x: u32) -> String {
    match (x / 100, x % 100) {
        (whole, 0) => format!("{whole}%"),
        (whole, rest) if rest.is_multiple_of(10) => format!("{whole}.{}%", rest / 10),
        (whole, rest) => format!("{whole}.{rest:02}%"),
    }
}

/// A vertical scale, in a chart of this many pixels.
#[derive(Clone, Copy)]
pub(super) struct Height {
    pub(super) most: u32,
    pub(super) pixels: u32,
}

impl Height {
    /// Returns tenths of a pixel from the top.
    pub(super) fn y(self, value: u32) -> u32 {
        let up = u64::from(value) * u64::from(self.pixels) * 10 / u64::from(self.most.max(1));
        (self.pixels * 10).saturating_sub(u32::try_from(up).unwrap_or(u32::MAX))
    }

    /// Returns whole numbers, at most six of them, the last one at or below the top.
    pub(super) fn ticks(self) -> Vec<u32> {
        let room = (self.pixels / 24).clamp(1, 5);
        let powers = (0..10).map(|p| 10_u32.pow(p));
        let step = powers.flat_map(|p| [1, 2, 5].map(|n| p.saturating_mul(n))).find(|s| self.most / s <= room);
        let step = step.unwrap_or(u32::MAX);
        (0..=self.most / step).map(|n| n * step).collect()
    }
}
