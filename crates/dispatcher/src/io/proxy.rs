//! The PROXY protocol, versions 1 and 2: a header before all other bytes of a connection (also before TLS), in which a proxy
//! states the addresses of its client. Reads it on listeners that expect it, and writes it to pods. A connection without a
//! header is refused there: the specification forbids guessing whether there is one.

use crate::io::throttle::Throttle;
use crate::io::{Peer, Socket};
use prometheus::IntCounter;
use proxy_header::{ParseConfig, ProxiedAddress, ProxyHeader};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::Instant;

/// The version of a header that is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyVersion {
    /// One line of text.
    V1,
    /// Binary.
    V2,
}

/// The first bytes of version 2.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// Includes the signature, the command, the family and the length.
const FIXED: usize = 16;
/// The longest header of version 1.
const LONGEST_V1: usize = 107;
/// The longest header of version 2 that is read: addresses and additional fields (TLVs), after the fixed part.
const LONGEST_V2: usize = 4096;

/// The statement of a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stated {
    /// Those of the client.
    Addresses {
        /// The client.
        source: SocketAddr,
        /// The address that it has connected to.
        destination: SocketAddr,
    },
    /// The proxy itself has connected, for a health check: the addresses are those of the connection.
    Local,
    /// The proxy does not know the address of its client (`UNKNOWN`, `AF_UNSPEC`, `AF_UNIX`).
    Unknown,
}

/// Why a header was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum HeaderError {
    /// The bytes are no header.
    #[error("it is not a PROXY header: {0}")]
    Malformed(&'static str),
    /// There were too few bytes.
    #[error("the connection ended before the PROXY header: {0}")]
    Closed(#[from] io::Error),
}

/// Reads a header, and not one byte more.
///
/// # Errors
/// If there is none, or the connection ends before.
pub async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Result<Stated, HeaderError> {
    let mut header = vec![0; SIGNATURE.len()];
    stream.read_exact(&mut header).await?;
    if header == SIGNATURE {
        header.resize(FIXED, 0);
        stream.read_exact(&mut header[SIGNATURE.len()..]).await?;
        let length = usize::from(u16::from_be_bytes([header[14], header[15]]));
        if length > LONGEST_V2 {
            return Err(HeaderError::Malformed("longer than 4112 bytes"));
        }
        header.resize(FIXED + length, 0);
        stream.read_exact(&mut header[FIXED..]).await?;
        return version_2(&header);
    }
    if !header.starts_with(b"PROXY ") {
        return Err(HeaderError::Malformed("the connection starts with other bytes"));
    }
    // The line has no length: bytes after it belong to the client.
    while !header.ends_with(b"\n") {
        if header.len() == LONGEST_V1 {
            return Err(HeaderError::Malformed("no end of the line within 107 bytes"));
        }
        header.push(stream.read_u8().await?);
    }
    version_1(&header)
}

fn version_1(header: &[u8]) -> Result<Stated, HeaderError> {
    if header.strip_prefix(b"PROXY UNKNOWN").is_some_and(|rest| rest == b"\r\n" || rest.starts_with(b" ")) {
        return Ok(Stated::Unknown);
    }
    stated(header)
}

fn version_2(header: &[u8]) -> Result<Stated, HeaderError> {
    match (header[12], header[13]) {
        // The other bytes have no meaning then (specification, section 2.2).
        (0x20, _) => Ok(Stated::Local),
        (0x21, 0x00 | 0x31 | 0x32) => Ok(Stated::Unknown),
        (0x21, 0x11 | 0x21) => stated(header),
        (0x21, _) => Err(HeaderError::Malformed("unknown family or protocol")),
        _ => Err(HeaderError::Malformed("unknown version or command")),
    }
}

fn stated(header: &[u8]) -> Result<Stated, HeaderError> {
    let config = ParseConfig { include_tlvs: false, ..ParseConfig::default() };
    let malformed = || HeaderError::Malformed("its addresses are malformed");
    let (read, length) = ProxyHeader::parse(header, config).map_err(|_| malformed())?;
    let addresses = read.proxied_address().filter(|_| length == header.len()).ok_or_else(malformed)?;
    Ok(Stated::Addresses { source: addresses.source, destination: addresses.destination })
}

/// Returns the header that states this.
#[must_use]
pub fn header(version: ProxyVersion, stated: Stated) -> Vec<u8> {
    let header = match stated {
        Stated::Addresses { source, destination } => {
            let (source, destination) = same_family(source, destination);
            ProxyHeader::with_address(ProxiedAddress::stream(source, destination))
        }
        // PROXY, AF_UNSPEC, no further bytes.
        Stated::Unknown if version == ProxyVersion::V2 => return [&SIGNATURE[..], &[0x21, 0, 0, 0]].concat(),
        Stated::Unknown | Stated::Local => ProxyHeader::with_local(),
    };
    let mut bytes = Vec::new();
    // Both can only fail for addresses of two families, and for additional fields.
    let _ = match version {
        ProxyVersion::V1 => header.encode_v1(&mut bytes),
        ProxyVersion::V2 => header.encode_v2(&mut bytes),
    };
    bytes
}

/// A header has addresses of one family: an IPv4 address is mapped to IPv6 if the other one cannot be mapped back.
fn same_family(source: SocketAddr, destination: SocketAddr) -> (SocketAddr, SocketAddr) {
    let plain = |address: SocketAddr| SocketAddr::new(address.ip().to_canonical(), address.port());
    let mapped = |address: SocketAddr| match address.ip() {
        IpAddr::V4(ip) => SocketAddr::new(ip.to_ipv6_mapped().into(), address.port()),
        IpAddr::V6(_) => address,
    };
    let (source, destination) = (plain(source), plain(destination));
    if source.is_ipv4() == destination.is_ipv4() {
        (source, destination)
    } else {
        (mapped(source), mapped(destination))
    }
}

/// Sends the header of a connection that this process makes for itself, such as a probe.
///
/// # Errors
/// As every write.
pub(crate) async fn announce_self(stream: &mut Socket, version: Option<ProxyVersion>) -> io::Result<()> {
    match version {
        Some(version) => stream.write_all(&header(version, Stated::Local)).await,
        None => Ok(()),
    }
}

/// How reading a header ended, in metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Addresses,
    Local,
    Unknown,
    Untrusted,
    Timeout,
    Closed,
    Malformed,
}

impl Outcome {
    const ALL: [(Outcome, &'static str); 7] = [
        (Outcome::Addresses, "addresses"),
        (Outcome::Local, "local"),
        (Outcome::Unknown, "unknown"),
        (Outcome::Untrusted, "untrusted"),
        (Outcome::Timeout, "timeout"),
        (Outcome::Closed, "closed"),
        (Outcome::Malformed, "malformed"),
    ];
}

/// Counts the headers that visitors' listeners have read.
#[derive(Clone)]
pub struct ProxyHeaders([IntCounter; 7]);

impl ProxyHeaders {
    /// The counters by the words of the outcomes.
    pub fn new(counter: impl Fn(&str) -> IntCounter) -> ProxyHeaders {
        ProxyHeaders(Outcome::ALL.map(|(_, word)| counter(word)))
    }

    fn count(&self, outcome: Outcome) {
        if let Some(counter) = self.0.get(outcome as usize) {
            counter.inc();
        }
    }
}

/// How long the header of a peer may take. `None`: the peer may not send one.
pub(crate) type Admits = Arc<dyn Fn(IpAddr) -> Option<Duration> + Send + Sync>;

/// For a listener whose connections begin with a header.
#[derive(Clone)]
pub(crate) struct Proxied {
    pub(crate) admits: Admits,
    pub(crate) headers: ProxyHeaders,
}

static UNTRUSTED: Throttle = Throttle::new();
static MALFORMED: Throttle = Throttle::new();

impl Proxied {
    /// Reads the header, and returns the peer that it states. `None`: the connection is refused.
    pub(crate) async fn peer(&self, stream: &mut Socket, peer: Peer, since: Instant) -> Option<Peer> {
        let from = peer.address;
        let Some(within) = (self.admits)(from.ip()) else {
            self.headers.count(Outcome::Untrusted);
            if let Some(times) = UNTRUSTED.note() {
                tracing::warn!(peer = %from, times, "connection refused on a listener with PROXY protocol: the peer is not in trusted_proxies");
            }
            return None;
        };
        match tokio::time::timeout_at(since + within, read(stream)).await {
            Ok(Ok(Stated::Addresses { source, destination })) => {
                self.headers.count(Outcome::Addresses);
                Some(Peer { address: source, to: Some(destination), is_hidden: false })
            }
            Ok(Ok(Stated::Local)) => {
                self.headers.count(Outcome::Local);
                Some(peer)
            }
            Ok(Ok(Stated::Unknown)) => {
                self.headers.count(Outcome::Unknown);
                Some(Peer { is_hidden: true, ..peer })
            }
            Ok(Err(error @ HeaderError::Malformed(_))) => {
                self.headers.count(Outcome::Malformed);
                if let Some(times) = MALFORMED.note() {
                    tracing::warn!(peer = %from, times, "connection refused on a listener with PROXY protocol: {error}");
                }
                None
            }
            Ok(Err(HeaderError::Closed(error))) => {
                self.headers.count(Outcome::Closed);
                tracing::debug!(peer = %from, "connection ended before its PROXY header: {error}");
                None
            }
            Err(_) => {
                self.headers.count(Outcome::Timeout);
                tracing::debug!(peer = %from, "PROXY header took too long");
                None
            }
        }
    }
}

#[cfg(test)]
mod tests;
