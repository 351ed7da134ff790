use slotkeeper_sim::models::hpa::{Behavior, Select, Target};
use slotkeeper_sim::models::keda::{
    Active, Annotations, Answer, End, Failure, Fallback, FallbackBehavior, Heard, Keda, PrometheusTrigger, Reading,
    Ready, Release, Replicas, ScaledObject, Stream, Trigger, TriggerError, hpa_behavior, reconcile_backoff,
};

const TRIGGER: Trigger = Trigger { target: Target::AverageValue(1000), cached: false };
const FAILS: Answer = Err(Failure::Metrics);
const UNREACHABLE: Answer = Err(Failure::Spec);

fn says(sessions: i64) -> Answer {
    Ok(Reading { active: sessions > 0, milli: vec![sessions * 1000] })
}

fn pods(n: u32) -> Replicas {
    Replicas { current: n, ready: n }
}

fn fallback(replicas: u32, behavior: FallbackBehavior) -> Option<Fallback> {
    Some(Fallback { threshold: 3, replicas, behavior })
}

fn keda(object: ScaledObject, triggers: &[Trigger]) -> Keda {
    Keda::new(object, triggers.to_vec(), Release::V2_20, 0)
}

fn annotated(name: &str, value: &str) -> ScaledObject {
    ScaledObject { annotations: Annotations::default().with(name, value), ..ScaledObject::default() }
}

#[test]
fn polls_are_measured_from_start_to_start() {
    let mut keda = keda(ScaledObject::default(), &[TRIGGER]);
    assert_eq!(keda.next_poll(), Some(210));
    let mut query = keda.begin_poll(210);
    assert_eq!(keda.next_poll(), None, "one at a time");
    assert_eq!(keda.hear(&mut query, &[says(1)]), Heard::Over);
    let _ = keda.end_poll(query, pods(1), 7_000);
    assert_eq!(keda.next_poll(), Some(30_210));
    keda.restart_loop(12_000);
    assert_eq!(keda.next_poll(), Some(12_210));
}

#[test]
fn a_new_object_on_a_running_workload_goes_to_zero_at_its_first_poll() {
    let mut plain = keda(ScaledObject::default(), &[TRIGGER]);
    let first = plain.next_poll().unwrap();
    assert_eq!(plain.poll(&[says(0)], pods(7), first).set, Some(0));
    let patient = ScaledObject { initial_cooldown: 120_000, ..ScaledObject::default() };
    assert_eq!(keda(patient, &[TRIGGER]).poll(&[says(0)], pods(7), first).set, None);
}

#[test]
fn a_failing_trigger_is_queried_once_more() {
    let mut keda = keda(ScaledObject::default(), &[TRIGGER]);
    let mut query = keda.begin_poll(0);
    assert_eq!(keda.hear(&mut query, &[FAILS]), Heard::Again);
    assert_eq!(keda.hear(&mut query, &[says(3)]), Heard::Over);
    assert_eq!(keda.end_poll(query, pods(0), 10).set, Some(1));
}

#[test]
fn one_active_trigger_is_enough_but_does_not_keep_alive_while_another_fails() {
    let mut keda = keda(ScaledObject::default(), &[TRIGGER, TRIGGER]);
    let decision = keda.poll(&[says(1), FAILS], pods(4), 1_000);
    assert_eq!((decision.set, decision.ready, keda.last_active()), (None, Ready::PartialTriggerError, None));
    assert_eq!(keda.poll(&[says(1), FAILS], pods(0), 2_000).set, Some(1));
    assert_eq!(keda.last_active(), Some(2_000));
}

#[test]
fn the_time_of_the_last_activity_is_kept_in_whole_seconds() {
    let object = ScaledObject { cooldown: 10_000, ..ScaledObject::default() };
    let mut keda = keda(object, &[TRIGGER]);
    let _ = keda.poll(&[says(1)], pods(2), 1_999);
    assert_eq!(keda.poll(&[says(0)], pods(2), 11_000).active, Some(Active::ScalerCooldown));
    assert_eq!(keda.poll(&[says(0)], pods(2), 11_001).set, Some(0));
}

#[test]
fn with_an_idle_count_it_scales_to_idle_and_back() {
    let object = ScaledObject { min: 3, idle: Some(1), cooldown: 60_000, ..ScaledObject::default() };
    let mut keda = keda(object, &[TRIGGER]);
    assert_eq!(keda.poll(&[says(5)], pods(1), 1_000).set, Some(3));
    assert_eq!(keda.poll(&[says(0)], pods(5), 31_000).set, None);
    assert_eq!(keda.poll(&[says(0)], pods(5), 61_001).set, Some(1));
    assert_eq!(keda.poll(&[says(0)], pods(1), 91_000).set, None);
    assert_eq!(keda.poll(&[says(0)], pods(0), 121_000).set, None, "idle is no minimum");
}

#[test]
fn a_paused_object_has_neither_polls_nor_an_hpa() {
    let mut keda = keda(annotated(Annotations::PAUSED, "true"), &[TRIGGER]);
    assert_eq!((keda.next_poll(), keda.hpa_bounds()), (None, None));
    assert_eq!(keda.push(true, true, 0, 5_000), None);
    keda.object.annotations = Annotations::default();
    assert_eq!(keda.hpa_bounds(), Some((1, 100)));
    keda.object.annotations = Annotations::default().with(Annotations::PAUSED_REPLICAS, "7");
    assert_eq!((keda.next_poll(), keda.paused_write(3), keda.paused_write(7)), (None, Some(7), None));
}

#[test]
fn an_annotation_that_is_not_a_boolean_counts_as_true() {
    for (value, paused) in [("true", true), ("yes", true), ("", true), ("false", false), ("0", false), ("F", false)] {
        assert_eq!(annotated(Annotations::PAUSED, value).annotations.paused(), paused, "{value:?}");
    }
}

#[test]
fn a_pause_in_one_direction_disables_it_in_the_hpa_and_adds_a_behavior() {
    let behavior = hpa_behavior(&annotated(Annotations::PAUSED_SCALE_IN, "true"), None).unwrap();
    assert_eq!((behavior.scale_down.select, behavior.scale_up.select), (Select::Disabled, Select::Max));
    let behavior = hpa_behavior(&annotated(Annotations::PAUSED_SCALE_OUT, "true"), Some(&Behavior::default())).unwrap();
    assert_eq!((behavior.scale_down.select, behavior.scale_up.select), (Select::Max, Select::Disabled));
    assert_eq!(hpa_behavior(&ScaledObject::default(), None), None);
}

#[test]
fn paused_scale_out_neither_activates_nor_counts_as_activity() {
    let mut keda = keda(annotated(Annotations::PAUSED_SCALE_OUT, "true"), &[TRIGGER]);
    assert_eq!(keda.poll(&[says(2)], pods(0), 5_000).set, None);
    assert_eq!(keda.last_active(), None);
}

#[test]
fn a_push_waits_for_the_poll_in_progress() {
    let object = ScaledObject { cooldown: 0, ..ScaledObject::default() };
    let mut keda = keda(object, &[TRIGGER]);
    let mut query = keda.begin_poll(10_000);
    assert_eq!(keda.push(true, true, 3, 11_000), None);
    assert_eq!(keda.hear(&mut query, &[says(0)]), Heard::Over);
    // The poll was inactive: it scales to 0 before the push, which knows better, is handled.
    assert_eq!(keda.end_poll(query, pods(3), 12_000).set, Some(0));
    assert_eq!(keda.take_push(0, 12_000).unwrap().set, Some(1));
    assert_eq!(keda.take_push(1, 12_000), None);
}

#[test]
fn pushes_keep_a_pool_alive_although_polls_are_inactive() {
    let object = ScaledObject { cooldown: 20_000, ..ScaledObject::default() };
    let mut keda = keda(object, &[TRIGGER]);
    let _ = keda.poll(&[says(1)], pods(3), 0);
    for minute in 1..=5 {
        assert_eq!(keda.push(true, true, 3, minute * 60_000 - 10_000).unwrap().set, None);
        assert_eq!(keda.poll(&[says(0)], pods(3), minute * 60_000).set, None);
    }
    assert_eq!(keda.poll(&[says(0)], pods(3), 330_000).set, Some(0));
}

#[test]
fn a_push_stream_backs_off_as_measured() {
    use End::{Clean, Error};
    let waits = |ends: &[End]| {
        let mut stream = Stream::default();
        ends.iter().map(|end| stream.ended(*end) / 1000).collect::<Vec<_>>()
    };
    assert_eq!(waits(&[Error; 7]), [2, 4, 8, 16, 32, 60, 60]);
    // The clean end restarts the backoff: the next error already waits 4 s.
    assert_eq!(waits(&[Clean, Error, Error, Error, Error, Error, Error]), [2, 4, 8, 16, 32, 60, 60]);
    assert_eq!(waits(&[Error, Error, Error, Clean, Clean, Error]), [2, 4, 8, 2, 2, 4]);
}

#[test]
fn fallback_needs_a_metric_to_count_on() {
    let object = ScaledObject { fallback: fallback(6, FallbackBehavior::Static), ..ScaledObject::default() };
    let mut broken = keda(object.clone(), &[TRIGGER]);
    let mut unreachable = keda(object, &[TRIGGER]);
    for poll in 0..20 {
        let _ = broken.poll(&[FAILS], pods(4), poll * 30_000);
        assert_eq!(unreachable.poll(&[UNREACHABLE], pods(4), poll * 30_000).set, None);
        assert!(unreachable.request(0, &[UNREACHABLE], pods(4)).answer.is_err());
    }
    assert_eq!((broken.failures(0), unreachable.failures(0)), (20, 0));
    assert_eq!(broken.request(0, &[FAILS], pods(4)).answer, Ok(vec![6_000]));
}

#[test]
fn hpa_requests_update_the_failure_counter_like_polls() {
    let object =
        ScaledObject { fallback: fallback(6, FallbackBehavior::CurrentReplicasIfHigher), ..ScaledObject::default() };
    let mut keda = keda(object, &[TRIGGER]);
    let _ = keda.poll(&[FAILS], pods(9), 0);
    assert!(keda.request(0, &[FAILS], pods(9)).answer.is_err());
    assert!(keda.request(0, &[FAILS], pods(9)).answer.is_err());
    assert_eq!(keda.request(0, &[FAILS], pods(9)).answer, Ok(vec![9_000]), "the fourth");
    assert_eq!(keda.request(0, &[says(2)], pods(9)).answer, Ok(vec![2_000]));
    assert_eq!(keda.failures(0), 0);
}

#[test]
fn a_trigger_in_fallback_counts_as_active() {
    let object = ScaledObject { fallback: fallback(6, FallbackBehavior::Static), ..ScaledObject::default() };
    let mut keda = keda(object, &[TRIGGER]);
    let set: Vec<Option<u32>> = (0..4).map(|n| keda.poll(&[FAILS], pods(0), n * 30_000).set).collect();
    assert_eq!(set, [None, None, None, Some(1)]);
}

#[test]
fn an_unreachable_scaler_fails_the_metrics_of_the_other_triggers_too() {
    let mut keda = keda(ScaledObject::default(), &[TRIGGER, TRIGGER]);
    assert!(keda.request(0, &[says(3), UNREACHABLE], pods(3)).answer.is_err());
    // If only the value fails, the other trigger is not queried for its value.
    assert_eq!(keda.request(0, &[says(3), FAILS], pods(3)).answer, Ok(vec![3_000]));
}

#[test]
fn a_cached_metric_is_that_of_the_last_poll_but_its_spec_is_queried_each_time() {
    let cached = Trigger { cached: true, ..TRIGGER };
    let mut keda = keda(ScaledObject::default(), &[cached]);
    assert_eq!(keda.request(0, &[says(1)], pods(3)).answer, Ok(vec![1_000]), "nothing is stored yet: queried");
    let _ = keda.poll(&[says(2)], pods(3), 0);
    assert_eq!(keda.request(0, &[says(5)], pods(3)).answer, Ok(vec![2_000]));
    assert_eq!(keda.request(0, &[FAILS], pods(3)).answer, Ok(vec![2_000]));
    assert!(keda.request(0, &[UNREACHABLE], pods(3)).answer.is_err());
    // After that error the stored value is lost, except in the next version.
    assert_eq!(keda.request(0, &[says(5)], pods(3)).answer, Ok(vec![5_000]));
    keda.release = Release::Main;
    let _ = keda.poll(&[says(3)], pods(3), 30_000);
    assert!(keda.request(0, &[UNREACHABLE], pods(3)).answer.is_err());
    assert_eq!(keda.request(0, &[says(5)], pods(3)).answer, Ok(vec![3_000]));
}

#[test]
fn a_prometheus_answer_that_is_not_a_number_is_zero_or_an_error() {
    let lenient = PrometheusTrigger::default();
    let strict = PrometheusTrigger { ignore_null_values: false, ..lenient };
    for odd in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        assert_eq!(lenient.value(Some(&[odd])), Ok(0.0));
        assert_eq!(strict.value(Some(&[odd])), Err(TriggerError::NotANumber));
    }
    assert_eq!(lenient.value(None), Err(TriggerError::NoAnswer));
    assert_eq!(strict.value(Some(&[])), Err(TriggerError::Empty));
    assert_eq!(lenient.read(Some(&[-2.5])), Ok(Reading { active: false, milli: vec![0] }));
    assert_eq!(strict.read(Some(&[2.0004])), Ok(Reading { active: true, milli: vec![2_000] }));
}

#[test]
fn an_object_whose_scaler_does_not_answer_is_retried_with_growing_backoff() {
    let waits: Vec<u64> = [1, 2, 3, 10, 18, 19, 500].map(reconcile_backoff).to_vec();
    assert_eq!(waits, [5, 10, 20, 2_560, 655_360, 1_000_000, 1_000_000]);
}
