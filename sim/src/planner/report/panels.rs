//! Draws numbers over time as steps: the desired pods (dashed lines), the actual ones (filled), and the waiting
//! visitors. Thousands of samples become columns that keep their lowest and highest value.

use super::scale::{COLUMN, Height, Scales, Time, WIDTH, end_of, part};
use super::sheet::Sheet;
use super::words::{count, moment, plural};
use super::{key, steps};
use crate::record::{Record, Sample};

/// One line. `class` is its CSS class.
struct Series {
    class: &'static str,
    name: &'static str,
    value: fn(&Sample) -> u32,
}

// The actual state comes first and lies below; the desired one is drawn over it with gaps, so that neither hides the
// other.
const EXISTING: Series = Series { class: "existing", name: "existing", value: |s| s.pods };
const READY: Series = Series { class: "ready", name: "ready", value: |s| s.ready };
const SEATED: Series = Series { class: "seated", name: "seated", value: |s| s.seated };
const TOLD: Series = Series { class: "told", name: "told", value: |s| s.replicas };
const DESIRED: Series = Series { class: "desired", name: "desired", value: |s| s.desired };
const WAITING: Series = Series { class: "waiting", name: "waiting", value: |s| s.waiting };

/// Draws all charts of the record.
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
        sheet.note("No visitor waited for a slot.");
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
        steps::ruled(sheet, height, top);
        sheet.plot += &steps::opening(top, pixels);
        for line in series {
            let points = self.samples.iter().map(|s| (s.at, (line.value)(s)));
            let path = steps::path(points, self.time, self.end, height);
            sheet.plot += &format!("<path class=\"{}\" d=\"{path}\"/>\n", line.class);
        }
        sheet.plot += "</svg>\n";
        self.names(sheet, series, height, top);
    }

    /// Draws each line's name at its end, moved apart where they overlap, with a connecting line in the same style.
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

/// Marks where the record ends before the others do.
pub(super) fn end(sheet: &mut Sheet, record: &Record, scales: &Scales, bottom: u32) {
    let end = end_of(record);
    let x = scales.time.x(end);
    if x < WIDTH {
        sheet.note(format!("This run ended after {}; the hatched time is that of longer ones.", moment(end)));
        sheet.plot += &super::sheet::rect("after", x, WIDTH, 0, bottom);
        sheet.plot += &format!("<line class=\"end\" x1=\"{0}\" x2=\"{0}\" y1=\"0\" y2=\"{bottom}\"/>\n", part(x));
    }
}
