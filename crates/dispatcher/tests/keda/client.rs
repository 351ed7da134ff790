//! A client that calls the scaler as KEDA's operator does: round robin over its addresses, three unary calls per
//! evaluation, and a stream that is opened again after 2, 4, 8 ... 60 s, or after 2 s if it ended cleanly.

use http::uri::PathAndQuery;
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use prost::Message;
use slotkeeper::io::{Net, Socket, now};
use slotkeeper::ops::keda::messages::{
    GetMetricSpecResponse, GetMetricsRequest, GetMetricsResponse, IsActiveResponse, ScaledObjectRef,
};
use slotkeeper::ops::keda::{METRIC, SERVICE};
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tonic::body::Body;
use tonic::client::Grpc;
use tonic::{Code, Status, Streaming};
use tonic_prost::ProstCodec;
use tower::Service;

/// No answer takes this long, as it comes from memory.
pub(super) const DEADLINE: Duration = Duration::from_secs(1);

/// One connection.
#[derive(Clone)]
pub(super) struct Channel(SendRequest<Body>);

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

impl Channel {
    pub(super) async fn over(stream: Socket) -> Result<Channel, hyper::Error> {
        let handshake =
            http2::Builder::new(TokioExecutor::new()).timer(TokioTimer::new()).handshake(TokioIo::new(stream));
        let (sender, connection) = handshake.await?;
        tokio::spawn(connection);
        Ok(Channel(sender))
    }

    pub(super) fn is_open(&self) -> bool {
        !self.0.is_closed()
    }

    fn grpc(&self) -> Grpc<Channel> {
        Grpc::with_origin(self.clone(), "http://slotkeeper-keda:9091".parse().unwrap())
    }

    pub(super) async fn unary<M, R>(&self, method: &str, message: M) -> Result<R, Status>
    where
        M: Message + 'static,
        R: Message + Default + 'static,
    {
        let mut grpc = self.grpc();
        let call = async {
            grpc.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
            grpc.unary(tonic::Request::new(message), path(method), ProstCodec::<M, R>::default()).await
        };
        let answer = tokio::time::timeout(DEADLINE, call).await;
        answer.unwrap_or_else(|_| panic!("{method} is answered too slowly")).map(tonic::Response::into_inner)
    }

    pub(super) async fn stream(&self, asks: ScaledObjectRef) -> Result<Streaming<IsActiveResponse>, Status> {
        let mut grpc = self.grpc();
        grpc.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
        let codec = ProstCodec::<ScaledObjectRef, IsActiveResponse>::default();
        let path = path("StreamIsActive");
        Ok(grpc.server_streaming(tonic::Request::new(asks), path, codec).await?.into_inner())
    }
}

fn path(method: &str) -> PathAndQuery {
    format!("/{SERVICE}/{method}").parse().unwrap()
}

/// The trigger of one ScaledObject.
pub(super) fn trigger(metadata: &[(&str, &str)]) -> ScaledObjectRef {
    let scaler_metadata = metadata.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect();
    ScaledObjectRef { name: "chat".into(), namespace: "talks".into(), scaler_metadata }
}

pub(super) fn metrics(asks: ScaledObjectRef) -> GetMetricsRequest {
    GetMetricsRequest { scaled_object_ref: Some(asks), metric_name: METRIC.into() }
}

/// The result of one evaluation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Learned {
    pub(super) replicas: f64,
    pub(super) is_active: bool,
}

/// KEDA's operator.
#[derive(Clone)]
pub(super) struct Keda {
    net: Arc<dyn Net>,
    addresses: Vec<SocketAddr>,
    channels: Vec<Option<Channel>>,
    next: usize,
    pub(super) asks: ScaledObjectRef,
}

impl Keda {
    pub(super) fn new(net: Arc<dyn Net>, addresses: &[SocketAddr]) -> Keda {
        let channels = addresses.iter().map(|_| None).collect();
        Keda { net, addresses: addresses.to_vec(), channels, next: 0, asks: trigger(&[("pool", super::rig::POOL)]) }
    }

    /// The next connection in turn; addresses that refuse are skipped.
    pub(super) async fn channel(&mut self) -> Result<Channel, Status> {
        for _ in 0..self.addresses.len() {
            let turn = self.next % self.addresses.len();
            self.next += 1;
            if let Some(channel) = self.channels[turn].as_ref().filter(|c| c.is_open()) {
                return Ok(channel.clone());
            }
            let Ok(stream) = self.net.dial(self.addresses[turn]).await else { continue };
            if let Ok(channel) = Channel::over(stream).await {
                self.channels[turn] = Some(channel.clone());
                return Ok(channel);
            }
        }
        Err(Status::unavailable("nobody listens"))
    }

    pub(super) async fn spec(&mut self) -> Result<GetMetricSpecResponse, Status> {
        let asks = self.asks.clone();
        self.channel().await?.unary("GetMetricSpec", asks).await
    }

    pub(super) async fn metrics(&mut self) -> Result<f64, Status> {
        let asks = metrics(self.asks.clone());
        let answer: GetMetricsResponse = self.channel().await?.unary("GetMetrics", asks).await?;
        let [value] = answer.metric_values.as_slice() else { panic!("the HPA would add up {answer:?}") };
        // KEDA uses the float if it is above 0, else the integer.
        assert_eq!(value.metric_value as f64, value.metric_value_float);
        Ok(value.metric_value_float)
    }

    pub(super) async fn is_active(&mut self) -> Result<bool, Status> {
        let asks = self.asks.clone();
        let answer: IsActiveResponse = self.channel().await?.unary("IsActive", asks).await?;
        Ok(answer.result)
    }

    /// Makes all three calls in order, each on the next connection; an error of one is an error of the trigger.
    pub(super) async fn evaluate(&mut self) -> Result<Learned, Code> {
        let spec = self.spec().await.map_err(|status| status.code())?;
        let [spec] = spec.metric_specs.as_slice() else { panic!("{spec:?}") };
        assert_eq!((&*spec.metric_name, spec.target_size, spec.target_size_float), (METRIC, 1, 1.0));
        let replicas = self.metrics().await.map_err(|status| status.code())?;
        let is_active = self.is_active().await.map_err(|status| status.code())?;
        Ok(Learned { replicas, is_active })
    }

    /// KEDA's push handler; it ends when the receiver is dropped.
    pub(super) async fn listen(mut self, told: mpsc::UnboundedSender<(Instant, Heard)>) {
        let mut wait = Duration::from_secs(2);
        let say = |heard| told.send((now(), heard)).is_ok();
        loop {
            let ended = async {
                let asks = self.asks.clone();
                let mut stream = self.channel().await?.stream(asks).await?;
                say(Heard::Opened);
                while let Some(message) = stream.message().await? {
                    say(Heard::Active(message.result));
                }
                Ok::<_, Status>(())
            };
            let heard = match ended.await {
                Ok(()) => {
                    wait = Duration::from_secs(2);
                    Heard::Ended
                }
                Err(status) => Heard::Broken(status.code()),
            };
            if !say(heard) {
                return;
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(Duration::from_secs(60));
        }
    }
}

/// An event on a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    Opened,
    Active(bool),
    /// The stream ended cleanly.
    Ended,
    Broken(Code),
}
