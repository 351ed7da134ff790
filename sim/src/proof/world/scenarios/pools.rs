//! Pools and visitors of all kinds, mostly without faults.

use super::super::conduct::Conduct;
use super::super::faults::FaultKind as Kind;
use super::super::pools::{self, Annex};
use super::super::setting::SETTLE;
use super::{Scenario, faults};
use crate::models::statefulset::Policy;
use slotkeeper::config::Admission;
use slotkeeper_core::{AfterSession, Millis, Placement, Scaling, Spare, Window};
use std::time::Duration;

pub(super) const ALL: &[Scenario] = &[
    Scenario {
        name: "plain",
        story: "Two dispatchers, three pods, six visitors, and nothing goes wrong.",
        make: |_| {},
    },
    Scenario {
        name: "evening-rush",
        story: "Fourteen visitors arrive within two seconds at a sleeping pool of three pods: they queue, and all of them get a slot.",
        make: |s| {
            s.visitors = 14;
            s.habits.arrive_within = 2_000;
            s.habits.stay = (4_000, 9_000);
            s.habits.impatient = 0;
        },
    },
    Scenario {
        name: "half-open",
        story: "All visitors close the lid without closing their connections: pings detect it, and the slots become free.",
        make: |s| {
            s.habits.half_open = 100;
            s.habits.stay = (3_000, 10_000);
            s.visitors = 9;
        },
    },
    Scenario {
        name: "fresh-desktops",
        story: "Every session gets an unused pod: used ones are recycled, while a node is lost and a dispatcher dies.",
        make: |s| {
            s.rules.after_session = AfterSession::Recycle;
            s.visitors = 9;
            s.habits.stay = (3_000, 10_000);
            faults(s, &[(Kind::DispatcherCrash, 12_000, 18_000, 1), (Kind::NodeLoss, 22_000, 34_000, 1)]);
        },
    },
    Scenario {
        name: "shared-pods",
        story: "Pods with four slots each, whose clients are placed at once and spread evenly.",
        make: |s| {
            s.rules.slots_per_pod = 4;
            s.rules.placement = Placement::Spread;
            s.rules.sticky_storage = false;
            s.rules.max = 4;
            s.rules.spare = Spare::Slots(2);
            s.admission = Admission::Immediate;
            s.hold = Duration::from_secs(3);
            s.visitors = 14;
            faults(s, &[(Kind::PodFailure, 20_000, 21_000, 0), (Kind::DispatcherRestart, 30_000, 34_000, 0)]);
        },
    },
    Scenario {
        name: "sliding-window",
        story: "Long sessions on high ordinals: the window slides up, idle low pods are removed, and no session is moved.",
        make: |s| {
            s.rules.scaling = Scaling::Direct { window: Window::Sliding };
            s.rules.max = 5;
            s.visitors = 10;
            s.habits.stay = (4_000, 35_000);
            faults(s, &[(Kind::ApiPartition, 20_000, 30_000, 1)]);
        },
    },
    Scenario {
        name: "keda-prometheus",
        story: "KEDA scales by what Prometheus scrapes, and Prometheus is down for a while: scaling freezes, but no session is killed.",
        make: |s| {
            s.rules.scaling = Scaling::Keda { settle: SETTLE };
            s.rules.min = 1;
            faults(s, &[(Kind::PrometheusOutage, 15_000, 35_000, 0), (Kind::DispatcherRestart, 38_000, 41_000, 0)]);
        },
    },
    Scenario {
        name: "keda-push",
        story: "KEDA queries the dispatchers themselves, in turn, and receives their pushes; one is cut off from the journal, one from KEDA, one is restarted.",
        make: |s| {
            s.push();
            s.visitors = 9;
            s.habits.arrive_within = 45_000;
            faults(
                s,
                &[
                    (Kind::JournalPartition, 12_000, 22_000, 0),
                    (Kind::KedaPartition, 25_000, 34_000, 1),
                    (Kind::DispatcherRestart, 36_000, 39_000, 0),
                    (Kind::DispatcherCrash, 41_000, 44_000, 1),
                ],
            );
        },
    },
    Scenario {
        name: "ordered-and-limited",
        story: "OrderedReady pods, a short session limit, idle sessions ended, a queue of three.",
        make: |s| {
            s.policy = Policy::OrderedReady;
            s.rules.max_session = Some(Millis::secs(12));
            s.rules.idle = Some(Millis::secs(8));
            s.rules.queue_limit = 3;
            s.habits.idle = 50;
            s.habits.stay = (10_000, 30_000);
            s.visitors = 10;
        },
    },
    Scenario {
        name: "impolite-pods",
        story: "Pods push data unasked, send pings, half-close, read slowly, ignore closes and answer late, while nothing else goes wrong: every byte arrives, in order.",
        make: |s| {
            s.conduct.pods = 100;
            s.rules.max = 5;
            s.visitors = 10;
        },
    },
    Scenario {
        name: "impolite-visitors",
        story: "Visitors upload, read slowly, open many tabs, make five requests at once, and are suspended, while nothing else goes wrong.",
        make: |s| {
            s.conduct.visitors = 100;
            s.visitors = 10;
            s.habits.stay = (15_000, 35_000);
        },
    },
    Scenario {
        name: "idle-and-pushed",
        story: "Pods push data to visitors who send nothing: what a pod sends is no activity, and idle sessions end.",
        make: |s| {
            s.conduct.pods = 100;
            s.rules.idle = Some(Millis::secs(9));
            s.habits.idle = 60;
            s.habits.stay = (20_000, 40_000);
            s.visitors = 8;
        },
    },
    Scenario {
        name: "impolite-and-unlucky",
        story: "All pods and visitors are impolite, and dispatchers, links and pods fail.",
        make: |s| {
            s.conduct = Conduct::IMPOLITE;
            s.visitors = 9;
            s.dispatchers = 3;
            faults(
                s,
                &[
                    (Kind::DispatcherRestart, 12_000, 15_000, 0),
                    (Kind::Hold, 18_000, 22_000, 3),
                    (Kind::DispatcherCrash, 24_000, 28_000, 1),
                    (Kind::PodCrash, 30_000, 31_000, 0),
                    (Kind::SocketDrop, 34_000, 35_000, 7),
                    (Kind::JournalPartition, 36_000, 46_000, 2),
                ],
            );
        },
    },
    Scenario {
        name: "two-pools",
        story: "A second pool is a fixed list of addresses, which are occasionally down; a dispatcher is restarted and another one killed.",
        make: |s| {
            s.annex = Some(Annex::new(pools::Kind::Fixed, &s.rules));
            faults(s, &[(Kind::DispatcherRestart, 15_000, 18_000, 0), (Kind::DispatcherCrash, 28_000, 32_000, 1)]);
        },
    },
    Scenario {
        name: "processes-beside",
        story: "A second pool has local processes, each for one session only; their dispatcher is restarted and killed, and they end with it.",
        make: |s| {
            s.dispatchers = 1;
            s.shared_journal = false;
            let mut annex = Annex::new(pools::Kind::Processes, &s.rules);
            annex.rules.after_session = AfterSession::Recycle;
            s.annex = Some(annex);
            faults(s, &[(Kind::DispatcherRestart, 20_000, 23_000, 0), (Kind::DispatcherCrash, 36_000, 39_000, 0)]);
        },
    },
    Scenario {
        name: "crowd",
        story: "Two hundred visitors arrive at fifty pods, while a node is lost and a dispatcher restarted.",
        make: |s| {
            s.crowd();
            s.habits.arrive_within = 10_000;
            faults(s, &[(Kind::NodeLoss, 12_000, 24_000, 1), (Kind::DispatcherRestart, 15_000, 18_000, 0)]);
        },
    },
    Scenario {
        name: "pool-removed",
        story: "An operator removes the pool while it has sessions; the next start of the dispatchers creates it again.",
        make: |s| faults(s, &[(Kind::PoolRemoval, 20_000, 26_000, 0)]),
    },
];
