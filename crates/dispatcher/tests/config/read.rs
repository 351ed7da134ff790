//! The meaning of valid files.

use super::{PROCESSES, config};
use slotkeeper::config::{Admission, ClusterConfig, HostPattern, Landing, PoolConfig, ProbeKind, read};
use slotkeeper_core::{AfterSession, Millis, Placement, Scaling, Spare, Window};
use std::path::Path;
use std::time::Duration;

fn pool(lines: &str) -> PoolConfig {
    config(&format!("[pools.a]\n{lines}\n{PROCESSES}")).pools.remove(0)
}

#[test]
fn defaults_are_those_of_the_behaviour_document() {
    let pool = pool("");
    let rules = &pool.rules;
    let secs = Millis::secs;
    // Behaviour §3: the table of clocks, and the line of further defaults below it.
    assert_eq!(rules.queue_lease, secs(30));
    assert_eq!(rules.claim, secs(60));
    assert_eq!(rules.grace, secs(30));
    assert_eq!(pool.linger, Duration::from_secs(60));
    assert_eq!(pool.half_open, Some(Duration::from_secs(30)));
    assert_eq!((rules.idle, rules.max_session), (None, None));
    assert_eq!(rules.silence, secs(60));
    assert_eq!(rules.cooldown, secs(5 * 60));
    assert_eq!(rules.stuck_after, secs(10 * 60));
    assert_eq!(pool.hold, Duration::ZERO);
    assert_eq!(rules.queue_limit, 1000);
    assert_eq!(rules.warn_before, secs(5 * 60));
    assert_eq!(rules.extend_limit, secs(30 * 60));
    // §2, §5, §6, §7: an exclusive pool.
    assert_eq!(pool.admission, Admission::Returning);
    assert_eq!((rules.placement, rules.sticky_storage), (Placement::Pack, true));
    assert_eq!(rules.after_session, AfterSession::Keep);
    assert_eq!((rules.min, rules.spare), (0, Spare::Slots(0)));
    assert_eq!(rules.scaling, Scaling::Direct { window: Window::Fixed });
}

#[test]
fn a_shared_pool_has_its_own_defaults_which_can_be_overridden() {
    let shared = pool("slots_per_pod = 50");
    assert_eq!(shared.admission, Admission::Immediate);
    assert_eq!((shared.rules.placement, shared.rules.sticky_storage), (Placement::Spread, false));
    let other = pool("slots_per_pod = 50\nadmission = 'returning'\nplacement = 'pack'\nsticky_storage = true");
    assert_eq!(other.admission, Admission::Returning);
    assert_eq!((other.rules.placement, other.rules.sticky_storage), (Placement::Pack, true));
}

#[test]
fn the_size_of_a_fixed_pool_is_the_length_of_its_list() {
    let config = config("[pools.a.fixed]\npods = ['127.0.0.1:1', 'b.example:2', '[::1]:3']");
    let rules = &config.pools[0].rules;
    assert_eq!((rules.min, rules.max, rules.scaling), (3, 3, Scaling::None));
}

#[test]
fn durations_may_be_texts_with_units_everywhere() {
    let text = "drain_seconds = '1m30s'
[limits]
idle_seconds = '2m'
linger_seconds = 'off'
[pools.a]
grace_seconds = '10m'
idle_seconds = '1h30m'
max_session_seconds = '1d'
hold_seconds = '500ms'
answer_seconds = '1.5m'
stall_seconds = '0s'
connections = { idle_seconds = '2s', age_seconds = '0s' }
[pools.a.processes]
command = ['x']
data_folder = 'd'
stop_grace_seconds = '3s'
probe = { every_seconds = '200ms' }
";
    let config = config(text);
    let pool = &config.pools[0];
    assert_eq!(config.drain, Duration::from_secs(90));
    assert_eq!((config.limits.idle, config.limits.linger), (Duration::from_secs(120), Duration::ZERO));
    assert_eq!(pool.rules.grace, Millis::secs(600));
    assert_eq!((pool.rules.idle, pool.rules.max_session), (Some(Millis::secs(5400)), Some(Millis::secs(86_400))));
    assert_eq!(pool.hold, Duration::from_millis(500));
    assert_eq!((pool.answer, pool.stall), (Some(Duration::from_secs(90)), None));
    assert_eq!((pool.connections.idle, pool.connections.age), (Some(Duration::from_secs(2)), None));
    let ClusterConfig::Processes(processes) = &pool.cluster else { panic!("{:?}", pool.cluster) };
    assert_eq!((processes.stop_grace, processes.probe.every), (Duration::from_secs(3), Duration::from_millis(200)));
}

#[test]
fn seconds_may_have_fractions_and_clocks_may_be_off() {
    let pool = pool(
        "grace_seconds = 0.25\nhalf_open_seconds = 0\nidle_seconds = 'off'\nmax_session_seconds = 90.5\nhold_seconds = 'off'",
    );
    assert_eq!(pool.rules.grace, Millis(250));
    assert_eq!((pool.half_open, pool.rules.idle, pool.hold), (None, None, Duration::ZERO));
    assert_eq!(pool.rules.max_session, Some(Millis(90_500)));
}

#[test]
fn the_default_of_warn_before_is_at_most_half_of_the_shortest_limit() {
    assert_eq!(pool("idle_seconds = 60").rules.warn_before, Millis::secs(30));
    assert_eq!(pool("idle_seconds = 3600\nmax_session_seconds = 120").rules.warn_before, Millis::secs(60));
    assert_eq!(pool("max_session_seconds = 86400").rules.warn_before, Millis::secs(300));
    assert_eq!(pool("idle_seconds = 60\nwarn_before_seconds = 50").rules.warn_before, Millis::secs(50));
}

#[test]
fn spare_is_slots_or_a_percentage() {
    assert_eq!(pool("max_pods = 5\nspare = 2").rules.spare, Spare::Slots(2));
    assert_eq!(pool("spare = '10%'").rules.spare, Spare::Percent(10));
}

#[test]
fn paths_are_relative_to_the_file() {
    let config = config(
        "[pools.a.processes]\ncommand = ['bin/run', 'bin/x']\ndata_folder = 'data'\nworking_folder = '/srv'\n\
         [pools.b]\npath = '/b'\nprocesses = { command = ['run'], data_folder = '/data' }\n",
    );
    let processes: Vec<_> = config
        .pools
        .iter()
        .map(|pool| match &pool.cluster {
            ClusterConfig::Processes(processes) => processes,
            ClusterConfig::Fixed(_) | ClusterConfig::Kubernetes(_) => panic!("processes"),
        })
        .collect();
    assert_eq!(processes[0].command, ["/etc/slotkeeper/bin/run", "bin/x"]);
    assert_eq!(processes[0].data_folder, Path::new("/etc/slotkeeper/data"));
    assert_eq!(processes[0].working_folder.as_deref(), Some(Path::new("/srv")));
    assert_eq!(processes[1].command, ["run"], "from PATH");
    assert_eq!(processes[1].data_folder, Path::new("/data"));
}

#[test]
fn the_only_pool_has_the_plain_cookie_and_several_have_their_own() {
    assert_eq!(pool("").cookie_name, "slotkeeper");
    let fixed =
        |name: &str, port: u16| format!("[pools.{name}]\npath = '/{name}'\nfixed = {{ pods = ['h:{port}'] }}\n");
    let config = config(&(fixed("a", 1) + &fixed("b", 2)));
    assert_eq!(config.pools[0].cookie_name, "slotkeeper_a");
    assert_eq!(config.pools[1].cookie_name, "slotkeeper_b");
}

#[test]
fn pools_with_different_hosts_may_share_a_cookie_name_and_a_path() {
    config(&format!(
        "[pools.a]\nhosts = ['a.example']\ncookie_name = 'x'\n{PROCESSES}\
         [pools.b]\nhosts = 'B.example'\ncookie_name = 'x'\nfixed = {{ pods = ['h:1'] }}\n"
    ));
}

#[test]
fn hosts_networks_and_origins_are_normalised() {
    let config = config(&format!(
        "listen = ['127.0.0.1:1', '[::1]:0']\ntrusted_proxies = ['10.0.0.0/8', 'fd00::/8', '192.0.2.7', '0.0.0.0/0']\n\
         admin = {{ listen = 'off' }}\n\
         [pools.a]\nhosts = ['Play.Example.', '[0:0::1]', '127.0.0.1', '*.Example.com']\npath = '/play/'\nlanding_url = 'http://wait.example/a?b=c'\n\
         cookie_name = '__Host-a'\nallowed_origins = ['https://App.example:8443', 'https://*.A.example', 'null', 'app://obsidian.md', '*']\npriority_header = 'X-Class'\n{PROCESSES}probe = {{ path = '/ready' }}\n"
    ));
    assert_eq!(config.listen.len(), 2);
    assert_eq!(config.admin.listen, None);
    let networks: Vec<String> = config.trusted_proxies.iter().map(|n| format!("{}/{}", n.address, n.prefix)).collect();
    assert_eq!(networks, ["10.0.0.0/8", "fd00::/8", "192.0.2.7/32", "0.0.0.0/0"]);
    let pool = &config.pools[0];
    let texts = |items: &[HostPattern]| items.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(texts(&pool.hosts), ["play.example", "[::1]", "127.0.0.1", "*.example.com"]);
    assert_eq!(pool.path, "/play");
    assert_eq!(pool.landing, Some(Landing { authority: "wait.example:80".into(), path: "/a?b=c".into() }));
    let origins: Vec<String> = pool.allowed_origins.iter().map(ToString::to_string).collect();
    assert_eq!(origins, ["https://app.example:8443", "https://*.a.example", "null", "app://obsidian.md", "*"]);
    assert_eq!(pool.cookie_name, "__Host-a");
    assert_eq!(pool.priority_header.as_ref().unwrap(), "x-class");
    let ClusterConfig::Processes(processes) = &pool.cluster else { panic!("processes") };
    assert_eq!(processes.probe.kind, ProbeKind::Http { path: "/ready".into() });
}

#[test]
fn pools_keep_the_order_of_the_file() {
    let names = |text: &str| config(text).pools.iter().map(|pool| pool.id.0.to_string()).collect::<Vec<_>>();
    let text = "[pools.z]\npath = '/z'\nfixed = { pods = ['h:1'] }\n[pools.a.fixed]\npods = ['h:2']\n";
    assert_eq!(names(text), ["z", "a"]);
}

#[test]
fn a_missing_file_is_reported() {
    let error = read(Path::new("/nowhere/slotkeeper.toml")).unwrap_err();
    assert_eq!(error.to_string(), "/nowhere/slotkeeper.toml: cannot be read: No such file or directory (os error 2)");
}
