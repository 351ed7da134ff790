//! How many pods: needed, desired, spare, the window.

use crate::story::*;
use slotkeeper_core::{Command, Effect, Phase, Rules, Scaling, SessionId, Spare, Window};

fn up_to(max: u32) -> Rules {
    Rules { max, ..Rules::default() }
}

fn sliding(max: u32) -> Rules {
    Rules { scaling: Scaling::Direct { window: Window::Sliding }, cooldown: secs(60), ..up_to(max) }
}

/// `n` sessions that are attached.
fn crowd(pool: &mut Story, n: u128) {
    for id in 100..100 + n {
        pool.visit(SessionId(id)).attach(SessionId(id));
    }
}

#[test]
fn an_unused_pool_wants_no_pods() {
    let pool = Story::asleep(up_to(5));
    assert_eq!((pool.needed(), pool.desired()), (0, (0, 0)));
    assert!(!pool.census().is_active());
}

#[test]
fn every_waiting_session_needs_a_slot_but_no_more_than_max_pods() {
    let mut pool = Story::asleep(up_to(2));
    pool.visit(ANA);
    assert_eq!(pool.desired(), (0, 1));
    pool.visit(BEN).visit(CAT);
    assert_eq!(pool.desired(), (0, 2));
}

#[test]
fn many_waiting_sessions_share_the_slots_of_a_pod() {
    let mut pool = Story::asleep(Rules { slots_per_pod: 3, ..up_to(5) });
    pool.visit(ANA).visit(BEN).visit(CAT);
    assert_eq!(pool.desired(), (0, 1));
    pool.visit(DAN);
    assert_eq!(pool.desired(), (0, 2));
}

#[test]
fn the_floor_is_above_the_highest_busy_ordinal() {
    let mut pool = Story::running(5, up_to(5));
    pool.visit_with_hint(ANA, 4).attach(ANA).at(secs(1000));
    assert_eq!((pool.needed(), pool.desired()), (5, (0, 5)), "a StatefulSet removes from the top");
    pool.leave(ANA);
    assert_eq!(pool.needed(), 5, "an ending slot is busy");
    pool.detach(ANA);
    assert_eq!(pool.needed(), 0);
}

#[test]
fn free_slots_below_the_floor_count_for_waiting_sessions() {
    let mut pool = Story::asleep(up_to(5));
    pool.visit(ANA).visit(BEN).visit(CAT).scale_done().pod_ready(2);
    assert_eq!(pool.place(ANA), at_pod(2));
    assert_eq!(pool.needed(), 3, "ordinals 0 and 1 are enough for the other two");
}

#[test]
fn min_pods_are_kept_even_without_sessions() {
    let mut pool = Story::asleep(Rules { min: 2, ..up_to(5) });
    assert_eq!(pool.desired(), (0, 2));
    pool.at(secs(1000));
    assert_eq!(pool.desired(), (0, 2));
}

#[test]
fn a_lowered_max_ends_no_session() {
    let mut pool = Story::running(4, Rules { cooldown: secs(10), ..up_to(4) });
    crowd(&mut pool, 4);
    pool.rules(|r| r.max = 1).at(secs(100));
    assert_eq!(pool.desired(), (0, 4));
    pool.leave(SessionId(103)).detach(SessionId(103)).at(secs(120));
    assert_eq!(pool.desired(), (0, 3), "above max there is no cooldown");
    pool.leave(SessionId(100)).detach(SessionId(100)).visit(ANA);
    assert_eq!(pool.place(ANA), at_pod(0));
}

#[test]
fn desired_is_the_highest_need_over_the_last_cooldown() {
    let mut pool = Story::running(3, up_to(3));
    crowd(&mut pool, 3);
    pool.at(secs(10)).leave(SessionId(102)).detach(SessionId(102));
    pool.at(secs(100)).leave(SessionId(101)).detach(SessionId(101));
    pool.at(secs(309));
    assert_eq!((pool.needed(), pool.desired()), (1, (0, 3)));
    pool.at(secs(310));
    assert_eq!(pool.desired(), (0, 2));
    pool.at(secs(399));
    assert_eq!(pool.desired(), (0, 2));
    pool.at(secs(400));
    assert_eq!(pool.desired(), (0, 1));
}

#[test]
fn a_repeated_need_restarts_the_cooldown() {
    let mut pool = Story::running(2, up_to(2));
    pool.visit(ANA).attach(ANA).at(secs(200)).visit(BEN).at(secs(210)).leave(BEN).at(secs(509));
    assert_eq!(pool.desired(), (0, 2));
    pool.at(secs(510));
    assert_eq!(pool.desired(), (0, 1));
}

#[test]
fn the_entry_that_lowers_desired_retires_pods_in_the_same_step() {
    let mut pool = Story::with_pods(2);
    pool.visit(ANA).attach(ANA).at(secs(299));
    assert_eq!((pool.census().retiring, pool.census().free_slots), (0, 1));
    pool.effects();
    pool.at(secs(300));
    assert_eq!((pool.census().retiring, pool.census().free_slots), (1, 0));
    let effects = pool.effects();
    assert!(matches!(effects[..], [Effect::Scale { start: 0, replicas: 1, .. }]), "{effects:?}");
}

#[test]
fn a_pool_wants_no_pods_cooldown_after_its_last_session() {
    let mut pool = Story::asleep(Rules::default());
    pool.visit(ANA).scale_done().pod_ready(0).attach(ANA).at(secs(100)).leave(ANA).detach(ANA);
    pool.at(secs(399));
    assert_eq!(pool.desired(), (0, 1));
    pool.at(secs(400));
    assert_eq!(pool.desired(), (0, 0));
    pool.scale_done().pod_terminating(0).pod_gone(0);
    assert!(pool.owed().is_empty());
}

#[test]
fn spare_slots_are_kept_in_addition_to_busy_ones() {
    let mut pool = Story::asleep(Rules { spare: Spare::Slots(2), ..up_to(5) });
    assert_eq!(pool.desired(), (0, 2));
    pool.scale_done().pod_ready(0).pod_ready(1).visit(ANA);
    assert_eq!((pool.place(ANA), pool.desired()), (at_pod(0), (0, 3)));
}

#[test]
fn a_percentage_of_spare_slots_is_rounded_up_and_is_0_without_sessions() {
    let mut pool = Story::asleep(Rules { spare: Spare::Percent(50), slots_per_pod: 2, ..up_to(9) });
    assert_eq!(pool.desired(), (0, 0));
    pool.visit(ANA).scale_done().pod_ready(0);
    assert_eq!(pool.needed(), 1, "one busy slot wants one spare, and the pod has it");
    pool.visit(BEN).visit(CAT).scale_done().pod_ready(1);
    assert_eq!(pool.needed(), 3, "three busy slots want two, and one is left");
}

#[test]
fn the_schedule_changes_the_spare_slots() {
    let mut pool = Story::asleep(up_to(5));
    pool.say(Command::Schedule(Spare::Slots(3)));
    assert_eq!(pool.desired(), (0, 3));
    pool.say(Command::Schedule(Spare::Slots(0))).at(secs(300));
    assert_eq!(pool.desired(), (0, 0));
}

#[test]
fn a_failed_pod_0_is_not_counted_on() {
    let mut pool = Story::asleep(up_to(3));
    pool.visit(ANA).scale_done().pod(0, failed());
    assert_eq!(pool.needed(), 2);
    pool.scale_done().pod_ready(1);
    assert_eq!(pool.place(ANA), at_pod(1));
}

#[test]
fn a_pod_that_is_pending_for_too_long_is_not_counted_on_until_it_is_ready_after_all() {
    let mut pool = Story::asleep(Rules { queue_lease: secs(5000), ..up_to(3) });
    pool.visit(ANA).visit(BEN).scale_done().pod(0, Phase::Pending { why: "no node".into() });
    pool.pod(1, Phase::Starting).at(secs(599));
    assert_eq!(pool.needed(), 2);
    pool.at(secs(600));
    assert_eq!(pool.needed(), 3, "neither 0 nor 1 counts, and there are only three");
    pool.pod_ready(0);
    assert_eq!(pool.place(ANA), at_pod(0));
}

#[test]
fn a_cordoned_pod_is_not_counted_on() {
    let mut pool = Story::running(1, up_to(3));
    pool.cordon(0).visit(ANA);
    assert_eq!(pool.needed(), 2);
}

#[test]
fn an_unused_pool_with_a_failed_pod_wants_no_pods() {
    let mut pool = Story::asleep(up_to(3));
    pool.visit(ANA).scale_done().pod(0, failed()).leave(ANA).at(secs(300));
    assert_eq!((pool.needed(), pool.desired()), (0, (0, 0)));
}

#[test]
fn a_terminating_pod_counts_for_its_successor_until_it_is_stuck() {
    let mut pool = Story::running(1, Rules { queue_lease: secs(5000), ..up_to(2) });
    pool.pod_terminating(0).visit(ANA);
    assert_eq!(pool.needed(), 1);
    pool.at(secs(600));
    assert_eq!(pool.needed(), 2);
}

#[test]
fn a_running_pool_that_is_first_observed_does_not_shrink_before_the_cooldown() {
    let mut pool = Story::new(up_to(5));
    pool.visit(ANA).list(&[0, 1, 2]);
    assert!(pool.effects().is_empty(), "a size that has not been read is not overwritten");
    assert_eq!(pool.place(ANA), Where::Queued(0));
    pool.scale_seen(3, 0);
    assert_eq!((pool.place(ANA), pool.desired()), (at_pod(0), (0, 3)));
    pool.visit(BEN);
    assert_eq!(pool.place(BEN), at_pod(1));
    pool.attach(ANA).attach(BEN).at(secs(299));
    assert_eq!((pool.desired(), pool.owed()), ((0, 3), vec![]));
    pool.at(secs(300));
    assert_eq!(pool.desired(), (0, 2));
}

#[test]
fn a_size_decided_before_the_first_one_was_read_is_ordered_then() {
    let mut pool = Story::new(Rules { min: 2, ..up_to(5) });
    pool.list(&[]);
    assert!(pool.effects().is_empty());
    pool.scale_seen(0, 0);
    let effects = pool.effects();
    assert!(matches!(effects[..], [Effect::Scale { start: 0, replicas: 2, .. }]), "{effects:?}");
}

#[test]
fn decisions_after_a_lost_journal_are_newer_than_those_of_the_lost_one() {
    let mut pool = Story::new(up_to(5));
    pool.list(&[0, 1, 2]).scale_seen(3, 5000).visit(ANA);
    assert_eq!((pool.place(ANA), pool.desired()), (at_pod(0), (0, 3)));
    pool.attach(ANA).at(secs(300));
    let effects = pool.effects();
    let newer = |e: &Effect| matches!(e, Effect::Scale { replicas: 1, decided, .. } if decided.position > 5000);
    assert!(effects.iter().any(newer), "{effects:?}");
    pool.scale_done();
    assert_eq!(pool.owed(), []);
}

#[test]
fn a_size_that_an_earlier_pool_of_the_same_name_decided_is_overruled() {
    let mut pool = Story::new(Rules { max: 0, ..up_to(5) });
    pool.list(&[0]).scale_seen(1, 2);
    let effects = pool.effects();
    assert!(matches!(effects[..], [Effect::Scale { replicas: 0, decided, .. }] if decided.position > 2), "{effects:?}");
}

#[test]
fn a_running_pool_above_max_is_adopted_up_to_max() {
    let pool = Story::running(5, up_to(3));
    assert_eq!(pool.desired(), (0, 3));
    assert_eq!(pool.census().retiring, 2);
}

#[test]
fn a_sliding_window_retires_idle_low_ordinals() {
    let mut pool = Story::running(3, sliding(6));
    crowd(&mut pool, 3);
    pool.at(secs(10)).leave(SessionId(100)).detach(SessionId(100));
    pool.at(secs(69));
    assert_eq!(pool.desired(), (0, 3));
    pool.at(secs(70));
    assert_eq!(pool.desired(), (1, 3));
    assert!(pool.owed().iter().any(|e| matches!(e, Effect::Scale { start: 1, replicas: 2, .. })));
    assert_eq!(pool.census().retiring, 1);
    pool.visit(ANA);
    assert_eq!(pool.desired(), (1, 4), "it grows at the top, not over the retiring pod");
}

#[test]
fn a_sliding_window_at_the_top_grows_downwards() {
    let mut pool = Story::running(3, sliding(3));
    crowd(&mut pool, 3);
    pool.leave(SessionId(100)).detach(SessionId(100)).at(secs(60)).scale_done().pod_gone(0).visit(ANA);
    assert_eq!(pool.desired(), (0, 3));
    pool.scale_done().pod_ready(0);
    assert_eq!(pool.place(ANA), at_pod(0));
}

#[test]
fn a_sliding_window_grows_downwards_by_no_more_than_it_needs() {
    let mut pool = Story::running(6, sliding(6));
    crowd(&mut pool, 6);
    for ordinal in 0..3 {
        pool.leave(SessionId(100 + ordinal)).detach(SessionId(100 + ordinal));
    }
    pool.at(secs(60)).scale_done().pod_gone(0).pod_gone(1).pod_gone(2);
    assert_eq!(pool.desired(), (3, 6));
    pool.visit(ANA);
    assert_eq!(pool.desired(), (2, 6));
}

#[test]
fn a_sliding_window_stays_inside_its_range_when_that_shrinks() {
    let mut pool = Story::running(5, Rules { min: 2, ..sliding(5) });
    pool.visit_with_hint(ANA, 4).attach(ANA).at(secs(60));
    assert_eq!(pool.desired(), (3, 5));
    pool.rules(|r| r.max = 2);
    assert_eq!(pool.desired().1, 5, "no session is ended");
    pool.leave(ANA).detach(ANA).at(secs(200));
    assert_eq!(pool.desired(), (0, 2));
}

#[test]
fn keda_and_fixed_pools_never_get_a_scale_effect() {
    for scaling in [Scaling::Keda { settle: secs(20) }, Scaling::None] {
        let mut pool = Story::asleep(Rules { scaling, ..up_to(2) });
        pool.visit(ANA).visit(BEN).leave(ANA).leave(BEN).at(secs(1000));
        let told = pool.effects().into_iter().chain(pool.owed()).any(|e| matches!(e, Effect::Scale { .. }));
        assert!(!told, "{scaling:?}");
    }
}

#[test]
fn a_fixed_pool_always_wants_all_pods() {
    let mut pool = Story::asleep(Rules { scaling: Scaling::None, ..up_to(2) });
    assert_eq!(pool.desired(), (0, 2));
    pool.pod_ready(1).visit(ANA);
    assert_eq!(pool.place(ANA), at_pod(1));
    pool.leave(ANA).at(secs(1000));
    assert_eq!(pool.desired(), (0, 2));
}

#[test]
fn an_entry_that_ends_direct_scaling_orders_no_size_that_time_made_due_in_it() {
    let cooldown = secs(20);
    for scaling in [Scaling::Direct { window: Window::Fixed }, Scaling::None] {
        let mut pool = Story::running(3, Rules { cooldown, ..up_to(3) });
        pool.visit_with_hint(ANA, 2).attach(ANA).leave(ANA).detach(ANA).effects();
        let due = pool.clock() + cooldown;
        pool.jump_to(due).rules(|rules| rules.scaling = scaling);
        let ordered = pool.effects().iter().any(|e| matches!(e, Effect::Scale { replicas: 0, .. }));
        assert_eq!(ordered, scaling != Scaling::None, "{scaling:?}");
    }
}
