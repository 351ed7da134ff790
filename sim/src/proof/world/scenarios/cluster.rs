//! Faults of the cluster.

use super::super::faults::FaultKind as Kind;
use super::{Scenario, faults};
use std::time::Duration;

pub(super) const ALL: &[Scenario] = &[
    Scenario {
        name: "api-server-away",
        story: "The API server is down, then one dispatcher cannot reach it, then its watches stutter: sessions keep their slots; nothing is scaled on outdated information.",
        make: |s| {
            faults(
                s,
                &[
                    (Kind::ApiCrash, 8_000, 20_000, 0),
                    (Kind::ApiPartition, 22_000, 36_000, 0),
                    (Kind::ShakyWatch, 36_000, 48_000, 0),
                ],
            );
        },
    },
    Scenario {
        name: "api-overloaded",
        story: "The API server refuses everything with 429 for a while, then answers late, then executes writes late: pods start and end meanwhile.",
        make: |s| {
            s.habits.stay = (3_000, 9_000);
            s.habits.arrive_within = 45_000;
            s.visitors = 10;
            faults(
                s,
                &[
                    (Kind::ApiOverload, 4_000, 16_000, 0),
                    (Kind::ApiSlow, 18_000, 30_000, 0),
                    (Kind::ApiLateWrites, 32_000, 44_000, 0),
                ],
            );
        },
    },
    Scenario {
        name: "node-lost",
        story: "A node with pods is down for longer than its grace, and returns: its visitors are notified and go to the front of the queue.",
        make: |s| {
            s.habits.stay = (20_000, 40_000);
            faults(s, &[(Kind::NodeLoss, 15_000, 38_000, 1)]);
        },
    },
    Scenario {
        name: "node-drained",
        story: "An operator drains one node, then the other; a disruption budget lets one pod go at a time, and the sessions move.",
        make: |s| {
            s.rules.min = 3;
            s.habits.stay = (15_000, 35_000);
            s.visitors = 8;
            faults(s, &[(Kind::NodeDrain, 14_000, 26_000, 30), (Kind::NodeDrain, 30_000, 44_000, 31)]);
        },
    },
    Scenario {
        name: "node-silent",
        story: "A kubelet loses the API server: its pods count as lost while sessions continue in them. Then the other one, whose node is deleted: there are successors before the pods have ended.",
        make: |s| {
            s.rules.min = 2;
            s.habits.stay = (20_000, 35_000);
            s.visitors = 8;
            faults(s, &[(Kind::NodeSilent, 12_000, 24_000, 6), (Kind::NodeSilent, 28_000, 48_000, 1)]);
        },
    },
    Scenario {
        name: "pods-crash",
        story: "Containers crash under their visitors, a pod fails for good: after a crash, sessions return to the same pod; after the failure, they move to another.",
        make: |s| {
            faults(
                s,
                &[
                    (Kind::PodCrash, 12_000, 13_000, 0),
                    (Kind::PodCrash, 18_000, 19_000, 1),
                    (Kind::PodFailure, 25_000, 26_000, 2),
                ],
            );
        },
    },
    Scenario {
        name: "slow-and-stuck",
        story: "New pods are not scheduled at all, then they start five times as slowly: the queue is notified, and moves on when it can.",
        make: |s| {
            s.habits.arrive_within = 25_000;
            s.visitors = 8;
            faults(s, &[(Kind::StuckStart, 2_000, 18_000, 0), (Kind::SlowStart, 18_500, 45_000, 0)]);
        },
    },
    Scenario {
        name: "preempted",
        story: "Pods with a higher priority preempt two pods, and there is no capacity for others for a while.",
        make: |s| {
            s.habits.stay = (15_000, 35_000);
            s.visitors = 8;
            faults(s, &[(Kind::Preemption, 16_000, 24_000, 0), (Kind::Preemption, 28_000, 36_000, 1)]);
        },
    },
    Scenario {
        name: "set-recreated",
        story: "An operator recreates the StatefulSet while sessions live in its pods: it is deleted without them, and a new one adopts them.",
        make: |s| {
            s.habits.stay = (20_000, 35_000);
            s.visitors = 8;
            faults(s, &[(Kind::SetRecreated, 16_000, 18_000, 0), (Kind::SetRecreated, 30_000, 35_000, 1)]);
        },
    },
    Scenario {
        name: "listed-again",
        story: "Everything that is watched is listed again every few seconds instead of every hour: that changes nothing.",
        make: |s| {
            s.relist = Duration::from_secs(3);
            s.visitors = 8;
        },
    },
];
