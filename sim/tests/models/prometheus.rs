use slotkeeper_sim::models::prometheus::{Down, Expr, Prometheus, Sample, ScrapeFailed};

const INTERVAL: u64 = 15_000;

fn sample(value: f64) -> Sample {
    Sample { metric: "sessions".to_owned(), pool: "desktops".to_owned(), value, at: None }
}

fn sessions() -> Expr {
    Expr::latest("sessions", "desktops")
}

/// Targets that are scraped together at 15, 30, 45 s ...
fn prometheus(targets: &[&str]) -> Prometheus {
    let mut prometheus = Prometheus::new(INTERVAL);
    for target in targets {
        prometheus.add_target(target, INTERVAL);
    }
    prometheus
}

/// Runs every scrape up to `until`, with each target's value (`None`: it does not answer).
fn scrape(prometheus: &mut Prometheus, until: u64, says: impl Fn(&str) -> Option<f64>) {
    while let Some((at, target)) = prometheus.next_scrape()
        && at <= until
    {
        let target = target.to_owned();
        let outcome = says(&target).map(|value| vec![sample(value)]).ok_or(ScrapeFailed);
        prometheus.scrape(&target, outcome, at);
    }
}

fn ask(prometheus: &Prometheus, expr: &Expr, now: u64) -> Vec<f64> {
    prometheus.query(expr, now).expect("it runs")
}

#[test]
fn a_target_is_scraped_every_interval_even_if_it_answers_late() {
    let mut prometheus = prometheus(&["a"]);
    assert_eq!(prometheus.next_scrape(), Some((15_000, "a")));
    prometheus.scrape("a", Ok(vec![sample(1.0)]), 18_000);
    assert_eq!(prometheus.next_scrape(), Some((30_000, "a")));
    prometheus.scrape("a", Ok(vec![sample(2.0)]), 47_000);
    assert_eq!(prometheus.next_scrape(), Some((60_000, "a")), "the one at 45 s was missed");
}

#[test]
fn a_value_is_that_of_the_last_scrape_and_unavailable_before_it_is_known() {
    let mut prometheus = prometheus(&["a"]);
    scrape(&mut prometheus, 15_000, |_| Some(3.0));
    assert_eq!(ask(&prometheus, &sessions(), 29_999), [3.0]);
    prometheus.scrape("a", Ok(vec![sample(5.0)]), 31_500);
    assert_eq!(ask(&prometheus, &sessions(), 31_499), [3.0]);
    assert_eq!(ask(&prometheus, &sessions(), 31_500), [5.0]);
}

#[test]
fn a_sample_of_the_current_second_is_not_found_yet() {
    let mut prometheus = Prometheus::new(INTERVAL);
    prometheus.add_target("a", 15_400);
    scrape(&mut prometheus, 15_400, |_| Some(3.0));
    assert_eq!(ask(&prometheus, &sessions(), 15_999), [0.0; 0]);
    assert_eq!(ask(&prometheus, &sessions(), 16_000), [3.0]);
}

#[test]
fn a_failed_scrape_ends_the_series_at_once() {
    let mut prometheus = prometheus(&["a", "b"]);
    scrape(&mut prometheus, 15_000, |_| Some(3.0));
    scrape(&mut prometheus, 30_000, |target| (target == "a").then_some(3.0));
    assert_eq!(ask(&prometheus, &sessions().sum(), 30_000), [3.0], "the sum of the remaining series");
    scrape(&mut prometheus, 45_000, |_| None);
    assert_eq!(ask(&prometheus, &sessions().sum(), 45_000), [0.0; 0], "a sum of nothing is nothing, not 0");
    scrape(&mut prometheus, 60_000, |_| Some(4.0));
    assert_eq!(ask(&prometheus, &sessions().sum(), 60_000), [8.0]);
}

#[test]
fn a_series_that_a_target_no_longer_exposes_ends_at_that_scrape() {
    let mut prometheus = prometheus(&["a"]);
    scrape(&mut prometheus, 15_000, |_| Some(3.0));
    prometheus.scrape("a", Ok(vec![]), 30_000);
    assert_eq!(ask(&prometheus, &sessions(), 30_000), [0.0; 0]);
}

#[test]
fn a_removed_target_is_found_for_two_intervals_and_a_bit_after_its_last_scrape() {
    let mut prometheus = prometheus(&["old", "new"]);
    scrape(&mut prometheus, 30_000, |_| Some(10.0));
    prometheus.remove_target("old");
    scrape(&mut prometheus, 60_000, |_| Some(10.0));
    // Both count, although only one exists.
    assert_eq!(ask(&prometheus, &sessions().sum(), 61_499), [20.0]);
    assert_eq!(ask(&prometheus, &sessions().max(), 61_499), [10.0]);
    // Written at 30 + 2.1 * 15 = 61.5 s, with the timestamp 45 s.
    assert_eq!(ask(&prometheus, &sessions().sum(), 61_500), [10.0]);
}

#[test]
fn a_target_that_returns_in_time_does_not_end() {
    let mut prometheus = prometheus(&["a"]);
    scrape(&mut prometheus, 30_000, |_| Some(1.0));
    prometheus.remove_target("a");
    prometheus.add_target("a", 50_000);
    scrape(&mut prometheus, 50_000, |_| Some(2.0));
    assert_eq!(ask(&prometheus, &sessions(), 62_000), [2.0]);
}

#[test]
fn without_a_stale_marker_a_value_is_found_for_five_minutes() {
    let mut prometheus = prometheus(&["a"]);
    let explicit = Sample { at: Some(10_000), ..sample(7.0) };
    prometheus.scrape("a", Ok(vec![explicit]), 15_000);
    prometheus.scrape("a", Err(ScrapeFailed), 30_000);
    assert_eq!(ask(&prometheus, &sessions(), 310_000), [7.0]);
    assert_eq!(ask(&prometheus, &sessions(), 311_000), [0.0; 0]);
}

#[test]
fn a_stopped_prometheus_answers_no_query_and_writes_no_stale_marker() {
    let mut prometheus = prometheus(&["a"]);
    scrape(&mut prometheus, 30_000, |_| Some(3.0));
    prometheus.stop();
    assert_eq!(prometheus.query(&sessions(), 40_000), Err(Down));
    assert_eq!(prometheus.next_scrape(), None);
    prometheus.start(100_000, true);
    assert_eq!(ask(&prometheus, &sessions(), 100_000), [3.0], "its last value is still there");
    assert_eq!(prometheus.next_scrape(), Some((105_000, "a")));
}

#[test]
fn a_prometheus_restarted_without_its_storage_finds_nothing_at_first() {
    let mut prometheus = prometheus(&["a"]);
    scrape(&mut prometheus, 30_000, |_| Some(3.0));
    prometheus.stop();
    prometheus.start(40_000, false);
    assert_eq!(ask(&prometheus, &sessions(), 44_000), [0.0; 0]);
    scrape(&mut prometheus, 45_000, |_| Some(4.0));
    assert_eq!(ask(&prometheus, &sessions(), 45_000), [4.0]);
}

#[test]
fn the_maximum_over_time_bridges_a_gap() {
    let mut prometheus = prometheus(&["a"]);
    scrape(&mut prometheus, 30_000, |_| Some(9.0));
    scrape(&mut prometheus, 60_000, |_| None);
    scrape(&mut prometheus, 75_000, |_| Some(2.0));
    let bridged = Expr::max_over_time("sessions", "desktops", 120_000).max();
    assert_eq!(ask(&prometheus, &sessions().max(), 60_000), [0.0; 0]);
    assert_eq!(ask(&prometheus, &bridged, 60_000), [9.0]);
    assert_eq!(ask(&prometheus, &bridged, 150_000), [9.0]);
    assert_eq!(ask(&prometheus, &bridged, 151_000), [2.0]);
}

#[test]
fn absence_can_be_queried_and_replaced() {
    let mut prometheus = prometheus(&["a"]);
    let or_zero = sessions().sum().or(Expr::Number(0.0));
    assert_eq!(ask(&prometheus, &sessions().absent(), 15_000), [1.0]);
    assert_eq!(ask(&prometheus, &or_zero, 15_000), [0.0]);
    scrape(&mut prometheus, 15_000, |_| Some(6.0));
    assert_eq!(ask(&prometheus, &sessions().absent(), 15_000), [0.0; 0]);
    assert_eq!(ask(&prometheus, &or_zero, 15_000), [6.0]);
}

#[test]
fn other_pools_and_metrics_do_not_count_and_without_an_aggregate_each_series_does() {
    let mut prometheus = prometheus(&["a", "b"]);
    for target in ["a", "b"] {
        let other_pool = Sample { pool: "games".to_owned(), ..sample(100.0) };
        let other_metric = Sample { metric: "desired".to_owned(), ..sample(200.0) };
        prometheus.scrape(target, Ok(vec![sample(1.0), other_pool, other_metric]), 15_000);
    }
    assert_eq!(ask(&prometheus, &sessions(), 15_000), [1.0, 1.0]);
}

#[test]
fn a_query_reads_as_promql() {
    let expr = Expr::max_over_time("slotkeeper_desired", "desktops", 120_000).max().or(Expr::Number(0.0));
    assert_eq!(expr.to_string(), r#"max(max_over_time(slotkeeper_desired{pool="desktops"}[120s])) or vector(0)"#);
}
