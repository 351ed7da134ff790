//! What a world's outcome looks like on a terminal: for somebody who was not there, within one screen.

use crate::record::Quantiles;
use crate::world::Outcome;
use std::io::{self, Write};

/// Lines of the story that are shown before a broken promise.
const BEFORE: usize = 24;

/// `others`: what else the command was told, so that it can be told again.
///
/// # Errors
/// When it cannot be written.
pub fn tell(outcome: &Outcome, scenario: Option<&str>, others: &[String], out: &mut dyn Write) -> io::Result<()> {
    let setting = &outcome.setting;
    writeln!(out, "{}: {}", setting.name, setting.describe())?;
    if !setting.story.is_empty() {
        writeln!(out, "{}", setting.story)?;
    }
    let Some(violation) = outcome.violations.first() else { return well(outcome, out) };
    writeln!(out, "\nBROKEN after {} s: {}", seconds(violation.at), violation.promise)?;
    writeln!(out, "  {}\n", violation.what)?;
    for other in outcome.violations.iter().skip(1).take(3) {
        writeln!(out, "  then, after {} s: {}: {}", seconds(other.at), other.promise, other.what)?;
    }
    let end = outcome.story.iter().position(|l| l.text.starts_with("BROKEN")).unwrap_or(outcome.story.len());
    let shown = &outcome.story[end.saturating_sub(BEFORE)..end];
    writeln!(out, "What happened before{}:", if shown.len() < end { " (the end of it)" } else { "" })?;
    for line in shown {
        writeln!(out, "  {:>9} s  {:.150}", seconds(line.at), line.text)?;
    }
    writeln!(out, "\nAgain, with every line of every log: {}", replay(outcome, scenario, others))
}

fn well(outcome: &Outcome, out: &mut dyn Write) -> io::Result<()> {
    let figures = &outcome.record.figures;
    writeln!(out, "\nEvery promise was kept in {} s of simulated time.", seconds(outcome.lasted))?;
    writeln!(
        out,
        "  {} sessions, {}, {:.3} pod-hours ({:.0} % of it with nobody there), {} writes of the size",
        figures.visitors,
        match outcome.setting.faults.len() {
            1 => "1 fault".to_owned(),
            faults => format!("{faults} faults"),
        },
        figures.pod_hours,
        100.0 * figures.wasted_pod_hours / figures.pod_hours.max(f64::MIN_POSITIVE),
        figures.writes
    )?;
    if let Some(Quantiles { p50, p95, max }) = figures.time_to_slot {
        writeln!(
            out,
            "  from asking to a slot: half within {p50:.1} s, 95 % within {p95:.1} s, all within {max:.1} s"
        )?;
    }
    if let Some(Quantiles { p50, p95, max }) = Quantiles::of(&mut outcome.answered.clone()) {
        writeln!(out, "  from a slot to the pod's answer: {p50:.1} s, {p95:.1} s, {max:.1} s")?;
    }
    Ok(())
}

/// The command that plays it again.
#[must_use]
pub fn replay(outcome: &Outcome, scenario: Option<&str>, others: &[String]) -> String {
    let mut line = format!("slotkeeper-sim run --seed {} --trace", outcome.setting.seed);
    if let Some(name) = scenario {
        line += &format!(" --scenario {name}");
    }
    for argument in others {
        line += &format!(" {argument}");
    }
    line
}

fn seconds(ms: u64) -> String {
    format!("{}.{:03}", ms / 1000, ms % 1000)
}
