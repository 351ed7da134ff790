//! The settings of a pool. Those of its tables are in `connections.rs`, `passive.rs`, `spare.rs`, `targets.rs`, and for its pods
//! in `pods.rs`, `processes.rs` and `kubernetes.rs`.

use crate::config::addresses::{
    cookie_name, embedding_origin, gauge, header, host_pattern, landing, origin, path, title,
};
use crate::config::choices::Scaler;
use crate::config::field::{Choices as _, Field as _, choice};
use crate::config::request_rules::{Passive, Rejoin};
use crate::config::setting::{
    Access, DAY, Kind, LONG, Row, Setting, Shown, field, kept, number, read_field, seconds, seconds_or_off,
};
use crate::config::table::Table;
use crate::config::{Admission, PoolConfig, rules, spare};
use slotkeeper_core::{AfterSession, Placement, Rules, Scaling, Shrink, Window};

pub(crate) const ROWS: &[Row<PoolConfig>] = &[
    Row::new("title", Kind::Text("1 to 100 characters"), field!(PoolConfig, title = title, ""))
        .help("the pool's name on the pages that visitors see", "")
        .default("NAME"),
    Row::new(
        "hosts",
        Kind::OneOrList("host name, or `\"*.example.com\"`"),
        field!(PoolConfig, hosts = [host_pattern], "any"),
    )
    .help(
        "hosts that are routed to this pool",
        ", regardless of case, port and a trailing dot. `*.` stands for one or more labels. An exact host \
         takes precedence over a wildcard, a longer wildcard over a shorter one, and a wildcard over a pool \
         for any host",
    ),
    Row::new("path", Kind::Text("path, whole segments"), field!(PoolConfig, path = path, ""))
        .help("the path prefix that is routed to this pool", "; the longest one wins; not below `/.slotkeeper`")
        .restart(),
    Row::new("slots_per_pod", number(1, 1_000_000), field!(PoolConfig, rules.slots_per_pod))
        .help("sessions that fit in one pod", "")
        .restart(),
    Row::new("min_pods", number(0, Rules::MAX_PODS as u64), field!(PoolConfig, rules.min))
        .help("pods kept even without sessions", "")
        .default("0; fixed: their number"),
    Row::new(
        "max_pods",
        number(1, Rules::MAX_PODS as u64),
        Access { read: rules::max_pods, ..field!(PoolConfig, rules.max) },
    )
    .help("maximum number of pods", "")
    .default("1, or `min_pods`; fixed: their number"),
    Row::new("admission", choice::<Admission>(), field!(PoolConfig, admission))
        .help("when a new session gets a slot", ". See \"When a session begins\""),
    Row::new("placement", choice::<Placement>(), field!(PoolConfig, rules.placement))
        .help("which pod a session gets", ""),
    Row::new("sticky_storage", Kind::Bool, field!(PoolConfig, rules.sticky_storage))
        .help("a returning session prefers its previous pod", ""),
    Row::new("after_session", choice::<AfterSession>(), field!(PoolConfig, rules.after_session))
        .help("what happens to a pod after a session", " (exclusive pools, neither fixed ones nor Deployments)"),
    Row::new(
        "scaling",
        choice::<Scaler>(),
        Access { read: rules::scaling, shown: shown_scaling, merge: rules::merge_scaling, means: None },
    )
    .help("what scales the pods", ". Processes and fixed lists allow their default only")
    .default("kubernetes, processes: `\"direct\"`, fixed: `\"none\"`")
    .restart()
    .means(|pool| Scaler::of(pool).means()),
    Row::new("window", choice::<Window>(), Access { read: rules::window, shown: shown_window, ..Access::NONE })
        .help("which ordinals run", ". With `scaling = \"direct\"` only, and a StatefulSet must be `Parallel`")
        .default("`\"fixed\"`")
        .restart(),
    Row::new(
        "settle_seconds",
        seconds(0.0, 3600.0),
        Access { read: rules::settle, shown: shown_settle, ..Access::NONE },
    )
    .help(
        "how long after a number of pods was served KEDA may still act on an earlier one",
        "; with these two only. With `keda_guard`, pods of a StatefulSet that were given up are used again \
         earlier, as soon as KEDA cannot remove them",
    )
    .default("keda-push: 20, prometheus: 50")
    .restart(),
    Row::new("shrink", choice::<Shrink>(), field!(PoolConfig, rules.shrink))
        .help("what happens to the sessions of a surplus pod", ". See `[pools.NAME.targets]`"),
    Row::new("spare", Kind::Slots, Access { read: spare::slots, shown: shown_spare, ..kept!(PoolConfig, rules.spare) })
        .help("free slots kept ready for new sessions", "; `max_pods` still applies")
        .default("0")
        .range("slots, or `\"0%\"` to `\"1000%\"` of the busy ones"),
    Row::new(
        "time_zone",
        Kind::Text("such as `\"Europe/Berlin\"`"),
        Access::shown(|_, pool: &PoolConfig| pool.schedule.as_ref().map(|schedule| Shown::text(schedule.zone()))),
    )
    .help("time zone of the schedule", "; required with one")
    .default("none"),
    Row::new("schedule", Kind::Tables, Access { shown: shown_schedule, ..kept!(PoolConfig, schedule) })
        .help("spare slots by day and hour", "")
        .default("none"),
    Row::new("queue_limit", number(1, 1_000_000), field!(PoolConfig, rules.queue_limit))
        .help("maximum waiting sessions", ""),
    Row::new("queue_lease_seconds", seconds(0.1, 3600.0), field!(PoolConfig, rules.queue_lease))
        .help("a waiting session that sends no heartbeat for this long leaves the queue", ""),
    Row::new("claim_seconds", seconds(0.1, DAY), field!(PoolConfig, rules.claim))
        .help("a ready slot is kept this long until its session connects", ""),
    Row::new("grace_seconds", seconds(0.0, 7.0 * DAY), field!(PoolConfig, rules.grace))
        .help("a slot is kept this long after the last stream closed", ""),
    Row::new("linger_seconds", seconds(0.1, DAY), field!(PoolConfig, linger))
        .help("a session without WebSockets counts as present this long after its last request", ""),
    Row::new("half_open_seconds", seconds_or_off(0.1, DAY), field!(PoolConfig, half_open))
        .help("a silent WebSocket client is pinged after this, and has the same time to answer", ""),
    Row::new("idle_seconds", seconds_or_off(0.1, LONG), field!(PoolConfig, rules.idle))
        .help("a session without activity ends after this", ""),
    Row::new("max_session_seconds", seconds_or_off(0.1, LONG), field!(PoolConfig, rules.max_session))
        .help("every session ends after this", "; at most `cookie_max_age_seconds`"),
    Row::new(
        "warn_before_seconds",
        seconds(0.0, DAY),
        Access { read: rules::warn_before, ..field!(PoolConfig, rules.warn_before) },
    )
    .help("how long before the end by `idle` or `max_session` the visitor is warned", "; also what one extension adds")
    .default("300, at most half of the shorter of both clocks")
    .range("0 to 86400, less than both clocks"),
    Row::new("extend_limit_seconds", seconds(0.0, LONG), field!(PoolConfig, rules.extend_limit))
        .help("the maximum of all extensions of one session together", ""),
    Row::new("silence_seconds", seconds(0.1, 3600.0), field!(PoolConfig, rules.silence)).help(
        "a dispatcher that sends no heartbeat for this long plus the longest `grace_seconds` is given up",
        " (with a shared journal); it closes its streams before that",
    ),
    Row::new("cooldown_seconds", seconds(0.0, 7.0 * DAY), field!(PoolConfig, rules.cooldown))
        .help("how long demand must stay lower before the pool scales down", ""),
    Row::new("stuck_after_seconds", seconds(1.0, 7.0 * DAY), field!(PoolConfig, rules.stuck_after))
        .help("a pod that has not been ready for this long counts as failing", ""),
    Row::new("hold_seconds", seconds_or_off(0.1, 3600.0), field!(PoolConfig, hold))
        .help("upgrades and API calls wait this long for a slot instead of a `503`", ""),
    Row::new("hold_limit", number(1, 1_000_000), field!(PoolConfig, hold_limit))
        .help("maximum requests that wait that way at once", "")
        .restart(),
    Row::new("cookie_name", Kind::Text("letters, digits, `-`, `_`"), field!(PoolConfig, cookie_name = cookie_name, ""))
        .help(
            "name of the session cookie",
            "; must differ between pools that share a host. With the prefix `__Host-` or `__Secure-` the cookie \
             is always `Secure`, and browsers accept it only over TLS; with `__Host-`, pages of sibling hosts \
             cannot set it",
        )
        .default("`\"slotkeeper\"`; with several pools `\"slotkeeper_NAME\"`")
        .restart(),
    Row::new("cookie_max_age_seconds", seconds(60.0, 400.0 * DAY), field!(PoolConfig, cookie_max_age))
        .help("a browser keeps the cookie this long", ""),
    Row::new(
        "allowed_origins",
        Kind::OneOrList("origin"),
        field!(PoolConfig, allowed_origins = [origin], "the same origin"),
    )
    .help(
        "origins of pages that may open WebSockets",
        " and post to the dispatcher's own pages, in addition to pages of the same scheme, host and port. \
         `*.` stands for one or more labels. Packaged apps have schemes of their own; `\"null\"` is the \
         origin of every sandboxed frame and every local file, no matter whose",
    )
    .range(
        "list such as `\"https://app.example\"`, `\"https://*.example.com\"`, \
         `\"capacitor://localhost\"`, `\"null\"`, or `\"*\"`",
    ),
    Row::new(
        "embedded_in",
        Kind::OneOrList("origin with https"),
        field!(PoolConfig, embedded_in = [embedding_origin], "none"),
    )
    .help("pages of other sites that may show this pool in a frame", ": see \"In a frame of another site\"")
    .range("list of origins with https, such as `\"https://portal.example\"`, `\"https://*.example.com\"`"),
    Row::new("answer_seconds", seconds_or_off(0.1, DAY), field!(PoolConfig, answer)).help(
        "a pod that has not sent the head of its answer this long after the end of the request is given up",
        ": `504`. Interim answers do not count. For long polling, more than the longest poll takes",
    ),
    Row::new("stall_seconds", seconds_or_off(0.1, DAY), field!(PoolConfig, stall)).help(
        "the bodies of a request and its answer are cut off when neither makes progress for this long",
        ", whichever side is slow. Before the pod's answer has begun, the request gets `408` (the visitor \
         sends no more) or `504` (the pod reads no more). A pod may stay silent for any time in a \
         `text/event-stream` or `multipart/x-mixed-replace`; upgraded connections have `half_open_seconds`",
    ),
    Row::new(
        "landing_url",
        Kind::Text("`http://HOST[:PORT]/PATH`"),
        field!(PoolConfig, landing = landing, "the built-in page"),
    )
    .help("your own waiting room page", "; the built-in page is the fallback"),
    Row::new(
        "active_sessions_gauge",
        Kind::Text("name of a metric"),
        field!(PoolConfig, active_sessions_gauge = gauge, "none"),
    )
    .help("an extra gauge of active sessions, as an existing scaler expects it", "")
    .restart(),
    Row::new("priority_header", Kind::Text("name of a header"), field!(PoolConfig, priority_header = header, "none"))
        .help("the visitor's priority, 0 (first) to 9", "; accepted from `trusted_proxies` only"),
    Row::new(
        "passive_defaults",
        Kind::Bool,
        Access::shown(|_, pool: &PoolConfig| Some(Shown::plain(pool.passive.starts_with(&Passive::usual())))),
    )
    .help("whether the default rules apply, too", ""),
    Row::new("rejoin", choice::<Rejoin>(), Access { read: rejoin, ..field!(PoolConfig, rejoin) })
        .help(
            "which requests restart a session that had a slot and has ended",
            ": with `\"page\"`, not those that a page sends in the background (fetches and WebSockets by \
             `Sec-Fetch-Mode`; over plain HTTP, requests with `Referer` or `Origin`). So a forgotten tab takes no \
             slot; its visitor reloads, or the page uses [client.js](CLIENT.md), which joins by itself",
        )
        .default("with `admission = \"returning\"`: `\"page\"`, else `\"any\"`"),
];

fn shown_scaling(_: &Setting, pool: &PoolConfig) -> Option<Shown> {
    Some(Shown::text(Scaler::of(pool).name()))
}

fn shown_window(setting: &Setting, pool: &PoolConfig) -> Option<Shown> {
    if let Scaling::Direct { window } = pool.rules.scaling { Some(window.shown(setting.kind)) } else { None }
}

fn shown_settle(setting: &Setting, pool: &PoolConfig) -> Option<Shown> {
    if let Scaling::Keda { settle } = pool.rules.scaling { Some(settle.shown(setting.kind)) } else { None }
}

fn shown_spare(_: &Setting, pool: &PoolConfig) -> Option<Shown> {
    (pool.rules.scaling != Scaling::None).then(|| spare::shown(pool.rules.spare))
}

fn shown_schedule(_: &Setting, pool: &PoolConfig) -> Option<Shown> {
    let windows = pool.schedule.as_ref()?.windows().iter();
    let windows = windows.map(|w| format!("{} {} to {}: {}", w.days, w.from, w.to, spare::shown(w.spare)));
    Some(Shown::Text(windows.collect::<Vec<_>>().join("; ")))
}

fn rejoin(setting: &Setting, table: &Table<'_>, pool: &mut PoolConfig) {
    pool.rejoin = Rejoin::usual(pool.admission);
    read_field(&mut pool.rejoin, setting, table);
}
