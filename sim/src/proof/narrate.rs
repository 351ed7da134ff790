//! Prints the outcome of a world on one terminal screen: the broken promise as a rule, the journal's history of the
//! sessions and pods involved, the last events, and the command that replays the world.

use crate::proof::world::evidence::{Row, Subject};
use crate::proof::world::{Outcome, promises, scenarios};
use crate::record::Quantiles;
use std::io::{self, Write};

/// Maximum number of lines for a broken promise.
const SCREEN: usize = 44;
/// Lines of these reserved for the preceding events.
const BEFORE: usize = 8;
/// Columns.
const WIDTH: usize = 158;
/// Maximum number of sessions and pods that are explained.
const SUBJECTS: usize = 3;

/// Prints the outcome. `others` are the command's other arguments, for the replay command.
///
/// # Errors
/// If writing fails.
pub fn write(outcome: &Outcome, scenario: Option<&str>, others: &[String], out: &mut dyn Write) -> io::Result<()> {
    let setting = &outcome.setting;
    writeln!(out, "{}: {}", setting.name, setting.describe())?;
    if !setting.story.is_empty() {
        writeln!(out, "{}", setting.story)?;
    }
    if outcome.violations.is_empty() {
        return well(outcome, out);
    }
    let mut lines = troubles(outcome);
    lines.extend(broken(outcome));
    let left = SCREEN.saturating_sub(lines.len() + BEFORE + 2);
    lines.extend(explained(&outcome.evidence, left));
    let left = SCREEN.saturating_sub(lines.len() + 2).max(BEFORE);
    lines.extend(before(outcome, left));
    for line in lines {
        writeln!(out, "{}", fitting(&line))?;
    }
    writeln!(out, "\nReplay with every line of every log: {}", replay(outcome, scenario, others))
}

fn fitting(line: &str) -> String {
    if line.chars().count() <= WIDTH {
        return line.to_owned();
    }
    line.chars().take(WIDTH - 1).chain(['…']).collect()
}

/// Lists the faults and fault points with the numbers and names that the command accepts.
fn troubles(outcome: &Outcome) -> Vec<String> {
    let setting = &outcome.setting;
    let time = |ms: u64| format!("{}.{}", ms / 1000, ms % 1000 / 100);
    let faults = setting.faults.iter().map(|f| format!("#{} {} {}-{} s", f.number, f.kind, time(f.at), time(f.until)));
    let points =
        setting.points.iter().map(|p| format!("{} ({} of 1000, up to {} ms)", p.point, p.per_mille, p.longest));
    let mut lines = Vec::new();
    for (what, all) in [("Faults", faults.collect::<Vec<_>>()), ("Fault points", points.collect())] {
        if all.is_empty() {
            continue;
        }
        let mut text = format!("{what}: ");
        for (number, one) in all.iter().enumerate() {
            let more = format!(" and {} more", all.len() - number);
            if text.chars().count() + one.len() + more.len() + 2 > WIDTH {
                text += &more;
                break;
            }
            text += if number == 0 { "" } else { ", " };
            text += one;
        }
        lines.push(text);
    }
    lines
}

/// Describes the broken promise as a rule, and where it is documented.
fn broken(outcome: &Outcome) -> Vec<String> {
    let Some(violation) = outcome.violations.first() else { return Vec::new() };
    let mut lines = vec![
        String::new(),
        format!("BROKEN after {} s: {}", seconds(violation.at), violation.promise),
        format!("  {}", violation.what),
    ];
    if let Some(promise) = promises::find(violation.promise) {
        let (file, words) = promise.documented;
        lines.push(format!("  Rule: {}", promise.rule));
        lines.push(format!("  Documented in {file}: \"{words}\""));
    }
    for other in outcome.violations.iter().skip(1).take(2) {
        lines.push(format!("  then, after {} s: {}: {}", seconds(other.at), other.promise, other.what));
    }
    lines
}

/// Describes the journal's history of the sessions and pods that the violation names. Keeps the latest lines if not
/// all fit.
fn explained(subjects: &[Subject], lines: usize) -> Vec<String> {
    let subjects = &subjects[..subjects.len().min(SUBJECTS)];
    let mut all = Vec::new();
    for (number, subject) in subjects.iter().enumerate() {
        // Each subject gets an equal share of the remaining lines; one line of it is its title, one is empty.
        let share = (lines - all.len()) / (subjects.len() - number);
        let most = share.saturating_sub(2);
        if most == 0 {
            continue;
        }
        let from = subject.rows.len().saturating_sub(most);
        let shown = match from {
            0 => String::new(),
            _ => format!(" (the last {most} of {} lines)", subject.rows.len()),
        };
        all.extend([String::new(), format!("{}{shown}:", subject.title)]);
        all.extend(subject.rows[from..].iter().map(row));
    }
    all
}

fn row(row: &Row) -> String {
    let position = row.position.map_or_else(String::new, |p| format!("@{p}"));
    let host = row.host.map_or_else(String::new, |h| format!("d{h}"));
    format!("  {:>9} s {position:>6} {host:>3}  {}", seconds(row.at), row.text)
}

fn before(outcome: &Outcome, lines: usize) -> Vec<String> {
    let end = outcome.story.iter().position(|l| l.text.starts_with("BROKEN")).unwrap_or(outcome.story.len());
    let shown = &outcome.story[end.saturating_sub(lines.saturating_sub(2))..end];
    let part = if shown.len() < end { " (the end of it)" } else { "" };
    let mut all = vec![String::new(), format!("What happened before{part}:")];
    all.extend(shown.iter().map(|line| format!("  {:>9} s  {}", seconds(line.at), line.text)));
    all
}

fn well(outcome: &Outcome, out: &mut dyn Write) -> io::Result<()> {
    let figures = &outcome.record.figures;
    writeln!(out, "\nEvery promise was kept in {} s of simulated time.", seconds(outcome.lasted))?;
    writeln!(
        out,
        "  {} sessions, {}, {:.3} pod-hours ({:.0} % of it without a session), {} writes of the pod count",
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
        writeln!(out, "  from request to slot: half within {p50:.1} s, 95 % within {p95:.1} s, all within {max:.1} s")?;
    }
    if let Some(Quantiles { p50, p95, max }) = Quantiles::of(&mut outcome.answered.clone()) {
        writeln!(out, "  from slot to the pod's answer: {p50:.1} s, {p95:.1} s, {max:.1} s")?;
    }
    Ok(())
}

/// Returns the command that replays the world.
#[must_use]
pub fn replay(outcome: &Outcome, scenario: Option<&str>, others: &[String]) -> String {
    // A stored scenario's file includes everything, the seed as well.
    let seed = if scenario.is_some_and(|name| scenarios::find(name).is_none()) {
        String::new()
    } else {
        format!(" --seed {}", outcome.setting.seed)
    };
    let mut line = format!("slotkeeper-sim run{seed} --trace");
    if let Some(name) = scenario {
        line += &format!(" --scenario {name}");
    }
    for argument in others {
        line += &format!(" {argument}");
    }
    if !outcome.setting.points.is_empty() {
        line += " (built with --features faultpoints)";
    }
    line
}

fn seconds(ms: u64) -> String {
    format!("{}.{:03}", ms / 1000, ms % 1000)
}
