//! The queue: order, classes, positions, its limit, and estimates of the wait.

use crate::story::*;
use slotkeeper_core::{Effect, Entry, Millis, Ordinal, Rules, SessionId, Why};

#[test]
fn first_come_first_served() {
    let mut pool = Story::with_pods(1);
    pool.visit(ANA).visit(BEN).visit(CAT).visit(DAN);
    assert_eq!([pool.place(BEN), pool.place(CAT), pool.place(DAN)], [0, 1, 2].map(Where::Queued));
    pool.leave(CAT);
    assert_eq!([pool.place(BEN), pool.place(DAN)], [0, 1].map(Where::Queued));
    pool.leave(ANA);
    assert_eq!((pool.place(BEN), pool.place(DAN)), (at_pod(0), Where::Queued(0)));
}

#[test]
fn visiting_again_does_not_change_the_place_in_the_queue() {
    let mut pool = Story::asleep(Rules::default());
    pool.visit(ANA).visit(BEN).visit(ANA).visit_in_class(BEN, 0);
    assert_eq!(pool.line(), [ANA, BEN]);
}

#[test]
fn a_lower_class_comes_first_and_within_a_class_the_earlier_session() {
    let mut pool = Story::asleep(Rules::default());
    pool.visit_in_class(ANA, 2).visit_in_class(BEN, 1).visit_in_class(CAT, 1).visit_in_class(DAN, 0);
    assert_eq!(pool.line(), [DAN, BEN, CAT, ANA]);
    assert_eq!(pool.place(ANA), Where::Queued(3));
}

#[test]
fn a_full_queue_turns_new_sessions_away() {
    let mut pool = Story::asleep(Rules { queue_limit: 2, ..Rules::default() });
    pool.visit(ANA).visit(BEN).visit(CAT);
    assert_eq!(pool.place(CAT), Where::Unknown);
    pool.visit(ANA);
    assert_eq!(pool.place(ANA), Where::Queued(0), "a session that is already queued stays there");
    pool.leave(BEN).visit(CAT);
    assert_eq!(pool.place(CAT), Where::Queued(1));
}

#[test]
fn a_pool_is_full_when_no_new_session_can_join() {
    let mut pool = Story::running(1, Rules { queue_limit: 1, ..Rules::default() });
    let id = pool.pool_id();
    pool.visit(ANA);
    assert!(!pool.fleet.is_full(&id), "there is still room in the line");
    pool.visit(BEN);
    assert!(pool.fleet.is_full(&id));
    pool.leave(ANA);
    assert!(!pool.fleet.is_full(&id));
    assert!(pool.fleet.is_full(&"nowhere".into()), "a pool that does not exist cannot be joined");
}

#[test]
fn with_a_queue_limit_of_0_free_slots_are_still_used() {
    let mut pool = Story::running(1, Rules { queue_limit: 0, ..Rules::default() });
    pool.visit(ANA).visit(BEN);
    assert_eq!((pool.place(ANA), pool.place(BEN)), (at_pod(0), Where::Unknown));
}

#[test]
fn a_session_that_lost_its_pod_goes_to_the_front_and_that_is_reported() {
    let mut pool = Story::with_pods(1);
    pool.visit(ANA).attach(ANA).visit_in_class(BEN, 0).visit(CAT);
    pool.effects();
    pool.pod_gone(0);
    assert_eq!(pool.line(), [ANA, BEN, CAT]);
    assert!(pool.effects().contains(&Effect::Requeued { session: ANA, pod: Ordinal(0) }));
    pool.pod_ready(0);
    assert_eq!(pool.place(ANA), at_pod(0));
}

#[test]
fn a_full_queue_still_takes_a_session_that_lost_its_pod() {
    let mut pool = Story::running(1, Rules { queue_limit: 1, ..Rules::default() });
    pool.visit(ANA).attach(ANA).visit(BEN).pod_gone(0);
    assert_eq!(pool.line(), [ANA, BEN]);
}

#[test]
fn a_session_that_lost_its_pod_prefers_the_successor_even_without_sticky_storage() {
    let mut pool = Story::running(2, Rules { max: 2, sticky_storage: false, ..Rules::default() });
    pool.visit(ANA).attach(ANA).visit(BEN).attach(BEN).pod_gone(0).pod_gone(1).leave(ANA);
    assert_eq!(pool.place(BEN), Where::Queued(0));
    pool.list(&[0, 1]);
    assert_eq!(pool.place(BEN), at_pod(1));
}

#[test]
fn a_session_that_lost_its_pod_does_not_wait_for_its_ordinal_if_another_is_free() {
    let mut pool = Story::with_pods(2);
    pool.visit_with_hint(ANA, 1).attach(ANA).pod_gone(1);
    assert_eq!(pool.place(ANA), at_pod(0));
}

#[test]
fn a_session_that_lost_its_pod_and_never_returns_ends_with_pod_lost() {
    let mut pool = Story::with_pods(1);
    pool.visit(ANA).attach(ANA).pod_gone(0).detach(ANA).at(secs(30));
    assert_eq!(pool.released(), [(ANA, Why::PodLost)]);
}

#[test]
fn a_wait_without_samples_has_no_estimate() {
    let mut pool = Story::asleep(Rules::default());
    pool.visit(ANA).visit(BEN);
    assert_eq!((pool.estimate(ANA), pool.estimate(BEN)), (None, None));
}

#[test]
fn a_cold_start_is_estimated_by_the_median_of_those_before() {
    let mut pool = Story::asleep(Rules { cooldown: secs(1), ..Rules::default() });
    for took in [8, 10, 40] {
        pool.visit(ANA).after(secs(took)).active(ANA).scale_done().pod_ready(0);
        pool.leave(ANA).after(secs(1)).scale_done().pod_gone(0);
    }
    pool.visit(ANA);
    assert_eq!(pool.estimate(ANA), Some(secs(10)));
    pool.after(secs(4));
    assert_eq!(pool.estimate(ANA), Some(secs(6)));
    pool.after(secs(8));
    assert_eq!(pool.estimate(ANA), Some(secs(28)), "then by the longest one");
    pool.active(ANA).after(secs(20)).active(ANA).after(secs(10));
    assert_eq!(pool.estimate(ANA), None, "then it is unknown");
}

#[test]
fn a_cold_start_is_measured_from_the_moment_it_was_wanted_even_if_the_first_try_fails() {
    let mut pool = Story::asleep(Rules::default());
    pool.visit(ANA).after(secs(5)).pod(0, slotkeeper_core::Phase::Starting).after(secs(5)).pod_gone(0);
    pool.effects();
    pool.after(secs(5)).scale_done().pod_ready(0);
    assert!(pool.effects().contains(&Effect::Started { pod: Ordinal(0), took: secs(15) }));
}

#[test]
fn behind_a_full_pool_the_rate_of_releases_is_the_estimate_once_there_were_four() {
    let mut pool = Story::with_pods(1);
    pool.visit(SessionId(100));
    for n in 100..103 {
        pool.visit(SessionId(n + 1)).after(secs(12)).leave(SessionId(n));
    }
    pool.visit(ANA).visit(BEN);
    assert_eq!(pool.estimate(ANA), None, "three are not enough");
    pool.after(secs(12)).active(ANA).active(BEN).visit(CAT).leave(SessionId(103));
    assert_eq!(pool.place(ANA), at_pod(0));
    let one = pool.estimate(BEN).expect("four are enough");
    assert!((secs(8)..=secs(13)).contains(&one), "{one:?}");
    assert_eq!(pool.estimate(CAT), Some(Millis(one.0 * 2)));
}

/// Two sessions whose pods end together; Ben's ends first.
fn both_lost(speaks: u32) -> Story {
    let mut pool = Story::running(2, Rules { max: 2, ..Rules::default() });
    pool.hello(speaks).scale_done().visit(ANA).attach(ANA).visit(BEN).attach(BEN);
    assert_eq!((pool.place(ANA), pool.place(BEN)), (at_pod(0), at_pod(1)));
    pool.pod_gone(1).pod_gone(0);
    assert_eq!(pool.line(), [BEN, ANA]);
    pool
}

#[test]
fn sessions_whose_pods_end_together_return_to_their_own_ordinals() {
    let mut pool = both_lost(Entry::RETURNS);
    pool.pod_ready(0);
    assert_eq!((pool.place(ANA), pool.place(BEN)), (at_pod(0), Where::Queued(0)));
    pool.pod_ready(1);
    assert_eq!(pool.place(BEN), at_pod(1));
}

#[test]
fn the_first_session_gets_the_ordinal_of_one_that_has_left() {
    let mut pool = both_lost(Entry::RETURNS);
    pool.leave(ANA).pod_ready(0);
    assert_eq!(pool.place(BEN), at_pod(0));
}

#[test]
fn ordinals_are_assigned_by_the_semantics_of_the_oldest_dispatcher() {
    let mut pool = both_lost(Entry::TIMELINES);
    pool.pod_ready(0);
    assert_eq!((pool.place(ANA), pool.place(BEN)), (Where::Queued(0), at_pod(0)));
}

#[test]
fn the_successor_of_a_terminating_pod_that_has_failed_is_not_awaited() {
    for (speaks, place) in [(Entry::TIMELINES, Where::Queued(0)), (Entry::RETURNS, at_pod(2))] {
        let mut pool = Story::running(2, Rules { max: 3, ..Rules::default() });
        pool.hello(speaks).scale_done().visit(ANA).attach(ANA).visit(BEN).attach(BEN).pod_terminating(0).detach(ANA);
        assert_eq!((pool.place(ANA), pool.desired()), (Where::Queued(0), (0, 2)), "its successor is awaited");
        pool.pod(0, failed()).pod_ready(2);
        if speaks >= Entry::RETURNS {
            assert_eq!(pool.desired(), (0, 3), "another pod in its place");
            pool.scale_done();
        }
        assert_eq!(pool.place(ANA), place);
        // If the pod's node becomes reachable again, the pod ends after all, and its successor is like any other.
        pool.leave(ANA).pod_ready(0).visit(CAT);
        assert_ne!(pool.place(CAT), at_pod(0), "it is still the same incarnation");
        pool.pod_replaced(0).leave(CAT).visit(DAN);
        assert_eq!(pool.place(DAN), at_pod(0));
    }
}
