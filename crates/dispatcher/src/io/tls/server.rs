//! The server side of TLS of one kind of listener: its settings, and the certificates in use, which can be replaced while
//! connections are open. If certificates cannot be read again, the previous ones stay in use.

use super::by_name::ByName;
use super::{Certificate, Contents, Date, TlsError, TlsFiles};
use sha2::{Digest, Sha256};
use slotkeeper_core::Time;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::server::ProducesTickets;
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{ServerConfig, SupportedProtocolVersion};

/// How a listener uses TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsSettings {
    /// The first is the default.
    pub certificates: Vec<TlsFiles>,
    /// The oldest version that is accepted.
    pub least_version: TlsVersion,
    /// The protocols that the listener speaks (ALPN, RFC 7301), the preferred one first.
    pub protocols: &'static [&'static str],
    /// How long a handshake may take.
    pub handshake: Duration,
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsVersion {
    /// TLS 1.2 (RFC 5246).
    V1_2,
    /// TLS 1.3 (RFC 8446).
    V1_3,
}

/// A certificate that is in use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// The file of the certificate.
    pub file: PathBuf,
    /// Its DNS names.
    pub names: Vec<String>,
    /// When its leaf expires.
    pub expires: Date,
}

/// The TLS of one listener. Its certificates can be replaced while it serves.
pub struct Tls {
    /// The listener's name in logs and metrics.
    pub of: &'static str,
    current: Mutex<Current>,
    /// The last attempt to read the files.
    last: Mutex<Attempt>,
    tickets: Arc<dyn ProducesTickets>,
}

#[derive(Clone)]
struct Current {
    config: Arc<ServerConfig>,
    handshake: Duration,
    loaded: Vec<Loaded>,
}

struct Attempt {
    settings: TlsSettings,
    /// The hash of all files, or of why they could not be read.
    digest: [u8; 32],
}

impl Tls {
    /// # Errors
    /// If a certificate or key cannot be used.
    pub fn new(of: &'static str, settings: TlsSettings, now: Time) -> Result<Tls, TlsError> {
        let tickets = ring::Ticketer::new().map_err(TlsError::Unavailable)?;
        let contents = read(&settings);
        let last = Attempt { settings: settings.clone(), digest: digest(&contents) };
        let current = Current::new(&settings, contents, &tickets, now)?;
        Ok(Tls { of, current: Mutex::new(current), last: Mutex::new(last), tickets })
    }

    /// Answers handshakes with the certificates in use; and how long a handshake may take.
    pub(crate) fn acceptor(&self) -> (TlsAcceptor, Duration) {
        let current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        (current.config.clone().into(), current.handshake)
    }

    /// The certificates in use.
    #[must_use]
    pub fn loaded(&self) -> Vec<Loaded> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner).loaded.clone()
    }

    /// Reads the files again, blocking. `None`: neither they nor the settings have changed since the last call.
    ///
    /// # Errors
    /// If a certificate or key cannot be used: the previous ones stay in use.
    pub fn refresh(&self, settings: &TlsSettings, now: Time) -> Option<Result<(), TlsError>> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let contents = read(settings);
        let digest = digest(&contents);
        if digest == last.digest && *settings == last.settings {
            return None;
        }
        *last = Attempt { settings: settings.clone(), digest };
        let read = Current::new(settings, contents, &self.tickets, now);
        Some(read.map(|new| *self.current.lock().unwrap_or_else(PoisonError::into_inner) = new))
    }
}

impl Current {
    fn new(
        settings: &TlsSettings,
        contents: Vec<Contents>,
        tickets: &Arc<dyn ProducesTickets>,
        now: Time,
    ) -> Result<Current, TlsError> {
        let mut certificates: Vec<Certificate> = Vec::new();
        let mut loaded = Vec::new();
        for (files, contents) in settings.certificates.iter().zip(contents) {
            let certificate = contents.parse(files, now)?;
            if certificate.names.is_empty() && !certificates.is_empty() {
                return Err(TlsError::NoName(files.certificate.display().to_string()));
            }
            let (file, names) = (files.certificate.clone(), certificate.names.clone());
            loaded.push(Loaded { file, names, expires: certificate.expires });
            certificates.push(certificate);
        }
        let versions: &[&SupportedProtocolVersion] = match settings.least_version {
            TlsVersion::V1_2 => &[&TLS13, &TLS12],
            TlsVersion::V1_3 => &[&TLS13],
        };
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(versions)
            .map_err(TlsError::Unavailable)?;
        let mut config = config.with_no_client_auth().with_cert_resolver(Arc::new(ByName::new(&certificates)));
        config.alpn_protocols = settings.protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        config.ticketer = tickets.clone();
        Ok(Current { config: Arc::new(config), handshake: settings.handshake, loaded })
    }
}

fn read(settings: &TlsSettings) -> Vec<Contents> {
    settings.certificates.iter().map(Contents::of).collect()
}

fn digest(all: &[Contents]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for file in all.iter().flat_map(|contents| [&contents.certificate, &contents.key]) {
        match file {
            Ok(contents) => {
                hash.update(contents.len().to_le_bytes());
                hash.update(contents);
            }
            Err(error) => hash.update(error.to_string()),
        }
    }
    hash.finalize().into()
}
