//! A visitor's session: joining, attaching, detaching, returning.

use crate::story::*;
use slotkeeper_core::{Effect, Ordinal, Rules, Why};

#[test]
fn an_unknown_session_has_no_place_and_starts_no_pod() {
    let mut pool = Story::asleep(Rules::default());
    pool.attach(ANA).detach(ANA).active(ANA).leave(ANA).extend(ANA);
    assert_eq!(pool.place(ANA), Where::Unknown);
    assert_eq!(pool.needed(), 0);
    assert!(pool.effects().is_empty());
}

#[test]
fn a_session_whose_cookie_is_returned_is_placed_where_a_slot_is_free() {
    let mut pool = Story::with_pods(2);
    pool.visit(ANA).visit(BEN);
    assert_eq!((pool.place(ANA), pool.place(BEN)), (at_pod(0), at_pod(1)));
}

#[test]
fn the_first_visitor_of_an_empty_pool_starts_a_pod_and_gets_it() {
    let mut pool = Story::asleep(Rules::default());
    pool.visit(ANA);
    assert_eq!(pool.place(ANA), Where::Queued(0));
    let scales: Vec<Effect> = pool.effects();
    assert!(matches!(scales[..], [Effect::Scale { start: 0, replicas: 1, .. }]), "{scales:?}");
    pool.scale_done().pod_ready(0);
    assert_eq!(pool.place(ANA), at_pod(0));
}

#[test]
fn a_visitor_that_returns_within_grace_keeps_its_pod() {
    let mut pool = Story::with_pods(1);
    pool.at(secs(0)).visit(ANA).attach(ANA).detach(ANA);
    pool.at(secs(29)).attach(ANA);
    assert_eq!(pool.place(ANA), at_pod(0));
    pool.at(secs(300));
    assert_eq!(pool.place(ANA), at_pod(0));
}

#[test]
fn a_session_with_streams_at_two_replicas_is_disconnected_only_after_both_have_closed_theirs() {
    let mut pool = Story::with_pods(1);
    pool.visit(ANA).by(R1).attach(ANA).by(R2).attach(ANA);
    pool.by(R1).detach(ANA).after(secs(60));
    assert_eq!(pool.place(ANA), at_pod(0));
    pool.by(R2).detach(ANA).after(secs(29));
    assert_eq!(pool.place(ANA), at_pod(0));
    pool.after(secs(1));
    assert_eq!(pool.place(ANA), Where::Unknown);
}

#[test]
fn a_replica_that_attaches_twice_detaches_once() {
    let mut pool = Story::with_pods(1);
    pool.visit(ANA).attach(ANA).attach(ANA).detach(ANA).after(secs(30));
    assert_eq!(pool.released(), [(ANA, Why::Disconnected)]);
}

#[test]
fn a_returning_session_gets_its_former_ordinal_if_that_is_free() {
    let mut pool = Story::with_pods(3);
    pool.visit_with_hint(ANA, 2).visit_with_hint(BEN, 2);
    assert_eq!(pool.place(ANA), at_pod(2));
    assert_eq!(pool.place(BEN), at_pod(0), "the place is taken, so the policy decides");
}

#[test]
fn without_sticky_storage_the_hint_is_ignored() {
    let mut pool = Story::running(2, Rules { max: 2, sticky_storage: false, ..Rules::default() });
    pool.visit_with_hint(ANA, 1);
    assert_eq!(pool.place(ANA), at_pod(0));
}

#[test]
fn a_session_that_leaves_with_open_streams_is_ending_and_its_slot_stays_busy_until_they_are_closed() {
    let mut pool = Story::with_pods(1);
    pool.visit(ANA).by(R1).attach(ANA).by(R2).attach(ANA).visit(BEN);
    pool.leave(ANA);
    assert_eq!(pool.released(), [(ANA, Why::Left)]);
    assert_eq!(pool.place(ANA), Where::Ending(Why::Left));
    assert_eq!(pool.place(BEN), Where::Queued(0));
    pool.by(R1).detach(ANA);
    assert_eq!(pool.place(BEN), Where::Queued(0));
    pool.by(R2).detach(ANA);
    assert_eq!((pool.place(ANA), pool.place(BEN)), (Where::Unknown, at_pod(0)));
    assert_eq!(pool.released(), [], "a release is reported once");
}

#[test]
fn an_ending_session_can_neither_attach_nor_rejoin_before_it_has_ended() {
    let mut pool = Story::with_pods(2);
    pool.visit(ANA).attach(ANA).kick(ANA);
    pool.visit(ANA).by(R2).attach(ANA).active(ANA).extend(ANA);
    assert_eq!(pool.place(ANA), Where::Ending(Why::Kicked));
    pool.by(R1).detach(ANA);
    assert_eq!(pool.place(ANA), Where::Unknown);
    pool.visit(ANA);
    assert_eq!(pool.place(ANA), at_pod(0));
}

#[test]
fn a_session_kicked_without_streams_ends_at_once() {
    let mut pool = Story::with_pods(1);
    pool.visit(ANA).kick(ANA);
    assert_eq!(pool.released(), [(ANA, Why::Kicked)]);
    assert_eq!(pool.place(ANA), Where::Unknown);
}

#[test]
fn a_session_that_leaves_the_queue_is_released() {
    let mut pool = Story::asleep(Rules::default());
    pool.visit(ANA).leave(ANA);
    assert_eq!(pool.released(), [(ANA, Why::Left)]);
    assert_eq!((pool.place(ANA), pool.needed()), (Where::Unknown, 0));
}

#[test]
fn placing_and_releasing_report_the_pod_and_the_wait() {
    let mut pool = Story::with_pods(1);
    pool.visit(ANA).attach(ANA).visit(BEN);
    pool.effects();
    pool.after(secs(10)).leave(ANA).detach(ANA);
    assert_eq!(
        pool.effects(),
        [
            Effect::Released { session: ANA, why: Why::Left, last: Some(Ordinal(0)) },
            Effect::Placed { session: BEN, pod: Ordinal(0), waited: secs(10) }
        ]
    );
}
