//! The listener for KEDA, `[keda]`, and its checks against the pools that KEDA scales over gRPC.

use super::addresses::socket_address;
use super::pool::NamedPool;
use super::table::Table;
use super::tls;
use super::{ClusterConfig, Config, Keda, TlsFiles, Trigger};
use slotkeeper_core::Scaling;
use std::path::PathBuf;

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
        let taken = if config.listen.contains(&address) {
            Some("the visitors' `listen`")
        } else if config.tls.listen.contains(&address) || config.tls.redirect.contains(&address) {
            Some("[tls]")
        } else {
            (config.admin.listen == Some(address)).then_some("[admin]")
        };
        if let Some(who) = taken {
            table.wrong("listen", format_args!("{address} is already used by {who}; allowed: another address"));
        }
    }
    let tls = tls_files(&table);
    table.finish();
    Keda { listen, tls }
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
