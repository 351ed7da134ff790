//! A pool of local processes: it sleeps, wakes for a visitor who returns with the cookie, leaves no process behind, and
//! reports if no pod can be started.

use futures_util::{SinkExt, StreamExt};
use rustix::process::{Pid, Signal, kill_process};
use slotkeeper_tests::pod::Socket;
use slotkeeper_tests::{Dispatcher, Setup, Visitor, eventually, patiently};
use std::path::Path;
use std::time::Duration;
use tokio_tungstenite::tungstenite::Message;

const POOL: &str = "max_pods = 2\ncooldown_seconds = 0.5\ngrace_seconds = 0.3\nlinger_seconds = 0.2";

/// Suspends all pods of this dispatcher (SIGSTOP): their sockets accept connections, and nothing answers.
fn hang(folder: &Path) {
    let folder = folder.canonicalize().unwrap().display().to_string();
    for process in std::fs::read_dir("/proc").unwrap().flatten() {
        let arguments = std::fs::read(process.path().join("cmdline")).unwrap_or_default();
        let arguments = String::from_utf8_lossy(&arguments);
        let number = process.file_name().to_str().and_then(|name| name.parse().ok()).and_then(Pid::from_raw);
        if let Some(pid) = number.filter(|_| is_console(&arguments) && arguments.contains(&folder)) {
            kill_process(pid, Signal::STOP).unwrap();
        }
    }
}

/// The running pods: processes whose arguments name this dispatcher's folder.
fn consoles_of(folder: &Path) -> usize {
    let folder = folder.canonicalize().unwrap().display().to_string();
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let arguments = processes.filter_map(|p| std::fs::read(p.path().join("cmdline")).ok());
    arguments.map(|a| String::from_utf8_lossy(&a).into_owned()).filter(|a| is_console(a) && a.contains(&folder)).count()
}

fn is_console(arguments: &str) -> bool {
    arguments.split('\0').next().is_some_and(|program| program.ends_with("slotkeeper-console"))
}

async fn nothing_is_left_of(folder: &Path) {
    eventually("all pods to end", async || consoles_of(folder) == 0).await;
}

async fn play(visitor: &mut Visitor) -> Socket {
    let mut socket = visitor.socket("/play").await;
    let frame = patiently("a frame", socket.next()).await.unwrap().unwrap();
    assert!(frame.is_binary() || frame.is_text(), "{frame:?}");
    socket
}

async fn asleep(dispatcher: &Dispatcher) {
    dispatcher.pool_is("/state", "dormant").await;
    nothing_is_left_of(dispatcher.folder.path()).await;
}

#[tokio::test]
async fn a_weekly_schedule_keeps_pods_awake_without_a_visitor() {
    // The whole day, every day.
    let always = format!("{POOL}\ntime_zone = \"UTC\"\nschedule = [{{ spare = 1 }}]");
    let dispatcher = Setup::consoles(&always).start().await;
    dispatcher.pool_is("/slots/free", 1).await;
    assert_eq!(dispatcher.pool().await.desired, 1);
    assert_eq!(consoles_of(dispatcher.folder.path()), 1);
}

#[tokio::test]
async fn a_pool_wakes_for_a_visitor_and_sleeps_without_sessions() {
    let dispatcher = Setup::consoles(POOL).start().await;
    asleep(&dispatcher).await;
    let mut ana = Visitor::of(&dispatcher);
    assert!(ana.page("/").await.text().contains("Getting you a place"));
    assert_eq!(dispatcher.pool().await.desired, 0);
    ana.wait_for_slot().await;
    let page = ana.page("/").await;
    assert_eq!((page.status(), page.text().contains("<html")), (200, true));
    let mut socket = play(&mut ana).await;
    socket.send(Message::Text(r#"{"type":"key","key":7,"down":true}"#.into())).await.unwrap();
    assert_eq!(consoles_of(dispatcher.folder.path()), 1);
    let mut bob = Visitor::of(&dispatcher);
    bob.wait_for_slot().await;
    let bobs = play(&mut bob).await;
    assert_eq!(consoles_of(dispatcher.folder.path()), 2);
    drop(socket);
    ana.post("/.slotkeeper/leave").await;
    drop(bobs);
    asleep(&dispatcher).await;
    let metrics = dispatcher.metrics().await;
    assert_eq!(metrics.of_pool("slotkeeper_releases_total", "reason=left"), 1);
    assert_eq!(metrics.of_pool("slotkeeper_releases_total", "reason=disconnected"), 1);
    assert_eq!(metrics.of_pool("slotkeeper_active", ""), 0);
    // And again.
    let mut eve = Visitor::of(&dispatcher);
    eve.wait_for_slot().await;
    drop(play(&mut eve).await);
    asleep(&dispatcher).await;
}

#[tokio::test]
async fn clients_that_never_return_with_their_cookie_wake_no_pod() {
    let dispatcher = Setup::consoles(POOL).limit("new_sessions_per_second = 1000000").start().await;
    let position = async || dispatcher.metrics().await.get("slotkeeper_journal_position").unwrap();
    // The entries of the start have been written.
    asleep(&dispatcher).await;
    let before = loop {
        let position_now = position().await;
        tokio::time::sleep(Duration::from_millis(500)).await;
        if position().await == position_now {
            break position_now;
        }
    };
    for n in 0..1000 {
        let mut bot = Visitor::of(&dispatcher);
        let got = match n % 4 {
            0 => bot.page("/").await,
            1 => bot.get("/robots.txt").await,
            2 => bot.post("/login").await,
            _ => bot.get("/.slotkeeper/status").await,
        };
        assert!(matches!(got.status(), 200 | 503));
        assert!(matches!(bot.get("/.slotkeeper/health").await.json()["state"].as_str(), Some("dormant")));
    }
    let pool = dispatcher.pool().await;
    assert_eq!((pool.desired, pool.sessions.queued, pool.slots.busy), (0, 0, 0));
    assert_eq!(consoles_of(dispatcher.folder.path()), 0);
    assert_eq!(position().await, before, "not even an entry in the journal");
    assert_eq!(dispatcher.metrics().await.of_pool("slotkeeper_sessions_minted_total", ""), 750);
}

#[tokio::test]
async fn sigterm_closes_the_streams_ends_the_pods_and_exits_with_success() {
    let mut dispatcher = Setup::consoles(POOL).top("drain_seconds = 2").start().await;
    let (mut ana, mut bob) = (Visitor::of(&dispatcher), Visitor::of(&dispatcher));
    ana.wait_for_slot().await;
    bob.wait_for_slot().await;
    let mut sockets = [play(&mut ana).await, play(&mut ana).await, play(&mut bob).await];
    dispatcher.signal(Signal::TERM);
    for socket in &mut sockets {
        let close = loop {
            match patiently("the close", socket.next()).await {
                Some(Ok(Message::Close(close))) => break close,
                Some(Ok(_)) => {}
                other => panic!("no close but {other:?}"),
            }
        };
        assert_eq!(close.map(|c| u16::from(c.code)), Some(1012));
    }
    assert_eq!(dispatcher.end().await.code(), Some(0));
    assert_eq!(consoles_of(dispatcher.folder.path()), 0);
    assert!(!dispatcher.log().contains("drain time over"), "{}", dispatcher.log());
}

#[tokio::test]
async fn sigkill_leaves_no_pod_behind() {
    let mut dispatcher = Setup::consoles(POOL).start().await;
    let mut ana = Visitor::of(&dispatcher);
    ana.wait_for_slot().await;
    let _socket = play(&mut ana).await;
    assert_eq!(consoles_of(dispatcher.folder.path()), 1);
    dispatcher.signal(Signal::KILL);
    assert_eq!(dispatcher.end().await.code(), None);
    nothing_is_left_of(dispatcher.folder.path()).await;
}

#[tokio::test]
async fn a_pod_that_dies_is_replaced_and_its_session_is_first_in_the_queue() {
    let dispatcher = Setup::consoles(POOL).start().await;
    let mut ana = Visitor::of(&dispatcher);
    ana.wait_for_slot().await;
    let mut socket = play(&mut ana).await;
    let folder = dispatcher.folder.path().canonicalize().unwrap().display().to_string();
    for process in std::fs::read_dir("/proc").unwrap().flatten() {
        let arguments = std::fs::read(process.path().join("cmdline")).unwrap_or_default();
        let arguments = String::from_utf8_lossy(&arguments).into_owned();
        if is_console(&arguments) && arguments.contains(&folder) {
            let id = process.file_name().to_string_lossy().parse().unwrap();
            rustix::process::kill_process(rustix::process::Pid::from_raw(id).unwrap(), Signal::KILL).unwrap();
        }
    }
    while let Some(Ok(_)) = patiently("the end", socket.next()).await {}
    // Until the dispatcher has noticed, a socket is refused; then the session is first in the queue.
    eventually("a new pod", async || ana.clone().try_socket("/play", "").await.is_ok()).await;
    asleep(&dispatcher).await;
}

#[tokio::test]
async fn an_adopted_pod_keeps_its_session_when_the_dispatcher_is_killed() {
    let mut setup = Setup::consoles("max_pods = 2\ngrace_seconds = 60").top("[journal]\nat = \"file:journal\"");
    setup.pools = setup.pools.replace("stop_grace_seconds", "on_restart = \"adopt\"\nstop_grace_seconds");
    let mut first = setup.start().await;
    let mut ana = Visitor::of(&first);
    ana.wait_for_slot().await;
    let socket = play(&mut ana).await;
    let pods = first.pool().await.pods;
    first.signal(Signal::KILL);
    first.end().await;
    drop(socket);
    assert_eq!(consoles_of(first.folder.path()), 1, "it continues");
    let folder = std::mem::replace(&mut first.folder, tempfile::tempdir().unwrap());
    let file = folder.path().join("slotkeeper.toml");
    let mut second = Dispatcher::serve(folder, &file, &[]).await;
    let mut ana = ana.through(second.visitors);
    let _socket = play(&mut ana).await;
    let after = second.pool().await.pods;
    assert_eq!((&after[0].uid, &after[0].address), (&pods[0].uid, &pods[0].address), "{after:?}");
    assert_eq!(consoles_of(second.folder.path()), 1);
    // A stop leaves the pod running as well; the next dispatcher ends it if pods are not adopted.
    assert_eq!(second.stop().await.code(), Some(0));
    assert_eq!(consoles_of(second.folder.path()), 1);
    let folder = std::mem::replace(&mut second.folder, tempfile::tempdir().unwrap());
    let text = std::fs::read_to_string(&file).unwrap().replace("\"adopt\"", "\"stop\"");
    std::fs::write(&file, text).unwrap();
    let third = Dispatcher::serve(folder, &file, &[]).await;
    nothing_is_left_of(third.folder.path()).await;
}

#[tokio::test]
async fn if_no_pod_can_start_visitors_and_the_log_have_the_same_problem_number() {
    let pools = "[pools.pool]\ntitle = \"Desktop\"\n[pools.pool.processes]\ncommand = [\"/nowhere/desktop\"]\n\
                 data_folder = \"data\"\nrestart_backoff_limit_seconds = 1\n";
    let dispatcher = Setup { pools: pools.into(), ..Setup::default() }.start().await;
    let mut ana = Visitor::of(&dispatcher);
    ana.page("/").await;
    let told = ana.is_told("failing").await;
    let problem = told["problem"].as_str().unwrap().to_owned();
    assert_eq!((&told["position"], &told["estimate_seconds"]), (&1.into(), &serde_json::Value::Null), "{told}");
    let page = ana.page("/").await;
    assert_eq!(page.status(), 503);
    let text = page.text();
    assert!(text.contains("It cannot be started right now") && text.contains(&problem), "{text}");
    assert!(!text.contains("nowhere"), "visitors do not see how a pod is started");
    let program = ana.get("/api").await;
    assert_eq!((program.status(), &program.json()["problem"]), (503, &problem.as_str().into()));
    let log = dispatcher.log();
    let line = log.lines().find(|line| line.contains(&problem)).unwrap_or_else(|| panic!("no {problem} in {log}"));
    assert!(line.contains("WARN") && line.contains("there is no such program"), "{line}");
    assert!(dispatcher.metrics().await.of_pool("slotkeeper_process_failures_total", "cause=not_started") > 0);
    let pods = dispatcher.pool().await.pods;
    assert!(pods[0].why.as_ref().is_some_and(|why| why.contains("there is no such program")), "{pods:?}");
}

#[tokio::test]
async fn a_program_that_never_listens_is_reported_in_the_log_and_to_operators() {
    let pools =
        "[pools.pool]\nmin_pods = 1\n[pools.pool.processes]\ncommand = [\"sleep\", \"600\"]\ndata_folder = \"data\"\n";
    let dispatcher = Setup { pools: pools.into(), ..Setup::default() }.start().await;
    let why = async || dispatcher.pool().await.pods.first().and_then(|pod| pod.why.clone()).unwrap_or_default();
    eventually("the reason", async || why().await.starts_with("nothing listens on 127.0.0.1:")).await;
    let log = dispatcher.log();
    let line = log.lines().find(|line| line.contains("pod is not ready: nothing listens on 127.0.0.1:"));
    assert!(line.is_some_and(|line| line.contains("WARN")), "{log}");
}

/// `answer_seconds` is off, so that an error page does not come from that limit.
fn that_may_hang(settings: &str) -> Setup {
    let mut setup = Setup::consoles(&format!("{POOL}\nanswer_seconds = \"off\""));
    setup.pools = setup.pools.replace("stop_grace_seconds = 5", &format!("stop_grace_seconds = 0.2\n{settings}"));
    setup.pools += "timeout_seconds = 0.2\nfailures = 2\n";
    setup
}

#[tokio::test]
async fn a_visitor_of_a_pod_that_hangs_is_informed_and_can_leave() {
    let dispatcher = that_may_hang("restart_unready_seconds = \"off\"").start().await;
    let mut ana = Visitor::of(&dispatcher);
    ana.wait_for_slot().await;
    let _socket = play(&mut ana).await;
    assert_eq!(ana.status().await.get("pod_answers"), None);
    hang(dispatcher.folder.path());
    eventually("an unready pod", async || ana.status().await["pod_answers"] == false).await;
    assert_eq!(ana.status().await["state"], "ready", "it keeps its slot");

    let page = ana.page("/").await;
    assert_eq!(page.status(), 504);
    for words in ["Your place did not answer", "is not answering", "Try again", "/.slotkeeper/leave", ">Leave<"] {
        assert!(page.text().contains(words), "{words}: {}", page.text());
    }
    assert_eq!(dispatcher.metrics().await.of_pool("slotkeeper_timeouts_total", "what=page"), 1);
    ana.post("/.slotkeeper/leave").await;
    ana.is_told("ended").await;
    // The pod that hangs gets no other session.
    let mut bob = Visitor::of(&dispatcher);
    bob.wait_for_slot().await;
    assert_eq!(bob.page("/").await.status(), 200);
    assert_eq!(bob.status().await.get("pod_answers"), None);
}

#[tokio::test]
async fn a_pod_that_hangs_is_restarted_and_its_visitor_continues() {
    let dispatcher = that_may_hang("restart_unready_seconds = 1").start().await;
    let mut ana = Visitor::of(&dispatcher);
    ana.wait_for_slot().await;
    let mut socket = play(&mut ana).await;
    hang(dispatcher.folder.path());
    let closed = patiently("the end of the socket", async {
        loop {
            match socket.next().await {
                Some(Ok(Message::Close(close))) => return close.map(|frame| frame.reason.to_string()),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return None,
            }
        }
    });
    assert!(closed.await.is_none_or(|reason| reason == "pod_lost" || reason == "pod_draining"));
    eventually("a page of the next pod", async || {
        let page = ana.page("/").await;
        page.status() == 200 && !page.text().contains("room.js")
    })
    .await;
    assert_eq!(ana.status().await.get("pod_answers"), None);
}
