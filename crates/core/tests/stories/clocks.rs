//! Every time limit of a session, and the reason with which it ends the session.

use crate::story::*;
use slotkeeper_core::{Millis, Rules, Time, Why};

#[test]
fn a_waiting_session_without_a_heartbeat_leaves_after_queue_lease() {
    let mut pool = Story::asleep(Rules::default());
    pool.visit(ANA).visit(BEN).at(secs(20)).active(BEN).at(secs(29));
    assert_eq!(pool.place(ANA), Where::Queued(0));
    pool.at(secs(30));
    assert_eq!(pool.released(), [(ANA, Why::LeftQueue)]);
    assert_eq!(pool.place(BEN), Where::Queued(0));
    pool.at(secs(49)).visit(BEN).at(secs(78));
    assert_eq!(pool.place(BEN), Where::Queued(0), "a visit renews the lease, too");
    pool.at(secs(79));
    assert_eq!(pool.released(), [(BEN, Why::LeftQueue)]);
}

#[test]
fn a_session_that_does_not_attach_within_claim_is_a_no_show_and_the_next_one_gets_the_slot() {
    let mut pool = Story::with_pods(1);
    pool.visit(ANA).at(secs(50)).visit(BEN).at(secs(59));
    assert_eq!((pool.place(ANA), pool.place(BEN)), (at_pod(0), Where::Queued(0)));
    pool.at(secs(60));
    assert_eq!(pool.released(), [(ANA, Why::NoShow)]);
    assert_eq!(pool.place(BEN), at_pod(0));
}

#[test]
fn visiting_again_does_not_prolong_the_claim() {
    let mut pool = Story::with_pods(1);
    pool.visit(ANA).at(secs(50)).visit(ANA).active(ANA).at(secs(60));
    assert_eq!(pool.released(), [(ANA, Why::NoShow)]);
}

#[test]
fn a_session_without_streams_for_grace_is_disconnected() {
    let mut pool = Story::with_pods(1);
    pool.visit(ANA).attach(ANA).at(secs(100)).detach(ANA).at(secs(129));
    assert_eq!(pool.place(ANA), at_pod(0));
    pool.at(secs(130));
    assert_eq!(pool.released(), [(ANA, Why::Disconnected)]);
}

#[test]
fn a_session_without_activity_for_idle_ends_as_idle() {
    let mut pool = Story::running(1, Rules { idle: Some(secs(100)), ..Rules::default() });
    pool.visit(ANA).attach(ANA).at(secs(90)).active(ANA).at(secs(189));
    assert_eq!(pool.place(ANA), at_pod(0));
    pool.at(secs(190));
    assert_eq!(pool.released(), [(ANA, Why::Idle)]);
    assert_eq!(pool.place(ANA), Where::Ending(Why::Idle));
    pool.detach(ANA);
    assert_eq!(pool.place(ANA), Where::Unknown);
}

#[test]
fn idle_is_off_by_default() {
    let mut pool = Story::with_pods(1);
    pool.visit(ANA).attach(ANA).at(secs(5_000));
    assert_eq!(pool.place(ANA), at_pod(0));
}

#[test]
fn max_session_counts_from_the_first_attach_and_does_not_start_again() {
    let mut pool = Story::running(1, Rules { max_session: Some(secs(100)), ..Rules::default() });
    pool.visit(ANA).at(secs(30)).attach(ANA).at(secs(80)).detach(ANA).at(secs(90)).attach(ANA).at(secs(129));
    assert_eq!(pool.place(ANA), at_pod(0));
    pool.at(secs(130));
    assert_eq!(pool.released(), [(ANA, Why::TimeUp)]);
    assert_eq!(pool.place(ANA), Where::Ending(Why::TimeUp));
}

#[test]
fn max_session_ends_a_session_without_streams_at_once() {
    let mut pool = Story::running(1, Rules { max_session: Some(secs(100)), ..Rules::default() });
    pool.visit(ANA).attach(ANA).at(secs(90)).detach(ANA).at(secs(100));
    assert_eq!(pool.released(), [(ANA, Why::TimeUp)]);
    assert_eq!(pool.place(ANA), Where::Unknown);
}

#[test]
fn max_session_counts_on_while_a_session_that_lost_its_pod_waits() {
    let mut pool = Story::running(1, Rules { max_session: Some(secs(40)), queue_lease: secs(100), ..Rules::default() });
    pool.visit(ANA).attach(ANA).at(secs(20)).pod_gone(0).at(secs(40));
    assert_eq!(pool.released(), [(ANA, Why::TimeUp)]);
    pool.pod_ready(0);
    assert_eq!(pool.place(ANA), Where::Unknown);
}

#[test]
fn the_visitor_can_be_warned_before_idle_and_before_time_is_up() {
    let rules = Rules { idle: Some(secs(100)), max_session: Some(secs(250)), ..Rules::default() };
    let mut pool = Story::running(1, rules.clone());
    pool.visit(ANA);
    let start = pool.clock();
    assert_eq!(pool.session(ANA).ends(&rules), None, "a visitor that has not attached yet is not warned");
    pool.attach(ANA);
    assert_eq!(pool.session(ANA).ends(&rules), Some((start + secs(100), Why::Idle)));
    pool.at(secs(99)).active(ANA).at(secs(180)).active(ANA);
    assert_eq!(pool.session(ANA).ends(&rules), Some((start + secs(250), Why::TimeUp)));
    pool.detach(ANA);
    assert_eq!(pool.session(ANA).ends(&rules), Some((start + secs(250), Why::TimeUp)));
}

#[test]
fn a_session_may_be_extended_within_the_limit() {
    let rules =
        Rules { max_session: Some(secs(100)), warn_before: secs(60), extend_limit: secs(100), ..Rules::default() };
    let mut pool = Story::running(1, rules.clone());
    pool.visit(ANA).attach(ANA);
    let start = pool.clock();
    pool.extend(ANA);
    assert_eq!(pool.session(ANA).ends(&rules), Some((start + secs(160), Why::TimeUp)));
    pool.extend(ANA).extend(ANA);
    assert_eq!(pool.session(ANA).ends(&rules), Some((start + secs(200), Why::TimeUp)));
    pool.at(secs(200));
    assert_eq!(pool.released(), [(ANA, Why::TimeUp)]);
}

#[test]
fn extending_counts_as_activity() {
    let mut pool = Story::running(1, Rules { idle: Some(secs(100)), ..Rules::default() });
    pool.visit(ANA).attach(ANA).at(secs(90)).extend(ANA).at(secs(189));
    assert_eq!(pool.place(ANA), at_pod(0));
}

#[test]
fn a_session_cannot_be_extended_while_another_waits() {
    let mut pool = Story::running(1, Rules { max_session: Some(secs(100)), ..Rules::default() });
    pool.visit(ANA).attach(ANA).visit(BEN).at(secs(20)).active(BEN).extend(ANA);
    pool.at(secs(40)).active(BEN).at(secs(60)).active(BEN).at(secs(80)).active(BEN).at(secs(100));
    assert_eq!(pool.released(), [(ANA, Why::TimeUp)]);
}

#[test]
fn the_next_deadline_has_a_time_and_a_reason() {
    let mut pool = Story::with_pods(1);
    pool.rules(|r| r.idle = Some(secs(50)));
    let start = pool.clock();
    let expect = |pool: &Story, after: Millis, why: &str| {
        assert_eq!(pool.fleet.next_deadline(), Some((start + after, why)));
    };
    pool.visit(ANA);
    expect(&pool, secs(60), "no_show");
    pool.attach(ANA);
    expect(&pool, secs(50), "idle");
    pool.detach(ANA);
    expect(&pool, secs(30), "disconnected");
    pool.leave(ANA);
    expect(&pool, secs(300), "cooldown");
    pool.at(secs(300)).pod_terminating(0);
    assert_eq!(pool.fleet.next_deadline(), Some((pool.clock() + secs(600), "stuck")));
    pool.pod_gone(0);
    assert_eq!(pool.fleet.next_deadline(), None, "a pool without pods and sessions has no deadline");
}

#[test]
fn a_duration_of_0_is_raised_to_the_shortest_one() {
    let none = Millis::ZERO;
    let rules = Rules {
        queue_lease: none,
        claim: none,
        grace: none,
        idle: Some(none),
        max_session: Some(none),
        stuck_after: none,
        silence: none,
        cooldown: none,
        ..Rules::default()
    };
    let mut pool = Story::asleep(rules);
    pool.visit(ANA);
    pool.jump_to(Time(pool.clock().0 + 1)).tick();
    assert_eq!(pool.released(), [(ANA, Why::LeftQueue)]);
    assert_eq!(pool.desired(), (0, 0));
}

#[test]
fn reasons_are_words() {
    let words: Vec<&str> = Why::ALL.iter().map(|w| w.word()).collect();
    assert_eq!(
        words,
        ["left_queue", "no_show", "disconnected", "idle", "time_up", "left", "kicked", "pod_lost", "pool_removed"]
    );
    for why in Why::ALL {
        assert_eq!(serde_json::to_string(&why).expect("a word"), format!("{:?}", why.word()));
    }
}
