//! Limits and comparisons, exactly at the value where they change.

use crate::story::*;
use slotkeeper_core::{Entry, Millis, Phase, Placement, Rules, Scaling, SessionId, Shrink, Time, Why, Window};

/// The journal's clock advances by `time` without an entry meanwhile.
fn gap(pool: &mut Story, time: Millis) {
    let clock = Time(pool.clock().0 + time.0);
    pool.jump_to(clock).tick();
}

#[test]
fn a_gap_of_half_a_silence_counts_and_a_longer_one_does_not() {
    let mut pool = Story::with_pods(1);
    pool.visit(ANA);
    for _ in 0..5 {
        gap(&mut pool, Millis(30_001));
    }
    assert_eq!(pool.place(ANA), at_pod(0), "in these gaps no replica could write");
    gap(&mut pool, Millis(30_000));
    assert_eq!(pool.place(ANA), at_pod(0), "half of the claim is over");
    gap(&mut pool, Millis(30_000));
    assert_eq!(pool.released(), [(ANA, Why::NoShow)]);
}

#[test]
fn extending_beyond_the_limit_is_no_activity() {
    let rules = Rules { idle: Some(secs(100)), warn_before: secs(60), extend_limit: secs(60), ..Rules::default() };
    let mut pool = Story::running(1, rules);
    pool.visit(ANA).attach(ANA).at(secs(10)).extend(ANA).at(secs(90)).extend(ANA).at(secs(109));
    assert_eq!(pool.place(ANA), at_pod(0));
    pool.at(secs(110));
    assert_eq!(pool.released(), [(ANA, Why::Idle)]);
}

#[test]
fn a_pod_is_unusable_if_it_runs_is_empty_and_cannot_be_counted_on() {
    let mut pool = Story::with_pods(7);
    pool.cordon(0).cordon(1).visit(ANA).attach(ANA).pod_gone(6).cordon(6);
    assert_eq!(pool.place(ANA), at_pod(2));
    // 0 and 1 are cordoned, 2 is full, 3 to 5 are free, 6 does not run: no other group has two pods.
    assert_eq!((pool.census().pods, pool.census().unusable), (6, 2));
}

#[test]
fn of_the_surplus_pods_the_least_busy_one_takes_a_new_session() {
    let rules = Rules {
        slots_per_pod: 10,
        max: 5,
        placement: Placement::Spread,
        sticky_storage: false,
        shrink: Shrink::Move,
        cooldown: secs(60),
        ..Rules::default()
    };
    let mut pool = Story::running(5, rules);
    pool.hello(Entry::TARGETS);
    let id = |n: u128| SessionId(100 + n);
    for n in 0..10 {
        pool.visit(id(n)).attach(id(n));
    }
    assert_eq!(pool.place(id(8)), at_pod(3));
    pool.leave(id(3)).detach(id(3)).after(secs(61));
    // One pod is enough: 1 to 3 are surplus, 4 is being emptied. Pod 3 has one session, the others two.
    assert_eq!((pool.desired(), pool.census().leaving), ((0, 5), 4));
    pool.pod(0, Phase::Unready).visit(ANA);
    assert_eq!(pool.place(ANA), at_pod(3));
    pool.pod_ready(0).visit(BEN);
    assert_eq!(pool.place(BEN), at_pod(0), "a pod that stays comes first, however busy");
}

#[test]
fn a_sliding_window_counts_on_an_unready_pod_inside_before_it_grows() {
    let rules =
        Rules { max: 6, scaling: Scaling::Direct { window: Window::Sliding }, cooldown: secs(60), ..Rules::default() };
    let mut pool = Story::running(3, rules);
    for session in [ANA, BEN, CAT] {
        pool.visit(session).attach(session);
    }
    pool.at(secs(10)).leave(ANA).detach(ANA).at(secs(70));
    assert_eq!(pool.desired(), (1, 3));
    pool.scale_done().pod_gone(0).leave(BEN).detach(BEN).pod(1, Phase::Unready).visit(DAN);
    assert_eq!(pool.place(DAN), Where::Queued(0));
    assert_eq!(pool.desired(), (1, 3), "pod 1 will do when it is ready again");
}

#[test]
fn each_earlier_need_has_its_own_cooldown() {
    let mut pool = Story::with_pods(2);
    let start = pool.clock();
    pool.visit(ANA).attach(ANA).visit(BEN).attach(BEN).at(secs(10)).leave(BEN).detach(BEN);
    pool.at(secs(20)).leave(ANA).detach(ANA);
    assert_eq!(pool.fleet.next_deadline(), Some((start + secs(310), "cooldown")));
    pool.at(secs(310));
    assert_eq!(pool.desired(), (0, 1));
    assert_eq!(pool.fleet.next_deadline(), Some((start + secs(320), "cooldown")));
    pool.at(secs(320));
    assert_eq!(pool.desired(), (0, 0));
}
