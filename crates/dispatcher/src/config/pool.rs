//! One pool: `[pools.NAME]`. Its settings are in `pool/rows.rs`; its rules are checked in `rules.rs`, its pods read in `pods.rs`.

use super::activity::activity;
use super::passive::passive;
use super::rules::{default_rules, rules, seconds};
use super::setting::{read_all, read_field};
use super::spare::schedule;
use super::table::{Table, millis, quoted};
use super::targets::{shrink, targets};
use super::together::ports;
use super::{ClusterConfig, DataBetween, OriginPattern, PoolConfig, Processes, connections, pods};
use slotkeeper_core::AfterSession;

mod rows;

pub(crate) use rows::ROWS;

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
    let cluster = cluster.unwrap_or(ClusterConfig::Processes(Processes::new(Vec::new(), "".into())));
    let mut pool = PoolConfig::new(name, default_rules(slots_per_pod(table), &cluster), cluster);
    pool.cookie_name = cookie_name;
    read_all(ROWS, table, &mut pool);
    rules(table, &mut pool, known);
    from_visitors(table, &pool, proxies);
    passive(table, &mut pool);
    activity(table, &mut pool.activity);
    connections::connections(table, &mut pool);
    probe_of(&mut pool.cluster).proxy = pool.connections.proxy;
    pool.schedule = schedule(table, &pool.rules);
    shrink(table, &pool.rules);
    targets(table, &mut pool);
    of_pods(table, &pool);
    session_and_cookie(table, &pool);
    table.finish();
    pool
}

fn probe_of(cluster: &mut ClusterConfig) -> &mut super::Probe {
    match cluster {
        ClusterConfig::Fixed(fixed) => &mut fixed.probe,
        ClusterConfig::Processes(processes) => &mut processes.probe,
        ClusterConfig::Kubernetes(pods) => &mut pods.probe,
    }
}

/// Read first: other defaults depend on it.
fn slots_per_pod(table: &Table<'_>) -> u32 {
    let mut slots = 1;
    if let Some(row) = ROWS.iter().find(|row| row.setting.key == "slots_per_pod") {
        read_field(&mut slots, &row.setting, table);
    }
    slots
}

/// Checks what is accepted from visitors and from other sites.
fn from_visitors(table: &Table<'_>, pool: &PoolConfig, proxies: bool) {
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
    if table.has("priority_header") && !proxies {
        table.wrong(
            "priority_header",
            "is only accepted from trusted proxies, and there are none; allowed: with `trusted_proxies`",
        );
    }
}

/// Checks settings of the pool against its pods.
fn of_pods(table: &Table<'_>, pool: &PoolConfig) {
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
}

fn session_and_cookie(table: &Table<'_>, pool: &PoolConfig) {
    if let Some(max) = pool.rules.max_session.filter(|max| *max > millis(pool.cookie_max_age)) {
        let (cookie, max) = (pool.cookie_max_age.as_secs_f64(), seconds(max));
        let what = format!(
            "the cookie would expire after {cookie} s, before the session does; allowed: at most as long as `cookie_max_age_seconds`"
        );
        table.wrong("max_session_seconds", format_args!("{max}: {what}"));
    }
}
