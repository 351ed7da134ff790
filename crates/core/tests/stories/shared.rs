//! Shared pools: the load that a pod should bear, and pods that are emptied before they are removed.

use crate::story::*;
use slotkeeper_core::{Command, Effect, Entry, Millis, Placement, Rules, SessionId, Shrink, Targets};

/// Ten slots per pod; pods are emptied before they are removed.
fn gateway(max: u32) -> Rules {
    Rules {
        slots_per_pod: 10,
        max,
        placement: Placement::Spread,
        sticky_storage: false,
        shrink: Shrink::Move,
        cooldown: secs(60),
        ..Rules::default()
    }
}

fn aiming(targets: Targets) -> Rules {
    Rules { shrink: Shrink::Wait, targets, ..gateway(9) }
}

fn running(pods: u32, rules: Rules) -> Story {
    let mut pool = Story::running(pods, rules);
    pool.hello(Entry::TARGETS);
    pool
}

fn id(n: u32) -> SessionId {
    SessionId(u128::from(n) + 1)
}

/// `n` more sessions, numbered from `first`, that attach and stay.
fn come(pool: &mut Story, first: u32, n: u32) {
    for n in first..first + n {
        pool.visit(id(n)).attach(id(n));
    }
}

fn go(pool: &mut Story, first: u32, n: u32) {
    for n in first..first + n {
        pool.leave(id(n)).detach(id(n));
    }
}

fn load(pool: &mut Story, messages: u64, over: Millis, gauge: Option<u64>) {
    pool.say(Command::Load { messages, over, gauge });
}

fn drained(pool: &mut Story) -> Vec<u32> {
    let effects = pool.effects();
    effects.iter().filter_map(|e| if let Effect::Drain { pod, .. } = e { Some(pod.0) } else { None }).collect()
}

#[test]
fn a_pod_aims_at_fewer_sessions_than_it_has_slots() {
    let mut pool = running(1, aiming(Targets { sessions: Some(6), ..Targets::default() }));
    come(&mut pool, 0, 6);
    assert_eq!(pool.desired(), (0, 1));
    come(&mut pool, 6, 1);
    assert_eq!((pool.desired(), pool.census().asked.sessions), ((0, 2), 2));
    come(&mut pool, 7, 3);
    assert_eq!(pool.place(id(9)), at_pod(0), "headroom is used while the next pod starts");
}

#[test]
fn one_pod_fewer_is_wanted_only_well_below_the_target() {
    let mut pool = running(2, aiming(Targets { sessions: Some(10), slack: 20, ..Targets::default() }));
    pool.rules(|r| r.shrink = Shrink::Move);
    come(&mut pool, 0, 11);
    go(&mut pool, 0, 2);
    pool.after(secs(600));
    assert_eq!(pool.desired(), (0, 2), "nine of ten is near the limit");
    go(&mut pool, 2, 1);
    pool.after(secs(600));
    assert_eq!(pool.census().asked.sessions, 1, "eight are not");
}

#[test]
fn messages_are_counted_over_a_window_of_the_journals_time() {
    let targets = Targets { messages: Some(100), window: secs(10), ..Targets::default() };
    let mut pool = running(1, aiming(targets));
    pool.visit(ANA).attach(ANA);
    for _ in 0..5 {
        load(&mut pool, 600, secs(2), None);
        pool.by(R2).hello(Entry::TARGETS);
        load(&mut pool, 100, secs(2), None);
        pool.by(R1).after(secs(2));
    }
    // 700 every two seconds, from both replicas; the first ones are just out of the window.
    assert_eq!((pool.census().messages_per_second, pool.desired()), (280, (0, 4)));
    pool.after(secs(9));
    assert_eq!((pool.census().messages_per_second, pool.needed()), (0, 1), "older messages do not count");
    assert_eq!(pool.desired(), (0, 4), "but a need is remembered for the cooldown");
}

#[test]
fn a_report_over_a_long_time_does_not_count_as_a_burst() {
    let targets = Targets { messages: Some(100), window: secs(10), ..Targets::default() };
    let mut pool = running(1, aiming(targets));
    pool.visit(ANA).attach(ANA);
    load(&mut pool, 60_000, secs(600), None);
    assert_eq!((pool.census().messages_per_second, pool.desired()), (100, (0, 1)));
}

#[test]
fn the_pods_gauge_determines_the_number_of_pods() {
    let mut pool = running(1, aiming(Targets { gauge: Some(750), window: secs(30), ..Targets::default() }));
    pool.visit(ANA).attach(ANA);
    load(&mut pool, 0, secs(5), Some(1_600));
    assert_eq!((pool.census().asked.gauge, pool.desired()), (3, (0, 3)));
    pool.by(R2).hello(Entry::TARGETS);
    load(&mut pool, 0, secs(5), Some(700));
    assert_eq!(pool.census().gauge, Some(1_600), "both replicas read the same pods: the highest value counts");
    pool.after(secs(200));
    assert_eq!(
        (pool.census().gauge, pool.desired()),
        (None, (0, 3)),
        "a gauge that cannot be read does not shrink the pool"
    );
    load(&mut pool, 0, secs(5), Some(700));
    pool.after(secs(20));
    load(&mut pool, 0, secs(5), Some(700));
    assert_eq!(pool.needed(), 2, "0.7 is near 0.75");
}

#[test]
fn of_several_targets_the_largest_counts() {
    let targets = Targets { sessions: Some(5), messages: Some(10), gauge: Some(500), ..Targets::default() };
    let mut pool = running(1, aiming(targets));
    come(&mut pool, 0, 6);
    load(&mut pool, 2_000, secs(60), Some(1_600));
    let asked = pool.census().asked;
    assert_eq!((asked.slots, asked.sessions, asked.messages, asked.gauge), (1, 2, 4, 4));
    load(&mut pool, 0, secs(60), Some(2_100));
    assert_eq!(pool.desired(), (0, 5));
}

#[test]
fn pods_that_cannot_be_counted_on_bear_no_load() {
    let mut pool = running(2, aiming(Targets { sessions: Some(5), ..Targets::default() }));
    pool.cordon(0);
    come(&mut pool, 0, 6);
    assert_eq!(pool.desired(), (0, 3));
}

#[test]
fn a_pod_is_emptied_before_it_is_removed() {
    let mut pool = running(3, gateway(3));
    come(&mut pool, 0, 9);
    pool.effects();
    pool.after(secs(59));
    assert_eq!(drained(&mut pool), [] as [u32; 0]);
    pool.after(secs(2));
    assert_eq!((pool.needed(), pool.desired(), drained(&mut pool)), (1, (0, 3), vec![2]));
    assert_eq!((pool.census().leaving, pool.owed().len()), (2, 1));
    for n in [2, 5, 8] {
        assert_eq!(pool.place(id(n)), at_pod(2), "a session with streams stays until they are closed");
        pool.detach(id(n));
        assert!(matches!(pool.place(id(n)), Where::At(0 | 1)), "and then has another slot at once");
    }
    assert_eq!((pool.desired(), drained(&mut pool)), ((0, 2), vec![1]), "then it is the next one's turn");
    for n in 0..9 {
        pool.attach(id(n));
    }
    for n in 0..9 {
        if pool.place(id(n)) == at_pod(1) {
            pool.detach(id(n)).attach(id(n));
        }
    }
    assert_eq!((pool.desired(), pool.census().taken, pool.census().leaving), ((0, 1), 9, 0));
    assert_eq!(pool.released(), [], "no session has ended");
}

#[test]
fn new_sessions_prefer_pods_that_stay() {
    let mut pool = running(3, gateway(3));
    come(&mut pool, 0, 3);
    pool.after(secs(61));
    assert_eq!(pool.census().leaving, 2);
    come(&mut pool, 10, 2);
    assert_eq!((pool.place(id(10)), pool.place(id(11))), (at_pod(0), at_pod(0)));
    pool.pod(0, slotkeeper_core::Phase::Unready);
    come(&mut pool, 12, 1);
    assert_eq!(pool.place(id(12)), at_pod(1), "a surplus pod rather than the queue");
}

#[test]
fn demand_that_returns_keeps_the_pod() {
    let mut pool = running(2, gateway(2));
    come(&mut pool, 0, 4);
    pool.after(secs(61));
    assert_eq!(drained(&mut pool), [1]);
    pool.detach(id(1));
    come(&mut pool, 10, 8);
    assert_eq!((pool.needed(), pool.desired(), pool.census().leaving), (2, (0, 2), 0));
    assert_eq!(pool.place(id(17)), at_pod(1), "its deletion was not ordered: it is placeable at once");
    assert_eq!(pool.place(id(3)), at_pod(1), "a session that had not left yet stays");
}

#[test]
fn a_session_without_streams_is_moved_at_once() {
    let mut pool = running(2, gateway(2));
    come(&mut pool, 0, 2);
    pool.after(secs(55)).detach(id(1)).after(secs(6));
    assert_eq!((pool.place(id(1)), pool.desired()), (at_pod(0), (0, 1)));
}

#[test]
fn with_shrink_wait_no_session_is_moved() {
    let mut pool = running(2, Rules { shrink: Shrink::Wait, ..gateway(2) });
    come(&mut pool, 0, 2);
    pool.after(secs(600));
    assert_eq!((pool.desired(), pool.place(id(1)), drained(&mut pool).len()), ((0, 2), at_pod(1), 0));
}

#[test]
fn targets_take_effect_when_all_dispatchers_know_them() {
    let mut pool =
        Story::running(3, Rules { targets: Targets { sessions: Some(2), ..Targets::default() }, ..gateway(9) });
    come(&mut pool, 0, 9);
    pool.after(secs(600));
    assert_eq!((pool.needed(), pool.census().leaving), (3, 0), "the old dispatcher would count differently");
    pool.hello(Entry::TARGETS);
    assert_eq!(pool.needed(), 5, "as soon as all replicas know targets");
}

#[test]
fn exclusive_pods_are_never_emptied() {
    let mut pool = running(2, Rules { slots_per_pod: 1, ..gateway(2) });
    come(&mut pool, 0, 2);
    go(&mut pool, 0, 1);
    pool.after(secs(600));
    assert_eq!((pool.desired(), pool.place(id(1))), ((0, 2), at_pod(1)));
}

#[test]
fn an_operator_empties_a_pod_of_any_pool() {
    let mut pool = running(2, Rules { slots_per_pod: 1, ..gateway(2) });
    pool.visit(ANA).attach(ANA).effects();
    pool.say(Command::Empty { pod: slotkeeper_core::Ordinal(0) });
    assert_eq!((drained(&mut pool), pool.owed().len(), pool.place(ANA)), (vec![0], 1, at_pod(0)));
    pool.detach(ANA);
    assert_eq!((pool.place(ANA), pool.owed().len()), (at_pod(1), 0));
    pool.leave(ANA).visit(BEN);
    assert_eq!(pool.place(BEN), at_pod(1), "it stays cordoned");
    pool.uncordon(0).visit(CAT);
    assert_eq!(pool.place(CAT), at_pod(0));
}

#[test]
fn a_session_that_may_be_moved_does_not_wait_for_a_pod_that_is_not_ready() {
    let mut pool = running(2, gateway(2));
    come(&mut pool, 0, 3);
    pool.detach(id(0)).pod(0, slotkeeper_core::Phase::Unready);
    assert_eq!(pool.place(id(0)), at_pod(1), "a session without streams moves at once");
    assert_eq!(pool.place(id(2)), at_pod(0), "a session with streams keeps them until they close");
    pool.detach(id(2));
    assert_eq!(pool.place(id(2)), at_pod(1));
    let mut pool = running(2, Rules { shrink: Shrink::Wait, ..gateway(2) });
    come(&mut pool, 0, 1);
    pool.detach(id(0)).pod(0, slotkeeper_core::Phase::Unready);
    assert_eq!(pool.place(id(0)), at_pod(0));
}

#[test]
fn a_foreign_pod_with_the_highest_ordinal_does_not_overflow_while_pods_are_being_emptied() {
    let mut pool = running(3, gateway(3));
    come(&mut pool, 0, 27);
    go(&mut pool, 0, 20);
    pool.after(secs(61));
    assert!(pool.census().leaving > 0, "the highest pod is being emptied");
    pool.pod_ready(u32::MAX);
    assert_eq!(pool.desired().0, 0);
    assert!(pool.desired().1 <= 3, "a pod outside of `max` is never wanted");
}
