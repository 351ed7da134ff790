//! The figures as a plain-text table, for a terminal or a log.

use super::title_of;
use super::words::{count, hours, seconds};
use crate::record::{Quantiles, Record};
use std::io::{self, Write};

const HEADER: [&str; 10] =
    ["design", "visitors", "killed", "never served", "p50", "p95", "longest", "pod-hours", "wasted", "writes"];

/// Writes one row per record; numbers are right-aligned. "p50", "p95" and "longest" are times to a slot.
///
/// # Errors
/// If writing to `out` fails.
pub fn table(records: &[Record], out: &mut dyn Write) -> io::Result<()> {
    let header = HEADER.map(str::to_owned).to_vec();
    aligned(&std::iter::once(header).chain(records.iter().map(row)).collect::<Vec<_>>(), out)
}

/// Aligns the first column to the left, the others to the right.
pub(crate) fn aligned(rows: &[Vec<String>], out: &mut dyn Write) -> io::Result<()> {
    let mut widths: Vec<usize> = Vec::new();
    for row in rows {
        widths.resize(widths.len().max(row.len()), 0);
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    for row in rows {
        let mut cells = row.iter().zip(&widths);
        let mut line = cells.next().map_or(String::new(), |(title, width)| format!("{title:<width$}"));
        for (cell, width) in cells {
            line += &format!("  {cell:>width$}");
        }
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}

/// Replaces control characters: a title must not move the cursor.
pub(crate) fn still(title: &str) -> String {
    title.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

fn row(record: &Record) -> Vec<String> {
    let figures = &record.figures;
    let [p50, p95, longest] = quantiles(figures.time_to_slot);
    vec![
        still(title_of(record)),
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

/// Median, 95th percentile and maximum; dashes if no visitor was served.
pub(super) fn quantiles(of: Option<Quantiles>) -> [String; 3] {
    of.map_or_else(|| ["-".into(), "-".into(), "-".into()], |q| [q.p50, q.p95, q.max].map(seconds))
}
