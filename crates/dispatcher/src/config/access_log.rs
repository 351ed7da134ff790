//! `[access_log]`: one line for each request.

use super::field::{Choices, choice};
use super::setting::{Access, Kind, Row, Setting, Shown, field, kept, number, read_all};
use super::table::Table;
use crate::io::lines::Output;

/// Whether and how requests are logged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessLog {
    /// `None`: they are not.
    pub output: Option<Output>,
    /// The form of the lines.
    pub format: AccessFormat,
    /// Whether lines contain queries.
    pub query: bool,
    /// One of this many requests is logged.
    pub sample: u64,
}

/// The form of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessFormat {
    /// An object.
    Json,
    /// That of Apache and nginx.
    Combined,
}

impl Default for AccessLog {
    fn default() -> AccessLog {
        AccessLog { output: None, format: AccessFormat::Json, query: false, sample: 1 }
    }
}

impl Choices for AccessFormat {
    const ALL: &'static [(&'static str, AccessFormat, &'static str)] = &[
        ("json", AccessFormat::Json, "one JSON object a line"),
        ("combined", AccessFormat::Combined, "the combined format of Apache and nginx"),
    ];
}

pub(crate) const ROWS: &[Row<AccessLog>] = &[
    Row::new(
        "output",
        Kind::Text("`\"stdout\"`, `\"off\"` or a path"),
        Access { read: read_output, shown: show_output, ..kept!(AccessLog, output) },
    )
    .help("where one line for each request is written", "; a file is opened again at SIGHUP"),
    Row::new("format", choice::<AccessFormat>(), field!(AccessLog, format)).help("the form of the lines", ""),
    Row::new("query", Kind::Bool, field!(AccessLog, query))
        .help("whether lines contain queries", ", which often contain secrets: of targets, and of referrers"),
    Row::new("sample", number(1, 1_000_000), field!(AccessLog, sample))
        .help("one of this many requests is logged", ", and every one that failed"),
];

fn read_output(setting: &Setting, table: &Table<'_>, log: &mut AccessLog) {
    let Some(value) = table.value(setting.key) else { return };
    log.output = if value.is_text("off") {
        None
    } else if value.is_text("stdout") {
        Some(Output::Stdout)
    } else {
        value.path().map(Output::File)
    };
}

fn show_output(_: &Setting, log: &AccessLog) -> Option<Shown> {
    Some(log.output.as_ref().map_or(Shown::text(Shown::OFF), Shown::text))
}

/// Reads `[access_log]`.
pub(super) fn access_log(table: &Table<'_>, log: &mut AccessLog) {
    let Some(table) = table.table("access_log") else { return };
    read_all(ROWS, &table, log);
    if !table.has("output") {
        table.missing("output", "allowed: \"stdout\", \"off\" or a path");
    }
    if let Some(Output::File(path)) = &log.output {
        if path.is_dir() {
            table.wrong("output", format_args!("{} is a folder; allowed: the path of a file", path.display()));
        } else if path.parent().is_some_and(|folder| !folder.is_dir()) {
            table.doubt("output", format_args!("the folder of {} does not exist", path.display()));
        }
    }
    table.finish();
}
