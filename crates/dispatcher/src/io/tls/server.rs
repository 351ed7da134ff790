//! The server side of TLS of one kind of listener: its settings, and the certificates in use, which can be replaced while
//! connections are open. If certificates cannot be read again, the previous ones stay in use.

use super::by_name::ByName;
use super::clients::ClientFiles;
use super::tickets::SharedTickets;
use super::{Ask, Certificate, Clients, Contents, Date, TlsError, TlsFiles, contents, parse_ticket_keys};
use sha2::{Digest, Sha256};
use slotkeeper_core::Time;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::server::{NoServerSessionStorage, ProducesTickets};
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
    /// Which client certificates are accepted.
    pub clients: Clients,
    /// The keys of session tickets; `None`: keys of this process.
    pub ticket_keys: Option<PathBuf>,
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
    accepts: Accepts,
    loaded: Vec<Loaded>,
    /// How many keys of session tickets come from a file.
    ticket_keys: usize,
}

/// How a connection is accepted.
#[derive(Clone)]
pub(crate) struct Accepts {
    config: Arc<ServerConfig>,
    /// How long a handshake may take.
    pub(crate) handshake: Duration,
    pub(crate) ask: Ask,
}

impl Accepts {
    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        self.config.clone().into()
    }
}

struct Attempt {
    settings: TlsSettings,
    /// The hash of all files, or of why they could not be read.
    digest: [u8; 32],
    /// When to try again although nothing has changed: a certificate begins to be valid.
    again: Option<Date>,
}

impl Tls {
    /// # Errors
    /// If a certificate or key cannot be used.
    pub fn new(of: &'static str, settings: TlsSettings, now: Time) -> Result<Tls, TlsError> {
        let tickets = ring::Ticketer::new().map_err(TlsError::Unavailable)?;
        let files = Files::of(&settings);
        let last = Attempt { settings: settings.clone(), digest: files.digest(), again: None };
        let current = Current::new(&settings, files, &tickets, now, &[])?;
        Ok(Tls { of, current: Mutex::new(current), last: Mutex::new(last), tickets })
    }

    /// How connections are accepted from now on.
    pub(crate) fn accepts(&self) -> Accepts {
        self.current.lock().unwrap_or_else(PoisonError::into_inner).accepts.clone()
    }

    /// The certificates in use.
    #[must_use]
    pub fn loaded(&self) -> Vec<Loaded> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner).loaded.clone()
    }

    /// How many keys of session tickets come from a file.
    #[must_use]
    pub fn ticket_keys(&self) -> usize {
        self.current.lock().unwrap_or_else(PoisonError::into_inner).ticket_keys
    }

    /// Reads the files again, blocking. `None`: neither they nor the settings have changed since the last call.
    ///
    /// # Errors
    /// If a certificate or key cannot be used: the previous ones stay in use.
    pub fn refresh(&self, settings: &TlsSettings, now: Time) -> Option<Result<(), TlsError>> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let files = Files::of(settings);
        let digest = files.digest();
        let is_due = last.again.is_some_and(|again| again <= Date::at(now));
        if digest == last.digest && *settings == last.settings && !is_due {
            return None;
        }
        let read = Current::new(settings, files, &self.tickets, now, &self.loaded());
        let again = match &read {
            Err(TlsError::NotYetValid(_, from)) => Some(*from),
            Ok(_) | Err(_) => None,
        };
        *last = Attempt { settings: settings.clone(), digest, again };
        Some(read.map(|new| *self.current.lock().unwrap_or_else(PoisonError::into_inner) = new))
    }
}

impl Current {
    fn new(
        settings: &TlsSettings,
        files: Files,
        tickets: &Arc<dyn ProducesTickets>,
        now: Time,
        in_use: &[Loaded],
    ) -> Result<Current, TlsError> {
        let mut certificates: Vec<Certificate> = Vec::new();
        let mut loaded = Vec::new();
        for (files, contents) in settings.certificates.iter().zip(files.pairs) {
            let used = in_use.iter().find(|loaded| loaded.file == files.certificate).map(|loaded| loaded.expires);
            let certificate = contents.parse(files, now, used)?;
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
        let resolver = Arc::new(ByName::new(&certificates));
        let ask = settings.clients.ask;
        let mut ticket_keys = 0;
        let mut config = match files.clients.verifier()? {
            Some(verifier) => {
                let mut config = config.with_client_cert_verifier(verifier).with_cert_resolver(resolver);
                // A client that resumes is not verified again, whatever has been revoked or has expired meanwhile.
                config.session_storage = Arc::new(NoServerSessionStorage {});
                config.send_tls13_tickets = 0;
                config
            }
            None => {
                let mut config = config.with_no_client_auth().with_cert_resolver(resolver);
                config.ticketer = match (&settings.ticket_keys, files.ticket_keys) {
                    (Some(file), Some(contents)) => {
                        let keys = parse_ticket_keys(file, contents?)?;
                        ticket_keys = keys.len();
                        Arc::new(SharedTickets::new(keys))
                    }
                    (Some(_), None) | (None, _) => tickets.clone(),
                };
                config
            }
        };
        config.alpn_protocols = settings.protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        let accepts = Accepts { config: Arc::new(config), handshake: settings.handshake, ask };
        Ok(Current { accepts, loaded, ticket_keys })
    }
}

/// The contents of all files of the settings.
struct Files {
    pairs: Vec<Contents>,
    clients: ClientFiles,
    ticket_keys: Option<Result<Vec<u8>, TlsError>>,
}

impl Files {
    fn of(settings: &TlsSettings) -> Files {
        Files {
            pairs: settings.certificates.iter().map(Contents::of).collect(),
            clients: ClientFiles::of(&settings.clients),
            ticket_keys: settings.ticket_keys.as_deref().map(contents),
        }
    }

    fn digest(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        let pairs = self.pairs.iter().flat_map(|contents| [&contents.certificate, &contents.key]);
        for file in pairs.chain(self.clients.contents()).chain(&self.ticket_keys) {
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
}
