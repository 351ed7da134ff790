//! Configurations without a file.

use slotkeeper::config::{ClusterConfig, ProbeKind, demo, from_args};
use slotkeeper_core::{Millis, Placement, Scaling};
use std::net::SocketAddr;
use std::time::Duration;

#[test]
fn arguments_make_a_fixed_pool() {
    let config = from_args("127.0.0.1:8000", "127.0.0.1:9001, pod.example:9002", 1, 3).unwrap();
    assert_eq!((config.listen, config.threads), (vec![SocketAddr::from(([127, 0, 0, 1], 8000)).into()], 3));
    assert_eq!(config.admin.listen, None);
    let [pool] = config.pools.as_slice() else { panic!("one pool") };
    assert_eq!((&*pool.id.0, pool.rules.min, pool.rules.max, pool.rules.scaling), ("default", 2, 2, Scaling::None));
    let ClusterConfig::Fixed(fixed) = &pool.cluster else { panic!("a fixed list") };
    assert_eq!(fixed.pods, ["127.0.0.1:9001", "pod.example:9002"]);
}

#[test]
fn arguments_with_more_slots_make_a_shared_pool() {
    let config = from_args("[::]:0", "[::1]:9001", 100, 0).unwrap();
    assert_eq!(config.pools[0].rules.placement, Placement::Spread);
    assert!(!config.pools[0].rules.sticky_storage);
}

#[test]
fn all_problems_of_the_arguments_are_reported() {
    let error = from_args("8080", "127.0.0.1:9001,,127.0.0.1:9001,http://pod:80", 0, 0).unwrap_err();
    let allowed = "is not HOST:PORT; allowed: such as 127.0.0.1:9000, [::1]:9000 or pod.example:9000";
    assert_eq!(
        error.to_string().lines().collect::<Vec<_>>(),
        [
            "--listen: \"8080\" is not a place to listen; allowed: IP:PORT, such as 0.0.0.0:8080 or [::]:8080, unix:PATH, or systemd:NAME",
            &format!("--pods: \"\" {allowed}"),
            "--pods: \"127.0.0.1:9001\" is in the list twice; allowed: once",
            &format!("--pods: \"http://pod:80\" {allowed}"),
            "--slots-per-pod: 0 is out of range; allowed: a whole number from 1",
        ]
    );
}

#[test]
fn the_demo_is_five_sleeping_consoles() {
    let address = |port| ([127, 0, 0, 1], port).into();
    let config =
        demo(address(8080), address(9090), "/bin/slotkeeper".into(), "/tmp/data".into(), Duration::from_secs(3));
    let [pool] = config.pools.as_slice() else { panic!("one pool") };
    assert_eq!((pool.rules.min, pool.rules.max, pool.rules.slots_per_pod), (0, 5, 1));
    assert_eq!(
        (pool.rules.grace, pool.rules.cooldown, pool.rules.claim),
        (Millis(10_000), Millis(30_000), Millis(60_000))
    );
    let ClusterConfig::Processes(processes) = &pool.cluster else { panic!("processes") };
    assert_eq!(processes.command[..2], ["/bin/slotkeeper", "console-pod"]);
    assert_eq!(processes.probe.kind, ProbeKind::Http { path: "/readyz".into() });
    assert_eq!(processes.first_port, None);
}

#[test]
fn the_example_of_consoles_is_the_demo() {
    let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/consoles.toml");
    let example = slotkeeper::config::read(&file).unwrap();
    let demo = demo(
        example.listen[0].address().unwrap(),
        example.admin.listen.unwrap(),
        "program".into(),
        "data".into(),
        Duration::from_secs(3),
    );
    assert_eq!(example.pools[0].rules, demo.pools[0].rules);
    assert_eq!(example.pools[0].title, demo.pools[0].title);
    assert_eq!(example.pools[0].active_sessions_gauge, demo.pools[0].active_sessions_gauge);
    let (ClusterConfig::Processes(a), ClusterConfig::Processes(b)) =
        (&example.pools[0].cluster, &demo.pools[0].cluster)
    else {
        panic!("processes")
    };
    assert_eq!(a.probe, b.probe);
    let filled: Vec<String> = a.command[1..].iter().map(|part| part.replace("{host}", "127.0.0.1")).collect();
    assert_eq!(filled, b.command[2..]);
}
