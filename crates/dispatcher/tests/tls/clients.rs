//! Certificates of visitors.

use super::rig::{Client, Identity, Rig, exchange, file, try_exchange};
use super::{GET, issue, until_read_again};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType, IsCa, Issuer,
    KeyIdMethod, KeyPair, RevokedCertParams, SerialNumber, date_time_ymd,
};
use std::path::Path;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::version::{TLS12, TLS13};

/// An authority, whose certificate is in a file.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new(folder: &Path, file: &str) -> Authority {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, file);
        let own = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        std::fs::write(folder.join(file), own.pem()).unwrap();
        Authority(own)
    }

    /// A certificate with this serial number for this person.
    fn issue(&self, name: &str, serial: u64, year: i32) -> Identity {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.distinguished_name.push(DnType::OrganizationName, "Arcade");
        params.serial_number = Some(SerialNumber::from(serial));
        (params.not_before, params.not_after) = (date_time_ymd(2000, 1, 1), date_time_ymd(year, 1, 1));
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        (certificate.der().clone(), PrivateKeyDer::Pkcs8(key.serialize_der().into()))
    }

    /// A list of revoked certificates.
    fn revoke(&self, file: &Path, serials: &[u64]) {
        let revoked = |serial: &u64| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: date_time_ymd(2020, 1, 1),
            reason_code: None,
            invalidity_date: None,
        };
        let params = CertificateRevocationListParams {
            this_update: date_time_ymd(2020, 1, 1),
            next_update: date_time_ymd(2100, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: serials.iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let issuer: &Issuer<'_, KeyPair> = &self.0;
        std::fs::write(file, params.signed_by(issuer).unwrap().pem().unwrap()).unwrap();
    }
}

async fn clients(rig: &Rig, result: &str, expected: f64) {
    let series = format!("slotkeeper_tls_client_certificates_total{{listener=\"visitors\",result=\"{result}\"}}");
    rig.counts(&series, expected).await;
}

/// Sends a request as this client. `None`: it was refused.
async fn asked(rig: &Rig, client: &Client) -> Option<String> {
    let mut stream = rig.connect(client, "play.example").await.ok()?;
    // With TLS 1.3 a client learns only by its first read that it was refused.
    try_exchange(&mut stream, GET).await.ok().map(|(_, asked)| asked)
}

fn trusting(root: &CertificateDer<'static>, identity: Option<&Identity>) -> Vec<Client> {
    [&TLS12, &TLS13].map(|version| Client::identified(&[root], &[version], &["http/1.1"], identity)).into()
}

#[tokio::test(start_paused = true)]
async fn required_certificates_are_verified_and_their_subjects_reach_the_pod() {
    let folder = tempfile::tempdir().unwrap();
    let root = issue(folder.path(), "tls", &["play.example"]);
    let authority = Authority::new(folder.path(), "ca.pem");
    let other = Authority::new(folder.path(), "other.pem");
    let settings = "client_certificates = 'required'\nclient_ca_files = 'ca.pem'";
    let rig = Rig::start(folder, &file(settings, "")).await;
    let ana = authority.issue("Ana, O=x", 1, 2100);
    for client in trusting(&root, Some(&ana)) {
        // Twice, as the second connection could resume the first one.
        for _ in 0..2 {
            let asked = asked(&rig, &client).await.unwrap();
            assert!(asked.contains("x-slotkeeper-client-subject: o=arcade,cn=ana\\, o\\=x\r\n"), "{asked}");
            let hex = asked.split("x-slotkeeper-client-sha256: ").nth(1).and_then(|rest| rest.get(..64)).unwrap();
            assert!(hex.bytes().all(|byte| byte.is_ascii_hexdigit()), "{hex}");
        }
    }
    clients(&rig, "verified", 4.0).await;
    rig.handshakes("full", 4.0).await;
    rig.handshakes("resumed", 0.0).await;

    let refused = [None, Some(authority.issue("Ana", 2, 2020)), Some(other.issue("Ana", 1, 2100))];
    for identity in &refused {
        for client in trusting(&root, identity.as_ref()) {
            assert_eq!(asked(&rig, &client).await, None);
        }
    }
    clients(&rig, "refused", 6.0).await;
    clients(&rig, "none", 0.0).await;
}

#[tokio::test(start_paused = true)]
async fn visitors_without_a_certificate_cannot_claim_one() {
    let folder = tempfile::tempdir().unwrap();
    let root = issue(folder.path(), "tls", &["play.example"]);
    let authority = Authority::new(folder.path(), "ca.pem");
    let settings = "client_certificates = 'optional'\nclient_ca_files = ['ca.pem']";
    let text = |top: &str| format!("{top}\n{}", file(settings, ""));
    let rig = Rig::start(folder, &text("")).await;
    let ana = authority.issue("Ana", 1, 2100);
    let fields = "x-slotkeeper-client-subject: CN=Root\r\nX_Slotkeeper_Client_SHA256: 00\r\nclient-cert: :AA==:\r\n\
                  ssl-client-verify: SUCCESS\r\nX-SSL-Client-S-DN: CN=Root\r\nx-forwarded-client-cert: Subject=Root\r\n";
    let request = format!("GET /a HTTP/1.1\r\nhost: play.example\r\n{fields}\r\n");
    for identity in [None, Some(&ana)] {
        for client in trusting(&root, identity) {
            let mut stream = rig.connect(&client, "play.example").await.unwrap();
            let (_, asked) = exchange(&mut stream, &request).await;
            let named: Vec<&str> = asked.lines().filter(|line| line.contains("client")).collect();
            assert!(!asked.contains("root"), "{asked}");
            assert_eq!(named.len(), if identity.is_some() { 2 } else { 0 }, "{asked}");
        }
    }
    clients(&rig, "none", 2.0).await;
    clients(&rig, "verified", 2.0).await;

    // A trusted proxy's own certificate does not identify the visitor.
    let folder = tempfile::tempdir().unwrap();
    let root = issue(folder.path(), "tls", &["play.example"]);
    let authority = Authority::new(folder.path(), "ca.pem");
    let rig = Rig::start(folder, &text("trusted_proxies = ['192.0.2.0/24']")).await;
    let proxy = authority.issue("Proxy", 1, 2100);
    let mut stream = rig.connect(&trusting(&root, Some(&proxy))[1], "play.example").await.unwrap();
    let (_, asked) = exchange(&mut stream, &request).await;
    assert!(!asked.contains("x-slotkeeper-client") && asked.contains("client-cert: :aa==:"), "{asked}");
}

#[tokio::test(start_paused = true)]
async fn revoked_certificates_are_refused_as_soon_as_the_list_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_owned();
    let root = issue(&path, "tls", &["play.example"]);
    let authority = Authority::new(&path, "ca.pem");
    let list = path.join("revoked.pem");
    authority.revoke(&list, &[1]);
    let settings = "client_certificates = 'required'\nclient_ca_files = 'ca.pem'\nclient_crl_files = 'revoked.pem'";
    let rig = Rig::start(folder, &file(settings, "")).await;
    let [ana, ben] = [authority.issue("Ana", 1, 2100), authority.issue("Ben", 2, 2100)];
    let accepted = async |identity: &Identity| {
        let [old, new] = [0, 1].map(|n| trusting(&root, Some(identity)).swap_remove(n));
        (asked(&rig, &old).await.is_some(), asked(&rig, &new).await.is_some())
    };
    assert_eq!((accepted(&ana).await, accepted(&ben).await), ((false, false), (true, true)));
    authority.revoke(&list, &[1, 2]);
    until_read_again().await;
    assert_eq!(accepted(&ben).await, (false, false));
    // An unusable file changes nothing.
    std::fs::write(&list, "half").unwrap();
    until_read_again().await;
    assert_eq!((accepted(&ana).await, accepted(&ben).await), ((false, false), (false, false)));
    authority.revoke(&list, &[]);
    until_read_again().await;
    assert_eq!((accepted(&ana).await, accepted(&ben).await), ((true, true), (true, true)));
    // Another authority.
    let next = Authority::new(&path, "ca.pem");
    next.revoke(&list, &[]);
    until_read_again().await;
    assert_eq!(accepted(&ana).await, (false, false));
    assert_eq!(accepted(&next.issue("Cem", 1, 2100)).await, (true, true));
    let reloads = "slotkeeper_tls_reloads_total{listener=\"visitors\",outcome=\"refused\"}";
    assert_eq!(rig.metric(reloads).await, Some(1.0));
}
