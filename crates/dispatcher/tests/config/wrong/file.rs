//! The file as a whole: TOML with known keys, values of the right type and in their range, and pools.

use super::Case;

pub(super) const CASES: &[Case] = &[
    ("an empty file", "", &["file:1: key `pools`: missing; a file needs at least one pool: a table [pools.NAME]"]),
    (
        "not TOML",
        r"listen = 
{PROCESSES}
",
        &["file:1: not TOML: string values must be quoted, expected literal string"],
    ),
    (
        "not closed",
        r"[pools.a
",
        &["file:1: not TOML: unclosed table, expected `]`"],
    ),
    (
        "a pool twice",
        r"[pools.a]
title = 'x'
[pools.a]
title = 'y'
{PROCESSES}
",
        &["file:3: key `a`: is set twice; allowed: once", "file:4: key `title`: is set twice; allowed: once"],
    ),
    (
        "a key twice",
        r"[pools.a]
title = 'x'
title = 'y'
{PROCESSES}
",
        &["file:3: key `title`: is set twice; allowed: once"],
    ),
    (
        "an unknown key with a near one",
        r"treads = 2
{PROCESSES}
",
        &["file:1: key `treads`: unknown key; did you mean `threads`?"],
    ),
    (
        "a key without its unit",
        r"[pools.a]
grace = 10
{PROCESSES}
",
        &["file:2: key `pools.a.grace`: unknown key; did you mean `grace_seconds`?"],
    ),
    (
        "an unknown key with none near",
        r"[limits]
colour = 'red'
{PROCESSES}
",
        &[
            "file:2: key `limits.colour`: unknown key; known here: body_bytes, connections, header_bytes, header_fields, header_seconds, idle_seconds, linger_bytes, linger_seconds, new_sessions_per_second, streams_per_session",
        ],
    ),
    (
        "a key of the top in a pool",
        r"[pools.a]
threads = 4
{PROCESSES}
",
        &["file:2: key `pools.a.threads`: unknown key; it belongs to the top of the file, before the first table"],
    ),
    (
        "a key of a pool at the top",
        r"grace_seconds = 4
{PROCESSES}
",
        &["file:1: key `grace_seconds`: unknown key; it belongs to [pools.NAME]"],
    ),
    (
        "an unknown key in a probe",
        r"{PROCESSES}
probe = { interval = 3 }
",
        &[
            "file:4: key `pools.a.processes.probe.interval`: unknown key; known here: every_seconds, failures, kind, path, timeout_seconds",
        ],
    ),
    (
        "a number for a text",
        r"[pools.a]
title = 3
{PROCESSES}
",
        &["file:2: key `pools.a.title`: found the number 3; allowed: text"],
    ),
    (
        "a text for a number",
        r"threads = '4'
{PROCESSES}
",
        &[r#"file:1: key `threads`: found the text "4"; allowed: a whole number from 0 to 1024"#],
    ),
    (
        "a text for seconds",
        r"[pools.a]
grace_seconds = '10'
{PROCESSES}
",
        &[
            r#"file:2: key `pools.a.grace_seconds`: "10" is not a duration; allowed: seconds from 0 to 604800, or a text such as "90s", "10m" or "1h30m""#,
        ],
    ),
    (
        "a text with units that is out of range",
        r"drain_seconds = '2h'
[pools.a]
answer_seconds = '2d'
stall_seconds = '50ms'
claim_seconds = '-10s'
{PROCESSES}
",
        &[
            r#"file:1: key `drain_seconds`: "2h" is out of range; allowed: seconds from 0 to 3600"#,
            r#"file:3: key `pools.a.answer_seconds`: "2d" is out of range; allowed: seconds from 0.1 to 86400, or "off""#,
            r#"file:4: key `pools.a.stall_seconds`: "50ms" is out of range; allowed: seconds from 0.1 to 86400, or "off""#,
            r#"file:5: key `pools.a.claim_seconds`: "-10s" is out of range; allowed: seconds from 0.1 to 86400"#,
        ],
    ),
    (
        "a text for a clock",
        r"[pools.a]
idle_seconds = 'never'
{PROCESSES}
",
        &[
            r#"file:2: key `pools.a.idle_seconds`: "never" is not a duration; allowed: seconds from 0.1 to 2592000, or "off", or a text such as "90s", "10m" or "1h30m""#,
        ],
    ),
    (
        "a table for a list",
        r"[pools.a]
hosts = { a = 1 }
{PROCESSES}
",
        &["file:2: key `pools.a.hosts`: found a table; allowed: text or a list of texts"],
    ),
    (
        "a list with a number in it",
        r"[pools.a]
hosts = ['a.example', 5]
{PROCESSES}
",
        &["file:2: key `pools.a.hosts[1]`: found the number 5; allowed: text"],
    ),
    (
        "a value for a table",
        r"limits = 3
{PROCESSES}
",
        &["file:1: key `limits`: found the number 3; allowed: a table"],
    ),
    (
        "a text for true or false",
        r"[pools.a]
sticky_storage = 'yes'
{PROCESSES}
",
        &[r#"file:2: key `pools.a.sticky_storage`: found the text "yes"; allowed: true or false"#],
    ),
    (
        "negative",
        r"[pools.a]
grace_seconds = -5
{PROCESSES}
",
        &["file:2: key `pools.a.grace_seconds`: -5 is out of range; allowed: seconds from 0 to 604800"],
    ),
    (
        "not a number",
        r"[pools.a]
grace_seconds = nan
{PROCESSES}
",
        &["file:2: key `pools.a.grace_seconds`: nan is out of range; allowed: seconds from 0 to 604800"],
    ),
    (
        "too many",
        r"threads = 99999999999999999999
{PROCESSES}
",
        &["file:1: key `threads`: 99999999999999999999 is out of range; allowed: a whole number from 0 to 1024"],
    ),
    (
        "no slots",
        r"[pools.a]
slots_per_pod = 0
{PROCESSES}
",
        &["file:2: key `pools.a.slots_per_pod`: 0 is out of range; allowed: a whole number from 1 to 1000000"],
    ),
    (
        "an unknown choice",
        r"[pools.a]
placement = 'random'
{PROCESSES}
",
        &[r#"file:2: key `pools.a.placement`: "random" is not known; allowed: "pack", "spread""#],
    ),
    (
        "no pool",
        r"[pools]
",
        &["file:1: key `pools`: missing; a file needs at least one pool: a table [pools.NAME]"],
    ),
    (
        "a pool without pods",
        r"[pools.a]
title = 'x'
",
        &[
            "file:1: key `pools.a`: no pods are configured; allowed: a table [pools.a.kubernetes], [pools.a.processes] or [pools.a.fixed]",
        ],
    ),
    (
        "a scaled pool without pods",
        r"[pools.a]
scaling = 'keda-push'
settle_seconds = 5
",
        &[
            "file:1: key `pools.a`: no pods are configured; allowed: a table [pools.a.kubernetes], [pools.a.processes] or [pools.a.fixed]",
        ],
    ),
    (
        "pods of both kinds",
        r"[pools.a.fixed]
pods = ['h:1', 'h:2']
{PROCESSES}
",
        &["file:3: key `pools.a.processes`: contradicts `fixed`; allowed: one of the two"],
    ),
    (
        "a pool's name",
        r"[pools.'My Pool'.fixed]
pods = ['h:1']
",
        &[
            r#"file:1: key `pools."My Pool"`: "My Pool" is not a pool's name; allowed: 1 to 63 of the letters a-z, 0-9 and -"#,
        ],
    ),
    (
        "everything at once",
        r"listen = 5
threads = -1
[pools.a]
path = 'x'
grace_seconds = 'x'
wat = 1
[pools.a.fixed]
pods = ['x']
probe = { failures = 0 }
",
        &[
            "file:1: key `listen`: found the number 5; allowed: text or a list of texts",
            "file:2: key `threads`: -1 is out of range; allowed: a whole number from 0 to 1024",
            r#"file:4: key `pools.a.path`: "x" is not a path; allowed: such as "/" or "/play", without . and .., % and ?"#,
            r#"file:5: key `pools.a.grace_seconds`: "x" is not a duration; allowed: seconds from 0 to 604800, or a text such as "90s", "10m" or "1h30m""#,
            "file:6: key `pools.a.wat`: unknown key; known here: active_sessions_gauge, activity, admission, after_session, allowed_origins, answer_seconds, claim_seconds, connections, cookie_max_age_seconds, cookie_name, cooldown_seconds, embedded_in, extend_limit_seconds, fixed, grace_seconds, half_open_seconds, hold_limit, hold_seconds, hosts, idle_seconds, kubernetes, landing_url, linger_seconds, max_pods, max_session_seconds, min_pods, passive, passive_defaults, path, placement, priority_header, processes, queue_lease_seconds, queue_limit, rejoin, scaling, schedule, settle_seconds, shrink, silence_seconds, slots_per_pod, spare, stall_seconds, sticky_storage, stuck_after_seconds, targets, time_zone, title, warn_before_seconds, window",
            r#"file:8: key `pools.a.fixed.pods[0]`: "x" is not HOST:PORT; allowed: such as 127.0.0.1:9000, [::1]:9000 or pod.example:9000"#,
            "file:9: key `pools.a.fixed.probe.failures`: 0 is out of range; allowed: a whole number from 1 to 1000",
        ],
    ),
];
