//! Rules that change while people play.

use crate::story::*;
use slotkeeper_core::{Millis, Placement, Rules, Scaling, Spare, Why};

#[test]
fn fewer_slots_per_pod_move_nobody_and_let_nobody_in_until_there_is_room() {
    let mut pool = Story::running(1, Rules { slots_per_pod: 3, ..Rules::default() });
    pool.visit(ANA).visit(BEN).visit(CAT).rules(|r| r.slots_per_pod = 2);
    assert_eq!([ANA, BEN, CAT].map(|s| pool.place(s)), [0, 0, 0].map(at_pod));
    pool.leave(ANA).visit(DAN);
    assert_eq!(pool.place(DAN), Where::Queued(0));
    pool.leave(BEN);
    assert_eq!(pool.place(DAN), at_pod(0));
}

#[test]
fn more_slots_per_pod_are_there_at_once() {
    let mut pool = Story::with_pods(1);
    pool.visit(ANA).visit(BEN).rules(|r| r.slots_per_pod = 2);
    assert_eq!(pool.place(BEN), at_pod(0));
}

#[test]
fn shorter_clocks_hold_for_who_is_already_there() {
    let mut pool = Story::running(2, Rules { idle: Some(secs(1000)), max: 2, ..Rules::default() });
    pool.visit(ANA).attach(ANA).visit(BEN).attach(BEN).at(secs(90)).active(BEN).at(secs(100));
    pool.rules(|r| r.idle = Some(secs(50)));
    assert_eq!(pool.released(), [(ANA, Why::Idle)]);
    pool.at(secs(140));
    assert_eq!(pool.released(), [(BEN, Why::Idle)]);
}

#[test]
fn a_clock_that_already_runs_to_a_moment_keeps_it() {
    let mut pool = Story::with_pods(1);
    pool.visit(ANA).rules(|r| r.claim = secs(1)).at(secs(59));
    assert_eq!(pool.place(ANA), at_pod(0), "it was promised");
}

#[test]
fn a_shorter_silence_does_not_free_what_a_cut_off_replica_still_holds_by_the_longer_one() {
    let mut pool = Story::with_pods(1);
    pool.by(R2).visit(ANA).attach(ANA).by(R1).silent(R2).rules(|r| r.silence = secs(10)).at(secs(89));
    assert_eq!(pool.place(ANA), at_pod(0), "it may not have read the new rule");
    pool.at(secs(90));
    assert_eq!(pool.place(ANA), Where::Unknown);
}

#[test]
fn an_entry_that_crossed_a_shorter_silence_does_not_prove_that_it_was_read() {
    let mut pool = Story::with_pods(1);
    pool.by(R2).visit(ANA).attach(ANA).by(R1).rules(|r| r.silence = secs(10));
    pool.by(R2).tick().by(R1).silent(R2).at(secs(89));
    assert_eq!(pool.place(ANA), at_pod(0), "its tick was on its way already");
    pool.at(secs(90));
    assert_eq!(pool.place(ANA), Where::Unknown);
}

#[test]
fn a_longer_silence_holds_at_once_for_every_replica() {
    let mut pool = Story::with_pods(1);
    pool.by(R2).visit(ANA).attach(ANA).by(R1).silent(R2).rules(|r| r.silence = secs(120)).at(secs(149));
    assert_eq!(pool.place(ANA), at_pod(0), "it may have read the new rule");
    pool.at(secs(150));
    assert_eq!(pool.place(ANA), Where::Unknown);
}

#[test]
fn a_shorter_cooldown_holds_at_once() {
    let mut pool = Story::with_pods(2);
    pool.at(secs(100)).rules(|r| r.cooldown = secs(50));
    assert_eq!(pool.desired(), (0, 0));
}

#[test]
fn another_placement_holds_for_who_comes_next() {
    let mut pool = Story::running(2, Rules { slots_per_pod: 3, max: 2, ..Rules::default() });
    pool.visit(ANA).visit(BEN).rules(|r| r.placement = Placement::Spread).visit(CAT);
    assert_eq!([ANA, BEN, CAT].map(|s| pool.place(s)), [0, 0, 1].map(at_pod));
}

#[test]
fn another_scaling_does_not_lose_who_retires() {
    let mut pool = Story::with_pods(2);
    pool.visit(ANA).attach(ANA).at(secs(300)).rules(|r| r.scaling = Scaling::None).visit(BEN);
    assert_eq!(pool.place(BEN), at_pod(1), "nobody scales any more, so nobody deletes it");
}

#[test]
fn numbers_outside_their_range_are_brought_inside() {
    let rules = Rules { slots_per_pod: 0, min: 9, max: 5, silence: Millis::ZERO, ..Rules::default() }.clamped();
    assert_eq!((rules.slots_per_pod, rules.min, rules.max), (1, 5, 5));
    assert!(rules.silence > Millis::ZERO);
    assert_eq!(Rules { max: u32::MAX, ..Rules::default() }.clamped().max, Rules::MAX_PODS);
}

#[test]
fn a_percentage_of_spare_slots_as_large_as_its_type_saturates() {
    assert_eq!(Spare::Percent(u32::MAX).slots(u64::MAX), u64::MAX.div_ceil(100));
    let mut pool = Story::running(1, Rules { max: 3, spare: Spare::Percent(u32::MAX), ..Rules::default() });
    pool.visit(ANA).attach(ANA).visit(BEN);
    assert_eq!(pool.desired(), (0, 3), "everything there is, and nothing more");
}
