//! Environment, user, limits and data of a pod, and the report of a pod that does not answer.

use super::{PATIENCE, Place, SUPERVISOR, start, touch, until};
use slotkeeper::cluster::processes;
use slotkeeper::config::{DataBetween, Processes};
use slotkeeper::outside::{Ids, RealNet};
use slotkeeper_core::{Ordinal, Phase, Time};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

async fn written(place: &Place, name: &str) -> String {
    let file = place.file(0, name);
    until(name, || std::fs::read_to_string(&file).ok()?.strip_suffix('\n').map(str::to_owned)).await
}

#[tokio::test]
async fn a_pod_gets_only_the_named_variables_of_the_dispatchers_environment() {
    let place = Place::new();
    // Set for every test of this package.
    assert!(std::env::var("CARGO_MANIFEST_DIR").is_ok() && std::env::var("CARGO_PKG_NAME").is_ok());
    let mut settings = place.settings(&["/bin/sh", "-c", "env > {data}/new; mv {data}/new {data}/env; exec sleep 600"]);
    settings.inherit = vec!["CARGO_PKG_*".into()];
    let mut pool = start(settings).await;
    pool.order(1, 1).await;
    let environment = written(&place, "env").await;
    assert!(!environment.contains("CARGO_MANIFEST_DIR="), "{environment}");
    assert!(environment.contains("CARGO_PKG_NAME=slotkeeper"), "{environment}");
    assert!(environment.contains("SLOTKEEPER_POOL=games") && environment.contains("PATH="), "{environment}");
    pool.cluster.stop().await;
}

#[tokio::test]
async fn a_pod_runs_as_its_user_and_owns_its_folder_or_the_pool_is_refused() {
    let place = Place::new();
    let script = "echo $(id -u) $(id -g) $HOME > {data}/id; exec sleep 600";
    let settings = Processes {
        user: Some("65534".into()),
        group: Some("65533".into()),
        ..place.settings(&["/bin/sh", "-c", script])
    };
    if rustix::process::geteuid().is_root() {
        std::fs::set_permissions(place.folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let mut pool = start(settings).await;
        pool.order(1, 1).await;
        let id = written(&place, "id").await;
        assert!(id.starts_with("65534 65533 /"), "{id}");
        pool.cluster.stop().await;
    } else {
        let (net, supervisor) = (Arc::new(RealNet), Path::new(SUPERVISOR));
        let refused = processes::start(&"games".into(), settings, net, &Ids::Os, supervisor, Time(1)).err().unwrap();
        assert!(refused.to_string().contains("only a dispatcher that runs as root"), "{refused}");
    }
}

#[tokio::test]
async fn limits_are_applied_to_pods() {
    let place = Place::new();
    let mut settings =
        place.settings(&["/bin/sh", "-c", "echo $(ulimit -n) $(ulimit -H -n) > {data}/limits; exec sleep 600"]);
    settings.limits.files = Some(77);
    let mut pool = start(settings).await;
    pool.order(1, 1).await;
    assert_eq!(written(&place, "limits").await, "77 77");
    pool.cluster.stop().await;
}

#[tokio::test]
async fn data_of_a_session_is_wiped_before_the_next_incarnation_starts() {
    let place = Place::new();
    let script = "ls -A {data} | tr '\\n' ' ' > {data}.seen.new; echo >> {data}.seen.new; mv {data}.seen.new {data}.seen; \
                  echo secret > {data}/secret; echo secret > here; echo secret > $HOME/secret; echo secret > $TMPDIR/secret; \
                  mkdir {data}/deep; chmod 000 {data}/deep; ln -s / {data}/link; touch {data}/up; exec sleep 600";
    let mut settings = place.settings(&["/bin/sh", "-c", script]);
    settings.data = DataBetween::Wipe;
    let mut pool = start(settings).await;
    pool.order(1, 1).await;
    pool.scale().await;
    for _ in 0..2 {
        let uid = pool.starting(0).await;
        until("it is up", || place.file(0, "up").exists().then_some(())).await;
        let seen = std::fs::read_to_string(place.folder.path().join("0.seen")).unwrap();
        assert_eq!(seen.trim(), "home run tmp");
        assert!(place.file(0, "here").exists(), "it runs in its own folder");
        pool.cluster.recycle(Ordinal(0), uid.clone()).await.unwrap();
        pool.is(0, &uid, Phase::Terminating).await;
        pool.gone(0).await;
    }
    pool.order(0, 2).await;
    pool.cluster.stop().await;
    assert!(!place.folder.path().join("0").exists());
    let left = std::fs::read_dir(place.folder.path().join(".slotkeeper")).unwrap();
    let names: Vec<String> = left.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(names, ["lock"]);
}

#[tokio::test]
async fn a_program_that_never_listens_is_reported_with_what_was_tried() {
    let place = Place::new();
    let mut pool = place.script("exec sleep 600").await;
    pool.order(1, 1).await;
    pool.scale().await;
    let uid = pool.starting(0).await;
    let (same, phase) = pool.phase(0).await;
    let Phase::Pending { why } = phase else { panic!("{phase:?}") };
    assert_eq!(same, uid);
    assert!(why.starts_with("nothing listens on 127.0.0.1:") && why.contains(" yet ("), "{why}");
    pool.cluster.stop().await;
}

#[tokio::test]
async fn a_health_check_that_fails_is_reported_with_its_answer() {
    let place = Place::new();
    std::fs::create_dir(place.folder.path().join("0")).unwrap();
    touch(&place.file(0, "sick"));
    let mut pool = start(place.server()).await;
    pool.order(1, 1).await;
    pool.scale().await;
    pool.starting(0).await;
    let (_, phase) = pool.phase(0).await;
    let Phase::Pending { why } = phase else { panic!("{phase:?}") };
    assert!(why.starts_with("GET /health answers 503 ("), "{why}");
    std::fs::remove_file(place.file(0, "sick")).unwrap();
    pool.ready(0).await;
    pool.cluster.stop().await;
}

#[tokio::test]
async fn a_pod_that_stops_answering_is_restarted_after_its_limit_but_an_unhealthy_one_is_not() {
    let place = Place::new();
    let mut settings = place.server();
    settings.restart_unready = Some(Duration::from_millis(50));
    settings.probe.timeout = Duration::from_millis(20);
    settings.stop_grace = PATIENCE;
    let mut pool = start(settings).await;
    pool.order(1, 1).await;
    pool.scale().await;
    pool.starting(0).await;
    let (uid, address) = pool.ready(0).await;
    touch(&place.file(0, "sick"));
    pool.is(0, &uid, Phase::Unready).await;
    let quiet = tokio::time::timeout(Duration::from_millis(200), pool.next()).await;
    assert!(quiet.is_err(), "it answers: {quiet:?}");
    std::fs::remove_file(place.file(0, "sick")).unwrap();
    pool.is(0, &uid, Phase::Ready { address }).await;
    touch(&place.file(0, "hang"));
    pool.is(0, &uid, Phase::Unready).await;
    assert_eq!(pool.gone(0).await, uid);
    let (_, why) = pool.failed(0).await;
    assert_eq!(why, "was ended once, last: it did not answer for 50 ms; next try in 1 ms");
    std::fs::remove_file(place.file(0, "hang")).unwrap();
    pool.starting(0).await;
    pool.cluster.stop().await;
}
