//! Checks for conflicts between two pools.

use super::pool::NamedPool;
use super::table::Table;
use super::{ClusterConfig, PoolConfig, Processes};
use std::ops::RangeInclusive;

/// Reports every conflict at the later of the two pools.
pub(super) fn conflicts(pools: &[NamedPool<'_>]) {
    for (n, (table, pool)) in pools.iter().enumerate() {
        for (_, earlier) in pools.get(..n).unwrap_or_default() {
            routes(table, pool, earlier);
            processes(table, pool, earlier);
            if pool.active_sessions_gauge.is_some() && pool.active_sessions_gauge == earlier.active_sessions_gauge {
                let what = format!("pool `{}` has this gauge already; allowed: another name", earlier.id);
                table.wrong("active_sessions_gauge", what);
            }
        }
    }
}

fn routes(table: &Table<'_>, pool: &PoolConfig, earlier: &PoolConfig) {
    let any = |pool: &PoolConfig| pool.hosts.is_empty();
    let host = match pool.hosts.iter().find(|host| earlier.hosts.contains(host)) {
        Some(host) => Some(host.to_string()),
        None => (any(pool) && any(earlier)).then(|| "any host".to_owned()),
    };
    if let Some(host) = host.as_ref().filter(|_| pool.path == earlier.path) {
        let key = if table.has("path") { "path" } else { "hosts" };
        let what = format!("{host} with path {} leads to pool `{}` already", pool.path, earlier.id);
        table.wrong(key, format_args!("{what}; allowed: another host or path"));
    }
    // A browser keeps one cookie of a name per host, whatever the pool's path.
    let overlap = pool.hosts.iter().any(|host| earlier.hosts.iter().any(|other| host.overlaps(other)));
    if (overlap || any(pool) || any(earlier)) && pool.cookie_name == earlier.cookie_name {
        let what = format!("{} is the cookie of pool `{}` on the same host", pool.cookie_name, earlier.id);
        table.wrong("cookie_name", format_args!("{what}: they would overwrite each other; allowed: another name"));
    }
}

fn processes(table: &Table<'_>, pool: &PoolConfig, earlier: &PoolConfig) {
    let (ClusterConfig::Processes(own), ClusterConfig::Processes(other)) = (&pool.cluster, &earlier.cluster) else {
        return;
    };
    let Some(table) = table.table("processes") else { return };
    if own.data_folder == other.data_folder && table.has("data_folder") {
        let what = format!("pool `{}` keeps its data in the same folder; allowed: another folder", earlier.id);
        table.wrong("data_folder", what);
    }
    let (Some(a), Some(b)) = (ports(own, pool.rules.max), ports(other, earlier.rules.max)) else { return };
    if own.host == other.host && a.start() <= b.end() && b.start() <= a.end() {
        let what = format!("{} to {} overlap with the ports of pool `{}`", a.start(), a.end(), earlier.id);
        table.wrong("first_port", format_args!("{what}, {} to {}; allowed: others", b.start(), b.end()));
    }
}

/// The ports of all its ordinals.
pub(super) fn ports(processes: &Processes, max_pods: u32) -> Option<RangeInclusive<u32>> {
    let first = u32::from(processes.first_port?);
    Some(first..=first.saturating_add(max_pods.max(1) - 1))
}
