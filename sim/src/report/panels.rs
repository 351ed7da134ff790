//! Numbers over time as steps: the pods that are wanted (broken lines) and those that are (filled), and who waits. Thousands of
//! samples become columns that keep their lowest and highest value.

use super::key;
use super::scale::{COLUMN, Height, Scales, Time, WIDTH, end_of, part};
use super::sheet::Sheet;
use super::words::{count, moment, plural};
use crate::record::{Record, Sample};

/// One line. `class` is its look in the style sheet.
struct Series {
    class: &'static str,
    name: &'static str,
    value: fn(&Sample) -> u32,
}

// What is comes first and lies below; what is wanted is drawn over it with gaps, so that neither hides the other.
const EXISTING: Series = Series { class: "existing", name: "existing", value: |s| s.pods };
const READY: Series = Series { class: "ready", name: "ready", value: |s| s.ready };
const SEATED: Series = Series { class: "seated", name: "seated", value: |s| s.seated };
const TOLD: Series = Series { class: "told", name: "told", value: |s| s.replicas };
const DESIRED: Series = Series { class: "desired", name: "desired", value: |s| s.desired };
const WAITING: Series = Series { class: "waiting", name: "waiting", value: |s| s.waiting };

/// All charts of the record.
pub(super) fn draw(sheet: &mut Sheet, record: &Record, scales: &Scales) {
    let mut samples = record.samples.clone();
    samples.sort_by_key(|s| s.at);
    if samples.is_empty() {
        sheet.note("No numbers over time were recorded.");
        return;
    }
    let chart = Chart { samples: &samples, time: scales.time, end: end_of(record) };
    match scales.seated {
        None => {
            chart.draw(
                sheet,
                "Pods, and sessions seated in them",
                &[EXISTING, READY, SEATED, TOLD, DESIRED],
                scales.pods,
                190,
            );
        }
        Some(most) => {
            chart.draw(sheet, "Pods", &[EXISTING, READY, TOLD, DESIRED], scales.pods, 150);
            chart.draw(sheet, "Sessions with a slot", &[SEATED], most, 110);
        }
    }
    if scales.waiting > 0 {
        let most = samples.iter().map(|s| s.waiting).max().unwrap_or_default();
        let heading = format!("Visitors waiting for a slot, at most {}", count(u64::from(most)));
        chart.draw(sheet, &heading, &[WAITING], scales.waiting, 72);
    } else {
        sheet.note("Nobody waited for a slot.");
    }
    sheet.key += key::LINES;
    let columns = (WIDTH / COLUMN + 1) as usize;
    if samples.len() > columns {
        sheet.note(format!(
            "{} drawn in at most {columns} columns; each column keeps its lowest and its highest number.",
            plural(samples.len(), "sample"),
        ));
    }
}

struct Chart<'a> {
    samples: &'a [Sample],
    time: Time,
    end: u64,
}

impl Chart<'_> {
    fn draw(&self, sheet: &mut Sheet, heading: &str, series: &[Series], most: u32, pixels: u32) {
        sheet.heading(heading);
        let top = sheet.take(pixels + 10);
        let height = Height { most, pixels };
        for tick in height.ticks() {
            let y = top + height.y(tick) / 10;
            sheet.plot += &format!("<line class=\"grid\" x1=\"0\" x2=\"100%\" y1=\"{y}\" y2=\"{y}\"/>\n");
            sheet.beside(y, &count(u64::from(tick)));
        }
        // Two pixels more above and below, so that lines at the edge keep their thickness.
        sheet.plot += &format!(
            "<svg class=\"lines\" y=\"{}\" width=\"100%\" height=\"{}\" viewBox=\"0 -20 {WIDTH} {}\" \
             preserveAspectRatio=\"none\">\n",
            top - 2,
            pixels + 4,
            pixels * 10 + 40
        );
        for line in series {
            sheet.plot += &format!("<path class=\"{}\" d=\"{}\"/>\n", line.class, self.path(line.value, height));
        }
        sheet.plot += "</svg>\n";
        self.names(sheet, series, height, top);
    }

    /// Begins and ends on the ground, outside of the picture if the run fills it, so that one path can be filled and drawn.
    fn path(&self, value: fn(&Sample) -> u32, height: Height) -> String {
        let columns = self.columns(value);
        let Some(first) = columns.first() else { return String::new() };
        let ground = i64::from(height.y(0));
        let begin = if first.x == 0 { -50 } else { i64::from(first.x) };
        let mut pen = Pen { x: begin, y: ground, path: format!("M{begin} {ground}") };
        for column in &columns {
            let x = if column.x == first.x { begin } else { i64::from(column.x) };
            for value in [column.low, column.high, column.last] {
                pen.step(x, i64::from(height.y(value)));
            }
        }
        let end = self.time.x(self.end);
        pen.across(if end == WIDTH { i64::from(WIDTH) + 50 } else { i64::from(end) });
        pen.step(pen.x, ground);
        pen.path
    }

    fn columns(&self, value: fn(&Sample) -> u32) -> Vec<Column> {
        let mut columns: Vec<Column> = Vec::new();
        for sample in self.samples {
            let (x, value) = (self.time.x(sample.at), value(sample));
            match columns.last_mut().filter(|c| c.x / COLUMN == x / COLUMN) {
                Some(column) => {
                    column.low = column.low.min(value);
                    column.high = column.high.max(value);
                    column.last = value;
                }
                None => columns.push(Column { x, low: value, high: value, last: value }),
            }
        }
        columns
    }

    /// Each line's name at its end, moved apart where they meet; the line leads there in its own look.
    fn names(&self, sheet: &mut Sheet, series: &[Series], height: Height, top: u32) {
        let Some(last) = self.samples.last() else { return };
        let mut names: Vec<(u32, u32, &Series)> =
            series.iter().rev().map(|s| (height.y((s.value)(last)) / 10, 0, s)).collect();
        names.sort_by_key(|(y, _, _)| *y);
        let mut next = 0;
        for (y, place, _) in &mut names {
            *place = next.max(*y);
            next = *place + 16;
        }
        let mut limit = height.pixels;
        for (_, place, _) in names.iter_mut().rev() {
            *place = limit.min(*place);
            limit = place.saturating_sub(16);
        }
        for (y, place, line) in names {
            let (y, place, value) = (top + y, top + place, count(u64::from((line.value)(last))));
            sheet.right += &format!(
                "<path class=\"{}\" d=\"M0 {y}C10 {y} 6 {place} 16 {place}H38\"/>\
                 <text x=\"44\" y=\"{}\">{} {value}</text>\n",
                line.class,
                place + 4,
                line.name
            );
        }
    }
}

/// The values of one column of the picture.
struct Column {
    x: u32,
    low: u32,
    high: u32,
    last: u32,
}

/// Draws steps: across, then up or down, and nothing where nothing changes.
struct Pen {
    x: i64,
    y: i64,
    path: String,
}

impl Pen {
    fn step(&mut self, x: i64, y: i64) {
        if y == self.y {
            return;
        }
        self.across(x);
        self.path += &format!("v{}", y - self.y);
        self.y = y;
    }

    fn across(&mut self, x: i64) {
        if x != self.x {
            self.path += &format!("h{}", x - self.x);
        }
        self.x = x;
    }
}

/// Where the record ends before the others do.
pub(super) fn end(sheet: &mut Sheet, record: &Record, scales: &Scales, bottom: u32) {
    let end = end_of(record);
    let x = scales.time.x(end);
    if x < WIDTH {
        sheet.note(format!("This run ended after {}; the hatched time is that of longer ones.", moment(end)));
        sheet.plot += &super::sheet::rect("after", x, WIDTH, 0, bottom);
        sheet.plot += &format!("<line class=\"end\" x1=\"{0}\" x2=\"{0}\" y1=\"0\" y2=\"{bottom}\"/>\n", part(x));
    }
}
