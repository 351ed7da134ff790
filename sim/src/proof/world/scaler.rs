//! Prometheus, which scrapes the dispatchers' real `/metrics`, and, in pools scaled by KEDA, KEDA's operator and its
//! HPA. The periods are a fifth of the usual ones, like all clocks of these worlds.

use super::kube::Kube;
use super::oracle::Oracle;
use super::setting::{POOL, Setting};
use super::visitor::KEY;
use crate::chance::Chance;
use crate::models::hpa::{self, Behavior, Hpa, Policy, PolicyKind, Rules, Scale, Select, Target};
use crate::models::keda::{
    Annotations, Answer, Failure, Keda, PrometheusTrigger, Release, Replicas, ScaledObject, Trigger,
};
use crate::models::prometheus::{Expr, Prometheus, Sample, ScrapeFailed};
use bytes::Bytes;
use http::{Request, header};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rand::Rng;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use turmoil::net::TcpStream;

pub const ADMIN_PORT: u16 = 9090;
const SCRAPE: u64 = 2_000;
const POLL: u64 = 3_000;
const SYNC: u64 = 3_000;
/// KEDA's cooldown, where it queries the dispatchers: longer than their downtime, in milliseconds.
const COOLDOWN: u64 = 20_000;
/// Longest time from when KEDA or its HPA reads a value until it writes, in milliseconds: less than the dispatchers assume
/// (`ACTS`).
pub(super) const LONGEST: u64 = 1_400;
/// `Pace::acts` of the dispatchers.
pub const ACTS: Duration = Duration::from_secs(2);
const TIMEOUT: Duration = Duration::from_secs(1);
const DESIRED: &str = "slotkeeper_pods desired";

/// What is needed to scrape and scale.
#[derive(Clone)]
pub struct Scaler {
    pub oracle: Oracle,
    pub kube: Kube,
    pub dispatchers: Vec<IpAddr>,
    /// Prometheus is down.
    pub down: Arc<AtomicBool>,
}

impl Scaler {
    /// Runs Prometheus's host.
    pub async fn run(self, setting: Setting) {
        let prometheus = Arc::new(Mutex::new(Prometheus::new(SCRAPE)));
        for (host, at) in self.dispatchers.iter().enumerate() {
            locked(&prometheus).add_target(&target(host), 0);
            tokio::spawn(self.clone().scrape(host, *at, prometheus.clone()));
        }
        if setting.is_keda() && !setting.is_pushed() {
            self.scale(&setting, &prometheus).await;
        }
        std::future::pending::<()>().await;
    }

    async fn scrape(self, host: usize, at: IpAddr, prometheus: Arc<Mutex<Prometheus>>) {
        loop {
            if !self.down.load(Ordering::Relaxed) {
                let asked = self.oracle.now();
                let answer = tokio::time::timeout(TIMEOUT, get(at, "/metrics")).await;
                let gauges = answer.ok().and_then(Result::ok).map(|text| read(&text));
                if let Some(gauges) = &gauges
                    && gauges.contains_key("slotkeeper_queue_length")
                {
                    let position = gauges.get("slotkeeper_journal_position").copied().unwrap_or_default();
                    self.oracle.scraped(host, asked, position as u64, gauges);
                }
                self.oracle.count(if gauges.is_some() { "scrape" } else { "scrape failed" });
                let samples = gauges.map(|gauges| {
                    let sample =
                        |value: &f64| Sample { metric: DESIRED.into(), pool: POOL.into(), value: *value, at: None };
                    gauges.get(DESIRED).map(sample).into_iter().collect()
                });
                let now = self.oracle.now();
                locked(&prometheus).scrape(&target(host), samples.ok_or(ScrapeFailed), now);
            }
            tokio::time::sleep(Duration::from_millis(SCRAPE)).await;
        }
    }

    /// Runs KEDA and the HPA with the shipped settings: the maximum of all dispatchers' answers, no tolerance, no
    /// empty answers, and scale-up in one step.
    async fn scale(&self, setting: &Setting, prometheus: &Mutex<Prometheus>) {
        let trigger = Trigger { target: Target::AverageValue(1_000), cached: false };
        let mut keda = Keda::new(object(setting), vec![trigger], Release::V2_20, self.oracle.now());
        let mut hpa = autoscaler(setting, self.oracle.now());
        let given = hpa.spec.behavior.clone();
        let mut dice = Chance::new(setting.seed).stream("scaler");
        // What each has decided, and when it writes that: the next poll or sync comes after the write.
        let (mut polled, mut synced) = (None, None);
        loop {
            let now = self.oracle.now();
            self.write("KEDA", &mut polled, now);
            self.write("HPA", &mut synced, now);
            let (spec, status) = self.kube.status_replicas();
            let replicas = Replicas { current: spec, ready: status };
            if polled.is_none() && keda.next_poll().is_some_and(|at| at <= now) {
                let on = if self.kube.is_guarded() { "true" } else { "false" };
                keda.object.annotations = Annotations::default().with(Annotations::PAUSED_SCALE_IN, on);
                let decision = keda.poll(&[self.ask(prometheus, now)], replicas, now);
                polled = decision.set.map(|replicas| (replicas, now + dice.random_range(0..LONGEST)));
            }
            if synced.is_none() && hpa.next_sync() <= now {
                let scale = Scale { spec, status, ready: status };
                let metric = keda.request(0, &[self.ask(prometheus, now)], replicas);
                let mut behavior = given.clone();
                if self.kube.is_disabled()
                    && let Some(behavior) = &mut behavior
                {
                    behavior.scale_down.select = Select::Disabled;
                }
                hpa.spec.behavior = behavior;
                let write = hpa.reconcile(Some(scale), &[metric], now).write;
                synced = write.map(|replicas| (replicas, now + dice.random_range(0..LONGEST)));
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    fn write(&self, who: &str, decided: &mut Option<(u32, u64)>, now: u64) {
        if let Some((replicas, _)) = decided.take_if(|(_, at)| *at <= now) {
            self.oracle.log(format!("{who} writes replicas {replicas}"));
            self.oracle.count(format!("{who} writes"));
            self.kube.scale_to(replicas);
        }
    }

    fn ask(&self, prometheus: &Mutex<Prometheus>, now: u64) -> Answer {
        if self.down.load(Ordering::Relaxed) {
            return Err(Failure::Metrics);
        }
        let query = Expr::latest(DESIRED, POOL).max();
        let answer = locked(prometheus).query(&query, now).ok();
        let trigger = PrometheusTrigger { ignore_null_values: false, activation_threshold: 0.0 };
        trigger.read(answer.as_deref()).map_err(|_| Failure::Metrics)
    }
}

pub(super) fn object(setting: &Setting) -> ScaledObject {
    ScaledObject {
        min: setting.rules.min,
        max: Some(setting.rules.max),
        idle: None,
        polling: POLL,
        cooldown: if setting.is_pushed() { COOLDOWN } else { 8_000 },
        initial_cooldown: 8_000,
        fallback: None,
        annotations: Annotations::default(),
    }
}

/// Returns KEDA's HPA.
pub(super) fn autoscaler(setting: &Setting, now: u64) -> Hpa {
    let up = Rules {
        policies: Some(vec![Policy { kind: PolicyKind::Pods, value: 1_000, period: SYNC }]),
        tolerance: Some(0.0),
        ..Rules::default()
    };
    let down = Rules { window: Some(0), tolerance: Some(0.0), ..Rules::default() };
    let (min, max) = (setting.rules.min.max(1), setting.rules.max);
    let controller = hpa::Controller { period: SYNC, ..hpa::Controller::default() };
    let spec = hpa::Spec { min, max, behavior: Some(Behavior { scale_up: up, scale_down: down }) };
    Hpa::new(spec, controller, now)
}

fn target(host: usize) -> String {
    format!("d{host}")
}

fn locked(prometheus: &Mutex<Prometheus>) -> std::sync::MutexGuard<'_, Prometheus> {
    prometheus.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns the pool's gauges: `NAME`, or `NAME STATE` if there is such a label.
fn read(text: &str) -> BTreeMap<String, f64> {
    let own = format!("pool=\"{POOL}\"");
    let mut gauges = BTreeMap::new();
    for line in text.lines().filter(|l| !l.starts_with('#')) {
        let Some((series, value)) = line.rsplit_once(' ') else { continue };
        let (name, labels) = series.split_once('{').unwrap_or((series, ""));
        if !labels.is_empty() && !labels.contains(&own) {
            continue;
        }
        let state = labels.split("state=\"").nth(1).and_then(|s| s.split('"').next());
        let name = state.map_or_else(|| name.to_owned(), |state| format!("{name} {state}"));
        if let Ok(value) = value.parse() {
            gauges.insert(name, value);
        }
    }
    gauges
}

/// Sends one request to a dispatcher's admin listener.
pub async fn get(at: IpAddr, path: &str) -> Result<String, Box<dyn std::error::Error + Send + Sync>> {
    ask(at, "GET", path).await
}

pub async fn ask(at: IpAddr, method: &str, path: &str) -> Result<String, Box<dyn std::error::Error + Send + Sync>> {
    let stream = TcpStream::connect((at, ADMIN_PORT)).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(async move {
        let _ = connection.await;
    });
    let token = String::from_utf8_lossy(KEY);
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::HOST, at.to_string())
        .header(header::AUTHORIZATION, format!("Bearer {token}"))
        .body(Empty::<Bytes>::new())?;
    let response = sender.send_request(request).await?;
    if !response.status().is_success() {
        return Err(format!("{} answers {}", path, response.status()).into());
    }
    let body = response.into_body().collect().await?.to_bytes();
    Ok(String::from_utf8(body.to_vec())?)
}
