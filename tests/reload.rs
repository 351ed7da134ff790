//! SIGHUP: which settings take effect without a restart and which do not; a reload itself ends no session.

use crate::http::SHARED;
use futures_util::{SinkExt, StreamExt};
use rustix::process::Signal;
use slotkeeper_tests::{Dispatcher, Pod, Setup, Visitor, eventually, patiently};
use tokio_tungstenite::tungstenite::Message;

/// Writes another file, and waits until the dispatcher has read it.
pub(crate) async fn reload(dispatcher: &Dispatcher, text: &str, outcome: &str) {
    let name = format!("slotkeeper_reloads_total{{outcome=\"{outcome}\"}}");
    let before = dispatcher.metrics().await.get(&name).unwrap();
    std::fs::write(dispatcher.folder.path().join("slotkeeper.toml"), text).unwrap();
    dispatcher.signal(Signal::HUP);
    eventually(outcome, async || dispatcher.metrics().await.get(&name) == Some(before + 1.0)).await;
}

pub(crate) async fn logs(dispatcher: &Dispatcher, what: &str) {
    eventually(what, async || dispatcher.log().contains(what)).await;
}

/// The file with a replacement. The addresses stay as they were in the file, as their actual ports are not in it.
fn again(setup: &Setup, from: &str, to: &str) -> String {
    let text = setup.text();
    assert!(text.contains(from), "{from} is not in\n{text}");
    text.replace(from, to)
}

#[tokio::test]
async fn durations_texts_and_limits_take_effect_and_no_session_ends() {
    let pod = Pod::named("pod").await;
    let settings = format!("{SHARED}\ntitle = \"Before\"\nmax_session_seconds = \"1h\"");
    let setup = || Setup::fixed(&[&pod], &settings).limit("body_bytes = 100").top("drain_seconds = 1");
    let dispatcher = setup().start().await;
    let mut ana = Visitor::of(&dispatcher);
    let mut socket = ana.socket("/").await;
    assert_eq!(ana.request("POST", "/", "", &[b'x'; 50]).await.status(), 200);

    let text = again(&setup(), "body_bytes = 100", "body_bytes = 10").replace("\"Before\"", "\"After\"");
    reload(&dispatcher, &text, "applied").await;
    assert_eq!(ana.request("POST", "/", "", &[b'x'; 50]).await.status(), 413);
    assert_eq!(ana.status().await["pool"], "After");
    logs(&dispatcher, "configuration reloaded: limits.body_bytes, pools.pool.title in force now").await;
    socket.send(Message::text("still here")).await.unwrap();
    assert_eq!(patiently("the echo", socket.next()).await.unwrap().unwrap(), Message::text("still here"));

    // A time limit of the state machine, which ends the session.
    reload(&dispatcher, &text.replace("\"1h\"", "0.2"), "applied").await;
    let close = patiently("a close frame", socket.next()).await.unwrap().unwrap();
    let Message::Close(Some(frame)) = close else { panic!("{close:?}") };
    assert_eq!((u16::from(frame.code), frame.reason.as_str()), (4001, "time_up"));
}

#[tokio::test]
async fn idle_that_is_turned_on_counts_from_the_reload() {
    let pod = Pod::named("pod").await;
    let setup = || Setup::fixed(&[&pod], &format!("{SHARED}\nidle_seconds = \"off\""));
    let dispatcher = setup().start().await;
    let mut ana = Visitor::of(&dispatcher);
    let mut socket = ana.socket("/").await;
    // Longer than the limit that is set next: only idle time after the reload may count.
    tokio::time::sleep(std::time::Duration::from_millis(1500)).await;
    reload(&dispatcher, &again(&setup(), "\"off\"", "\"1s\""), "applied").await;
    for _ in 0..10 {
        socket.send(Message::text("busy")).await.unwrap();
        assert_eq!(patiently("the echo", socket.next()).await.unwrap().unwrap(), Message::text("busy"));
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    let close = patiently("a close frame", socket.next()).await.unwrap().unwrap();
    let Message::Close(Some(frame)) = close else { panic!("{close:?}") };
    assert_eq!(frame.reason.as_str(), "idle");
}

#[tokio::test]
async fn cookie_keys_and_the_operators_token_are_rotated() {
    let pod = Pod::named("pod").await;
    let [old, new] = ["5a", "a5"].map(|byte| format!("{}\n", byte.repeat(32)));
    let secrets = tempfile::tempdir().unwrap();
    let file = |name: &str| secrets.path().join(name);
    std::fs::write(file("keys"), &old).unwrap();
    std::fs::write(file("token"), "the-first-token-of-all").unwrap();
    let mut dispatcher = Setup::fixed(&[&pod], SHARED)
        .top(&format!("cookie_keys_file = {:?}", file("keys")))
        .admin(&format!("token_file = {:?}", file("token")))
        .start()
        .await;
    dispatcher.token = Some("the-first-token-of-all".into());
    let mut ana = Visitor::of(&dispatcher);
    assert_eq!(ana.get("/").await.text(), "pod");
    let first = ana.jar["slotkeeper"].clone();

    std::fs::write(file("keys"), format!("{new}{old}")).unwrap();
    std::fs::write(file("token"), "another-token-of-some").unwrap();
    dispatcher.signal(Signal::HUP);
    dispatcher.token = Some("another-token-of-some".into());
    eventually("the new token", async || dispatcher.admin_get("/metrics").await.status() == 200).await;
    dispatcher.token = Some("the-first-token-of-all".into());
    assert_eq!(dispatcher.admin_get("/metrics").await.status(), 401);
    dispatcher.token = Some("another-token-of-some".into());
    // The old key still verifies, so this is the same session.
    assert_eq!(ana.get("/").await.text(), "pod");
    assert_eq!(dispatcher.metrics().await.of_pool("slotkeeper_sessions_minted_total", ""), 1);
    std::fs::write(file("keys"), &new).unwrap();
    dispatcher.signal(Signal::HUP);
    let applied = "slotkeeper_reloads_total{outcome=\"applied\"}";
    eventually("another reload", async || dispatcher.metrics().await.get(applied) == Some(2.0)).await;
    ana.jar.insert("slotkeeper".into(), first);
    assert_eq!(ana.get("/").await.text(), "pod");
    assert_eq!(
        dispatcher.metrics().await.of_pool("slotkeeper_sessions_minted_total", ""),
        2,
        "its cookie is no longer known"
    );
    assert!(!dispatcher.log().contains("token-of"), "no secret is logged");
}

#[tokio::test]
async fn settings_that_need_a_restart_are_logged_and_not_changed() {
    let (pod, other) = (Pod::named("pod").await, Pod::named("other").await);
    let setup = || Setup::fixed(&[&pod], &format!("{SHARED}\ntitle = \"Before\"")).top("threads = 2");
    let dispatcher = setup().start().await;
    let text = again(&setup(), "\"Before\"", "\"After\"")
        .replace("threads = 2", "threads = 3")
        .replace(&pod.address.to_string(), &other.address.to_string())
        + &Setup::default().pool("more", &[&other], &format!("{SHARED}\npath = \"/more\"")).pools;
    reload(&dispatcher, &text, "in_part").await;
    logs(&dispatcher, "a restart is needed for").await;
    let log = dispatcher.log();
    let said = log.lines().find(|line| line.contains("a restart is needed for")).unwrap();
    for name in ["threads", "pools.pool.cookie_name", "pools.pool.kubernetes, processes or fixed"] {
        assert!(said.contains(name), "{name}: {said}");
    }
    let mut ana = Visitor::of(&dispatcher);
    assert_eq!(ana.get("/").await.text(), "pod");
    eventually("the other pool, which needs no restart", async || ana.get("/more").await.text() == "other").await;
    assert_eq!(ana.status().await["pool"], "After");
    // The original file again.
    reload(&dispatcher, &setup().text(), "applied").await;
    assert_eq!(ana.status().await["pool"], "Before");
}

#[tokio::test]
async fn an_invalid_file_changes_nothing_and_ends_no_session() {
    let pod = Pod::named("pod").await;
    let setup = || Setup::fixed(&[&pod], &format!("{SHARED}\ntitle = \"Before\""));
    let dispatcher = setup().start().await;
    for (text, problem) in [
        (again(&setup(), "\"Before\"", "7"), "key `pools.pool.title`: found the number 7"),
        ("[pools".to_owned(), "not TOML"),
        (String::new(), "key `pools`: missing"),
    ] {
        reload(&dispatcher, &text, "refused").await;
        logs(&dispatcher, problem).await;
    }
    std::fs::remove_file(dispatcher.folder.path().join("slotkeeper.toml")).unwrap();
    dispatcher.signal(Signal::HUP);
    logs(&dispatcher, "cannot be read").await;
    let mut ana = Visitor::of(&dispatcher);
    assert_eq!(ana.get("/").await.text(), "pod");
    assert_eq!(ana.status().await["pool"], "Before");
}

#[tokio::test]
async fn the_number_of_connections_follows_its_limit() {
    let pod = Pod::named("pod").await;
    let setup = || Setup::fixed(&[&pod], SHARED).limit("connections = 4");
    let dispatcher = setup().start().await;
    let open = async |count: f64| {
        eventually("that many connections", async || {
            dispatcher.metrics().await.get("slotkeeper_connections_open") == Some(count)
        })
        .await;
    };
    let mut silent = Vec::new();
    for _ in 0..8 {
        silent.push(slotkeeper_tests::Wire::to(dispatcher.visitors).await);
    }
    open(4.0).await;
    reload(&dispatcher, &again(&setup(), "connections = 4", "connections = 6"), "applied").await;
    open(6.0).await;
    reload(&dispatcher, &again(&setup(), "connections = 4", "connections = 2"), "applied").await;
    assert_eq!(dispatcher.metrics().await.get("slotkeeper_connections_open"), Some(6.0), "open connections stay");
    silent.drain(..6);
    open(2.0).await;
    drop(silent);
    assert_eq!(Visitor::of(&dispatcher).get("/").await.text(), "pod");
}
