use super::super::StartStep;
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
    facts.steps = vec![StartStep { name: "waking", text: evil.into(), done: false }];
    let page = html(&facts, &View { base: r#"/"><script>alert('2')</script>{{pool}}"#, own: "/.slotkeeper/" });
    assert!(!page.contains("<script>"));
    assert!(!page.contains("alert(\"") && !page.contains("alert('"));
    let safe = "&lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt;&#39;&amp;{{to}}";
    assert_eq!(page.matches(safe).count(), 3, "title, pool and step");
    assert!(page.contains(r#"value="/&quot;&gt;&lt;script&gt;alert(&#39;2&#39;)&lt;/script&gt;{{pool}}""#));
}

#[test]
fn the_return_path_stays_on_this_host() {
    for elsewhere in
        ["//evil.example", "/\\evil.example", "/\t/evil.example", "javascript:alert(1)", "", "x", "/.slotkeeper/leave"]
    {
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
    let step = |text: &str, done| StartStep { name: "step", text: text.into(), done };
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
