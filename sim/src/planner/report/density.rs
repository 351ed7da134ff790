//! Draws a pool that is too large for lanes: ordinals downwards in steps, time across, darker where busier. Shows at
//! a glance which ordinals were idle below a busy one.

use super::key;
use super::scale::{Scales, WIDTH, end_of, part};
use super::sheet::Sheet;
use super::words::{count, plural};
use crate::record::Record;
use std::collections::{BTreeMap, BTreeSet};

const COLUMNS: usize = 250;
const ROWS: usize = 50;

/// The width of a column, in hundredths of a percent.
const COLUMN: u32 = WIDTH / COLUMNS as u32;

/// CSS classes for how much of a cell is taken, lowest first.
const SHADES: [&str; 4] = ["q1", "q2", "q3", "q4"];

pub(super) fn draw(sheet: &mut Sheet, record: &Record, scales: &Scales) {
    let rows = Rows::of(record);
    let end = end_of(record);
    let (mut existing, mut seated) = (Map::of(&rows), Map::of(&rows));
    for pod in &record.pods {
        existing.add(rows.row(pod.ordinal), scales.time.x(pod.created), scales.time.x(pod.gone.unwrap_or(end)));
    }
    let mut kills = BTreeSet::new();
    for session in &record.sessions {
        for spell in &session.spells {
            let until = spell.to.or(session.end).unwrap_or(end);
            seated.add(rows.row(spell.ordinal), scales.time.x(spell.from), scales.time.x(until));
        }
        if let Some(last) = session.spells.last().filter(|_| session.killed) {
            kills.insert((scales.time.x(last.to.or(session.end).unwrap_or(end)), rows.row(last.ordinal)));
        }
    }

    sheet.heading("Pods by ordinal");
    sheet.key += key::MAP;
    let pixels = rows.pixels();
    let height = rows.count() * pixels;
    let top = sheet.take(height + 10);
    sheet.plot += &format!(
        "<svg class=\"map\" y=\"{top}\" width=\"100%\" height=\"{height}\" viewBox=\"0 0 {COLUMNS} {}\" \
         preserveAspectRatio=\"none\">\n{}{}</svg>\n",
        rows.count(),
        existing.paths("exists", &["any"]),
        seated.paths("taken", &SHADES)
    );
    crosses(sheet, &kills, pixels, top);
    for (row, first) in (0..).zip(rows.ordinals.iter().step_by(rows.each)) {
        if pixels > 12 || row % 10 == 0 {
            sheet.beside(top + row * pixels + pixels / 2, &format!("pod {first}"));
        }
    }
    sheet.note(format!(
        "{} and {} are too many to be drawn one by one: a row of the map is {}, its shade how much of that \
         was taken.",
        plural(record.pods.len(), "incarnation"),
        plural(record.sessions.len(), "session"),
        if rows.each == 1 { "one pod".to_owned() } else { format!("{} pods", count(rows.each as u64)) }
    ));
}

/// Marks killed sessions. A cross is twelve pixels wide: marks that it would cover are not drawn.
fn crosses(sheet: &mut Sheet, kills: &BTreeSet<(u32, u32)>, pixels: u32, top: u32) {
    if kills.is_empty() {
        return;
    }
    let (width, height) = (2 * COLUMN, pixels.max(12) / pixels);
    let cells: BTreeSet<(u32, u32)> = kills.iter().map(|(x, row)| (x / width, row / height)).collect();
    for (column, row) in cells {
        let (x, y) = (part(column * width + width / 2), top + (row * height * 2 + height) * pixels / 2);
        sheet.plot += &format!("<use class=\"cross\" href=\"#cross\" x=\"{x}\" y=\"{y}\"/>\n");
    }
    sheet.key += key::KILLED;
    sheet.note("A cross in the map is one kill or several close together.");
}

/// Which ordinals share a row.
struct Rows {
    ordinals: Vec<u32>,
    rank: BTreeMap<u32, usize>,
    /// Number of ordinals in each row except the last.
    each: usize,
}

impl Rows {
    fn of(record: &Record) -> Rows {
        let spells = record.sessions.iter().flat_map(|s| &s.spells);
        let ordinals: BTreeSet<u32> = record.pods.iter().map(|p| p.ordinal).chain(spells.map(|s| s.ordinal)).collect();
        Rows {
            rank: ordinals.iter().enumerate().map(|(rank, ordinal)| (*ordinal, rank)).collect(),
            each: ordinals.len().div_ceil(ROWS).max(1),
            ordinals: ordinals.into_iter().collect(),
        }
    }

    fn row(&self, ordinal: u32) -> u32 {
        u32::try_from(self.rank.get(&ordinal).map_or(0, |rank| rank / self.each)).unwrap_or(0)
    }

    fn count(&self) -> u32 {
        u32::try_from(self.ordinals.chunks(self.each).len()).unwrap_or(0)
    }

    /// The height of each row, in pixels.
    fn pixels(&self) -> u32 {
        (300 / self.count().max(1)).clamp(6, 18)
    }
}

/// Time taken in each cell, in hundredths of a percent of the width, summed over the pods of the row.
struct Map {
    rows: Vec<Row>,
}

struct Row {
    /// The time of all its pods in one cell.
    whole: u64,
    cells: Vec<u64>,
}

impl Map {
    fn of(rows: &Rows) -> Map {
        let row = |pods: &[u32]| Row { whole: pods.len() as u64 * u64::from(COLUMN), cells: vec![0; COLUMNS] };
        Map { rows: rows.ordinals.chunks(rows.each).map(row).collect() }
    }

    fn add(&mut self, row: u32, from: u32, to: u32) {
        // A period too short to be visible is still drawn.
        let to = to.max(from + 1).min(WIDTH);
        let mut at = from.min(WIDTH - 1);
        while at < to {
            let column = at / COLUMN;
            let edge = ((column + 1) * COLUMN).min(to);
            self.rows[row as usize].cells[column as usize] += u64::from(edge - at);
            at = edge;
        }
    }

    /// Returns one path per shade; adjacent cells of one shade are one box.
    fn paths(&self, class: &str, shades: &[&str]) -> String {
        // The record does not include the number of slots per pod: the maximum that was ever taken is close enough.
        let taken = |row: &Row| row.cells.iter().map(|c| (c + row.whole / 2) / row.whole).max();
        let slots = self.rows.iter().filter_map(taken).max();
        let slots = slots.unwrap_or(1).max(1);
        let mut paths = vec![String::new(); shades.len()];
        for (at, row) in self.rows.iter().enumerate() {
            let level = |cell: u64| (cell * shades.len() as u64).div_ceil(row.whole * slots).min(shades.len() as u64);
            let mut column = 0;
            while column < COLUMNS {
                let shade = level(row.cells[column]);
                let run = row.cells[column..].iter().take_while(|c| level(**c) == shade).count();
                if let Some(path) = shade.checked_sub(1).and_then(|shade| paths.get_mut(shade as usize)) {
                    *path += &format!("M{column} {at}h{run}v1h-{run}z");
                }
                column += run;
            }
        }
        let named = shades.iter().zip(paths).filter(|(_, path)| !path.is_empty());
        named.map(|(shade, path)| format!("<path class=\"{class} {shade}\" d=\"{path}\"/>\n")).collect()
    }
}
