//! Pools that are added and removed by a reload, while the dispatcher runs.

use crate::http::SHARED;
use crate::reload::{logs, reload};
use crate::survival::redis::Redis;
use futures_util::{SinkExt, StreamExt};
use slotkeeper_api::{Operation, Parameters, PoolList};
use slotkeeper_tests::pod::Socket;
use slotkeeper_tests::{Dispatcher, Pod, Setup, Visitor, eventually, patiently};
use std::path::Path;
use tokio_tungstenite::tungstenite::Message;

/// A shared pool of this name at `/NAME`.
fn at_path(name: &str) -> String {
    format!("{SHARED}\npath = \"/{name}\"\ncookie_name = \"{name}\"")
}

async fn close_frame(socket: &mut Socket) -> (u16, String) {
    let frame = patiently("a close frame", socket.next()).await.unwrap().unwrap();
    let Message::Close(Some(frame)) = frame else { panic!("{frame:?}") };
    (u16::from(frame.code), frame.reason.to_string())
}

async fn echoes(socket: &mut Socket, text: &str) {
    socket.send(Message::text(text)).await.unwrap();
    assert_eq!(patiently("the echo", socket.next()).await.unwrap().unwrap(), Message::text(text));
}

async fn pools(dispatcher: &Dispatcher) -> Vec<String> {
    let list: PoolList = dispatcher.call(Operation::ListPools, Parameters::default()).await.read();
    list.pools.iter().map(|pool| pool.name().to_owned()).collect()
}

/// Its pods are asked first of all whether they are there.
async fn serves(visitor: &mut Visitor, text: &str) {
    eventually(text, async || visitor.get("/more").await.text() == text).await;
}

/// Everything of it has gone: from the operators' API, and from the metrics.
async fn is_gone(dispatcher: &Dispatcher, pool: &str) {
    eventually("the end of the pool", async || pools(dispatcher).await.iter().all(|other| other != pool)).await;
    logs(dispatcher, "pool removed").await;
    let metrics = dispatcher.metrics().await;
    let label = format!("pool=\"{pool}\"");
    assert!(!metrics.0.contains(&label), "{}", metrics.0);
}

/// Processes that mention this folder in their arguments.
fn processes_of(folder: &Path) -> usize {
    let folder = folder.to_str().unwrap();
    let all = std::fs::read_dir("/proc").unwrap().flatten();
    let arguments = all.filter_map(|process| std::fs::read(process.path().join("cmdline")).ok());
    arguments.filter(|arguments| String::from_utf8_lossy(arguments).contains(folder)).count()
}

#[tokio::test]
async fn a_pool_that_is_added_serves_at_once_and_touches_no_other() {
    let (pod, other) = (Pod::named("pod").await, Pod::named("other").await);
    let setup = || Setup::fixed(&[&pod], &format!("{SHARED}\ncookie_name = \"first\""));
    let dispatcher = setup().start().await;
    let mut ana = Visitor::of(&dispatcher);
    let mut socket = ana.socket("/").await;
    assert_eq!(Visitor::of(&dispatcher).get("/more").await.text(), "pod");

    reload(&dispatcher, &setup().pool("more", &[&other], &at_path("more")).text(), "applied").await;
    logs(&dispatcher, "pools.more (added) in force now").await;
    assert_eq!(dispatcher.admin_get("/readyz").await.status(), 200, "although its pods are not known yet");
    let mut ben = Visitor::of(&dispatcher);
    serves(&mut ben, "other").await;
    let mut there = ben.socket("/more/socket").await;
    echoes(&mut there, "hello").await;
    echoes(&mut socket, "undisturbed").await;
    assert_eq!(pools(&dispatcher).await, ["pool", "more"]);
    let metrics = dispatcher.metrics().await;
    assert_eq!(metrics.get("slotkeeper_sessions{pool=\"more\",state=\"taken\"}"), Some(1.0));

    // Its clocks run, as those of any pool.
    let text = setup().pool("more", &[&other], &format!("{}\nmax_session_seconds = 0.2", at_path("more"))).text();
    reload(&dispatcher, &text, "applied").await;
    assert_eq!(close_frame(&mut there).await, (4001, "time_up".to_owned()));
    echoes(&mut socket, "still undisturbed").await;
}

#[tokio::test]
async fn a_pool_that_is_removed_ends_its_sessions_and_leaves_nothing() {
    let (pod, other) = (Pod::named("pod").await, Pod::named("other").await);
    let first = || Setup::fixed(&[&pod], &format!("{SHARED}\ncookie_name = \"first\"")).top("drain_seconds = 1");
    let both = || first().pool("more", &[&other], &at_path("more"));
    let dispatcher = both().start().await;
    let (mut ana, mut ben) = (Visitor::of(&dispatcher), Visitor::of(&dispatcher));
    let mut stays = ana.socket("/").await;
    let mut goes = ben.socket("/more").await;
    let (before, probed) = (ben.jar["more"].clone(), other.seen.count());

    reload(&dispatcher, &first().text(), "applied").await;
    assert_eq!(close_frame(&mut goes).await, (4001, "pool_removed".to_owned()));
    // The next pool that fits has its address from now on.
    assert_eq!(ben.get("/more").await.text(), "pod");
    is_gone(&dispatcher, "more").await;
    echoes(&mut stays, "undisturbed").await;
    assert_eq!(other.seen.count(), probed, "no request has reached it since");

    // It can be added again, and knows no session.
    reload(&dispatcher, &both().text(), "applied").await;
    ben.jar.insert("more".into(), before);
    serves(&mut ben, "other").await;
    assert_eq!(pools(&dispatcher).await, ["pool", "more"]);
    echoes(&mut stays, "still undisturbed").await;
}

#[tokio::test]
async fn a_request_that_does_not_end_does_not_keep_a_removed_pool() {
    let (pod, slow) = (
        Pod::named("pod").await,
        Pod::start(|mut wire, _| async move {
            let Some(_) = wire.head().await else { return };
            wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nbeginning").await;
            std::future::pending::<()>().await;
        })
        .await,
    );
    let first = || Setup::fixed(&[&pod], &format!("{SHARED}\ncookie_name = \"first\"")).top("drain_seconds = 0.5");
    let dispatcher = first().pool("more", &[&slow], &at_path("more")).start().await;
    let ben = Visitor::of(&dispatcher);
    let mut wire = ben.ask("GET", "/more", "").await;
    assert_eq!(wire.head().await.unwrap().status(), 200);
    reload(&dispatcher, &first().text(), "applied").await;
    is_gone(&dispatcher, "more").await;
    // Its body was cut.
    let body = patiently("the end of the connection", wire.rest()).await;
    assert!(body.len() < 1000, "{}", body.len());
}

#[tokio::test]
async fn processes_are_started_by_an_addition_ended_by_a_removal_and_change_hands_with_a_name() {
    let pod = Pod::named("pod").await;
    let fixed = || Setup::fixed(&[&pod], &format!("{SHARED}\npath = \"/fixed\"\ncookie_name = \"fixed\""));
    let consoles = |name: &str| {
        let text = Setup::consoles("cookie_name = \"consoles\"\nadmission = \"immediate\"\nmax_pods = 2").pools;
        text.replace("pools.pool", &format!("pools.{name}"))
    };
    let dispatcher = fixed().top("drain_seconds = 1").start().await;
    let with = |name: &str| fixed().top("drain_seconds = 1").text() + &consoles(name);
    let data = dispatcher.folder.path().join("data");

    reload(&dispatcher, &with("arcade"), "applied").await;
    let mut ana = Visitor::of(&dispatcher);
    ana.wait_for_slot().await;
    let mut socket = ana.socket("/play").await;
    assert!(processes_of(&data) > 0);
    assert!(
        dispatcher.metrics().await.0.contains("slotkeeper_process_failures_total{cause=\"ended\",pool=\"arcade\"}")
    );

    // Another name, and the same folder: the old pods end first.
    reload(&dispatcher, &with("hall"), "applied").await;
    let close = patiently("a close frame", async {
        loop {
            if let Message::Close(Some(frame)) = socket.next().await.unwrap().unwrap() {
                return frame;
            }
        }
    });
    assert_eq!(close.await.reason.as_str(), "pool_removed");
    let mut ben = Visitor::of(&dispatcher);
    ben.wait_for_slot().await;
    assert_eq!(ben.get("/").await.status(), 200);
    is_gone(&dispatcher, "arcade").await;
    assert!(dispatcher.metrics().await.0.contains("slotkeeper_process_failures_total{cause=\"ended\",pool=\"hall\"}"));

    reload(&dispatcher, &fixed().top("drain_seconds = 1").text(), "applied").await;
    is_gone(&dispatcher, "hall").await;
    assert_eq!(processes_of(&data), 0, "no process is left");
    assert!(data.join("0").is_dir(), "data stay");
    assert_eq!(Visitor::of(&dispatcher).get("/").await.status(), 404);
    assert_eq!(Visitor::of(&dispatcher).get("/fixed").await.text(), "pod");
}

#[tokio::test]
async fn pods_that_would_go_on_without_a_dispatcher_end_with_their_pool() {
    let pod = Pod::named("pod").await;
    let fixed = || Setup::fixed(&[&pod], &format!("{SHARED}\npath = \"/fixed\"\ncookie_name = \"fixed\""));
    let consoles = Setup::consoles("cookie_name = \"consoles\"\nadmission = \"immediate\"").pools;
    let adopting = consoles.replace("data_folder = \"data\"", "data_folder = \"data\"\non_restart = \"adopt\"");
    let mut setup = fixed();
    setup.pools += &adopting.replace("pools.pool", "pools.arcade");
    let dispatcher = setup.start().await;
    Visitor::of(&dispatcher).wait_for_slot().await;
    let data = dispatcher.folder.path().join("data");
    assert!(processes_of(&data) > 0);
    reload(&dispatcher, &fixed().text(), "applied").await;
    is_gone(&dispatcher, "arcade").await;
    assert_eq!(processes_of(&data), 0);
}

#[tokio::test]
async fn if_one_added_pool_cannot_be_made_nothing_changes() {
    let pod = Pod::named("pod").await;
    let setup = |title: &str| {
        Setup::fixed(&[&pod], &format!("{SHARED}\npath = \"/fixed\"\ncookie_name = \"fixed\"\ntitle = \"{title}\""))
    };
    let dispatcher = setup("Before").start().await;
    // A file is where the data folder would be.
    std::fs::write(dispatcher.folder.path().join("data"), "a file").unwrap();
    let more = Setup::default().pool("more", &[&pod], &at_path("more")).pools;
    let consoles = Setup::consoles("cookie_name = \"consoles\"").pools.replace("pools.pool", "pools.arcade");
    reload(&dispatcher, &(setup("After").text() + &more + &consoles), "refused").await;
    logs(&dispatcher, "configuration not reloaded, the old one stays in force: [pools.arcade]").await;
    let mut ana = Visitor::of(&dispatcher);
    assert_eq!(ana.get("/fixed/.slotkeeper/status").await.json()["pool"], "Before");
    assert_eq!(ana.get("/more").await.status(), 404);
    assert_eq!(pools(&dispatcher).await, ["pool"]);
    let metrics = dispatcher.metrics().await.0;
    assert!(!metrics.contains("pool=\"more\"") && !metrics.contains("pool=\"arcade\""), "{metrics}");

    // Two pools change their paths, which only a restart can do: until then they would be at the same one.
    reload(&dispatcher, &(setup("After").text() + &more), "applied").await;
    let swapped = (setup("After").text() + &more).replace("\"/fixed\"", "\"/x\"").replace("\"/more\"", "\"/fixed\"");
    reload(&dispatcher, &swapped, "in_part").await;
    let third = Setup::default().pool("third", &[&pod], &at_path("third")).pools.replace("\"/third\"", "\"/more\"");
    reload(&dispatcher, &(swapped + &third), "refused").await;
    logs(
        &dispatcher,
        "any host with path /more leads to pool `more` already; settings that need a restart keep their old values",
    )
    .await;
}

#[tokio::test]
async fn with_a_shared_journal_a_removal_here_ends_no_session_of_another_dispatcher() {
    let (pod, other) = (Pod::named("pod").await, Pod::named("other").await);
    let redis = Redis::start().await;
    let secrets = tempfile::tempdir().unwrap();
    let keys = secrets.path().join("keys");
    std::fs::write(&keys, format!("{}\n", "5a".repeat(32))).unwrap();
    // A new journal places no session for silence + grace.
    let quick = "silence_seconds = 2\ngrace_seconds = 3";
    let first = || {
        let mut setup = Setup::fixed(&[&pod], &format!("{SHARED}\ncookie_name = \"first\"\n{quick}"))
            .top("drain_seconds = 0.5")
            .top(&format!("cookie_keys_file = {keys:?}"));
        setup.limits += &format!("[journal]\nat = \"{}\"\n", redis.address());
        setup
    };
    let both = || first().pool("more", &[&other], &format!("{}\n{quick}", at_path("more")));
    let (here, there) = (both().start().await, both().start().await);
    let mut ben = Visitor::of(&here);
    serves(&mut ben, "other").await;
    let mut socket = ben.socket("/more").await;
    reload(&here, &first().text(), "applied").await;
    assert_eq!(close_frame(&mut socket).await.0, 1012);
    is_gone(&here, "more").await;
    assert_eq!(ben.get("/more").await.text(), "pod", "not here any more");

    let mut ben = ben.through(there.visitors);
    let mut socket = ben.socket("/more").await;
    echoes(&mut socket, "still the same session").await;
    let metrics = there.metrics().await;
    assert_eq!(metrics.get("slotkeeper_sessions{pool=\"more\",state=\"taken\"}"), Some(1.0));
    assert_eq!(metrics.get("slotkeeper_releases_total{pool=\"more\",reason=\"pool_removed\"}"), Some(0.0));

    // The last one that had it.
    reload(&there, &first().text(), "applied").await;
    is_gone(&there, "more").await;
    assert_eq!(there.admin_delete("/api/v1/pools/more").await.status(), 200);
    assert_eq!(there.admin_delete("/api/v1/pools/more").await.status(), 404);
}
