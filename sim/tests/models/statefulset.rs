use slotkeeper_sim::models::statefulset::{Action, Phase, PodView, Policy, Reason, StatefulSet, UpdateStrategy};

fn ready(ordinal: u32) -> PodView {
    PodView {
        ordinal,
        uid: u64::from(ordinal),
        phase: Phase::Running,
        ready_since: Some(0),
        terminating: false,
        revision: 1,
    }
}

fn unready(ordinal: u32) -> PodView {
    PodView { ready_since: None, ..ready(ordinal) }
}

fn terminating(ordinal: u32) -> PodView {
    PodView { terminating: true, ..ready(ordinal) }
}

fn ordered(replicas: u32) -> StatefulSet {
    StatefulSet::new(Policy::OrderedReady, replicas)
}

fn parallel(replicas: u32) -> StatefulSet {
    StatefulSet::new(Policy::Parallel, replicas)
}

/// Returns the ordinals that a sync deletes.
fn deleted(set: &StatefulSet, pods: &[PodView]) -> Vec<u32> {
    let delete = |a: &Action| match a {
        Action::Delete { ordinal, .. } => Some(*ordinal),
        Action::Create { .. } => None,
    };
    set.sync(pods, 100_000).actions.iter().filter_map(delete).collect()
}

#[test]
fn an_unready_pod_blocks_an_ordered_set_except_when_it_is_condemned_itself() {
    let pods = [ready(0), unready(1), ready(2)];
    for replicas in [5, 2] {
        let sync = ordered(replicas).sync(&pods, 0);
        let blocked = sync.blocked_on.unwrap();
        assert_eq!((sync.actions, blocked.ordinal, blocked.reason), (vec![], 1, Reason::NotReady));
    }
    assert_eq!(deleted(&ordered(1), &pods), [2]);
    assert_eq!(deleted(&ordered(1), &pods[..2]), [1]);
}

#[test]
fn a_lost_node_stops_an_ordered_set_but_only_one_ordinal_of_a_parallel_one() {
    let pods = [ready(0), PodView { terminating: true, ..unready(1) }, ready(2)];
    let sync = ordered(5).sync(&pods, 0);
    assert_eq!((sync.actions.len(), sync.blocked_on.unwrap().reason), (0, Reason::Terminating));
    assert_eq!(parallel(5).sync(&pods, 0).actions.len(), 2);
    assert_eq!(deleted(&ordered(2), &pods), [0_u32; 0]);
    assert_eq!(deleted(&parallel(2), &pods), [2]);
    // As a condemned pod, it blocks only those below it.
    assert_eq!(deleted(&ordered(0), &pods), [2]);
    assert_eq!(deleted(&ordered(0), &pods[..2]), [0_u32; 0]);
    assert_eq!(deleted(&parallel(0), &pods[..2]), [0]);
}

#[test]
fn a_rolling_update_goes_from_the_top_one_pod_at_a_time_in_parallel_sets_too() {
    for mut set in [ordered(3), parallel(3)] {
        set.roll_out();
        let mut pods = [ready(0), ready(1), ready(2)];
        assert_eq!(deleted(&set, &pods), [2]);
        pods[2].terminating = true;
        assert_eq!(deleted(&set, &pods), [0_u32; 0], "waits for the end of the old one");
        pods[2] = PodView { revision: 2, ..unready(2) };
        assert_eq!(deleted(&set, &pods), [0_u32; 0], "waits for the new one");
        pods[2] = PodView { revision: 2, ..ready(2) };
        assert_eq!(deleted(&set, &pods), [1]);
    }
}

#[test]
fn a_rolling_update_waits_for_pods_that_are_yet_to_be_created() {
    let mut set = parallel(3);
    set.roll_out();
    let sync = set.sync(&[ready(0), ready(1)], 0);
    assert_eq!(sync.actions, [Action::Create { ordinal: 2, revision: 2 }]);
}

#[test]
fn on_delete_applies_a_new_template_to_new_pods_only() {
    let mut set = parallel(2);
    set.update = UpdateStrategy::OnDelete;
    set.roll_out();
    assert_eq!(set.sync(&[ready(0), ready(1)], 0).actions, []);
    assert_eq!(set.sync(&[ready(0)], 0).actions, [Action::Create { ordinal: 1, revision: 2 }]);
}

#[test]
fn a_partition_keeps_the_pods_below_it_and_their_template() {
    let mut set = StatefulSet { start: 10, update: UpdateStrategy::RollingUpdate { partition: 2 }, ..parallel(3) };
    set.roll_out();
    assert_eq!(deleted(&set, &[ready(10), ready(11), ready(12)]), [12]);
    assert_eq!(deleted(&set, &[ready(10), ready(11), PodView { revision: 2, ..ready(12) }]), [0_u32; 0]);
    let created = set.sync(&[ready(10)], 0).actions;
    assert_eq!(created, [Action::Create { ordinal: 11, revision: 1 }, Action::Create { ordinal: 12, revision: 2 }]);
}

#[test]
fn a_failed_pod_is_deleted_once_and_replaced_after_its_removal() {
    let failed = PodView { phase: Phase::Failed, ..unready(1) };
    let gone = PodView { terminating: true, ..failed };
    for set in [ordered(2), parallel(2)] {
        assert_eq!(deleted(&set, &[ready(0), failed]), [1]);
        assert_eq!(set.sync(&[ready(0), gone], 0).actions, []);
        assert_eq!(set.sync(&[ready(0)], 0).actions, [Action::Create { ordinal: 1, revision: 1 }]);
    }
}

#[test]
fn an_ordinal_is_not_created_again_while_its_pod_is_terminating() {
    assert_eq!(parallel(2).sync(&[ready(0), terminating(1)], 0).actions, []);
}

#[test]
fn a_pod_waiting_for_min_ready_seconds_sets_the_time_of_the_recheck() {
    let set = StatefulSet { min_ready: 30_000, ..ordered(2) };
    let pods = [PodView { ready_since: Some(50_000), ..ready(0) }];
    let early = set.sync(&pods, 60_000);
    assert_eq!((early.actions, early.recheck), (vec![], Some(80_000)));
    let late = set.sync(&pods, 80_000);
    assert_eq!((late.actions, late.recheck), (vec![Action::Create { ordinal: 1, revision: 1 }], None));
}

#[test]
fn a_sliding_window_removes_from_below_and_adds_above() {
    let set = StatefulSet { start: 2, ..parallel(3) };
    let sync = set.sync(&[ready(1), ready(2), ready(3), ready(0)], 0);
    let expected = [
        Action::Create { ordinal: 4, revision: 1 },
        Action::Delete { ordinal: 1, uid: 1 },
        Action::Delete { ordinal: 0, uid: 0 },
    ];
    assert_eq!(sync.actions, expected);
}

#[test]
fn ten_thousand_pods_in_any_order_are_one_sync() {
    let mut pods: Vec<PodView> = (0..10_000).map(ready).collect();
    pods.reverse();
    pods.rotate_left(1234);
    assert_eq!(deleted(&ordered(5_000), &pods), [9_999]);
    let all = deleted(&parallel(5_000), &pods);
    assert!(all.iter().copied().eq((5_000..10_000).rev()));
    assert_eq!(parallel(20_000).sync(&pods, 0).actions.len(), 10_000);
}

#[test]
fn the_highest_possible_ordinals_do_no_harm() {
    let set = StatefulSet { start: u32::MAX - 1, ..parallel(5) };
    assert_eq!(set.sync(&[], 0).actions.len(), 2);
    assert!(set.covers(u32::MAX) && !set.covers(0));
}
