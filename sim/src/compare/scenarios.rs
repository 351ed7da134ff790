//! The known failures of the design of least effort, by their numbers in the project's notes on autoscaling: count sessions,
//! let a Prometheus trigger of KEDA turn the count into replicas, and see. Each setting is as small as it can be while the
//! failure still comes by itself: nobody is killed by hand.

use super::scenario::{Harm, Scenario};
use crate::models::hpa::{Behavior, Rules as Direction};
use crate::models::keda::{Fallback, FallbackBehavior};
use crate::tabletop::{ActiveIs, Design, Fault, Mind, Setting, Source, Visitor, sessions};
use slotkeeper_core::{Rules, Window};

const SECOND: u64 = 1000;
const MINUTE: u64 = 60 * SECOND;
/// Longer than every run.
const LONG: u64 = 24 * 3600;

/// Every scenario, in order of its number.
#[must_use]
pub fn scenarios() -> Vec<Scenario> {
    let mut all = counting();
    all.extend(forgetting());
    all.extend(measuring());
    all.extend(cluster());
    all.extend(operating());
    all.sort_by_key(|s| number(s.name));
    all
}

fn number(name: &str) -> u32 {
    name.trim_start_matches('f').split('-').next().and_then(|n| n.parse().ok()).unwrap_or(u32::MAX)
}

/// So many visitors at once, who stay longer than the run.
fn crowd(visitors: u64) -> Vec<Visitor> {
    (0..visitors).map(|_| Visitor::at(1, LONG)).collect()
}

fn setting(max: u32, minutes: u64) -> Setting {
    Setting::new(max, minutes * MINUTE)
}

fn rules(max: u32) -> Rules {
    Rules { max, ..Rules::default() }
}

fn naive(max: u32) -> Design {
    Design::naive(&rules(max))
}

fn direct() -> Vec<Design> {
    vec![Design::direct(Window::Fixed), Design::direct(Window::Sliding)]
}

fn every_scaling(max: u32) -> Vec<Design> {
    let mut all = vec![Design::keda_prometheus(&rules(max)), Design::keda_push(&rules(max))];
    all.extend(direct());
    all
}

/// The operator has switched the window off that delays every scale-down, to save pods.
fn without_window(mut design: Design) -> Design {
    if let Some(wiring) = &mut design.wiring {
        let down = Direction { window: Some(0), ..Direction::default() };
        wiring.behavior = Some(Behavior { scale_down: down, ..Behavior::default() });
    }
    design
}

fn remembering(mut design: Design) -> Design {
    if let Mind::Naive(habit) = &mut design.mind {
        habit.remembers = true;
    }
    design
}

/// What follows from a number that counts sessions.
fn counting() -> Vec<Scenario> {
    let mut first_and_last = crowd(5);
    for visitor in &mut first_and_last[1..4] {
        visitor.stays = 5 * MINUTE;
    }
    let mut last_leaves = crowd(5);
    last_leaves[4].stays = 5 * MINUTE;
    let mut at_the_wrong_moment = last_leaves.clone();
    at_the_wrong_moment.push(Visitor::at(880, LONG));
    let mut eleven = crowd(10);
    eleven.push(Visitor::at(900, LONG));
    let mut into_a_pod_that_ends = last_leaves;
    into_a_pod_that_ends.push(Visitor::at(890, LONG));
    vec![
        Scenario {
            name: "f1-count-not-ordinal",
            story: "Five visitors sit in pods 0 to 4. Those in 1, 2 and 3 leave. The count is 2 now, and five minutes \
                    later the HPA sets the StatefulSet to 2 replicas. A StatefulSet removes its highest ordinals: pods 4, \
                    3 and 2. The visitor in pod 4 is cut off in mid-session, without a word; pod 1 stays, empty.",
            harm: Harm::Killed(1),
            setting: setting(10, 30),
            visitors: first_and_last.clone(),
            naive: naive(10),
            ours: every_scaling(10),
        },
        Scenario {
            name: "f2-eleventh-visitor",
            story: "Ten visitors sit in ten pods. An eleventh comes: the metric is 11, which is 10 % more than the pods \
                    there are. The HPA's tolerance is 10 %, both bounds belong to it, so it does nothing. The eleventh \
                    visitor waits until somebody leaves, or for ever.",
            harm: Harm::NeverServed(1),
            setting: setting(20, 60),
            visitors: eleven,
            naive: naive(20),
            ours: every_scaling(20),
        },
        Scenario {
            name: "f3-placed-after-the-scrape",
            story: "Five pods, four visitors: the one in pod 4 has left, and for five minutes the HPA has held the fifth pod \
                    back. Seconds before it lets go, a new visitor comes and is given pod 4. But the number the HPA reads \
                    was scraped before that: 4. Pod 4 is deleted with the newcomer in it.",
            harm: Harm::Killed(1),
            setting: setting(10, 30),
            visitors: at_the_wrong_moment,
            naive: naive(10),
            ours: every_scaling(10),
        },
        Scenario {
            name: "f9-every-replica-counts",
            story: "Three replicas of the dispatcher share what they know, and each exports how many sessions there are. The \
                    query is sum(sessions). Four visitors become twelve pods: eight of them, with their graphics \
                    cards, for nobody.",
            harm: Harm::TooManyPods(3),
            setting: setting(20, 30),
            visitors: crowd(4),
            naive: three_replicas(naive(20)),
            ours: every_scaling(20),
        },
        Scenario {
            name: "f10-a-share-is-missing",
            story: "Three replicas of the dispatcher each export the sessions of their own. One of them cannot be scraped \
                    any more, though it serves its visitors as before. The sum is four instead of six; five minutes later \
                    two pods are removed under two of the six players.",
            harm: Harm::Killed(2),
            setting: Setting { faults: vec![(10 * MINUTE, Fault::TargetLost)], ..setting(10, 30) },
            visitors: crowd(6),
            naive: sharing(three_replicas(naive(10))),
            ours: every_scaling(10),
        },
        Scenario {
            name: "f14-two-series",
            story: "Three replicas of the dispatcher are scraped, and the query does not add them up. An answer with several \
                    series is an error for KEDA: nothing is activated, nothing grows. Whoever comes waits in vain.",
            harm: Harm::NeverServed(2),
            setting: setting(10, 30),
            visitors: crowd(2),
            naive: unaggregated(three_replicas(naive(10))),
            ours: every_scaling(10),
        },
        Scenario {
            name: "f15-into-a-pod-that-ends",
            story: "Pod 4 has been scaled away and takes 25 s to end. Until then its Ready condition is true. A visitor \
                    comes, is given the first free ready pod, which is this one, and loses it within the same half minute.",
            harm: Harm::Killed(1),
            setting: Setting { stop: crate::chance::Draw::Always(25 * SECOND), ..setting(10, 30) },
            visitors: into_a_pod_that_ends,
            naive: naive(10),
            ours: every_scaling(10),
        },
        Scenario {
            name: "f28-nobody-waits",
            story: "The scaler calls the pool active while somebody waits. Everybody has been seated, nobody waits: \
                    inactive. After the cooldown of five minutes KEDA sets the StatefulSet to 0, from any number, in one \
                    write, and every session ends at once.",
            harm: Harm::Killed(5),
            setting: setting(10, 30),
            visitors: crowd(5),
            naive: active_while_somebody_waits(naive(10)),
            ours: every_scaling(10),
        },
        Scenario {
            name: "f30-a-drain-of-thirty-seconds",
            story: "As in f1, but the pods are well-behaved: when they are deleted they wait for their session to end. They \
                    get terminationGracePeriodSeconds for it, whose default is 30. The visitor in pod 4 plays for half a \
                    minute more, then the kubelet kills the pod.",
            harm: Harm::Killed(1),
            setting: Setting { pods_wait: true, ..setting(10, 30) },
            visitors: first_and_last,
            naive: naive(10),
            ours: every_scaling(10),
        },
    ]
}

fn three_replicas(mut design: Design) -> Design {
    if let Mind::Naive(habit) = &mut design.mind {
        habit.replicas = 3;
    }
    design
}

fn sharing(mut design: Design) -> Design {
    if let Mind::Naive(habit) = &mut design.mind {
        habit.shares = true;
    }
    design
}

fn unaggregated(mut design: Design) -> Design {
    if let Some(Source::Prometheus { query, .. }) = design.wiring.as_mut().map(|w| &mut w.source) {
        *query = sessions();
    }
    design
}

fn active_while_somebody_waits(mut design: Design) -> Design {
    if let Mind::Naive(habit) = &mut design.mind {
        habit.active_is = ActiveIs::WhoWaits;
    }
    external(design)
}

/// KEDA asks the dispatcher itself.
fn external(mut design: Design) -> Design {
    if let Some(wiring) = &mut design.wiring {
        wiring.source = Source::External { push: false };
    }
    design
}

/// What follows from a number in memory.
fn forgetting() -> Vec<Scenario> {
    let restart = (10 * MINUTE, Fault::Restart { down: 5 * SECOND });
    vec![
        Scenario {
            name: "f4-restart-forgets",
            story: "Five visitors play. The dispatcher's process is replaced; browsers reconnect, and their cookies name \
                    the pod, so everybody plays on. But the count in memory begins at 0. After five minutes of 0 the HPA \
                    and KEDA believe it, and all five sessions end.",
            harm: Harm::Killed(5),
            setting: Setting { faults: vec![restart], ..setting(10, 30) },
            visitors: crowd(5),
            naive: naive(10),
            ours: every_scaling(10),
        },
        Scenario {
            name: "f5-restart-without-a-window",
            story: "As in f4, but the operator has set the HPA's scale-down window to 0 to save pods. The first metric \
                    after the restart that is 0 is acted upon within 15 s: all pods but one are gone before two minutes have \
                    passed.",
            harm: Harm::Killed(4),
            setting: Setting { faults: vec![restart], ..setting(10, 12) },
            visitors: crowd(5),
            naive: without_window(naive(10)),
            ours: every_scaling(10),
        },
        Scenario {
            name: "f6-outage-then-a-wrong-zero",
            story: "Prometheus is away for six minutes. Nothing happens: errors freeze KEDA and the HPA. Meanwhile the \
                    dispatcher has been restarted and counts from 0. During errors the HPA remembers nothing, so its window \
                    of five minutes is empty when Prometheus is back: the first 0 is acted upon at once.",
            harm: Harm::Killed(4),
            setting: Setting {
                faults: vec![
                    (10 * MINUTE, Fault::PrometheusDown { lasts: 6 * MINUTE, keeps: true }),
                    (12 * MINUTE, Fault::Restart { down: 5 * SECOND }),
                ],
                ..setting(10, 18)
            },
            visitors: crowd(5),
            naive: naive(10),
            ours: every_scaling(10),
        },
        Scenario {
            name: "f12-a-gap-in-a-rollout",
            story: "The dispatcher is rolled out, its old pod gone 45 s before the new one answers. A failed scrape ends a \
                    series at once: the sum of nothing is empty, and empty means 0 to KEDA by default. With a scale-down \
                    window of 0 the pool shrinks to one pod under five players. (With the default window it takes a gap of \
                    five minutes.)",
            harm: Harm::Killed(4),
            setting: Setting { faults: vec![(10 * MINUTE, Fault::Restart { down: 45 * SECOND })], ..setting(10, 15) },
            visitors: crowd(5),
            naive: without_window(remembering(naive(10))),
            ours: every_scaling(10),
        },
    ]
}

/// What follows from measuring by way of Prometheus.
fn measuring() -> Vec<Scenario> {
    let mut late = vec![Visitor::at(5 * 60, LONG)];
    late.push(Visitor::at(6 * 60, LONG));
    vec![
        Scenario {
            name: "f7-an-empty-prometheus",
            story: "Prometheus dies, and comes back six minutes later without its storage. Until the first scrape it has \
                    nothing, and nothing means 0 and inactive. The last active poll is longer ago than the cooldown: KEDA \
                    writes 0, and five sessions end.",
            harm: Harm::Killed(5),
            setting: Setting {
                // Back a moment before KEDA's poll, and that before the next scrape.
                faults: vec![(10 * MINUTE, Fault::PrometheusDown { lasts: 6 * MINUTE - SECOND, keeps: false })],
                ..setting(10, 18)
            },
            visitors: crowd(5),
            naive: naive(10),
            ours: every_scaling(10),
        },
        Scenario {
            name: "f8-prometheus-is-away",
            story: "The pool sleeps, Prometheus is away, two visitors come. A trigger that fails activates nothing: they wait \
                    until Prometheus is back, and in this run that is never.",
            harm: Harm::NeverServed(2),
            setting: Setting {
                faults: vec![(4 * MINUTE, Fault::PrometheusDown { lasts: 60 * MINUTE, keeps: true })],
                ..setting(10, 30)
            },
            visitors: late.clone(),
            naive: naive(10),
            ours: [vec![Design::keda_push(&rules(10))], direct()].concat(),
        },
        Scenario {
            name: "f11-counted-twice",
            story: "The dispatcher keeps its count in a shared store and is rolled out without a gap. For two intervals \
                    Prometheus finds the old pod's last value beside the new pod's: six sessions are twelve. The HPA \
                    believes it at once, and lets go of the six empty pods five minutes later at the earliest.",
            harm: Harm::TooManyPods(2),
            setting: Setting { faults: vec![(10 * MINUTE, Fault::Restart { down: 0 })], ..setting(20, 30) },
            visitors: crowd(6),
            naive: remembering(naive(20)),
            ours: every_scaling(20),
        },
        Scenario {
            name: "f23-scaler-out-of-reach",
            story: "KEDA asks the dispatcher itself, with a fallback for bad times. Then the dispatcher's scaler port cannot \
                    be reached (a network policy, say). Without an answer to GetMetricSpec there is no metric whose \
                    failures could be counted: the fallback never begins, and nobody is activated from 0.",
            harm: Harm::NeverServed(2),
            setting: Setting {
                faults: vec![(4 * MINUTE, Fault::ScalerUnreachable { lasts: 60 * MINUTE })],
                ..setting(10, 30)
            },
            visitors: late,
            naive: falling_back(external(naive(10)), 3),
            ours: direct(),
        },
        Scenario {
            name: "f27-fallback-to-zero",
            story: "The ScaledObject has a short cooldown and `fallback: {replicas: 0}`, \"to be safe\". Prometheus is away \
                    for two minutes. A fallback of 0 turns off the guard that freezes KEDA during errors: the cooldown \
                    passes, and it writes 0 under four players. Five seconds later the fallback itself begins and wakes one \
                    pod again; for three of the four that is too late.",
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
            story: "The operator wants a quick pool: polls every 10 s, a time-out of 2 s, a cooldown of 30 s. Then Prometheus \
                    accepts connections and answers nothing. KEDA's polls and the HPA's requests share a cache of \
                    scalers, which every failure closes. A poll that finds it closed between its first try and its second \
                    is taken by KEDA 2.20 for \"inactive, no error\"; the cooldown is over, and it writes 0. It has seen \
                    nothing but errors, and ends every session.",
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

fn falling_back(mut design: Design, replicas: u32) -> Design {
    if let Some(wiring) = &mut design.wiring {
        wiring.object.fallback = Some(Fallback { threshold: 3, replicas, behavior: FallbackBehavior::Static });
    }
    design
}

/// Polls every five seconds, cooldown of ten.
fn hasty(mut design: Design) -> Design {
    if let Some(wiring) = &mut design.wiring {
        (wiring.object.polling, wiring.object.cooldown) = (5 * SECOND, 10 * SECOND);
    }
    design
}

/// Polls every ten seconds, time-out of two, cooldown of thirty.
fn quick(mut design: Design) -> Design {
    if let Some(wiring) = &mut design.wiring {
        (wiring.object.polling, wiring.object.cooldown) = (10 * SECOND, 30 * SECOND);
        wiring.timeout = 2 * SECOND;
    }
    design
}

/// What follows from leaving the pods to the cluster's defaults.
fn cluster() -> Vec<Scenario> {
    let mut one_leaves = crowd(3);
    one_leaves[1].stays = 2 * MINUTE;
    one_leaves.extend([Visitor::at(630, LONG), Visitor::at(640, LONG)]);
    vec![
        Scenario {
            name: "f16-one-bad-pod",
            story: "The StatefulSet has the default policy, OrderedReady. Pod 1, empty at the moment, begins to crash again and \
                    again. Two visitors come. The number of replicas rises, but the controller waits for pod 1 before it \
                    creates any pod above it: nobody is served until somebody repairs it.",
            harm: Harm::NeverServed(2),
            setting: Setting { faults: vec![(620 * SECOND, Fault::CrashLoop { ordinal: 1 })], ..setting(10, 40) },
            visitors: one_leaves,
            naive: naive(10),
            ours: every_scaling(10),
        },
        Scenario {
            name: "f21-a-new-template",
            story: "Somebody changes the pods' template, a label perhaps. The default strategy, RollingUpdate, replaces pod \
                    after pod from the top, and asks nobody whether they are busy: five sessions end, one every 40 s.",
            harm: Harm::Killed(5),
            setting: Setting { faults: vec![(10 * MINUTE, Fault::RollOut)], ..setting(10, 20) },
            visitors: crowd(5),
            naive: naive(10),
            ours: every_scaling(10),
        },
        Scenario {
            name: "f22-a-node-is-saved",
            story: "The cluster autoscaler finds the node of pod 2 hardly used and takes it away. Without the annotation \
                    safe-to-evict: \"false\" it may: the pod is evicted with its player.",
            harm: Harm::Killed(1),
            setting: Setting { faults: vec![(10 * MINUTE, Fault::NodeDrained { ordinal: 2 })], ..setting(10, 15) },
            visitors: crowd(5),
            naive: naive(10),
            ours: every_scaling(10),
        },
    ]
}

/// What follows from an operator's hand on it.
fn operating() -> Vec<Scenario> {
    vec![
        Scenario {
            name: "f19-a-lower-maximum",
            story: "Five visitors play, and the operator lowers the most pods from ten to two, for the night. The HPA sees \
                    more replicas than its maximum and sets the maximum at once, without any window: three sessions \
                    end. (Slotkeeper lets who is there finish; where KEDA scales for it, maxReplicaCount must stay.)",
            harm: Harm::Killed(3),
            setting: Setting { faults: vec![(10 * MINUTE, Fault::MaxPods { pods: 2 })], ..setting(10, 15) },
            visitors: crowd(5),
            naive: naive(10),
            ours: direct(),
        },
        Scenario {
            name: "f20-restored",
            story: "The operator deletes the ScaledObject to stop KEDA for a while. It has \
                    restoreToOriginalReplicaCount: true, and what KEDA once found was one replica: that is written at once, \
                    and four of five sessions end.",
            harm: Harm::Killed(4),
            setting: Setting {
                faults: vec![(10 * MINUTE, Fault::ScaledObjectDeleted { original: 1 })],
                ..setting(10, 15)
            },
            visitors: crowd(5),
            naive: naive(10),
            ours: direct(),
        },
        Scenario {
            name: "f29-a-new-scaled-object",
            story: "A release re-installs everything: the dispatcher is away for 40 s, and meanwhile the ScaledObject is made \
                    anew. A new one polls at once, finds nothing in Prometheus, which means inactive, and as it has never \
                    been active no cooldown holds it: it writes 0 under five players.",
            harm: Harm::Killed(5),
            setting: Setting {
                faults: vec![
                    (10 * MINUTE, Fault::Restart { down: 40 * SECOND }),
                    (638_500, Fault::ScaledObjectRecreated),
                ],
                ..setting(10, 15)
            },
            visitors: crowd(5),
            naive: remembering(naive(10)),
            ours: every_scaling(10),
        },
    ]
}
