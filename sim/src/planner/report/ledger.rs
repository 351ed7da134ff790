//! The lanes as text: every incarnation and every session as a row, for readers who cannot see the picture or need
//! exact values.

use super::words::{Escaped, count, moment, plural, pod_end};
use crate::record::{PodLife, Record, SessionLife};

/// Maximum number of rows of each kind; the rest is in the JSON.
const ROWS: usize = 150;

/// Collapsed by default; empty if there is nothing to list.
pub(super) fn details(record: &Record) -> String {
    let (sessions, pods) = (record.sessions.len(), record.pods.len());
    if sessions + pods == 0 {
        return String::new();
    }
    let mut out = format!(
        "<details><summary>In words: {} and {}</summary>\n",
        plural(sessions, "session"),
        plural(pods, "incarnation")
    );
    if sessions > 0 {
        let mut sorted: Vec<&SessionLife> = record.sessions.iter().collect();
        sorted.sort_by_key(|s| (s.joined, s.visitor));
        let rows = sorted.iter().take(ROWS).map(|s| session(s));
        out += &table("Sessions", &["Visitor", "Asked", "Waited", "Sat in", "Until", "Ended"], rows, sessions);
    }
    if pods > 0 {
        let mut sorted: Vec<&PodLife> = record.pods.iter().collect();
        sorted.sort_by_key(|p| (p.ordinal, p.created));
        let rows = sorted.iter().take(ROWS).map(|p| pod(p));
        out += &table(
            "Incarnations of pods",
            &["Pod", "Uid", "Created", "Ready", "Terminating", "Gone", "Why"],
            rows,
            pods,
        );
    }
    out + "</details>\n"
}

fn session(session: &SessionLife) -> Vec<String> {
    let first = session.spells.first();
    let waited = first.map_or("no slot".to_owned(), |s| moment(s.from.saturating_sub(session.joined)));
    let seats: Vec<String> = session.spells.iter().map(|s| format!("pod {}", s.ordinal)).collect();
    let why = session.why.clone().unwrap_or_default();
    let ended = if session.killed { format!("killed: {why}") } else { why };
    let until = session.end.map_or("still there".to_owned(), moment);
    vec![count(session.visitor.into()), moment(session.joined), waited, seats.join(", "), until, ended]
}

fn pod(pod: &PodLife) -> Vec<String> {
    let at = |at: Option<u64>| at.map_or(String::new(), moment);
    let why = pod.end.map_or("", pod_end).to_owned();
    vec![
        count(pod.ordinal.into()),
        pod.uid.clone(),
        moment(pod.created),
        at(pod.ready),
        at(pod.terminating),
        at(pod.gone),
        why,
    ]
}

fn table(name: &str, columns: &[&str], rows: impl Iterator<Item = Vec<String>>, all: usize) -> String {
    let head: String = columns.iter().map(|c| format!("<th scope=\"col\">{c}</th>")).collect();
    let mut out = format!(
        "<div class=\"scroll\" role=\"region\" aria-label=\"{name}\" tabindex=\"0\">\n<table class=\"ledger\">\n\
         <caption>{name}</caption>\n<thead><tr>{head}</tr></thead>\n<tbody>\n"
    );
    for row in rows {
        let mut cells = row.iter().map(|cell| Escaped(cell));
        out += "<tr>";
        out += &cells.next().map_or(String::new(), |cell| format!("<th scope=\"row\">{cell}</th>"));
        out += &cells.map(|cell| format!("<td>{cell}</td>")).collect::<String>();
        out += "</tr>\n";
    }
    out += "</tbody>\n</table>\n</div>\n";
    if all > ROWS {
        out += &format!("<p class=\"note\">{} more: in the JSON, not here.</p>\n", count((all - ROWS) as u64));
    }
    out
}
