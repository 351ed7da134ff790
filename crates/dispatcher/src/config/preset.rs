//! Configurations without a file: a list of pods from the command line, and the demo.

use super::addresses::{endpoint, host_port};
use super::rules::default_rules;
use super::table::{ConfigError, quoted};
use super::{Admin, ClusterConfig, Config, FixedPods, JournalConfig, PoolConfig, ProbeKind, Processes};
use crate::io::BoxError;
use crate::io::tls::self_signed;
use slotkeeper_core::{Millis, Time};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// One pool, `default`, of a fixed list of pods (`host:port`, separated by commas). No admin listener.
///
/// # Errors
/// Everything that is wrong with the arguments, one problem per line.
pub fn from_args(listen: &str, pods: &str, slots_per_pod: u32, threads: usize) -> Result<Config, ConfigError> {
    let mut problems = Vec::new();
    let mut note = |option: &str, what: String| problems.push(format!("{option}: {what}"));
    let address = endpoint(listen).map_err(|what| note("--listen", what));
    let mut seen = BTreeSet::new();
    for pod in pods.split(',').map(str::trim) {
        match host_port(pod) {
            Ok(pod) if !seen.insert(pod.clone()) => {
                note("--pods", format!("{} is in the list twice; allowed: once", quoted(&pod)));
            }
            Ok(_) => {}
            Err(what) => note("--pods", what),
        }
    }
    if slots_per_pod == 0 {
        note("--slots-per-pod", "0 is out of range; allowed: a whole number from 1".to_owned());
    }
    let Ok(address) = address else { return Err(ConfigError { problems }) };
    if !problems.is_empty() {
        return Err(ConfigError { problems });
    }
    let pods = pods.split(',').map(|pod| pod.trim().to_owned()).collect();
    let cluster = ClusterConfig::Fixed(FixedPods::new(pods));
    let mut config = Config::new(vec![PoolConfig::new("default", default_rules(slots_per_pod, &cluster), cluster)]);
    config.listen = vec![address];
    config.threads = threads;
    config.journal = JournalConfig::usual();
    Ok(config)
}

/// At most five consoles, as local processes of `program` (this program itself), scaled to zero without sessions.
#[must_use]
pub fn demo(
    listen: SocketAddr,
    admin: SocketAddr,
    program: PathBuf,
    data_folder: PathBuf,
    cold_start: Duration,
) -> Config {
    let mut command = vec![program.to_string_lossy().into_owned(), "console-pod".to_owned()];
    let arguments = "--listen 127.0.0.1:{port} --name console-{ordinal} --data {data} --cold-start-seconds";
    command.extend(arguments.split(' ').map(str::to_owned));
    command.push(cold_start.as_secs_f64().to_string());
    let mut processes = Processes::new(command, data_folder);
    processes.probe.kind = ProbeKind::Http { path: "/readyz".to_owned() };
    let cluster = ClusterConfig::Processes(processes);
    let mut rules = default_rules(1, &cluster);
    rules.max = 5;
    rules.grace = Millis::secs(10);
    rules.cooldown = Millis::secs(30);
    let mut pool = PoolConfig::new("consoles", rules, cluster);
    pool.title = "Game console".to_owned();
    pool.active_sessions_gauge = Some("gamecube_active_sessions".to_owned());
    let mut config = Config::new(vec![pool]);
    config.listen = vec![listen.into()];
    config.admin = Admin { listen: Some(admin), token: None };
    // Short, because the user who has pressed Ctrl-C waits for it, and there are few sessions.
    config.drain = Duration::from_secs(1);
    config
}

/// Moves the demo's listeners to TLS, with a new self-signed certificate in this folder. Returns its fingerprint.
///
/// # Errors
/// If the certificate cannot be made or written.
pub fn secure_demo(config: &mut Config, folder: &Path, now: Time) -> Result<String, BoxError> {
    config.tls.listen = std::mem::take(&mut config.listen);
    let addresses = config
        .tls
        .listen
        .iter()
        .filter_map(|own| Some(own.address()?.ip()))
        .filter(|ip| !ip.is_unspecified() && !ip.is_loopback());
    let mut names = ["localhost", "127.0.0.1", "::1"].map(str::to_owned).to_vec();
    names.extend(addresses.map(|ip| ip.to_string()));
    let (files, fingerprint) = self_signed(folder, names, now)?;
    config.tls.certificates = vec![files];
    Ok(fingerprint)
}
