//! Failures around the journal: replicas that stop, journals that stand still or lose entries, repeated entries.

use crate::story::*;
use slotkeeper_core::{AfterSession, Command, Effect, Entry, Fleet, Millis, PoolId, ReplicaId, Rules, Time, Why};

#[test]
fn a_replica_that_stops_has_closed_its_streams_and_its_sessions_have_grace() {
    let mut pool = Story::with_pods(2);
    pool.visit(ANA).visit(BEN).by(R2).attach(ANA).attach(BEN).by(R1).attach(BEN);
    pool.by(R2).farewell().by(R1).after(secs(29));
    assert_eq!((pool.place(ANA), pool.place(BEN)), (at_pod(0), at_pod(1)));
    pool.after(secs(1));
    assert_eq!(pool.released(), [(ANA, Why::Disconnected)]);
    assert_eq!(pool.place(BEN), at_pod(1));
}

#[test]
fn grace_counts_from_the_last_detach_at_a_living_replica() {
    let mut pool = Story::with_pods(1);
    pool.by(R2).visit(ANA).attach(ANA).by(R1).attach(ANA).silent(R2).at(secs(80)).detach(ANA);
    pool.at(secs(109));
    assert_eq!(pool.place(ANA), at_pod(0), "R2 was given up at 90 s, but she was attached here until 80 s");
    pool.at(secs(110));
    assert_eq!(pool.place(ANA), Where::Unknown);
}

#[test]
fn slots_of_a_silent_replica_are_freed_after_silence_and_grace() {
    let mut pool = Story::with_pods(2);
    pool.by(R2).visit(ANA).visit(BEN).attach(ANA).attach(BEN).by(R1).attach(BEN).silent(R2);
    pool.at(secs(89));
    assert_eq!(pool.place(ANA), at_pod(0));
    pool.at(secs(90));
    assert_eq!(pool.released(), [(ANA, Why::Disconnected)]);
    assert_eq!(pool.place(BEN), at_pod(1), "the other replica still has streams of Ben");
    assert_eq!(pool.fleet.replica(R2), None);
}

#[test]
fn an_ending_slot_is_free_when_its_replica_is_given_up() {
    let mut pool = Story::with_pods(1);
    pool.by(R2).visit(ANA).attach(ANA).by(R1).silent(R2).kick(ANA).at(secs(89));
    assert_eq!(pool.place(ANA), Where::Ending(Why::Kicked));
    pool.at(secs(90));
    assert_eq!(pool.place(ANA), Where::Unknown);
}

#[test]
fn a_session_of_a_silent_replica_that_reconnects_through_another_keeps_its_slot() {
    let mut pool = Story::with_pods(1);
    pool.by(R2).visit(ANA).attach(ANA).by(R1).silent(R2).at(secs(60)).attach(ANA).at(secs(600));
    assert_eq!(pool.place(ANA), at_pod(0));
}

#[test]
fn an_entry_of_a_silent_replica_proves_that_it_is_alive() {
    let mut pool = Story::with_pods(1);
    pool.by(R2).visit(ANA).attach(ANA).by(R1).silent(R2).at(secs(89));
    pool.jump_to(Time(pool.clock().0 + 5_000)).by(R2).tick();
    assert_eq!(pool.place(ANA), at_pod(0));
}

#[test]
fn an_hour_in_which_no_replica_could_write_releases_no_session() {
    let mut pool = Story::with_pods(3);
    pool.visit(ANA).attach(ANA).visit(BEN).attach(BEN).detach(BEN).visit(CAT).by(R2).attach(ANA).by(R1);
    pool.at(secs(25)).effects();
    pool.jump_to(pool.clock() + secs(3600)).tick();
    assert_eq!(pool.effects(), []);
    assert_eq!([ANA, BEN, CAT].map(|s| pool.place(s)), [0, 1, 2].map(at_pod));
    // Afterwards every clock continues where it stopped: 5 of 30 seconds are left.
    pool.jump_to(pool.clock() + Millis(4_999)).tick();
    assert_eq!(pool.place(BEN), at_pod(1));
    pool.jump_to(pool.clock() + Millis(1)).tick();
    assert_eq!(pool.released(), [(BEN, Why::Disconnected)]);
}

#[test]
fn time_without_any_replica_does_not_count_as_grace() {
    let mut pool = Story::with_pods(1);
    pool.visit(ANA).attach(ANA).farewell();
    // Shorter than the gap from which it follows that no replica could write.
    pool.jump_to(pool.clock() + secs(25)).by(R2).tick().after(secs(29));
    assert_eq!(pool.place(ANA), at_pod(0), "no replica could admit her");
    pool.after(secs(1));
    assert_eq!(pool.released(), [(ANA, Why::Disconnected)]);
}

#[test]
fn a_clock_that_is_stepped_back_neither_stops_fleet_time_nor_releases_a_session_early() {
    let mut pool = Story::with_pods(1);
    pool.visit(ANA).attach(ANA).detach(ANA).at(secs(20));
    let before = pool.fleet.now();
    pool.jump_to(Time(1_000)).tick();
    assert_eq!(pool.fleet.now(), before);
    pool.jump_to(Time(10_999)).tick();
    assert_eq!(pool.place(ANA), at_pod(0));
    pool.jump_to(Time(11_000)).tick();
    assert_eq!(pool.released(), [(ANA, Why::Disconnected)]);
}

#[test]
fn an_entry_written_twice_counts_once() {
    let mut pool = Story::with_pods(1);
    pool.entry(R2, 1, Command::Visit { session: ANA, hint: None, class: 0 });
    pool.entry(R2, 2, Command::Attach { session: ANA });
    pool.entry(R2, 3, Command::Detach { session: ANA });
    pool.entry(R2, 4, Command::Attach { session: ANA });
    pool.entry(R2, 3, Command::Detach { session: ANA });
    pool.at(secs(40));
    assert_eq!(pool.place(ANA), at_pod(0));
    assert_eq!(pool.fleet.replica(R2), Some(4));
}

#[test]
fn an_entry_with_an_unexpected_number_only_passes_time() {
    let mut pool = Story::with_pods(1);
    let applied = pool.fleet.applied();
    pool.entry(R2, 2, Command::Visit { session: ANA, hint: None, class: 0 });
    pool.entry(ReplicaId(77), 9, Command::Visit { session: ANA, hint: None, class: 0 });
    assert_eq!(pool.place(ANA), Where::Unknown);
    assert_eq!((pool.fleet.replica(R2), pool.fleet.applied()), (None, applied + 2));
    pool.entry(R2, 1, Command::Visit { session: ANA, hint: None, class: 0 });
    pool.entry(R2, 3, Command::Leave { session: ANA });
    assert_eq!(pool.place(ANA), at_pod(0), "a number was left out");
}

#[test]
fn entries_of_a_replica_that_has_stopped_are_ignored() {
    let mut pool = Story::with_pods(1);
    pool.visit(ANA).by(R2).attach(ANA).farewell();
    pool.entry(R2, 3, Command::Attach { session: ANA }).by(R1).after(secs(30));
    assert_eq!(pool.released(), [(ANA, Why::Disconnected)]);
}

#[test]
fn a_repeated_observation_changes_nothing() {
    let mut pool = Story::with_pods(1);
    pool.visit(ANA).attach(ANA).pod_terminating(0).pod_terminating(0).pod_gone(0).effects();
    let version = 1_000;
    for _ in 0..2 {
        pool.say(Command::PodGone { pod: slotkeeper_core::Ordinal(0), uid: "0/0".into(), version });
    }
    assert_eq!(pool.effects(), [], "reported once");
    assert_eq!(pool.line(), [ANA]);
}

#[test]
fn a_pool_that_is_not_configured_takes_no_commands() {
    let mut fleet = Fleet::new();
    let entry = Entry {
        at: Time(5),
        from: R1,
        number: 1,
        pool: PoolId::from("nowhere"),
        command: Command::Visit { session: ANA, hint: None, class: 0 },
    };
    assert_eq!(fleet.apply(&entry), Vec::<(PoolId, Effect)>::new());
    assert_eq!((fleet.now(), fleet.applied(), fleet.replica(R1)), (Time(5), 1, Some(1)));
    assert_eq!(fleet.next_deadline(), None);
}

#[test]
fn a_checkpoint_of_another_format_is_refused() {
    let mut value: serde_json::Value = serde_json::to_value(Fleet::default()).expect("a fleet can be written");
    assert!(serde_json::from_value::<Fleet>(value.clone()).is_ok());
    value["format"] = 999.into();
    let error = serde_json::from_value::<Fleet>(value).expect_err("it is from the future");
    assert!(error.to_string().contains("format 999"), "{error}");
}

// ---- entries that may be lost ----

#[test]
fn after_a_lapse_no_session_is_placed_until_every_replica_must_have_closed_its_streams() {
    let mut pool = Story::with_pods(2);
    pool.by(R2).tick().by(R1).visit(ANA).attach(ANA).lapse(secs(90)).visit(BEN);
    assert_eq!(pool.place(BEN), Where::Queued(0));
    pool.after(secs(89)).visit(BEN);
    assert_eq!(pool.place(BEN), Where::Queued(0), "a forgotten session may be in pod 1");
    assert_eq!(pool.fleet.next_deadline().map(|(_, why)| why), Some("lapse"));
    pool.after(secs(1));
    assert_eq!((pool.place(ANA), pool.place(BEN)), (at_pod(0), at_pod(1)));
}

#[test]
fn a_lapse_ends_early_when_all_replicas_have_missed_nothing() {
    let mut pool = Story::with_pods(2);
    pool.by(R2).tick().lapse(secs(90)).visit(BEN);
    let position = pool.fleet.doubts(R1).expect("R1 is asked");
    assert_eq!(pool.fleet.doubts(R2), Some(position));
    pool.whole(position).after(secs(5)).by(R1).whole(position - 1);
    assert_eq!(pool.place(BEN), Where::Queued(0), "that was about another lapse");
    pool.whole(position);
    assert_eq!(pool.place(BEN), at_pod(0));
}

#[test]
fn a_lapse_waits_for_replicas_whose_first_entry_may_be_lost() {
    let mut pool = Story::with_pods(1);
    pool.lapse(secs(90)).visit(BEN);
    let position = pool.fleet.doubts(R1).expect("R1 is asked");
    pool.whole(position).after(Millis(Fleet::YOUTH.0 - 1));
    assert_eq!(pool.place(BEN), Where::Queued(0));
    pool.after(Millis(1));
    assert_eq!(pool.place(BEN), at_pod(0));
}

#[test]
fn a_lapse_does_not_wait_for_a_replica_that_has_stopped() {
    let mut pool = Story::with_pods(1);
    pool.by(R2).tick().lapse(secs(90)).visit(BEN);
    let position = pool.fleet.doubts(R2).expect("R2 is asked");
    pool.whole(position).by(R1).farewell().by(R2).after(Fleet::YOUTH);
    assert_eq!(pool.place(BEN), at_pod(0));
}

#[test]
fn a_session_with_a_slot_is_not_admitted_again_during_a_lapse() {
    let mut pool = Story::with_pods(1);
    pool.visit(ANA).attach(ANA).lapse(secs(90));
    assert_eq!(pool.place(ANA), Where::Queued(0));
    pool.by(R2).attach(ANA).by(R1).detach(ANA);
    pool.effects();
    pool.attach(ANA).after(secs(89));
    assert_eq!(pool.released(), [], "her grace does not run meanwhile");
    pool.after(secs(1));
    assert_eq!(pool.place(ANA), at_pod(0));
    pool.after(secs(29));
    assert_eq!(pool.place(ANA), at_pod(0));
    pool.after(secs(1));
    assert_eq!(pool.released(), [(ANA, Why::Disconnected)]);
}

#[test]
fn a_pool_neither_shrinks_nor_recycles_while_forgotten_sessions_may_have_streams() {
    let rules = Rules { max: 3, cooldown: secs(10), after_session: AfterSession::Recycle, ..Rules::default() };
    let mut pool = Story::running(3, rules);
    pool.visit(ANA).attach(ANA).after(secs(60));
    assert_eq!(pool.desired(), (0, 1));
    // The lost entries gave pod 2 to a session and raised the size.
    pool.lapse(secs(90)).scale_seen(3, 99).leave(ANA).detach(ANA).effects();
    pool.after(secs(89));
    assert_eq!(pool.desired(), (0, 3), "all that runs may be in use");
    assert_eq!((pool.owed_recycles(), pool.recycled()), (vec![], vec![]), "nothing is deleted now");
    pool.after(secs(1));
    assert_eq!(pool.owed_recycles(), [0, 1, 2], "any session may have been there");
    pool.after(secs(10));
    assert_eq!(pool.desired(), (0, 0));
}

#[test]
fn a_desktop_that_a_forgotten_session_may_have_used_is_recycled() {
    let rules = Rules { max: 2, after_session: AfterSession::Recycle, ..Rules::default() };
    let mut pool = Story::new(rules);
    pool.list(&[]).scale_seen(2, 0).pod_ready(0).pod_ready(1).pod_replaced(0).pod_replaced(1).effects();
    // Ana is attached; Ben has a slot and has not attached yet.
    pool.visit(ANA).attach(ANA).visit(BEN);
    assert_eq!((pool.place(ANA), pool.place(BEN)), (at_pod(0), at_pod(1)));
    pool.lapse(secs(90)).after(secs(90));
    assert_eq!((pool.place(ANA), pool.place(BEN)), (at_pod(0), Where::Queued(0)));
    assert_eq!(pool.recycled(), [1]);
    pool.pod_replaced(1);
    assert_eq!(pool.place(BEN), at_pod(1));
}

#[test]
fn a_desktop_is_not_recycled_if_all_replicas_have_missed_nothing() {
    let rules = Rules { max: 1, after_session: AfterSession::Recycle, ..Rules::default() };
    let mut pool = Story::new(rules);
    pool.list(&[]).scale_seen(1, 0).pod_ready(0).pod_replaced(0).effects();
    pool.lapse(secs(90));
    let position = pool.fleet.doubts(R1).expect("R1 is asked");
    pool.whole(position).after(Fleet::YOUTH).visit(ANA);
    assert_eq!((pool.place(ANA), pool.recycled()), (at_pod(0), vec![]));
}

#[test]
fn an_empty_journal_may_have_lost_all_entries() {
    let mut pool = Story::lapsed(secs(90), Rules { max: 2, ..Rules::default() });
    pool.list(&[]).scale_seen(2, 0).pod_ready(0).pod_ready(1).visit(ANA);
    assert_eq!(pool.fleet.doubts(R1), None, "there is no replica to ask");
    pool.after(secs(89));
    assert_eq!(pool.place(ANA), Where::Queued(0));
    pool.after(secs(1));
    assert_eq!(pool.place(ANA), at_pod(0));
}

#[test]
fn a_full_lapse_does_not_end_sessions_of_a_dead_replica() {
    let mut pool = Story::with_pods(1);
    pool.by(R2).visit(ANA).attach(ANA).by(R1).visit(BEN).lapse(secs(90)).silent(R2);
    pool.effects();
    pool.after(secs(90));
    assert_eq!((pool.place(ANA), pool.place(BEN)), (at_pod(0), Where::Queued(0)), "she could not return before");
    pool.visit(BEN).after(secs(29)).visit(BEN);
    assert_eq!((pool.released(), pool.place(ANA)), (vec![], at_pod(0)));
    pool.after(secs(1));
    assert_eq!((pool.released(), pool.place(BEN)), (vec![(ANA, Why::Disconnected)], at_pod(0)));
}

#[test]
fn a_replica_that_falls_silent_has_not_reported_that_it_missed_nothing() {
    let rules = Rules { max: 1, after_session: AfterSession::Recycle, ..Rules::default() };
    let mut pool = Story::new(rules);
    pool.list(&[]).scale_seen(1, 0).pod_ready(0).pod_replaced(0).by(R2).tick().silent(R2).by(R1);
    pool.after(secs(80)).lapse(secs(90)).effects();
    let position = pool.fleet.doubts(R1).expect("R1 is asked");
    pool.whole(position).after(secs(89)).visit(ANA);
    assert_eq!(pool.fleet.replica(R2), None, "given up long ago");
    assert_eq!(
        pool.place(ANA),
        Where::Queued(0),
        "its last entries may be lost, and it closes its streams counting from them"
    );
    pool.after(secs(1));
    assert_eq!((pool.place(ANA), pool.recycled()), (Where::Queued(0), vec![0]), "R2 may have admitted a session there");
}

#[test]
fn a_size_that_lost_entries_decided_is_overruled() {
    let rules = Rules { max: 3, cooldown: secs(10), ..Rules::default() };
    let mut pool = Story::running(3, rules);
    let decided = |pool: &Story| match pool.fleet.scale(&pool.pool_id()) {
        Some(Effect::Scale { decided, .. }) => decided.position,
        _ => 0,
    };
    // The lost entries lowered it to 1, at a position that this journal has passed since.
    let (lost, before) = (pool.fleet.applied() + 2, decided(&pool));
    pool.lapse(secs(90)).tick().tick().tick().scale_seen(1, lost);
    assert!(lost < pool.fleet.applied() && before < lost);
    assert!(decided(&pool) > lost, "otherwise the order would look outdated");
    assert_eq!(pool.owed().len(), 1);
    pool.scale_done();
    assert_eq!(pool.owed(), []);
}

#[test]
fn a_second_lapse_extends_the_first_and_never_shortens_it() {
    let mut pool = Story::with_pods(1);
    pool.lapse(secs(200)).after(secs(10)).lapse(secs(90)).visit(ANA).after(secs(189));
    assert_eq!(pool.place(ANA), Where::Queued(0));
    pool.after(secs(1));
    assert_eq!(pool.place(ANA), at_pod(0));
    // The same for a lapse with a known replica, after one without any.
    let mut pool = Story::lapsed(secs(90), Rules { max: 1, ..Rules::default() });
    pool.list(&[]).scale_seen(1, 0).pod_ready(0).after(secs(10)).lapse(secs(20));
    let position = pool.fleet.doubts(R1).expect("R1 is asked");
    pool.whole(position).visit(ANA).after(secs(79)).visit(ANA);
    assert_eq!(pool.place(ANA), Where::Queued(0));
    pool.after(secs(1));
    assert_eq!(pool.place(ANA), at_pod(0));
}

// ---- versions side by side ----

#[test]
fn new_semantics_begin_when_all_living_replicas_know_them() {
    let mut pool = Story::with_pods(1);
    assert_eq!(pool.fleet.semantics(), 1, "a replica without a `Hello` knows only the first");
    pool.by(R2).hello(2);
    assert_eq!(pool.fleet.semantics(), 1, "R1 is still alive");
    pool.by(R1).farewell();
    assert_eq!(pool.fleet.semantics(), 2);
    pool.by(ReplicaId(3)).hello(1);
    assert_eq!(pool.fleet.semantics(), 2, "and never back: the third has to find out that it knows too little");
}

#[test]
fn a_replica_that_is_given_up_does_not_hold_up_new_semantics() {
    let mut pool = Story::with_pods(1);
    pool.by(R2).hello(2).silent(R1).after(secs(91));
    assert_eq!(pool.fleet.semantics(), 2);
}

#[test]
fn a_checkpoint_with_the_highest_position_and_number_accepts_entries_without_an_overflow() {
    let pool = Story::with_pods(1);
    let mut state = serde_json::to_value(&pool.fleet).expect("a fleet can be written");
    state["applied"] = u64::MAX.into();
    for replica in state["replicas"].as_object_mut().expect("a map").values_mut() {
        replica["number"] = u64::MAX.into();
    }
    let mut fleet: Fleet = serde_json::from_value(state).expect("a fleet can be read");
    let tick = |number| Entry { at: pool.clock(), from: R1, number, pool: pool.pool_id(), command: Command::Tick };
    for number in [0, 1, u64::MAX] {
        assert_eq!(fleet.apply(&tick(number)), [], "no number follows the highest one");
    }
    assert_eq!((fleet.applied(), fleet.replica(R1)), (u64::MAX, Some(u64::MAX)));
}
