//! Presents a gateway's outcomes: a table for the terminal, and a page like the other reports. Nothing is computed
//! here that is not in the outcome.

use super::plain::{aligned, still};
use super::scale::{Height, Time};
use super::sheet::Sheet;
use super::timeline::{AXIS, framed, grid};
use super::words::{Escaped, count, moment, plural, seconds};
use super::{anchor, marks, page, plain, steps};
use crate::planner::gateway::{Chart, Figures, Line, Look, Outcome, QueueFigures, SocketFigures};
use std::io::{self, Write};

/// A figure's name in a table, its description, and its value.
type Column = (&'static str, &'static str, String);

/// Writes one row per design; numbers are right-aligned.
///
/// # Errors
/// If writing to `out` fails.
pub fn table(outcomes: &[Outcome], out: &mut dyn Write) -> io::Result<()> {
    let mut rows: Vec<Vec<String>> = Vec::new();
    for outcome in outcomes {
        let columns = columns(outcome);
        if rows.is_empty() {
            let names = columns.iter().map(|(name, _, _)| (*name).to_owned());
            rows.push(std::iter::once("design".to_owned()).chain(names).collect());
        }
        rows.push(std::iter::once(still(&outcome.title)).chain(columns.into_iter().map(|(_, _, v)| v)).collect());
    }
    aligned(&rows, out)?;
    if let Some(outcome) = outcomes.first() {
        writeln!(out)?;
        for (name, full, _) in columns(outcome) {
            writeln!(out, "{name:<12} {full}")?;
        }
    }
    Ok(())
}

fn columns(outcome: &Outcome) -> Vec<Column> {
    match &outcome.figures {
        Figures::Sockets(figures) => sockets(figures),
        Figures::Queues(figures) => queues(figures),
    }
}

fn sockets(figures: &SocketFigures) -> Vec<Column> {
    let [median, most, all] = plain::quantiles(figures.back);
    vec![
        ("lost", "connections that ended without notice", count(figures.lost)),
        ("closed", "connections that ended with notice", count(figures.closed)),
        ("median", "until half of them had a connection (again)", median),
        ("95 %", "until 95 of 100 had one", most),
        ("all", "until all clients that got a connection had one", all),
        ("missing", "clients without a connection at the end", count(figures.missing)),
        ("connects", "attempts to connect", count(figures.connects)),
        ("refused", "of them refused", count(figures.refused)),
        ("peak/s", "most attempts per second, over a tenth of one", count(figures.peak)),
        ("imbalance", "standard deviation over mean of the connections per pod, at the end", {
            format!("{:.1} %", figures.imbalance)
        }),
        ("pods", "ready at the end", count(u64::from(figures.pods))),
    ]
}

fn queues(figures: &QueueFigures) -> Vec<Column> {
    let mebibytes = |bytes: u64| format!("{:.1} MiB", bytes as f64 / (1024.0 * 1024.0));
    vec![
        ("memory", "of all queues, at most", mebibytes(figures.memory)),
        ("dropped", "messages that a connected client did not get", count(figures.dropped)),
        ("closed", "times a slow reader was disconnected with notice", count(figures.closed)),
        ("lost", "connections that ended without notice", count(figures.lost)),
        ("others late", "how late a message reached a fast reader, at most", seconds(figures.others)),
        ("oldest", "how old a message was when a slow reader got it, at most", seconds(figures.stale)),
    ]
}

/// Returns one HTML file without scripts and external resources; all designs are on the same scales.
#[must_use]
pub fn html(outcomes: &[Outcome]) -> String {
    let title = match outcomes.len() {
        0 => "Nothing was recorded".to_owned(),
        number => format!("A gateway: {} compared", plural(number, "design")),
    };
    let story = outcomes.first().map_or("", |o| o.story.as_str());
    let mut main = format!("<header>\n<h1>{}</h1>\n<p class=\"story\">{}</p>\n", Escaped(&title), Escaped(story));
    if let Some(first) = outcomes.first() {
        main += &format!(
            "<p class=\"note\">{}, seed {}. All pictures have the same time and height scales.</p>\n",
            moment(first.length),
            first.seed
        );
    }
    main += &comparison(outcomes);
    main += "</header>\n";
    let time = Time::until(outcomes.iter().map(|o| o.length).max().unwrap_or_default());
    for (number, outcome) in outcomes.iter().enumerate() {
        main += &section(outcome, number, time, outcomes);
    }
    page(&title, &main)
}

fn comparison(outcomes: &[Outcome]) -> String {
    let Some(first) = outcomes.first() else { return String::new() };
    let mut out = "<div class=\"scroll\" role=\"region\" aria-label=\"Comparison of the designs\" tabindex=\"0\">\n\
         <table class=\"comparison gateway\">\n<caption>Comparison of the designs</caption>\n<thead>\n<tr><th scope=\"col\">Design</th>"
        .to_owned();
    for (name, full, _) in columns(first) {
        out += &format!("<th scope=\"col\" title=\"{}\">{}</th>", Escaped(full), Escaped(name));
    }
    out += "</tr>\n</thead>\n<tbody>\n";
    for (number, outcome) in outcomes.iter().enumerate() {
        let (to, title) = (anchor(number), Escaped(&outcome.title));
        out += &format!("<tr><th scope=\"row\"><a href=\"#{to}\">{title}</a></th>");
        for (name, _, value) in columns(outcome) {
            out += &match (name, value.as_str()) {
                ("lost" | "missing", "0") => "<td>none</td>".to_owned(),
                ("lost" | "missing", _) => format!("<td><strong class=\"bad\">{value}</strong></td>"),
                _ => format!("<td>{value}</td>"),
            };
        }
        out += "</tr>\n";
    }
    out += "</tbody>\n</table>\n</div>\n<p class=\"note\">";
    for (name, full, _) in columns(first) {
        out += &format!("<b>{}</b>: {}. ", Escaped(name), Escaped(full));
    }
    out + "</p>\n"
}

fn section(outcome: &Outcome, number: usize, time: Time, all: &[Outcome]) -> String {
    let id = anchor(number);
    let mut out = format!(
        "<section id=\"{id}\" aria-labelledby=\"{id}-title\">\n<h2 id=\"{id}-title\">{}</h2>\n",
        Escaped(&outcome.title)
    );
    let mut sheet = Sheet::default();
    marks::badges(&mut sheet, &outcome.marks, time);
    for (at, chart) in outcome.charts.iter().enumerate() {
        let same = all.iter().filter_map(|o| o.charts.get(at));
        let most = same.flat_map(|c| &c.lines).flat_map(|l| &l.points).map(|(_, v)| *v).max().unwrap_or_default();
        draw(&mut sheet, chart, most, time, outcome.length);
    }
    let bottom = sheet.take(AXIS);
    sheet.plot += &marks::drawn(&outcome.marks, time, bottom);
    out += &framed(&sheet, &grid(time, &[bottom], bottom), &summary(outcome));
    out += &marks::list(&outcome.marks);
    out += "</section>\n";
    out
}

/// Describes the picture for readers who cannot see it.
fn summary(outcome: &Outcome) -> String {
    let charts: Vec<&str> = outcome.charts.iter().map(|c| c.heading.as_str()).collect();
    format!(
        "Timeline of {}: {}. The tables around it contain the same information.",
        moment(outcome.length),
        charts.join("; ")
    )
}

fn draw(sheet: &mut Sheet, chart: &Chart, most: u32, time: Time, end: u64) {
    let own = chart.lines.iter().flat_map(|l| &l.points).map(|(_, value)| *value).max().unwrap_or_default();
    sheet.heading(&format!("{}, at most {}", chart.heading, count(u64::from(own))));
    if chart.rows {
        for line in &chart.lines {
            let height = Height { most, pixels: 22 };
            let top = sheet.take(height.pixels + 6);
            sheet.beside(top + height.pixels / 2, &line.name);
            lines(sheet, std::slice::from_ref(line), height, top, time, end);
            let last = line.points.last().map_or(0, |(_, value)| *value);
            let y = top + height.pixels / 2 + 4;
            sheet.right += &format!("<text x=\"8\" y=\"{y}\">{}</text>\n", count(u64::from(last)));
        }
        sheet.take(8);
        return;
    }
    let height = Height { most, pixels: 110 };
    let top = sheet.take(height.pixels + 10);
    steps::ruled(sheet, height, top);
    lines(sheet, &chart.lines, height, top, time, end);
    if let [_, _, ..] = chart.lines.as_slice() {
        for line in &chart.lines {
            sheet.key += &format!(
                "<li><svg width=\"30\" height=\"12\" aria-hidden=\"true\"><path class=\"{}\" d=\"M-2 14V4H32V14\"/></svg>{}</li>\n",
                class(line.look),
                Escaped(&line.name)
            );
        }
    }
}

fn lines(sheet: &mut Sheet, lines: &[Line], height: Height, top: u32, time: Time, end: u64) {
    sheet.plot += &steps::opening(top, height.pixels);
    for line in lines {
        let path = match line.look {
            Look::Good | Look::Waiting => steps::path(line.points.iter().copied(), time, end, height),
            Look::Bad => {
                spells(&line.points, end).map(|(s, end)| steps::path(s.iter().copied(), time, end, height)).collect()
            }
        };
        if !path.is_empty() {
            sheet.plot += &format!("<path class=\"{}\" d=\"{path}\"/>\n", class(line.look));
        }
    }
    sheet.plot += "</svg>\n";
}

/// Returns the parts with values above zero, and their ends: where there is no harm, no line is drawn.
fn spells(points: &[(u64, u32)], end: u64) -> impl Iterator<Item = (&[(u64, u32)], u64)> {
    let some = |part: &&[(u64, u32)]| part.first().is_some_and(|(_, value)| *value > 0);
    let parts = points.chunk_by(|(_, before), (_, after)| (*before > 0) == (*after > 0));
    let ends = parts.clone().skip(1).filter_map(|next| next.first().map(|(at, _)| *at)).chain([end]);
    parts.zip(ends).filter(move |(part, _)| some(part))
}

fn class(look: Look) -> &'static str {
    match look {
        Look::Good => "ready",
        Look::Waiting => "waiting",
        Look::Bad => "harm",
    }
}
