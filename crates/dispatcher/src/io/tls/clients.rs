//! Certificates of clients: which ones a listener accepts, and the subject that they name.

use super::{TlsError, contents};
use http::HeaderValue;
use sha2::{Digest, Sha256};
use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use tokio_rustls::rustls::RootCertStore;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, CertificateRevocationListDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::server::danger::ClientCertVerifier;
use x509_parser::asn1_rs::ToDer;
use x509_parser::x509::{AttributeTypeAndValue, X509Name};

/// Longer subjects are not passed on.
const LONGEST_SUBJECT: usize = 2048;

/// Whether a listener asks clients for a certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ask {
    /// It does not ask.
    #[default]
    Off,
    /// A client without a certificate is accepted; one with a wrong certificate is not.
    Optional,
    /// A client without a certificate is refused.
    Required,
}

/// Which client certificates a listener accepts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Clients {
    /// Whether the listener asks for one.
    pub ask: Ask,
    /// PEM: certificates of the authorities that issue them.
    pub authorities: Vec<PathBuf>,
    /// PEM: lists of revoked certificates.
    pub revoked: Vec<PathBuf>,
}

/// The contents of the files of [`Clients`].
pub(super) struct ClientFiles {
    ask: Ask,
    authorities: Vec<(String, Result<Vec<u8>, TlsError>)>,
    revoked: Vec<(String, Result<Vec<u8>, TlsError>)>,
}

impl ClientFiles {
    pub(super) fn of(clients: &Clients) -> ClientFiles {
        let read = |files: &[PathBuf]| files.iter().map(|file| (file.display().to_string(), contents(file))).collect();
        ClientFiles { ask: clients.ask, authorities: read(&clients.authorities), revoked: read(&clients.revoked) }
    }

    pub(super) fn contents(&self) -> impl Iterator<Item = &Result<Vec<u8>, TlsError>> {
        self.authorities.iter().chain(&self.revoked).map(|(_, contents)| contents)
    }

    /// Verifies clients' certificates. `None`: clients are not asked for one.
    pub(super) fn verifier(self) -> Result<Option<Arc<dyn ClientCertVerifier>>, TlsError> {
        if self.ask == Ask::Off {
            return Ok(None);
        }
        let mut roots = RootCertStore::empty();
        for (file, contents) in self.authorities {
            let mut count = 0;
            for certificate in CertificateDer::pem_slice_iter(&contents?) {
                let certificate = certificate.map_err(|error| TlsError::NotPem(file.clone(), error))?;
                roots.add(certificate).map_err(|why| TlsError::NoAuthority(file.clone(), why.to_string()))?;
                count += 1;
            }
            if count == 0 {
                return Err(TlsError::NoAuthority(file, "there is none".to_owned()));
            }
        }
        let roots = Arc::new(roots);
        let mut lists = Vec::new();
        for (file, contents) in self.revoked {
            let own = CertificateRevocationListDer::pem_slice_iter(&contents?)
                .collect::<Result<Vec<_>, _>>()
                .map_err(|error| TlsError::NotPem(file.clone(), error))?;
            if own.is_empty() {
                return Err(TlsError::NoRevocations(file, "there is none".to_owned()));
            }
            // The error of all lists together would not name the file.
            builder(roots.clone(), own.clone())
                .build()
                .map_err(|why| TlsError::NoRevocations(file, why.to_string()))?;
            lists.extend(own);
        }
        let builder = builder(roots, lists);
        let builder = if self.ask == Ask::Optional { builder.allow_unauthenticated() } else { builder };
        builder.build().map(Some).map_err(|why| TlsError::NoVerifier(why.to_string()))
    }
}

/// With lists, a certificate is refused if one of the authorities above it has none, or is itself revoked.
fn builder(
    roots: Arc<RootCertStore>,
    lists: Vec<CertificateRevocationListDer<'static>>,
) -> tokio_rustls::rustls::server::ClientCertVerifierBuilder {
    WebPkiClientVerifier::builder_with_provider(roots, Arc::new(ring::default_provider())).with_crls(lists)
}

/// The certificate by which the client of a connection has identified itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificate {
    /// Its subject in the form of RFC 4514, in ASCII; `None` if it is empty or too long.
    pub subject: Option<HeaderValue>,
    /// Its SHA-256 in hex.
    pub fingerprint: HeaderValue,
}

impl ClientCertificate {
    /// The facts of a certificate that has been verified.
    pub(crate) fn of(leaf: &CertificateDer<'_>) -> Option<ClientCertificate> {
        let (_, parsed) = x509_parser::parse_x509_certificate(leaf).ok()?;
        let subject = subject(parsed.subject());
        let usable = !subject.is_empty() && subject.len() <= LONGEST_SUBJECT;
        let mut fingerprint = String::new();
        for byte in Sha256::digest(leaf) {
            let _ = write!(fingerprint, "{byte:02x}");
        }
        Some(ClientCertificate {
            subject: usable.then(|| HeaderValue::from_str(&subject).ok()).flatten(),
            fingerprint: HeaderValue::from_str(&fingerprint).ok()?,
        })
    }
}

/// RFC 4514 §2: the most specific part first, with everything escaped that has a meaning of its own or is not printable ASCII.
fn subject(name: &X509Name<'_>) -> String {
    let parts: Vec<_> = name.iter_rdn().collect();
    let part = |part: &&x509_parser::x509::RelativeDistinguishedName<'_>| {
        part.iter().map(attribute).collect::<Vec<_>>().join("+")
    };
    parts.iter().rev().map(part).collect::<Vec<_>>().join(",")
}

fn attribute(attribute: &AttributeTypeAndValue<'_>) -> String {
    let oid = attribute.attr_type().to_id_string();
    // RFC 4514 §3; other types are written as numbers, with their value in hex.
    let known = match oid.as_str() {
        "2.5.4.3" => Some("CN"),
        "2.5.4.6" => Some("C"),
        "2.5.4.7" => Some("L"),
        "2.5.4.8" => Some("ST"),
        "2.5.4.9" => Some("STREET"),
        "2.5.4.10" => Some("O"),
        "2.5.4.11" => Some("OU"),
        "0.9.2342.19200300.100.1.1" => Some("UID"),
        "0.9.2342.19200300.100.1.25" => Some("DC"),
        _ => None,
    };
    match (known, attribute.as_str()) {
        (Some(known), Ok(value)) => format!("{known}={}", escaped(value)),
        (known, _) => {
            let mut text = format!("{}=#", known.unwrap_or(&oid));
            for byte in attribute.attr_value().to_der_vec().unwrap_or_default() {
                let _ = write!(text, "{byte:02x}");
            }
            text
        }
    }
}

/// RFC 4514 §2.4
fn escaped(value: &str) -> String {
    let mut text = String::new();
    let last = value.len().saturating_sub(1);
    for (at, byte) in value.bytes().enumerate() {
        match byte {
            b'"' | b'+' | b',' | b';' | b'<' | b'>' | b'\\' | b'=' => {
                text.push('\\');
                text.push(byte as char);
            }
            b' ' if at == 0 || at == last => text.push_str("\\ "),
            b'#' if at == 0 => text.push_str("\\#"),
            b' '..=b'~' => text.push(byte as char),
            _ => {
                let _ = write!(text, "\\{byte:02X}");
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, CustomExtension, DnType, DnValue, KeyPair};

    fn of(names: &[(DnType, DnValue)]) -> ClientCertificate {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.custom_extensions = Vec::<CustomExtension>::new();
        for (kind, value) in names {
            params.distinguished_name.push(kind.clone(), value.clone());
        }
        let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        ClientCertificate::of(certificate.der()).unwrap()
    }

    #[test]
    fn a_subject_cannot_imitate_another_one() {
        let text = |text: &str| DnValue::Utf8String(text.to_owned());
        let subject = |names: &[(DnType, DnValue)]| of(names).subject.map(|value| value.to_str().unwrap().to_owned());
        let two = [(DnType::OrganizationName, text("Arcade")), (DnType::CommonName, text("Ana"))];
        assert_eq!(subject(&two).unwrap(), "CN=Ana,O=Arcade");
        for (value, expected) in [
            ("Ana,O=Arcade", "CN=Ana\\,O\\=Arcade"),
            ("a+b\"c\\<>;", "CN=a\\+b\\\"c\\\\\\<\\>\\;"),
            (" #x ", "CN=\\ #x\\ "),
            ("#x", "CN=\\#x"),
            ("\u{e9}\r\n\0", "CN=\\C3\\A9\\0D\\0A\\00"),
        ] {
            assert_eq!(subject(&[(DnType::CommonName, text(value))]).unwrap(), expected);
        }
        let own = subject(&[(DnType::CustomDnType(vec![1, 2, 3]), text("x"))]);
        assert_eq!(own.unwrap(), "1.2.3=#0c0178");
        assert_eq!(subject(&[]), None);
        assert_eq!(subject(&[(DnType::CommonName, text(&"x".repeat(3000)))]), None);
        assert_eq!(of(&two).fingerprint.len(), 64);
    }
}
