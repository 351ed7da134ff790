//! KEDA, querying the dispatchers' external scaler (gRPC over the simulated network): its operator's polls, its push
//! stream, and the HPA behind its metrics API. Connections behave as with grpc-go: one to each dispatcher, used in
//! turn, reopened with a growing backoff. `models::keda` interprets the answers.

use super::kube::Kube;
use super::net::Connections;
use super::oracle::Oracle;
use super::scaler;
use super::setting::{POOL, Setting};
use crate::models::hpa::{Scale, Target};
use crate::models::keda::{
    Annotations, Answer, End, Failure, Heard, Keda, MetricValue, Reading, Release, Replicas, Stream, Trigger,
    hpa_behavior, target_milli, value_milli,
};
use http::uri::PathAndQuery;
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, Connection, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use prost::Message;
use slotkeeper::io::Socket;
use slotkeeper::ops::keda::messages::{
    GetMetricSpecResponse, GetMetricsRequest, GetMetricsResponse, IsActiveResponse, ScaledObjectRef,
};
use slotkeeper::ops::keda::{METRIC, SERVICE};
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tonic::Status;
use tonic::body::Body;
use tonic::client::Grpc;
use tonic_prost::ProstCodec;
use tower::Service;
use turmoil::net::TcpStream;

pub const KEDA_PORT: u16 = 9091;
/// Minimum and maximum backoff between two attempts to connect; `CONNECT`: the time-out of one attempt.
const PAUSE: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));
const CONNECT: Duration = Duration::from_secs(2);
/// Interval and time-out of the keep-alive: a fifth of those of grpc-go.
const KEEP_ALIVE: (Duration, Duration) = (Duration::from_secs(3), Duration::from_secs(2));

/// KEDA's host, and what it can reach.
#[derive(Clone)]
pub struct Asker {
    oracle: Oracle,
    kube: Kube,
    dispatchers: Vec<IpAddr>,
    connections: Connections,
    /// The open channels, by dispatcher.
    channels: Arc<Mutex<Vec<Option<Channel>>>>,
    turn: Arc<AtomicUsize>,
    keda: Arc<Mutex<Keda>>,
}

impl Asker {
    pub fn new(
        oracle: Oracle,
        kube: Kube,
        dispatchers: Vec<IpAddr>,
        connections: Connections,
        setting: &Setting,
    ) -> Asker {
        let trigger = Trigger { target: Target::AverageValue(1_000), cached: false };
        let keda = Keda::new(scaler::object(setting), vec![trigger], Release::V2_20, oracle.now());
        let channels = Arc::new(Mutex::new(vec![None; dispatchers.len()]));
        let (turn, keda) = (Arc::default(), Arc::new(Mutex::new(keda)));
        Asker { oracle, kube, dispatchers, connections, channels, turn, keda }
    }

    pub async fn run(self, setting: Setting) {
        for (host, at) in self.dispatchers.iter().enumerate() {
            tokio::spawn(self.clone().connect(host, *at));
        }
        tokio::spawn(self.clone().listen());
        tokio::spawn(self.clone().sync(setting));
        self.poll().await;
    }

    // ---- connections ----

    async fn connect(self, host: usize, at: IpAddr) {
        let mut pause = PAUSE.0;
        loop {
            if let Ok(Some((channel, connection))) = tokio::time::timeout(CONNECT, self.open(at)).await {
                pause = PAUSE.0;
                locked(&self.channels)[host] = Some(channel);
                let _ = connection.await;
                locked(&self.channels)[host] = None;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 8 / 5).min(PAUSE.1);
        }
    }

    async fn open(&self, at: IpAddr) -> Option<(Channel, Connection<TokioIo<Socket>, Body, TokioExecutor>)> {
        let socket = self.connections.keep(TcpStream::connect((at, KEDA_PORT)).await.ok()?).ok()?;
        let mut http = http2::Builder::new(TokioExecutor::new());
        http.timer(TokioTimer::new()).keep_alive_interval(KEEP_ALIVE.0).keep_alive_timeout(KEEP_ALIVE.1);
        let (sender, connection) = http.keep_alive_while_idle(true).handshake(TokioIo::new(socket)).await.ok()?;
        Some((Channel(sender), connection))
    }

    /// Returns the connection whose turn it is, and its dispatcher.
    fn channel(&self) -> Option<(usize, Channel)> {
        let channels = locked(&self.channels);
        let first = self.turn.fetch_add(1, Ordering::Relaxed);
        let turns = (0..channels.len()).map(|n| (first + n) % channels.len());
        turns.filter_map(|host| Some((host, channels.get(host)?.clone()?))).find(|(_, channel)| !channel.0.is_closed())
    }

    async fn unary<M, R>(&self, method: &str, message: M) -> Result<(usize, R), Status>
    where
        M: Message + 'static,
        R: Message + Default + 'static,
    {
        let (host, channel) = self.channel().ok_or_else(|| Status::unavailable("no dispatcher is connected"))?;
        let mut grpc = channel.grpc().await?;
        let answer = grpc.unary(tonic::Request::new(message), path(method)?, ProstCodec::<M, R>::default()).await;
        if let Err(status) = &answer {
            self.oracle.count(format!("KEDA receives {:?}", status.code()));
        }
        Ok((host, answer?.into_inner()))
    }

    // ---- KEDA's queries ----

    /// Runs one evaluation: three calls, each to the dispatcher whose turn it is.
    async fn ask(&self) -> Answer {
        let spec = self.unary::<_, GetMetricSpecResponse>("GetMetricSpec", trigger()).await;
        let (_, spec) = spec.map_err(|_| Failure::Spec)?;
        let targets: Vec<i64> =
            spec.metric_specs.iter().map(|s| target_milli(s.target_size, s.target_size_float)).collect();
        if targets != [1_000] {
            self.oracle.violate("one metric, one pod each", format!("{spec:?}"));
        }
        let asked = self.oracle.now();
        let request = GetMetricsRequest { scaled_object_ref: Some(trigger()), metric_name: METRIC.into() };
        let metrics = self.unary::<_, GetMetricsResponse>("GetMetrics", request).await;
        let (host, metrics) = metrics.map_err(|_| Failure::Metrics)?;
        let values = metrics.metric_values.iter();
        let milli: Vec<i64> =
            values.map(|v| value_milli(MetricValue { whole: v.metric_value, float: v.metric_value_float })).collect();
        self.oracle.told(host, asked, milli.iter().sum());
        let active = self.unary::<_, IsActiveResponse>("IsActive", trigger()).await;
        let (_, active) = active.map_err(|_| Failure::Metrics)?;
        Ok(Reading { active: active.result, milli })
    }

    /// With the ScaledObject as it was read.
    fn look(&self, guarded: bool) -> MutexGuard<'_, Keda> {
        let mut keda = locked(&self.keda);
        let on = if guarded { "true" } else { "false" };
        keda.object.annotations = Annotations::default().with(Annotations::PAUSED_SCALE_IN, on);
        keda
    }

    /// Of something that was read at the beginning of a call: as it was then, unless the call took longer than these worlds assume.
    fn as_read(&self, (was, at): (bool, u64), is: bool) -> bool {
        if self.oracle.now() < at + scaler::LONGEST { was } else { is }
    }

    async fn poll(self) {
        loop {
            let Some(at) = locked(&self.keda).next_poll() else { return };
            tokio::time::sleep(Duration::from_millis(at.saturating_sub(self.oracle.now()))).await;
            let read = (self.kube.is_guarded(), self.oracle.now());
            let mut query = locked(&self.keda).begin_poll(self.oracle.now());
            loop {
                let answer = self.ask().await;
                if locked(&self.keda).hear(&mut query, &[answer]) == Heard::Over {
                    break;
                }
            }
            let guarded = self.as_read(read, self.kube.is_guarded());
            let decision = self.look(guarded).end_poll(query, self.replicas(), self.oracle.now());
            self.write("KEDA", decision.set);
            let pushed = locked(&self.keda).take_push(self.replicas().current, self.oracle.now());
            self.write("KEDA", pushed.and_then(|decision| decision.set));
        }
    }

    /// Runs the HPA, which uses the API server and the adapter.
    async fn sync(self, setting: Setting) {
        let mut hpa = scaler::autoscaler(&setting, self.oracle.now());
        let given = hpa.spec.behavior.clone();
        loop {
            tokio::time::sleep(Duration::from_millis(hpa.next_sync().saturating_sub(self.oracle.now()))).await;
            let (spec, status) = self.kube.status_replicas();
            let read = (self.kube.is_disabled(), self.oracle.now());
            let mut query = locked(&self.keda).begin_request(0);
            loop {
                let answer = self.ask().await;
                if locked(&self.keda).hear(&mut query, &[answer]) == Heard::Over {
                    break;
                }
            }
            let metric = locked(&self.keda).end_request(query, 0, self.replicas());
            // It uses the replicas it read at the beginning; if they have changed since, its write is rejected.
            let scale = Scale { spec, status, ready: status };
            let disabled = self.as_read(read, self.kube.is_disabled());
            hpa.spec.behavior = hpa_behavior(&self.look(disabled).object, given.as_ref());
            let write = hpa.reconcile(Some(scale), &[metric], self.oracle.now()).write;
            self.write("HPA", write.filter(|_| self.kube.status_replicas().0 == spec));
        }
    }

    /// Runs the push stream.
    async fn listen(self) {
        let mut stream = Stream::default();
        loop {
            let end = match self.hear().await {
                Ok(()) => End::Clean,
                Err(_) => End::Error,
            };
            self.oracle.count(format!("KEDA's stream ends: {end:?}"));
            // A fifth of the real backoff, like all clocks here.
            tokio::time::sleep(Duration::from_millis(stream.ended(end) / 5)).await;
        }
    }

    async fn hear(&self) -> Result<(), Status> {
        let (_, channel) = self.channel().ok_or_else(|| Status::unavailable("no dispatcher is connected"))?;
        let mut grpc = channel.grpc().await?;
        let codec = ProstCodec::<ScaledObjectRef, IsActiveResponse>::default();
        let request = tonic::Request::new(trigger());
        let mut stream = grpc.server_streaming(request, path("StreamIsActive")?, codec).await?.into_inner();
        while let Some(message) = stream.message().await? {
            self.oracle.count("KEDA is pushed");
            if !message.result {
                self.oracle.violate("only `true` is pushed", "KEDA ignores false");
            }
            let (current, now) = (self.replicas().current, self.oracle.now());
            let decision = locked(&self.keda).push(message.result, true, current, now);
            self.write("KEDA", decision.and_then(|decision| decision.set));
        }
        Ok(())
    }

    fn replicas(&self) -> Replicas {
        let (current, ready) = self.kube.status_replicas();
        Replicas { current, ready }
    }

    fn write(&self, who: &str, replicas: Option<u32>) {
        let Some(replicas) = replicas else { return };
        self.oracle.log(format!("{who} writes replicas {replicas}"));
        self.oracle.count(format!("{who} writes"));
        self.kube.scale_to(replicas);
    }
}

/// One connection.
#[derive(Clone)]
struct Channel(SendRequest<Body>);

impl Channel {
    async fn grpc(self) -> Result<Grpc<Channel>, Status> {
        let origin = "http://slotkeeper-keda:9091".parse().map_err(|_| Status::internal("no address"))?;
        let mut grpc = Grpc::with_origin(self, origin);
        grpc.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
        Ok(grpc)
    }
}

impl Service<http::Request<Body>> for Channel {
    type Response = http::Response<Incoming>;
    type Error = hyper::Error;
    type Future = std::pin::Pin<Box<dyn Future<Output = Result<Self::Response, hyper::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), hyper::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        Box::pin(self.0.send_request(request))
    }
}

fn path(method: &str) -> Result<PathAndQuery, Status> {
    format!("/{SERVICE}/{method}").parse().map_err(|_| Status::internal("no such path"))
}

fn trigger() -> ScaledObjectRef {
    let scaler_metadata = [("pool".to_owned(), POOL.to_owned())].into();
    ScaledObjectRef { name: POOL.into(), namespace: "world".into(), scaler_metadata }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
