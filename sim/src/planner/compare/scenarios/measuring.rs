//! Failures caused by measuring through Prometheus, and by failing scalers.

use super::super::{Harm, Scenario};
use super::{LONG, MINUTE, SECOND, crowd, direct, every_scaling, external, naive, remembering, rules, setting};
use crate::models::keda::{Fallback, FallbackBehavior};
use crate::planner::tabletop::{Design, Fault, Setting, Visitor};

/// Prometheus has no value, or a wrong one.
pub(super) fn measuring() -> Vec<Scenario> {
    vec![
        Scenario {
            name: "f7-an-empty-prometheus",
            story: "Prometheus dies, and restarts six minutes later without its storage. Until the first scrape it has \
                    nothing, and nothing means 0 and inactive. The last active poll is longer ago than the cooldown: \
                    KEDA writes 0, and five sessions end.",
            harm: Harm::Killed(5),
            setting: Setting {
                // Prometheus returns just before KEDA's poll, which comes before the next scrape.
                faults: vec![(10 * MINUTE, Fault::PrometheusDown { lasts: 6 * MINUTE - SECOND, keeps: false })],
                ..setting(10, 18)
            },
            visitors: crowd(5),
            naive: naive(10),
            ours: every_scaling(10),
        },
        Scenario {
            name: "f8-prometheus-is-away",
            story: "The pool sleeps, Prometheus is down, two visitors arrive. A failing trigger activates nothing: \
                    they wait until Prometheus is back, and in this run that is never.",
            harm: Harm::NeverServed(2),
            setting: Setting {
                faults: vec![(4 * MINUTE, Fault::PrometheusDown { lasts: 60 * MINUTE, keeps: true })],
                ..setting(10, 30)
            },
            visitors: late(),
            naive: naive(10),
            ours: [vec![Design::keda_push(&rules(10))], direct()].concat(),
        },
        Scenario {
            name: "f11-counted-twice",
            story: "The dispatcher keeps its count in a shared store and is rolled out without a gap. For two \
                    intervals Prometheus finds the old pod's last value in addition to the new pod's: six sessions \
                    count as twelve. The HPA follows at once, and removes the six empty pods five minutes later at the \
                    earliest.",
            harm: Harm::TooManyPods(2),
            setting: Setting { faults: vec![(10 * MINUTE, Fault::Restart { down: 0 })], ..setting(20, 30) },
            visitors: crowd(6),
            naive: remembering(naive(20)),
            ours: every_scaling(20),
        },
    ]
}

/// A scaler fails, and what KEDA makes of that.
pub(super) fn failing() -> Vec<Scenario> {
    vec![
        Scenario {
            name: "f23-scaler-out-of-reach",
            story: "KEDA queries the dispatcher itself, with a fallback configured. Then the dispatcher's scaler port \
                    cannot be reached (because of a network policy, for example). Without an answer to GetMetricSpec \
                    there is no metric whose failures could be counted: the fallback never begins, and the pool is not \
                    activated from 0.",
            harm: Harm::NeverServed(2),
            setting: Setting {
                faults: vec![(4 * MINUTE, Fault::ScalerUnreachable { lasts: 60 * MINUTE })],
                ..setting(10, 30)
            },
            visitors: late(),
            naive: falling_back(external(naive(10)), 3),
            ours: direct(),
        },
        Scenario {
            name: "f27-fallback-to-zero",
            story: "The ScaledObject has a short cooldown and `fallback: {replicas: 0}`, \"to be safe\". Prometheus is \
                    down for two minutes. A fallback of 0 turns off the guard that freezes KEDA during errors: the \
                    cooldown passes, and it writes 0 under four players. Five seconds later the fallback itself begins \
                    and wakes one pod again; for three of the four that is too late.",
            harm: Harm::Killed(3),
            setting: Setting {
                faults: vec![(601 * SECOND, Fault::PrometheusDown { lasts: 2 * MINUTE, keeps: true })],
                ..setting(10, 15)
            },
            visitors: crowd(4),
            naive: hasty(falling_back(naive(10), 0)),
            ours: every_scaling(10),
        },
        Scenario {
            name: "f31-a-slow-failure",
            story: "The operator wants a quick pool: polls every 10 s, a time-out of 2 s, a cooldown of 30 s. Then \
                    Prometheus accepts connections and answers nothing. KEDA's polls and the HPA's requests share a \
                    cache of scalers, which every failure closes. A poll that finds it closed between its first try \
                    and its second counts in KEDA 2.20 as \"inactive, no error\"; the cooldown is over, and it writes \
                    0. It has seen nothing but errors, and ends every session.",
            harm: Harm::Killed(4),
            setting: Setting {
                faults: vec![(10 * MINUTE, Fault::TriggerHangs { lasts: 10 * MINUTE })],
                ..setting(10, 25)
            },
            visitors: crowd(4),
            naive: quick(naive(10)),
            ours: every_scaling(10).into_iter().map(quick).collect(),
        },
    ]
}

/// Two visitors who arrive after the start.
fn late() -> Vec<Visitor> {
    vec![Visitor::at(5 * 60, LONG), Visitor::at(6 * 60, LONG)]
}

fn falling_back(mut design: Design, replicas: u32) -> Design {
    if let Some(wiring) = &mut design.wiring {
        wiring.object.fallback = Some(Fallback { threshold: 3, replicas, behavior: FallbackBehavior::Static });
    }
    design
}

/// Polling interval 5 s, cooldown 10 s.
fn hasty(mut design: Design) -> Design {
    if let Some(wiring) = &mut design.wiring {
        (wiring.object.polling, wiring.object.cooldown) = (5 * SECOND, 10 * SECOND);
    }
    design
}

/// Polling interval 10 s, time-out 2 s, cooldown 30 s.
fn quick(mut design: Design) -> Design {
    if let Some(wiring) = &mut design.wiring {
        (wiring.object.polling, wiring.object.cooldown) = (10 * SECOND, 30 * SECOND);
        wiring.timeout = 2 * SECOND;
    }
    design
}
