use slotkeeper_sim::models::pace::Pace;
use slotkeeper_sim::models::pod::{NODE_TOLERATION, NODE_UNREADY, Pod, Times};
use slotkeeper_sim::models::replicaset::{self, PodView};
use slotkeeper_sim::models::statefulset::Phase;

const TIMES: Times = Times { start: 10_000, stop: 2_000, grace: 30_000 };

/// A pod created at 0, in its state at `now`.
fn pod_at(now: u64) -> Pod {
    let mut pod = Pod::new(0, 1, 1, 0, TIMES);
    pod.advance(now);
    pod
}

#[test]
fn a_pod_is_ready_after_its_start_up_time() {
    let starting = pod_at(9_999);
    assert_eq!(
        (starting.next(), starting.view().phase, starting.view().is_ready()),
        (Some(10_000), Phase::Pending, false)
    );
    let ready = pod_at(10_500);
    assert_eq!((ready.next(), ready.view().ready_since), (None, Some(10_000)));
}

#[test]
fn a_deleted_pod_stays_ready_until_it_is_removed_and_never_longer_than_its_grace_period() {
    let mut pod = pod_at(20_000);
    pod.delete(20_000);
    pod.delete(21_000);
    assert!(pod.view().terminating && pod.view().is_ready());
    assert_eq!((pod.gone_at(), pod.is_gone(21_999), pod.is_gone(22_000)), (Some(22_000), false, true));
    let mut stubborn = Pod::new(0, 1, 1, 0, Times { stop: 3_600_000, ..TIMES });
    stubborn.delete(5_000);
    assert_eq!(stubborn.next(), Some(10_000));
    stubborn.advance(10_000);
    assert_eq!(stubborn.next(), Some(35_000));
}

#[test]
fn a_pod_on_a_dead_node_is_terminating_after_six_minutes_and_stays_so() {
    let mut pod = pod_at(20_000);
    pod.lose_node(20_000);
    assert!(pod.view().is_ready(), "not detected yet");
    let noticed = 20_000 + NODE_UNREADY;
    assert_eq!(pod.next(), Some(noticed));
    pod.advance(noticed);
    assert!(!pod.view().is_ready() && !pod.view().terminating);
    let evicted = noticed + NODE_TOLERATION;
    assert_eq!(pod.next(), Some(evicted));
    pod.advance(evicted);
    assert!(pod.view().terminating);
    assert_eq!((pod.next(), pod.gone_at()), (None, None));
}

#[test]
fn a_pod_that_was_ending_when_its_node_died_never_ends() {
    let mut pod = pod_at(20_000);
    pod.delete(20_000);
    pod.lose_node(21_000);
    assert_eq!(pod.gone_at(), None);
    let mut quick = pod_at(20_000);
    quick.delete(20_000);
    quick.lose_node(22_000);
    assert_eq!(quick.gone_at(), Some(22_000), "it had ended before");
}

#[test]
fn a_crash_keeps_the_incarnation_and_each_restart_takes_longer() {
    let mut pod = pod_at(20_000);
    let mut now = 20_000;
    let mut pauses = Vec::new();
    for _ in 0..8 {
        pod.crash(now);
        assert_eq!((pod.view().phase, pod.view().is_ready()), (Phase::Running, false));
        let back = pod.next().unwrap();
        pauses.push((back - now - TIMES.start) / 1000);
        now = back;
        pod.advance(now);
        assert!(pod.view().is_ready());
    }
    assert_eq!(pauses, [0, 10, 20, 40, 80, 160, 300, 300]);
    assert_eq!((pod.uid, pod.restarts), (1, 8));
}

#[test]
fn a_failed_pod_is_removed_as_soon_as_it_is_deleted() {
    let mut pod = pod_at(20_000);
    pod.fail();
    assert_eq!((pod.view().phase, pod.gone_at()), (Phase::Failed, None));
    pod.delete(25_000);
    assert_eq!(pod.gone_at(), Some(25_000));
}

#[test]
fn a_hundred_calls_take_as_long_as_measured() {
    let mut pace = Pace::default();
    let times: Vec<u64> = (0..100).map(|_| pace.take(1_000_000) - 1_000_000).collect();
    // Measured: the 10th after 80 ms, the 30th after 0.96 s, the 50th after 2.2 s, the 100th after 4.9 s.
    assert_eq!((times[0], times[9]), (0, 0));
    for (nth, measured) in [(30, 960_u64), (50, 2_200), (100, 4_900)] {
        let modelled = times[nth - 1];
        assert!(modelled.abs_diff(measured) <= 200, "the {nth}th after {modelled} ms");
    }
    assert_eq!(pace.take(2_000_000), 2_000_000, "the bucket is full again");
}

fn replica(uid: u64) -> PodView {
    PodView {
        uid,
        node: Some(u32::try_from(uid).expect("a small number")),
        phase: Phase::Running,
        ready: true,
        ready_since: 0,
        deletion_cost: 0,
        restarts: 0,
        created: 0,
    }
}

#[test]
fn a_replica_set_creates_and_deletes_at_most_five_hundred_at_a_time() {
    let pods: Vec<PodView> = (0..1_200).map(replica).collect();
    assert_eq!(replicaset::sync(3_000, &pods, None, 1).create, 500);
    assert_eq!(replicaset::sync(100, &pods, None, 1).delete.len(), 500);
    assert_eq!(replicaset::sync(1_199, &pods, None, 1).delete.len(), 1);
}

#[test]
fn contradictory_rules_still_choose_victims() {
    // Equal times are ordered by restarts, others of one magnitude by uid: a cycle.
    let now = 1_000_000;
    let a = PodView { ready_since: 1, restarts: 5, ..replica(9) };
    let b = PodView { ready_since: 1, restarts: 0, ..replica(1) };
    let c = PodView { ready_since: 2, restarts: 0, ..replica(5) };
    let pods: Vec<PodView> = (0..300).map(|n| [&a, &b, &c][n % 3].clone()).collect();
    let mut all = replicaset::sync(0, &pods, None, now).delete;
    all.sort_unstable();
    assert!(all.into_iter().eq(0..300));
}

#[test]
fn pods_on_a_crowded_node_are_deleted_first_and_the_owners_other_pods_count() {
    let on = |uid, node| PodView { node: Some(node), ..replica(uid) };
    let pods = [on(1, 1), on(2, 2), on(3, 2)];
    assert_eq!(replicaset::sync(2, &pods, None, 1_000).delete, [1]);
    assert_eq!(replicaset::sync(2, &pods, Some(&[1, 1, 1, 2, 2]), 1_000).delete, [0]);
}
