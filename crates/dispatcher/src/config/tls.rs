//! TLS of visitors' listeners, `[tls]`.

use super::addresses::{ENDPOINT, endpoint};
use super::field::{Choices, choice};
use super::setting::{Access, DAY, Kind, Row, Setting, Shown, field, kept, number, read_all, seconds, seconds_or_off};
use super::table::Table;
use super::{Config, Endpoint, Http2, Keda, ListenerKind, TlsFiles, permissions};
use crate::io::Clock;
use crate::io::tls::{self, Ask, Clients, TlsSettings, TlsVersion};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

/// Listeners for visitors that use TLS, and those that redirect to them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsListeners {
    /// Where visitors connect with TLS; empty: nowhere.
    pub listen: Vec<Endpoint>,
    /// Where requests without TLS are redirected to https.
    pub redirect: Vec<Endpoint>,
    /// The port in the redirects; `None`: the first of `listen`.
    pub redirect_port: Option<u16>,
    /// The first is the default.
    pub certificates: Vec<TlsFiles>,
    /// The oldest version of TLS that is accepted.
    pub least_version: TlsVersion,
    /// Whether visitors are asked for a certificate.
    pub ask: Ask,
    /// PEM: the authorities that issue certificates of visitors.
    pub client_authorities: Vec<PathBuf>,
    /// PEM: lists of revoked certificates of visitors.
    pub client_revocations: Vec<PathBuf>,
    /// The keys of session tickets; `None`: keys of this process.
    pub ticket_keys: Option<PathBuf>,
    /// How long a handshake may take.
    pub handshake: Duration,
    /// Browsers connect only with TLS for this long (RFC 6797).
    pub hsts: Option<Duration>,
    /// The same for all hosts below this one.
    pub hsts_subdomains: bool,
}

impl Default for TlsListeners {
    fn default() -> TlsListeners {
        TlsListeners {
            listen: Vec::new(),
            redirect: Vec::new(),
            redirect_port: None,
            certificates: Vec::new(),
            least_version: TlsVersion::V1_2,
            ask: Ask::Off,
            client_authorities: Vec::new(),
            client_revocations: Vec::new(),
            ticket_keys: None,
            handshake: Duration::from_secs(10),
            hsts: None,
            hsts_subdomains: false,
        }
    }
}

/// The protocols that visitors may speak over TLS, without and with HTTP/2.
const PROTOCOLS: (&[&str], &[&str]) = (&["http/1.1"], &["h2", "http/1.1"]);

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
            clients: self.clients.clone(),
            ticket_keys: None,
        })
    }
}

impl TlsListeners {
    /// The listeners' TLS, if there are any.
    #[must_use]
    pub fn settings(&self, http2: &Http2) -> Option<TlsSettings> {
        (!self.listen.is_empty()).then(|| TlsSettings {
            certificates: self.certificates.clone(),
            least_version: self.least_version,
            protocols: if http2.over_tls { PROTOCOLS.1 } else { PROTOCOLS.0 },
            handshake: self.handshake,
            clients: self.clients(),
            ticket_keys: self.ticket_keys.clone(),
        })
    }
}

impl TlsListeners {
    fn clients(&self) -> Clients {
        Clients {
            ask: self.ask,
            authorities: self.client_authorities.clone(),
            revoked: self.client_revocations.clone(),
        }
    }
}

impl Choices for Ask {
    const ALL: &'static [(&'static str, Ask, &'static str)] = &[
        ("off", Ask::Off, "visitors are not asked for a certificate"),
        (
            "optional",
            Ask::Optional,
            "visitors are asked for a certificate, and may have none; one that is not accepted is refused",
        ),
        ("required", Ask::Required, "visitors without an accepted certificate are refused"),
    ];
}

impl Choices for TlsVersion {
    const ALL: &'static [(&'static str, TlsVersion, &'static str)] =
        &[("1.2", TlsVersion::V1_2, ""), ("1.3", TlsVersion::V1_3, "")];
}

/// The access to a list of files.
macro_rules! files_of {
    ($field:ident) => {
        Access {
            read: |setting, table, tls: &mut TlsListeners| {
                if let Some(items) = table.one_or_list(setting.key) {
                    tls.$field = items.iter().filter_map(|(_, at)| at.path()).collect();
                }
            },
            shown: |_, tls: &TlsListeners| Some(Shown::list(tls.$field.iter().map(|file| file.display()), "none")),
            ..kept!(TlsListeners, $field)
        }
    };
}

pub(crate) const ROWS: &[Row<TlsListeners>] = &[
    Row::new("listen", Kind::OneOrList(ENDPOINT), field!(TlsListeners, listen = [endpoint], "nowhere"))
        .help("where visitors connect with TLS", ", such as `\"0.0.0.0:443\"`")
        .default("none; required in this table")
        .restart(),
    Row::new(
        "redirect_listen",
        Kind::OneOrList(ENDPOINT),
        field!(TlsListeners, redirect = [endpoint], "nowhere"),
    )
    .help("where requests without TLS are redirected to https", " (`308`), with their host, path and query")
    .restart(),
    Row::new("redirect_port", number(1, 65_535), field!(TlsListeners, redirect_port))
        .help("the port in these redirects", ", if visitors connect to another one than the dispatcher listens on")
        .default("the first port of `tls.listen`"),
    Row::new("certificates", Kind::Tables, Access { shown: files, ..kept!(TlsListeners, certificates) })
        .help("certificates and their keys", "; at least one")
        .default("none; required in this table"),
    Row::new("min_version", choice::<TlsVersion>(), field!(TlsListeners, least_version))
        .help("the oldest version of TLS that is accepted", ""),
    Row::new("client_certificates", choice::<Ask>(), field!(TlsListeners, ask))
        .help("whether visitors need a certificate", ". Its subject is sent to the pod ([docs/tls.md](../../docs/tls.md)). With `optional` and `required`, sessions of TLS are not resumed"),
    Row::new("client_ca_files", Kind::OneOrList("path"), files_of!(client_authorities))
        .help("certificates of the authorities that issue the visitors' certificates", ", in PEM")
        .default("none; required with `client_certificates`"),
    Row::new("client_crl_files", Kind::OneOrList("path"), files_of!(client_revocations))
        .help("lists of revoked certificates", ", in PEM. With any, a certificate whose issuer has no list is refused"),
    Row::new("ticket_keys_file", Kind::Path, field!(TlsListeners, ticket_keys))
        .help("keys of session tickets, for several dispatchers", ": one key per line, base64 or hex of at least 32 random bytes; the first encrypts, all decrypt. Read every 5 seconds")
        .default("none: each process has its own"),
    Row::new("handshake_seconds", seconds(0.1, 3600.0), field!(TlsListeners, handshake))
        .help("how long a TLS handshake may take", ", from the connection's acceptance"),
    Row::new("hsts_seconds", seconds_or_off(1.0, 3660.0 * DAY), field!(TlsListeners, hsts)).help(
        "how long browsers connect to this host only with TLS",
        ": `Strict-Transport-Security` of all responses over TLS. It cannot be taken back before that: begin with a short time",
    ),
    Row::new("hsts_subdomains", Kind::Bool, field!(TlsListeners, hsts_subdomains))
        .help("also to all hosts below it", ": adds `includeSubDomains`"),
];

pub(super) const CERTIFICATES: &[Row<TlsFiles>] = &[
    Row::new("cert_file", Kind::Path, Access::NONE)
        .help("the certificate and its chain in PEM, the leaf first", "")
        .required(),
    Row::new("key_file", Kind::Path, Access::NONE).help("its private key in PEM", ", without a password").required(),
];

fn files(_: &Setting, tls: &TlsListeners) -> Option<Shown> {
    Some(Shown::list(tls.certificates.iter().map(|files| files.certificate.display()), "none"))
}

/// Reads `[tls]`. The listeners of `config` must have been read before. If the file has `[tls]` and no
/// top-level `listen`, no listener serves visitors without TLS.
pub(super) fn tls(top: &Table<'_>, config: &mut Config) {
    let Some(table) = top.table("tls") else { return };
    if !top.has("listen") {
        config.listen.clear();
    }
    read_all(ROWS, &table, &mut config.tls);
    if !table.has("listen") {
        table.missing("listen", "allowed: IP:PORT, such as \"0.0.0.0:443\", or a list");
    }
    let mut taken = taken(config, &[ListenerKind::Plain]);
    distinct(&table, "listen", ListenerKind::Tls, &mut taken);
    distinct(&table, "redirect_listen", ListenerKind::Redirect, &mut taken);
    if table.has("redirect_port") && !table.has("redirect_listen") {
        table.wrong("redirect_port", "without `redirect_listen`, nothing is redirected; allowed: both");
    }
    if config.tls.hsts_subdomains && config.tls.hsts.is_none() {
        table.wrong("hsts_subdomains", "without `hsts_seconds`, it has no use; allowed: both");
    }
    config.tls.certificates = certificates(&table);
    clients(&table, &config.tls);
    if let Some(file) = &config.tls.ticket_keys {
        ticket_keys(&table, &config.tls, file);
    }
    table.finish();
}

/// Checks the settings of client certificates, and their files.
fn clients(table: &Table<'_>, tls: &TlsListeners) {
    for key in ["client_ca_files", "client_crl_files"] {
        if table.has_empty_list(key) {
            table.wrong(key, "the list is empty; allowed: at least one path");
        } else if table.has(key) && tls.ask == Ask::Off {
            table.wrong(
                key,
                "without `client_certificates = \"optional\"` or `\"required\"`, it has no use; allowed: both",
            );
        }
    }
    if tls.ask == Ask::Off {
        return;
    }
    if !table.has("client_ca_files") {
        table.missing("client_ca_files", "allowed: at least one path of a file with certificates of authorities");
    }
    check_clients(table, &tls.clients(), ("client_ca_files", "client_crl_files"));
}

/// Reports files of client certificates that cannot be used, by the names of their keys.
pub(super) fn check_clients(table: &Table<'_>, clients: &Clients, names: (&'static str, &'static str)) {
    let only_authorities = Clients { revoked: Vec::new(), ..clients.clone() };
    if clients.authorities.is_empty() {
        return;
    }
    match tls::check_clients(&only_authorities) {
        Err(wrong) => table.wrong(names.0, wrong),
        Ok(()) => {
            if let Err(wrong) = tls::check_clients(clients) {
                table.wrong(names.1, wrong);
            }
        }
    }
}

fn ticket_keys(table: &Table<'_>, tls: &TlsListeners, file: &std::path::Path) {
    const KEY: &str = "ticket_keys_file";
    if let Some(what) = permissions::of_secret(file) {
        table.doubt(KEY, what);
    }
    if let Err(wrong) = tls::ticket_keys(file) {
        table.wrong(KEY, wrong);
    }
    if tls.ask != Ask::Off {
        table.wrong(KEY, "with `client_certificates`, sessions are not resumed; allowed: one of the two");
    }
}

/// The endpoints of operators, and of the listeners that have been read before, with their settings.
pub(super) fn taken(config: &Config, read: &[ListenerKind]) -> Vec<(Endpoint, &'static str)> {
    let visitors = config.listeners().filter(|(kind, _)| read.contains(kind));
    let visitors = visitors.map(|(kind, endpoint)| (endpoint.clone(), kind.setting()));
    visitors.chain(config.admin.listen.map(|address| (address.into(), "[admin]"))).collect()
}

/// Reports addresses of a listener that another one uses.
pub(super) fn distinct(
    table: &Table<'_>,
    key: &'static str,
    kind: ListenerKind,
    taken: &mut Vec<(Endpoint, &'static str)>,
) {
    if table.has_empty_list(key) {
        table.wrong(key, "the list is empty; allowed: at least one address");
    }
    for (text, at) in table.one_or_list(key).unwrap_or_default() {
        // The row has reported a text that is no endpoint.
        let Ok(own) = endpoint(text) else { continue };
        if let Some((_, other)) = taken.iter().find(|(other, _)| other.is_same(&own)) {
            at.wrong(format_args!("{} is already used by {other}; allowed: another address", own.at));
        }
        taken.push((own, kind.setting()));
    }
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
