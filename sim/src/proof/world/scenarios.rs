//! Named worlds: one scenario each, the same for every seed except for random draws.

use super::conduct::Conduct;
use super::faults::{Fault, FaultKind as Kind};
use super::pools::{self, Annex};
use super::rollout::{Rollout, restarts};
use super::setting::{SETTLE, Setting};
use crate::models::statefulset::Policy;
use slotkeeper::config::Admission;
use slotkeeper_core::{AfterSession, Millis, Placement, Rules, Scaling, Spare, Window};
use std::time::Duration;

/// A named world.
#[derive(Clone, Copy)]
pub struct Scenario {
    pub name: &'static str,
    pub story: &'static str,
    make: fn(&mut Setting),
}

impl Scenario {
    #[must_use]
    pub fn setting(&self, seed: u64) -> Setting {
        let mut setting = Setting::plain(seed);
        setting.name = self.name.into();
        setting.story = self.story.into();
        (self.make)(&mut setting);
        setting
    }
}

/// Returns the scenario with this name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Scenario> {
    ALL.iter().find(|s| s.name == name)
}

fn faults(setting: &mut Setting, faults: &[(Kind, u64, u64, u32)]) {
    setting.faults = faults.iter().map(|(kind, at, until, target)| Fault::new(*kind, *at, *until, *target)).collect();
    (0..).zip(&mut setting.faults).for_each(|(number, fault)| fault.number = number);
}

pub const ALL: &[Scenario] = &[
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
        name: "rolling-restart",
        story: "Three dispatchers are restarted one after the other while people play: streams break, and every session reconnects to the same pod.",
        make: |s| {
            s.dispatchers = 3;
            faults(
                s,
                &[
                    (Kind::DispatcherRestart, 20_000, 23_000, 0),
                    (Kind::DispatcherRestart, 26_000, 29_000, 1),
                    (Kind::DispatcherRestart, 32_000, 35_000, 2),
                ],
            );
        },
    },
    Scenario {
        name: "settings-change",
        story: "Two dispatchers are restarted with other settings while people play: idle sessions end from now on, pods have another maximum. Active sessions continue, on any dispatcher.",
        make: |s| {
            s.habits.stay = (30_000, 40_000);
            s.habits.idle = 30;
            s.habits.arrive_within = 3_000;
            let rules = Rules { idle: Some(Millis::secs(13)), grace: Millis::secs(8), max: 2, ..s.rules.clone() };
            s.rollout = Some(Rollout { at: 14_000, rules, from_older: true });
            s.faults = restarts(s.dispatchers, 15_000, 22_000);
        },
    },
    Scenario {
        name: "dispatcher-killed",
        story: "The only dispatcher is killed twice: its journal is all that is left, and it is enough.",
        make: |s| {
            s.dispatchers = 1;
            s.shared_journal = false;
            faults(s, &[(Kind::DispatcherCrash, 15_000, 17_000, 0), (Kind::DispatcherCrash, 30_000, 45_000, 0)]);
        },
    },
    Scenario {
        name: "disk-in-trouble",
        story: "The disk of the only dispatcher's journal is full, then slow, then it fails occasionally: no session is placed meanwhile, and sessions with a slot continue.",
        make: |s| {
            s.dispatchers = 1;
            s.shared_journal = false;
            s.rules.max_session = None;
            s.habits.half_open = 0;
            faults(
                s,
                &[
                    (Kind::DiskFull, 8_000, 16_000, 1_000),
                    (Kind::DiskSlow, 18_000, 26_000, 0),
                    (Kind::DiskFailing, 28_000, 40_000, 200),
                ],
            );
        },
    },
    Scenario {
        name: "power-lost",
        story: "The only dispatcher loses power four times while writing, once while the disk fails, and once after it was killed: every acknowledged entry is still there.",
        make: |s| {
            s.dispatchers = 1;
            s.shared_journal = false;
            s.visitors = 9;
            faults(
                s,
                &[
                    (Kind::PowerLoss, 10_000, 13_000, 0),
                    (Kind::PowerLoss, 18_000, 20_000, 5),
                    (Kind::DiskFailing, 22_000, 30_000, 100),
                    (Kind::PowerLoss, 26_000, 28_000, 65),
                    (Kind::WriterCrash, 31_000, 33_000, 5),
                    (Kind::PowerLoss, 35_000, 37_000, 40),
                ],
            );
        },
    },
    Scenario {
        name: "stalled",
        story: "One of two dispatchers is stopped for longer than silence and grace with its connections open, and continues: by then its slots belong to other sessions, and it has to start a new life.",
        make: |s| {
            s.habits.stay = (20_000, 40_000);
            faults(s, &[(Kind::Stall, 15_000, 38_000, 0)]);
        },
    },
    Scenario {
        name: "one-way",
        story: "What a dispatcher sends to the journal arrives and the answers do not, then the other way round; then the API server, then a node.",
        make: |s| {
            faults(
                s,
                &[
                    (Kind::OneWay, 8_000, 18_000, 26),
                    (Kind::OneWay, 20_000, 29_000, 10),
                    (Kind::OneWay, 31_000, 38_000, 6),
                    (Kind::OneWay, 40_000, 46_000, 2),
                ],
            );
        },
    },
    Scenario {
        name: "no-descriptors",
        story: "Both dispatchers run out of descriptors, one after the other: they make no new connections, and sessions with a slot continue.",
        make: |s| {
            s.visitors = 9;
            faults(s, &[(Kind::Descriptors, 10_000, 20_000, 0), (Kind::Descriptors, 22_000, 34_000, 1)]);
        },
    },
    Scenario {
        name: "cut-off",
        story: "One of two dispatchers is cut off from the journal for longer than silence and grace: it closes its streams before the others reassign its slots, and starts a new life.",
        make: |s| faults(s, &[(Kind::JournalPartition, 18_000, 40_000, 0)]),
    },
    Scenario {
        name: "journal-down",
        story: "The journal is down for a while: sessions with a slot continue, new ones wait, and no time-out runs meanwhile.",
        make: |s| faults(s, &[(Kind::JournalCrash, 15_000, 25_000, 0), (Kind::JournalClock, 30_000, 42_000, 60_001)]),
    },
    Scenario {
        name: "journal-loses",
        story: "The journal of three dispatchers loses its newest entries, twice: some sessions are forgotten, no session is placed until every replica that relied on the lost entries has released its streams, and all visitors get a slot again.",
        make: |s| {
            s.dispatchers = 3;
            s.visitors = 9;
            faults(s, &[(Kind::JournalLoss, 18_000, 19_000, 13_200), (Kind::JournalFailover, 38_000, 38_500, 39_600)]);
        },
    },
    Scenario {
        name: "journal-in-trouble",
        story: "The journal runs out of memory, then it is slow, then unreachable, then everything in it is deleted.",
        make: |s| {
            faults(
                s,
                &[
                    (Kind::JournalFull, 10_000, 16_000, 0),
                    (Kind::JournalSlow, 18_000, 26_000, 300),
                    (Kind::JournalAway, 27_000, 34_000, 0),
                    (Kind::JournalFlush, 36_000, 36_500, 0),
                ],
            );
        },
    },
    Scenario {
        name: "killed-while-writing",
        story: "Dispatchers are killed before, while and after writing to the journal: what they wrote counts once.",
        make: |s| {
            s.dispatchers = 3;
            faults(
                s,
                &[
                    (Kind::WriterCrash, 12_000, 15_000, 0),
                    (Kind::WriterCrash, 20_000, 24_000, 10),
                    (Kind::WriterCrash, 30_000, 33_000, 5),
                ],
            );
        },
    },
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
        name: "node-lost",
        story: "A node with pods is down for longer than its grace, and returns: its visitors are notified and go to the front of the queue.",
        make: |s| {
            s.habits.stay = (20_000, 40_000);
            faults(s, &[(Kind::NodeLoss, 15_000, 38_000, 1)]);
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
        name: "flaky-network",
        story: "Links are slow, delay everything, or lose it, between dispatchers, pods and homes.",
        make: |s| {
            s.dispatchers = 3;
            faults(
                s,
                &[
                    (Kind::Latency, 5_000, 25_000, 3),
                    (Kind::Hold, 10_000, 15_000, 0),
                    (Kind::Hold, 20_000, 27_000, 9),
                    (Kind::PodPartition, 25_000, 35_000, 8),
                    (Kind::HomePartition, 30_000, 42_000, 15),
                ],
            );
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
    Scenario {
        name: "wrong-clocks",
        story: "The journal's clock jumps and jumps back, and a dispatcher starts with a clock that is an hour off.",
        make: |s| {
            faults(
                s,
                &[
                    (Kind::DispatcherClock, 5_000, 6_000, 7_199_998),
                    (Kind::DispatcherCrash, 8_000, 9_000, 0),
                    (Kind::JournalClock, 15_000, 25_000, 80_001),
                    (Kind::JournalClock, 30_000, 40_000, 4_998),
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
        name: "preempted",
        story: "Pods with a higher priority preempt two pods, and there is no capacity for others for a while.",
        make: |s| {
            s.habits.stay = (15_000, 35_000);
            s.visitors = 8;
            faults(s, &[(Kind::Preemption, 16_000, 24_000, 0), (Kind::Preemption, 28_000, 36_000, 1)]);
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
