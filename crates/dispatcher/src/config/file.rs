//! Reads a TOML file into a `Config`: the top level of the file, and checks across pools. A single pool is read in
//! `pool.rs`, its pods in `pods.rs`, secrets in `secrets.rs`; `table.rs` finds line numbers and wrong types.
//! Every setting, with default, unit and range, is listed in `CONFIG.md`.

use super::addresses::{network, socket_address};
use super::pool::{self, NamedPool};
use super::table::{ConfigError, Source, Table, Value, quoted};
use super::{
    Admin, ClusterConfig, Config, JournalConfig, Limits, OnRestart, PoolConfig, journal, keda, kubernetes, secrets,
    tls, together,
};
use std::collections::BTreeSet;
use std::path::Path;
use toml::de::DeTable;

/// Reads and parses a file. Relative paths in it are relative to its folder.
///
/// # Errors
/// Everything that is wrong with it, not only the first thing.
pub fn read(path: &Path) -> Result<Config, ConfigError> {
    let name = path.display().to_string();
    let text = std::fs::read_to_string(path)
        .map_err(|error| ConfigError { problems: vec![format!("{name}: cannot be read: {error}")] })?;
    parse(&text, &name, path.parent().unwrap_or(Path::new("")))
}

/// Parses the text of a file called `name`. Relative paths in it are relative to `folder`.
///
/// # Errors
/// Everything that is wrong with it, not only the first thing.
pub fn parse(text: &str, name: &str, folder: &Path) -> Result<Config, ConfigError> {
    let folder = absolute(folder);
    let source = Source::new(text, name, &folder);
    everything(&source)
}

/// Every key that a file may have, `*` for names that the operator chooses.
#[must_use]
pub fn keys() -> BTreeSet<String> {
    let every_table = "[admin]\n[journal]\n[keda]\n[kubernetes]\n[limits]\n[[tls.certificates]]\n[pools.a.fixed.probe]\n[pools.a.connections]\n[pools.c.kubernetes.probe]\n[pools.b.processes]\nenvironment = { NAME = '' }\n\
                       probe = {}\nlimits = {}\n[[pools.b.schedule]]\n[[pools.b.passive]]\n[pools.b.activity]\n[pools.b.targets.gauge]\n";
    let source = Source::new(every_table, "", Path::new(""));
    let _: Result<Config, ConfigError> = everything(&source);
    source.asked.take()
}

fn absolute(folder: &Path) -> std::path::PathBuf {
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned())
}

fn everything(source: &Source<'_>) -> Result<Config, ConfigError> {
    let (document, errors) = DeTable::parse_recoverable(source.text);
    let mut readable = true;
    for error in errors {
        let span = error.span().unwrap_or(0..0);
        let twice = error.message().starts_with("duplicate key");
        readable &= twice;
        if twice {
            let key = source.text.get(span.clone()).unwrap_or_default();
            source.problem(span.start, format_args!("key `{key}`: is set twice; allowed: once"));
        } else {
            source.problem(span.start, format_args!("not TOML: {}", error.message()));
        }
    }
    if !readable {
        source.verdict()?;
    }
    let mut config = top(&Table::root(source, document.get_ref()));
    source.verdict()?;
    config.warnings = source.warnings();
    Ok(config)
}

fn top(table: &Table<'_>) -> Config {
    let mut config = Config::new(Vec::new());
    if let Some(listen) = table.one_or_list("listen") {
        config.listen = listen.iter().filter_map(|(text, at)| at.accept(socket_address(text))).collect();
        if table.has_empty_list("listen") {
            table.wrong("listen", "the list is empty; allowed: at least one address");
        }
        distinct(&listen.iter().map(|(text, at)| (*text, at)).collect::<Vec<_>>());
    }
    config.threads = table.number("threads", config.threads, 0..=1024);
    config.drain = table.seconds("drain_seconds", config.drain, 0.0..=3600.0);
    for (text, at) in table.one_or_list("trusted_proxies").unwrap_or_default() {
        config.trusted_proxies.extend(at.accept(network(text)));
    }
    config.cookie_keys = secrets::cookie_keys(table);
    config.journal = journal::journal(table, &config);
    config.admin = admin(table);
    if let Some(address) = config.admin.listen.filter(|address| address.port() != 0 && config.listen.contains(address))
    {
        table.wrong("admin", format_args!("{address} is already used by `listen`; allowed: another address"));
    }
    tls::tls(table, &mut config);
    if let Some(limits) = table.table("limits") {
        config.limits = self::limits(&limits);
    }
    config.kubernetes = kubernetes::access(table);
    let pools = table.table("pools");
    if pools.as_ref().map_or(!table.has("pools"), Table::is_empty) {
        table.missing("pools", "a file needs at least one pool: a table [pools.NAME]");
    }
    let mut pools: Vec<NamedPool<'_>> =
        pools.map(|pools| pool::all(&pools, table.has("trusted_proxies"))).unwrap_or_default();
    together::conflicts(&pools);
    if config.journal == JournalConfig::Memory {
        for (pool, _) in pools.iter().filter(|(_, pool)| adopts(pool)) {
            let what =
                "pods keep running, but a journal in memory forgets their sessions; wanted: a journal in a folder";
            pool.table("processes").into_iter().for_each(|table| table.doubt("on_restart", what));
        }
    }
    config.keda = keda::keda(table, &config, &mut pools);
    config.pools = pools.into_iter().map(|(_, pool)| pool).collect();
    table.finish();
    config
}

fn adopts(pool: &PoolConfig) -> bool {
    matches!(&pool.cluster, ClusterConfig::Processes(processes) if processes.on_restart == OnRestart::Adopt)
}

fn admin(top: &Table<'_>) -> Admin {
    let mut admin = Admin { listen: Some(Admin::DEFAULT), token: None };
    let Some(table) = top.table("admin") else { return admin };
    match table.string("listen") {
        Some("off") => admin.listen = None,
        Some(text) => match socket_address(text) {
            Ok(address) => admin.listen = Some(address),
            Err(what) => table.wrong("listen", format_args!("{what}, or \"off\"")),
        },
        None => {}
    }
    let says_token = table.has("token_file") || table.has("token_env");
    admin.token = secrets::token(&table);
    if let Some(address) = admin.listen.filter(|address| !address.ip().is_loopback() && !says_token) {
        let what = format_args!(
            "{address} can be reached from other machines; allowed: with `token_file` or `token_env`, or a loopback address"
        );
        table.wrong("listen", what);
    }
    if admin.listen.is_none() && says_token {
        table.wrong("listen", "is \"off\", so the token has no use; allowed: one of the two");
    }
    table.finish();
    admin
}

fn limits(table: &Table<'_>) -> Limits {
    let default = Limits::default();
    let limits = Limits {
        header_bytes: table.number("header_bytes", default.header_bytes, 1024..=16 * 1024 * 1024),
        header_fields: table.number("header_fields", default.header_fields, 16..=10_000),
        header_time: table.seconds("header_seconds", default.header_time, 0.1..=3600.0),
        body_bytes: table.number_or_off("body_bytes", default.body_bytes, &(1..=1 << 50)),
        idle: table.seconds("idle_seconds", default.idle, 0.1..=86_400.0),
        linger: table.seconds_or_off("linger_seconds", Some(default.linger), 0.1..=3600.0).unwrap_or_default(),
        linger_bytes: table.number("linger_bytes", default.linger_bytes, 0..=1 << 50),
        connections: table.number("connections", default.connections, 1..=10_000_000),
        streams_per_session: table.number("streams_per_session", default.streams_per_session, 1..=100_000),
        new_sessions_per_second: table.number(
            "new_sessions_per_second",
            default.new_sessions_per_second,
            1..=1_000_000,
        ),
    };
    table.finish();
    limits
}

/// Reports items that are in the list twice.
pub(super) fn distinct(items: &[(&str, &Value<'_>)]) {
    let mut seen = BTreeSet::new();
    for (text, at) in items {
        if !seen.insert(*text) {
            at.wrong(format_args!("{} is in the list twice; allowed: once", quoted(text)));
        }
    }
}
