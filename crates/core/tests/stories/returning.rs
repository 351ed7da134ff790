//! Demand that returns while pods retire: when it is certain that they will not be deleted, and when it is not.

use crate::story::*;
use slotkeeper_core::{Command, Effect, Entry, Rules, Scaling, Timeline};

/// Two pods, of which pod 1 has just begun to retire; Ana is attached at pod 0.
fn one_retires(scaling: Scaling) -> Story {
    let mut pool = Story::running(2, Rules { max: 3, scaling, queue_lease: secs(5000), ..Rules::default() });
    pool.visit(ANA).attach(ANA).at(secs(300));
    assert_eq!((pool.desired(), pool.census().retiring), ((0, 1), 1));
    pool
}

fn direct() -> Story {
    one_retires(Rules::default().scaling)
}

fn keda() -> Story {
    one_retires(Scaling::Keda { settle: secs(20) })
}

fn decision(effects: Vec<Effect>) -> u64 {
    let scale = effects.into_iter().rev().find_map(|e| match e {
        Effect::Scale { decided, .. } => Some(decided.position),
        _ => None,
    });
    scale.expect("a scale was ordered")
}

#[test]
fn a_retiring_pod_returns_when_the_raised_number_has_been_read_from_the_cluster() {
    let mut pool = direct();
    pool.visit(BEN);
    assert_eq!((pool.place(BEN), pool.desired()), (Where::Queued(0), (0, 2)));
    pool.scale_done();
    assert_eq!(pool.place(BEN), at_pod(1));
    assert_eq!(pool.recycled(), NO_PODS);
}

#[test]
fn a_size_read_from_before_the_raise_proves_nothing_even_if_its_number_is_the_same() {
    let mut pool = direct();
    let lowered = decision(pool.effects());
    pool.visit(BEN).scale_seen(2, lowered);
    assert_eq!(pool.place(BEN), Where::Queued(0));
    let raised = decision(pool.owed());
    assert!(raised > lowered);
    pool.scale_seen(2, raised);
    assert_eq!(pool.place(BEN), at_pod(1));
}

#[test]
fn a_size_that_does_not_cover_the_pod_proves_nothing() {
    let mut pool = direct();
    pool.visit(BEN);
    let raised = decision(pool.effects());
    pool.scale_seen(1, raised);
    assert_eq!(pool.place(BEN), Where::Queued(0));
    pool.scale_seen(2, raised);
    assert_eq!(pool.place(BEN), at_pod(1));
}

#[test]
fn a_position_that_this_journal_never_had_proves_nothing() {
    let mut pool = direct();
    pool.visit(BEN).scale_seen(2, 1_000_000);
    assert_eq!(pool.place(BEN), Where::Queued(0));
    pool.scale_done();
    assert_eq!(pool.place(BEN), at_pod(1));
}

#[test]
fn a_pod_that_is_already_terminating_does_not_return_but_its_successor_does() {
    let mut pool = direct();
    pool.pod_terminating(1).visit(BEN).scale_done();
    assert_eq!(pool.place(BEN), Where::Queued(0));
    pool.pod_replaced(1);
    assert_eq!(pool.place(BEN), at_pod(1));
}

#[test]
fn a_new_incarnation_is_not_certain_either_before_the_raised_number_has_been_read() {
    let mut pool = direct();
    pool.visit(BEN).pod_replaced(1);
    assert_eq!(pool.place(BEN), Where::Queued(0), "the lower number may still take effect");
    pool.scale_done();
    assert_eq!(pool.place(BEN), at_pod(1));
}

#[test]
fn a_pod_that_is_uncertain_for_too_long_is_owed_a_recycle_and_its_successor_is_free() {
    let mut pool = keda();
    pool.scale_seen(1, 0).visit(BEN).served(2).at(secs(899));
    assert_eq!(pool.recycled(), NO_PODS);
    pool.at(secs(900));
    assert_eq!((pool.recycled(), pool.owed_recycles()), (vec![1], vec![1]));
    pool.pod_ready(1);
    assert_eq!(pool.owed_recycles(), [1], "readiness does not matter here");
    pool.pod_terminating(1).pod_replaced(1);
    assert_eq!(pool.place(BEN), at_pod(1));
}

#[test]
fn a_recycle_once_owed_stays_owed_even_if_the_pod_would_be_certain_now() {
    let mut pool = direct();
    pool.visit(BEN).at(secs(900));
    assert_eq!(pool.owed_recycles(), [1]);
    // A dispatcher may be deleting it at this moment.
    pool.scale_done();
    assert_eq!((pool.place(BEN), pool.owed_recycles()), (Where::Queued(0), vec![1]));
    pool.pod_terminating(1).pod_replaced(1);
    assert_eq!(pool.place(BEN), at_pod(1));
}

#[test]
fn a_pod_that_becomes_unready_while_uncertain_is_stuck_counting_from_when_it_was_wanted_again() {
    let mut pool = keda();
    pool.scale_seen(1, 0).visit(BEN).at(secs(600)).pod(1, slotkeeper_core::Phase::Unready).at(secs(899));
    assert_eq!(pool.recycled(), NO_PODS);
    pool.at(secs(900)).pod_ready(1);
    assert_eq!(pool.recycled(), [1]);
}

#[test]
fn keda_must_have_been_served_and_have_settled_and_still_cover_the_pod() {
    let mut pool = keda();
    pool.visit(BEN).at(secs(330));
    assert_eq!(pool.place(BEN), Where::Queued(0), "not served");
    pool.served(2).scale_seen(1, 0).at(secs(360));
    assert_eq!(pool.place(BEN), Where::Queued(0), "not covered");
    pool.scale_seen(2, 0);
    assert_eq!(pool.place(BEN), at_pod(1));
}

#[test]
fn settling_counts_from_the_first_time_the_raised_number_was_served() {
    let mut pool = keda();
    pool.visit(BEN).served(1).at(secs(310)).served(2).scale_seen(2, 0).at(secs(320)).served(2);
    assert_eq!(pool.fleet.next_deadline(), Some((pool.clock() + secs(10), "settle")));
    pool.at(secs(329));
    assert_eq!(pool.place(BEN), Where::Queued(0));
    pool.at(secs(330));
    assert_eq!(pool.place(BEN), at_pod(1));
}

#[test]
fn a_number_served_before_the_raise_settles_from_the_raise() {
    let mut pool = keda();
    pool.served(2).at(secs(310)).visit(BEN).at(secs(329));
    assert_eq!(pool.place(BEN), Where::Queued(0));
    pool.at(secs(330));
    assert_eq!(pool.place(BEN), at_pod(1));
}

#[test]
fn a_new_incarnation_under_keda_is_free_at_once() {
    let mut pool = keda();
    pool.visit(BEN).pod_replaced(1);
    assert_eq!(pool.place(BEN), at_pod(1));
}

#[test]
fn a_pod_that_retires_again_is_no_longer_stuck() {
    let mut pool = keda();
    pool.visit(BEN).at(secs(900));
    assert_eq!(pool.owed_recycles(), [1]);
    pool.leave(BEN).at(secs(1200));
    assert_eq!(pool.desired(), (0, 1));
    pool.visit(CAT);
    assert_eq!(pool.owed_recycles(), NO_PODS, "it returns again, and its clock starts again");
}

/// As `keda`, but all replicas know of pauses; Ben waits for pod 1.
fn pausing() -> Story {
    let mut pool = keda();
    pool.hello(Entry::SEMANTICS).served(1).scale_seen(2, 0).at(secs(400)).visit(BEN).after(secs(1));
    pool
}

#[test]
fn while_keda_cannot_scale_in_a_pod_returns_at_once() {
    let mut pool = pausing();
    assert_eq!(pool.place(BEN), Where::Queued(0), "a number from before may still be acted on");
    assert!(pool.awaits_pause());
    pool.scale_in_paused();
    assert_eq!(pool.place(BEN), at_pod(1));
    assert!(!pool.awaits_pause());
}

#[test]
fn the_pause_is_needed_until_the_raised_number_has_settled() {
    let mut pool = pausing();
    pool.scale_in_paused().leave(BEN).leave(ANA).detach(ANA);
    assert!(!pool.census().is_active() && pool.needs_pause(), "not served");
    pool.served(2).after(secs(19));
    assert!(pool.needs_pause());
    assert_eq!(
        pool.fleet.next_deadline(),
        Some((pool.clock() + secs(1), "pause")),
        "a replica has to write an entry then"
    );
    pool.after(secs(1)).tick();
    assert!(!pool.needs_pause(), "every number that KEDA may still act on covers the pod");
}

#[test]
fn the_pause_is_not_needed_for_pods_that_were_given_up_again() {
    let mut pool = pausing();
    pool.scale_in_paused().leave(BEN).leave(ANA).detach(ANA).after(secs(400));
    assert_eq!(pool.desired(), (0, 0));
    assert!(!pool.needs_pause());
}

#[test]
fn a_pause_that_was_observed_too_long_ago_proves_nothing() {
    let mut pool = pausing();
    let seen = pool.fleet.now();
    pool.after(secs(11)).scale_in_paused_at(seen);
    assert_eq!(pool.place(BEN), Where::Queued(0), "eleven seconds ago");
    let later = pool.fleet.now() + secs(1);
    pool.scale_in_paused_at(later);
    assert_eq!(pool.place(BEN), Where::Queued(0), "in the future");
    pool.scale_in_paused();
    assert_eq!(pool.place(BEN), at_pod(1));
}

#[test]
fn a_pause_that_was_observed_before_a_gap_in_fleet_time_proves_nothing() {
    let mut pool = pausing();
    let seen = pool.fleet.now();
    pool.gap(secs(60)).scale_in_paused_at(seen);
    assert_eq!(pool.place(BEN), Where::Queued(0));
    pool.after(secs(1)).scale_in_paused();
    assert_eq!(pool.place(BEN), at_pod(1));
}

#[test]
fn a_pause_proves_nothing_while_no_session_lives() {
    let mut pool = pausing();
    pool.leave(BEN).leave(ANA).detach(ANA).scale_in_paused().visit(CAT).visit(BEN);
    assert_eq!((pool.place(CAT), pool.place(BEN)), (at_pod(0), Where::Queued(0)));
}

#[test]
fn a_pause_proves_nothing_about_a_pod_that_the_size_does_not_cover() {
    let mut pool = pausing();
    pool.scale_seen(1, 0).scale_in_paused();
    assert_eq!(pool.place(BEN), Where::Queued(0));
    pool.scale_seen(2, 0).scale_in_paused();
    assert_eq!(pool.place(BEN), at_pod(1));
}

#[test]
fn a_pause_of_another_timeline_proves_nothing() {
    let mut pool = pausing();
    let at = pool.fleet.now();
    pool.say(Command::ScaleInPaused { at, timeline: Timeline(77) });
    assert_eq!(pool.place(BEN), Where::Queued(0));
}

#[test]
fn with_direct_scaling_a_pause_of_keda_proves_nothing() {
    let mut pool = direct();
    pool.hello(Entry::SEMANTICS).visit(BEN).scale_in_paused();
    assert_eq!(pool.place(BEN), Where::Queued(0));
}

/// As `keda`, but all replicas know of successors: pod 1 ends outside `desired`, after KEDA was served 1.
fn created_again() -> Story {
    let mut pool = keda();
    pool.hello(Entry::SEMANTICS).served(1).scale_seen(2, 0).after(secs(30)).pod_gone(1);
    pool
}

#[test]
fn a_successor_that_is_observed_after_demand_has_returned_waits_for_keda_too() {
    let mut pool = created_again();
    pool.visit(BEN).pod_ready(1);
    assert_eq!(pool.place(BEN), Where::Queued(0), "KEDA may still act on 1");
    pool.served(2).after(secs(19)).tick();
    assert_eq!(pool.place(BEN), Where::Queued(0));
    pool.after(secs(1)).tick();
    assert_eq!(pool.place(BEN), at_pod(1));
}

#[test]
fn so_does_the_successor_of_a_pod_that_was_returning() {
    let mut pool = keda();
    pool.hello(Entry::SEMANTICS).served(1).scale_seen(2, 0).visit(BEN).pod_replaced(1);
    assert_eq!(pool.place(BEN), Where::Queued(0));
    pool.scale_in_paused();
    assert_eq!(pool.place(BEN), at_pod(1));
}

#[test]
fn a_successor_does_not_wait_once_keda_has_settled() {
    let mut pool = created_again();
    pool.visit(BEN).served(2).after(secs(20)).pod_ready(1);
    assert_eq!(pool.place(BEN), at_pod(1));
}

#[test]
fn a_pod_that_keda_can_only_have_created_for_the_present_demand_is_used_at_once() {
    let mut pool = created_again();
    pool.scale_seen(1, 0).visit(BEN).scale_seen(2, 0).pod_ready(1);
    assert_eq!(pool.place(BEN), at_pod(1));
}

#[test]
fn a_higher_number_may_create_a_pod_until_keda_has_settled_on_the_lower_one() {
    for (passes, place) in [(19, Where::Queued(0)), (20, at_pod(1))] {
        let mut pool = keda();
        // The size that was read is older than the 2 on which KEDA may still act.
        pool.hello(Entry::SEMANTICS).served(2).served(1).pod_gone(1).scale_seen(1, 0).after(secs(passes));
        pool.visit(BEN).scale_seen(2, 0).pod_ready(1);
        assert_eq!(pool.place(BEN), place, "{passes} s");
    }
}

#[test]
fn older_replicas_use_a_successor_at_once() {
    let mut pool = keda();
    pool.hello(Entry::PAUSES).served(1).scale_seen(2, 0).after(secs(30)).pod_gone(1).visit(BEN).pod_ready(1);
    assert_eq!(pool.place(BEN), at_pod(1), "all replicas must act alike until the last one has been updated");
}

#[test]
fn numbers_that_all_cover_a_pod_settle_together() {
    let mut pool = created_again();
    pool.visit(BEN).served(2).after(secs(10)).served(3).after(secs(9)).pod_ready(1);
    assert_eq!(pool.place(BEN), Where::Queued(0));
    pool.served(2).after(secs(1)).tick();
    assert_eq!(pool.place(BEN), at_pod(1), "for 20 s, KEDA was served no number that does not cover it");
}
