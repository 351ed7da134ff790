//! Presents a record: one self-contained page with pictures (`html`), a table for the terminal (`table`), and the
//! record itself as JSON (`json`). Nothing is computed here that is not in the record (see `record`).

mod density;
mod figures;
pub mod gateway;
mod key;
mod lanes;
mod ledger;
mod marks;
mod panels;
mod plain;
pub mod plan;
mod scale;
mod sheet;
mod steps;
mod timeline;
mod words;

use crate::record::Record;
use scale::Scales;
use std::collections::BTreeSet;
use words::{Escaped, moment};

pub use plain::table;
pub(crate) use plain::{aligned, still};
pub(crate) use words::{hours, seconds};

const STYLE: &str = include_str!("report/page.css");

/// Returns one HTML file without scripts and external resources. Several records are compared on the same scales.
#[must_use]
pub fn html(records: &[Record]) -> String {
    let title = page_title(records);
    let scales = Scales::of(records);
    let mut main = String::new();
    match records {
        [] => main += "<header><h1>Nothing was recorded</h1></header>\n",
        [one] => main += &section(one, 0, &scales, "h1"),
        many => {
            main += &format!("<header>\n<h1>{}</h1>\n<p class=\"story\">{}</p>\n", Escaped(&title), shared(many));
            main += &figures::comparison(many);
            main += "</header>\n";
            for (number, record) in many.iter().enumerate() {
                main += &section(record, number, &scales, "h2");
            }
        }
    }
    page(&title, &main)
}

/// Wraps the content of every page.
fn page(title: &str, main: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\"/>\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n\
         <meta name=\"color-scheme\" content=\"light dark\"/>\n<title>{}</title>\n<style>\n{STYLE}</style>\n</head>\n\
         <body>\n{}<main>\n{main}</main>\n</body>\n</html>\n",
        Escaped(title),
        key::SHAPES
    )
}

/// Returns the records as a JSON array, even if there is only one.
#[must_use]
pub fn json(records: &[Record]) -> String {
    serde_json::to_string_pretty(records).expect("plain data with names for keys always serializes")
}

fn section(record: &Record, number: usize, scales: &Scales, heading: &str) -> String {
    let id = anchor(number);
    let title = Escaped(title_of(record));
    let mut out = format!("<section id=\"{id}\" aria-labelledby=\"{id}-title\">\n");
    out += &format!("<{heading} id=\"{id}-title\">{title}</{heading}>\n");
    if !record.story.trim().is_empty() {
        out += &format!("<p class=\"story\">{}</p>\n", Escaped(record.story.trim()));
    }
    let seed = record.seed.map_or(String::new(), |seed| format!(", seed {seed}"));
    out += &format!("<p class=\"note\">{}{seed}</p>\n", moment(record.length));
    out += &figures::of(record);
    out += &timeline::figure(record, scales);
    out += &marks::list(&record.marks);
    out += &ledger::details(record);
    out += "</section>\n";
    out
}

/// Describes what the compared runs have in common, so that a difference between settings is not mistaken for one
/// between designs.
fn shared(records: &[Record]) -> String {
    let seeds: BTreeSet<_> = records.iter().map(|r| r.seed).collect();
    let visitors = match (seeds.len(), seeds.first()) {
        (1, Some(Some(seed))) => {
            format!("The same seed, {seed}, for all: the same visitors arrive and leave at the same moments. ")
        }
        (1, _) => String::new(),
        _ => "Their seeds differ, so the visitors are not the same. ".to_owned(),
    };
    format!("{visitors}All pictures have the same time and height scales, so they can be compared by eye.")
}

fn page_title(records: &[Record]) -> String {
    match records {
        [] => "Nothing was recorded".to_owned(),
        [one] => title_of(one).to_owned(),
        many => format!("{} designs compared", many.len()),
    }
}

fn title_of(record: &Record) -> &str {
    let title = record.title.trim();
    if title.is_empty() { "A run without a title" } else { title }
}

fn anchor(number: usize) -> String {
    format!("design-{}", number + 1)
}
