//! `on_restart = "adopt"`: pods keep running without a dispatcher, and the next one adopts them.

use super::{Place, SERVE, Watch, alive, begin, is_dead, start, touch, until};
use slotkeeper::config::{OnRestart, Processes};
use slotkeeper_core::{Command, Ordinal, Phase, Sighting, Time, Uid};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::runtime::Runtime;

/// Pods that outlive their dispatcher. They answer requests, and write to their output all the time.
fn settings(place: &Place) -> Processes {
    let server = place.server();
    let program = server.command.join(" ");
    let mut command = vec!["/bin/sh".to_owned(), "-c".to_owned()];
    command.push(format!("echo $$ > {{data}}/pid; {program} & while :; do echo on; sleep 0.02; done"));
    let (on_restart, stop_grace) = (OnRestart::Adopt, Duration::from_millis(50));
    assert_eq!(server.environment[0].0, SERVE);
    Processes { command, on_restart, stop_grace, ..server }
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

/// A dispatcher that starts one pod, and ends at once when its runtime does, as if it were killed.
fn killed_dispatcher(settings: Processes) -> (Uid, SocketAddr) {
    let first = runtime();
    let found = first.block_on(async {
        let mut pool = start(settings).await;
        pool.order(1, 7).await;
        pool.scale().await;
        pool.starting(0).await;
        pool.ready(0).await
    });
    drop(first);
    found
}

async fn next_dispatcher(settings: Processes) -> (Watch, Vec<Sighting>) {
    let mut pool = Watch::new(begin(settings, Time(2)));
    match pool.next().await {
        Command::PodsListed { pods, .. } => (pool, pods),
        other => panic!("not a list: {other:?}"),
    }
}

#[test]
fn a_pod_survives_a_dispatcher_that_is_killed_and_keeps_its_incarnation() {
    let place = Place::new();
    let (uid, address) = killed_dispatcher(settings(&place));
    runtime().block_on(async {
        let pid = place.pid(0, "pid").await;
        let (mut pool, listed) = next_dispatcher(settings(&place)).await;
        assert!(alive(pid));
        let phase = Phase::Ready { address };
        assert_eq!(listed, [Sighting { pod: Ordinal(0), uid: uid.clone(), phase: phase.clone() }]);
        assert_eq!(pool.scale().await, (0, 1, 0));
        pool.order(1, 8).await;
        assert_eq!(pool.scale().await, (0, 1, 8), "nothing is started or stopped");
        // The pod's health is checked as before.
        touch(&place.file(0, "sick"));
        pool.is(0, &uid, Phase::Unready).await;
        std::fs::remove_file(place.file(0, "sick")).unwrap();
        pool.is(0, &uid, phase).await;
        pool.cluster.recycle(Ordinal(0), uid.clone()).await.unwrap();
        pool.is(0, &uid, Phase::Terminating).await;
        assert_eq!(pool.gone(0).await, uid);
        assert!(!alive(pid));
        pool.starting(0).await;
        pool.order(0, 9).await;
        pool.phase(0).await;
    });
}

#[test]
fn a_dispatcher_that_stops_leaves_its_pods_to_the_next() {
    let place = Place::new();
    runtime().block_on(async {
        let mut pool = start(settings(&place)).await;
        pool.order(1, 7).await;
        pool.scale().await;
        pool.starting(0).await;
        let (uid, _) = pool.ready(0).await;
        let pid = place.pid(0, "pid").await;
        pool.cluster.stop().await;
        drop(pool);
        assert!(alive(pid));
        let (pool, listed) = loop {
            // The former dispatcher unlocks its folder when its last task has ended.
            tokio::task::yield_now().await;
            if std::fs::File::open(place.folder.path().join(".slotkeeper/lock")).unwrap().try_lock().is_ok() {
                break next_dispatcher(settings(&place)).await;
            }
        };
        assert_eq!(listed.iter().map(|s| &s.uid).collect::<Vec<_>>(), [&uid]);
        assert!(alive(pid));
        drop(pool);
    });
}

#[test]
fn a_pod_with_changed_settings_is_ended_and_not_adopted() {
    let place = Place::new();
    killed_dispatcher(settings(&place));
    runtime().block_on(async {
        let pid = place.pid(0, "pid").await;
        let mut other = settings(&place);
        other.environment.push(("NEW".into(), "1".into()));
        let (mut pool, listed) = next_dispatcher(other).await;
        assert_eq!(listed, []);
        assert!(!alive(pid));
        assert_eq!(pool.scale().await, (0, 0, 0));
    });
}

#[test]
fn a_pod_is_not_adopted_if_pods_end_with_their_dispatcher() {
    let place = Place::new();
    killed_dispatcher(settings(&place));
    runtime().block_on(async {
        let pid = place.pid(0, "pid").await;
        let (_pool, listed) = next_dispatcher(Processes { on_restart: OnRestart::Stop, ..settings(&place) }).await;
        assert_eq!(listed, []);
        assert!(!alive(pid));
    });
}

#[test]
fn a_pod_that_is_not_adopted_in_time_ends_by_itself() {
    let place = Place::new();
    killed_dispatcher(Processes { adopt_within: Duration::from_millis(100), ..settings(&place) });
    runtime().block_on(async {
        is_dead(place.pid(0, "pid").await).await;
        until("its socket is removed", || (!place.folder.path().join(".slotkeeper/0.sock").exists()).then_some(()))
            .await;
        let (_pool, listed) = next_dispatcher(settings(&place)).await;
        assert_eq!(listed, []);
    });
}
