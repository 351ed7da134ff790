//! `[tls]`: what is read, and the messages about wrong files and settings.

use super::PROCESSES;
use crate::tls::issue;
use slotkeeper::config::{Config, TlsVersion, doubts, parse};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

fn read(folder: &Path, tls: &str) -> Result<Config, Vec<String>> {
    let name = folder.display().to_string();
    let plain = |problem: String| problem.replace(&format!("{name}/"), "");
    let text = format!("{tls}\n{PROCESSES}");
    parse(&text, "file", folder).map_err(|error| error.problems.into_iter().map(plain).collect())
}

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, host) in [("tls", "play.example"), ("other", "other.example"), ("bare", "192.0.2.1")] {
        issue(folder.path(), name, &[host]);
    }
    crate::tls::issue_until(folder.path(), "expired", &["play.example"], 2020);
    std::fs::write(folder.path().join("empty"), "").unwrap();
    folder
}

const GOOD: &str = "[[tls.certificates]]\ncert_file = 'tls.crt'\nkey_file = 'tls.key'";

#[test]
fn every_setting_is_read() {
    let folder = folder();
    let tls = format!(
        "[tls]\nlisten = ['0.0.0.0:443', '[::]:443']\nredirect_listen = '0.0.0.0:80'\nredirect_port = 443\nmin_version = '1.3'\n\
         handshake_seconds = 2\nhsts_seconds = '365d'\nhsts_subdomains = true\n{GOOD}"
    );
    let config = read(folder.path(), &tls).unwrap();
    assert!(config.listen.is_empty(), "without a `listen` of its own, the file has no listener without TLS");
    let tls = &config.tls;
    assert_eq!(tls.listen, ["0.0.0.0:443", "[::]:443"].map(|at| at.parse::<SocketAddr>().unwrap().into()));
    assert_eq!((tls.redirect.len(), tls.redirect_port, tls.least_version), (1, Some(443), TlsVersion::V1_3));
    assert_eq!(tls.handshake, Duration::from_secs(2));
    assert_eq!((tls.hsts, tls.hsts_subdomains), (Some(Duration::from_secs(365 * 86_400)), true));
    assert_eq!(tls.certificates[0].certificate, folder.path().join("tls.crt"));

    let both =
        read(folder.path(), &format!("listen = '127.0.0.1:8080'\n[tls]\nlisten = '0.0.0.0:443'\n{GOOD}")).unwrap();
    assert_eq!((both.listen.len(), both.tls.hsts, both.tls.least_version), (1, None, TlsVersion::V1_2));
}

#[test]
fn every_problem_is_reported_with_its_file_and_line() {
    let folder = folder();
    let certificate = |cert: &str, key: &str| {
        format!("[tls]\nlisten = '0.0.0.0:443'\n[[tls.certificates]]\ncert_file = '{cert}'\nkey_file = '{key}'\n")
    };
    let cases: [(String, &[&str]); 14] = [
        (
            "[tls]".into(),
            &[
                "file:1: key `tls.certificates`: missing; allowed: at least one table [[tls.certificates]] with cert_file and key_file",
                "file:1: key `tls.listen`: missing; allowed: IP:PORT, such as \"0.0.0.0:443\", or a list",
            ],
        ),
        (
            format!(
                "listen = '0.0.0.0:443'\n[tls]\nlisten = '0.0.0.0:443'\nredirect_listen = '127.0.0.1:9090'\n{GOOD}"
            ),
            &[
                "file:3: key `tls.listen`: 0.0.0.0:443 is already used by `listen`; allowed: another address",
                "file:4: key `tls.redirect_listen`: 127.0.0.1:9090 is already used by [admin]; allowed: another address",
            ],
        ),
        (
            format!("[tls]\nlisten = '0.0.0.0:443'\nredirect_listen = ['0.0.0.0:443', 'here']\n{GOOD}"),
            &[
                "file:3: key `tls.redirect_listen[0]`: 0.0.0.0:443 is already used by `tls.listen`; allowed: another address",
                "file:3: key `tls.redirect_listen[1]`: \"here\" is not a place to listen; allowed: IP:PORT, such as 0.0.0.0:8080 or [::]:8080, unix:PATH, or systemd:NAME",
            ],
        ),
        (
            format!(
                "[tls]\nlisten = '0.0.0.0:443'\nredirect_port = 443\nhsts_subdomains = true\nmin_version = '1.1'\n{GOOD}"
            ),
            &[
                "file:3: key `tls.redirect_port`: without `redirect_listen`, nothing is redirected; allowed: both",
                "file:4: key `tls.hsts_subdomains`: without `hsts_seconds`, it has no use; allowed: both",
                "file:5: key `tls.min_version`: \"1.1\" is not known; allowed: \"1.2\", \"1.3\"",
            ],
        ),
        (
            "[tls]\nlisten = '0.0.0.0:443'\ncertificates = []".into(),
            &["file:3: key `tls.certificates`: the list is empty; allowed: at least one certificate"],
        ),
        (
            "[tls]\nlisten = '0.0.0.0:443'\n[[tls.certificates]]\ncert_file = 'tls.crt'".into(),
            &[
                "file:3: key `tls.certificates[0].key_file`: missing; allowed: a path, relative to this file or absolute",
            ],
        ),
        (
            certificate("none.crt", "tls.key"),
            &[
                "file:4: key `tls.certificates[0].cert_file`: none.crt: cannot be read: No such file or directory (os error 2)",
            ],
        ),
        (
            certificate("tls.crt", "none.key"),
            &[
                "file:5: key `tls.certificates[0].key_file`: none.key: cannot be read: No such file or directory (os error 2)",
            ],
        ),
        (
            certificate("empty", "tls.key"),
            &[
                "file:4: key `tls.certificates[0].cert_file`: empty: contains no certificate; allowed: PEM, `-----BEGIN CERTIFICATE-----`, the leaf first",
            ],
        ),
        (
            certificate("tls.crt", "tls.crt"),
            &[
                "file:5: key `tls.certificates[0].key_file`: tls.crt: contains no private key; allowed: PEM, `-----BEGIN PRIVATE KEY-----` (PKCS #8, PKCS #1 or SEC 1, without a password)",
            ],
        ),
        (
            certificate("tls.crt", "other.key"),
            &[
                "file:5: key `tls.certificates[0].key_file`: other.key is not the key of tls.crt, or of an unknown kind: keys may not be consistent: KeyMismatch",
            ],
        ),
        (
            certificate("expired.crt", "expired.key"),
            &["file:4: key `tls.certificates[0].cert_file`: expired.crt: has expired at 2020-01-01T00:00:00Z"],
        ),
        (
            format!("{}{GOOD}", certificate("tls.crt", "tls.key")),
            &["file:7: key `tls.certificates[1].cert_file`: this certificate is in the list twice; allowed: once"],
        ),
        (
            format!(
                "{}[[tls.certificates]]\ncert_file = 'bare.crt'\nkey_file = 'bare.key'",
                certificate("tls.crt", "tls.key")
            ),
            &[
                "file:7: key `tls.certificates[1].cert_file`: bare.crt: contains no DNS name, so no client is served this certificate; allowed: as the first of the list, which is the default",
            ],
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(
            read(folder.path(), &text).map(|_| ()),
            Err(expected.iter().map(|&line| line.to_owned()).collect()),
            "{text}"
        );
    }
    assert!(read(folder.path(), &certificate("bare.crt", "bare.key")).is_ok(), "as the default, it needs no name");
}

#[test]
fn problems_with_client_certificates_and_ticket_keys_name_the_file() {
    let folder = folder();
    std::fs::write(folder.path().join("tickets"), format!("{}\nshort\n", "1".repeat(64))).unwrap();
    std::fs::write(folder.path().join("garbage"), "-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n").unwrap();
    std::fs::write(folder.path().join("broken"), "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
        .unwrap();
    let cases: [(&str, &[&str]); 9] = [
        (
            "client_certificates = 'optional'",
            &[
                "file:1: key `tls.client_ca_files`: missing; allowed: at least one path of a file with certificates of authorities",
            ],
        ),
        (
            "client_ca_files = 'tls.crt'\nclient_crl_files = []",
            &[
                "file:3: key `tls.client_ca_files`: without `client_certificates = \"optional\"` or `\"required\"`, it has no use; allowed: both",
                "file:4: key `tls.client_crl_files`: the list is empty; allowed: at least one path",
            ],
        ),
        (
            "client_certificates = 'on'",
            &[
                "file:3: key `tls.client_certificates`: \"on\" is not known; allowed: \"off\", \"optional\", \"required\"",
            ],
        ),
        (
            "client_certificates = 'required'\nclient_ca_files = ['tls.crt', 'none']",
            &["file:4: key `tls.client_ca_files`: none: cannot be read: No such file or directory (os error 2)"],
        ),
        (
            "client_certificates = 'required'\nclient_ca_files = 'tls.key'",
            &[
                "file:4: key `tls.client_ca_files`: tls.key: contains no certificate of an authority that can be used: there is none; allowed: PEM, `-----BEGIN CERTIFICATE-----`",
            ],
        ),
        (
            "client_certificates = 'required'\nclient_ca_files = 'broken'",
            &[
                "file:4: key `tls.client_ca_files`: broken: contains no certificate of an authority that can be used: invalid peer certificate: BadEncoding; allowed: PEM, `-----BEGIN CERTIFICATE-----`",
            ],
        ),
        (
            "client_certificates = 'required'\nclient_ca_files = 'tls.crt'\nclient_crl_files = 'garbage'",
            &[
                "file:5: key `tls.client_crl_files`: garbage: contains no list of revoked certificates that can be used: provided CRL could not be parsed: Other(OtherError(TrailingData(CertRevocationList))); allowed: PEM, `-----BEGIN X509 CRL-----`",
            ],
        ),
        (
            "ticket_keys_file = 'tickets'",
            &[
                "file:3: key `tls.ticket_keys_file`: tickets: not the keys of session tickets: line 2 is neither base64 nor hex; allowed: base64 or hex of at least 32 random bytes, one key per line",
            ],
        ),
        (
            "client_certificates = 'required'\nclient_ca_files = 'tls.crt'\nticket_keys_file = 'none'",
            &[
                "file:5: key `tls.ticket_keys_file`: none: cannot be read: No such file or directory (os error 2)",
                "file:5: key `tls.ticket_keys_file`: with `client_certificates`, sessions are not resumed; allowed: one of the two",
            ],
        ),
    ];
    for (text, expected) in cases {
        let text = format!("[tls]\nlisten = '0.0.0.0:443'\n{text}\n{GOOD}");
        let expected: Vec<String> = expected.iter().map(|&line| line.to_owned()).collect();
        assert_eq!(read(folder.path(), &text).map(|_| ()), Err(expected), "{text}");
    }
}

#[test]
fn a_private_key_that_others_can_read_is_a_warning() {
    let folder = folder();
    let key = folder.path().join("tls.key");
    let warnings = |mode| {
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(mode)).unwrap();
        let config = read(folder.path(), &format!("[tls]\nlisten = '0.0.0.0:443'\n{GOOD}")).unwrap();
        doubts(&config).into_iter().filter(|line| line.contains("key_file")).collect::<Vec<_>>()
    };
    assert_eq!(warnings(0o600), Vec::<String>::new());
    let warned = warnings(0o644);
    assert_eq!(warned.len(), 1, "{warned:?}");
    assert!(warned[0].contains("can be read by every user (mode 0644); wanted: 0600 or 0640"), "{warned:?}");
}
