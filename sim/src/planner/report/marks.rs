//! External events and failures: numbered badges above the charts, bands and lines through them, and a list that
//! explains each number.

use super::scale::{COLUMN, Time, part};
use super::sheet::{Sheet, rect};
use super::words::{Escaped, count, moment, plural};
use crate::record::{Mark, MarkKind};
use std::collections::BTreeMap;

/// The share of one pixel in the width of a wide and of a narrow screen.
const PIXEL: u32 = 11;
const PIXEL_ON_A_PHONE: u32 = 34;

/// If a kind has more moments than this, it gets no lines, because they would hide the charts.
const LINES: usize = 24;

/// Number of rows shown initially, and in total.
const SHOWN: usize = 16;
const LISTED: usize = 500;

/// The name and look of a kind. The sign stands before its numbers, so that kinds do not differ by colour alone.
struct Look {
    class: &'static str,
    row: &'static str,
    one: &'static str,
    sign: &'static str,
}

const KINDS: [MarkKind; 4] = [MarkKind::Violation, MarkKind::Kill, MarkKind::Fault, MarkKind::Note];

fn look(kind: MarkKind) -> Look {
    match kind {
        MarkKind::Violation => Look { class: "violation", row: "broken", one: "Broken promise", sign: "! " },
        MarkKind::Kill => Look { class: "kill", row: "kills", one: "Kill", sign: "× " },
        MarkKind::Fault => Look { class: "fault", row: "faults", one: "Fault", sign: "" },
        MarkKind::Note => Look { class: "remark", row: "notes", one: "Note", sign: "" },
    }
}

/// Sorted by time, with their numbers.
fn numbered(marks: &[Mark]) -> Vec<(usize, &Mark)> {
    let mut sorted: Vec<&Mark> = marks.iter().collect();
    sorted.sort_by_key(|m| m.at);
    sorted.into_iter().enumerate().map(|(at, mark)| (at + 1, mark)).collect()
}

/// Draws one row of badges for each kind that occurs.
pub(super) fn badges(sheet: &mut Sheet, marks: &[Mark], time: Time) {
    let numbered = numbered(marks);
    for kind in KINDS {
        let own: Vec<(usize, u32)> =
            numbered.iter().filter(|(_, m)| m.kind == kind).map(|(n, m)| (*n, time.x(m.at))).collect();
        if own.is_empty() {
            continue;
        }
        let look = look(kind);
        let top = sheet.take(24);
        sheet.beside(top + 12, look.row);
        for (class, pixel) in [("wide", PIXEL), ("narrow", PIXEL_ON_A_PHONE)] {
            sheet.front += &format!("<g class=\"{class}\">\n{}</g>\n", row(&look, &own, pixel, top));
        }
    }
}

/// Adjacent marks share a badge where one would cover the next.
fn row(look: &Look, marks: &[(usize, u32)], pixel: u32, top: u32) -> String {
    let mut groups: Vec<(u32, Vec<usize>)> = Vec::new();
    for (number, x) in marks {
        match groups.last_mut().filter(|(start, numbers)| x - start < pixel * (width(&label(look, numbers)) + 6)) {
            Some((_, numbers)) => numbers.push(*number),
            None => groups.push((*x, vec![*number])),
        }
    }
    groups.iter().map(|(x, numbers)| badge(look, numbers, *x, top)).collect()
}

fn label(look: &Look, numbers: &[usize]) -> String {
    let sign = look.sign;
    match numbers {
        [] => String::new(),
        [one] => format!("{sign}{one}"),
        // Numbers of other kinds may lie between them.
        [first, .., last] if last - first + 1 == numbers.len() => format!("{sign}{first}–{last}"),
        [first, .., last] => format!("{sign}{first}…{last}"),
    }
}

/// The width of a label, in pixels.
fn width(label: &str) -> u32 {
    u32::try_from(label.chars().count()).unwrap_or(u32::MAX).saturating_mul(7).saturating_add(10)
}

fn badge(look: &Look, numbers: &[usize], x: u32, top: u32) -> String {
    let label = label(look, numbers);
    let width = width(&label);
    format!(
        "<g class=\"badge {}\"><rect x=\"{at}\" y=\"{}\" width=\"{width}\" height=\"18\" rx=\"4\" \
         transform=\"translate(-{} 0)\"/><text x=\"{at}\" y=\"{}\">{label}</text></g>\n",
        look.class,
        top + 3,
        width / 2,
        top + 16,
        at = part(x)
    )
}

/// Draws marks through the picture: periods as bands, and their beginnings, or single moments, as lines.
pub(super) fn drawn(marks: &[Mark], time: Time, height: u32) -> String {
    let spans = marks.iter().map(|m| (m.kind, time.x(m.at), m.until.map_or(0, |until| time.x(until))));
    let distinct: BTreeMap<_, _> = spans.map(|(kind, from, to)| (cell(kind, from, to), (kind, from, to))).collect();
    let many = |kind| distinct.values().filter(|(k, _, _)| *k == kind).count() > LINES;
    let mut out = String::new();
    for (kind, from, to) in distinct.values().copied() {
        let (class, x) = (look(kind).class, part(from));
        if to > from {
            out += &rect(&format!("band {class}"), from, to, 0, height);
        }
        if many(kind) {
            continue;
        }
        out += &format!("<line class=\"at {class}\" x1=\"{x}\" x2=\"{x}\" y1=\"0\" y2=\"{height}\"/>\n");
    }
    out
}

/// Marks with the same cell are indistinguishable and drawn once.
fn cell(kind: MarkKind, from: u32, to: u32) -> (&'static str, u32, u32) {
    (look(kind).class, from / COLUMN, to / COLUMN)
}

/// Explains each number.
pub(super) fn list(marks: &[Mark]) -> String {
    let numbered = numbered(marks);
    if numbered.is_empty() {
        return String::new();
    }
    let (shown, more) = numbered.split_at(numbered.len().min(SHOWN));
    let listed = &more[..more.len().min(LISTED - SHOWN)];
    let mut out = table("What happened, by the numbers in the picture", shown);
    if !listed.is_empty() {
        out += &format!("<details><summary>{} more</summary>\n", count(more.len() as u64));
        out += &table("What happened after that", listed);
        if more.len() > listed.len() {
            let left = plural(more.len() - listed.len(), "further mark");
            out += &format!("<p class=\"note\">{left}: in the JSON, not here.</p>\n");
        }
        out += "</details>\n";
    }
    out
}

fn table(caption: &str, marks: &[(usize, &Mark)]) -> String {
    let mut out = format!(
        "<div class=\"scroll\" role=\"region\" aria-label=\"{caption}\" tabindex=\"0\">\n<table class=\"marks\">\n\
         <caption>{caption}</caption>\n<thead><tr><th scope=\"col\">No.</th><th scope=\"col\">When</th>\
         <th scope=\"col\">What</th></tr></thead>\n<tbody>\n"
    );
    for (number, mark) in marks {
        let look = look(mark.kind);
        let until = mark.until.map_or(String::new(), |until| format!(" to {}", moment(until)));
        out += &format!(
            "<tr class=\"{}\"><th scope=\"row\">{number}</th><td class=\"when\">{}{until}</td><td><b>{}:</b> {}</td></tr>\n",
            look.class,
            moment(mark.at),
            look.one,
            Escaped(&mark.text)
        );
    }
    out += "</tbody>\n</table>\n</div>\n";
    out
}
