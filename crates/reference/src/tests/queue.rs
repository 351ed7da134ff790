//! The order of waiting visitors, and their positions.

use super::*;

/// Both pods are taken; Cem waits.
fn line() -> Story {
    let mut story = full(Watch::Snapshots);
    story.sign(CEM).waits(CEM, 0).snapshot().pass(1_000);
    story
}

#[test]
fn a_waiting_visitor_that_is_overtaken_is_found() {
    line().sign("dia").waits("dia", 0).waits(CEM, 1).snapshot().finds(Rule::Position);
    line().sign("dia").waits("dia", 1).waits(CEM, 0).snapshot().lawful();
}

#[test]
fn a_visitor_that_lost_its_pod_comes_first() {
    let mut story = line();
    story.pod("p1", 1, PodState::Gone).waits(BEN, 0).waits(CEM, 1).snapshot().lawful();
    let mut story = line();
    story.pod("p1", 1, PodState::Gone).waits(BEN, 1).waits(CEM, 0).snapshot().finds(Rule::Position);
}

#[test]
fn a_visitor_placed_before_one_that_came_earlier_is_found() {
    let mut story = line();
    story.sign("dia").waits("dia", 1).snapshot().pass(1_000);
    story.closed(ANA, 1).see(Observation::Leaves { visitor: ANA.into() }).ended(ANA, Reason::Left);
    story.told(ANA, Answer::Unknown).seat("dia", "p0").snapshot().finds(Rule::Position);
}

#[test]
fn a_waiting_visitor_with_heartbeats_is_not_dropped() {
    line().pass(28_999).ended(CEM, Reason::LeftQueue).finds(Rule::Position);
    line().pass(29_000).sign(CEM).pass(29_000).ended(CEM, Reason::LeftQueue).finds(Rule::Position);
    line().pass(30_000).ended(CEM, Reason::LeftQueue).lawful();
    line().told(CEM, Answer::Unknown).finds(Rule::Position);
}

#[test]
fn over_time_a_later_visitor_that_is_served_first_is_found() {
    let mut story = full(Watch::Events);
    story.sign(CEM).waits(CEM, 0).pass(1_000).sign("dia").pass(1_000);
    story.see(Observation::Leaves { visitor: ANA.into() }).seat("dia", "p0").pass(1_000);
    story.sign(CEM).waits(CEM, 0).finds(Rule::Position);
}

#[test]
fn over_time_a_position_that_falls_back_is_found_unless_a_pod_ended() {
    for gone in [false, true] {
        let mut story = full(Watch::Events);
        story.pass(200_000).sign(CEM).waits(CEM, 0).pass(1_000).sign(CEM);
        if gone {
            story.pod("p1", 1, PodState::Gone);
        }
        story.waits(CEM, 1);
        if gone { story.lawful() } else { story.finds(Rule::Position) }
    }
}

#[test]
fn over_time_a_visitor_that_was_away_for_a_lease_may_have_lost_its_position() {
    for connected in [false, true] {
        let mut story = full(Watch::Events);
        story.pass(1_000).sign(CEM).waits(CEM, 0).pass(40_000);
        if connected {
            let since = story.now - 40_000;
            story.see(Observation::Connected { visitor: CEM.into(), since });
        } else {
            story.sign(CEM);
        }
        story.ended(CEM, Reason::LeftQueue);
        if connected { story.finds(Rule::Position) } else { story.lawful() }
    }
}
