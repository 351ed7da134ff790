//! Formats numbers, times and foreign text. No layout here.

use crate::record::PodEnd;
use std::fmt;

/// Escapes foreign text for elements and attributes. Characters that are not allowed in a document (and that could
/// control a terminal) are replaced.
pub(super) struct Escaped<'a>(pub(super) &'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|c| match c {
            '&' => f.write_str("&amp;"),
            '<' => f.write_str("&lt;"),
            '>' => f.write_str("&gt;"),
            '"' => f.write_str("&quot;"),
            '\'' => f.write_str("&#39;"),
            '\t' | '\n' | '\r' => f.write_str(" "),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => f.write_str("\u{fffd}"),
            c => write!(f, "{c}"),
        })
    }
}

/// Formats a number: 950, 4200, 12 000, 1 000 000.
pub(super) fn count(number: u64) -> String {
    let digits = number.to_string();
    if digits.len() < 5 {
        return digits;
    }
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(' ');
        }
        out.push(digit);
    }
    out
}

/// Formats a count: "1 session", "3 sessions".
pub(super) fn plural(number: usize, noun: &str) -> String {
    format!("{} {noun}{}", count(number as u64), if number == 1 { "" } else { "s" })
}

/// Formats a moment or duration: 350 ms, 12.3 s, 4 min 12 s, 6 h 5 min.
pub(super) fn moment(ms: u64) -> String {
    let (h, min, s) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1000 % 60);
    let parts: Vec<String> = [(h, "h"), (min, "min"), (s, "s")]
        .iter()
        .filter(|(n, _)| *n > 0)
        .map(|(n, unit)| format!("{} {unit}", count(*n)))
        .collect();
    match ms {
        0 => "0 s".to_owned(),
        1..1000 => format!("{ms} ms"),
        1000..60_000 if !ms.is_multiple_of(1000) => format!("{}.{} s", ms / 1000, ms / 100 % 10),
        _ => parts.join(" "),
    }
}

/// Formats a quantile's seconds with as few digits as are meaningful.
pub(crate) fn seconds(seconds: f64) -> String {
    if !seconds.is_finite() || seconds < 0.0 {
        return "unknown".to_owned();
    }
    match seconds {
        0.0 => "0 s".to_owned(),
        s if s < 0.9995 => format!("{:.0} ms", s * 1000.0),
        s if s < 9.95 => format!("{s:.1} s"),
        s if s < 119.5 => format!("{s:.0} s"),
        s if s < 7200.0 => moment(s.round() as u64 * 1000),
        s => moment((s / 60.0).round() as u64 * 60_000),
    }
}

pub(crate) fn hours(hours: f64) -> String {
    match hours {
        h if !h.is_finite() => "unknown".to_owned(),
        h if h.abs() < 10.0 => format!("{h:.2}"),
        h if h.abs() < 100.0 => format!("{h:.1}"),
        h => count(h.round().max(0.0) as u64),
    }
}

/// Returns a part of the whole in percent, if it is defined.
pub(super) fn percent(part: f64, whole: f64) -> Option<String> {
    let share = part / whole * 100.0;
    (whole > 0.0 && share.is_finite()).then(|| format!("{share:.0} %"))
}

pub(super) fn pod_end(end: PodEnd) -> &'static str {
    match end {
        PodEnd::ScaledDown => "scaled down",
        PodEnd::Recycled => "recycled",
        PodEnd::RolledOut => "rolled out",
        PodEnd::Crashed => "crashed",
        PodEnd::NodeLost => "node lost",
        PodEnd::Drained => "evicted by a drain",
        PodEnd::Preempted => "preempted",
    }
}
