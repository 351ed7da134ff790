//! Routes, cookies, clocks, pages, origins, passive requests and activity.

use super::Case;

pub(super) const CASES: &[Case] = &[
    (
        "a warning that is late",
        r"[pools.a]
idle_seconds = 60
warn_before_seconds = 60
{PROCESSES}
",
        &["file:3: key `pools.a.warn_before_seconds`: 60 is not before the end of `idle_seconds`, 60; allowed: less"],
    ),
    (
        "a session longer than its cookie",
        r"[pools.a]
max_session_seconds = 7200
cookie_max_age_seconds = 3600
{PROCESSES}
",
        &[
            "file:2: key `pools.a.max_session_seconds`: 7200: the cookie would expire after 3600 s, before the session does; allowed: at most as long as `cookie_max_age_seconds`",
        ],
    ),
    (
        "a host with a scheme",
        r"[pools.a]
hosts = ['https://a.example', 'a.*.example']
{PROCESSES}
",
        &[
            r#"file:2: key `pools.a.hosts[0]`: "https://a.example" is not a host; allowed: a host without scheme and port, such as play.example, or *.example.com"#,
            r#"file:2: key `pools.a.hosts[1]`: "a.*.example" is not a host; allowed: a host without scheme and port, such as play.example, or *.example.com"#,
        ],
    ),
    (
        "a path without a slash",
        r"[pools.a]
path = 'play'
{PROCESSES}
",
        &[
            r#"file:2: key `pools.a.path`: "play" is not a path; allowed: such as "/" or "/play", without . and .., % and ?"#,
        ],
    ),
    (
        "a path with dots",
        r"[pools.a]
path = '/play/../x'
{PROCESSES}
",
        &[
            r#"file:2: key `pools.a.path`: "/play/../x" is not a path; allowed: such as "/" or "/play", without . and .., % and ?"#,
        ],
    ),
    (
        "a reserved path",
        r"[pools.a]
path = '/.slotkeeper/x/'
{PROCESSES}
",
        &[
            r#"file:2: key `pools.a.path`: "/.slotkeeper/x/" is reserved for Slotkeeper's own pages; allowed: another path"#,
        ],
    ),
    (
        "a title of lines",
        r#"[pools.a]
title = "a\nb"
{PROCESSES}
"#,
        &[r#"file:2: key `pools.a.title`: "a\nb" is not a title; allowed: 1 to 100 characters on one line"#],
    ),
    (
        "a cookie's name",
        r"[pools.a]
cookie_name = 'a b'
{PROCESSES}
",
        &[
            r#"file:2: key `pools.a.cookie_name`: "a b" is not a cookie's name; allowed: 1 to 64 letters, digits, - and _"#,
        ],
    ),
    (
        "a cookie's prefix",
        r"[pools.a]
cookie_name = '__Http-a'
{PROCESSES}
",
        &[
            r#"file:2: key `pools.a.cookie_name`: "__Http-a": browsers reserve names that start with __; allowed: other names, or the prefixes __Host- and __Secure-"#,
        ],
    ),
    (
        "connections of an exclusive pool that are shared",
        r"[pools.a]
connections = { share = true, idle_seconds = 0.01 }
{PROCESSES}
",
        &[
            "file:2: key `pools.a.connections.idle_seconds`: 0.01 is out of range; allowed: seconds from 0.1 to 3600, or \"off\"",
            "file:2: key `pools.a.connections.share`: a pod of an exclusive pool never serves two sessions on one connection; allowed: false, or `slots_per_pod` above 1",
        ],
    ),
    (
        "rules of passive requests",
        r"{PROCESSES}
[[pools.a.passive]]
[[pools.a.passive]]
paths = ['api', '/x?y']
methods = 'G T'
user_agents = ''
fetch = ['mode', 'colour=red', 'dest=image']
colour = 'red'
",
        &[
            "file:4: key `pools.a.passive[0].paths`: missing; a rule needs a condition; allowed: `paths`, `methods`, `user_agents`, `fetch`",
            r#"file:6: key `pools.a.passive[1].paths[0]`: "api" is not a path; allowed: such as "/api/status" or "/api/*", without a query"#,
            r#"file:6: key `pools.a.passive[1].paths[1]`: "/x?y" is not a path; allowed: such as "/api/status" or "/api/*", without a query"#,
            r#"file:7: key `pools.a.passive[1].methods`: "G T" is not a method; allowed: such as "GET""#,
            r#"file:8: key `pools.a.passive[1].user_agents`: "" is not a user agent; allowed: such as "kube-probe/*""#,
            r#"file:9: key `pools.a.passive[1].fetch[0]`: "mode" is not known; allowed: "mode=", "dest=", "site=" or "purpose=" and a value, such as "mode=cors""#,
            r#"file:9: key `pools.a.passive[1].fetch[1]`: "colour=red" is not known; allowed: "mode=", "dest=", "site=" or "purpose=" and a value, such as "mode=cors""#,
            "file:10: key `pools.a.passive[1].colour`: unknown key; known here: fetch, methods, paths, user_agents",
        ],
    ),
    (
        "invalid settings of activity",
        r"[pools.a]
rejoin = 'never'
activity = { frame_bytes = ['8-6', '6'], ignored_paths = 'api', busy_limit_seconds = 0 }
{PROCESSES}
",
        &[
            r#"file:2: key `pools.a.rejoin`: "never" is not known; allowed: "page", "any""#,
            "file:3: key `pools.a.activity.busy_limit_seconds`: 0 is out of range; allowed: seconds from 1 to 2592000",
            r#"file:3: key `pools.a.activity.frame_bytes[0]`: "8-6" is not a size; allowed: such as "6", "6-8" or "100-""#,
            "file:3: key `pools.a.activity.frame_bytes`: frames are not measured; allowed: with `signals = \"frames\"`",
            r#"file:3: key `pools.a.activity.ignored_paths`: "api" is not a path; allowed: such as "/api/status" or "/api/*", without a query"#,
        ],
    ),
    (
        "an origin with a path",
        r"[pools.a]
allowed_origins = ['https://a.example/x', 'a.example']
{PROCESSES}
",
        &[
            r#"file:2: key `pools.a.allowed_origins[0]`: "https://a.example/x" is not an origin; allowed: such as https://app.example without a path, https://*.example.com, null, or *"#,
            r#"file:2: key `pools.a.allowed_origins[1]`: "a.example" is not an origin; allowed: such as https://app.example without a path, https://*.example.com, null, or *"#,
        ],
    ),
    (
        "frames in pages without https, and without a proxy that reports https",
        r"[pools.a]
embedded_in = ['http://portal.example', '*', 'null', 'https://portal.example/lms', 'https://portal.example']
allowed_origins = '*'
{PROCESSES}
",
        &[
            r#"file:2: key `pools.a.embedded_in[0]`: "http://portal.example" is not an origin with https; allowed: such as https://portal.example without a path, or https://*.example.com"#,
            r#"file:2: key `pools.a.embedded_in[1]`: "*" is not an origin with https; allowed: such as https://portal.example without a path, or https://*.example.com"#,
            r#"file:2: key `pools.a.embedded_in[2]`: "null" is not an origin with https; allowed: such as https://portal.example without a path, or https://*.example.com"#,
            r#"file:2: key `pools.a.embedded_in[3]`: "https://portal.example/lms" is not an origin with https; allowed: such as https://portal.example without a path, or https://*.example.com"#,
            "file:2: key `pools.a.embedded_in`: a cookie for frames needs https, which a trusted proxy has to report, and there are none; allowed: with `trusted_proxies`",
            "file:3: key `pools.a.allowed_origins`: with `embedded_in`, browsers may send the cookie from pages of other sites, and any such page could use the session; allowed: without \"*\" and \"null\"",
        ],
    ),
    (
        "a landing page with TLS",
        r"[pools.a]
landing_url = 'https://a.example/'
{PROCESSES}
",
        &[
            r#"file:2: key `pools.a.landing_url`: "https://a.example/" is fetched inside of your network, without TLS; allowed: such as http://127.0.0.1:8000/wait"#,
        ],
    ),
    (
        "a landing page that is none",
        r"[pools.a]
landing_url = 'a.example'
{PROCESSES}
",
        &[
            r#"file:2: key `pools.a.landing_url`: "a.example" is not a URL; allowed: such as http://127.0.0.1:8000/wait"#,
        ],
    ),
    (
        "a metric's name",
        r"[pools.a]
active_sessions_gauge = '3d-sessions'
{PROCESSES}
",
        &[
            r#"file:2: key `pools.a.active_sessions_gauge`: "3d-sessions" is not a metric's name; allowed: letters, digits, _ and :"#,
        ],
    ),
    (
        "one of our metrics",
        r"[pools.a]
active_sessions_gauge = 'slotkeeper_sessions'
{PROCESSES}
",
        &[
            r#"file:2: key `pools.a.active_sessions_gauge`: "slotkeeper_sessions" could be one of Slotkeeper's own; allowed: another prefix"#,
        ],
    ),
    (
        "a header's name",
        r"trusted_proxies = ['::1']
[pools.a]
priority_header = 'x class'
{PROCESSES}
",
        &[
            r#"file:3: key `pools.a.priority_header`: "x class" is not the name of a header; allowed: such as x-priority"#,
        ],
    ),
    (
        "a priority header without trusted proxies",
        r"[pools.a]
priority_header = 'x-class'
{PROCESSES}
",
        &[
            "file:2: key `pools.a.priority_header`: is only accepted from trusted proxies, and there are none; allowed: with `trusted_proxies`",
        ],
    ),
];
