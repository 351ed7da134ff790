//! Failures caused by scaling on the number of sessions, and by the choice of a session's pod.

use super::super::{Harm, Scenario};
use super::{LONG, MINUTE, SECOND, crowd, every_scaling, external, naive, setting};
use crate::planner::tabletop::{ActiveIs, Design, Fault, Mind, Setting, Source, Visitor, sessions};

/// The number of sessions decides the number of pods.
pub(super) fn counting() -> Vec<Scenario> {
    let mut eleven = crowd(10);
    eleven.push(Visitor::at(900, LONG));
    vec![
        Scenario {
            name: "f1-count-not-ordinal",
            story: "Five visitors play in pods 0 to 4. Those in 1, 2 and 3 leave. The count is 2 now, and five minutes \
                    later the HPA sets the StatefulSet to 2 replicas. A StatefulSet removes its highest ordinals: pods \
                    4, 3 and 2. The visitor in pod 4 is cut off in mid-session, without notice; pod 1 stays, empty.",
            harm: Harm::Killed(1),
            setting: setting(10, 30),
            visitors: first_and_last(),
            naive: naive(10),
            ours: every_scaling(10),
        },
        Scenario {
            name: "f2-eleventh-visitor",
            story: "Ten visitors play in ten pods. An eleventh arrives: the metric is 11, which is 10 % more than the \
                    number of pods. The HPA's tolerance is 10 %, including both bounds, so it does nothing. The \
                    eleventh visitor waits until another one leaves, or for ever.",
            harm: Harm::NeverServed(1),
            setting: setting(20, 60),
            visitors: eleven,
            naive: naive(20),
            ours: every_scaling(20),
        },
        Scenario {
            name: "f28-nobody-waits",
            story: "The scaler calls the pool active while a visitor waits. All visitors have a slot, none waits: \
                    inactive. After the cooldown of five minutes KEDA sets the StatefulSet to 0, from any number, in \
                    one write, and every session ends at once.",
            harm: Harm::Killed(5),
            setting: setting(10, 30),
            visitors: crowd(5),
            naive: active_while_somebody_waits(naive(10)),
            ours: every_scaling(10),
        },
        Scenario {
            name: "f30-a-drain-of-thirty-seconds",
            story: "As in f1, but the pods are well-behaved: when they are deleted they wait for their session to end. \
                    They get terminationGracePeriodSeconds for it, whose default is 30. The visitor in pod 4 plays for \
                    half a minute more, then the kubelet kills the pod.",
            harm: Harm::Killed(1),
            setting: Setting { pods_wait: true, ..setting(10, 30) },
            visitors: first_and_last(),
            naive: naive(10),
            ours: every_scaling(10),
        },
    ]
}

/// A session gets a pod that is about to end.
pub(super) fn placing() -> Vec<Scenario> {
    let mut at_the_wrong_moment = last_leaves();
    at_the_wrong_moment.push(Visitor::at(880, LONG));
    let mut into_a_pod_that_ends = last_leaves();
    into_a_pod_that_ends.push(Visitor::at(890, LONG));
    vec![
        Scenario {
            name: "f3-placed-after-the-scrape",
            story: "Five pods, four visitors: the one in pod 4 has left, and for five minutes the HPA has held the \
                    fifth pod back. Seconds before it scales down, a new visitor arrives and is given pod 4. But the \
                    number the HPA reads was scraped before that: 4. Pod 4 is deleted with the new visitor in it.",
            harm: Harm::Killed(1),
            setting: setting(10, 30),
            visitors: at_the_wrong_moment,
            naive: naive(10),
            ours: every_scaling(10),
        },
        Scenario {
            name: "f15-into-a-pod-that-ends",
            story: "Pod 4 has been scaled away and takes 25 s to end. Until then its Ready condition is true. A \
                    visitor arrives, is given the first free ready pod, which is this one, and loses it within the \
                    same half minute.",
            harm: Harm::Killed(1),
            setting: Setting { stop: crate::chance::Draw::Always(25 * SECOND), ..setting(10, 30) },
            visitors: into_a_pod_that_ends,
            naive: naive(10),
            ours: every_scaling(10),
        },
    ]
}

/// Several replicas of the dispatcher report numbers.
pub(super) fn replicas() -> Vec<Scenario> {
    vec![
        Scenario {
            name: "f9-every-replica-counts",
            story: "Three replicas of the dispatcher share their state, and each exports the total number of sessions. \
                    The query is sum(sessions). Four visitors become twelve pods: eight of them, with their graphics \
                    cards, without a visitor.",
            harm: Harm::TooManyPods(3),
            setting: setting(20, 30),
            visitors: crowd(4),
            naive: three_replicas(naive(20)),
            ours: every_scaling(20),
        },
        Scenario {
            name: "f10-a-share-is-missing",
            story: "Three replicas of the dispatcher each export only their own sessions. One of them can no longer be \
                    scraped, though it serves its visitors as before. The sum is four instead of six; five minutes \
                    later two pods are removed under two of the six players.",
            harm: Harm::Killed(2),
            setting: Setting { faults: vec![(10 * MINUTE, Fault::TargetLost)], ..setting(10, 30) },
            visitors: crowd(6),
            naive: sharing(three_replicas(naive(10))),
            ours: every_scaling(10),
        },
        Scenario {
            name: "f14-two-series",
            story: "Three replicas of the dispatcher are scraped, and the query does not add them up. An answer with \
                    several series is an error for KEDA: nothing is activated, nothing scales up. New visitors are \
                    never served.",
            harm: Harm::NeverServed(2),
            setting: setting(10, 30),
            visitors: crowd(2),
            naive: unaggregated(three_replicas(naive(10))),
            ours: every_scaling(10),
        },
    ]
}

/// Five visitors; the first and the last stay.
fn first_and_last() -> Vec<Visitor> {
    let mut visitors = crowd(5);
    for visitor in &mut visitors[1..4] {
        visitor.stays = 5 * MINUTE;
    }
    visitors
}

/// Five visitors; the last one leaves.
fn last_leaves() -> Vec<Visitor> {
    let mut visitors = crowd(5);
    visitors[4].stays = 5 * MINUTE;
    visitors
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
