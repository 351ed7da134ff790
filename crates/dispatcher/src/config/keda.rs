//! Where KEDA asks: `[keda]`, and what it has to do with the pools that KEDA scales over gRPC.

use super::addresses::socket_address;
use super::pool::NamedPool;
use super::table::Table;
use super::{ClusterConfig, Config, Keda, TlsFiles, Trigger};
use crate::keda::tls;
use slotkeeper_core::Scaling;
use std::path::PathBuf;

/// `config` is read so far that it says where others connect.
pub(super) fn keda(top: &Table<'_>, config: &Config, pools: &mut [NamedPool<'_>]) -> Keda {
    for (table, pool) in pools {
        if !table.value("scaling").is_some_and(|scaling| scaling.is_text("keda-push")) {
            continue;
        }
        pool.trigger = Trigger::Push;
        // Other pods are not KEDA's to scale: that has been said.
        let keda_can = !matches!(pool.cluster, ClusterConfig::Fixed(_) | ClusterConfig::Processes(_));
        if keda_can && matches!(pool.rules.scaling, Scaling::Keda { .. }) && !top.has("keda") {
            let what = "KEDA has nowhere to ask; add a table [keda] with listen = \"0.0.0.0:9091\"";
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
            Some("the visitors' side")
        } else {
            (config.admin.listen == Some(address)).then_some("[admin]")
        };
        if let Some(who) = taken {
            table.wrong("listen", format_args!("{address} is where {who} listens; allowed: another address"));
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
            table.missing(other, format_args!("`{one}` is there; allowed: both or none"));
        }
    }
    let (Some(certificate), Some(key)) = files else { return None };
    let files = TlsFiles { certificate, key };
    let wrong = tls::read(&files).err()?;
    table.wrong(if wrong.concerns_key(&files) { "tls_key_file" } else { "tls_cert_file" }, wrong);
    None
}
