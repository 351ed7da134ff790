//! A list of addresses with health checks. A restart of a server cannot be detected from outside, so an address keeps its
//! identity through every outage, and through restarts of the dispatcher: sessions stay where they are. A name keeps its
//! identity when its address changes: its sessions move to the new address, and their streams to the previous one are closed,
//! because that address may belong to another name by now.

use super::observations::{self, Observations, Reporter};
use super::probe::{self, Health};
use super::{Cluster, ClusterError, Size};
use crate::config::{FixedPods, Probe};
use crate::io::{BoxFuture, Net, now};
use futures_util::stream::{FuturesUnordered, StreamExt};
use slotkeeper_core::{Command, Decision, Ordinal, Phase, Sighting, Time, Uid};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::AbortHandle;
use tokio::time::Instant;

/// Maximum of concurrent checks.
const AT_ONCE: usize = 128;
/// Maximum of addresses per name that are tried.
const MOST_ADDRESSES: usize = 4;
/// The minimum pause between two checks of a pod.
const SHORTEST_PAUSE: Duration = Duration::from_millis(10);

/// Starts the pool. Every pod is checked once before the first observation, so that running pods are ready at once.
///
/// `since` is wall time: the pool's observations have higher versions than those of any pool started earlier. Must be called
/// inside a runtime.
#[must_use]
pub fn start(config: FixedPods, net: Arc<dyn Net>, since: Time) -> Arc<dyn Cluster> {
    let (reporter, observations) = observations::channel(since);
    let pods = config.pods.into_iter().enumerate().map(|(n, name)| Pod::new(n as u32, name)).collect();
    let watch = Watch { pods, probe: config.probe, resolve: config.resolve, net, reporter };
    Arc::new(Fixed { observations, watch: tokio::spawn(watch.run()).abort_handle() })
}

struct Fixed {
    observations: Observations,
    watch: AbortHandle,
}

impl Cluster for Fixed {
    fn next_observation(&self) -> BoxFuture<'_, Command> {
        self.observations.next()
    }

    fn scale(&self, _: Size) -> BoxFuture<'_, Result<(), ClusterError>> {
        Box::pin(async { Err(ClusterError::Fixed) })
    }

    fn recycle(&self, _: Ordinal, _: Uid) -> BoxFuture<'_, Result<(), ClusterError>> {
        Box::pin(async { Err(ClusterError::Fixed) })
    }

    fn stop(&self) -> BoxFuture<'_, ()> {
        self.watch.abort();
        Box::pin(async {})
    }
}

impl Drop for Fixed {
    fn drop(&mut self) {
        self.watch.abort();
    }
}

struct Pod {
    ordinal: u32,
    /// `host:port`
    name: Arc<str>,
    uid: Uid,
    phase: Phase,
    health: Health,
    answered: bool,
    /// The addresses of the name, and when it is resolved again: at the latest when none of them answers.
    addresses: Vec<SocketAddr>,
    lookup: Option<Instant>,
}

/// The result of one check: the address that answered, or why none did; and all addresses of the name.
struct CheckResult {
    ordinal: u32,
    addresses: Vec<SocketAddr>,
    result: Result<SocketAddr, String>,
}

impl Pod {
    fn new(ordinal: u32, name: String) -> Pod {
        Pod {
            ordinal,
            uid: Uid(format!("fixed-{ordinal}-{name}").into()),
            name: name.into(),
            phase: observations::pending("it has not answered yet"),
            health: Health::default(),
            answered: false,
            addresses: Vec::new(),
            lookup: None,
        }
    }

    /// True if the phase has changed.
    fn take(&mut self, answer: CheckResult, failures: u32) -> bool {
        let was_ready = self.health.ready;
        self.health.take(answer.result.is_ok(), failures);
        self.addresses = if answer.result.is_ok() { answer.addresses } else { Vec::new() };
        let phase = match answer.result {
            Ok(address) => Phase::Ready { address },
            Err(_) if self.health.ready => return false,
            Err(why) if was_ready => {
                tracing::info!(pod = %self.name, "pod no longer answers: {why}");
                Phase::Unready
            }
            Err(_) if self.phase == Phase::Unready => return false,
            Err(why) => observations::pending(why),
        };
        if let (Phase::Ready { address: before }, Phase::Ready { address }) = (&self.phase, &phase)
            && before != address
        {
            tracing::info!(pod = %self.name, ordinal = self.ordinal, %before, %address, "pod address changed");
        }
        if self.health.ready && !was_ready {
            tracing::info!(pod = %self.name, ordinal = self.ordinal, "pod is ready");
        }
        let changed = self.phase != phase;
        self.phase = phase;
        changed
    }
}

struct Watch {
    pods: Vec<Pod>,
    probe: Probe,
    /// How often names are looked up again.
    resolve: Duration,
    net: Arc<dyn Net>,
    reporter: Reporter,
}

impl Watch {
    async fn run(mut self) {
        let mut checks = FuturesUnordered::new();
        // Pods by the time of their next check.
        let mut due: BTreeSet<(Instant, usize)> = (0..self.pods.len()).map(|n| (now(), n)).collect();
        let mut unanswered = self.pods.len();
        // A long list of pods without an answer must not delay the report of those that answer.
        let patience = now() + self.probe.timeout * 2;
        let mut listed = false;
        let pause = self.probe.every.max(SHORTEST_PAUSE);
        loop {
            if !listed && (unanswered == 0 || patience <= now()) {
                listed = true;
                self.list();
            }
            let next = due.first().copied().filter(|_| checks.len() < AT_ONCE);
            tokio::select! {
                biased;
                Some(answer) = checks.next(), if !checks.is_empty() => {
                    let CheckResult { ordinal, .. } = answer;
                    let n = ordinal as usize;
                    // After the first round, checks are spread over the interval.
                    let shift = pause.mul_f64(n as f64 / self.pods.len() as f64);
                    let pod = &mut self.pods[n];
                    let changed = pod.take(answer, self.probe.failures);
                    if listed && changed {
                        self.reporter.seen(ordinal, &pod.uid, pod.phase.clone());
                    }
                    let again = if std::mem::replace(&mut pod.answered, true) {
                        pause
                    } else {
                        unanswered -= 1;
                        pause + shift
                    };
                    due.insert((now() + again, n));
                }
                n = at(next) => {
                    due.pop_first();
                    checks.push(self.check(n));
                }
                () = tokio::time::sleep_until(patience), if !listed => {}
            }
        }
    }

    /// The first observations: all pods, and a size that never changes.
    fn list(&mut self) {
        let sighting = |p: &Pod| Sighting { pod: Ordinal(p.ordinal), uid: p.uid.clone(), phase: p.phase.clone() };
        self.reporter.listed(self.pods.iter().map(sighting).collect());
        self.reporter.scale(0, self.pods.len() as u32, Decision::default());
        for pod in self.pods.iter().filter(|p| !p.health.ready) {
            tracing::warn!(pod = %pod.name, "pod is not ready: {:?}", pod.phase);
        }
    }

    fn check(&mut self, n: usize) -> impl Future<Output = CheckResult> + use<> {
        let pod = &mut self.pods[n];
        let is_name = pod.name.parse::<SocketAddr>().is_err();
        let looks_up = pod.addresses.is_empty() || is_name && pod.lookup.is_none_or(|due| due <= now());
        if looks_up {
            pod.lookup = Some(now() + self.resolve);
        }
        let (ordinal, name, addresses) = (pod.ordinal, pod.name.clone(), pod.addresses.clone());
        let (net, probe) = (self.net.clone(), self.probe.clone());
        async move {
            let (addresses, result) = ask(&*net, &name, addresses, looks_up, &probe).await;
            CheckResult { ordinal, addresses, result }
        }
    }
}

/// Probes the addresses of `name` in turn until one answers. If the resolver does not answer, the known addresses are kept.
async fn ask(
    net: &dyn Net,
    name: &str,
    mut addresses: Vec<SocketAddr>,
    looks_up: bool,
    probe: &Probe,
) -> (Vec<SocketAddr>, Result<SocketAddr, String>) {
    if looks_up {
        match look_up(net, name, probe.timeout).await {
            Ok(found) => addresses = in_order(found, addresses.first()),
            Err(why) if addresses.is_empty() => return (addresses, Err(why)),
            Err(why) => tracing::debug!(pod = %name, "{why}: using its previous addresses"),
        }
    }
    let mut why = String::new();
    for n in 0..addresses.len() {
        match probe::ask_closely(net, addresses[n], probe).await {
            Ok(()) => {
                // This address is tried first from now on.
                addresses[..=n].rotate_right(1);
                let address = addresses[0];
                return (addresses, Ok(address));
            }
            Err(e) => why = e.to_string(),
        }
    }
    (addresses, Err(why))
}

async fn look_up(net: &dyn Net, name: &str, timeout: Duration) -> Result<Vec<SocketAddr>, String> {
    let host = name.rsplit_once(':').map_or(name, |(host, _)| host);
    match tokio::time::timeout(timeout, net.resolve(name)).await {
        Ok(Ok(found)) if !found.is_empty() => Ok(found),
        Ok(Ok(_)) => Err(format!("cannot resolve host {host}: it has no address")),
        Ok(Err(e)) => Err(format!("cannot resolve host {host}: {e}")),
        Err(_) => Err(format!("cannot resolve host {host}: no answer")),
    }
}

/// The address in use comes first, if it still belongs to the name. The others are sorted, so that all dispatchers take the
/// same address: resolvers change the order from answer to answer.
fn in_order(mut found: Vec<SocketAddr>, used: Option<&SocketAddr>) -> Vec<SocketAddr> {
    found.sort_unstable();
    found.dedup();
    if let Some(at) = found.iter().position(|address| Some(address) == used) {
        found[..=at].rotate_right(1);
    }
    found.truncate(MOST_ADDRESSES);
    found
}

/// Waits until the next pod is due, and returns it.
async fn at(next: Option<(Instant, usize)>) -> usize {
    match next {
        Some((due, n)) => {
            tokio::time::sleep_until(due).await;
            n
        }
        None => std::future::pending().await,
    }
}
