//! One pool: `[pools.NAME]`. Its rules are read in `rules.rs`, its pods in `pods.rs`.

use super::addresses::{cookie_name, embedding_origin, gauge, host_pattern, landing, origin, path};
use super::passive::{activity, passive};
use super::rules::{DAY, default_rules, rules, seconds};
use super::spare::schedule;
use super::table::{Table, millis, quoted};
use super::targets::{shrink, targets};
use super::together::ports;
use super::{Admission, ClusterConfig, DataBetween, KeptConnections, OriginPattern, PoolConfig, pods};
use slotkeeper_core::AfterSession;

/// A pool, and the table it comes from.
pub(super) type NamedPool<'a> = (Table<'a>, PoolConfig);

pub(super) fn all<'a>(pools: &Table<'a>, proxies: bool) -> Vec<NamedPool<'a>> {
    let named = pools.named();
    named
        .iter()
        .filter_map(|(name, value)| {
            let letters = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
            if name.is_empty() || name.len() > 63 || !name.bytes().all(letters) {
                let allowed = "1 to 63 of the letters a-z, 0-9 and -";
                value.wrong(format_args!("{} is not a pool's name; allowed: {allowed}", quoted(name)));
            }
            let table = value.table()?;
            let pool = one(&table, name, usual_cookie_name(name, named.len()), proxies);
            Some((table, pool))
        })
        .collect()
}

/// The default cookie name. With several pools it contains the pool's name: on a shared host, cookies of the same name would
/// overwrite each other.
pub(super) fn usual_cookie_name(pool: &str, pools: usize) -> String {
    if pools > 1 { format!("slotkeeper_{pool}") } else { "slotkeeper".to_owned() }
}

fn one(table: &Table<'_>, name: &str, cookie_name: String, proxies: bool) -> PoolConfig {
    // If no pods are defined, reading continues with a placeholder, to report the other problems.
    let cluster = pods::cluster(table);
    let known = cluster.is_some();
    let cluster = cluster.unwrap_or(ClusterConfig::Processes(super::Processes::new(Vec::new(), "".into())));
    let slots_per_pod = table.number("slots_per_pod", 1, 1..=1_000_000);
    let mut pool = PoolConfig::new(name, default_rules(slots_per_pod, &cluster), cluster);

    if let Some(title) = table.string("title") {
        pool.title = title.to_owned();
        if title.trim().is_empty() || title.chars().count() > 100 || title.chars().any(char::is_control) {
            table.wrong(
                "title",
                format_args!("{} is not a title; allowed: 1 to 100 characters on one line", quoted(title)),
            );
        }
    }
    for (text, at) in table.one_or_list("hosts").unwrap_or_default() {
        pool.hosts.extend(at.accept(host_pattern(text)));
    }
    if let Some(text) = table.string("path") {
        pool.path = table.accept("path", path(text)).unwrap_or(pool.path);
    }
    pool.admission = table.choice(
        "admission",
        pool.admission,
        &[("returning", Admission::Returning), ("immediate", Admission::Immediate)],
    );
    pool.linger = table.seconds("linger_seconds", pool.linger, 0.1..=DAY);
    pool.half_open = table.seconds_or_off("half_open_seconds", pool.half_open, 0.1..=DAY);
    pool.hold = table.seconds_or_off("hold_seconds", None, 0.1..=3600.0).unwrap_or_default();
    pool.hold_limit = table.number("hold_limit", pool.hold_limit, 1..=1_000_000);
    pool.cookie_name = cookie_name;
    if let Some(text) = table.string("cookie_name") {
        pool.cookie_name = table.accept("cookie_name", self::cookie_name(text)).unwrap_or(pool.cookie_name);
    }
    // Browsers keep no cookie longer than 400 days (RFC 6265bis).
    pool.cookie_max_age = table.seconds("cookie_max_age_seconds", pool.cookie_max_age, 60.0..=400.0 * DAY);
    for (text, at) in table.one_or_list("allowed_origins").unwrap_or_default() {
        pool.allowed_origins.extend(at.accept(origin(text)));
    }
    for (text, at) in table.one_or_list("embedded_in").unwrap_or_default() {
        pool.embedded_in.extend(at.accept(embedding_origin(text)));
    }
    if table.has("embedded_in") && !proxies {
        let what = "a cookie for frames needs https, which a trusted proxy has to report, and there are none";
        table.wrong("embedded_in", format_args!("{what}; allowed: with `trusted_proxies`"));
    }
    if !pool.embedded_in.is_empty()
        && pool.allowed_origins.iter().any(|o| matches!(o, OriginPattern::Any | OriginPattern::Null))
    {
        let what = "with `embedded_in`, browsers may send the cookie from pages of other sites, and any such page could use the session";
        table.wrong("allowed_origins", format_args!("{what}; allowed: without \"*\" and \"null\""));
    }
    pool.answer = table.seconds_or_off("answer_seconds", pool.answer, 0.1..=DAY);
    pool.stall = table.seconds_or_off("stall_seconds", pool.stall, 0.1..=DAY);
    passive(table, &mut pool);
    pool.activity = activity(table);
    if let Some(connections) = table.table("connections") {
        pool.connections = self::connections(&connections, slots_per_pod == 1);
    }
    pool.landing = table.string("landing_url").and_then(|text| table.accept("landing_url", landing(text)));
    pool.active_sessions_gauge =
        table.string("active_sessions_gauge").and_then(|text| table.accept("active_sessions_gauge", gauge(text)));
    pool.priority_header = table.string("priority_header").and_then(|text| {
        let what = || format!("{} is not the name of a header; allowed: such as x-priority", quoted(text));
        table.accept("priority_header", text.parse().map_err(|_| what()))
    });
    if table.has("priority_header") && !proxies {
        table.wrong(
            "priority_header",
            "is only accepted from trusted proxies, and there are none; allowed: with `trusted_proxies`",
        );
    }
    rules(table, &mut pool.rules, &pool.cluster, known);
    pool.schedule = schedule(table, &pool.rules);
    pool.rules.shrink = shrink(table, &pool.rules);
    (pool.rules.targets, pool.gauge) = targets(table, &pool.rules);
    if let ClusterConfig::Processes(processes) = &pool.cluster {
        let last = ports(processes, pool.rules.max).map_or(0, |ports| *ports.end());
        if let Some(processes) = table.table("processes").filter(|_| last > u32::from(u16::MAX)) {
            let what = format!("with {} pods the last port would be {last}; allowed: at most 65535", pool.rules.max);
            processes.wrong("first_port", what);
        }
        if processes.data == DataBetween::Wipe && pool.rules.after_session == AfterSession::Keep {
            let what = "a pod is not restarted after a session, so until it is, the next session finds the data of the \
                        previous one; wanted: with `after_session = \"recycle\"`";
            table.table("processes").into_iter().for_each(|table| table.doubt("data", what));
        }
    }
    if matches!(pool.cluster, ClusterConfig::Fixed(_)) {
        for key in ["spare", "schedule", "time_zone"].into_iter().filter(|key| table.has(key)) {
            table.wrong(key, "the pods of a fixed list always run; allowed: for pools that are scaled");
        }
    }
    if let Some(max) = pool.rules.max_session.filter(|max| *max > millis(pool.cookie_max_age)) {
        let (cookie, max) = (pool.cookie_max_age.as_secs_f64(), seconds(max));
        let what = format!(
            "the cookie would expire after {cookie} s, before the session does; allowed: at most as long as `cookie_max_age_seconds`"
        );
        table.wrong("max_session_seconds", format_args!("{max}: {what}"));
    }
    table.finish();
    pool
}

fn connections(table: &Table<'_>, exclusive: bool) -> KeptConnections {
    let default = KeptConnections::new(exclusive);
    let connections = KeptConnections {
        idle: table.seconds_or_off("idle_seconds", default.idle, 0.1..=3600.0),
        age: table.seconds_or_off("age_seconds", default.age, 1.0..=DAY),
        share: table.bool("share", default.share),
    };
    if exclusive && connections.share {
        table.wrong(
            "share",
            "a pod of an exclusive pool never serves two sessions on one connection; allowed: false, or `slots_per_pod` above 1",
        );
    }
    table.finish();
    connections
}
