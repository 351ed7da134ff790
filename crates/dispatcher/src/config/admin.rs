//! `[admin]`: the listener for metrics, health and the admin API.

use super::addresses::socket_address;
use super::setting::{Access, Kind, Row, Setting, Shown, keep, read_all};
use super::table::Table;
use super::{Config, Secret, secrets};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// The listener for operators: metrics, health, the admin API.
#[derive(Clone, Debug, Default)]
pub struct Admin {
    /// `None`: the listener is off.
    pub listen: Option<SocketAddr>,
    /// Required (as `Authorization: Bearer`) for everything but health when set; must be set unless `listen` is loopback.
    pub token: Option<Secret>,
}

impl Admin {
    /// The address of the admin listener if the file does not set it.
    pub const DEFAULT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9090);
}

pub(crate) const ROWS: &[Row<Config>] = &[
    Row::new(
        "listen",
        Kind::Text("`IP:PORT` or `\"off\"`"),
        Access {
            read: listen,
            shown: |_, config: &Config| {
                Some(Shown::Text(config.admin.listen.map_or(Shown::OFF.to_owned(), |at| at.to_string())))
            },
            merge: |old: &Config, new: &mut Config, restart| keep(&old.admin.listen, &mut new.admin.listen, restart),
            means: None,
        },
    )
    .help("where operators connect", "; an address other than loopback requires a token")
    .restart(),
    Row::new(
        "token_file",
        Kind::Path,
        Access::shown(|_, config: &Config| {
            Some(Shown::Words(if config.admin.token.is_some() { "given" } else { "none" }))
        }),
    )
    .help("the token that operators send as `Authorization: Bearer`", ", at least 16 visible ASCII characters")
    .default("none")
    .shown_as("token"),
    Row::new("token_env", Kind::Variable, Access::NONE)
        .help("the token, from the environment", "; not together with `admin.token_file`")
        .default("none"),
];

fn listen(setting: &Setting, table: &Table<'_>, config: &mut Config) {
    match table.string(setting.key) {
        Some(Shown::OFF) => config.admin.listen = None,
        Some(text) => match socket_address(text) {
            Ok(address) => config.admin.listen = Some(address),
            Err(what) => table.wrong(setting.key, format_args!("{what}, or \"off\"")),
        },
        None => {}
    }
}

/// Reads `[admin]`. The visitors' addresses must have been read before.
pub(super) fn admin(top: &Table<'_>, config: &mut Config) {
    config.admin = Admin { listen: Some(Admin::DEFAULT), token: None };
    if let Some(table) = top.table("admin") {
        read_all(ROWS, &table, config);
        token(&table, &mut config.admin);
        table.finish();
    }
    if let Some(address) = config
        .admin
        .listen
        .filter(|address| address.port() != 0 && config.listen.iter().any(|own| own.address() == Some(*address)))
    {
        top.wrong("admin", format_args!("{address} is already used by `listen`; allowed: another address"));
    }
}

fn token(table: &Table<'_>, admin: &mut Admin) {
    let says_token = table.has("token_file") || table.has("token_env");
    admin.token = secrets::token(table);
    if let Some(address) = admin.listen.filter(|address| !address.ip().is_loopback() && !says_token) {
        let what = format_args!(
            "{address} can be reached from other machines; allowed: with `token_file` or `token_env`, or a loopback address"
        );
        table.wrong("listen", what);
    }
    if admin.listen.is_none() && says_token {
        table.wrong("listen", "is \"off\", so the token has no use; allowed: one of the two");
    }
}
