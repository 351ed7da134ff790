use slotkeeper_sim::models::hpa::{
    AbleToScale, Behavior, Controller, Gates, Hpa, Metric, NoAnswer, Rules, Scale, ScalingActive, Select, Spec, Target,
    Tolerance, proposal,
};
use slotkeeper_sim::models::prometheus::{Expr, Prometheus, Sample, ScrapeFailed};

const ONE: Target = Target::AverageValue(1000);

fn hpa(min: u32, max: u32, behavior: Option<Behavior>) -> Hpa {
    Hpa::new(Spec { min, max, behavior }, Controller::default(), 0)
}

fn pods(n: u32) -> Scale {
    Scale { spec: n, status: n, ready: n }
}

fn metric(sessions: i64) -> [Metric; 1] {
    [Metric { target: ONE, answer: Ok(vec![sessions * 1000]) }]
}

const FAILS: [Metric; 1] = [Metric { target: ONE, answer: Err(NoAnswer) }];

/// Returns the spec after a sync.
fn sync(hpa: &mut Hpa, spec: u32, sessions: i64, second: u64) -> u32 {
    hpa.reconcile(Some(pods(spec)), &metric(sessions), second * 1000).write.unwrap_or(spec)
}

#[test]
fn the_tolerance_table_of_target_one_holds() {
    let tolerance = Tolerance { up: 0.1, down: 0.1, old_comparison: false };
    let after = |n: u32, m: i64| proposal(ONE, &[m * 1000], pods(n), tolerance).unwrap();
    // From n pods: the highest metric that scales down, the lowest that scales up.
    let table = [
        (1, 0, 2),
        (5, 4, 6),
        (9, 8, 10),
        (10, 8, 12),
        (11, 9, 13),
        (20, 17, 23),
        (30, 26, 34),
        (50, 44, 56),
        (100, 89, 111),
        (200, 179, 221),
    ];
    for (n, shrinks, grows) in table {
        assert_eq!(after(n, shrinks), shrinks, "{n} pods");
        assert_eq!(after(n, grows), grows, "{n} pods");
        for m in shrinks + 1..grows {
            assert_eq!(after(n, m), i64::from(n), "{n} pods, metric {m}");
        }
    }
}

#[test]
fn up_to_1_32_exactly_ten_percent_more_scales_but_exactly_ten_percent_less_does_not() {
    let old = Tolerance { up: 0.1, down: 0.1, old_comparison: true };
    assert_eq!(proposal(ONE, &[11_000], pods(10), old), Some(11));
    assert_eq!(proposal(ONE, &[22_000], pods(20), old), Some(22));
    assert_eq!(proposal(ONE, &[9_000], pods(10), old), Some(10));
}

#[test]
fn a_tolerance_of_its_own_is_dropped_while_the_gate_is_off() {
    let eager = Behavior { scale_up: Rules { tolerance: Some(0.0), ..Rules::default() }, ..Behavior::default() };
    let mut on = hpa(1, 100, Some(eager.clone()));
    assert_eq!(sync(&mut on, 10, 11, 15), 11);
    let gates = Gates { configurable_tolerance: false, scale_to_zero: false };
    let spec = Spec { min: 1, max: 100, behavior: Some(eager) };
    let mut off = Hpa::new(spec, Controller { gates, ..Controller::default() }, 0);
    assert_eq!(sync(&mut off, 10, 11, 15), 10);
}

#[test]
fn the_next_sync_is_one_period_after_the_end_of_the_last() {
    let mut hpa = hpa(1, 10, None);
    assert_eq!(hpa.next_sync(), 15_000);
    // Started at 15 s; the metrics took 6 s.
    let _ = hpa.reconcile(Some(pods(3)), &FAILS, 21_000);
    assert_eq!(hpa.next_sync(), 36_000);
    let _ = hpa.reconcile(None, &metric(3), 36_000);
    assert_eq!(hpa.next_sync(), 51_000);
}

#[test]
fn a_patch_downwards_is_reverted_only_as_fast_as_the_rate_limit_allows() {
    let mut hpa = hpa(1, 100, None);
    assert_eq!(sync(&mut hpa, 10, 10, 15), 10);
    assert_eq!(sync(&mut hpa, 4, 10, 30), 8);
    assert_eq!(sync(&mut hpa, 8, 10, 45), 10);
}

#[test]
fn a_patch_upwards_is_reverted_at_once_whatever_the_window() {
    let mut hpa = hpa(1, 100, None);
    assert_eq!(sync(&mut hpa, 3, 3, 15), 3);
    assert_eq!(sync(&mut hpa, 10, 3, 30), 3);
}

#[test]
fn draining_pods_count_and_make_the_hpa_scale_up_at_its_maximum_rate() {
    // 3 wanted, 5 more draining with their sessions: status 8, metric 8.
    let mut hpa = hpa(1, 100, Some(Behavior::default()));
    hpa.history = Some(Default::default());
    let drain = |spec| Scale { spec, status: 8, ready: 8 };
    assert_eq!(hpa.reconcile(Some(drain(3)), &metric(8), 15_000).write, Some(7));
    assert_eq!(hpa.reconcile(Some(drain(7)), &metric(8), 30_000).write, Some(8));
}

#[test]
fn an_error_changes_nothing_and_leaves_no_recommendation() {
    let mut hpa = hpa(1, 10, None);
    assert_eq!(sync(&mut hpa, 5, 5, 15), 5);
    let before = hpa.history.clone();
    let result = hpa.reconcile(Some(pods(5)), &FAILS, 30_000);
    assert_eq!((result.write, result.scaling_active), (None, Some(ScalingActive::FailedGetExternalMetric)));
    assert_eq!(hpa.history, before);
}

#[test]
fn with_one_of_two_metrics_failing_it_may_scale_up_but_not_down() {
    let two = |sessions: i64| [FAILS[0].clone(), metric(sessions)[0].clone()];
    let mut hpa = hpa(
        1,
        100,
        Some(Behavior { scale_down: Rules { window: Some(0), ..Rules::default() }, ..Behavior::default() }),
    );
    let shrink = hpa.reconcile(Some(pods(5)), &two(2), 15_000);
    assert_eq!((shrink.write, shrink.error), (None, true));
    let same = hpa.reconcile(Some(pods(5)), &two(5), 20_000);
    assert_eq!((same.write, same.scaling_active), (None, Some(ScalingActive::ValidMetricFound)));
    let grow = hpa.reconcile(Some(pods(5)), &two(7), 30_000);
    assert_eq!((grow.write, grow.error), (Some(7), true));
}

#[test]
fn bounds_act_without_metrics_and_without_a_window() {
    let mut hpa = hpa(2, 6, None);
    assert!(!hpa.reads_metrics(pods(9)));
    let result = hpa.reconcile(Some(pods(9)), &FAILS, 15_000);
    assert_eq!((result.write, result.able_to_scale), (Some(6), AbleToScale::SucceededRescale));
    assert_eq!(hpa.reconcile(Some(pods(1)), &FAILS, 30_000).write, Some(2));
    assert!(hpa.reads_metrics(pods(4)));
}

#[test]
fn a_restart_protects_the_current_size_for_one_window() {
    let mut hpa = hpa(1, 100, None);
    for tick in 1..=40 {
        assert_eq!(sync(&mut hpa, 20, 20, tick * 15), 20);
    }
    hpa.restart(610_000);
    assert_eq!(hpa.next_sync(), 625_000);
    assert_eq!(sync(&mut hpa, 20, 0, 625), 20);
    assert_eq!(sync(&mut hpa, 20, 0, 925), 20);
    assert_eq!(sync(&mut hpa, 20, 0, 926), 1);
}

#[test]
fn a_window_with_behavior_ends_one_tick_earlier_than_without() {
    let held_until = |behavior: Option<Behavior>| {
        let mut hpa = hpa(1, 100, behavior);
        assert_eq!(sync(&mut hpa, 5, 5, 0), 5);
        (1..).map(|tick| tick * 15).find(|second| sync(&mut hpa, 5, 1, *second) == 1)
    };
    assert_eq!(held_until(None), Some(315));
    assert_eq!(held_until(Some(Behavior::default())), Some(300));
}

#[test]
fn only_an_hpa_that_scaled_to_zero_itself_scales_up_again() {
    let gates = Gates { configurable_tolerance: true, scale_to_zero: true };
    let spec = Spec { min: 0, max: 10, behavior: None };
    let mut hpa = Hpa::new(spec, Controller { gates, downscale_window: 0, ..Controller::default() }, 0);
    let patched = hpa.reconcile(Some(pods(0)), &metric(5), 15_000);
    assert_eq!((patched.write, patched.scaling_active), (None, Some(ScalingActive::ScalingDisabled)));
    assert_eq!(sync(&mut hpa, 2, 0, 30), 0);
    assert_eq!(sync(&mut hpa, 0, 3, 45), 3);
    assert_eq!(sync(&mut hpa, 0, 3, 60), 0);
}

#[test]
fn absurd_metrics_and_targets_do_no_harm() {
    let tolerance = Tolerance { up: 0.1, down: 0.1, old_comparison: false };
    let huge = [i64::MAX, i64::MAX];
    assert_eq!(proposal(ONE, &huge, pods(1), tolerance), Some(i64::from(i32::MAX)));
    assert_eq!(proposal(Target::AverageValue(0), &[0], pods(0), tolerance), Some(0));
    let mut hpa = hpa(1, 10, None);
    let negative = [Metric { target: ONE, answer: Ok(vec![i64::MIN, -1]) }];
    hpa.history = Some(Default::default());
    assert_eq!(hpa.reconcile(Some(pods(4)), &negative, 15_000).write, Some(1));
    let unbounded = Scale { spec: u32::MAX, status: u32::MAX, ready: u32::MAX };
    assert_eq!(hpa.reconcile(Some(unbounded), &metric(1), 30_000).write, Some(10));
}

/// KEDA asks two Prometheus servers in turn. A raise from 1 to 2 is scraped by the first one at 15 s; the second one cannot reach
/// the dispatcher from then on, and its `max_over_time` shows the old number for another minute. Returns the sizes after each sync.
fn sizes_behind_two_servers(down: Rules) -> Vec<u32> {
    let query = Expr::max_over_time("sessions", "p", 60_000).max();
    let servers: Vec<Prometheus> = (0..2)
        .map(|server| {
            let mut prometheus = Prometheus::new(15_000);
            prometheus.add_target("d0", 0);
            for at in 0..6 {
                let value = if at == 0 { 1.0 } else { 2.0 };
                let sample = Sample { metric: "sessions".into(), pool: "p".into(), value, at: None };
                let reached = server == 0 || at == 0;
                prometheus.scrape("d0", if reached { Ok(vec![sample]) } else { Err(ScrapeFailed) }, at * 15_000);
            }
            prometheus
        })
        .collect();
    let up = Rules { tolerance: Some(0.0), ..Rules::default() };
    let mut hpa = hpa(1, 5, Some(Behavior { scale_up: up, scale_down: down }));
    let mut size = 1;
    [(16, 0), (31, 1), (46, 0)]
        .into_iter()
        .map(|(second, server)| {
            let answer = servers[server].query(&query, second * 1_000).expect("it runs");
            size = sync(&mut hpa, size, answer[0] as i64, second);
            size
        })
        .collect()
}

#[test]
fn an_older_number_after_a_newer_one_removes_a_new_pod_unless_a_window_or_the_guard_holds_it() {
    let eager = Rules { window: Some(0), ..Rules::default() };
    assert_eq!(sizes_behind_two_servers(eager.clone()), [2, 1, 2], "the pod that was created for the raise is removed");
    assert_eq!(sizes_behind_two_servers(Rules::default()), [2, 2, 2], "the shipped window of 300 s");
    assert_eq!(sizes_behind_two_servers(Rules { select: Select::Disabled, ..eager }), [2, 2, 2], "keda_guard");
}
