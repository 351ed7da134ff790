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
mod tests {
    use super::super::Step;
    use super::*;

    const REASONS: [&str; 9] =
        ["left_queue", "no_show", "disconnected", "idle", "time_up", "left", "kicked", "pod_lost", "pool_removed"];
    const STATES: [RoomState; 7] = [
        RoomState::Arriving,
        RoomState::Starting,
        RoomState::Queued,
        RoomState::Failing,
        RoomState::Ready,
        RoomState::Full,
        RoomState::Ended,
    ];

    fn facts(state: RoomState) -> Facts {
        Facts::titled("Game console".into(), state)
    }

    fn queued(position: u64) -> Facts {
        Facts { position: Some(position), ..facts(RoomState::Queued) }
    }

    fn page(facts: &Facts) -> String {
        html(facts, &View { base: "/play?game=snake&level=2", own: "/.slotkeeper/" })
    }

    /// The parts of the page that a visitor can see: without the words for the script, and without opening tags of hidden
    /// elements.
    fn visible(facts: &Facts) -> String {
        page(facts).split_once("<template").unwrap().0.to_owned()
    }

    fn has_control(page: &str, action: &str) -> bool {
        let tag = page.split('<').find(|tag| tag.contains(action)).unwrap();
        !tag.contains(" hidden")
    }

    #[test]
    fn every_state_has_its_own_headline() {
        let headline = |facts: &Facts| {
            let page = visible(facts);
            page.split_once("<h1 id=\"headline\" tabindex=\"-1\">").unwrap().1.split_once('<').unwrap().0.to_owned()
        };
        assert_eq!(headline(&facts(RoomState::Arriving)), "Getting you a place…");
        assert_eq!(headline(&facts(RoomState::Starting)), "Your place is on its way");
        assert_eq!(headline(&facts(RoomState::Queued)), "You are in line");
        assert_eq!(headline(&queued(1)), "You are next");
        assert_eq!(headline(&queued(2)), "1 person is ahead of you");
        assert_eq!(headline(&queued(3)), "2 people are ahead of you");
        assert_eq!(headline(&facts(RoomState::Failing)), "It cannot be started right now");
        assert_eq!(headline(&facts(RoomState::Ready)), "Your place is ready");
        assert_eq!(headline(&facts(RoomState::Full)), "The line is full");
        assert_eq!(headline(&facts(RoomState::Ended)), "Your session has ended");
    }

    #[test]
    fn the_tab_shows_the_place_in_line() {
        assert!(page(&queued(3)).contains("<title>#3 · Game console</title>"));
        assert!(page(&facts(RoomState::Starting)).contains("<title>Starting · Game console</title>"));
        let over = Facts { reason: Some("idle"), ..facts(RoomState::Ended) };
        assert!(page(&over).contains("<title>Ended · Game console</title>"));
    }

    #[test]
    fn every_reason_has_its_own_words() {
        let mut seen = Vec::new();
        for reason in REASONS {
            let over = Facts { reason: Some(reason), ..facts(RoomState::Ended) };
            assert_eq!(key(&over), format!("ended.{reason}"));
            let (_, headline, lead, _) = word(key(&over));
            assert!(visible(&over).contains(headline) && visible(&over).contains(lead), "{reason}");
            assert!(!seen.contains(&lead), "{reason} has the same words as another reason");
            seen.push(lead);
        }
        let unheard_of = Facts { reason: Some("bored"), ..facts(RoomState::Ended) };
        assert!(visible(&unheard_of).contains("Your session has ended"));
    }

    #[test]
    fn a_waiting_visitor_may_leave_and_start_again_afterwards() {
        for state in STATES {
            let page = visible(&facts(state));
            assert_eq!(
                has_control(&page, "/leave\""),
                matches!(state, RoomState::Starting | RoomState::Queued | RoomState::Failing)
            );
            assert_eq!(has_control(&page, "/join\""), state == RoomState::Ended);
            assert_eq!(page.matches(r#"name="to" value="/play?game=snake&amp;level=2""#).count(), 2);
        }
    }

    #[test]
    fn without_javascript_the_page_refreshes_itself_while_the_state_may_change() {
        let refresh = |state| {
            let page = page(&facts(state));
            let head = page.split_once("</head>").unwrap().0;
            let after = head.split_once(r#"<noscript><meta http-equiv="refresh" content=""#)?.1;
            after.split_once('"').map(|(seconds, _)| seconds.to_owned())
        };
        assert_eq!(refresh(RoomState::Arriving).as_deref(), Some("5"));
        assert_eq!(refresh(RoomState::Starting).as_deref(), Some("5"));
        assert_eq!(refresh(RoomState::Queued).as_deref(), Some("5"));
        assert_eq!(refresh(RoomState::Failing).as_deref(), Some("15"));
        assert_eq!(refresh(RoomState::Full).as_deref(), Some("15"));
        assert_eq!(refresh(RoomState::Ended), None);
    }

    #[test]
    fn facts_are_text_whatever_they_contain() {
        let evil = r#"<script>alert("1")</script>'&{{to}}"#;
        let mut facts = queued(7);
        facts.pool = evil.into();
        facts.steps = vec![Step { name: "waking", text: evil.into(), done: false }];
        let page = html(&facts, &View { base: r#"/"><script>alert('2')</script>{{pool}}"#, own: "/.slotkeeper/" });
        assert!(!page.contains("<script>"));
        assert!(!page.contains("alert(\"") && !page.contains("alert('"));
        let safe = "&lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt;&#39;&amp;{{to}}";
        assert_eq!(page.matches(safe).count(), 3, "title, pool and step");
        assert!(page.contains(r#"value="/&quot;&gt;&lt;script&gt;alert(&#39;2&#39;)&lt;/script&gt;{{pool}}""#));
    }

    #[test]
    fn the_return_path_stays_on_this_host() {
        for elsewhere in [
            "//evil.example",
            "/\\evil.example",
            "/\t/evil.example",
            "javascript:alert(1)",
            "",
            "x",
            "/.slotkeeper/leave",
        ] {
            assert_eq!(local_path(elsewhere), "/", "{elsewhere:?}");
        }
        assert_eq!(local_path("/é?a=//b"), "/é?a=//b");
    }

    #[test]
    fn estimates_are_rounded_and_unknown_ones_are_shown_as_unknown() {
        let said: Vec<String> = [0, 4, 5, 18, 21, 54, 55, 89, 90, 180, 5399, 5400, 8000].map(about).into();
        assert_eq!(
            said,
            [
                "any moment now",
                "any moment now",
                "about 5 seconds",
                "about 20 seconds",
                "about 20 seconds",
                "about 50 seconds",
                "about a minute",
                "about a minute",
                "about 2 minutes",
                "about 3 minutes",
                "about 90 minutes",
                "about 2 hours",
                "about 2 hours"
            ]
        );
        assert!(visible(&queued(2)).contains("We cannot say yet how long"));
    }

    #[test]
    fn the_first_step_that_is_not_done_is_in_progress() {
        let step = |text: &str, done| Step { name: "step", text: text.into(), done };
        let facts = Facts {
            steps: vec![step("Woken", true), step("Starting", false), step("Checking", false)],
            ..facts(RoomState::Starting)
        };
        let page = visible(&facts);
        assert!(page.contains(r#"<li class="done"><span class="unseen">Done: </span>Woken</li>"#));
        assert!(page.contains(r#"<li aria-current="step"><span class="unseen">Now: </span>Starting</li>"#));
        assert!(page.contains(r#"<li><span class="unseen">Later: </span>Checking</li>"#));
    }

    #[test]
    fn the_page_does_not_claim_that_all_is_taken_while_places_are_checked() {
        let checked = visible(&Facts { reason: Some(CHECKING), ..queued(1) });
        assert!(checked.contains("Just a moment") && !checked.contains("taken"), "{checked}");
        assert!(visible(&queued(1)).contains("You are next"));
    }

    #[test]
    fn if_nothing_can_start_the_page_shows_it_with_the_number_of_the_problem() {
        let failing = Facts { position: Some(1), problem: Some("0badcafe".into()), ..facts(RoomState::Failing) };
        let page = visible(&failing);
        assert!(page.contains("It cannot be started right now") && page.contains("0badcafe"));
        assert!(!page.contains("taken") && !page.contains("<ol id=\"steps\"><li"), "{page}");
        assert!(page.contains("<section class=\"problem\" data-for=\"failing\">"));
        assert!(visible(&queued(1)).contains("data-for=\"failing\" hidden>"));
    }

    #[test]
    fn the_page_of_a_visitor_whose_pod_was_lost_explains_it() {
        let note = |facts: &Facts| !visible(facts).contains(r#"<p id="note" hidden>"#);
        assert!(note(&Facts { reason: Some("pod_lost"), ..queued(1) }));
        assert!(!note(&queued(1)));
    }

    #[test]
    fn nothing_is_inline() {
        for state in STATES {
            let page = page(&facts(state));
            assert_eq!(page.matches("<script").count(), 1);
            assert!(page.contains(r#"<script src="/.slotkeeper/room.js" defer></script>"#));
            assert!(!page.contains("<style") && !page.contains(" style=") && !page.contains("javascript:"));
            let handler = page.match_indices(" on").any(|(at, _)| {
                let name: String = page[at + 1..].chars().take_while(char::is_ascii_alphabetic).collect();
                page[at + 1 + name.len()..].starts_with('=')
            });
            assert!(!handler, "an event handler in the page");
        }
        let script = ASSETS[1].2;
        assert!(!script.contains("innerHTML") && !script.contains("eval(") && !script.contains("document.write"));
    }

    #[test]
    fn the_page_loads_only_files_of_the_dispatcher() {
        let page = page(&queued(1));
        for (path, _, _) in ASSETS {
            assert!(page.contains(path), "{path}");
        }
        assert!(!page.contains("http://") && !page.contains("https://"));
    }

    #[test]
    fn the_script_finds_its_words() {
        for call in ASSETS[1].2.split("say('").skip(1) {
            let key = call.split('\'').next().unwrap();
            assert!(page(&queued(1)).contains(&format!(r#"data-word="{key}""#)), "{key}");
        }
        for name in TEMPLATE.split("{{word ").skip(1) {
            assert!(!word(name.split("}}").next().unwrap()).1.is_empty());
        }
    }

    #[test]
    fn it_stays_small() {
        let assets: usize = ASSETS.iter().map(|(_, _, body)| body.len()).sum();
        let page = page(&queued(1)).len();
        assert!(assets + page < 25 * 1024, "{assets} + {page} bytes");
    }
}
