//! Draws numbers over time as steps in a chart: thousands of them become columns that keep their lowest and highest
//! value.

use super::scale::{COLUMN, Height, Time, WIDTH};
use super::sheet::Sheet;
use super::words::count;

/// Draws horizontal lines across the chart, with their numbers in the margin.
pub(super) fn ruled(sheet: &mut Sheet, height: Height, top: u32) {
    for tick in height.ticks() {
        let y = top + height.y(tick) / 10;
        sheet.plot += &format!("<line class=\"grid\" x1=\"0\" x2=\"100%\" y1=\"{y}\" y2=\"{y}\"/>\n");
        sheet.beside(y, &count(u64::from(tick)));
    }
}

/// Opens the element for the paths of a chart. It has two more pixels above and below, so that lines at the edge keep
/// their thickness.
pub(super) fn opening(top: u32, pixels: u32) -> String {
    format!(
        "<svg class=\"lines\" y=\"{}\" width=\"100%\" height=\"{}\" viewBox=\"0 -20 {WIDTH} {}\" \
         preserveAspectRatio=\"none\">\n",
        top - 2,
        pixels + 4,
        pixels * 10 + 40
    )
}

/// Returns a path that begins and ends at zero, outside of the picture if the run fills it, so that one path can be
/// filled and drawn.
pub(super) fn path(points: impl Iterator<Item = (u64, u32)>, time: Time, end: u64, height: Height) -> String {
    let columns = columns(points, time);
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
    let end = time.x(end);
    pen.across(if end == WIDTH { i64::from(WIDTH) + 50 } else { i64::from(end) });
    pen.step(pen.x, ground);
    pen.path
}

fn columns(points: impl Iterator<Item = (u64, u32)>, time: Time) -> Vec<Column> {
    let mut columns: Vec<Column> = Vec::new();
    for (at, value) in points {
        let x = time.x(at);
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

/// The values of one column of the picture.
struct Column {
    x: u32,
    low: u32,
    high: u32,
    last: u32,
}

/// Draws steps: across, then up or down; no segment where the value does not change.
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
