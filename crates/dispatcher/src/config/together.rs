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

/// A conflict between two of these pools, in words.
pub(crate) fn clash(pools: &[PoolConfig]) -> Option<String> {
    let pairs = pools.iter().enumerate().flat_map(|(n, pool)| pools.iter().take(n).map(move |earlier| (pool, earlier)));
    pairs.into_iter().find_map(|(pool, earlier)| {
        let what = same_route(pool, earlier)
            .or_else(|| same_cookie(pool, earlier))
            .or_else(|| same_folder(pool, earlier))
            .or_else(|| same_ports(pool, earlier))?;
        Some(format!("pool `{}`: {what}", pool.id))
    })
}

/// The processes of both use the same folder or the same ports.
pub(crate) fn share_machine(pool: &PoolConfig, other: &PoolConfig) -> bool {
    same_folder(pool, other).is_some() || same_ports(pool, other).is_some()
}

fn routes(table: &Table<'_>, pool: &PoolConfig, earlier: &PoolConfig) {
    if let Some(what) = same_route(pool, earlier) {
        let key = if table.has("path") { "path" } else { "hosts" };
        table.wrong(key, format_args!("{what}; allowed: another host or path"));
    }
    if let Some(what) = same_cookie(pool, earlier) {
        table.wrong("cookie_name", format_args!("{what}: they would overwrite each other; allowed: another name"));
    }
}

fn same_route(pool: &PoolConfig, earlier: &PoolConfig) -> Option<String> {
    let host = match pool.hosts.iter().find(|host| earlier.hosts.contains(host)) {
        Some(host) => host.to_string(),
        None => (serves_any(pool) && serves_any(earlier)).then(|| "any host".to_owned())?,
    };
    let leads = || format!("{host} with path {} leads to pool `{}` already", pool.path, earlier.id);
    (pool.path == earlier.path).then(leads)
}

/// A browser keeps one cookie of a name per host, whatever the pool's path.
fn same_cookie(pool: &PoolConfig, earlier: &PoolConfig) -> Option<String> {
    let overlap = pool.hosts.iter().any(|host| earlier.hosts.iter().any(|other| host.overlaps(other)));
    let same = (overlap || serves_any(pool) || serves_any(earlier)) && pool.cookie_name == earlier.cookie_name;
    same.then(|| format!("{} is the cookie of pool `{}` on the same host", pool.cookie_name, earlier.id))
}

fn serves_any(pool: &PoolConfig) -> bool {
    pool.hosts.is_empty()
}

fn processes(table: &Table<'_>, pool: &PoolConfig, earlier: &PoolConfig) {
    let Some(table) = table.table("processes") else { return };
    if let Some(what) = same_folder(pool, earlier).filter(|_| table.has("data_folder")) {
        table.wrong("data_folder", format_args!("{what}; allowed: another folder"));
    }
    if let Some(what) = same_ports(pool, earlier) {
        table.wrong("first_port", format_args!("{what}; allowed: others"));
    }
}

fn same_folder(pool: &PoolConfig, earlier: &PoolConfig) -> Option<String> {
    let (own, other) = both(pool, earlier)?;
    let same = own.data_folder == other.data_folder;
    same.then(|| format!("pool `{}` keeps its data in the same folder", earlier.id))
}

fn same_ports(pool: &PoolConfig, earlier: &PoolConfig) -> Option<String> {
    let (own, other) = both(pool, earlier)?;
    let (a, b) = (ports(own, pool.rules.max)?, ports(other, earlier.rules.max)?);
    let overlap = own.host == other.host && a.start() <= b.end() && b.start() <= a.end();
    let what = || {
        let own = format!("{} to {} overlap with the ports of pool `{}`", a.start(), a.end(), earlier.id);
        format!("{own}, {} to {}", b.start(), b.end())
    };
    overlap.then(what)
}

fn both<'p>(pool: &'p PoolConfig, earlier: &'p PoolConfig) -> Option<(&'p Processes, &'p Processes)> {
    match (&pool.cluster, &earlier.cluster) {
        (ClusterConfig::Processes(own), ClusterConfig::Processes(other)) => Some((own, other)),
        _ => None,
    }
}

/// The ports of all its ordinals.
pub(super) fn ports(processes: &Processes, max_pods: u32) -> Option<RangeInclusive<u32>> {
    let first = u32::from(processes.first_port?);
    Some(first..=first.saturating_add(max_pods.max(1) - 1))
}
