//! Where a session is placed, where it is never placed, and what happens between two sessions.

use crate::story::*;
use slotkeeper_core::{AfterSession, Command, Phase, Placement, Rules, Why};

fn recycling(pods: u32) -> Story {
    // Its pods appear after the journal began, so their history is known.
    let mut pool = Story::new(Rules { max: pods, after_session: AfterSession::Recycle, ..Rules::default() });
    pool.list(&[]).scale_seen(pods, 0);
    for ordinal in 0..pods {
        pool.pod_ready(ordinal);
    }
    pool.effects();
    pool
}

#[test]
fn packing_takes_the_lowest_ordinal_until_it_is_full() {
    let mut pool = Story::running(2, Rules { max: 2, slots_per_pod: 2, ..Rules::default() });
    pool.visit(ANA).visit(BEN).visit(CAT);
    assert_eq!([ANA, BEN, CAT].map(|s| pool.place(s)), [0, 0, 1].map(Where::At));
}

#[test]
fn spreading_takes_the_emptiest() {
    let rules =
        Rules { max: 2, slots_per_pod: 2, placement: Placement::Spread, sticky_storage: false, ..Rules::default() };
    let mut pool = Story::running(2, rules);
    pool.visit(ANA).visit(BEN).visit(CAT);
    assert_eq!([ANA, BEN, CAT].map(|s| pool.place(s)), [0, 1, 0].map(Where::At));
    pool.leave(BEN).visit(DAN);
    assert_eq!(pool.place(DAN), at_pod(1));
}

#[test]
fn no_session_is_placed_on_a_pod_that_is_not_ready() {
    let mut pool = Story::new(Rules { max: 4, ..Rules::default() });
    pool.list(&[]).scale_seen(4, 0);
    pool.pod(0, Phase::Pending { why: "no node has a GPU".into() }).pod(1, Phase::Starting).pod(2, Phase::Unready);
    pool.pod(3, failed()).visit(ANA);
    assert_eq!(pool.place(ANA), Where::Queued(0));
    pool.pod_ready(2);
    assert_eq!(pool.place(ANA), at_pod(2));
}

#[test]
fn a_pod_that_is_unready_for_a_while_keeps_its_sessions_and_gets_no_others() {
    let mut pool = Story::running(1, Rules { slots_per_pod: 2, ..Rules::default() });
    pool.visit(ANA).attach(ANA).pod(0, Phase::Unready).visit(BEN);
    assert_eq!((pool.place(ANA), pool.place(BEN)), (at_pod(0), Where::Queued(0)));
    pool.pod_ready(0);
    assert_eq!(pool.place(BEN), at_pod(0));
}

#[test]
fn no_session_is_placed_on_a_terminating_pod_even_if_it_is_reported_ready_again() {
    let mut pool = Story::with_pods(1);
    pool.pod_terminating(0).visit(ANA).pod_ready(0);
    assert_eq!(pool.place(ANA), Where::Queued(0));
    pool.pod_replaced(0);
    assert_eq!(pool.place(ANA), at_pod(0));
}

#[test]
fn a_terminating_pod_keeps_attached_sessions_and_loses_those_without_streams() {
    let mut pool = Story::running(1, Rules { slots_per_pod: 2, max: 2, ..Rules::default() });
    pool.visit(ANA).attach(ANA).visit(BEN).pod_terminating(0);
    assert_eq!((pool.place(ANA), pool.place(BEN)), (at_pod(0), Where::Queued(0)));
    pool.detach(ANA);
    assert_eq!([ANA, BEN].map(|s| pool.place(s)), [1, 0].map(Where::Queued));
}

#[test]
fn no_session_is_placed_on_a_cordoned_pod_and_its_sessions_stay() {
    let mut pool = Story::running(1, Rules { slots_per_pod: 2, max: 1, ..Rules::default() });
    pool.visit(ANA).attach(ANA).cordon(0).visit(BEN);
    assert_eq!((pool.place(ANA), pool.place(BEN)), (at_pod(0), Where::Queued(0)));
    pool.uncordon(0);
    assert_eq!(pool.place(BEN), at_pod(0));
}

#[test]
fn a_cordon_stays_when_the_incarnation_is_replaced() {
    let mut pool = Story::with_pods(1);
    pool.cordon(0).pod_replaced(0).visit(ANA);
    assert_eq!(pool.place(ANA), Where::Queued(0));
}

#[test]
fn with_keep_the_next_session_gets_the_same_incarnation() {
    let mut pool = Story::with_pods(1);
    pool.visit(ANA).attach(ANA).leave(ANA).detach(ANA).visit(BEN);
    assert_eq!(pool.place(BEN), at_pod(0));
    assert_eq!(pool.recycled(), NO_PODS);
}

#[test]
fn with_recycle_no_session_is_placed_before_there_is_a_new_incarnation() {
    let mut pool = recycling(1);
    pool.visit(ANA).attach(ANA).visit(BEN).leave(ANA);
    assert_eq!(pool.recycled(), NO_PODS, "not while streams are still open");
    pool.detach(ANA);
    assert_eq!(pool.recycled(), [0]);
    assert_eq!((pool.place(BEN), pool.owed_recycles()), (Where::Queued(0), vec![0]));
    pool.pod_terminating(0);
    assert_eq!(pool.owed_recycles(), NO_PODS);
    pool.pod_replaced(0);
    assert_eq!(pool.place(BEN), at_pod(0));
}

#[test]
fn a_no_show_does_not_make_a_pod_dirty() {
    let mut pool = recycling(1);
    pool.visit(ANA).at(secs(60)).visit(BEN);
    assert_eq!(pool.place(BEN), at_pod(0));
}

#[test]
fn a_no_show_after_a_lost_pod_does_not_make_a_pod_dirty_either() {
    let mut pool = recycling(2);
    pool.visit(ANA).attach(ANA).pod_gone(0);
    assert_eq!(pool.place(ANA), at_pod(1));
    pool.at(secs(60));
    assert_eq!(pool.released(), [(ANA, Why::NoShow)]);
    pool.visit(BEN);
    assert_eq!(pool.place(BEN), at_pod(1));
}

#[test]
fn a_dirty_shared_pod_gets_no_new_session_and_is_recycled_when_the_last_one_has_left() {
    let rules = Rules { max: 2, slots_per_pod: 2, after_session: AfterSession::Recycle, ..Rules::default() };
    let mut pool = Story::asleep(rules);
    pool.visit(ANA).visit(BEN).scale_done().pod_ready(0).attach(ANA).attach(BEN);
    pool.leave(ANA).detach(ANA).visit(CAT);
    assert_eq!(pool.place(CAT), Where::Queued(0));
    assert_eq!(pool.recycled(), NO_PODS);
    assert_eq!(pool.needed(), 2, "the queue does not count on Ben's end: that may take hours");
    pool.leave(BEN).detach(BEN);
    assert_eq!(pool.recycled(), [0]);
}

#[test]
fn a_pod_that_already_ran_when_the_journal_began_is_dirty() {
    let mut pool = Story::new(Rules { max: 2, after_session: AfterSession::Recycle, ..Rules::default() });
    pool.scale_seen(2, 0).list(&[0]).visit(ANA);
    assert_eq!(pool.recycled(), [0]);
    assert_eq!(pool.place(ANA), Where::Queued(0));
    pool.pod_ready(1);
    assert_eq!(pool.place(ANA), at_pod(1), "this one appeared later");
}

#[test]
fn a_pod_observed_as_ready_before_the_first_list_is_dirty_too() {
    let mut pool = Story::new(Rules { after_session: AfterSession::Recycle, ..Rules::default() });
    pool.scale_seen(1, 0).pod_ready(0).visit(ANA);
    assert_eq!(pool.place(ANA), Where::Queued(0));
    assert_eq!(pool.recycled(), [0]);
}

#[test]
fn with_keep_a_lost_journal_does_not_recycle_pods() {
    let mut pool = Story::new(Rules::default());
    pool.scale_seen(1, 0).list(&[0]).visit(ANA);
    assert_eq!(pool.place(ANA), at_pod(0));
}

#[test]
fn a_pod_used_under_keep_is_dirty_when_the_rule_becomes_recycle_and_clean_when_it_is_keep_again() {
    let mut pool = Story::with_pods(1);
    pool.visit(ANA).attach(ANA).leave(ANA).detach(ANA);
    pool.rules(|r| r.after_session = AfterSession::Recycle).visit(BEN);
    assert_eq!((pool.place(BEN), pool.owed_recycles()), (Where::Queued(0), vec![0]));
    pool.rules(|r| r.after_session = AfterSession::Keep);
    assert_eq!((pool.place(BEN), pool.owed_recycles()), (at_pod(0), vec![]));
}

#[test]
fn no_session_is_placed_on_a_retiring_pod() {
    let mut pool = Story::with_pods(2);
    pool.visit(ANA).attach(ANA).at(secs(300));
    assert_eq!(pool.desired(), (0, 1));
    pool.visit_with_hint(BEN, 1);
    assert_eq!(pool.place(BEN), Where::Queued(0), "pod 1 may be deleted at any moment");
}

#[test]
fn a_pod_outside_desired_gets_no_session() {
    let mut pool = Story::asleep(Rules { max: 3, ..Rules::default() });
    pool.visit(ANA).pod_ready(2);
    assert_eq!(pool.place(ANA), Where::Queued(0));
}

#[test]
fn an_attach_without_a_slot_has_no_effect() {
    let mut pool = Story::asleep(Rules::default());
    pool.visit(ANA).attach(ANA);
    assert_eq!(pool.place(ANA), Where::Queued(0));
    pool.say(Command::Detach { session: ANA });
    assert_eq!(pool.place(ANA), Where::Queued(0));
}
