//! Records side by side as text.

use crate::record::{Quantiles, Record};
use std::io::{self, Write};

/// One line per record.
///
/// # Errors
/// What writing fails with.
pub fn table(out: &mut dyn Write, records: &[Record]) -> io::Result<()> {
    let widest = records.iter().map(|r| r.title.chars().count()).max().unwrap_or(0).max("design".len());
    writeln!(
        out,
        "{:widest$}  {:>8}  {:>7}  {:>12}  {:>8} {:>8} {:>8}  {:>9}  {:>7}  {:>7}",
        "", "", "", "", "time to", "slot", "", "pod-hours", "", "scale"
    )?;
    writeln!(
        out,
        "{:widest$}  {:>8}  {:>7}  {:>12}  {:>8} {:>8} {:>8}  {:>9}  {:>7}  {:>7}",
        "design", "visitors", "killed", "never served", "p50", "p95", "max", "used", "wasted", "writes"
    )?;
    for record in records {
        let figures = &record.figures;
        let [p50, p95, max] = quantiles(figures.time_to_slot);
        writeln!(
            out,
            "{:widest$}  {:>8}  {:>7}  {:>12}  {:>8} {:>8} {:>8}  {:>9.1}  {:>7.1}  {:>7}",
            record.title,
            figures.visitors,
            figures.killed,
            figures.never_served,
            p50,
            p95,
            max,
            figures.pod_hours,
            figures.wasted_pod_hours,
            figures.writes,
        )?;
    }
    Ok(())
}

/// Median, 95th percentile and maximum; dashes if nobody was served.
pub(crate) fn quantiles(of: Option<Quantiles>) -> [String; 3] {
    of.map_or_else(|| ["-".into(), "-".into(), "-".into()], |q| [q.p50, q.p95, q.max].map(seconds))
}

/// `0.0 s`, `42.1 s`, `3:25 m`, `1:20 h`.
fn seconds(seconds: f64) -> String {
    if seconds < 99.95 {
        return format!("{seconds:.1} s");
    }
    let whole = seconds.round() as u64;
    let (minutes, rest) = (whole / 60, whole % 60);
    if minutes < 100 { format!("{minutes}:{rest:02} m") } else { format!("{}:{:02} h", minutes / 60, minutes % 60) }
}
