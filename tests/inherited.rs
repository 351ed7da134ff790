//! State that a dispatcher inherits: signals that its parent ignores or blocks, and a limit of open files.

use crate::http::SHARED;
use rustix::process::Signal;
use slotkeeper_tests::dispatcher::binary;
use slotkeeper_tests::{Dispatcher, Pod, Setup, Visitor, Wire, eventually};
use std::process::Command;

/// Starts the dispatcher by a shell script, which must end with `exec "$0" "$@"`.
async fn started_by(script: &str, setup: &Setup) -> Dispatcher {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("slotkeeper.toml");
    std::fs::write(&file, setup.text()).unwrap();
    let mut command = Command::new("sh");
    command.args(["-c", script]).arg(binary("slotkeeper")).args(["serve", "--config"]).arg(&file);
    command.env("XDG_STATE_HOME", folder.path()).env("RUST_LOG", "info");
    Dispatcher::run(folder, command).await
}

const IGNORING: &str = "trap '' HUP INT QUIT TERM CHLD USR1; exec \"$0\" \"$@\"";
const BLOCKING: &str = "exec env --block-signal=TERM,INT,CHLD \"$0\" \"$@\"";

/// The signals of a line of `/proc/ID/status`, as a mask.
fn mask(status: &str, key: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(key)).unwrap();
    u64::from_str_radix(line.trim(), 16).unwrap()
}

fn bits(signals: &[Signal]) -> u64 {
    signals.iter().map(|signal| 1 << (signal.as_raw() - 1)).sum()
}

#[tokio::test]
async fn a_dispatcher_whose_parent_ignores_or_blocks_signals_can_still_be_stopped() {
    let pod = Pod::named("pod").await;
    for script in [IGNORING, BLOCKING] {
        for signal in [Signal::TERM, Signal::INT, Signal::QUIT] {
            let mut dispatcher = started_by(script, &Setup::fixed(&[&pod], SHARED)).await;
            dispatcher.signal(signal);
            let status = dispatcher.end().await;
            assert_eq!(status.success(), signal != Signal::QUIT, "{script} {signal:?}: {status:?}");
        }
    }
}

#[tokio::test]
async fn pods_get_default_signals_and_the_dispatchers_original_limit_of_open_files() {
    let console = binary("slotkeeper-console").display().to_string();
    let program = format!(
        "ulimit -Sn > {{data}}/files; cat /proc/self/status > {{data}}/status; exec {console} --listen {{host}}:{{port}} --name c --data {{data}}"
    );
    let pools = format!(
        "[pools.pool]\nmin_pods = 1\n[pools.pool.processes]\ncommand = [\"sh\", \"-c\", {program:?}]\n\
         data_folder = \"data\"\n[pools.pool.processes.probe]\npath = \"/readyz\"\nevery_seconds = 0.05\n"
    );
    let setup = Setup { pools, ..Setup::default() };
    for script in [IGNORING, BLOCKING] {
        let mut dispatcher = started_by(&format!("ulimit -Sn 300; {script}"), &setup).await;
        let data = dispatcher.folder.path().join("data/0");
        let mut ana = Visitor::of(&dispatcher);
        ana.wait_for_slot().await;
        let read = |name: &str| std::fs::read_to_string(data.join(name)).unwrap();
        assert_eq!(read("files").trim(), "300");
        let signals = bits(&[Signal::HUP, Signal::INT, Signal::QUIT, Signal::TERM, Signal::CHILD, Signal::USR1]);
        for key in ["SigIgn:", "SigBlk:"] {
            assert_eq!(mask(&read("status"), key) & signals, 0, "{script} {key} {}", read("status"));
        }
        let limits = std::fs::read_to_string(format!("/proc/{}/limits", dispatcher.id())).unwrap();
        let files: Vec<&str> =
            limits.lines().find(|l| l.starts_with("Max open files")).unwrap().split_whitespace().collect();
        assert_eq!(files[3], files[4], "the dispatcher's limit is raised to the hard limit");
        assert!(dispatcher.stop().await.success());
    }
}

#[tokio::test]
async fn connections_from_visitors_leave_descriptors_for_operators_and_pods() {
    let pod = Pod::named("pod").await;
    let setup = Setup::fixed(&[&pod], SHARED).limit("connections = 5000");
    let dispatcher = started_by("ulimit -n 100; exec \"$0\" \"$@\"", &setup).await;
    assert!(dispatcher.log().contains("connections from visitors instead of 5000"), "{}", dispatcher.log());
    let mut silent = Vec::new();
    for _ in 0..150 {
        silent.push(Wire::to(dispatcher.visitors).await);
    }
    eventually("all places to be taken", async || {
        dispatcher.metrics().await.get("slotkeeper_connections_waited_total") >= Some(1.0)
    })
    .await;
    let limit = dispatcher.metrics().await.get("slotkeeper_connections_limit");
    assert_eq!(dispatcher.metrics().await.get("slotkeeper_connections_open"), limit);
    assert_eq!(Visitor::at(dispatcher.admin).get("/healthz").await.status(), 200);
    drop(silent);
    assert_eq!(Visitor::of(&dispatcher).get("/").await.text(), "pod");
    eventually("a log line", async || dispatcher.log().contains("connection limit for visitors reached")).await;
    let log = dispatcher.log();
    assert_eq!(log.matches("connection limit for visitors reached").count(), 1, "{log}");
    assert_eq!(
        dispatcher.metrics().await.get("slotkeeper_accept_errors_total{listener=\"visitors\"}"),
        Some(0.0),
        "{log}"
    );
}
