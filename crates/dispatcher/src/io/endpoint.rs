//! Where a listener listens: an address, a Unix socket, or a socket that the service manager has opened.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

/// A place to listen, and how.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Endpoint {
    /// The place.
    pub at: At,
    /// Every connection begins with a PROXY header.
    pub proxy: bool,
    /// Another process may listen here at the same time: the next one, before this one has drained. Not an option in the
    /// file: it follows from `takeover_seconds`.
    pub reuse_port: bool,
    /// An IPv6 address accepts no IPv4 connections.
    pub only_v6: bool,
}

/// A place to listen.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum At {
    /// An address; port 0 is any free port.
    Tcp(SocketAddr),
    /// A file of this machine.
    Unix(UnixSocket),
    /// Sockets of this name from the service manager (`FileDescriptorName=` of a socket unit).
    Inherited(String),
}

/// A Unix socket.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct UnixSocket {
    /// Absolute.
    pub path: PathBuf,
    /// Its permissions.
    pub mode: u32,
    /// Name or number; `None`: those of this process.
    pub owner: Option<String>,
    /// As `owner`.
    pub group: Option<String>,
}

impl UnixSocket {
    /// Readable and writable for the owner and the group.
    pub const MODE: u32 = 0o660;
}

impl Endpoint {
    /// The TCP address, if it has one.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        if let At::Tcp(address) = &self.at { Some(*address) } else { None }
    }

    /// Whether both cannot be listened on at the same time. Port 0 is any free port.
    #[must_use]
    pub fn is_same(&self, other: &Endpoint) -> bool {
        match (&self.at, &other.at) {
            (At::Tcp(own), At::Tcp(other)) => own == other && own.port() != 0,
            (At::Unix(own), At::Unix(other)) => own.path == other.path,
            (At::Inherited(own), At::Inherited(other)) => own == other,
            (At::Tcp(_) | At::Unix(_) | At::Inherited(_), _) => false,
        }
    }

    /// The same endpoint; if one of the others is the IPv4 wildcard with the same port, it leaves IPv4 to that one.
    #[must_use]
    pub fn beside(&self, others: &[&Endpoint]) -> Endpoint {
        let own = self.address().filter(|own| own.is_ipv6() && own.ip().is_unspecified() && own.port() != 0);
        let takes_v4 = |other: &SocketAddr| {
            other.is_ipv4() && other.ip().is_unspecified() && own.is_some_and(|own| own.port() == other.port())
        };
        let only_v6 = self.only_v6 || others.iter().filter_map(|other| other.address()).any(|other| takes_v4(&other));
        Endpoint { only_v6, ..self.clone() }
    }
}

impl From<SocketAddr> for Endpoint {
    fn from(address: SocketAddr) -> Endpoint {
        Endpoint { at: At::Tcp(address), proxy: false, reuse_port: false, only_v6: false }
    }
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            At::Tcp(address) => address.fmt(f),
            At::Unix(socket) => write!(f, "unix:{}", socket.path.display()),
            At::Inherited(name) => write!(f, "systemd:{name}"),
        }
    }
}

/// As in the configuration.
impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.at.fmt(f)?;
        if let At::Unix(socket) = &self.at {
            if socket.mode != UnixSocket::MODE {
                write!(f, " mode={:04o}", socket.mode)?;
            }
            for (key, value) in [("owner", &socket.owner), ("group", &socket.group)] {
                value.iter().try_for_each(|value| write!(f, " {key}={value}"))?;
            }
        }
        let flags = [(self.proxy, "proxy"), (self.only_v6, "only_v6")];
        flags.iter().filter(|(is, _)| *is).try_for_each(|(_, flag)| write!(f, " {flag}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wildcard_of_ipv6_accepts_ipv4_unless_the_same_port_of_ipv4_is_listened_on_too() {
        let at = |text: &str| Endpoint::from(text.parse::<SocketAddr>().unwrap());
        for (own, other, only_v6) in [
            ("[::]:443", "0.0.0.0:443", true),
            ("[::]:443", "0.0.0.0:80", false),
            ("[::]:443", "127.0.0.1:443", false),
            ("[::1]:443", "0.0.0.0:443", false),
            ("0.0.0.0:443", "[::]:443", false),
            ("[::]:0", "0.0.0.0:0", false),
        ] {
            assert_eq!(at(own).beside(&[&at(own), &at(other)]).only_v6, only_v6, "{own} {other}");
        }
    }
}
