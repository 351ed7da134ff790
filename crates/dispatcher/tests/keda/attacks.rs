//! Connections to KEDA's port by clients other than KEDA.

use super::client::{Channel, Keda, metrics};
use super::rig::POOL;
use super::{ASLEEP, LONG, pair};
use slotkeeper::io::{Socket, now};
use slotkeeper::ops::keda::SERVICE;
use slotkeeper::ops::keda::messages::{GetMetricsRequest, GetMetricsResponse};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tonic::Code;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

async fn all_of(stream: &mut Socket) -> Vec<u8> {
    let mut answer = Vec::new();
    let _ = tokio::time::timeout(LONG, stream.read_to_end(&mut answer)).await.expect("it is not closed");
    answer
}

#[tokio::test(start_paused = true)]
async fn connections_without_http2_are_closed_and_http1_gets_the_reason() {
    let (rig, _book, mut keda) = pair().await;
    for garbage in [&b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..], b"\0\0\0\0"] {
        let mut stream = rig.net.dial(rig.keda).await.unwrap();
        stream.write_all(garbage).await.unwrap();
        assert_eq!(all_of(&mut stream).await, b"");
    }
    for other in [&b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"[..], b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n", b"PRI * HTTP/3"] {
        let mut stream = rig.net.dial(rig.keda).await.unwrap();
        stream.write_all(other).await.unwrap();
        let answer = String::from_utf8(all_of(&mut stream).await).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 505 "), "{head}");
        assert!(head.contains(&format!("content-length: {}", body.len())), "{answer}");
        assert!(body.contains("gRPC"), "{body}");
    }
    // After a valid preface, the HTTP/2 library refuses invalid frames.
    let mut stream = rig.net.dial(rig.keda).await.unwrap();
    stream.write_all(&[PREFACE, &[0xff; 1000]].concat()).await.unwrap();
    all_of(&mut stream).await;
    assert_eq!(keda.evaluate().await, Ok(ASLEEP));
}

#[tokio::test(start_paused = true)]
async fn silent_connections_are_closed() {
    let (rig, _book, mut keda) = pair().await;
    let connected = now();
    let mut silent = rig.net.dial(rig.keda).await.unwrap();
    let mut half = rig.net.dial(rig.keda).await.unwrap();
    half.write_all(&PREFACE[..10]).await.unwrap();
    assert_eq!(all_of(&mut silent).await, b"");
    assert_eq!(all_of(&mut half).await, b"");
    assert!(now() - connected <= Duration::from_secs(11));
    // A preface and an empty SETTINGS frame, and nothing more: pings are not answered either.
    let mut begun = rig.net.dial(rig.keda).await.unwrap();
    begun.write_all(PREFACE).await.unwrap();
    begun.write_all(b"\0\0\0\x04\0\0\0\0\0").await.unwrap();
    let begun_at = now();
    all_of(&mut begun).await;
    assert!(now() - begun_at <= Duration::from_secs(60));
    assert_eq!(keda.evaluate().await, Ok(ASLEEP));
}

#[tokio::test(start_paused = true)]
async fn a_request_that_never_ends_is_aborted() {
    let (rig, _book, _keda) = pair().await;
    let stream = rig.net.dial(rig.keda).await.unwrap();
    let io = hyper_util::rt::TokioIo::new(stream);
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(hyper_util::rt::TokioExecutor::new(), io).await.unwrap();
    tokio::spawn(connection);
    let endless = http_body_util::StreamBody::new(futures_util::stream::pending::<
        Result<hyper::body::Frame<bytes::Bytes>, std::convert::Infallible>,
    >());
    let request = http::Request::post(format!("http://x/{SERVICE}/GetMetrics"))
        .header("content-type", "application/grpc")
        .body(endless)
        .unwrap();
    let response = tokio::time::timeout(LONG, sender.send_request(request)).await.expect("no answer").unwrap();
    let status = tonic::Status::from_header_map(response.headers()).unwrap();
    assert_eq!(status.code(), Code::DeadlineExceeded);
}

#[tokio::test(start_paused = true)]
async fn requests_that_are_too_large_or_not_grpc_are_refused() {
    let (rig, _book, mut keda) = pair().await;
    let channel = keda.channel().await.unwrap();
    let mut asks = keda.asks.clone();
    asks.scaler_metadata.insert("note".into(), "x".repeat(100_000));
    let refused = channel.unary::<GetMetricsRequest, GetMetricsResponse>("GetMetrics", metrics(asks)).await;
    assert_eq!(refused.unwrap_err().code(), Code::OutOfRange);
    let unknown = "slotkeeper_scaler_requests_total{code=\"out_of_range\",method=\"GetMetrics\",pool=\"-\"}";
    assert_eq!(rig.metric(unknown).await, 1.0);

    let io = hyper_util::rt::TokioIo::new(rig.net.dial(rig.keda).await.unwrap());
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(hyper_util::rt::TokioExecutor::new(), io).await.unwrap();
    tokio::spawn(connection);
    let request = http::Request::get("http://x/").body(http_body_util::Empty::<bytes::Bytes>::new()).unwrap();
    assert_eq!(sender.send_request(request).await.unwrap().status(), 415);
}

#[tokio::test(start_paused = true)]
async fn the_number_of_streams_is_limited() {
    let (rig, _book, mut keda) = pair().await;
    let mut channels = Vec::new();
    for _ in 0..10 {
        channels.push(Channel::over(rig.net.dial(rig.keda).await.unwrap()).await.unwrap());
    }
    let mut open = Vec::new();
    let mut refused = 0;
    for n in 0..1000 {
        match channels[n % channels.len()].stream(keda.asks.clone()).await {
            Ok(stream) => open.push(stream),
            Err(status) => {
                assert_eq!(status.code(), Code::ResourceExhausted);
                refused += 1;
            }
        }
    }
    assert_eq!((open.len(), refused), (64, 936));
    let gauge = format!("slotkeeper_scaler_streams_open{{pool=\"{POOL}\"}}");
    assert_eq!(rig.metric(&gauge).await, 64.0);
    assert_eq!(keda.evaluate().await, Ok(ASLEEP), "KEDA is still answered");
    drop(open);
    drop(channels);
    for _ in 0..1000 {
        if rig.metric(&gauge).await == 0.0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("streams of closed connections stay open");
}

#[tokio::test(start_paused = true)]
async fn too_many_connections_are_refused_at_once() {
    let (rig, _book, mut keda) = pair().await;
    assert_eq!(keda.evaluate().await, Ok(ASLEEP));
    let mut held = Vec::new();
    for _ in 0..100 {
        held.push(rig.net.dial(rig.keda).await.unwrap());
    }
    let connected = now();
    let mut late = rig.net.dial(rig.keda).await.unwrap();
    assert_eq!(all_of(&mut late).await, b"");
    assert!(now() - connected < Duration::from_secs(1));
    assert_eq!(keda.evaluate().await, Ok(ASLEEP), "an existing connection is answered");
    // The silent connections are closed.
    for stream in &mut held {
        all_of(stream).await;
    }
    let mut other = Keda::new(rig.net.clone(), &[rig.keda]);
    assert_eq!(other.evaluate().await, Ok(ASLEEP));
}
