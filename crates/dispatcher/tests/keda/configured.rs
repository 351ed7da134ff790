//! The table `[keda]` of the configuration.

use slotkeeper::config::{Trigger, describe, parse};
use std::path::Path;

const PODS: &str = "[pools.a.kubernetes]\nstateful_set = 'a'\nport = 3000\n";

fn problems(text: &str) -> Vec<String> {
    match parse(text, "file", Path::new("/etc/slotkeeper")) {
        Ok(_) => panic!("nothing is wrong with:\n{text}"),
        Err(error) => error.problems,
    }
}

#[test]
fn a_pool_scaled_by_keda_push_needs_the_keda_table() {
    let pool = format!("[pools.a]\nmax_pods = 5\nscaling = 'keda-push'\n{PODS}");
    let said = problems(&pool);
    let expected = "file:3: key `pools.a.scaling`: KEDA has no listener to call; add a table [keda] with listen = \"0.0.0.0:9091\"";
    assert_eq!(said, [expected]);
    let config = parse(&format!("[keda]\nlisten = '0.0.0.0:9091'\n{pool}"), "file", Path::new("/")).unwrap();
    assert_eq!(config.keda.listen, Some("0.0.0.0:9091".parse().unwrap()));
    assert_eq!((config.pools[0].trigger, config.keda.tls.clone()), (Trigger::Push, None));
    let told = describe(&config);
    assert!(told.contains("keda-push") && !told.contains("WARNING"), "{told}");

    let scraped = parse(&pool.replace("keda-push", "prometheus"), "file", Path::new("/")).unwrap();
    assert_eq!((scraped.pools[0].trigger, scraped.keda.listen), (Trigger::Prometheus, None));
}

#[test]
fn a_keda_listener_without_a_pool_for_it_causes_a_warning() {
    let config = parse(&format!("[keda]\nlisten = '0.0.0.0:9091'\n{PODS}"), "file", Path::new("/")).unwrap();
    assert!(describe(&config).contains("WARNING: unused, as no pool has scaling = \"keda-push\""));
}

#[test]
fn wrong_keda_settings_are_reported() {
    let cases: [(&str, &[&str]); 6] = [
        ("", &["file:1: key `keda.listen`: missing; allowed: IP:PORT, such as \"0.0.0.0:9091\""]),
        ("listen = '0.0.0.0'", &["file:2: key `keda.listen`: "]),
        (
            "listen = '127.0.0.1:9090'",
            &["file:2: key `keda.listen`: 127.0.0.1:9090 is already used by [admin]; allowed: another address"],
        ),
        (
            "listen = '0.0.0.0:8080'",
            &[
                "file:2: key `keda.listen`: 0.0.0.0:8080 is already used by the visitors' `listen`; allowed: another address",
            ],
        ),
        (
            "listen = '0.0.0.0:9091'\ntls_cert_file = 'tls.crt'",
            &["file:1: key `keda.tls_key_file`: missing; `tls_cert_file` is set; allowed: both or none"],
        ),
        (
            "listen = '0.0.0.0:9091'\ntls_cert_file = 'absent.crt'\ntls_key_file = 'absent.key'",
            &["file:3: key `keda.tls_cert_file`: /etc/slotkeeper/absent.crt: cannot be read: No such file"],
        ),
    ];
    for (lines, expected) in cases {
        let said = problems(&format!("[keda]\n{lines}\n{PODS}"));
        let fits = said.len() == expected.len() && said.iter().zip(expected).all(|(s, e)| s.starts_with(e));
        assert!(fits, "{lines}\n  expected {expected:#?}\n  but found {said:#?}");
    }
}
