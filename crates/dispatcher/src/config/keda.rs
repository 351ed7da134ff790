//! The listener for KEDA, `[keda]`, and its checks against the pools that KEDA scales over gRPC.

use super::addresses::socket_address;
use super::pool::NamedPool;
use super::setting::{Access, Kind, Row, Shown};
use super::table::Table;
use super::{ClusterConfig, Config, TlsFiles, Trigger, tls};
use crate::io::tls::{Ask, Clients};
use slotkeeper_core::Scaling;
use std::net::SocketAddr;
use std::path::PathBuf;

/// The gRPC listener from which KEDA gets the numbers of pods.
#[derive(Clone, Debug, Default)]
pub struct Keda {
    /// `None`: the listener is off.
    pub listen: Option<SocketAddr>,
    /// `None`: KEDA connects without TLS.
    pub tls: Option<TlsFiles>,
    /// Which certificates KEDA may identify itself with.
    pub clients: Clients,
}

pub(super) const ROWS: &[Row<Config>] = &[
    Row::new(
        "listen",
        Kind::Text("`IP:PORT`, such as `\"0.0.0.0:9091\"`"),
        Access::shown(|_, config: &Config| {
            Some(Shown::Text(config.keda.listen.map_or(Shown::OFF.to_owned(), |at| at.to_string())))
        }),
    )
    .help(
        "where KEDA's operator connects (gRPC)",
        ". Without `tls_client_ca_file` there is no authentication: make sure that nothing else can reach it",
    )
    .default("none; required in this table")
    .restart()
    .means(means),
    Row::new(
        "tls_cert_file",
        Kind::Path,
        Access::shown(|_, config: &Config| {
            Some(Shown::Words(if config.keda.tls.is_some() { "given" } else { "none" }))
        }),
    )
    .help(
        "certificate and chain in PEM",
        ", with `tls_key_file`; read every 5 seconds, so a renewed certificate needs no restart",
    )
    .default("none")
    .restart()
    .shown_as("tls"),
    Row::new("tls_key_file", Kind::Path, Access::NONE).help("private key in PEM", "").default("none").restart(),
    Row::new(
        "tls_client_ca_file",
        Kind::Path,
        Access::shown(|_, config: &Config| {
            Some(Shown::list(config.keda.clients.authorities.iter().map(|file| file.display()), "none"))
        }),
    )
    .help(
        "certificates of the authorities that issue KEDA's certificate",
        ", in PEM: clients without one are refused (KEDA: `tlsClientCert` and `tlsClientKey` of its TriggerAuthentication)",
    )
    .default("none")
    .restart(),
];

fn means(config: &Config) -> &'static str {
    let is_asked = config.pools.iter().any(|pool| pool.trigger == Trigger::Push);
    match config.keda.listen {
        Some(_) if !is_asked => "where KEDA connects; WARNING: unused, as no pool has scaling = \"keda-push\"",
        Some(_) | None => "where KEDA gets the numbers of pods",
    }
}

/// Reads `[keda]`. The other listeners of `config` must have been read before.
pub(super) fn keda(top: &Table<'_>, config: &Config, pools: &mut [NamedPool<'_>]) -> Keda {
    for (table, pool) in pools {
        if !table.value("scaling").is_some_and(|scaling| scaling.is_text("keda-push")) {
            continue;
        }
        pool.trigger = Trigger::Push;
        // For other kinds of pods, `rules.rs` has already reported that KEDA cannot scale them.
        let keda_can = !matches!(pool.cluster, ClusterConfig::Fixed(_) | ClusterConfig::Processes(_));
        if keda_can && matches!(pool.rules.scaling, Scaling::Keda { .. }) && !top.has("keda") {
            let what = "KEDA has no listener to call; add a table [keda] with listen = \"0.0.0.0:9091\"";
            table.wrong("scaling", what);
        }
    }
    let Some(table) = top.table("keda") else { return Keda::default() };
    let listen = table.string("listen");
    if !table.has("listen") {
        table.missing("listen", "allowed: IP:PORT, such as \"0.0.0.0:9091\"");
    }
    let listen = listen.and_then(|text| table.accept("listen", socket_address(text)));
    if let Some(address) = listen.filter(|address| address.port() != 0) {
        let taken = if config.listen.iter().any(|own| own.address() == Some(address)) {
            Some("the visitors' `listen`")
        } else if config.tls.listen.iter().chain(&config.tls.redirect).any(|own| own.address() == Some(address)) {
            Some("[tls]")
        } else if config.http2.listen.iter().any(|own| own.address() == Some(address)) {
            Some("[http2]")
        } else {
            (config.admin.listen == Some(address)).then_some("[admin]")
        };
        if let Some(who) = taken {
            table.wrong("listen", format_args!("{address} is already used by {who}; allowed: another address"));
        }
    }
    let tls = tls_files(&table);
    let clients = clients(&table);
    table.finish();
    Keda { listen, tls, clients }
}

fn clients(table: &Table<'_>) -> Clients {
    let Some(file) = table.path("tls_client_ca_file") else { return Clients::default() };
    if !table.has("tls_cert_file") {
        table.wrong(
            "tls_client_ca_file",
            "without `tls_cert_file` and `tls_key_file`, it has no use; allowed: all three",
        );
    }
    let clients = Clients { ask: Ask::Required, authorities: vec![file], revoked: Vec::new() };
    tls::check_clients(table, &clients, ("tls_client_ca_file", "tls_client_ca_file"));
    clients
}

fn tls_files(table: &Table<'_>) -> Option<TlsFiles> {
    let files: (Option<PathBuf>, Option<PathBuf>) = (table.path("tls_cert_file"), table.path("tls_key_file"));
    for (one, other) in [("tls_cert_file", "tls_key_file"), ("tls_key_file", "tls_cert_file")] {
        if table.has(one) && !table.has(other) {
            table.missing(other, format_args!("`{one}` is set; allowed: both or none"));
        }
    }
    let (Some(certificate), Some(key)) = files else { return None };
    let files = TlsFiles { certificate, key };
    tls::check(table, &files, true, ("tls_cert_file", "tls_key_file")).then_some(files)
}
