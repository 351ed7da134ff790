//! Failures caused by keeping the number in a process's memory.

use super::super::{Harm, Scenario};
use super::{MINUTE, SECOND, crowd, every_scaling, naive, remembering, setting, without_window};
use crate::planner::tabletop::{Fault, Setting};

pub(super) fn forgetting() -> Vec<Scenario> {
    let restart = (10 * MINUTE, Fault::Restart { down: 5 * SECOND });
    vec![
        Scenario {
            name: "f4-restart-forgets",
            story: "Five visitors play. The dispatcher's process is replaced; browsers reconnect, and their cookies \
                    name the pod, so all visitors continue. But the count in memory begins at 0. After five minutes of \
                    0 the HPA and KEDA believe it, and all five sessions end.",
            harm: Harm::Killed(5),
            setting: Setting { faults: vec![restart], ..setting(10, 30) },
            visitors: crowd(5),
            naive: naive(10),
            ours: every_scaling(10),
        },
        Scenario {
            name: "f5-restart-without-a-window",
            story: "As in f4, but the operator has set the HPA's scale-down window to 0 to save pods. The first metric \
                    after the restart that is 0 is acted upon within 15 s: all pods but one are deleted before two \
                    minutes have passed.",
            harm: Harm::Killed(4),
            setting: Setting { faults: vec![restart], ..setting(10, 12) },
            visitors: crowd(5),
            naive: without_window(naive(10)),
            ours: every_scaling(10),
        },
        Scenario {
            name: "f6-outage-then-a-wrong-zero",
            story: "Prometheus is down for six minutes. Nothing happens: errors freeze KEDA and the HPA. Meanwhile the \
                    dispatcher has been restarted and counts from 0. During errors the HPA remembers nothing, so its \
                    window of five minutes is empty when Prometheus is back: the first 0 is acted upon at once.",
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
            story: "The dispatcher is rolled out, its old pod ended 45 s before the new one answers. A failed scrape \
                    ends a series at once: the sum of nothing is empty, and empty means 0 to KEDA by default. With a \
                    scale-down window of 0 the pool shrinks to one pod under five players. (With the default window it \
                    takes a gap of five minutes.)",
            harm: Harm::Killed(4),
            setting: Setting { faults: vec![(10 * MINUTE, Fault::Restart { down: 45 * SECOND })], ..setting(10, 15) },
            visitors: crowd(5),
            naive: without_window(remembering(naive(10))),
            ours: every_scaling(10),
        },
    ]
}
