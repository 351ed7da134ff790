//! Faults of the dispatchers, of their journals, and of the network.

use super::super::faults::FaultKind as Kind;
use super::super::rollout::{Rollout, restarts};
use super::{Scenario, faults};
use slotkeeper_core::{Millis, Rules};

pub(super) const ALL: &[Scenario] = &[
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
        name: "no-descriptors",
        story: "Both dispatchers run out of descriptors, one after the other: they make no new connections, and sessions with a slot continue.",
        make: |s| {
            s.visitors = 9;
            faults(s, &[(Kind::Descriptors, 10_000, 20_000, 0), (Kind::Descriptors, 22_000, 34_000, 1)]);
        },
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
        name: "cut-off",
        story: "One of two dispatchers is cut off from the journal for longer than silence and grace: it closes its streams before the others reassign its slots, and starts a new life.",
        make: |s| faults(s, &[(Kind::JournalPartition, 18_000, 40_000, 0)]),
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
];
