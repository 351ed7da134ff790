//! The figures as a table of plain text, for a terminal or a log.

use super::title_of;
use super::words::{count, hours, seconds};
use crate::record::{Quantiles, Record};
use std::io::{self, Write};

const HEADER: [&str; 10] =
    ["design", "visitors", "killed", "never served", "p50", "p95", "longest", "pod-hours", "wasted", "writes"];

/// One row for each record; numbers to the right. "p50", "p95" and "longest" are times to a slot.
///
/// # Errors
/// Those of `out`.
pub fn table(records: &[Record], out: &mut dyn Write) -> io::Result<()> {
    let rows: Vec<[String; 10]> = std::iter::once(HEADER.map(str::to_owned)).chain(records.iter().map(row)).collect();
    let mut widths = [0; 10];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    for [title, numbers @ ..] in &rows {
        let [first, rest @ ..] = &widths;
        write!(out, "{title:<first$}")?;
        for (cell, width) in numbers.iter().zip(rest) {
            write!(out, "  {cell:>width$}")?;
        }
        writeln!(out)?;
    }
    Ok(())
}

fn row(record: &Record) -> [String; 10] {
    let figures = &record.figures;
    let [p50, p95, longest] = quantiles(figures.time_to_slot);
    // A title must not move the cursor.
    let title = title_of(record).chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    [
        title,
        count(figures.visitors),
        count(figures.killed),
        count(figures.never_served),
        p50,
        p95,
        longest,
        hours(figures.pod_hours),
        hours(figures.wasted_pod_hours),
        count(figures.writes),
    ]
}

/// Median, 95th percentile and maximum; dashes if nobody was served.
pub(crate) fn quantiles(of: Option<Quantiles>) -> [String; 3] {
    of.map_or_else(|| ["-".into(), "-".into(), "-".into()], |q| [q.p50, q.p95, q.max].map(seconds))
}
