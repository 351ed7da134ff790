//! Certificates and private keys from PEM files: reads and checks them, and answers TLS handshakes with them.

mod by_name;
mod clients;
mod handshake;
mod issue;
mod server;
mod tickets;

pub use clients::{Ask, ClientCertificate, Clients};
pub use handshake::{Client, Handshake, Handshakes};
pub use issue::self_signed;
pub(crate) use server::Accepts;
pub use server::{Loaded, Tls, TlsSettings, TlsVersion};

use crate::io::key_lines;
use slotkeeper_core::Time;
use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{self, sign::CertifiedKey};
use x509_parser::extensions::GeneralName;

/// The maximum size of a file: if the path is wrong, a large file is not read to its end.
const FILE_BYTES: u64 = 1024 * 1024;

/// A certificate with its chain, and its private key, in PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// PEM: the server's certificate first, then those that issued it.
    pub certificate: PathBuf,
    /// PEM: the certificate's private key.
    pub key: PathBuf,
}

/// What is wrong with a certificate or its key.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The file, and the error.
    #[error("{0}: cannot be read: {1}")]
    Unreadable(String, std::io::Error),
    /// The file.
    #[error("{0}: contains no certificate; allowed: PEM, `-----BEGIN CERTIFICATE-----`, the leaf first")]
    NoCertificate(String),
    /// The file.
    #[error(
        "{0}: contains no private key; allowed: PEM, `-----BEGIN PRIVATE KEY-----` (PKCS #8, PKCS #1 or SEC 1, without a password)"
    )]
    NoKey(String),
    /// The file, and the error.
    #[error("{0}: not PEM: {1}")]
    NotPem(String, pem::Error),
    /// The file, and the error.
    #[error("{0}: its first certificate is not valid X.509: {1}")]
    NotX509(String, String),
    /// The file, and when its certificate expired.
    #[error("{0}: has expired at {1}")]
    Expired(String, Date),
    /// The file, and when its certificate begins to be valid.
    #[error("{0}: is not valid before {1}")]
    NotYetValid(String, Date),
    /// The file.
    #[error(
        "{0}: contains no DNS name, so no client is served this certificate; allowed: as the first of the list, which is the default"
    )]
    NoName(String),
    /// The certificate and the key of these files do not belong together.
    #[error("{key} is not the key of {certificate}, or of an unknown kind: {why}")]
    NoPair {
        /// The file of the certificate.
        certificate: String,
        /// The file of the key.
        key: String,
        /// The library's error.
        why: rustls::Error,
    },
    /// The file has no certificate of an authority.
    #[error(
        "{0}: contains no certificate of an authority that can be used: {1}; allowed: PEM, `-----BEGIN CERTIFICATE-----`"
    )]
    NoAuthority(String, String),
    /// The file has no list of revoked certificates.
    #[error(
        "{0}: contains no list of revoked certificates that can be used: {1}; allowed: PEM, `-----BEGIN X509 CRL-----`"
    )]
    NoRevocations(String, String),
    /// The library refuses the authorities or lists.
    #[error("client certificates cannot be verified: {0}")]
    NoVerifier(String),
    /// The file has no keys of session tickets.
    #[error("{0}: not the keys of session tickets: {1}")]
    NoTicketKeys(String, String),
    /// The TLS library cannot be set up.
    #[error("TLS is not available: {0}")]
    Unavailable(rustls::Error),
}

impl TlsError {
    /// True if the key is wrong, not the certificate.
    #[must_use]
    pub fn concerns_key(&self, files: &TlsFiles) -> bool {
        let file = match self {
            TlsError::Unreadable(file, _) | TlsError::NotPem(file, _) => file,
            TlsError::NoKey(_) | TlsError::NoPair { .. } => return true,
            TlsError::NoCertificate(_)
            | TlsError::NotX509(..)
            | TlsError::Expired(..)
            | TlsError::NotYetValid(..)
            | TlsError::NoName(_)
            | TlsError::NoAuthority(..)
            | TlsError::NoRevocations(..)
            | TlsError::NoVerifier(_)
            | TlsError::NoTicketKeys(..)
            | TlsError::Unavailable(_) => return false,
        };
        *file == files.key.display().to_string()
    }
}

/// A point of time, in seconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Date(pub i64);

impl Date {
    fn at(time: Time) -> Date {
        Date(i64::try_from(time.0 / 1000).unwrap_or(i64::MAX))
    }
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_second(self.0) {
            Ok(time) => time.fmt(f),
            Err(_) => write!(f, "{} s after 1970", self.0),
        }
    }
}

/// A certificate with its chain and its key.
#[derive(Clone, Debug)]
pub struct Certificate {
    pub(super) key: Arc<CertifiedKey>,
    /// Its DNS names in lower case, possibly with a wildcard as the first label.
    pub names: Vec<String>,
    /// When the leaf expires.
    pub expires: Date,
}

/// The contents of both files of a certificate, or why they cannot be read.
struct Contents {
    certificate: Result<Vec<u8>, TlsError>,
    key: Result<Vec<u8>, TlsError>,
}

impl Contents {
    fn of(files: &TlsFiles) -> Contents {
        Contents { certificate: contents(&files.certificate), key: contents(&files.key) }
    }

    /// `in_use`: the end of the certificate of these files that is in use. It may be read again after that: otherwise one that
    /// has expired would keep everything else from being renewed.
    fn parse(self, files: &TlsFiles, now: Time, in_use: Option<Date>) -> Result<Certificate, TlsError> {
        let (certificate, key) = (files.certificate.display().to_string(), files.key.display().to_string());
        let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&self.certificate?)
            .collect::<Result<_, _>>()
            .map_err(|error| TlsError::NotPem(certificate.clone(), error))?;
        let Some(leaf) = chain.first() else { return Err(TlsError::NoCertificate(certificate)) };
        let (names, expires) = facts(leaf, &certificate, now, in_use)?;
        let private = PrivateKeyDer::from_pem_slice(&self.key?).map_err(|error| {
            let is_absent = matches!(error, pem::Error::NoItemsFound);
            if is_absent { TlsError::NoKey(key.clone()) } else { TlsError::NotPem(key.clone(), error) }
        })?;
        let pair = CertifiedKey::from_der(chain, private, &ring::default_provider());
        let pair = pair.map_err(|why| TlsError::NoPair { certificate, key, why })?;
        Ok(Certificate { key: Arc::new(pair), names, expires })
    }
}

/// Reads a certificate and its key.
///
/// # Errors
/// If the files are not a certificate and its key, or the certificate is not valid now.
pub fn read(files: &TlsFiles, now: Time) -> Result<Certificate, TlsError> {
    Contents::of(files).parse(files, now, None)
}

/// Checks the files of client certificates, as they are used.
///
/// # Errors
/// If one of them cannot be read or used.
pub fn check_clients(clients: &Clients) -> Result<(), TlsError> {
    clients::ClientFiles::of(clients).verifier().map(drop)
}

/// Reads the keys of session tickets.
///
/// # Errors
/// If the file cannot be read, or contains anything but keys.
pub fn ticket_keys(file: &Path) -> Result<Vec<Vec<u8>>, TlsError> {
    parse_ticket_keys(file, contents(file)?)
}

fn parse_ticket_keys(file: &Path, contents: Vec<u8>) -> Result<Vec<Vec<u8>>, TlsError> {
    let wrong = |what: String| TlsError::NoTicketKeys(file.display().to_string(), what);
    let text = String::from_utf8(contents).map_err(|_| wrong("it is not text".to_owned()))?;
    key_lines::read(&text).map_err(|problems| wrong(problems.join("; ")))
}

/// The names of a certificate, and the end of its validity.
fn facts(
    leaf: &CertificateDer<'_>,
    file: &str,
    now: Time,
    in_use: Option<Date>,
) -> Result<(Vec<String>, Date), TlsError> {
    let wrong = |why: String| TlsError::NotX509(file.to_owned(), why);
    let (_, leaf) = x509_parser::parse_x509_certificate(leaf).map_err(|error| wrong(error.to_string()))?;
    let alternatives = leaf.subject_alternative_name().map_err(|error| wrong(error.to_string()))?;
    let names = alternatives.iter().flat_map(|names| &names.value.general_names).filter_map(|name| {
        let GeneralName::DNSName(name) = name else { return None };
        Some(name.trim_end_matches('.').to_ascii_lowercase())
    });
    let validity = leaf.validity();
    let (from, to) = (Date(validity.not_before.timestamp()), Date(validity.not_after.timestamp()));
    let now = Date::at(now);
    if to < now && in_use != Some(to) {
        return Err(TlsError::Expired(file.to_owned(), to));
    }
    if now < from {
        return Err(TlsError::NotYetValid(file.to_owned(), from));
    }
    Ok((names.collect(), to))
}

fn contents(file: &Path) -> Result<Vec<u8>, TlsError> {
    let read = || {
        let mut contents = Vec::new();
        std::fs::File::open(file)?.take(FILE_BYTES + 1).read_to_end(&mut contents)?;
        if contents.len() as u64 > FILE_BYTES {
            return Err(std::io::Error::other(format!("it is longer than {FILE_BYTES} bytes")));
        }
        Ok(contents)
    };
    read().map_err(|error| TlsError::Unreadable(file.display().to_string(), error))
}
