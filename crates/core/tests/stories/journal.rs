//! What survives what: replicas that go, journals that stop, entries that come twice.

use crate::story::*;
use slotkeeper_core::{AfterSession, Command, Effect, Entry, Fleet, Millis, PoolId, ReplicaId, Rules, Time, Why};

#[test]
fn a_replica_that_says_farewell_has_closed_its_streams_and_its_visitors_have_grace() {
    let mut pool = Story::with_pods(2);
    pool.visit(ANA).visit(BEN).by(R2).attach(ANA).attach(BEN).by(R1).attach(BEN);
    pool.by(R2).farewell().by(R1).after(secs(29));
    assert_eq!((pool.place(ANA), pool.place(BEN)), (at_pod(0), at_pod(1)));
    pool.after(secs(1));
    assert_eq!(pool.released(), [(ANA, Why::Disconnected)]);
    assert_eq!(pool.place(BEN), at_pod(1));
}

#[test]
fn who_also_played_through_another_replica_has_grace_from_there() {
    let mut pool = Story::with_pods(1);
    pool.by(R2).visit(ANA).attach(ANA).by(R1).attach(ANA).silent(R2).at(secs(80)).detach(ANA);
    pool.at(secs(109));
    assert_eq!(pool.place(ANA), at_pod(0), "R2 was given up at 90 s, but she was here until 80 s");
    pool.at(secs(110));
    assert_eq!(pool.place(ANA), Where::Unknown);
}

#[test]
fn what_a_silent_replica_had_is_freed_after_silence_and_grace() {
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
fn an_ending_slot_is_free_when_the_replica_has_been_silent_long_enough() {
    let mut pool = Story::with_pods(1);
    pool.by(R2).visit(ANA).attach(ANA).by(R1).silent(R2).kick(ANA).at(secs(89));
    assert_eq!(pool.place(ANA), Where::Ending(Why::Kicked));
    pool.at(secs(90));
    assert_eq!(pool.place(ANA), Where::Unknown);
}

#[test]
fn a_visitor_of_a_silent_replica_who_comes_back_through_another_keeps_the_place() {
    let mut pool = Story::with_pods(1);
    pool.by(R2).visit(ANA).attach(ANA).by(R1).silent(R2).at(secs(60)).attach(ANA).at(secs(600));
    assert_eq!(pool.place(ANA), at_pod(0));
}

#[test]
fn the_first_words_of_a_silent_replica_prove_that_it_lives() {
    let mut pool = Story::with_pods(1);
    pool.by(R2).visit(ANA).attach(ANA).by(R1).silent(R2).at(secs(89));
    pool.jump_to(Time(pool.clock().0 + 5_000)).by(R2).tick();
    assert_eq!(pool.place(ANA), at_pod(0));
}

#[test]
fn an_hour_in_which_nobody_could_write_releases_nobody() {
    let mut pool = Story::with_pods(3);
    pool.visit(ANA).attach(ANA).visit(BEN).attach(BEN).detach(BEN).visit(CAT).by(R2).attach(ANA).by(R1);
    pool.at(secs(25)).effects();
    pool.jump_to(pool.clock() + secs(3600)).tick();
    assert_eq!(pool.effects(), []);
    assert_eq!([ANA, BEN, CAT].map(|s| pool.place(s)), [0, 1, 2].map(at_pod));
    // Afterwards every clock goes on where it stopped: 5 of 30 seconds are left.
    pool.jump_to(pool.clock() + Millis(4_999)).tick();
    assert_eq!(pool.place(BEN), at_pod(1));
    pool.jump_to(pool.clock() + Millis(1)).tick();
    assert_eq!(pool.released(), [(BEN, Why::Disconnected)]);
}

#[test]
fn time_without_any_replica_takes_nobodys_grace() {
    let mut pool = Story::with_pods(1);
    pool.visit(ANA).attach(ANA).farewell();
    // Shorter than a gap that tells by itself that nobody could write.
    pool.jump_to(pool.clock() + secs(25)).by(R2).tick().after(secs(29));
    assert_eq!(pool.place(ANA), at_pod(0), "nobody was there to let her in");
    pool.after(secs(1));
    assert_eq!(pool.released(), [(ANA, Why::Disconnected)]);
}

#[test]
fn a_clock_that_is_stepped_back_stops_nothing_and_releases_nobody() {
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
fn an_entry_that_comes_twice_counts_once() {
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
fn an_entry_out_of_turn_is_nothing_but_time() {
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
fn a_life_that_is_over_says_nothing_more() {
    let mut pool = Story::with_pods(1);
    pool.visit(ANA).by(R2).attach(ANA).farewell();
    pool.entry(R2, 3, Command::Attach { session: ANA }).by(R1).after(secs(30));
    assert_eq!(pool.released(), [(ANA, Why::Disconnected)]);
}

#[test]
fn effects_that_come_twice_change_nothing() {
    let mut pool = Story::with_pods(1);
    pool.visit(ANA).attach(ANA).pod_terminating(0).pod_terminating(0).pod_gone(0).effects();
    let version = 1_000;
    for _ in 0..2 {
        pool.say(Command::PodGone { pod: slotkeeper_core::Ordinal(0), uid: "0/0".into(), version });
    }
    assert_eq!(pool.effects(), [], "told once");
    assert_eq!(pool.line(), [ANA]);
}

#[test]
fn a_pool_nobody_configured_takes_no_commands() {
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
fn after_a_lapse_nobody_is_placed_until_everybody_must_have_closed_their_streams() {
    let mut pool = Story::with_pods(2);
    pool.by(R2).tick().by(R1).visit(ANA).attach(ANA).lapse(secs(90)).visit(BEN);
    assert_eq!(pool.place(BEN), Where::Queued(0));
    pool.after(secs(89)).visit(BEN);
    assert_eq!(pool.place(BEN), Where::Queued(0), "somebody nobody knows of may be in pod 1");
    assert_eq!(pool.fleet.next_deadline().map(|(_, why)| why), Some("lapse"));
    pool.after(secs(1));
    assert_eq!((pool.place(ANA), pool.place(BEN)), (at_pod(0), at_pod(1)));
}

#[test]
fn a_lapse_is_soon_over_when_everybody_has_missed_nothing() {
    let mut pool = Story::with_pods(2);
    pool.by(R2).tick().lapse(secs(90)).visit(BEN);
    let position = pool.fleet.doubts(R1).expect("R1 is asked");
    assert_eq!(pool.fleet.doubts(R2), Some(position));
    pool.whole(position).after(secs(5)).by(R1).whole(position - 1);
    assert_eq!(pool.place(BEN), Where::Queued(0), "that was another one");
    pool.whole(position);
    assert_eq!(pool.place(BEN), at_pod(0));
}

#[test]
fn even_then_those_are_waited_for_whose_first_word_may_be_lost() {
    let mut pool = Story::with_pods(1);
    pool.lapse(secs(90)).visit(BEN);
    let position = pool.fleet.doubts(R1).expect("R1 is asked");
    pool.whole(position).after(Millis(Fleet::YOUTH.0 - 1));
    assert_eq!(pool.place(BEN), Where::Queued(0));
    pool.after(Millis(1));
    assert_eq!(pool.place(BEN), at_pod(0));
}

#[test]
fn who_has_left_before_has_closed_its_streams_and_need_not_be_asked() {
    let mut pool = Story::with_pods(1);
    pool.by(R2).tick().lapse(secs(90)).visit(BEN);
    let position = pool.fleet.doubts(R2).expect("R2 is asked");
    pool.whole(position).by(R1).farewell().by(R2).after(Fleet::YOUTH);
    assert_eq!(pool.place(BEN), at_pod(0));
}

#[test]
fn who_has_a_slot_is_not_let_in_anew_during_a_lapse_for_it_may_be_somebody_elses_by_now() {
    let mut pool = Story::with_pods(1);
    pool.visit(ANA).attach(ANA).lapse(secs(90));
    assert_eq!(pool.place(ANA), Where::Queued(0));
    pool.by(R2).attach(ANA).by(R1).detach(ANA);
    pool.effects();
    pool.attach(ANA).after(secs(89));
    assert_eq!(pool.released(), [], "her grace stands still meanwhile");
    pool.after(secs(1));
    assert_eq!(pool.place(ANA), at_pod(0));
    pool.after(secs(29));
    assert_eq!(pool.place(ANA), at_pod(0));
    pool.after(secs(1));
    assert_eq!(pool.released(), [(ANA, Why::Disconnected)]);
}

#[test]
fn nothing_shrinks_and_nothing_is_recycled_while_somebody_unknown_may_be_there() {
    let rules = Rules { max: 3, cooldown: secs(10), after_session: AfterSession::Recycle, ..Rules::default() };
    let mut pool = Story::running(3, rules);
    pool.visit(ANA).attach(ANA).after(secs(60));
    assert_eq!(pool.desired(), (0, 1));
    // Somebody was given pod 2, and the cluster has been told so: that is what is lost.
    pool.lapse(secs(90)).scale_seen(3, 99).leave(ANA).detach(ANA).effects();
    pool.after(secs(89));
    assert_eq!(pool.desired(), (0, 3), "all that runs may be in use");
    assert_eq!((pool.owed_recycles(), pool.recycled()), (vec![], vec![]), "nobody deletes anything now");
    pool.after(secs(1));
    assert_eq!(pool.owed_recycles(), [0, 1, 2], "who knows who has been there");
    pool.after(secs(10));
    assert_eq!(pool.desired(), (0, 0));
}

#[test]
fn nobody_gets_a_desktop_that_somebody_forgotten_may_have_used() {
    let rules = Rules { max: 2, after_session: AfterSession::Recycle, ..Rules::default() };
    let mut pool = Story::new(rules);
    pool.list(&[]).scale_seen(2, 0).pod_ready(0).pod_ready(1).pod_replaced(0).pod_replaced(1).effects();
    // Ana plays, Ben has been given a slot and is on his way.
    pool.visit(ANA).attach(ANA).visit(BEN);
    assert_eq!((pool.place(ANA), pool.place(BEN)), (at_pod(0), at_pod(1)));
    pool.lapse(secs(90)).after(secs(90));
    assert_eq!((pool.place(ANA), pool.place(BEN)), (at_pod(0), Where::Queued(0)));
    assert_eq!(pool.recycled(), [1]);
    pool.pod_replaced(1);
    assert_eq!(pool.place(BEN), at_pod(1));
}

#[test]
fn a_desktop_is_as_it_was_when_everybody_has_missed_nothing() {
    let rules = Rules { max: 1, after_session: AfterSession::Recycle, ..Rules::default() };
    let mut pool = Story::new(rules);
    pool.list(&[]).scale_seen(1, 0).pod_ready(0).pod_replaced(0).effects();
    pool.lapse(secs(90));
    let position = pool.fleet.doubts(R1).expect("R1 is asked");
    pool.whole(position).after(Fleet::YOUTH).visit(ANA);
    assert_eq!((pool.place(ANA), pool.recycled()), (at_pod(0), vec![]));
}

#[test]
fn an_empty_journal_may_be_a_lost_one() {
    let mut pool = Story::lapsed(secs(90), Rules { max: 2, ..Rules::default() });
    pool.list(&[]).scale_seen(2, 0).pod_ready(0).pod_ready(1).visit(ANA);
    assert_eq!(pool.fleet.doubts(R1), None, "there is nobody to ask");
    pool.after(secs(89));
    assert_eq!(pool.place(ANA), Where::Queued(0));
    pool.after(secs(1));
    assert_eq!(pool.place(ANA), at_pod(0));
}

#[test]
fn a_lapse_that_lasts_throws_out_nobody_whose_dispatcher_is_gone() {
    let mut pool = Story::with_pods(1);
    pool.by(R2).visit(ANA).attach(ANA).by(R1).visit(BEN).lapse(secs(90)).silent(R2);
    pool.effects();
    pool.after(secs(90));
    assert_eq!((pool.place(ANA), pool.place(BEN)), (at_pod(0), Where::Queued(0)), "she could not come back before");
    pool.visit(BEN).after(secs(29)).visit(BEN);
    assert_eq!((pool.released(), pool.place(ANA)), (vec![], at_pod(0)));
    pool.after(secs(1));
    assert_eq!((pool.released(), pool.place(BEN)), (vec![(ANA, Why::Disconnected)], at_pod(0)));
}

#[test]
fn whoever_falls_silent_has_not_said_that_it_missed_nothing() {
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
        "what it has read last may be lost, and it closes its streams by that"
    );
    pool.after(secs(1));
    assert_eq!((pool.place(ANA), pool.recycled()), (Where::Queued(0), vec![0]), "R2 may have led somebody there");
}

#[test]
fn a_size_that_lost_entries_decided_is_overruled() {
    let rules = Rules { max: 3, cooldown: secs(10), ..Rules::default() };
    let mut pool = Story::running(3, rules);
    let decided = |pool: &Story| match pool.fleet.scale(&pool.pool_id()) {
        Some(Effect::Scale { decided, .. }) => decided.position,
        _ => 0,
    };
    // What is lost lowered it to 1 at a position that has long been passed since.
    let (lost, before) = (pool.fleet.applied() + 2, decided(&pool));
    pool.lapse(secs(90)).tick().tick().tick().scale_seen(1, lost);
    assert!(lost < pool.fleet.applied() && before < lost);
    assert!(decided(&pool) > lost, "or whoever is told would take it for old");
    assert_eq!(pool.owed().len(), 1);
    pool.scale_done();
    assert_eq!(pool.owed(), []);
}

#[test]
fn a_second_lapse_lengthens_the_first_and_never_shortens_it() {
    let mut pool = Story::with_pods(1);
    pool.lapse(secs(200)).after(secs(10)).lapse(secs(90)).visit(ANA).after(secs(189));
    assert_eq!(pool.place(ANA), Where::Queued(0));
    pool.after(secs(1));
    assert_eq!(pool.place(ANA), at_pod(0));
    // Nor does one that finds somebody to ask, after one that found nobody.
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
    assert_eq!(pool.fleet.semantics(), 1, "who has said nothing knows the first");
    pool.by(R2).hello(2);
    assert_eq!(pool.fleet.semantics(), 1, "R1 still lives");
    pool.by(R1).farewell();
    assert_eq!(pool.fleet.semantics(), 2);
    pool.by(ReplicaId(3)).hello(1);
    assert_eq!(pool.fleet.semantics(), 2, "and never back: the third has to see that it knows too little");
}

#[test]
fn a_replica_that_is_silent_for_good_does_not_hold_up_new_semantics() {
    let mut pool = Story::with_pods(1);
    pool.by(R2).hello(2).silent(R1).after(secs(91));
    assert_eq!(pool.fleet.semantics(), 2);
}
