//! The picture of one record: marks, charts and lanes above one another on one time axis.

use super::scale::{Scales, Time, end_of, part};
use super::sheet::Sheet;
use super::words::{Escaped, moment, plural};
use super::{lanes, marks, panels};
use crate::record::{MarkKind, Record};

/// The height of the time axis, in pixels.
pub(super) const AXIS: u32 = 24;

pub(super) fn figure(record: &Record, scales: &Scales) -> String {
    if record.samples.is_empty() && record.pods.is_empty() && record.sessions.is_empty() && record.marks.is_empty() {
        return "<p class=\"note\">Nothing was recorded that could be drawn.</p>\n".to_owned();
    }
    let mut sheet = Sheet::default();
    marks::badges(&mut sheet, &record.marks, scales.time);
    panels::draw(&mut sheet, record, scales);
    // Marks are in front of the charts, but behind the lanes, where they would cover labels.
    let marks_at = sheet.plot.len();
    let mut bottom = sheet.take(AXIS);
    let mut axes = vec![bottom];
    let charts = sheet.height;
    lanes::draw(&mut sheet, record, scales);
    if sheet.height > charts {
        bottom = sheet.take(AXIS);
        axes.push(bottom);
    }
    sheet.plot.insert_str(marks_at, &marks::drawn(&record.marks, scales.time, bottom));
    panels::end(&mut sheet, record, scales, bottom);

    framed(&sheet, &grid(scales.time, &axes, bottom), &summary(record))
}

/// Draws vertical time lines behind the charts, with time labels at each of these heights.
pub(super) fn grid(time: Time, axes: &[u32], bottom: u32) -> String {
    let mut back = String::new();
    for (at, tick) in time.ticks().iter().enumerate() {
        let x = part(tick.x);
        // Every other one is hidden on a narrow screen.
        let odd = if at % 2 == 1 { " wide" } else { "" };
        let last = if tick.x > 9700 { " last" } else { "" };
        back += &format!("<line class=\"grid{odd}\" x1=\"{x}\" x2=\"{x}\" y1=\"0\" y2=\"{bottom}\"/>\n");
        for axis in axes {
            let y = axis + 16;
            back += &format!("<text class=\"tick{odd}{last}\" x=\"{x}\" y=\"{y}\">{}</text>\n", tick.text);
        }
    }
    back
}

/// Returns the sheet as a figure of the page.
pub(super) fn framed(sheet: &Sheet, back: &str, summary: &str) -> String {
    let height = sheet.height;
    let mut out = format!(
        "<figure>\n<div class=\"sheet\">\n\
         <svg class=\"left\" width=\"100%\" height=\"{height}\" aria-hidden=\"true\">\n{}</svg>\n\
         <svg class=\"plot\" width=\"100%\" height=\"{height}\" role=\"img\" aria-label=\"{}\">\n{back}{}{}</svg>\n\
         <svg class=\"right\" width=\"100%\" height=\"{height}\" aria-hidden=\"true\">\n{}</svg>\n</div>\n",
        sheet.left,
        Escaped(summary),
        sheet.plot,
        sheet.front,
        sheet.right
    );
    out += "<figcaption>\n";
    if !sheet.key.is_empty() {
        out += &format!("<ul class=\"key\" role=\"list\">\n{}</ul>\n", sheet.key);
    }
    for note in &sheet.notes {
        out += &format!("<p class=\"note\">{}</p>\n", Escaped(note));
    }
    out += "</figcaption>\n</figure>\n";
    out
}

/// Describes the picture for readers who cannot see it.
fn summary(record: &Record) -> String {
    let most = |value: fn(&crate::record::Sample) -> u32| record.samples.iter().map(value).max().unwrap_or_default();
    let many = |kind: MarkKind| record.marks.iter().filter(|m| m.kind == kind).count();
    format!(
        "Timeline of {}. At most {} wanted and {} ready, {} seated and {} waiting; {}, {}, {}. \
         The tables around it contain the same information.",
        moment(end_of(record)),
        plural(most(|s| s.desired) as usize, "pod"),
        most(|s| s.ready),
        plural(most(|s| s.seated) as usize, "session"),
        most(|s| s.waiting),
        plural(many(MarkKind::Fault), "fault"),
        plural(many(MarkKind::Kill), "kill"),
        plural(many(MarkKind::Violation), "broken promise"),
    )
}
