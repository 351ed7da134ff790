//! The totals of one run, and of several side by side.

use super::words::{Escaped, count, hours, percent, seconds};
use super::{anchor, title_of};
use crate::record::{Figures, Quantiles, Record};

/// One run: three small tables beside each other.
pub(super) fn of(record: &Record) -> String {
    let figures = &record.figures;
    let mut out = "<div class=\"figures\">\n".to_owned();
    out += &small(
        "Visitors",
        &[
            ("arrived", count(figures.visitors)),
            ("sessions killed", killed(figures.killed)),
            ("never served", none_or(figures.never_served)),
        ],
    );
    out += &small(
        "Time to a slot",
        &match figures.time_to_slot {
            Some(Quantiles { p50, p95, max }) => {
                vec![("median", seconds(p50)), ("95 of 100 within", seconds(p95)), ("longest", seconds(max))]
            }
            None => vec![("median", "no slot taken".to_owned())],
        },
    );
    out += &small(
        "Pods",
        &[
            ("pod-hours", hours(figures.pod_hours)),
            ("without a session", wasted(figures)),
            ("changes of their number", count(figures.writes)),
        ],
    );
    out + "</div>\n"
}

fn small(caption: &str, rows: &[(&str, String)]) -> String {
    let mut out = format!("<table>\n<caption>{caption}</caption>\n<tbody>\n");
    for (name, value) in rows {
        out += &format!("<tr><th scope=\"row\">{name}</th><td>{value}</td></tr>\n");
    }
    out + "</tbody>\n</table>\n"
}

/// All runs, one per row.
pub(super) fn comparison(records: &[Record]) -> String {
    let mut out = "<div class=\"scroll\" role=\"region\" aria-label=\"Comparison of the designs\" tabindex=\"0\">\n\
         <table class=\"comparison\">\n<caption>Comparison of the designs</caption>\n<thead>\n\
         <tr><th scope=\"col\" rowspan=\"2\">Design</th><th scope=\"col\" rowspan=\"2\">Sessions killed</th>\
         <th scope=\"col\" rowspan=\"2\">Never served</th><th scope=\"colgroup\" colspan=\"3\">Time to a slot</th>\
         <th scope=\"colgroup\" colspan=\"2\">Pod-hours</th><th scope=\"col\" rowspan=\"2\">Changes of size</th></tr>\n\
         <tr><th scope=\"col\">median</th><th scope=\"col\">95 %</th><th scope=\"col\">longest</th>\
         <th scope=\"col\">all</th><th scope=\"col\">without a session</th></tr>\n</thead>\n<tbody>\n"
        .to_owned();
    for (number, record) in records.iter().enumerate() {
        let figures = &record.figures;
        let times = figures.time_to_slot.map_or_else(
            || "<td colspan=\"3\">no slot taken</td>".to_owned(),
            |t| format!("<td>{}</td><td>{}</td><td>{}</td>", seconds(t.p50), seconds(t.p95), seconds(t.max)),
        );
        out += &format!(
            "<tr><th scope=\"row\"><a href=\"#{}\">{}</a></th><td>{}</td><td>{}</td>{times}<td>{}</td><td>{}</td>\
             <td>{}</td></tr>\n",
            anchor(number),
            Escaped(title_of(record)),
            killed(figures.killed),
            none_or(figures.never_served),
            hours(figures.pod_hours),
            wasted(figures),
            count(figures.writes)
        );
    }
    out += "</tbody>\n</table>\n</div>\n";
    out
}

fn killed(number: u64) -> String {
    if number == 0 { "none".to_owned() } else { format!("<strong class=\"bad\">{} killed</strong>", count(number)) }
}

fn none_or(number: u64) -> String {
    if number == 0 { "none".to_owned() } else { format!("<strong>{}</strong>", count(number)) }
}

fn wasted(figures: &Figures) -> String {
    let share = percent(figures.wasted_pod_hours, figures.pod_hours);
    let share = share.map_or(String::new(), |s| format!(" <span class=\"quiet\">({s})</span>"));
    format!("{}{share}", hours(figures.wasted_pod_hours))
}
