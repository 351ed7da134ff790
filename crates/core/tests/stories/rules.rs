//! Rules that change while there are sessions.

use crate::story::*;
use slotkeeper_core::{Millis, Placement, Rules, Scaling, Spare, Why};

#[test]
fn fewer_slots_per_pod_move_no_session_and_admit_none_until_there_is_room() {
    let mut pool = Story::running(1, Rules { slots_per_pod: 3, ..Rules::default() });
    pool.visit(ANA).visit(BEN).visit(CAT).rules(|r| r.slots_per_pod = 2);
    assert_eq!([ANA, BEN, CAT].map(|s| pool.place(s)), [0, 0, 0].map(at_pod));
    pool.leave(ANA).visit(DAN);
    assert_eq!(pool.place(DAN), Where::Queued(0));
    pool.leave(BEN);
    assert_eq!(pool.place(DAN), at_pod(0));
}

#[test]
fn more_slots_per_pod_take_effect_at_once() {
    let mut pool = Story::with_pods(1);
    pool.visit(ANA).visit(BEN).rules(|r| r.slots_per_pod = 2);
    assert_eq!(pool.place(BEN), at_pod(0));
}

#[test]
fn shorter_durations_apply_to_existing_sessions() {
    let mut pool = Story::running(2, Rules { idle: Some(secs(1000)), max: 2, ..Rules::default() });
    pool.visit(ANA).attach(ANA).visit(BEN).attach(BEN).at(secs(90)).active(BEN).at(secs(100));
    pool.rules(|r| r.idle = Some(secs(50)));
    assert_eq!(pool.released(), [(ANA, Why::Idle)]);
    pool.at(secs(140));
    assert_eq!(pool.released(), [(BEN, Why::Idle)]);
}

#[test]
fn a_deadline_that_is_already_set_stays() {
    let mut pool = Story::with_pods(1);
    pool.visit(ANA).rules(|r| r.claim = secs(1)).at(secs(59));
    assert_eq!(pool.place(ANA), at_pod(0), "the slot was promised for that long");
}

#[test]
fn a_shorter_silence_does_not_free_slots_that_a_cut_off_replica_still_uses_by_the_longer_one() {
    let mut pool = Story::with_pods(1);
    pool.by(R2).visit(ANA).attach(ANA).by(R1).silent(R2).rules(|r| r.silence = secs(10)).at(secs(89));
    assert_eq!(pool.place(ANA), at_pod(0), "it may not have read the new rule");
    pool.at(secs(90));
    assert_eq!(pool.place(ANA), Where::Unknown);
}

#[test]
fn an_entry_sent_before_a_shorter_silence_was_read_does_not_prove_that_it_was() {
    let mut pool = Story::with_pods(1);
    pool.by(R2).visit(ANA).attach(ANA).by(R1).rules(|r| r.silence = secs(10));
    pool.by(R2).tick().by(R1).silent(R2).at(secs(89));
    assert_eq!(pool.place(ANA), at_pod(0), "it had sent its tick before");
    pool.at(secs(90));
    assert_eq!(pool.place(ANA), Where::Unknown);
}

#[test]
fn a_longer_silence_applies_at_once_to_every_replica() {
    let mut pool = Story::with_pods(1);
    pool.by(R2).visit(ANA).attach(ANA).by(R1).silent(R2).rules(|r| r.silence = secs(120)).at(secs(149));
    assert_eq!(pool.place(ANA), at_pod(0), "it may have read the new rule");
    pool.at(secs(150));
    assert_eq!(pool.place(ANA), Where::Unknown);
}

#[test]
fn a_shorter_cooldown_applies_at_once() {
    let mut pool = Story::with_pods(2);
    pool.at(secs(100)).rules(|r| r.cooldown = secs(50));
    assert_eq!(pool.desired(), (0, 0));
}

#[test]
fn another_placement_applies_to_the_next_session() {
    let mut pool = Story::running(2, Rules { slots_per_pod: 3, max: 2, ..Rules::default() });
    pool.visit(ANA).visit(BEN).rules(|r| r.placement = Placement::Spread).visit(CAT);
    assert_eq!([ANA, BEN, CAT].map(|s| pool.place(s)), [0, 0, 1].map(at_pod));
}

#[test]
fn another_scaling_keeps_retiring_pods() {
    let mut pool = Story::with_pods(2);
    pool.visit(ANA).attach(ANA).at(secs(300)).rules(|r| r.scaling = Scaling::None).visit(BEN);
    assert_eq!(pool.place(BEN), at_pod(1), "the pool is not scaled any more, so the pod is not deleted");
}

#[test]
fn numbers_outside_their_range_are_clamped() {
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
    assert_eq!(pool.desired(), (0, 3), "all pods up to `max`, and no more");
}
