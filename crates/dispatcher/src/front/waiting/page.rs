//! The waiting room as HTML: one page for all its states, complete without JavaScript; `assets/room.js` keeps it current.
//! All words are in this file, and the script takes them from the page. This file makes no decisions and reads no clock.

use super::{CHECKING, Facts, RoomState};
use crate::config::PoolConfig;
use http::HeaderValue;
use slotkeeper_core::planted;
use std::fmt::Write;

/// Facts about the request that the page depends on.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// The visitor's original target: path and query. Anything but a path of this host becomes `/`.
    pub base: &'a str,
    /// The path prefix of the dispatcher's own files and forms: `/.slotkeeper/` below the pool's path.
    pub own: &'a str,
}

/// Files that the page loads: name, content type, body.
pub const ASSETS: &[(&str, &str, &str)] = &[
    ("room.css", "text/css; charset=utf-8", include_str!("assets/room.css")),
    ("room.js", "text/javascript; charset=utf-8", include_str!("assets/room.js")),
    ("room.svg", "image/svg+xml", include_str!("assets/room.svg")),
];

/// The page's Content-Security-Policy: only the dispatcher's own files, and nothing inline. A pool may name pages that show it in
/// a frame.
#[must_use]
pub fn policy(pool: Option<&PoolConfig>) -> HeaderValue {
    let frames = pool.into_iter().flat_map(|pool| &pool.embedded_in).map(|origin| format!(" {origin}"));
    let policy: String = std::iter::once(CSP.to_owned()).chain(frames).collect();
    HeaderValue::from_str(&policy).unwrap_or(HeaderValue::from_static(CSP))
}

const CSP: &str = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self'; \
                       form-action 'self'; base-uri 'none'; frame-ancestors 'self'";

const TEMPLATE: &str = include_str!("assets/room.html");

/// A state or a phrase in words: key, headline or phrase, explanation for the visitor, title of the tab. `{n}` is a number:
/// people ahead, seconds, the place in line (in the tab). An empty text is the same as in the state without a reason.
#[rustfmt::skip] // a table
const WORDS: &[(&str, &str, &str, &str)] = &[
    ("arriving", "Getting you a place…", "One moment. This page goes on by itself.", "One moment"),
    ("starting", "Your place is on its way", "It is being started for you, and opens here as soon as it is ready.", "Starting"),
    ("queued", "You are in line", "Everything is taken right now. Keep this page open: it holds your place.", "In line"),
    ("next", "You are next", "Everything is taken right now. The next free place is yours.", "#{n}"),
    ("one_ahead", "1 person is ahead of you", "", "#{n}"),
    ("many_ahead", "{n} people are ahead of you", "", "#{n}"),
    ("checking", "Just a moment", "After a disturbance we make sure that nobody gets somebody else's place.", "In line"),
    ("failing", "It cannot be started right now", "Something is wrong on our side, and waiting may not help. It is tried again and again, and opens here as soon as it works.", "Not available"),
    ("ready", "Your place is ready", "Taking you there now.", "Ready"),
    ("full", "The line is full", "So many people are waiting that nobody else can join right now. This page tries again by itself.", "Full"),
    ("ended", "Your session has ended", "Start again whenever you like.", "Ended"),
    ("ended.left_queue", "You are no longer in line", "We had not heard from this page for a while, so we let the next person move up.", ""),
    ("ended.no_show", "Your place went to the next person", "It was ready for you, but you did not come in time.", ""),
    ("ended.disconnected", "Your session has ended", "You were disconnected for too long, so your place was given up.", ""),
    ("ended.idle", "Your session ended while you were away", "Nothing was pressed or sent for a long time, so your place was given up.", ""),
    ("ended.time_up", "Your time is up", "Sessions here are limited in time, and yours was over.", ""),
    ("ended.left", "You have left", "Your place is free for somebody else. Come back whenever you like.", ""),
    ("ended.kicked", "Your session was ended", "An operator of this service ended it.", ""),
    ("ended.pod_lost", "Your session was interrupted", "The machine it ran on went away. That was our fault, not yours.", ""),
    ("ended.pool_removed", "This service was taken down", "Its operator removed it. Starting again may not work.", ""),
    ("moment", "any moment now", "", ""),
    ("seconds", "about {n} seconds", "", ""),
    ("minute", "about a minute", "", ""),
    ("minutes", "about {n} minutes", "", ""),
    ("hours", "about {n} hours", "", ""),
    ("unknown", "We cannot say yet how long", "", ""),
    ("ending", "The time left in it: {n}.", "", ""),
    ("done", "Done:", "", ""),
    ("now", "Now:", "", ""),
    ("later", "Later:", "", ""),
    ("cookies", "This takes longer than it should. Your place is kept by a cookie: please allow cookies for this site.", "", ""),
    ("lost", "The machine your session ran on went away, and what was saved on it stays there. You are at the front of the line.", "", ""),
    ("trouble", "Connection lost, trying again.", "", ""),
    ("happening", "What is happening", "", ""),
    ("place", "Your place in line", "", ""),
    ("wait", "Estimated wait", "", ""),
    ("waited", "Waiting for", "", ""),
    ("plain", "This page refreshes itself every few seconds. It needs cookies.", "", ""),
    ("leave", "Leave the line", "", ""),
    ("join", "Start again", "", ""),
    ("go", "Continue", "", ""),
    ("retry", "Try now", "", ""),
    ("problem", "If it lasts, tell the operator of this service the number of this problem:", "", ""),
];

/// Words that only the server writes; the script gets the others.
const SERVER_ONLY: &[&str] =
    &["lost", "trouble", "happening", "place", "wait", "waited", "plain", "leave", "join", "go", "retry", "problem"];

/// Renders the whole page.
pub fn html(facts: &Facts, view: &View<'_>) -> String {
    fill_in(TEMPLATE, |page, name| fill(page, name, facts, view))
}

/// Fills in a template's `{{names}}` in one pass: filled-in text is never scanned for names.
pub(super) fn fill_in(template: &str, mut fill: impl FnMut(&mut String, &str)) -> String {
    let mut page = String::with_capacity(10 * 1024);
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("{{") {
        page.push_str(before);
        let (name, after) = after.split_once("}}").unwrap_or((after, ""));
        fill(&mut page, name);
        rest = after;
    }
    page.push_str(rest);
    page
}

/// The picture on the ticket.
pub(super) fn picture() -> &'static str {
    let from = TEMPLATE.find("<svg").unwrap_or(0);
    let to = TEMPLATE.find("</svg>").map_or(from, |at| at + "</svg>".len());
    TEMPLATE.get(from..to).unwrap_or_default()
}

/// Returns `base` if it is a path of this host, else `/`. Browsers read `//host` and `/\host` as another host, and drop tabs
/// and line breaks first.
pub fn local_path(base: &str) -> &str {
    planted!(OpenRedirect => base);
    let local = base.starts_with('/')
        && !base[1..].starts_with(['/', '\\'])
        && !base.chars().any(|c| c.is_ascii_control())
        && !base.contains("/.slotkeeper/");
    if local { base } else { "/" }
}

fn fill(page: &mut String, name: &str, facts: &Facts, view: &View<'_>) {
    let state = facts.state;
    let key = key(facts);
    let ahead = facts.position.map(|position| position.saturating_sub(1));
    match name {
        "own" => escape(page, view.own),
        "title" => {
            let tab = first(word(key).3, word(state_name(state)).3);
            escape(page, &number(tab, facts.position));
            page.push_str(" · ");
            escape(page, &facts.pool);
        }
        "refresh" => {
            if let Some(seconds) = refresh_seconds(state) {
                let _ = write!(page, r#"<noscript><meta http-equiv="refresh" content="{seconds}"></noscript>"#);
            }
        }
        "state" => page.push_str(state_name(state)),
        "rise" => {
            let _ = write!(page, "{}", rise(facts));
        }
        "estimate_seconds" => {
            if let Some(seconds) = facts.estimate_seconds {
                let _ = write!(page, "{seconds}");
            }
        }
        "number_hidden" => page.push_str(if facts.position.is_some() { "" } else { " hidden" }),
        "position" => {
            if let Some(position) = facts.position {
                let _ = write!(page, "{position}");
            }
        }
        "pool" => escape(page, &facts.pool),
        "headline" => escape(page, &number(word(key).1, ahead)),
        "lead" => match facts.ends_in_seconds {
            Some(seconds) if state == RoomState::Ready => {
                escape(page, &word("ending").1.replace("{n}", &about(seconds)));
            }
            _ => escape(page, first(word(key).2, word(state_name(state)).2)),
        },
        "note_hidden" => {
            let waiting = matches!(state, RoomState::Starting | RoomState::Queued | RoomState::Failing);
            if !(waiting && facts.reason == Some("pod_lost")) {
                page.push_str(" hidden");
            }
        }
        "problem" => escape(page, facts.problem.as_deref().unwrap_or_default()),
        "steps" => steps(page, facts),
        "estimate" => escape(page, &facts.estimate_seconds.map_or_else(|| word("unknown").1.to_owned(), about)),
        "to" => escape(page, local_path(view.base)),
        "words" => words(page),
        _ => match name.split_once(' ') {
            // An element that only some states show: the script reads the same list.
            Some(("for", states)) => {
                let shown = states.split(' ').any(|name| name == state_name(state));
                let _ = write!(page, r#" data-for="{states}"{}"#, if shown { "" } else { " hidden" });
            }
            Some(("word", key)) => escape(page, word(key).1),
            _ => unreachable!("the template asks for {name}"),
        },
    }
}

/// Returns which words describe these facts. The script has the same rule.
fn key(facts: &Facts) -> &'static str {
    match facts.state {
        RoomState::Ended => facts
            .reason
            .and_then(|reason| WORDS.iter().find(|word| word.0.strip_prefix("ended.") == Some(reason)))
            .map_or("ended", |word| word.0),
        RoomState::Queued if facts.reason == Some(CHECKING) => CHECKING,
        RoomState::Queued => match facts.position {
            None | Some(0) => "queued",
            Some(1) => "next",
            Some(2) => "one_ahead",
            Some(_) => "many_ahead",
        },
        other @ (RoomState::Arriving
        | RoomState::Starting
        | RoomState::Failing
        | RoomState::Ready
        | RoomState::Full) => state_name(other),
    }
}

fn state_name(state: RoomState) -> &'static str {
    match state {
        RoomState::Arriving => "arriving",
        RoomState::Starting => "starting",
        RoomState::Queued => "queued",
        RoomState::Failing => "failing",
        RoomState::Ready => "ready",
        RoomState::Full => "full",
        RoomState::Ended => "ended",
    }
}

/// After how many seconds a browser without JavaScript reloads.
fn refresh_seconds(state: RoomState) -> Option<u32> {
    match state {
        RoomState::Arriving | RoomState::Starting | RoomState::Queued => Some(5),
        RoomState::Ready => Some(2),
        RoomState::Failing | RoomState::Full => Some(15),
        RoomState::Ended => None,
    }
}

/// The height of the sun in the picture, 0 to 4. The script has the same rule.
fn rise(facts: &Facts) -> usize {
    match facts.state {
        RoomState::Ready => 4,
        RoomState::Starting => 1 + 2 * facts.steps.iter().filter(|step| step.done).count() / facts.steps.len().max(1),
        RoomState::Queued => usize::from(facts.position == Some(1)),
        RoomState::Arriving | RoomState::Failing | RoomState::Full | RoomState::Ended => 0,
    }
}

/// Rounds a duration to the precision that an estimate has. The script has the same rule.
fn about(seconds: u64) -> String {
    let round = |unit: u64| (seconds + unit / 2) / unit;
    let (key, n) = match seconds {
        0..5 => ("moment", 0),
        5..20 => ("seconds", round(5) * 5),
        20..55 => ("seconds", round(10) * 10),
        55..90 => ("minute", 1),
        90..5400 => ("minutes", round(60)),
        _ => ("hours", round(3600)),
    };
    number(word(key).1, Some(n))
}

fn steps(page: &mut String, facts: &Facts) {
    let now = facts.steps.iter().position(|step| !step.done);
    for (i, step) in facts.steps.iter().enumerate() {
        let (attribute, how) = match (step.done, now == Some(i)) {
            (true, _) => (r#" class="done""#, "done"),
            (false, true) => (r#" aria-current="step""#, "now"),
            (false, false) => ("", "later"),
        };
        let _ = write!(page, r#"<li{attribute}><span class="unseen">{} </span>"#, word(how).1);
        escape(page, &step.text);
        page.push_str("</li>");
    }
}

fn words(page: &mut String) {
    for (key, headline, lead, tab) in WORDS.iter().filter(|word| !SERVER_ONLY.contains(&word.0)) {
        let _ = write!(page, r#"<p data-word="{key}"><b>{headline}</b>"#);
        if !lead.is_empty() || !tab.is_empty() {
            let _ = write!(page, "<b>{lead}</b>");
        }
        if !tab.is_empty() {
            let _ = write!(page, "<b>{tab}</b>");
        }
        page.push_str("</p>");
    }
}

fn word(key: &str) -> &'static (&'static str, &'static str, &'static str, &'static str) {
    WORDS.iter().find(|word| word.0 == key).unwrap_or(&("", "", "", ""))
}

fn first(words: &'static str, otherwise: &'static str) -> &'static str {
    if words.is_empty() { otherwise } else { words }
}

fn number(text: &str, n: Option<u64>) -> String {
    text.replace("{n}", &n.unwrap_or(0).to_string())
}

pub(super) fn escape(page: &mut String, text: &str) {
    for c in text.chars() {
        match c {
            '&' => page.push_str("&amp;"),
            '<' => page.push_str("&lt;"),
            '>' => page.push_str("&gt;"),
            '"' => page.push_str("&quot;"),
            '\'' => page.push_str("&#39;"),
            _ => page.push(c),
        }
    }
}

#[cfg(test)]
mod tests;
