//! Orders that lost entries decided may still be in flight: which of them may take effect, and what happens to pods until it
//! is certain that none can.

use crate::story::*;
use slotkeeper_core::{AfterSession, Decision, Effect, Entry, Fleet, Rules, Scaling, Shrink, Timeline, Why};

const FIRST: Timeline = Timeline(0xAAAA);
const SECOND: Timeline = Timeline(0xBBBB);

fn decision(timeline: Timeline, position: u64) -> Decision {
    Decision { timeline, position }
}

/// A pool whose dispatchers know timelines. Its pods run, and a size of its own timeline has been read.
fn running(pods: u32, rules: Rules) -> Story {
    let mut pool = Story::new(Rules { max: pods.max(rules.max), ..rules });
    pool.hello(Entry::SEMANTICS).list(&[]).scale_seen(pods, 0);
    for ordinal in 0..pods {
        pool.pod_ready(ordinal);
    }
    if matches!(pool.rules_in_force().scaling, Scaling::Direct { .. }) {
        pool.scale_done();
    }
    pool.effects();
    pool
}

/// The dispatcher reports that it has missed nothing, and the shortest lapse passes.
fn lapse_ends(pool: &mut Story) {
    let position = pool.fleet.doubts(R1).expect("R1 is asked");
    pool.whole(position).after(Fleet::YOUTH);
    assert!(!pool.fleet.is_quiet());
}

// ---- which orders may overwrite which size ----

#[test]
fn within_a_timeline_the_later_decision_wins() {
    let (early, late) = (decision(FIRST, 7), decision(FIRST, 8));
    assert!(late.may_overwrite(early, FIRST) && late.may_overwrite(late, FIRST));
    assert!(!early.may_overwrite(late, FIRST));
}

#[test]
fn an_order_of_lost_entries_does_not_overwrite_a_size_of_the_next_timeline_whatever_its_position() {
    let lost = decision(FIRST, 1_000_000);
    assert!(!lost.may_overwrite(decision(SECOND, 7), FIRST));
    assert!(!lost.may_overwrite(decision(SECOND, 7), Timeline::FIRST));
}

#[test]
fn an_order_overwrites_the_timeline_whose_size_was_read_and_no_other() {
    let order = decision(SECOND, 7);
    assert!(order.may_overwrite(decision(FIRST, 1_000_000), FIRST));
    assert!(!order.may_overwrite(decision(Timeline(0xCCCC), 1), FIRST));
}

#[test]
fn a_timeline_parses_from_its_text() {
    for timeline in [Timeline::FIRST, FIRST, Timeline(u64::MAX)] {
        assert_eq!(timeline.to_string().parse(), Ok(timeline));
    }
    assert!("".parse::<Timeline>().is_err() && "x".parse::<Timeline>().is_err());
}

#[test]
fn a_pool_decides_in_the_timeline_that_the_lapse_names_over_the_one_whose_size_was_read() {
    let mut pool = running(1, Rules::default());
    let before = pool.fleet.timeline();
    pool.lapse_into(SECOND, secs(90));
    assert_eq!(pool.fleet.timeline(), SECOND);
    let scale = pool.fleet.scale(&pool.pool_id());
    let Some(Effect::Scale { start: 0, replicas: 1, decided, over }) = scale else { panic!("{scale:?}") };
    assert_eq!((decided, over), (decision(SECOND, pool.fleet.applied()), before));
}

#[test]
fn timelines_begin_when_all_living_replicas_know_them() {
    let mut pool = Story::with_pods(1);
    pool.lapse_into(SECOND, secs(1));
    assert_eq!(pool.fleet.timeline(), Timeline::FIRST, "no replica has reported that it knows timelines");
    pool.after(secs(1)).hello(Entry::SEMANTICS);
    assert_ne!(pool.fleet.timeline(), Timeline::FIRST);
}

// ---- pods after a lapse ----

#[test]
fn a_pod_takes_no_session_before_a_size_of_the_new_timeline_has_been_read() {
    let mut pool = running(2, Rules::default());
    let before = pool.fleet.timeline();
    pool.lapse_into(SECOND, secs(90)).visit(ANA);
    lapse_ends(&mut pool);
    assert_eq!((pool.place(ANA), pool.census().retiring), (Where::Queued(0), 2));
    // An order in flight takes effect: it has the highest position that was ever decided, and proves nothing.
    pool.size_seen(0, 2, decision(before, 1_000_000));
    assert_eq!(pool.place(ANA), Where::Queued(0));
    pool.scale_done();
    assert_eq!(pool.place(ANA), at_pod(0));
    assert_eq!(pool.owed(), []);
}

#[test]
fn the_new_size_is_ordered_while_the_lapse_lasts_and_costs_no_time_after_it() {
    let mut pool = running(1, Rules::default());
    pool.lapse_into(SECOND, secs(90));
    assert!(matches!(pool.effects()[..], [Effect::Scale { start: 0, replicas: 1, .. }]));
    pool.scale_done().visit(ANA);
    lapse_ends(&mut pool);
    assert_eq!(pool.place(ANA), at_pod(0));
}

#[test]
fn a_lowered_size_that_takes_effect_late_is_overruled_before_a_session_is_placed() {
    let mut pool = running(1, Rules::default());
    let before = pool.fleet.timeline();
    pool.lapse_into(SECOND, secs(90)).visit(ANA);
    lapse_ends(&mut pool);
    pool.size_seen(0, 0, decision(before, 1_000_000)).pod_terminating(0);
    assert_eq!(pool.place(ANA), Where::Queued(0));
    pool.scale_done().pod_replaced(0);
    assert_eq!(pool.place(ANA), at_pod(0));
}

#[test]
fn a_session_returns_to_its_pod_when_that_is_certain_to_stay_and_its_slot_is_kept_until_then() {
    let mut pool = running(1, Rules::default());
    pool.visit(ANA).attach(ANA).detach(ANA).lapse_into(SECOND, secs(90));
    lapse_ends(&mut pool);
    pool.attach(ANA).after(secs(500));
    assert_eq!((pool.place(ANA), pool.released()), (Where::Queued(0), vec![]), "she could not be admitted");
    assert!(!pool.session(ANA).has_attached() || pool.census().taken == 0);
    pool.scale_done();
    assert_eq!(pool.place(ANA), at_pod(0));
    pool.after(secs(29));
    assert_eq!(pool.place(ANA), at_pod(0));
    pool.after(secs(1));
    assert_eq!(pool.released(), [(ANA, Why::Disconnected)], "her grace began when she could return");
}

#[test]
fn a_stream_that_was_open_all_the_time_goes_on_and_its_end_starts_no_clock_before_the_pod_is_certain() {
    let mut pool = running(1, Rules::default());
    pool.visit(ANA).attach(ANA).lapse_into(SECOND, secs(90));
    lapse_ends(&mut pool);
    assert_eq!(pool.census().taken, 1);
    pool.detach(ANA).after(secs(100));
    assert_eq!(pool.released(), []);
    pool.scale_done().attach(ANA);
    assert_eq!(pool.census().taken, 1);
}

#[test]
fn a_pod_that_was_uncertain_for_too_long_is_not_recycled_while_it_has_a_session() {
    let mut pool = running(1, Rules::default());
    pool.visit(ANA).attach(ANA).lapse_into(SECOND, secs(90));
    lapse_ends(&mut pool);
    pool.after(secs(1000));
    assert_eq!((pool.recycled(), pool.owed_recycles()), (vec![], vec![]));
    pool.scale_done().detach(ANA).attach(ANA);
    assert_eq!((pool.census().taken, pool.owed_recycles()), (1, vec![]));
}

#[test]
fn a_session_that_waits_for_a_pod_that_does_not_become_certain_gets_another_slot_after_stuck_after() {
    let mut pool = running(1, Rules { max: 2, ..Rules::default() });
    pool.visit(ANA).attach(ANA).detach(ANA).lapse_into(SECOND, secs(90));
    lapse_ends(&mut pool);
    pool.effects();
    pool.after(secs(599));
    assert_eq!((pool.place(ANA), pool.effects()), (Where::Queued(0), vec![]), "her slot is kept");
    pool.after(secs(1));
    assert_eq!((pool.recycled(), pool.owed_recycles()), (vec![0], vec![0]));
    pool.visit(ANA).pod_replaced(0).scale_done();
    assert_eq!(pool.place(ANA), at_pod(0));
}

#[test]
fn a_pod_that_appears_after_a_lapse_is_not_certain_either() {
    let mut pool = running(1, Rules::default());
    pool.lapse_into(SECOND, secs(90)).effects();
    pool.pod_replaced(0);
    assert!(
        matches!(pool.effects()[..], [Effect::Scale { replicas: 1, .. }, ..]),
        "a size to compare with is ordered at once"
    );
    pool.visit(ANA);
    lapse_ends(&mut pool);
    assert_eq!(pool.place(ANA), Where::Queued(0));
    pool.scale_done();
    assert_eq!(pool.place(ANA), at_pod(0));
}

#[test]
fn emptying_a_pod_continues_when_it_is_certain_to_stay() {
    let rules = Rules { slots_per_pod: 4, shrink: Shrink::Move, sticky_storage: false, ..Rules::default() };
    let mut pool = running(2, Rules { placement: slotkeeper_core::Placement::Spread, ..rules });
    pool.visit(ANA).attach(ANA).visit(BEN).attach(BEN).after(secs(300));
    assert_eq!((pool.desired(), pool.census().leaving), ((0, 2), 1));
    pool.lapse_into(SECOND, secs(90)).detach(BEN);
    lapse_ends(&mut pool);
    // The cluster cannot be reached until the pod is not needed any more.
    pool.after(secs(400));
    assert_eq!((pool.place(BEN), pool.released()), (Where::Queued(0), vec![]));
    pool.scale_done();
    assert_eq!((pool.place(ANA), pool.place(BEN)), (at_pod(0), at_pod(0)), "her streams continue, he is moved");
}

// ---- under KEDA ----

#[test]
fn keda_must_be_served_again_after_a_lapse_and_settle() {
    let mut pool =
        running(1, Rules { scaling: Scaling::Keda { settle: secs(20) }, queue_lease: secs(500), ..Rules::default() });
    pool.served(1).after(secs(60)).lapse_into(SECOND, secs(90)).visit(ANA);
    lapse_ends(&mut pool);
    pool.after(secs(60));
    assert_eq!(pool.place(ANA), Where::Queued(0), "a lost entry may have served another number since");
    assert_eq!(pool.fleet.unserved(&pool.pool_id()), Some(1));
    pool.served(1).after(secs(19));
    assert_eq!(pool.place(ANA), Where::Queued(0));
    pool.after(secs(1));
    assert_eq!(pool.place(ANA), at_pod(0));
}

#[test]
fn a_new_incarnation_under_keda_is_not_free_either_before_keda_has_settled_after_a_lapse() {
    let mut pool = running(1, Rules { scaling: Scaling::Keda { settle: secs(20) }, ..Rules::default() });
    pool.served(1).after(secs(60)).lapse_into(SECOND, secs(90)).served(1);
    lapse_ends(&mut pool);
    pool.visit(ANA).pod_replaced(0);
    assert_eq!(pool.place(ANA), Where::Queued(0));
    pool.after(secs(20)).pod_replaced(0);
    assert_eq!(pool.place(ANA), at_pod(0));
}

// ---- a journal that begins ----

#[test]
fn an_order_of_an_earlier_journal_may_still_be_in_flight_when_a_new_one_begins() {
    let mut pool = Story::new(Rules { max: 2, ..Rules::default() });
    pool.hello(Entry::SEMANTICS).list(&[0, 1]).size_seen(0, 2, decision(FIRST, 5000)).visit(ANA);
    assert_eq!(pool.place(ANA), Where::Queued(0));
    let owed = pool.owed();
    assert!(matches!(owed[..], [Effect::Scale { replicas: 2, over: FIRST, .. }]), "{owed:?}");
    pool.scale_done();
    assert_eq!(pool.place(ANA), at_pod(0));
}

#[test]
fn a_pool_without_pods_writes_nothing_when_its_journal_begins() {
    let mut pool = Story::new(Rules::default());
    pool.hello(Entry::SEMANTICS).list(&[]).size_seen(0, 0, decision(FIRST, 5000));
    assert_eq!((pool.effects(), pool.owed()), (vec![], vec![]));
}

#[test]
fn pods_of_a_fixed_pool_are_certain_to_stay_after_a_lapse() {
    let mut pool = running(1, Rules { scaling: Scaling::None, ..Rules::default() });
    pool.lapse_into(SECOND, secs(90)).visit(ANA);
    lapse_ends(&mut pool);
    assert_eq!(pool.place(ANA), at_pod(0));
}

// ---- recycling ----

#[test]
fn an_incarnation_whose_deletion_was_ordered_is_never_used_again_whatever_has_changed_since() {
    let mut pool = running(1, Rules { cooldown: secs(10), queue_lease: secs(5000), ..Rules::default() });
    pool.lapse_into(SECOND, secs(90)).visit(ANA);
    lapse_ends(&mut pool);
    pool.after(secs(600));
    assert_eq!(pool.owed_recycles(), [0], "it did not become certain");
    // The size is written at last, and the pod would be certain to stay now. The deletion is still in flight.
    pool.leave(ANA).scale_done().after(secs(60));
    assert_eq!(pool.desired(), (0, 0));
    pool.visit(ANA).scale_done();
    assert_eq!((pool.place(ANA), pool.owed_recycles()), (Where::Queued(0), vec![0]));
    pool.pod_terminating(0).pod_replaced(0);
    assert_eq!(pool.place(ANA), at_pod(0));
}

#[test]
fn a_desktop_whose_deletion_was_ordered_is_replaced_even_if_the_settings_do_not_ask_for_it_any_more() {
    let mut pool = running(1, Rules { after_session: AfterSession::Recycle, ..Rules::default() });
    pool.pod_replaced(0);
    pool.visit(ANA).attach(ANA).leave(ANA).detach(ANA);
    assert_eq!(pool.owed_recycles(), [0]);
    pool.rules(|rules| rules.after_session = AfterSession::Keep).visit(BEN);
    assert_eq!((pool.place(BEN), pool.owed_recycles()), (Where::Queued(0), vec![0]));
    pool.pod_replaced(0);
    assert_eq!(pool.place(BEN), at_pod(0));
}

#[test]
fn after_any_lapse_a_desktop_may_have_been_used_through_a_forgotten_dispatcher() {
    let mut pool = running(1, Rules { after_session: AfterSession::Recycle, ..Rules::default() });
    pool.pod_replaced(0);
    assert_eq!(pool.owed_recycles(), NO_PODS);
    pool.lapse_into(SECOND, secs(90)).scale_done().visit(ANA);
    lapse_ends(&mut pool);
    assert_eq!((pool.place(ANA), pool.owed_recycles()), (Where::Queued(0), vec![0]));
}
