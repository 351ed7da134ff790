//! Which certificate authorities are trusted for a Redis with TLS.

use crate::config::redis::Trust;
use std::path::Path;
use std::sync::Arc;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::{self, ClientConfig, RootCertStore};

/// Why the certificate of a Redis could not be verified.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrustError {
    /// The file, and the error.
    #[error("{0}: cannot be read")]
    Unreadable(String, #[source] std::io::Error),
    /// The file, and the error.
    #[error("{0}: not PEM: {1}")]
    NotPem(String, pem::Error),
    /// The file, and the error.
    #[error("{0}: contains an invalid certificate: {1}")]
    NoCertificate(String, rustls::Error),
    /// The file.
    #[error("{0}: contains no certificate; allowed: PEM, `-----BEGIN CERTIFICATE-----`")]
    Empty(String),
    /// The places that were searched, and why each gave none.
    #[error("this system knows no certificate authorities ({0}); name a file with the one of your Redis")]
    NoCertificates(String),
    /// The TLS library cannot be set up.
    #[error("TLS cannot be used")]
    Tls(#[source] rustls::Error),
}

pub(super) fn connector(trust: &Trust) -> Result<TlsConnector, TrustError> {
    let roots = match trust {
        Trust::System => system()?,
        Trust::File(path) => file(path)?,
    };
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(TrustError::Tls)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config).into())
}

fn system() -> Result<RootCertStore, TrustError> {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let errors: Vec<String> = found.errors.iter().map(ToString::to_string).collect();
        return Err(TrustError::NoCertificates(errors.join(", ")));
    }
    Ok(roots)
}

fn file(path: &Path) -> Result<RootCertStore, TrustError> {
    let name = path.display().to_string();
    let pem = std::fs::read(path).map_err(|error| TrustError::Unreadable(name.clone(), error))?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|error| TrustError::NotPem(name.clone(), error))?;
        roots.add(certificate).map_err(|error| TrustError::NoCertificate(name.clone(), error))?;
    }
    if roots.is_empty() {
        return Err(TrustError::Empty(name));
    }
    Ok(roots)
}
