//! Measures the load of a pool for its targets: the WebSocket messages that pass this replica, and a gauge that the pods
//! export. The measurements are only reported; the fleet decides what follows from them.

use crate::config::PodGauge;
use crate::io::fetch::get;
use crate::io::proxy::ProxyVersion;
use crate::io::{BoxError, Net, now};
use crate::shell::{PoolShell, Shell};
use futures_util::StreamExt as _;
use slotkeeper_core::{Command, Millis, Phase, Targets, planted};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// The timeout of reading a pod's gauge.
const PATIENCE: Duration = Duration::from_secs(3);
/// The maximum size of a pod's metrics, in bytes.
const LARGEST: usize = 4 << 20;
/// Pods that are read concurrently.
const AT_ONCE: usize = 16;
/// Reports per window.
const REPORTS: u64 = 12;

/// Runs until the pool or the dispatcher ends.
pub(crate) async fn run(shell: Arc<Shell>, pool: Arc<PoolShell>) {
    // Whether a pool is measured may change with a rollout, so the fleet's rules are checked at each report.
    Measuring::new(shell, pool).run().await;
}

struct Measuring {
    shell: Arc<Shell>,
    pool: Arc<PoolShell>,
    /// The number of messages reported to the fleet.
    reported: u64,
    /// The start of the period since the last report.
    since: tokio::time::Instant,
    /// When to read the pods' gauge next.
    ask_at: tokio::time::Instant,
    /// A warning about the pods that did not answer last time has been logged.
    complained: bool,
}

impl Measuring {
    fn new(shell: Arc<Shell>, pool: Arc<PoolShell>) -> Measuring {
        Measuring { shell, pool, reported: 0, since: now(), ask_at: now(), complained: false }
    }

    async fn run(mut self) {
        let mut next = now();
        loop {
            next += every(&self.targets(), self.pool.config.gauge.as_ref());
            next = next.max(now());
            tokio::time::sleep_until(next).await;
            // A replica of an older version must not read a report that it does not know; and an outdated state does not
            // list the current pods.
            let may = {
                let view = self.shell.view.borrow();
                view.fleet.knows_targets() && !view.is_stale() && self.pool.rules(&view.fleet).targets.is_measured()
            };
            if may && !self.report(next).await {
                return;
            }
        }
    }

    fn targets(&self) -> Targets {
        self.pool.rules(&self.shell.view.borrow().fleet).targets.clone()
    }

    /// Measures and reports what is due at this moment. False when the dispatcher ends.
    async fn report(&mut self, at: tokio::time::Instant) -> bool {
        let targets = self.targets();
        let gauge = match &self.pool.config.gauge {
            Some(gauge) if self.ask_at <= at && targets.gauge.is_some() => {
                self.ask_at = at + gauge.every;
                self.ask(gauge.clone()).await
            }
            Some(_) | None => None,
        };
        let counted = if targets.messages.is_some() {
            self.pool.metrics.messages_in.get() + self.pool.metrics.messages_out.get()
        } else {
            0
        };
        let (messages, at) = (counted.saturating_sub(self.reported), now());
        if messages == 0 && gauge.is_none() {
            self.since = at;
            return true;
        }
        let over = Millis(at.duration_since(self.since).as_millis() as u64);
        let load = Command::Load { messages, over, gauge };
        // While the journal is unavailable, this waits: afterwards there is one report for the whole period.
        if self.shell.driver.write(&self.pool.config.id, load).await.is_err() {
            return false;
        }
        self.note(counted, at);
        true
    }

    /// The sum over all ready pods, in thousandths. Pods that do not answer count as average ones; `None` if no pod answers.
    async fn ask(&mut self, gauge: PodGauge) -> Option<u64> {
        let pods = self.pods(gauge.port);
        let asked = pods.len();
        let net = self.shell.net.clone();
        // Another port is the one of an exporter.
        let proxy = self.pool.config.connections.proxy.filter(|_| gauge.port.is_none());
        let gauge = Arc::new(gauge);
        let answers = futures_util::stream::iter(pods).map(|at| {
            let (net, gauge) = (net.clone(), gauge.clone());
            async move { (at, read(&*net, at, &gauge, proxy).await) }
        });
        let answers: Vec<_> = answers.buffer_unordered(AT_ONCE).collect().await;
        let (mut sum, mut known, mut trouble) = (0.0, 0usize, None);
        for (at, answer) in answers {
            match answer {
                Ok(value) => (sum, known) = (sum + value, known + 1),
                Err(error) => trouble = Some((at, error)),
            }
        }
        if let Some((at, error)) = &trouble {
            let missing = asked - known;
            self.shell
                .metrics
                .scaling
                .gauge_errors
                .with_label_values(&[&*self.pool.config.id.0])
                .inc_by(missing as u64);
            if !self.complained {
                let (pool, gauge) = (&self.pool.config.id, &gauge.name);
                tracing::warn!(%pool, gauge, missing, asked, "pods did not return their gauge; {at}: {error}");
            }
        }
        self.complained = trouble.is_some();
        let total = extrapolated(sum, known, asked)?;
        Some((total * 1000.0).round().clamp(0.0, 1e15) as u64)
    }

    /// Notes that this many messages have been reported.
    fn note(&mut self, counted: u64, at: tokio::time::Instant) {
        planted!(MeasuredTwice => self.since = at);
        (self.reported, self.since) = (counted, at);
    }

    fn pods(&self, port: Option<u16>) -> Vec<SocketAddr> {
        let view = self.shell.view.borrow();
        let ready = view.fleet.pods(&self.pool.config.id).filter_map(|(_, pod)| match pod.life.as_ref()?.phase {
            Phase::Ready { address } => Some(address),
            Phase::Pending { .. } | Phase::Starting | Phase::Unready | Phase::Terminating | Phase::Failed { .. } => {
                None
            }
        });
        ready.map(|address| SocketAddr::new(address.ip(), port.unwrap_or(address.port()))).collect()
    }
}

/// Extrapolates the sum over some pods to all pods.
fn extrapolated(sum: f64, known: usize, asked: usize) -> Option<f64> {
    planted!(SilentPodsBearNothing => (known > 0).then_some(sum));
    (known > 0).then(|| sum / known as f64 * asked as f64)
}

fn every(targets: &Targets, gauge: Option<&PodGauge>) -> Duration {
    let window = Duration::from_millis((targets.window.0 / REPORTS).max(1000));
    gauge.map_or(window, |gauge| if targets.messages.is_some() { gauge.every.min(window) } else { gauge.every })
}

async fn read(net: &dyn Net, at: SocketAddr, gauge: &PodGauge, proxy: Option<ProxyVersion>) -> Result<f64, BoxError> {
    let page = tokio::time::timeout(PATIENCE, get(net, at, &at.to_string(), &gauge.path, LARGEST, proxy)).await??;
    let text = std::str::from_utf8(page.body())?;
    value(text, &gauge.name).ok_or_else(|| format!("no number called {} in {}", gauge.name, gauge.path).into())
}

/// The sum of a gauge's series in Prometheus' text format, version 0.0.4: `name{label="value"} number [timestamp]`.
fn value(text: &str, name: &str) -> Option<f64> {
    let number = |line: &str| -> Option<f64> {
        let rest = line.trim_start().strip_prefix(name)?;
        let rest = match rest.bytes().next()? {
            // A label's value may contain anything, but the number follows the last brace.
            b'{' => rest.rsplit_once('}')?.1,
            b' ' | b'\t' => rest,
            _ => return None,
        };
        rest.split_ascii_whitespace().next()?.parse().ok().filter(|n: &f64| n.is_finite())
    };
    let mut all = text.lines().filter_map(number).peekable();
    all.peek()?;
    Some(all.sum())
}

#[cfg(test)]
mod tests {
    use super::{extrapolated, value};

    #[test]
    fn pods_that_do_not_report_their_gauge_count_as_the_average_of_the_others() {
        assert_eq!(extrapolated(6.0, 2, 3), Some(9.0));
        assert_eq!(extrapolated(6.0, 2, 2), Some(6.0));
        assert_eq!(extrapolated(0.0, 0, 3), None, "no pod has reported");
    }

    #[test]
    fn a_gauge_is_the_sum_of_its_series() {
        let text = "# HELP ratio how full\n# TYPE ratio gauge\nratio 0.5\nratio_max 9\n\
                    ratio{a=\"} 7 {\",b=\"\\\"\"} 0.25 1700000000000\nratio{c=\"x\"} NaN\nratiox{a=\"b\"} 3\n";
        assert_eq!(value(text, "ratio"), Some(0.75));
        assert_eq!(value(text, "ratio_max"), Some(9.0));
        assert_eq!(value(text, "rat"), None);
        assert_eq!(value("ratio{ 1\nratio\nratio x\n", "ratio"), None);
    }
}
