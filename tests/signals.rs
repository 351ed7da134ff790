//! Signals to a dispatcher that has open streams and a long time to drain.

use crate::http::SHARED;
use futures_util::StreamExt;
use rustix::process::Signal;
use slotkeeper_tests::{Dispatcher, Pod, Setup, Visitor, eventually, patiently};

/// Longer than any test waits.
const DRAIN: &str = "drain_seconds = 3600";

async fn logs(dispatcher: &Dispatcher, what: &str) {
    eventually(what, async || dispatcher.log().contains(what)).await;
}

#[tokio::test]
async fn sighup_ends_no_session() {
    let pod = Pod::named("pod").await;
    let dispatcher = Setup::fixed(&[&pod], SHARED).start().await;
    let mut socket = Visitor::of(&dispatcher).socket("/").await;
    dispatcher.signal(Signal::HUP);
    logs(&dispatcher, "configuration reloaded: no changes").await;
    assert_eq!(Visitor::of(&dispatcher).get("/").await.text(), "pod");
    use futures_util::SinkExt;
    use tokio_tungstenite::tungstenite::Message;
    socket.send(Message::text("still here")).await.unwrap();
    assert_eq!(patiently("the echo", socket.next()).await.unwrap().unwrap(), Message::text("still here"));
}

#[tokio::test]
async fn a_second_signal_closes_all_streams_at_once() {
    let pod = Pod::named("pod").await;
    let mut dispatcher = Setup::fixed(&[&pod], SHARED).top(DRAIN).start().await;
    let mut sockets = Vec::new();
    for _ in 0..8 {
        sockets.push(Visitor::of(&dispatcher).socket("/").await);
    }
    dispatcher.signal(Signal::INT);
    logs(&dispatcher, "stopping").await;
    dispatcher.signal(Signal::TERM);
    for socket in &mut sockets {
        let close = patiently("a close frame", socket.next()).await.unwrap().unwrap();
        let tokio_tungstenite::tungstenite::Message::Close(Some(frame)) = close else { panic!("{close:?}") };
        assert_eq!(u16::from(frame.code), 1012);
    }
    drop(sockets);
    assert!(dispatcher.end().await.success());
}

#[tokio::test]
async fn a_third_signal_ends_the_process() {
    let pod = Pod::start(|mut wire, _| async move {
        wire.head().await;
        std::future::pending::<()>().await;
    })
    .await;
    let mut dispatcher = Setup::fixed(&[&pod], SHARED).top(DRAIN).start().await;
    // A request that is never answered keeps the dispatcher from ending by itself.
    let _waits = Visitor::of(&dispatcher).ask("GET", "/", "").await;
    eventually("the request to reach the pod", async || {
        dispatcher.metrics().await.of_pool("slotkeeper_streams_open", "kind=request") == 1
    })
    .await;
    dispatcher.signal(Signal::TERM);
    logs(&dispatcher, "stopping").await;
    // Two different signals: two of one kind may become one before they are handled. At once, because the second one ends the
    // dispatcher soon.
    dispatcher.signal(Signal::TERM);
    dispatcher.signal(Signal::INT);
    assert_eq!(dispatcher.end().await.code(), Some(1));
    assert!(dispatcher.log().contains("third stop signal"));
}
