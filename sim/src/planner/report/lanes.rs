//! Draws one lane per ordinal: its incarnations one after the other, their sessions, and where one was killed.
//! Records that are too large for lanes are drawn as a map (`density`).

use super::density;
use super::key;
use super::scale::{Scales, WIDTH, end_of, part};
use super::sheet::{Sheet, rect};
use super::words::{Escaped, moment, pod_end};
use crate::record::{PodEnd, PodLife, Record, SessionLife, Spell};
use std::collections::BTreeMap;

/// With more lanes, pixels or bars than these, a map is drawn.
const LANES: usize = 60;
const PIXELS: u32 = 1700;
const BARS: usize = 2500;

/// The width of a label's letter, of 10 000, in a plot of about 900 pixels.
const LETTER: u32 = 80;

/// The part of the label that a cross covers.
const CROSS: u32 = 130;

/// The pods and sessions of one ordinal.
#[derive(Default)]
struct Lane<'a> {
    pods: Vec<&'a PodLife>,
    seats: Vec<Seat<'a>>,
    /// Maximum number of slots taken at once.
    rows: u32,
}

struct Seat<'a> {
    session: &'a SessionLife,
    spell: &'a Spell,
    until: u64,
    row: u32,
}

impl Lane<'_> {
    fn bar(&self, roomy: bool) -> u32 {
        match self.rows {
            0 | 1 if roomy => 20,
            0 | 1 => 12,
            rows => 4 + rows * 8,
        }
    }
}

pub(super) fn draw(sheet: &mut Sheet, record: &Record, scales: &Scales) {
    let lanes = lanes(record);
    if lanes.is_empty() {
        sheet.note("Single pods and sessions were not recorded in this run: only their numbers are drawn.");
        return;
    }
    let roomy = lanes.len() <= 24;
    let gap = if roomy { 10 } else { 6 };
    let pixels: u32 = lanes.values().map(|lane| lane.bar(roomy) + gap).fold(0, u32::saturating_add);
    let bars: usize = lanes.values().map(|lane| lane.pods.len() + lane.seats.len()).sum();
    if lanes.len() > LANES || pixels > PIXELS || bars > BARS {
        density::draw(sheet, record, scales);
        return;
    }
    sheet.heading("Pods by ordinal, and their sessions");
    sheet.key += key::LANES;
    if record.pods.iter().any(broke) {
        sheet.key += key::BROKE;
    }
    if record.sessions.iter().any(|s| s.killed) {
        sheet.key += key::KILLED;
    }
    for (ordinal, lane) in &lanes {
        let bar = lane.bar(roomy);
        let top = sheet.take(bar + gap);
        sheet.beside(top + bar / 2, &format!("pod {ordinal}"));
        lane.draw(sheet, record, scales, top, bar);
    }
}

/// Sorted by ordinal, and then by time.
fn lanes(record: &Record) -> BTreeMap<u32, Lane<'_>> {
    let mut lanes: BTreeMap<u32, Lane<'_>> = BTreeMap::new();
    for pod in &record.pods {
        lanes.entry(pod.ordinal).or_default().pods.push(pod);
    }
    let end = end_of(record);
    for session in &record.sessions {
        for spell in &session.spells {
            let until = spell.to.or(session.end).unwrap_or(end).max(spell.from);
            let seat = Seat { session, spell, until, row: 0 };
            lanes.entry(spell.ordinal).or_default().seats.push(seat);
        }
    }
    for lane in lanes.values_mut() {
        lane.pods.sort_by_key(|p| p.created);
        lane.seats.sort_by_key(|s| (s.spell.from, s.session.visitor));
        lane.rows = stack(&mut lane.seats);
    }
    lanes
}

/// Places simultaneous sessions below each other; returns the number of rows.
fn stack(seats: &mut [Seat<'_>]) -> u32 {
    let mut rows: Vec<u64> = Vec::new();
    for seat in seats {
        let free = rows.iter().position(|until| *until <= seat.spell.from);
        let row = free.unwrap_or(rows.len());
        if row == rows.len() {
            rows.push(0);
        }
        rows[row] = seat.until;
        seat.row = u32::try_from(row).unwrap_or(u32::MAX);
    }
    u32::try_from(rows.len()).unwrap_or(u32::MAX)
}

impl Lane<'_> {
    fn draw(&self, sheet: &mut Sheet, record: &Record, scales: &Scales, top: u32, bar: u32) {
        for (at, pod) in self.pods.iter().enumerate() {
            let next = self.pods.get(at + 1).map(|p| scales.time.x(p.created));
            sheet.plot += &incarnation(pod, record, scales, top, bar);
            // A kill is more informative than the end of its pod.
            if !self.seats.iter().any(|s| s.session.killed && s.spell.uid == pod.uid) {
                sheet.plot += &end_label(pod, scales, next, top + bar / 2);
            }
        }
        for seat in &self.seats {
            sheet.plot += &self.seat(seat, scales, top, bar);
        }
        for pod in self.pods.iter().filter(|p| broke(p)) {
            let x = part(scales.time.x(pod.gone.or(pod.terminating).unwrap_or_else(|| end_of(record))));
            let (above, below) = (top.saturating_sub(2), top + bar + 2);
            sheet.plot += &format!("<line class=\"broke\" x1=\"{x}\" x2=\"{x}\" y1=\"{above}\" y2=\"{below}\"/>\n");
        }
        for seat in self.seats.iter().filter(|s| s.session.killed && is_last(s)) {
            let next = self.pods.iter().map(|p| p.created).find(|created| *created >= seat.until);
            sheet.plot += &kill(seat, scales, next.map(|at| scales.time.x(at)), top + bar / 2);
        }
    }

    fn seat(&self, seat: &Seat<'_>, scales: &Scales, top: u32, bar: u32) -> String {
        let (from, to) = (scales.time.x(seat.spell.from), scales.time.x(seat.until));
        let (y, height) = if self.rows > 1 { (top + 3 + seat.row * 8, 6) } else { (top + 3, bar - 6) };
        let label = format!("{}", seat.session.visitor);
        let letters = u32::try_from(label.len()).unwrap_or(u32::MAX).saturating_mul(LETTER);
        let class = if seat.session.killed { "seat killed" } else { "seat" };
        let mut out = format!("<g><title>{}</title>{}", Escaped(&told(seat)), rect(class, from, to, y, height));
        let letters = if seat.session.killed { letters.saturating_add(CROSS) } else { letters };
        if height >= 12 && letters.saturating_add(60) < to - from {
            // On a narrow screen the same letters take three times the share of the width.
            let narrow = if letters.saturating_mul(3) < to - from { "" } else { " wide" };
            let middle = part(from.midpoint(to));
            out += &format!("<text class=\"visitor{narrow}\" x=\"{middle}\" y=\"{}\">{label}</text>", y + 11);
        }
        out + "</g>\n"
    }
}

fn is_last(seat: &Seat<'_>) -> bool {
    seat.session.spells.last().is_some_and(|last| last == seat.spell)
}

fn told(seat: &Seat<'_>) -> String {
    let waited = moment(seat.spell.from.saturating_sub(seat.session.joined));
    let why = seat.session.why.as_deref().map_or(String::new(), |why| format!(": {why}"));
    format!(
        "visitor {} in pod {}, {} to {}{why} (requested {waited} before)",
        seat.session.visitor,
        seat.spell.ordinal,
        moment(seat.spell.from),
        moment(seat.until)
    )
}

/// The cross, and the label beside it if the lane is empty there.
fn kill(seat: &Seat<'_>, scales: &Scales, next: Option<u32>, middle: u32) -> String {
    let x = scales.time.x(seat.until);
    let at = part(x);
    let mut out = format!("<use class=\"cross\" href=\"#cross\" x=\"{at}\" y=\"{middle}\"/>\n");
    if x + 8 * LETTER < next.unwrap_or(WIDTH) {
        out += &format!("<text class=\"kill-label\" x=\"{at}\" dx=\"11\" y=\"{}\">killed</text>\n", middle + 4);
    }
    out
}

fn incarnation(pod: &PodLife, record: &Record, scales: &Scales, top: u32, bar: u32) -> String {
    let end = end_of(record);
    let gone = pod.gone.unwrap_or(end);
    let leaving = pod.terminating.unwrap_or(gone).min(gone);
    let ready = pod.ready.unwrap_or(leaving).min(leaving);
    let mut told = format!("pod {} ({}): created {}", pod.ordinal, pod.uid, moment(pod.created));
    for (what, at) in [("ready", pod.ready), ("terminating", pod.terminating), ("gone", pod.gone)] {
        told += &at.map_or(String::new(), |at| format!(", {what} {}", moment(at)));
    }
    told += &pod.end.map_or(String::new(), |end| format!(", {}", pod_end(end)));
    let mut out = format!("<g><title>{}</title>", Escaped(&told));
    for (class, from, to) in [("starting", pod.created, ready), ("up", ready, leaving), ("terminating", leaving, gone)]
    {
        if from < to {
            out += &rect(class, scales.time.x(from), scales.time.x(to), top, bar);
        }
    }
    out + "</g>\n"
}

/// Reports whether the pod ended without a deletion.
fn broke(pod: &PodLife) -> bool {
    pod.end.is_some_and(|end| match end {
        PodEnd::Crashed | PodEnd::NodeLost => true,
        PodEnd::ScaledDown | PodEnd::Recycled | PodEnd::RolledOut | PodEnd::Drained | PodEnd::Preempted => false,
    })
}

/// Returns the reason why the pod ended, if the lane stays empty long enough after it.
fn end_label(pod: &PodLife, scales: &Scales, next: Option<u32>, middle: u32) -> String {
    let (Some(end), Some(gone)) = (pod.end.map(pod_end), pod.gone.or(pod.terminating)) else { return String::new() };
    let from = scales.time.x(gone);
    let letters = u32::try_from(end.len()).unwrap_or(u32::MAX).saturating_mul(LETTER);
    if from + letters + 100 > next.unwrap_or(WIDTH) {
        return String::new();
    }
    format!("<text class=\"why wide\" x=\"{}\" dx=\"6\" y=\"{}\">{end}</text>\n", part(from), middle + 4)
}
