//! A pool too large for lanes: ordinals upwards in steps, time across, and the darker the busier. Shows at a glance which
//! ordinals stood idle below one that was busy.

use super::key;
use super::scale::{Scales, WIDTH, end_of, part};
use super::sheet::Sheet;
use super::words::{count, plural};
use crate::record::Record;
use std::collections::{BTreeMap, BTreeSet};

const COLUMNS: usize = 250;
const ROWS: usize = 50;

/// One cell in the picture: 40 hundredths of a percent by six pixels.
const CELL: u32 = WIDTH / COLUMNS as u32;
const PIXELS: u32 = 6;

/// How much of a cell's pods and time: looks in the style sheet, from the least.
const SHADES: [&str; 4] = ["q1", "q2", "q3", "q4"];

pub(super) fn draw(sheet: &mut Sheet, record: &Record, scales: &Scales) {
    let ordinals: BTreeSet<u32> = record
        .pods
        .iter()
        .map(|p| p.ordinal)
        .chain(record.sessions.iter().flat_map(|s| s.spells.iter().map(|s| s.ordinal)))
        .collect();
    let each = ordinals.len().div_ceil(ROWS).max(1);
    let rank: BTreeMap<u32, usize> = ordinals.iter().enumerate().map(|(at, ordinal)| (*ordinal, at)).collect();
    let rows = ordinals.len().div_ceil(each);
    let end = end_of(record);
    let row = |ordinal: u32| rank.get(&ordinal).map_or(0, |at| at / each);

    let mut existing = Map::new(rows);
    for pod in &record.pods {
        existing.add(row(pod.ordinal), scales.time.x(pod.created), scales.time.x(pod.gone.unwrap_or(end)));
    }
    let mut seated = Map::new(rows);
    let mut kills = BTreeSet::new();
    for session in &record.sessions {
        for spell in &session.spells {
            let until = spell.to.or(session.end).unwrap_or(end);
            seated.add(row(spell.ordinal), scales.time.x(spell.from), scales.time.x(until));
        }
        if let Some(last) = session.spells.last().filter(|_| session.killed) {
            let at = scales.time.x(last.to.or(session.end).unwrap_or(end));
            kills.insert((at / (2 * CELL), row(last.ordinal) / 2));
        }
    }

    sheet.key += key::MAP;
    if !kills.is_empty() {
        sheet.key += key::KILLED;
    }
    sheet.heading("Pods by ordinal");
    let height = u32::try_from(rows).unwrap_or(0) * PIXELS;
    let top = sheet.take(height + 10);
    sheet.plot += &format!(
        "<svg class=\"map\" y=\"{top}\" width=\"100%\" height=\"{height}\" viewBox=\"0 0 {COLUMNS} {rows}\" \
         preserveAspectRatio=\"none\">\n"
    );
    let per_cell = each as u64 * u64::from(CELL);
    sheet.plot += &existing.paths("exists", &["any"], per_cell);
    sheet.plot += &seated.paths("taken", &SHADES, per_cell);
    sheet.plot += "</svg>\n";
    if !kills.is_empty() {
        sheet.note("A cross in the map is one kill or several close together.");
    }
    for (x, row) in kills {
        let y = top + u32::try_from(row).unwrap_or(0) * 2 * PIXELS + PIXELS;
        let x = part((x * 2 + 1) * CELL);
        sheet.plot += &format!("<use class=\"cross\" href=\"#cross\" x=\"{x}\" y=\"{y}\"/>\n");
    }
    let list: Vec<u32> = ordinals.into_iter().collect();
    for at in (0..rows).step_by(10) {
        let y = top + u32::try_from(at).unwrap_or(0) * PIXELS + PIXELS / 2;
        sheet.beside(y, &format!("pod {}", list[at * each]));
    }
    sheet.note(format!(
        "{} are too many for a lane each: a row of the map is {}, its shade the part of their time that was taken.",
        plural(list.len(), "pod"),
        if each == 1 { "one pod".to_owned() } else { format!("{} pods", count(each as u64)) }
    ));
}

/// Time taken in each cell, in hundredths of a percent of the width, summed over the pods of the row.
struct Map {
    rows: usize,
    cells: Vec<u64>,
}

impl Map {
    fn new(rows: usize) -> Map {
        Map { rows, cells: vec![0; rows * COLUMNS] }
    }

    fn add(&mut self, row: usize, from: u32, to: u32) {
        // Shorter than the eye can see is still there.
        let to = to.max(from + 1).min(WIDTH);
        let mut at = from.min(WIDTH - 1);
        while at < to {
            let column = at / CELL;
            let edge = ((column + 1) * CELL).min(to);
            self.cells[row * COLUMNS + column as usize] += u64::from(edge - at);
            at = edge;
        }
    }

    /// One path for each shade; neighbours of one shade are one box.
    fn paths(&self, class: &str, shades: &[&str], full: u64) -> String {
        let mut paths = vec![String::new(); shades.len()];
        for row in 0..self.rows {
            let cells = &self.cells[row * COLUMNS..(row + 1) * COLUMNS];
            let mut column = 0;
            while column < COLUMNS {
                let level = shade(cells[column], full, shades.len());
                let run = cells[column..].iter().take_while(|c| shade(**c, full, shades.len()) == level).count();
                if let Some(level) = level {
                    paths[level] += &format!("M{column} {row}h{run}v1h-{run}z");
                }
                column += run;
            }
        }
        let named = shades.iter().zip(paths).filter(|(_, path)| !path.is_empty());
        named.map(|(shade, path)| format!("<path class=\"{class} {shade}\" d=\"{path}\"/>\n")).collect()
    }
}

fn shade(taken: u64, full: u64, shades: usize) -> Option<usize> {
    let level = (taken * shades as u64).div_ceil(full.max(1)) as usize;
    level.min(shades).checked_sub(1)
}
