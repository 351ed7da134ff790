//! No process of a pod survives the pod, whatever its processes do. Each test runs with control groups, where this
//! machine lets the tests create some, and without.

use super::{DISPATCH, Place, SUPERVISOR, Watch, alive, begin, is_dead, start, until};
use slotkeeper::config::Processes;
use slotkeeper_core::{Command, Ordinal, Phase, Time};
use std::process::Stdio;
use std::time::Duration;

/// A pod with a daemon: in its own session, forked twice, ignoring SIGTERM.
const DAEMON: &str = "(setsid sh -c 'trap \"\" TERM HUP; echo $$ > {data}/daemon; while :; do sleep 1; done' &) ; \
                      trap '' TERM; echo $$ > {data}/pid; echo $PPID > {data}/supervisor; while :; do sleep 1; done";

fn settings(place: &Place, script: &str, cgroup: bool) -> Processes {
    let stop_grace = Duration::from_millis(50);
    Processes { stop_grace, cgroup, ..place.settings(&["/bin/sh", "-c", script]) }
}

#[tokio::test]
async fn a_daemon_of_the_former_session_ends_before_the_next_incarnation_starts() {
    for cgroup in [true, false] {
        let place = Place::new();
        let mut pool = start(settings(&place, DAEMON, cgroup)).await;
        pool.order(1, 1).await;
        pool.scale().await;
        let uid = pool.starting(0).await;
        let pids = [place.pid(0, "daemon").await, place.pid(0, "pid").await];
        let supervisor = place.pid(0, "supervisor").await;
        pool.cluster.recycle(Ordinal(0), uid.clone()).await.unwrap();
        pool.is(0, &uid, Phase::Terminating).await;
        assert_eq!(pool.gone(0).await, uid);
        assert_eq!(pids.map(alive), [false, false], "before it is reported as gone");
        is_dead(supervisor).await;
        pool.cluster.stop().await;
    }
}

#[tokio::test]
async fn a_daemon_ends_with_a_pod_that_ends_by_itself() {
    for cgroup in [true, false] {
        let place = Place::new();
        let script = DAEMON.replace("while :; do sleep 1; done\"", "").replace(
            "trap '' TERM; echo $$ > {data}/pid",
            "while [ ! -s {data}/daemon ]; do sleep 0.01; done; exit 3; echo $$ > {data}/pid",
        );
        let mut pool = start(settings(&place, &script, cgroup)).await;
        pool.order(1, 1).await;
        pool.scale().await;
        let uid = pool.starting(0).await;
        assert_eq!(pool.gone(0).await, uid);
        let daemon = place.pid(0, "daemon").await;
        assert!(!alive(daemon), "before it is reported as gone");
        pool.cluster.stop().await;
    }
}

#[tokio::test]
async fn a_pod_that_kills_its_supervisor_ends_with_all_its_processes() {
    for cgroup in [true, false] {
        let place = Place::new();
        let script = format!("[ -e {{data}}/go ] && exec sleep 600; touch {{data}}/go; {DAEMON}");
        let script = script.replace("while :; do sleep 1; done\"", "").replace(
            "echo $PPID > {data}/supervisor;",
            "while [ ! -s {data}/daemon ]; do sleep 0.01; done; kill -9 $PPID;",
        );
        let mut pool = start(settings(&place, &script, cgroup)).await;
        pool.order(1, 1).await;
        pool.scale().await;
        let uid = pool.starting(0).await;
        assert_eq!(pool.gone(0).await, uid);
        let pids = [place.pid(0, "daemon").await, place.pid(0, "pid").await];
        assert_eq!(pids.map(alive), [false, false], "before it is reported as gone");
        let (_, why) = pool.failed(0).await;
        assert!(why.starts_with("crashed once, last: its supervisor was killed"), "{why}");
        pool.starting(0).await;
        pool.cluster.stop().await;
    }
}

/// A dispatcher in its own process, with one pod that has a daemon.
fn dispatcher(place: &Place, cgroup: bool) -> tokio::process::Child {
    let folder = place.folder.path().to_str().unwrap();
    let child = tokio::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "processes::escapes::dispatch_if_asked"])
        .env(DISPATCH, format!("{cgroup} {folder}"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn();
    child.unwrap()
}

/// Not a test, but that dispatcher.
#[tokio::test]
async fn dispatch_if_asked() {
    let Ok(asked) = std::env::var(DISPATCH) else { return };
    let Some((cgroup, folder)) = asked.split_once(' ') else { return };
    let place = Place::new();
    let settings = Processes { data_folder: folder.into(), ..settings(&place, DAEMON, cgroup == "true") };
    let mut pool = start(settings).await;
    pool.order(1, 1).await;
    loop {
        pool.cluster.next_observation().await;
    }
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn all_processes_end_with_a_dispatcher_that_is_killed() {
    for cgroup in [true, false] {
        let place = Place::new();
        let mut dispatcher = dispatcher(&place, cgroup);
        let pids = [place.pid(0, "daemon").await, place.pid(0, "supervisor").await, place.pid(0, "pid").await];
        assert_eq!(pids.map(alive), [true, true, true]);
        dispatcher.kill().await.unwrap();
        for pid in pids {
            is_dead(pid).await;
        }
    }
}

fn signal(pid: u32, name: &str) {
    let kill = format!("kill -{name} {pid}");
    assert!(std::process::Command::new("/bin/sh").args(["-c", &kill]).status().unwrap().success());
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn processes_left_by_a_killed_dispatcher_and_supervisor_are_ended_before_the_next_start() {
    for cgroup in [true, false] {
        let place = Place::new();
        let mut dispatcher = dispatcher(&place, cgroup);
        let daemon = place.pid(0, "daemon").await;
        let (supervisor, pid) = (place.pid(0, "supervisor").await, place.pid(0, "pid").await);
        until("it is recorded", || {
            let record = std::fs::read_to_string(place.folder.path().join(".slotkeeper/0.json")).ok()?;
            record.contains("\"leader\":{").then_some(())
        })
        .await;
        signal(supervisor, "STOP");
        dispatcher.kill().await.unwrap();
        signal(supervisor, "KILL");
        is_dead(pid).await;
        assert!(alive(daemon), "no supervisor is left to end it");
        std::fs::remove_file(place.file(0, "daemon")).unwrap();
        let mut pool = Watch::new(begin(settings(&place, "exec sleep 600", cgroup), Time(2)));
        // The list is reported when all processes of a former dispatcher have ended.
        assert!(matches!(pool.next().await, Command::PodsListed { pods, .. } if pods.is_empty()));
        assert!(!alive(daemon));
        assert!(!place.folder.path().join(".slotkeeper/0.json").exists());
        pool.cluster.stop().await;
    }
}

#[tokio::test]
async fn another_dispatcher_does_not_get_the_same_data_folder() {
    let place = Place::new();
    let pool = start(settings(&place, "exec sleep 600", false)).await;
    let (net, ids) = (std::sync::Arc::new(slotkeeper::io::RealNet), slotkeeper::io::Ids::Os);
    let again = slotkeeper::cluster::processes::start(
        &"games".into(),
        settings(&place, "exec sleep 600", false),
        net,
        &ids,
        std::path::Path::new(SUPERVISOR),
        Time(1),
    );
    let said = again.err().unwrap().to_string();
    assert!(said.contains("another dispatcher uses the data folder"), "{said}");
    pool.cluster.stop().await;
}
