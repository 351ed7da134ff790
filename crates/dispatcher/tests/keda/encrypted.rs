//! The scaler behind TLS.

use super::client::{Channel, trigger};
use super::rig::{MemoryJournal, Plan};
use crate::memory_net::MemoryNet;
use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use slotkeeper::config::TlsFiles;
use slotkeeper::io::tls::{Ask, Clients};
use slotkeeper::io::{Net, Socket};
use slotkeeper::ops::keda::messages::IsActiveResponse;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

const NAME: &str = "slotkeeper-keda.games.svc";

/// Writes a new self-signed certificate to these files.
fn issue(files: &TlsFiles) -> CertificateDer<'static> {
    let mut params = CertificateParams::new(vec![NAME.to_owned()]).unwrap();
    // The dispatchers of these tests live soon after 1970.
    params.not_before = date_time_ymd(1970, 1, 1);
    let key = KeyPair::generate().unwrap();
    let cert = params.self_signed(&key).unwrap();
    std::fs::write(&files.certificate, cert.pem()).unwrap();
    std::fs::write(&files.key, key.serialize_pem()).unwrap();
    cert.der().clone()
}

fn files(folder: &Path) -> TlsFiles {
    TlsFiles { certificate: folder.join("tls.crt"), key: folder.join("tls.key") }
}

/// Connects as KEDA does with `caCert`.
async fn trusting(net: &dyn Net, to: SocketAddr, root: &CertificateDer<'static>) -> std::io::Result<Channel> {
    identified(net, to, root, None).await
}

/// ... with `tlsClientCert` and `tlsClientKey`.
async fn identified(
    net: &dyn Net,
    to: SocketAddr,
    root: &CertificateDer<'static>,
    identity: Option<(CertificateDer<'static>, PrivateKeyDer<'static>)>,
) -> std::io::Result<Channel> {
    let mut roots = RootCertStore::empty();
    roots.add(root.clone()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let config = config.with_safe_default_protocol_versions().unwrap().with_root_certificates(roots);
    let mut config = match identity {
        Some((certificate, key)) => config.with_client_auth_cert(vec![certificate], key).unwrap(),
        None => config.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    let connector = TlsConnector::from(Arc::new(config));
    let stream = connector.connect(NAME.try_into().unwrap(), net.dial(to).await?).await?;
    Ok(Channel::over(Socket::Other(Box::new(stream))).await.unwrap())
}

#[tokio::test(start_paused = true)]
async fn keda_is_answered_over_tls_and_renewed_certificates_are_loaded() {
    let folder = tempfile::tempdir().unwrap();
    let files = files(folder.path());
    let root = issue(&files);
    let (journal, net) = (MemoryJournal::new(), Arc::new(MemoryNet::default()));
    let mut plan = Plan::new(net.clone(), &journal);
    plan.tls = Some(files.clone());
    let rig = plan.asleep().await;
    let ask = async |channel: Channel| {
        let answer: IsActiveResponse = channel.unary("IsActive", trigger(&[])).await.unwrap();
        assert!(!answer.result);
    };
    ask(trusting(&*net, rig.keda, &root).await.unwrap()).await;

    let mut plain = net.dial(rig.keda).await.unwrap();
    plain.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    let _ = plain.read_to_end(&mut answer).await;
    assert!(!answer.windows(4).any(|w| w == b"HTTP"), "{answer:?}");

    let renewed = issue(&files);
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert!(trusting(&*net, rig.keda, &root).await.is_err());
    ask(trusting(&*net, rig.keda, &renewed).await.unwrap()).await;
    std::fs::write(&files.key, "half written").unwrap();
    tokio::time::sleep(Duration::from_secs(6)).await;
    ask(trusting(&*net, rig.keda, &renewed).await.unwrap()).await;
}

#[tokio::test(start_paused = true)]
async fn keda_must_have_a_certificate_where_one_is_required() {
    let folder = tempfile::tempdir().unwrap();
    let files = files(folder.path());
    let root = issue(&files);
    let own = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec!["keda-operator".to_owned()]).unwrap().self_signed(&own).unwrap();
    let authorities = folder.path().join("keda.pem");
    std::fs::write(&authorities, certificate.pem()).unwrap();
    let (journal, net) = (MemoryJournal::new(), Arc::new(MemoryNet::default()));
    let mut plan = Plan::new(net.clone(), &journal);
    plan.tls = Some(files);
    plan.clients = Clients { ask: Ask::Required, authorities: vec![authorities], revoked: Vec::new() };
    let rig = plan.asleep().await;
    let identity = (certificate.der().clone(), PrivateKeyDer::Pkcs8(own.serialize_der().into()));
    let channel = identified(&*net, rig.keda, &root, Some(identity)).await.unwrap();
    let answer: IsActiveResponse = channel.unary("IsActive", trigger(&[])).await.unwrap();
    assert!(!answer.result);
    // With TLS 1.3 a client learns only by its first request that it was refused.
    if let Ok(channel) = trusting(&*net, rig.keda, &root).await {
        assert!(channel.unary::<_, IsActiveResponse>("IsActive", trigger(&[])).await.is_err());
    }
}

#[tokio::test(start_paused = true)]
async fn wrong_files_are_refused_at_start() {
    let folder = tempfile::tempdir().unwrap();
    let good = files(folder.path());
    issue(&good);
    let foreign = TlsFiles { certificate: folder.path().join("other.crt"), key: folder.path().join("other.key") };
    issue(&foreign);
    let file = |name: &str, text: &str| {
        std::fs::write(folder.path().join(name), text).unwrap();
        folder.path().join(name)
    };
    let absent = folder.path().join("absent");
    let empty = file("empty", "");
    let broken = file("broken", "-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n");
    let cases = [
        (absent.clone(), good.key.clone(), "absent: cannot be read: No such file"),
        (empty.clone(), good.key.clone(), "empty: contains no certificate"),
        (good.key.clone(), good.key.clone(), "tls.key: contains no certificate"),
        (broken, good.key.clone(), "broken: not PEM"),
        (good.certificate.clone(), absent, "absent: cannot be read: No such file"),
        (good.certificate.clone(), empty, "empty: contains no private key"),
        (good.certificate.clone(), good.certificate.clone(), "tls.crt: contains no private key"),
        (good.certificate.clone(), foreign.key, "other.key is not the key of"),
    ];
    for (certificate, key, expected) in cases {
        let (journal, net) = (MemoryJournal::new(), Arc::new(MemoryNet::default()));
        let mut plan = Plan::new(net, &journal);
        plan.tls = Some(TlsFiles { certificate, key });
        let Err(error) = plan.start().await else { panic!("it starts, although {expected}") };
        let said = format!("{error:#}");
        assert!(said.starts_with("[keda]: ") && said.contains(expected), "{said}");
    }
}
