//! TLS of visitors' listeners, `[tls]`.

use super::addresses::socket_address;
use super::permissions;
use super::table::Table;
use super::{Config, Keda, TlsFiles};
use crate::io::Clock;
use crate::io::tls::{self, TlsSettings, TlsVersion};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

/// Listeners for visitors that use TLS, and those that lead there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsListeners {
    /// Where visitors connect with TLS; empty: nowhere.
    pub listen: Vec<SocketAddr>,
    /// Where requests without TLS are redirected to https.
    pub redirect: Vec<SocketAddr>,
    /// The port in the redirects; `None`: the first of `listen`.
    pub redirect_port: Option<u16>,
    /// The first is the default.
    pub certificates: Vec<TlsFiles>,
    pub least_version: TlsVersion,
    /// How long a handshake may take.
    pub handshake: Duration,
    pub hsts: Option<Hsts>,
}

/// For how long browsers connect only with TLS (RFC 6797).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hsts {
    pub age: Duration,
    /// Also to all hosts below this one.
    pub subdomains: bool,
}

impl Default for TlsListeners {
    fn default() -> TlsListeners {
        TlsListeners {
            listen: Vec::new(),
            redirect: Vec::new(),
            redirect_port: None,
            certificates: Vec::new(),
            least_version: TlsVersion::V1_2,
            handshake: Duration::from_secs(10),
            hsts: None,
        }
    }
}

/// The protocols that visitors may speak over TLS.
const PROTOCOLS: &[&str] = &["http/1.1"];

impl Keda {
    /// The listener's TLS, if it has a certificate.
    #[must_use]
    pub fn tls_settings(&self) -> Option<TlsSettings> {
        let default = TlsListeners::default();
        self.tls.clone().map(|files| TlsSettings {
            certificates: vec![files],
            least_version: default.least_version,
            // gRPC
            protocols: &["h2"],
            handshake: default.handshake,
        })
    }
}

impl TlsListeners {
    /// The listeners' TLS, if there are any.
    #[must_use]
    pub fn settings(&self) -> Option<TlsSettings> {
        (!self.listen.is_empty()).then(|| TlsSettings {
            certificates: self.certificates.clone(),
            least_version: self.least_version,
            protocols: PROTOCOLS,
            handshake: self.handshake,
        })
    }
}

/// Reads `[tls]`. The listeners of `config` must have been read before; without a `listen` of its own, the file has then no
/// listener without TLS.
pub(super) fn tls(top: &Table<'_>, config: &mut Config) {
    let Some(table) = top.table("tls") else { return };
    let default = TlsListeners::default();
    if !top.has("listen") {
        config.listen.clear();
    }
    let listen = addresses(&table, "listen", config);
    if !table.has("listen") {
        table.missing("listen", "allowed: IP:PORT, such as \"0.0.0.0:443\", or a list");
    }
    config.tls.listen = listen;
    config.tls.redirect = addresses(&table, "redirect_listen", config);
    config.tls.redirect_port = table.value("redirect_port").and_then(|port| port.number(&(1..=u16::MAX)));
    if config.tls.redirect_port.is_some() && !table.has("redirect_listen") {
        table.wrong("redirect_port", "without `redirect_listen`, nothing is redirected; allowed: both");
    }
    let versions = [("1.2", TlsVersion::V1_2), ("1.3", TlsVersion::V1_3)];
    config.tls.least_version = table.choice("min_version", default.least_version, &versions);
    config.tls.handshake = table.seconds("handshake_seconds", default.handshake, 0.1..=3600.0);
    config.tls.hsts = hsts(&table);
    config.tls.certificates = certificates(&table);
    table.finish();
}

/// The addresses of a listener, none of which another listener may use.
fn addresses(table: &Table<'_>, key: &'static str, config: &Config) -> Vec<SocketAddr> {
    let mut all: Vec<SocketAddr> = Vec::new();
    if table.has_empty_list(key) {
        table.wrong(key, "the list is empty; allowed: at least one address");
    }
    for (text, at) in table.one_or_list(key).unwrap_or_default() {
        let Some(address) = at.accept(socket_address(text)) else { continue };
        let taken = if config.listen.contains(&address) {
            Some("`listen`")
        } else if config.admin.listen == Some(address) {
            Some("[admin]")
        } else if config.tls.listen.contains(&address) {
            Some("`tls.listen`")
        } else {
            all.contains(&address).then_some("this list")
        };
        if let Some(other) = taken.filter(|_| address.port() != 0) {
            at.wrong(format_args!("{address} is already used by {other}; allowed: another address"));
        }
        all.push(address);
    }
    all
}

fn hsts(table: &Table<'_>) -> Option<Hsts> {
    const YEARS: f64 = 10.0 * 366.0 * 86_400.0;
    let age = table.seconds_or_off("hsts_seconds", None, 1.0..=YEARS);
    let subdomains = table.bool("hsts_subdomains", false);
    if subdomains && age.is_none() {
        table.wrong("hsts_subdomains", "without `hsts_seconds`, it has no use; allowed: both");
    }
    age.map(|age| Hsts { age, subdomains })
}

/// Reads the certificates, and checks that they can be used.
fn certificates(table: &Table<'_>) -> Vec<TlsFiles> {
    let Some(list) = table.value("certificates") else {
        table.missing("certificates", "allowed: at least one table [[tls.certificates]] with cert_file and key_file");
        return Vec::new();
    };
    let items = list.items("a list of tables").unwrap_or_default();
    if items.is_empty() && table.has_empty_list("certificates") {
        list.wrong("the list is empty; allowed: at least one certificate");
    }
    let mut all = Vec::new();
    let mut files_seen = BTreeSet::new();
    for (n, item) in items.iter().enumerate() {
        let Some(table) = item.table() else { continue };
        let (certificate, key) = (table.path("cert_file"), table.path("key_file"));
        for name in ["cert_file", "key_file"] {
            if !table.has(name) {
                table.missing(name, "allowed: a path, relative to this file or absolute");
            }
        }
        table.finish();
        let (Some(certificate), Some(key)) = (certificate, key) else { continue };
        let files = TlsFiles { certificate, key };
        if !files_seen.insert(files.certificate.clone()) {
            table.wrong("cert_file", "this certificate is in the list twice; allowed: once");
        }
        check(&table, &files, n == 0, ("cert_file", "key_file"));
        all.push(files);
    }
    all
}

/// Reports a certificate or key that cannot be used, by the names of their keys, and a key file that others can read.
pub(super) fn check(
    table: &Table<'_>,
    files: &TlsFiles,
    is_default: bool,
    names: (&'static str, &'static str),
) -> bool {
    let read = tls::read(files, Clock::real().wall());
    if let Some(what) = permissions::of_secret(&files.key) {
        table.doubt(names.1, what);
    }
    match read {
        Ok(certificate) if certificate.names.is_empty() && !is_default => {
            table.wrong(names.0, tls::TlsError::NoName(files.certificate.display().to_string()));
            false
        }
        Ok(_) => true,
        Err(wrong) => {
            table.wrong(if wrong.concerns_key(files) { names.1 } else { names.0 }, wrong);
            false
        }
    }
}
