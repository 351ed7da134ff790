//! Sizes, scaling, spare slots with their schedule, and targets.

use super::Case;

pub(super) const CASES: &[Case] = &[
    (
        "scaling a fixed list",
        r"[pools.a]
scaling = 'keda-push'
[pools.a.fixed]
pods = ['h:1', 'h:2']
",
        &[r#"file:2: key `pools.a.scaling`: a fixed list of pods cannot be scaled; allowed: "none" (the default)"#],
    ),
    (
        "another number of pods",
        r"[pools.a]
min_pods = 1
max_pods = 2
[pools.a.fixed]
pods = ['h:1', 'h:2']
",
        &["file:2: key `pools.a.min_pods`: 1, but the fixed list has 2; allowed: 2, or leave it out"],
    ),
    (
        "recycling a fixed list",
        r"[pools.a]
after_session = 'recycle'
[pools.a.fixed]
pods = ['h:1', 'h:2']
",
        &[r#"file:2: key `pools.a.after_session`: the pods of a fixed list cannot be restarted; allowed: "keep""#],
    ),
    (
        "spare in a fixed list",
        r"[pools.a]
spare = 1
[pools.a.fixed]
pods = ['h:1', 'h:2']
",
        &["file:2: key `pools.a.spare`: the pods of a fixed list always run; allowed: for pools that are scaled"],
    ),
    (
        "processes scaled by KEDA",
        r"[pools.a]
scaling = 'prometheus'
settle_seconds = 5
{PROCESSES}
",
        &[
            r#"file:2: key `pools.a.scaling`: local processes are started by the dispatcher itself; allowed: "direct" (the default)"#,
        ],
    ),
    (
        "settle_seconds without KEDA",
        r"[pools.a]
settle_seconds = 5
{PROCESSES}
",
        &[
            r#"file:2: key `pools.a.settle_seconds`: there is no external scaler; allowed: with `scaling` "keda-push" or "prometheus""#,
        ],
    ),
    (
        "a sliding window of a fixed list",
        r"[pools.a]
window = 'sliding'
[pools.a.fixed]
pods = ['h:1', 'h:2']
",
        &[
            r#"file:2: key `pools.a.window`: an external scaler cannot slide the window; allowed: "sliding" with `scaling = "direct"`"#,
        ],
    ),
    (
        "recycling a shared pod",
        r"[pools.a]
slots_per_pod = 2
after_session = 'recycle'
{PROCESSES}
",
        &[
            r#"file:3: key `pools.a.after_session`: "recycle" would end the pod under its other sessions; allowed: with `slots_per_pod = 1`"#,
        ],
    ),
    (
        "a minimum above the maximum",
        r"[pools.a]
min_pods = 3
max_pods = 2
{PROCESSES}
",
        &["file:2: key `pools.a.min_pods`: 3 is more than `max_pods`, 2; allowed: at most `max_pods`"],
    ),
    (
        "more spare slots than the pool can have",
        r"[pools.a]
spare = 2
{PROCESSES}
",
        &["file:2: key `pools.a.spare`: 2 is out of range; allowed: a whole number from 0 to 1"],
    ),
    (
        "a percentage",
        r"[pools.a]
spare = '10 percent'
{PROCESSES}
",
        &[
            r#"file:2: key `pools.a.spare`: "10 percent" is not a percentage; allowed: "0%" to "1000%", or slots from 0 to 1"#,
        ],
    ),
    (
        "a time zone",
        r"[pools.a]
time_zone = 'Europe/Bonn'
schedule = [{ spare = 1 }]
{PROCESSES}
",
        &[
            r#"file:2: key `pools.a.time_zone`: "Europe/Bonn" is not a time zone; allowed: names such as Europe/Berlin or UTC"#,
        ],
    ),
    (
        "a schedule without a zone",
        r"[pools.a]
schedule = [{ spare = 1 }]
{PROCESSES}
",
        &[
            "file:1: key `pools.a.time_zone`: missing; a schedule needs one; allowed: names such as Europe/Berlin or UTC",
        ],
    ),
    (
        "a zone without a schedule",
        r"[pools.a]
time_zone = 'UTC'
{PROCESSES}
",
        &["file:2: key `pools.a.time_zone`: has no effect alone; allowed: with [[schedule]]"],
    ),
    (
        "a schedule's windows",
        r"[pools.a]
max_pods = 9
time_zone = 'UTC'
{PROCESSES}
[[pools.a.schedule]]
days = ['mon-fry']
from = '8:00'
to = '24:01'
spare = 10
[[pools.a.schedule]]
days = []
from = '08:00'
to = '08:00'
",
        &[
            r#"file:8: key `pools.a.schedule[0].days[0]`: "mon-fry" is not a day; allowed: mon, tue, wed, thu, fri, sat, sun, such as mon-fri, or daily"#,
            r#"file:9: key `pools.a.schedule[0].from`: "8:00" is not a time; allowed: "00:00" to "24:00""#,
            r#"file:10: key `pools.a.schedule[0].to`: "24:01" is not a time; allowed: "00:00" to "24:00""#,
            "file:11: key `pools.a.schedule[0].spare`: 10 is out of range; allowed: a whole number from 0 to 9",
            "file:12: key `pools.a.schedule[1].spare`: missing; allowed: slots, or a percentage in quotes",
            "file:13: key `pools.a.schedule[1].days`: the list is empty; allowed: days, or leave it out for every day",
            "file:15: key `pools.a.schedule[1].to`: 08:00 is also `from`; allowed: another time, or neither for the whole day",
        ],
    ),
    (
        "slots and percentages",
        r"[pools.a]
time_zone = 'UTC'
schedule = [{ spare = 1 }, { spare = '5%' }]
{PROCESSES}
",
        &[
            "file:3: key `pools.a.schedule`: mixes slots and percentages; allowed: one of the two, so that the largest is known where windows overlap",
        ],
    ),
    (
        "a time without quotes",
        r"[pools.a]
time_zone = 'UTC'
schedule = [{ from = 08:00:00, spare = 1 }]
{PROCESSES}
",
        &["file:3: key `pools.a.schedule[0].from`: found a date or time (write it in quotes); allowed: text"],
    ),
    (
        "targets that cannot be",
        r#"[pools.a]
slots_per_pod = 10
window = "sliding"
shrink = "move"
processes = { command = ["a"], data_folder = "a" }
[pools.a.targets]
sessions = 11
messages_per_second = 0
window_seconds = 1
slack_percent = 91
colour = 1
[pools.a.targets.gauge]
name = "slotkeeper_x"
per_pod = 0
path = "metrics"
every_seconds = 0.5
[pools.b]
path = "/b"
shrink = "move"
processes = { command = ["b"], data_folder = "b" }
[pools.c]
path = "/c"
slots_per_pod = 2
sticky_storage = true
shrink = "move"
targets = { window_seconds = 10 }
processes = { command = ["c"], data_folder = "c" }
[pools.d]
path = "/d"
slots_per_pod = 2
shrink = "move"
fixed.pods = ["127.0.0.1:1"]
targets = { gauge = { every_seconds = 20 }, window_seconds = 30 }
[pools.e]
path = "/e"
shrink = "sideways"
processes = { command = ["e"], data_folder = "e" }
"#,
        &[
            "file:4: key `pools.a.shrink`: pods are emptied from the top; allowed: \"move\" with `window = \"fixed\"`",
            "file:6: key `pools.a.targets`: they count pods from 0; allowed: with `window = \"fixed\"`",
            "file:7: key `pools.a.targets.sessions`: 11 is out of range; allowed: a whole number from 1 to 10",
            "file:8: key `pools.a.targets.messages_per_second`: 0 is out of range; allowed: a whole number from 1 to 1000000000",
            "file:9: key `pools.a.targets.window_seconds`: 1 is out of range; allowed: seconds from 5 to 3600",
            "file:10: key `pools.a.targets.slack_percent`: 91 is out of range; allowed: a whole number from 0 to 90",
            "file:11: key `pools.a.targets.colour`: unknown key; known here: gauge, messages_per_second, sessions, slack_percent, window_seconds",
            "file:13: key `pools.a.targets.gauge.name`: \"slotkeeper_x\" could be one of Slotkeeper's own; allowed: another prefix",
            "file:14: key `pools.a.targets.gauge.per_pod`: 0 is out of range; allowed: a number from 0.001 to 1000000000000",
            "file:15: key `pools.a.targets.gauge.path`: \"metrics\" is not a path; allowed: such as \"/metrics\"",
            "file:16: key `pools.a.targets.gauge.every_seconds`: 0.5 is out of range; allowed: seconds from 1 to 600",
            "file:19: key `pools.b.shrink`: the session of an exclusive pod stays there; allowed: \"move\" with `slots_per_pod` above 1",
            "file:25: key `pools.c.shrink`: sessions cannot leave what they have stored; allowed: \"move\" without `sticky_storage`",
            "file:26: key `pools.c.targets.window_seconds`: nothing is measured; allowed: with `messages_per_second` or `gauge`",
            "file:26: key `pools.c.targets`: no target in it; allowed: `sessions`, `messages_per_second`, `gauge`, one or more of them",
            "file:33: key `pools.d.targets.gauge.every_seconds`: 20 is too long for a window of 30 s; allowed: at most half of it",
            "file:33: key `pools.d.targets.gauge.name`: missing; allowed: the name of a gauge that pods have, such as \"websocket_capacity_ratio\"",
            "file:33: key `pools.d.targets.gauge.per_pod`: missing; allowed: the target value per pod, from 0.001 to 1000000000000",
            "file:33: key `pools.d.targets`: this pool is not scaled; allowed: for pools that are scaled",
            "file:36: key `pools.e.shrink`: \"sideways\" is not known; allowed: \"wait\", \"move\"",
        ],
    ),
];
