//! Tests each rule with observation lists written by hand: lawful ones pass, violations are found.

mod queue;

use crate::*;

/// Observations at growing times.
struct Story {
    reference: Reference,
    now: u64,
    found: Vec<(Rule, u64)>,
}

const ANA: &str = "ana";
const BEN: &str = "ben";
const CEM: &str = "cem";

fn settings() -> Settings {
    Settings {
        slots_per_pod: 1,
        max: 3,
        recycle: false,
        moves: false,
        scaling: Scaling::Own,
        queue_lease: 30_000,
        claim: 60_000,
        grace: 30_000,
        idle: None,
        max_session: None,
        stuck_after: 600_000,
        hidden: 120_000,
        clocks_jump: false,
    }
}

impl Story {
    fn new(watch: Watch, settings: Settings) -> Story {
        let mut story = Story { reference: Reference::new(watch), now: 1_000, found: Vec::new() };
        story.see(Observation::Settings(settings));
        story.see(Observation::Stored { start: 0, end: 3, position: 0 });
        story
    }

    /// Pods 0 and 1 are ready, and have been observed from their first moment.
    fn with_pods(watch: Watch, settings: Settings) -> Story {
        let mut story = Story::new(watch, settings);
        for (pod, ordinal) in [("p0", 0), ("p1", 1)] {
            story.pod(pod, ordinal, PodState::Starting).pod(pod, ordinal, PodState::Ready);
        }
        story.see(Observation::CaughtUp);
        story.snapshot();
        story
    }

    fn see(&mut self, what: Observation) -> &mut Self {
        self.see_since(0, what)
    }

    /// It became true at some moment of the last `tolerance` milliseconds.
    fn see_since(&mut self, tolerance: u64, what: Observation) -> &mut Self {
        let found = self.reference.observe(&Observed { at: self.now, tolerance, what });
        self.found.extend(found.into_iter().map(|f| (f.rule, f.time)));
        self
    }

    fn pass(&mut self, ms: u64) -> &mut Self {
        self.now += ms;
        self
    }

    fn pod(&mut self, pod: &str, ordinal: u32, state: PodState) -> &mut Self {
        self.see(Observation::Pod { pod: pod.into(), ordinal, state })
    }

    fn sign(&mut self, visitor: &str) -> &mut Self {
        self.see(Observation::Sign { visitor: visitor.into(), class: 0 })
    }

    fn told(&mut self, visitor: &str, answer: Answer) -> &mut Self {
        self.see(Observation::Told { visitor: visitor.into(), answer })
    }

    fn seat(&mut self, visitor: &str, pod: &str) -> &mut Self {
        self.told(visitor, Answer::Seat { pod: pod.into() })
    }

    fn waits(&mut self, visitor: &str, ahead: u64) -> &mut Self {
        self.told(visitor, Answer::Waiting { ahead: Some(ahead) })
    }

    fn ended(&mut self, visitor: &str, reason: Reason) -> &mut Self {
        self.told(visitor, Answer::Ended { reason })
    }

    fn stream(&mut self, visitor: &str, pod: &str, stream: u64) -> &mut Self {
        self.see(Observation::Stream { visitor: visitor.into(), pod: pod.into(), stream })
    }

    fn closed(&mut self, visitor: &str, stream: u64) -> &mut Self {
        let quiet_since = self.now;
        self.see(Observation::Closed { visitor: visitor.into(), stream, quiet_since })
    }

    fn snapshot(&mut self) -> &mut Self {
        self.see(Observation::Snapshot)
    }

    #[track_caller]
    fn lawful(&mut self) {
        assert_eq!(self.found, []);
    }

    #[track_caller]
    fn finds(&mut self, rule: Rule) {
        assert_eq!(self.found, [(rule, self.now)]);
    }
}

fn full(watch: Watch) -> Story {
    let mut story = Story::with_pods(watch, settings());
    story.sign(ANA).sign(BEN).seat(ANA, "p0").seat(BEN, "p1").snapshot();
    story.stream(ANA, "p0", 1).stream(BEN, "p1", 2).pass(1_000);
    story
}

// ---- two sessions in one slot ----

#[test]
fn two_seats_in_one_slot_are_found() {
    let mut story = Story::with_pods(Watch::Snapshots, settings());
    story.seat(ANA, "p0").seat(BEN, "p0").snapshot().finds(Rule::SharedSlot);
}

#[test]
fn a_seat_in_a_slot_with_an_open_stream_is_found() {
    let mut story = full(Watch::Snapshots);
    story.see(Observation::Leaves { visitor: ANA.into() }).ended(ANA, Reason::Left).told(ANA, Answer::Unknown);
    story.sign(CEM).seat(CEM, "p0").snapshot().finds(Rule::SharedSlot);
}

#[test]
fn a_slot_is_free_again_when_its_streams_are_closed() {
    let mut story = full(Watch::Snapshots);
    story.see(Observation::Leaves { visitor: ANA.into() }).ended(ANA, Reason::Left).closed(ANA, 1);
    story.told(ANA, Answer::Unknown).sign(CEM).seat(CEM, "p0").snapshot().lawful();
}

#[test]
fn a_pod_with_two_slots_holds_two_sessions_and_not_three() {
    let mut story = Story::with_pods(Watch::Snapshots, Settings { slots_per_pod: 2, ..settings() });
    story.seat(ANA, "p0").seat(BEN, "p0").snapshot().lawful();
    story.seat(CEM, "p0").snapshot().finds(Rule::SharedSlot);
}

#[test]
fn a_pod_that_answers_another_visitor_within_grace_is_found() {
    let mut story = full(Watch::Events);
    story.pass(10_000).seat(CEM, "p0").finds(Rule::SharedSlot);
}

#[test]
fn a_pod_may_answer_another_visitor_after_grace_or_after_the_session_was_ended() {
    let mut story = full(Watch::Events);
    story.pass(31_000).seat(CEM, "p0").lawful();
    let mut story = full(Watch::Events);
    story.see(Observation::Leaves { visitor: ANA.into() }).pass(100).seat(CEM, "p0").lawful();
}

#[test]
fn streams_that_overlap_are_found_even_if_a_session_ended_meanwhile() {
    let mut story = full(Watch::Events);
    story.pass(40_000).stream(CEM, "p0", 3).lawful();
    story.pass(100).see(Observation::Leaves { visitor: CEM.into() }).stream(ANA, "p0", 1).finds(Rule::SharedSlot);
}

#[test]
fn another_visitor_in_a_used_incarnation_is_found_where_pods_are_recycled() {
    for (recycle, found) in [(true, vec![(Rule::SharedSlot, 2_000)]), (false, vec![])] {
        let mut story = Story::with_pods(Watch::Snapshots, Settings { recycle, ..settings() });
        story.seat(ANA, "p0").stream(ANA, "p0", 1).snapshot().pass(1_000);
        story.see(Observation::Leaves { visitor: ANA.into() }).ended(ANA, Reason::Left).closed(ANA, 1);
        story.told(ANA, Answer::Unknown).seat(BEN, "p0").snapshot();
        assert_eq!(story.found, found);
    }
}

// ---- a session moved without cause ----

#[test]
fn a_session_that_changes_its_pod_is_found() {
    for watch in [Watch::Snapshots, Watch::Events] {
        let mut story = Story::with_pods(watch, settings());
        story.seat(ANA, "p0").pass(1_000).seat(ANA, "p1").finds(Rule::Moved);
    }
}

#[test]
fn a_session_may_move_when_its_pod_terminates_or_is_emptied() {
    let mut story = Story::with_pods(Watch::Snapshots, settings());
    story.seat(ANA, "p0").snapshot().pass(1_000).pod("p0", 0, PodState::Terminating { by: Remover::Other });
    story.waits(ANA, 0).seat(ANA, "p1").snapshot().lawful();
    let mut story = Story::with_pods(Watch::Snapshots, settings());
    story.seat(ANA, "p0").snapshot().pass(1_000).see(Observation::Emptied { ordinal: 0 });
    story.seat(ANA, "p1").snapshot().lawful();
}

#[test]
fn a_session_may_be_elsewhere_when_it_may_have_ended_meanwhile() {
    let mut story = Story::with_pods(Watch::Events, settings());
    story.seat(ANA, "p0").pass(31_000).seat(ANA, "p1").lawful();
}

#[test]
fn a_session_that_waits_again_although_its_pod_stays_is_found() {
    let mut story = Story::with_pods(Watch::Snapshots, settings());
    story.seat(ANA, "p0").snapshot().pass(1_000).waits(ANA, 0).finds(Rule::Moved);
}

// ---- a session killed by us ----

#[test]
fn a_scale_down_or_recycle_under_a_session_is_found() {
    for watch in [Watch::Snapshots, Watch::Events] {
        for by in [Remover::ScaleDown, Remover::Recycle] {
            full(watch).pod("p1", 1, PodState::Terminating { by }).finds(Rule::Killed);
        }
    }
}

#[test]
fn a_lost_node_or_the_removal_of_an_empty_pod_is_not_a_finding() {
    for watch in [Watch::Snapshots, Watch::Events] {
        full(watch).pod("p1", 1, PodState::Terminating { by: Remover::Other }).lawful();
        let mut story = Story::with_pods(watch, settings());
        story.pod("p1", 1, PodState::Terminating { by: Remover::ScaleDown }).lawful();
    }
}

#[test]
fn an_order_that_excludes_a_session_is_found() {
    let mut story = full(Watch::Snapshots);
    story.see(Observation::Ordered { start: 0, end: 1, position: 7 }).snapshot().finds(Rule::Killed);
}

#[test]
fn a_stream_that_outlives_the_removal_of_its_pod_is_found() {
    let mut story = full(Watch::Events);
    story.pass(31_000).pod("p1", 1, PodState::Terminating { by: Remover::ScaleDown }).lawful();
    story.pass(10).stream(BEN, "p1", 2).finds(Rule::Killed);
}

#[test]
fn the_time_of_a_session_may_have_begun_before_its_first_stream_was_seen() {
    let removal = |settings: Settings| {
        let mut story = Story::with_pods(Watch::Events, settings);
        story.sign(ANA).told(ANA, Answer::Ready).pass(20_000).stream(ANA, "p0", 1).pass(10_000);
        story.pod("p0", 0, PodState::Terminating { by: Remover::Recycle });
        story
    };
    removal(Settings { max_session: Some(25_000), ..settings() }).lawful();
    removal(Settings { max_session: Some(31_000), ..settings() }).finds(Rule::Killed);
}

#[test]
fn after_a_journal_loss_it_may_have_begun_long_before() {
    let removal = |max_session| {
        let mut story = Story::with_pods(Watch::Events, Settings { max_session, ..settings() });
        story.sign(ANA).told(ANA, Answer::Ready).stream(ANA, "p0", 1).pass(20_000);
        story.see(Observation::JournalLost).see(Observation::JournalSettled);
        story.stream(ANA, "p0", 2).pass(10_000).pod("p0", 0, PodState::Terminating { by: Remover::Recycle });
        story
    };
    removal(Some(25_000)).lawful();
    removal(None).finds(Rule::Killed);
}

#[test]
fn its_time_may_have_begun_with_a_request_whose_answer_was_never_observed() {
    let removal = |max_session| {
        let mut story = Story::with_pods(Watch::Events, Settings { max_session, ..settings() });
        story.sign(ANA).pass(10_000).seat(ANA, "p0").stream(ANA, "p0", 1).pass(20_000);
        story.pod("p0", 0, PodState::Terminating { by: Remover::Recycle });
        story
    };
    removal(Some(25_000)).lawful();
    removal(Some(35_000)).finds(Rule::Killed);
}

#[test]
fn an_answer_that_was_asked_for_before_the_end_begins_no_session() {
    let mut story = full(Watch::Events);
    story.see(Observation::Kicked { visitor: ANA.into() }).closed(ANA, 1).ended(ANA, Reason::Kicked);
    let answer = Answer::Seat { pod: "p0".into() };
    story.pass(10).see_since(20, Observation::Told { visitor: ANA.into(), answer });
    story.pod("p0", 0, PodState::Terminating { by: Remover::Recycle }).lawful();
}

#[test]
fn a_session_that_was_not_observed_for_long_may_have_begun_long_before() {
    let removal = |max_session| {
        let mut story = Story::with_pods(Watch::Events, Settings { max_session, ..settings() });
        story.sign(ANA).told(ANA, Answer::Ready).stream(ANA, "p0", 1).closed(ANA, 1).pass(121_000);
        story.see(Observation::Clock).sign(ANA).stream(ANA, "p0", 2).seat(ANA, "p0").pass(10_000);
        story.pod("p0", 0, PodState::Terminating { by: Remover::Recycle });
        story
    };
    removal(Some(25_000)).lawful();
    removal(None).finds(Rule::Killed);
}

#[test]
fn a_session_that_ends_before_its_clock_has_run_out_is_found() {
    let mut story = full(Watch::Snapshots);
    story.closed(ANA, 1).pass(29_999).ended(ANA, Reason::Disconnected).finds(Rule::Killed);
    let mut story = full(Watch::Snapshots);
    story.closed(ANA, 1).pass(30_000).ended(ANA, Reason::Disconnected).lawful();
}

#[test]
fn a_session_with_an_open_stream_is_not_disconnected_and_one_that_attached_is_not_a_no_show() {
    full(Watch::Snapshots).pass(90_000).ended(ANA, Reason::Disconnected).finds(Rule::Killed);
    full(Watch::Snapshots).pass(90_000).ended(ANA, Reason::NoShow).finds(Rule::Killed);
}

#[test]
fn a_false_reason_is_found() {
    let reasons = [Reason::Left, Reason::Kicked, Reason::Idle, Reason::TimeUp, Reason::PoolRemoved];
    for reason in reasons {
        full(Watch::Snapshots).pass(90_000).ended(ANA, reason).finds(Rule::Killed);
    }
    let mut story = full(Watch::Snapshots);
    story.see(Observation::Kicked { visitor: ANA.into() }).ended(ANA, Reason::Kicked).lawful();
}

// ---- a visitor waits while a slot is free ----

#[test]
fn a_visitor_that_waits_although_a_pod_is_free_is_found() {
    let mut story = Story::with_pods(Watch::Snapshots, settings());
    story.sign(ANA).waits(ANA, 0).snapshot().finds(Rule::WaitsInVain);
}

#[test]
fn a_visitor_that_is_turned_away_although_a_pod_is_free_is_found() {
    let mut story = Story::with_pods(Watch::Snapshots, settings());
    story.sign(ANA).told(ANA, Answer::Full).snapshot().finds(Rule::WaitsInVain);
}

#[test]
fn a_pod_is_not_surely_free_if_it_is_cordoned_or_outside_an_order_or_an_event_is_in_flight_or_it_is_busy() {
    let cases: [fn(&mut Story); 4] = [
        |s| {
            s.see(Observation::Cordoned { ordinal: 0 }).see(Observation::Cordoned { ordinal: 1 });
        },
        |s| {
            s.see(Observation::Ordered { start: 0, end: 0, position: 7 });
        },
        |s| {
            s.pod("p2", 2, PodState::Starting);
        },
        |s| {
            s.seat(BEN, "p0").seat(CEM, "p1");
        },
    ];
    for case in cases {
        let mut story = Story::with_pods(Watch::Snapshots, settings());
        case(&mut story);
        story.sign(ANA).waits(ANA, 0).snapshot().lawful();
    }
}

#[test]
fn a_pod_that_was_outside_is_free_again_when_the_raised_number_is_stored_and_delivered() {
    let mut story = Story::with_pods(Watch::Snapshots, settings());
    story.see(Observation::Ordered { start: 0, end: 0, position: 7 });
    story.see(Observation::Ordered { start: 0, end: 3, position: 9 }).see(Observation::CaughtUp);
    story.sign(ANA).waits(ANA, 0).snapshot().lawful();
    story.see(Observation::Stored { start: 0, end: 3, position: 9 });
    story.waits(ANA, 0).snapshot().lawful();
    story.see(Observation::CaughtUp).waits(ANA, 0).snapshot().finds(Rule::WaitsInVain);
}

#[test]
fn over_time_only_a_wait_longer_than_everything_hidden_is_found() {
    let mut story = Story::with_pods(Watch::Events, settings());
    story.sign(ANA).waits(ANA, 0).see(Observation::Clock);
    for _ in 0..12 {
        story.pass(10_000).sign(ANA).waits(ANA, 0).see(Observation::Clock).lawful();
    }
    story.pass(10_000).sign(ANA).waits(ANA, 0).see(Observation::Clock).finds(Rule::WaitsInVain);
}

// ---- a lost queue position ----

#[test]
fn a_stream_that_survives_a_kick_is_found_unless_something_is_broken() {
    for broken in [false, true] {
        let mut story = full(Watch::Events);
        story.see(Observation::Kicked { visitor: ANA.into() });
        if broken {
            let until = story.now + 60_000;
            story.see(Observation::Disturbed { until });
        }
        story.pass(31_000).stream(ANA, "p0", 1);
        if broken { story.lawful() } else { story.finds(Rule::Notice) }
    }
}

#[test]
fn a_stream_that_breaks_off_with_its_pod_must_be_closed_with_a_reason() {
    for notified in [false, true] {
        let mut story = full(Watch::Events);
        story.pod("p0", 0, PodState::Terminating { by: Remover::Other });
        if notified {
            story.see(Observation::Notified { visitor: ANA.into(), pod: "p0".into() });
        }
        story.pass(1_000).closed(ANA, 1);
        if notified { story.lawful() } else { story.finds(Rule::Notice) }
    }
}

// ---- a missing notification ----

#[test]
fn a_session_that_ends_without_a_reason_is_found() {
    full(Watch::Snapshots).closed(ANA, 1).pass(40_000).told(ANA, Answer::Unknown).finds(Rule::Notice);
}

#[test]
fn a_stream_in_a_terminating_pod_must_be_notified() {
    for notified in [false, true] {
        let mut story = full(Watch::Snapshots);
        story.pod("p0", 0, PodState::Terminating { by: Remover::Other });
        if notified {
            story.see(Observation::Notified { visitor: ANA.into(), pod: "p0".into() });
        }
        story.waits(ANA, 0);
        if notified { story.lawful() } else { story.finds(Rule::Notice) }
    }
}

// ---- after a journal loss ----

#[test]
fn after_a_journal_loss_sessions_may_be_forgotten_but_slots_are_not_shared() {
    let mut story = full(Watch::Snapshots);
    story.see(Observation::JournalLost).snapshot().see(Observation::JournalSettled);
    story.closed(ANA, 1).told(ANA, Answer::Unknown).waits(BEN, 0).snapshot().lawful();
    story.see(Observation::Leaves { visitor: BEN.into() });
    story.seat(CEM, "p1").told(BEN, Answer::Ended { reason: Reason::Left }).snapshot().finds(Rule::SharedSlot);
}

#[test]
fn after_a_journal_loss_only_ordinals_that_are_uncordoned_again_are_surely_open() {
    let mut story = Story::with_pods(Watch::Snapshots, settings());
    story.see(Observation::JournalLost).see(Observation::JournalSettled);
    story.see(Observation::Ordered { start: 0, end: 3, position: 9 });
    story.see(Observation::Stored { start: 0, end: 3, position: 9 }).see(Observation::CaughtUp);
    story.sign(ANA).waits(ANA, 0).snapshot().lawful();
    story.see(Observation::Uncordoned { ordinal: 1 }).waits(ANA, 0).snapshot().finds(Rule::WaitsInVain);
}
