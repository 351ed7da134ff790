//! Gateways: the same seed gives the same day, and each scenario distinguishes the designs it was made for. With a
//! few hundred clients: in tests the core checks its invariants after every entry.

use crate::report::markup::Document;
use slotkeeper_core::{Placement, Rules, Scaling, Window};
use slotkeeper_sim::chance::{Chance, Draw};
use slotkeeper_sim::planner::gateway::{
    self, Balance, Design, Farewell, Limits, Outcome, QueueFigures, Reconnect, Setting,
};
use slotkeeper_sim::planner::gateway::{SocketFigures, scenario, scenarios};
use slotkeeper_sim::planner::report;

const CLIENTS: u32 = 400;

fn play(name: &str) -> Vec<Outcome> {
    scenario(name).unwrap_or_else(|| panic!("there is no {name}")).play(CLIENTS, 1)
}

/// Returns the only outcome whose title begins like this.
fn of<'a>(outcomes: &'a [Outcome], title: &str) -> &'a Outcome {
    let mut found = outcomes.iter().filter(|o| o.title.starts_with(title));
    let outcome = found.next().unwrap_or_else(|| panic!("there is no {title}"));
    assert!(found.next().is_none(), "{title} is not the only one");
    outcome
}

fn sockets<'a>(outcomes: &'a [Outcome], title: &str) -> &'a SocketFigures {
    of(outcomes, title).sockets().expect("it is about connections")
}

fn queues<'a>(outcomes: &'a [Outcome], title: &str) -> &'a QueueFigures {
    of(outcomes, title).queues().expect("it is about queues")
}

fn all_back(figures: &SocketFigures) -> f64 {
    figures.back.expect("a client was disconnected").max
}

#[test]
fn the_same_seed_gives_the_same_day_and_other_seeds_other_days() {
    for scenario in scenarios() {
        let json = |seed| serde_json::to_string(&scenario.play(60, seed)).expect("outcomes can be written");
        assert_eq!(json(1), json(1), "{}", scenario.name);
        assert_ne!(json(1), json(2), "{}", scenario.name);
    }
}

#[test]
fn every_client_is_connected_in_the_end() {
    for scenario in scenarios() {
        for outcome in scenario.play(100, 3) {
            let Some(figures) = outcome.sockets() else { continue };
            let last = |at: usize| outcome.charts[at].lines.iter().filter_map(|l| l.points.last()).map(|p| p.1).sum();
            let (away, connected): (u32, u32) = (last(1), last(2));
            assert_eq!(u64::from(away), figures.missing, "{}: {}", scenario.name, outcome.title);
            assert_eq!(away + connected, 100, "{}: {}", scenario.name, outcome.title);
            assert_eq!(figures.missing, 0, "{}: {}", scenario.name, outcome.title);
        }
    }
}

#[test]
fn after_a_surge_every_pod_has_the_same_number_of_connections() {
    let outcomes = play("g1-surge");
    let ours = sockets(&outcomes, "Slotkeeper");
    assert!(ours.imbalance < 2.0, "{}", ours.imbalance);
    assert_eq!((ours.pods, ours.missing, ours.lost), (10, 0, 0));
    assert!(sockets(&outcomes, "round robin").imbalance > 20.0);
    assert!(sockets(&outcomes, "kube-proxy").imbalance > 20.0);
    let least = sockets(&outcomes, "least connections");
    assert!(least.imbalance > ours.imbalance, "each of the three knows only its own");
}

#[test]
fn a_rolling_restart_closes_every_connection_with_notice() {
    let outcomes = play("g2-rolling-restart");
    let ours = sockets(&outcomes, "Slotkeeper");
    assert_eq!((ours.lost, ours.missing, ours.pods), (0, 0, 10));
    assert!(ours.closed >= u64::from(CLIENTS) * 9 / 10, "every client was on some pod");
    assert!(all_back(ours) < 10.0, "{}", all_back(ours));
    let least_effort = sockets(&outcomes, "round robin, cut, back at once");
    assert!(least_effort.lost >= u64::from(CLIENTS) * 9 / 10);
    assert!(least_effort.peak > 2 * ours.peak, "{} and {}", least_effort.peak, ours.peak);
}

#[test]
fn scaling_down_closes_with_notice_and_only_waiting_keeps_the_pod() {
    let outcomes = play("g3-scale-down");
    let cut = sockets(&outcomes, "round robin, cut");
    assert!(cut.lost >= u64::from(CLIENTS) / 20, "{}", cut.lost);
    for drained in ["Slotkeeper, another scaler", "Slotkeeper, shrink = move"] {
        let ours = sockets(&outcomes, drained);
        assert_eq!((ours.lost, ours.missing, ours.pods), (0, 0, 9), "{drained}");
        assert_eq!(ours.closed, u64::from(CLIENTS) / 10, "{drained}: one pod's share");
        assert!(all_back(ours) < 10.0, "{drained}");
        assert!(ours.imbalance < 2.0, "{drained}: {}", ours.imbalance);
    }
    // Moved sessions are placed before their pod is deleted, so no connect is refused.
    assert_eq!(sockets(&outcomes, "Slotkeeper, shrink = move").refused, 0);
    let waits = sockets(&outcomes, "Slotkeeper, shrink = wait");
    assert_eq!((waits.lost, waits.closed, waits.pods), (0, 0, 10), "no session is affected, and no pod is saved");
}

#[test]
fn waiting_for_slow_readers_delays_all_clients_and_not_waiting_needs_a_limit() {
    // Enough clients that one in a hundred is a significant number.
    let outcomes = scenario("g4-slow-consumer").expect("the scenario exists").play(20_000, 1);
    let bound = |figures: &QueueFigures| figures.slow * 64 * 1024;
    let unbounded = queues(&outcomes, "unbounded");
    assert!(unbounded.memory > 10 * bound(unbounded), "{}", unbounded.memory);
    assert!(unbounded.lost >= 2000, "in the end the whole pod pays");
    let waits = queues(&outcomes, "the sender waits");
    assert!(waits.others > 60.0, "{}", waits.others);
    let drops = queues(&outcomes, "the oldest is dropped");
    assert!(drops.memory <= bound(drops) && drops.memory > bound(drops) / 2, "{}", drops.memory);
    assert!(drops.dropped > 0 && drops.closed == 0 && drops.lost == 0);
    assert!(drops.others < 0.001 && drops.stale < 2.0, "{drops:?}");
    let closes = queues(&outcomes, "the slow one is closed");
    assert!(closes.memory <= bound(closes) && closes.closed > closes.slow && closes.lost == 0);
    assert!(closes.others < 0.001, "{closes:?}");
}

#[test]
fn jitter_spreads_reconnects() {
    let outcomes = play("g5-herd");
    let [backoff, jitter] = ["Slotkeeper, backoff", "Slotkeeper, client.js"].map(|title| sockets(&outcomes, title));
    assert!(jitter.peak * 3 <= backoff.peak, "{} and {}", jitter.peak, backoff.peak);
    assert!(jitter.refused < backoff.refused, "{} and {}", jitter.refused, backoff.refused);
    let at_once = sockets(&outcomes, "Slotkeeper, back at once");
    assert!(at_once.connects > 2 * jitter.connects, "{} and {}", at_once.connects, jitter.connects);
    for outcome in &outcomes {
        let figures = outcome.sockets().expect("it is about connections");
        assert!(figures.lost >= u64::from(CLIENTS) / 20, "a lost node closes without notice");
        assert_eq!(figures.missing, 0, "{}", outcome.title);
    }
}

/// Twice as many clients as fit into the only pod.
fn too_many() -> Setting {
    Setting {
        story: String::new(),
        chance: Chance::new(1),
        length: 120_000,
        clients: 20,
        arrival: 10_000,
        pods: 1,
        ready: 1,
        cold_start: Draw::Always(5000),
        limits: Limits { connections: 10, accepts: 2000, backlog: 128 },
        connect: Draw::Between(5, 60),
        kill_after: 60_000,
        min_ready: 0,
        happenings: Vec::new(),
        from: 0,
    }
}

#[test]
fn clients_without_room_are_queued_by_us_and_refused_elsewhere() {
    let rules =
        Rules { slots_per_pod: 10, max: 1, placement: Placement::Spread, scaling: Scaling::None, ..Rules::default() };
    let design =
        |balance, farewell| Design { title: "one".to_owned(), balance, farewell, reconnect: Reconnect::CLIENT_JS };
    let peer = gateway::run(&too_many(), &design(Balance::RoundRobin, Farewell::Cut));
    let ours = design(Balance::Slotkeeper(Box::new(rules)), Farewell::Dispatcher { over: 0 });
    let ours = gateway::run(&too_many(), &ours);
    let [peer, ours] = [&peer, &ours].map(|o| o.sockets().expect("it is about connections"));
    assert_eq!((peer.missing, ours.missing), (10, 10));
    assert_eq!((ours.connects, ours.refused), (20, 0), "they wait for two minutes, and are not forgotten");
    assert!(peer.refused > 50, "{}", peer.refused);
}

#[test]
fn more_clients_than_fit_scale_the_pool_up() {
    let rules = Rules {
        slots_per_pod: 10,
        max: 2,
        placement: Placement::Spread,
        scaling: Scaling::Direct { window: Window::Fixed },
        ..Rules::default()
    };
    let balance = Balance::Slotkeeper(Box::new(rules));
    let farewell = Farewell::Dispatcher { over: 0 };
    let design = Design { title: "ours".to_owned(), balance, farewell, reconnect: Reconnect::CLIENT_JS };
    let outcome = gateway::run(&too_many(), &design);
    let figures = outcome.sockets().expect("it is about connections");
    assert_eq!((figures.pods, figures.missing, figures.refused), (2, 0, 0));
}

#[test]
fn the_report_is_a_page_and_the_table_has_a_row_for_each_design() {
    for scenario in scenarios() {
        let outcomes = scenario.play(60, 1);
        let page = report::gateway::html(&outcomes);
        let file = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("gateway-{}.html", scenario.name));
        std::fs::write(file, &page).expect("the target folder can be written to");
        let page = Document::parse(&page).unwrap_or_else(|problem| panic!("{}: {problem}", scenario.name));
        assert_eq!((page.count("h1"), page.count("script")), (1, 0), "{}", scenario.name);
        assert_eq!(page.count("figure"), outcomes.len(), "{}", scenario.name);
        let mut table = Vec::new();
        report::gateway::table(&outcomes, &mut table).expect("memory can be written to");
        let table = String::from_utf8(table).expect("it is text");
        for outcome in &outcomes {
            assert!(page.text.contains(&outcome.title), "{}", outcome.title);
            assert!(table.lines().any(|line| line.starts_with(&outcome.title)), "{}", outcome.title);
        }
    }
    Document::parse(&report::gateway::html(&[])).expect("an empty page is well-formed");
}
