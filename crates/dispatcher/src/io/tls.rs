//! The certificate of the KEDA listener, if it uses TLS. Both files are read again for every connection (there are few),
//! because certificates are renewed at run time. An unusable pair is an error at start; later, the last usable pair stays
//! in use.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{self, ServerConfig};

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
    #[error("{0}: cannot be read: {1}")]
    Unreadable(String, std::io::Error),
    #[error("{0}: contains no certificate; allowed: PEM, `-----BEGIN CERTIFICATE-----`, the leaf first")]
    NoCertificate(String),
    #[error("{0}: contains no private key; allowed: PEM, `-----BEGIN PRIVATE KEY-----` (PKCS #8, PKCS #1 or SEC 1)")]
    NoKey(String),
    #[error("{0}: not PEM: {1}")]
    NotPem(String, pem::Error),
    #[error("{key} is not the key of {certificate}, or of an unknown kind: {why}")]
    NoPair { certificate: String, key: String, why: rustls::Error },
}

impl TlsError {
    /// True if the key is wrong, not the certificate.
    #[must_use]
    pub fn concerns_key(&self, files: &TlsFiles) -> bool {
        let file = match self {
            TlsError::Unreadable(file, _) | TlsError::NotPem(file, _) => file,
            TlsError::NoCertificate(_) => return false,
            TlsError::NoKey(_) | TlsError::NoPair { .. } => return true,
        };
        *file == files.key.display().to_string()
    }
}

/// A certificate that is read again for each connection, so that a renewed one is used without a restart.
pub struct Tls {
    files: TlsFiles,
    last: Mutex<Arc<ServerConfig>>,
}

impl Tls {
    /// # Errors
    /// When the files are not a certificate and its key.
    pub fn new(files: TlsFiles) -> Result<Tls, TlsError> {
        let last = Mutex::new(Arc::new(read(&files)?));
        Ok(Tls { files, last })
    }

    /// Returns an acceptor with the certificate as it is on disk now; with the last valid one if that one is wrong.
    pub fn acceptor(&self) -> TlsAcceptor {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        match read(&self.files) {
            Ok(config) => *last = Arc::new(config),
            Err(error) => tracing::warn!("certificate for KEDA not reloaded, the previous one stays in use: {error}"),
        }
        last.clone().into()
    }
}

/// # Errors
/// When the files are not a certificate and its key.
pub fn read(files: &TlsFiles) -> Result<ServerConfig, TlsError> {
    let (certificate, key) = (files.certificate.display().to_string(), files.key.display().to_string());
    let pem = contents(&files.certificate)?;
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<_, _>>()
        .map_err(|error| TlsError::NotPem(certificate.clone(), error))?;
    if chain.is_empty() {
        return Err(TlsError::NoCertificate(certificate));
    }
    let pem = contents(&files.key)?;
    let private = PrivateKeyDer::from_pem_slice(&pem).map_err(|error| {
        let is_absent = matches!(error, pem::Error::NoItemsFound);
        if is_absent { TlsError::NoKey(key.clone()) } else { TlsError::NotPem(key.clone(), error) }
    })?;
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, private));
    let mut config = config.map_err(|why| TlsError::NoPair { certificate, key, why })?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

fn contents(file: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(file).map_err(|error| TlsError::Unreadable(file.display().to_string(), error))
}
