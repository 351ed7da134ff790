//! `client.js` in a real browser, through a real dispatcher: the states that a page gets when its pod, its dispatcher or
//! its session ends, and while it waits in the queue.

use super::chromium::{Browser, Driver};
use futures_util::{SinkExt, StreamExt};
use rustix::process::Signal;
use serde_json::json;
use slotkeeper_tests::pod::{Socket, answer, switch};
use slotkeeper_tests::visitor::HANDSHAKE;
use slotkeeper_tests::{Dispatcher, Pod, Setup, Visitor, eventually};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use tempfile::TempDir;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;

/// A page as a pod serves it: it records the states that it gets, and its button tries again. (No test waits for a pause:
/// the pauses are short.)
fn page(own: &str, url: &str) -> String {
    format!(
        r#"<!doctype html><meta name="viewport" content="width=device-width"><title>a page</title>
<p id="state"></p><button id="again">Again</button>
<script type="module">
  import {{ connect }} from "{own}client.js";
  window.states = [];
  window.heard = [];
  window.connection = connect({{
    url: () => `{url}?heard=${{heard.length}}`,
    own: "{own}",
    firstMs: 200,
    state(state) {{
      states.push(state);
      document.getElementById("state").textContent = state.name;
    }},
    message: (data) => heard.push(data),
  }});
  document.getElementById("again").onclick = () => connection.retry();
</script>"#
    )
}

/// Serves the page; sends its name and the requested path on every socket, and then obeys messages: `close CODE REASON`.
async fn pod(name: &'static str, page: String) -> Pod {
    Pod::start(move |mut wire, seen| {
        let page = page.clone();
        async move {
            while let Some(head) = wire.head().await {
                if head.get("upgrade").is_some() {
                    let path = head.path().to_owned();
                    return execute(switch(wire, &head, "").await, format!("{name} {path}")).await;
                }
                seen.note(slotkeeper_tests::Request { head, ..Default::default() });
                wire.send(answer("200 OK", "Content-Type: text/html; charset=utf-8\r\n", &page)).await;
            }
        }
    })
    .await
}

async fn execute(mut socket: Socket, greeting: String) {
    if socket.send(Message::Text(greeting.into())).await.is_err() {
        return;
    }
    while let Some(Ok(message)) = socket.next().await {
        let Message::Text(text) = message else { continue };
        let Some((code, reason)) = text.strip_prefix("close ").and_then(|rest| rest.split_once(' ')) else { continue };
        let frame = CloseFrame { code: code.parse::<u16>().unwrap().into(), reason: reason.into() };
        let _ = socket.close(Some(frame)).await;
    }
}

/// The names of the states that the page got, in order.
async fn names(browser: &mut Browser) -> Vec<String> {
    let names = browser.eval("states.map((state) => state.name)").await;
    let mut names: Vec<String> = serde_json::from_value(names).unwrap();
    names.dedup();
    names
}

async fn is(browser: &mut Browser, state: &str) {
    browser.sees(state, &format!("window.connection?.state.name === '{state}'")).await;
}

async fn forget(browser: &mut Browser) {
    browser.eval("states.length = 0").await;
}

/// Starts the dispatcher at an address at which it can be started again.
async fn restartable(listen: SocketAddr, setup: &Setup, journal: &Path) -> Dispatcher {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("slotkeeper.toml");
    let text = setup.text().replace("listen = \"127.0.0.1:0\"", &format!("listen = \"{listen}\""));
    std::fs::write(&file, format!("{text}\n[journal]\nat = \"file:{}\"\n", journal.display())).unwrap();
    Dispatcher::serve(folder, &file, &[]).await
}

#[tokio::test]
async fn a_page_reconnects_after_its_pod_has_ended_and_after_a_restart_of_the_dispatcher() {
    let page = page("/rooms/.slotkeeper/", "ws");
    let pods = [pod("red", page.clone()).await, pod("blue", page).await];
    let setup =
        Setup::fixed(&[&pods[0], &pods[1]], "path = \"/rooms\"\nslots_per_pod = 100").top("drain_seconds = 0.5");
    let listen = TcpListener::bind("127.0.0.4:0").unwrap().local_addr().unwrap();
    let journal = TempDir::new().unwrap();
    let mut dispatcher = restartable(listen, &setup, journal.path()).await;
    let driver = Driver::start().await;
    let mut ana = driver.browser().await;
    ana.go(&format!("http://{listen}/rooms/")).await;
    is(&mut ana, "open").await;
    assert_eq!(
        ana.eval("states").await,
        json!([{ "name": "connecting", "attempt": 1, "inMs": 0 }, { "name": "open", "resumed": false }])
    );
    ana.sees("the greeting", "heard.length === 1").await;
    let greeting = ana.eval("heard[0]").await.as_str().unwrap().to_owned();
    let (name, path) = greeting.split_once(' ').unwrap();
    assert_eq!(path, "/rooms/ws?heard=0");

    // The pod announces its end: another socket follows after a pause, and the page sends what it has received.
    forget(&mut ana).await;
    ana.eval("connection.send('close 1001 moving')").await;
    ana.sees("the second greeting", "heard.length === 2").await;
    assert_eq!(names(&mut ana).await, ["draining", "connecting", "open"]);
    let told = ana.eval("states[0]").await;
    assert_eq!((&told["code"], &told["reason"]), (&json!(1001), &json!("moving")));
    assert_eq!(ana.eval("states.at(-1)").await, json!({ "name": "open", "resumed": true }));
    assert_eq!(ana.eval("heard[1]").await, format!("{name} /rooms/ws?heard=1"));

    // The dispatcher is restarted.
    forget(&mut ana).await;
    assert!(dispatcher.stop().await.success());
    ana.sees("the restart", "states[0]?.code === 1012 && states[0].name === 'draining'").await;
    assert_eq!(ana.eval("states[0].reason").await, "dispatcher_restarting");
    ana.sees("failed attempts", "states.some((state) => state.attempt > 3)").await;
    dispatcher = restartable(listen, &setup, journal.path()).await;
    is(&mut ana, "open").await;
    ana.sees("the third greeting", "heard.length === 3").await;
    assert_eq!(ana.eval("heard[2]").await, format!("{name} /rooms/ws?heard=2"), "the same pod");
    assert_eq!(names(&mut ana).await, ["draining", "connecting", "open"]);

    // The dispatcher is killed: there is no close code, but the page reconnects in the same way.
    forget(&mut ana).await;
    dispatcher.signal(Signal::KILL);
    dispatcher.end().await;
    is(&mut ana, "connecting").await;
    dispatcher = restartable(listen, &setup, journal.path()).await;
    is(&mut ana, "open").await;
    ana.sees("the fourth greeting", "heard.length === 4").await;
    assert_eq!(ana.eval("heard[3]").await, format!("{name} /rooms/ws?heard=3"), "the same pod");
    assert_eq!(names(&mut ana).await, ["connecting", "open"]);

    // One socket at a time, and none after it was closed for good.
    eventually("one tunnel", async || {
        dispatcher.metrics().await.of_pool("slotkeeper_streams_open", "kind=upgraded") == 1
    })
    .await;
    ana.eval("connection.close()").await;
    is(&mut ana, "gone").await;
    eventually("no tunnel", async || {
        dispatcher.metrics().await.of_pool("slotkeeper_streams_open", "kind=upgraded") == 0
    })
    .await;
    ana.quit().await;
}

/// A visitor with a slot and an open socket, as a program.
async fn player(dispatcher: &Dispatcher) -> (Visitor, Socket) {
    let mut visitor = Visitor::of(dispatcher);
    visitor.base = "/game".into();
    visitor.wait_for_slot().await;
    let socket = visitor.socket("/game/ws").await;
    (visitor, socket)
}

#[tokio::test]
async fn a_page_waits_in_the_queue_connects_and_gets_the_reason_of_its_end() {
    // The page is in another pool than the one that it connects to: it loads however long the queue is.
    let site = pod("site", page("/game/.slotkeeper/", "/game/ws")).await;
    let game = pod("game", String::new()).await;
    let exclusive = "path = \"/game\"\nslots_per_pod = 1\ngrace_seconds = 0.3\nlinger_seconds = 0.2";
    let dispatcher = Setup::fixed(&[&site], "slots_per_pod = 100").pool("game", &[&game], exclusive).start().await;
    let (_, first) = player(&dispatcher).await;
    let mut second = Visitor::of(&dispatcher);
    second.base = "/game".into();
    second.page("/game/").await;
    assert_eq!(second.status().await["position"], 1);

    let driver = Driver::start().await;
    let mut ana = driver.browser().await;
    ana.go(&format!("http://{}/", dispatcher.visitors)).await;
    is(&mut ana, "waiting").await;
    ana.sees("its place", "connection.state.position === 2").await;
    assert_eq!(names(&mut ana).await, ["connecting", "waiting"]);

    // The queue moves: the first visitor leaves, the second gets the slot, and leaves as well.
    drop(first);
    second.is_told("ready").await;
    let mut wire = second.ask("GET", "/game/ws", HANDSHAKE).await;
    assert_eq!(second.hear(&mut wire).await.status(), 101);
    ana.sees("its new position", "connection.state.position === 1").await;
    drop(wire);
    is(&mut ana, "open").await;
    let states: Vec<String> = names(&mut ana).await;
    assert_eq!(states, ["connecting", "waiting", "connecting", "open"]);
    assert_eq!(ana.eval("states.at(-1).resumed").await, false);
    ana.sees("the greeting", "heard[0]?.startsWith('game /game/ws')").await;

    // An operator ends the session: the page gets the reason, and does not reconnect by itself.
    let name = dispatcher.sessions_of("game").await[0].session.clone();
    forget(&mut ana).await;
    dispatcher.kick("game", &name).await;
    is(&mut ana, "gone").await;
    assert_eq!(ana.eval("states").await, json!([{ "name": "gone", "code": 4001, "reason": "kicked" }]));

    // A reloaded page gets the same reason, as the dispatcher remembers it; its button begins a new session.
    ana.reload().await;
    is(&mut ana, "gone").await;
    assert_eq!(ana.eval("connection.state").await, json!({ "name": "gone", "code": 4001, "reason": "kicked" }));
    assert_eq!(dispatcher.sessions_of("game").await, []);
    ana.click("#again").await;
    is(&mut ana, "open").await;
    let listed = dispatcher.sessions_of("game").await;
    assert_eq!(listed.len(), 1);
    assert_ne!(listed[0].session, name, "another session");
    ana.quit().await;
}
