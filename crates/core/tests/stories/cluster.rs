//! Observations of the cluster: late, repeated, complete.

use crate::story::*;
use slotkeeper_core::{Command, Effect, Ordinal, Phase, Place, Rules, Timeline, Uid, Why};

#[test]
fn a_session_is_bound_to_an_incarnation_not_to_a_name() {
    let mut pool = Story::with_pods(1);
    pool.visit(ANA).attach(ANA);
    pool.pod_seen(0, 1, ready(7), 100);
    assert_eq!(pool.place(ANA), at_pod(0), "lost, and at once placed in the next incarnation");
    let id = pool.pool_id();
    let Place::At { incarnation, .. } = pool.fleet.place(&id, ANA) else { panic!("Ana is placed") };
    assert_eq!((incarnation.uid.clone(), incarnation.address.port()), (Uid::from("0/1"), 80));
    assert!(pool.effects().contains(&Effect::Requeued { session: ANA, pod: Ordinal(0) }));
}

#[test]
fn old_observations_are_ignored() {
    let mut pool = Story::with_pods(1);
    pool.pod_seen(0, 0, Phase::Unready, 50).pod_seen(0, 0, ready(0), 49).visit(ANA);
    assert_eq!(pool.place(ANA), Where::Queued(0));
    pool.pod_seen(0, 0, ready(0), 50);
    assert_eq!(pool.place(ANA), Where::Queued(0), "an observation with the same version is ignored");
    pool.pod_seen(0, 0, ready(0), 51);
    assert_eq!(pool.place(ANA), at_pod(0));
    pool.say(Command::PodGone { pod: Ordinal(0), uid: Uid::from("0/0"), version: 50 });
    assert_eq!(pool.place(ANA), at_pod(0));
}

#[test]
fn observations_of_a_deleted_uid_are_ignored() {
    let mut pool = Story::with_pods(1);
    pool.pod_gone(0).pod_seen(0, 0, ready(0), 1000).visit(ANA);
    assert_eq!(pool.place(ANA), Where::Queued(0));
}

#[test]
fn the_end_of_an_earlier_incarnation_does_not_affect_the_present_one() {
    let mut pool = Story::with_pods(1);
    pool.pod_seen(0, 1, ready(0), 50).visit(ANA).attach(ANA);
    pool.say(Command::PodGone { pod: Ordinal(0), uid: Uid::from("0/0"), version: 60 });
    assert_eq!(pool.place(ANA), at_pod(0));
}

#[test]
fn a_pod_that_is_absent_from_a_complete_list_is_deleted() {
    let mut pool = Story::with_pods(2);
    pool.visit_with_hint(ANA, 1).attach(ANA).list(&[0]);
    assert_eq!(pool.place(ANA), at_pod(0), "lost, front of the line, placed");
    assert_eq!(pool.census().pods, 1);
}

#[test]
fn a_list_that_is_older_than_the_observation_of_a_pod_does_not_remove_it() {
    let mut pool = Story::with_pods(1);
    pool.pod_seen(0, 0, ready(0), 100).visit(ANA);
    pool.say(Command::PodsListed { pods: vec![], version: 99 });
    assert_eq!(pool.place(ANA), at_pod(0));
}

#[test]
fn an_observation_of_a_pod_that_is_older_than_a_list_without_it_is_ignored() {
    let mut pool = Story::with_pods(2);
    pool.pod_gone(1).pod_gone(0);
    pool.say(Command::PodsListed { pods: vec![], version: 100 });
    pool.pod_seen(0, 5, ready(0), 99).pod_seen(1, 6, ready(1), 99);
    assert_eq!(pool.census().pods, 0);
    pool.pod_seen(1, 7, ready(1), 101);
    assert_eq!(pool.census().pods, 1);
}

#[test]
fn old_sizes_are_ignored() {
    let mut pool = Story::with_pods(1);
    let id = pool.pool_id();
    pool.say(Command::ScaleSeen { start: 0, replicas: 9, decided: 0, timeline: Timeline::FIRST, version: 1 });
    assert_eq!(pool.fleet.scale_seen(&id).map(|s| s.span.len()), Some(1));
}

#[test]
fn a_lost_pod_is_drained_at_once_and_a_terminating_one_slowly() {
    let mut pool = Story::with_pods(1);
    pool.visit(ANA).attach(ANA);
    pool.effects();
    let drain = |gone| Effect::Drain { pod: Ordinal(0), uid: Uid::from("0/0"), gone };
    pool.pod_terminating(0);
    assert_eq!((pool.effects(), pool.owed()), (vec![drain(false)], vec![drain(false)]));
    pool.pod_gone(0);
    assert!(pool.effects().contains(&drain(true)));
    assert_eq!(pool.owed(), []);
}

#[test]
fn the_slot_of_an_ending_session_is_free_when_its_pod_is_deleted() {
    let mut pool = Story::with_pods(1);
    pool.visit(ANA).attach(ANA).kick(ANA).pod_replaced(0);
    assert_eq!(pool.place(ANA), Where::Unknown);
    assert_eq!(pool.released(), [(ANA, Why::Kicked)]);
    pool.detach(ANA).visit(BEN);
    assert_eq!(pool.place(BEN), at_pod(0));
}

#[test]
fn effects_are_owed_until_the_cluster_shows_them() {
    let mut pool = Story::asleep(Rules::default());
    pool.visit(ANA);
    let told = pool.effects();
    assert_eq!(pool.owed(), told, "after a restart the same is derived again");
    assert_eq!(pool.owed(), told, "and any number of times");
    pool.scale_done();
    assert_eq!(pool.owed(), []);
    pool.scale_seen(0, 0);
    assert_eq!(pool.owed(), told, "something else has written 0: it is owed again");
}

#[test]
fn a_removed_pool_releases_all_sessions_and_ends_when_the_last_stream_is_closed() {
    let mut pool = Story::with_pods(2);
    pool.visit(ANA).attach(ANA).visit(BEN).visit(CAT).say(Command::Remove);
    let mut released = pool.released();
    released.sort();
    assert_eq!(released, [ANA, BEN, CAT].map(|s| (s, Why::PoolRemoved)));
    pool.visit(DAN);
    assert_eq!((pool.place(ANA), pool.place(DAN)), (Where::Ending(Why::PoolRemoved), Where::Unknown));
    pool.detach(ANA);
    assert_eq!(pool.fleet.pools().count(), 0);
}

#[test]
fn a_removed_pool_ends_with_the_replica_that_had_its_last_stream() {
    let mut pool = Story::with_pods(1);
    pool.visit(ANA).by(R2).attach(ANA).by(R1).say(Command::Remove);
    pool.by(R2).farewell();
    assert_eq!(pool.fleet.pools().count(), 0);
}

#[test]
fn a_pool_that_is_configured_again_before_its_removal_is_complete_continues() {
    let mut pool = Story::with_pods(2);
    pool.visit(ANA).attach(ANA).say(Command::Remove).say(Command::Rules(Rules { max: 2, ..Rules::default() }));
    pool.detach(ANA).visit(BEN);
    assert_eq!(pool.place(BEN), at_pod(0));
}
