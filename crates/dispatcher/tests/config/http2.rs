//! `[http2]`: what is read, and the messages about wrong settings.

use super::{PROCESSES, config, problems};
use std::time::Duration;

#[test]
fn every_setting_is_read() {
    let read = config(&format!(
        "[http2]\nover_tls = false\nlisten = ['127.0.0.1:8082', '[::1]:8082']\nwebsockets = false\nmax_streams = 7\n\
         window_bytes = 100_000\nping_seconds = '1m'\n{PROCESSES}"
    ));
    let http2 = &read.http2;
    assert_eq!(
        http2.listen,
        ["127.0.0.1:8082", "[::1]:8082"].map(|at| at.parse::<std::net::SocketAddr>().unwrap().into())
    );
    assert_eq!((http2.over_tls, http2.websockets, http2.streams, http2.window), (false, false, 7, 100_000));
    assert_eq!(http2.ping, Some(Duration::from_secs(60)));
    assert_eq!(read.listen.len(), 1, "the other listener stays");
    let usual = config(PROCESSES).http2;
    assert!(usual.over_tls && usual.websockets && usual.listen.is_empty());
    assert_eq!(config(&format!("[http2]\nping_seconds = 'off'\n{PROCESSES}")).http2.ping, None);
}

#[test]
fn an_address_has_one_listener_and_numbers_have_a_range() {
    let wrong = |http2: &str| problems(&format!("listen = '0.0.0.0:80'\n[http2]\n{http2}\n{PROCESSES}"));
    assert_eq!(
        wrong("listen = '0.0.0.0:80'"),
        ["file:3: key `http2.listen`: 0.0.0.0:80 is already used by `listen`; allowed: another address"]
    );
    assert_eq!(
        wrong("listen = '127.0.0.1:9090'"),
        ["file:3: key `http2.listen`: 127.0.0.1:9090 is already used by [admin]; allowed: another address"]
    );
    assert_eq!(wrong("listen = []"), ["file:3: key `http2.listen`: the list is empty; allowed: at least one address"]);
    assert_eq!(
        wrong("listen = '0.0.0.0:82'\n[keda]\nlisten = '0.0.0.0:82'"),
        ["file:5: key `keda.listen`: 0.0.0.0:82 is already used by [http2]; allowed: another address"]
    );
    for (text, what) in [
        ("max_streams = 0", "http2.max_streams"),
        ("window_bytes = 1000", "http2.window_bytes"),
        ("ping_seconds = 0.5", "http2.ping_seconds"),
        ("websockets = 1", "http2.websockets"),
        ("streams = 1", "http2.streams"),
    ] {
        let problems = wrong(text);
        assert!(problems.len() == 1 && problems[0].contains(&format!("key `{what}`")), "{problems:?}");
    }
}
