//! Runs every file in `examples/`: only addresses and folders are replaced.

use slotkeeper_tests::dispatcher::binary;
use slotkeeper_tests::{Dispatcher, Pod, Visitor};
use std::path::{Path, PathBuf};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples")
}

/// Runs the example at free addresses, with its files in a folder of this test.
async fn run(name: &str, others: &[(&str, &str)]) -> Dispatcher {
    let mut text = std::fs::read_to_string(folder().join(name)).unwrap();
    let [console, gateway] = ["console", "gateway"].map(|w| binary(&format!("slotkeeper-{w}")).display().to_string());
    let usual = [
        ("\"127.0.0.1:8080\"", "\"127.0.0.1:0\""),
        ("\"[::1]:8080\"", "\"127.0.0.3:0\""),
        ("\"127.0.0.1:9090\"", "\"127.0.0.2:0\""),
        ("../target/release/slotkeeper-console", &console),
        ("../target/release/slotkeeper-gateway", &gateway),
        ("../target/examples", "data"),
        ("first_port = 19100", ""),
        ("first_port = 19200", ""),
    ];
    for (there, here) in usual.iter().chain(others) {
        text = text.replace(there, here);
    }
    if !text.contains("[admin]") {
        text.push_str("\n[admin]\nlisten = \"127.0.0.2:0\"\n");
    }
    for usual in [":8080\"", ":9090\"", "../", "19001", "19100"] {
        let left = text.lines().find(|l| !l.trim_start().starts_with('#') && l.contains(usual));
        assert_eq!(left, None, "this would not be the test's own");
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(name);
    std::fs::write(&file, text).unwrap();
    Dispatcher::serve(folder, &file, &[]).await
}

/// A visitor gets a console, and the dispatcher stops with success.
async fn a_console_is_given_out(mut dispatcher: Dispatcher, host: Option<&str>, base: &str) {
    let mut ana = Visitor::of(&dispatcher);
    ana.base = base.to_owned();
    if let Some(host) = host {
        ana.host = host.to_owned();
    }
    ana.wait_for_slot().await;
    let page = ana.page(&format!("{base}/")).await;
    assert_eq!((page.status(), page.text().contains("<canvas")), (200, true), "{}", page.text());
    drop(ana.socket(&format!("{base}/play")).await);
    assert_eq!(dispatcher.stop().await.code(), Some(0), "{}", dispatcher.log());
}

#[tokio::test]
async fn consoles() {
    a_console_is_given_out(run("consoles.toml", &[]).await, None, "").await;
}

#[tokio::test]
async fn remote_desktops() {
    let quick = [("\"--cold-start-seconds\", \"8\"", "\"--cold-start-seconds\", \"1\"")];
    a_console_is_given_out(run("remote-desktops.toml", &quick).await, None, "").await;
}

#[tokio::test]
async fn two_pools_by_host() {
    a_console_is_given_out(run("two-pools.toml", &[]).await, Some("arcade.localhost:8080"), "").await;
}

#[tokio::test]
async fn two_pools_by_path() {
    a_console_is_given_out(run("two-pools.toml", &[]).await, None, "/training").await;
}

#[tokio::test]
async fn gateway() {
    let mut dispatcher = run("gateway.toml", &[]).await;
    // Clients are programs: the first call is held until a pod has started, and answered.
    let mut ana = Visitor::of(&dispatcher);
    let got = ana.get("/").await;
    assert_eq!((got.status(), got.text().contains("chat.js")), (200, true), "{}", got.text());
    drop(ana.socket("/ws").await);
    drop(ana.socket("/chat").await);
    assert_eq!(dispatcher.stop().await.code(), Some(0));
}

#[tokio::test]
async fn fixed() {
    let pods = [Pod::named("left").await, Pod::named("right").await];
    let [left, right] = [0, 1].map(|n| pods[n].address.to_string());
    let mut dispatcher = run("fixed.toml", &[("127.0.0.1:19001", &left), ("127.0.0.1:19002", &right)]).await;
    let [mut ana, mut bob, mut eve] = [(); 3].map(|()| Visitor::of(&dispatcher));
    ana.wait_for_slot().await;
    bob.wait_for_slot().await;
    assert_eq!((ana.get("/").await.text(), bob.get("/").await.text()), ("left".into(), "right".into()));
    eve.page("/").await;
    assert_eq!(eve.status().await["position"], 1);
    assert_eq!(dispatcher.stop().await.code(), Some(0));
}

#[test]
fn every_example_has_a_test() {
    let mut names: Vec<String> = std::fs::read_dir(folder())
        .unwrap()
        .map(|f| f.unwrap().file_name().to_string_lossy().into_owned())
        .filter(|n| n.ends_with(".toml"))
        .collect();
    names.sort();
    assert_eq!(names, ["consoles.toml", "fixed.toml", "gateway.toml", "remote-desktops.toml", "two-pools.toml"]);
}
