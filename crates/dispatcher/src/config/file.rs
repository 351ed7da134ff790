//! Reads a TOML file into a `Config`: the top level of the file, and checks across pools. A single pool is read in
//! `pool.rs`, its pods in `pods.rs`, secrets in `secrets.rs`; `table.rs` finds line numbers and wrong types.
//! Each table's settings are rows (`setting.rs`).

use super::addresses::{ENDPOINT, endpoint, network};
use super::field::choice;
use super::pool::{self, NamedPool};
use super::setting::{Access, Kind, Row, Shown, field, number, read_all, seconds, seconds_or_off};
use super::table::{ConfigError, Source, Table, Value, quoted};
use super::{
    AddressField, ClusterConfig, Config, JournalConfig, ListenerKind, OnRestart, PoolConfig, access_log, admin, http2,
    journal, keda, kubernetes, limits, secrets, tls, together,
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

pub(crate) const ROWS: &[Row<Config>] = &[
    Row::new("listen", Kind::OneOrList(ENDPOINT), field!(Config, listen = [endpoint], "nowhere"))
        .help("where visitors connect", "; port 0: any free port. With `[tls]`: without TLS, and there is no default")
        .restart(),
    Row::new("threads", number(0, 1024), field!(Config, threads)).help("worker threads", "; 0: one per core").restart(),
    Row::new("drain_seconds", seconds(0.0, 3600.0), field!(Config, drain))
        .help("how long streams may take to end when the dispatcher stops or a pod drains", ""),
    Row::new("takeover_seconds", seconds_or_off(1.0, 86_400.0), field!(Config, takeover))
        .help(
            "how long a start waits for the journal's folder while the former process ends",
            ". With it, two processes may listen at the same addresses: start the next one, then stop the former one, and \
             no connection is refused ([takeover](../../docs/listeners.md#updating-a-single-dispatcher))",
        )
        .restart(),
    Row::new(
        "trusted_proxies",
        Kind::OneOrList("`IP` or `NETWORK/BITS`"),
        field!(Config, trusted_proxies = [network], "none"),
    )
    .help(
        "proxies whose `X-Forwarded-*` or `Forwarded` fields, and PROXY headers, are trusted",
        "; processes that connect to a Unix socket count as `127.0.0.1`",
    ),
    Row::new("client_address_field", choice::<AddressField>(), field!(Config, address_field)).help(
        "the field in which trusted proxies report the client's address",
        ". The other field is not read, since proxies usually pass it on as the client sent it \
         ([which address is the client's](../../docs/listeners.md#the-clients-address))",
    ),
    Row::new("cookie_keys_file", Kind::Path, Access::shown(|_, config: &Config| Some(cookie_keys(config))))
        .help(
            "keys of the session cookies",
            ", one per line, base64 or hex of at least 32 bytes; the first signs, all verify. Lines that start \
             with `#` are skipped. Without this setting the dispatcher generates a key: beside a journal in a \
             folder it is stored as `cookie-key`; with a journal in memory it is lost with the process, as the \
             sessions are. A shared journal requires this setting. A reload changes keys; adding the first one, \
             or removing all, needs a restart. `head -c 32 /dev/urandom | base64` generates a key",
        )
        .default("none")
        .shown_as("cookie_keys"),
    Row::new("cookie_keys_env", Kind::Variable, Access::NONE)
        .help("the keys, from the environment", "; not together with `cookie_keys_file`")
        .default("none"),
];

/// The keys that sign cookies: counted, not shown.
fn cookie_keys(config: &Config) -> Shown {
    match config.cookie_keys.len() {
        0 => Shown::Words("a random one"),
        n => Shown::Text(format!("{n} given")),
    }
}

/// Every key that a file may have, `*` for names that the operator chooses.
#[must_use]
pub fn keys() -> BTreeSet<String> {
    let every_table = "[access_log]\n[admin]\n[http2]\n[journal]\n[keda]\n[kubernetes]\n[limits]\n[[tls.certificates]]\n[pools.a.fixed.probe]\n[pools.a.connections]\n[pools.c.kubernetes.probe]\n[pools.b.processes]\nenvironment = { NAME = '' }\n\
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
    read_all(ROWS, table, &mut config);
    if table.has_empty_list("listen") {
        table.wrong("listen", "the list is empty; allowed: at least one address");
    }
    let listen = table.one_or_list("listen").unwrap_or_default();
    distinct(listen.iter().map(|(text, at)| (*text, at)));
    for (n, (text, at)) in listen.iter().enumerate() {
        let Ok(own) = endpoint(text) else { continue };
        let others = listen[..n].iter().filter(|(other, _)| other != text);
        if others.filter_map(|(other, _)| endpoint(other).ok()).any(|other| other.is_same(&own)) {
            at.wrong(format_args!("{} is already used by `listen`; allowed: another address", own.at));
        }
    }
    config.cookie_keys = secrets::cookie_keys(table);
    config.journal = journal::journal(table, &config);
    admin::admin(table, &mut config);
    tls::tls(table, &mut config);
    http2::http2(table, &mut config);
    if !table.has("trusted_proxies") {
        for (kind, endpoint) in config.listeners().filter(|(_, endpoint)| endpoint.proxy) {
            let key = match kind {
                ListenerKind::Plain => "listen",
                ListenerKind::Tls | ListenerKind::Redirect => "tls",
                ListenerKind::Http2 => "http2",
            };
            let what =
                "accepts PROXY headers of trusted proxies only, and there are none; allowed: with `trusted_proxies`";
            table.wrong(key, format_args!("{} {what}", endpoint.at));
        }
    }
    limits::limits(table, &mut config.limits);
    access_log::access_log(table, &mut config.access_log);
    kubernetes::access(table, &mut config);
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

/// Reports items that are in the list twice.
pub(super) fn distinct<'t>(items: impl Iterator<Item = (&'t str, &'t Value<'t>)>) {
    let mut seen = BTreeSet::new();
    for (text, at) in items {
        if !seen.insert(text) {
            at.wrong(format_args!("{} is in the list twice; allowed: once", quoted(text)));
        }
    }
}
