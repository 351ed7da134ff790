//! The test bed finds what it is there for: each of these bugs, planted into the dispatcher or its core, breaks a promise
//! within 200 seeds, and the program says which, when, and how to see it again.

use slotkeeper_core::planted::Bug;

fn found(bug: Bug) {
    let hunt = &["hunt", "--from", "1", "--seeds", "200", "--jobs", "1", "--as-it-is", "--plant", bug.word()];
    let output = crate::world::program(hunt);
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{bug:?} was not found: {text}");
    for part in ["BROKEN after", "Rule: ", "Documented in ", "What happened before", "slotkeeper-sim run --seed"] {
        assert!(text.contains(part), "{part:?} is missing in\n{text}");
    }
    assert!(text.lines().count() < 50, "more than a screen:\n{text}");
}

#[test]
fn forwarding_before_the_attach_is_read_back_is_found() {
    found(Bug::ForwardBeforeAttach);
}

#[test]
fn a_new_session_for_an_unknown_cookie_is_found() {
    found(Bug::MintForUnknown);
}

#[test]
fn placing_on_a_terminating_pod_is_found() {
    found(Bug::PlaceOnTerminating);
}

#[test]
fn binding_to_a_pods_name_is_found() {
    found(Bug::BindToName);
}

#[test]
fn lowering_desired_without_retiring_is_found() {
    found(Bug::LowerWithoutRetiring);
}

#[test]
fn counting_sessions_instead_of_the_highest_ordinal_is_found() {
    found(Bug::CountSessions);
}

#[test]
fn a_dropped_last_detach_is_found() {
    found(Bug::DropLastDetach);
}

#[test]
fn telling_a_scaler_0_before_the_journal_is_read_is_found() {
    found(Bug::ServeZero);
}

#[test]
fn acting_on_an_entry_twice_is_found() {
    found(Bug::ActTwice);
}

#[test]
fn trusting_the_local_clock_for_a_deadline_is_found() {
    found(Bug::LocalDeadline);
}

#[test]
fn serving_before_the_journal_is_read_is_found() {
    found(Bug::ServeUnread);
}

#[test]
fn a_checkpoint_with_the_wrong_position_is_found() {
    found(Bug::WrongPosition);
}
