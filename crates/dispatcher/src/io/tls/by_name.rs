//! Chooses the certificate for a handshake by the name that the client asks for (SNI, RFC 6066 §3).

use super::Certificate;
use std::collections::HashMap;
use std::sync::Arc;
use tokio_rustls::rustls::server::{ClientHello, ResolvesServerCert};
use tokio_rustls::rustls::sign::CertifiedKey;

/// Certificates for one name, in the order of the configuration: they may have keys of different kinds.
type Keys = Vec<Arc<CertifiedKey>>;

#[derive(Debug)]
pub(super) struct ByName {
    exact: HashMap<String, Keys>,
    /// By the name without its wildcard: `example.com` for `*.example.com`.
    wildcards: HashMap<String, Keys>,
    /// For clients that name no host, or one that no certificate has.
    default: Keys,
}

impl ByName {
    /// The first certificate is the default.
    pub(super) fn new(certificates: &[Certificate]) -> ByName {
        let mut all = ByName { exact: HashMap::new(), wildcards: HashMap::new(), default: Vec::new() };
        for certificate in certificates {
            for name in &certificate.names {
                let (table, name) = match name.strip_prefix("*.") {
                    Some(parent) => (&mut all.wildcards, parent),
                    None => (&mut all.exact, name.as_str()),
                };
                table.entry(name.to_owned()).or_default().push(certificate.key.clone());
            }
        }
        if let Some(first) = certificates.first() {
            let of_name = first.names.first().and_then(|name| match name.strip_prefix("*.") {
                Some(parent) => all.wildcards.get(parent),
                None => all.exact.get(name),
            });
            all.default = of_name.cloned().unwrap_or_else(|| vec![first.key.clone()]);
        }
        all
    }

    fn keys(&self, name: &str) -> Option<&Keys> {
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        // A wildcard stands for exactly one label (RFC 9525 §6.3).
        let by_wildcard = || self.wildcards.get(name.split_once('.')?.1);
        self.exact.get(&name).or_else(by_wildcard)
    }
}

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let keys = hello.server_name().and_then(|name| self.keys(name)).unwrap_or(&self.default);
        if keys.len() > 1 {
            let fits = |pair: &&Arc<CertifiedKey>| pair.key.choose_scheme(hello.signature_schemes()).is_some();
            if let Some(pair) = keys.iter().find(fits) {
                return Some(pair.clone());
            }
        }
        keys.first().cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::tls::Date;
    use rcgen::{CertifiedKey as Issued, generate_simple_self_signed};
    use tokio_rustls::rustls::crypto::ring;
    use tokio_rustls::rustls::pki_types::PrivateKeyDer;

    fn certificate(names: &[&str]) -> Certificate {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let Issued { cert, signing_key } = generate_simple_self_signed(names.clone()).unwrap();
        let key = PrivateKeyDer::Pkcs8(signing_key.serialize_der().into());
        let pair = CertifiedKey::from_der(vec![cert.der().clone()], key, &ring::default_provider()).unwrap();
        Certificate { key: Arc::new(pair), names, expires: Date(0) }
    }

    #[test]
    fn an_exact_name_comes_before_a_wildcard_and_a_wildcard_stands_for_one_label() {
        let all =
            [certificate(&["a.example"]), certificate(&["*.example", "b.example"]), certificate(&["x.y.example"])];
        let by_name = ByName::new(&all);
        let found = |name: &str| {
            let keys = by_name.keys(name)?;
            all.iter().position(|certificate| Arc::ptr_eq(&certificate.key, &keys[0]))
        };
        assert_eq!(found("a.example"), Some(0));
        assert_eq!(found("A.Example."), Some(0));
        assert_eq!(found("b.example"), Some(1));
        assert_eq!(found("c.example"), Some(1));
        assert_eq!(found("x.y.example"), Some(2));
        for unknown in ["example", "c.y.example", "a.example.org", "", ".", "localhost"] {
            assert_eq!(found(unknown), None, "{unknown}");
        }
        assert!(Arc::ptr_eq(&by_name.default[0], &all[0].key));
        assert!(ByName::new(&[]).default.is_empty());
    }
}
