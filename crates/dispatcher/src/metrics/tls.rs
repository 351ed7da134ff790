//! Metrics of TLS: handshakes, and the certificates in use.

use super::{counters, register};
use crate::io::tls::{Handshakes, Loaded};
use prometheus::{IntCounter, IntCounterVec, IntGaugeVec, Opts, Registry};

pub struct TlsMetrics {
    handshakes: IntCounterVec,
    clients: IntCounterVec,
    reloads: IntCounterVec,
    expires: IntGaugeVec,
    /// Requests without TLS that were redirected to https.
    pub redirects: IntCounter,
}

impl TlsMetrics {
    pub(super) fn new(registry: &Registry) -> Result<TlsMetrics, prometheus::Error> {
        Ok(TlsMetrics {
            handshakes: counters(
                registry,
                "slotkeeper_tls_handshakes_total",
                "TLS handshakes by listener (visitors, keda) and result: full, resumed, timeout, closed (by the client or the network), rejected (by the client, for example the certificate), refused (no TLS, or no common version or protocol, or a client certificate that is not accepted).",
                &["listener", "result"],
            )?,
            clients: counters(
                registry,
                "slotkeeper_tls_client_certificates_total",
                "TLS handshakes in which the client was asked for a certificate, by listener and result: verified, none (and none is required), refused (not accepted, or none although one is required).",
                &["listener", "result"],
            )?,
            reloads: counters(
                registry,
                "slotkeeper_tls_reloads_total",
                "Changed files (certificates, lists of client certificates, ticket keys) by listener and outcome: loaded, refused (the previous ones stay in use).",
                &["listener", "outcome"],
            )?,
            expires: register(
                registry,
                IntGaugeVec::new(
                    Opts::new(
                        "slotkeeper_tls_certificate_expires_seconds",
                        "End of the validity of each certificate in use, in seconds since 1970, by listener and file.",
                    ),
                    &["listener", "file"],
                )?,
            )?,
            redirects: register(
                registry,
                IntCounter::new(
                    "slotkeeper_tls_redirects_total",
                    "Requests without TLS that were redirected to https.",
                )?,
            )?,
        })
    }

    /// The counters of a listener, which exist from then on.
    #[must_use]
    pub fn handshakes(&self, listener: &'static str) -> Handshakes {
        for outcome in ["loaded", "refused"] {
            self.reloads.with_label_values(&[listener, outcome]);
        }
        Handshakes::new(
            |result| self.handshakes.with_label_values(&[listener, result]),
            |result| self.clients.with_label_values(&[listener, result]),
        )
    }

    pub fn reloaded(&self, listener: &str, is_loaded: bool) {
        self.reloads.with_label_values(&[listener, if is_loaded { "loaded" } else { "refused" }]).inc();
    }

    /// The certificates that listeners use now.
    pub fn in_use<'a>(&self, certificates: impl Iterator<Item = (&'static str, Loaded)> + 'a) {
        self.expires.reset();
        for (listener, loaded) in certificates {
            self.expires.with_label_values(&[listener, &*loaded.file.to_string_lossy()]).set(loaded.expires.0);
        }
    }
}
