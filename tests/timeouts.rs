//! Time limits towards pods: a missing response, and bodies that stall, on either side.

use crate::http::SHARED;
use slotkeeper_tests::pod::ok;
use slotkeeper_tests::{Dispatcher, Pod, Setup, Visitor, eventually};

async fn behind(pod: &Pod, limits: &str) -> Dispatcher {
    Setup::fixed(&[pod], &format!("{SHARED}\n{limits}")).start().await
}

async fn timeouts(dispatcher: &Dispatcher, what: &str) -> u64 {
    dispatcher.metrics().await.of_pool("slotkeeper_timeouts_total", &format!("what={what}"))
}

async fn times_out(dispatcher: &Dispatcher, what: &str) {
    eventually(what, async || timeouts(dispatcher, what).await == 1).await;
}

/// A pod that reads requests with their bodies, sends some interim responses, and never a final one.
async fn silent() -> Pod {
    Pod::start(|mut wire, _| async move {
        while let Some(head) = wire.head().await {
            wire.body(head.request_length()).await;
            while wire.try_send("HTTP/1.1 103 Early Hints\r\n\r\n").await {
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
        }
    })
    .await
}

#[tokio::test]
async fn a_pod_that_never_answers_times_out() {
    let pod = silent().await;
    let dispatcher = behind(&pod, "answer_seconds = \"300ms\"").await;
    let answer = Visitor::of(&dispatcher).get("/").await;
    assert_eq!(answer.status(), 504);
    assert!(answer.text().contains("did not answer in time"), "{}", answer.text());
    let page = Visitor::of(&dispatcher).page("/").await;
    assert!(page.status() == 504 && page.text().contains("Your place did not answer"), "{}", page.text());
    let post = Visitor::of(&dispatcher).request("POST", "/", "", b"a body").await;
    assert_eq!(post.status(), 504);
    assert_eq!(timeouts(&dispatcher, "answer").await, 3);
    // Their connections are closed, and the streams have ended.
    pod.is_left_alone().await;
    assert_eq!(dispatcher.metrics().await.of_pool("slotkeeper_streams_open", "kind=request"), 0);
}

#[tokio::test]
async fn an_upgrade_that_is_never_answered_times_out() {
    let pod = silent().await;
    let dispatcher = behind(&pod, "answer_seconds = 0.3").await;
    let refused = Visitor::of(&dispatcher).try_socket("/", "").await.expect_err("no answer is no socket");
    assert_eq!(refused.status(), 504);
}

#[tokio::test]
async fn a_long_upload_that_makes_progress_does_not_time_out() {
    let pod = Pod::answering(|request| ok(&request.body.len().to_string())).await;
    let dispatcher = behind(&pod, "answer_seconds = 0.5\nstall_seconds = 0.5").await;
    let mut ana = Visitor::of(&dispatcher);
    let mut wire = ana.ask("POST", "/", "Content-Length: 20\r\n").await;
    for _ in 0..20 {
        tokio::time::sleep(std::time::Duration::from_millis(60)).await;
        wire.send("x").await;
    }
    assert_eq!(ana.answer(&mut wire, "POST").await.text(), "20");
}

#[tokio::test]
async fn a_visitor_that_stops_midway_in_a_body_gets_a_408() {
    let pod = Pod::answering(|_| ok("all of it")).await;
    let dispatcher = behind(&pod, "stall_seconds = 0.3").await;
    let mut ana = Visitor::of(&dispatcher);
    let mut wire = ana.ask("POST", "/", "Content-Length: 100\r\n").await;
    wire.send("x").await;
    let answer = ana.answer(&mut wire, "POST").await;
    assert_eq!((answer.status(), answer.head.get("connection")), (408, Some("close")));
    assert_eq!(timeouts(&dispatcher, "upload_visitor").await, 1);
    pod.is_left_alone().await;
}

#[tokio::test]
async fn a_pod_that_stops_reading_times_out() {
    let pod = Pod::start(|mut wire, _| async move {
        wire.head().await;
        // Holds the connection without reading, until the test is over.
        std::future::pending::<()>().await;
    })
    .await;
    let dispatcher = behind(&pod, "answer_seconds = \"off\"\nstall_seconds = 0.3").await;
    let files = || std::fs::read_dir(format!("/proc/{}/fd", dispatcher.id())).unwrap().count();
    let before = files();
    let mut ana = Visitor::of(&dispatcher);
    let length = 1 << 30;
    let mut wire = ana.ask("POST", "/", &format!("Content-Length: {length}\r\n")).await;
    let piece = vec![b'x'; 1 << 20];
    // Sends until the dispatcher accepts no more, and then reads the response.
    while let Ok(true) = tokio::time::timeout(std::time::Duration::from_millis(500), wire.try_send(&piece)).await {}
    let answer = ana.answer(&mut wire, "POST").await;
    assert_eq!(answer.status(), 504);
    assert_eq!(timeouts(&dispatcher, "upload_pod").await, 1);
    drop(wire);
    // The connection to the pod has been closed, although the pod does not read.
    eventually("the descriptors to be given back", async || files() <= before).await;
}

/// A pod that answers with a head of these fields and the beginning of a body, and then is silent.
async fn falls_silent(fields: &'static str) -> Pod {
    Pod::start(move |mut wire, _| async move {
        if wire.head().await.is_some() {
            wire.send(format!("HTTP/1.1 200 OK\r\n{fields}Content-Length: 100\r\n\r\nx")).await;
            wire.rest().await;
        }
    })
    .await
}

#[tokio::test]
async fn a_stalled_response_is_cut_and_an_event_stream_may_be_silent() {
    let (slow, events) =
        (falls_silent("").await, falls_silent("Content-Type: text/event-stream; charset=utf-8\r\n").await);
    let limits = format!("{SHARED}\nstall_seconds = 0.3");
    let dispatcher = Setup::default()
        .pool("events", &[&events], &format!("{limits}\npath = \"/events\""))
        .pool("pool", &[&slow], &limits)
        .start()
        .await;
    let mut ben = Visitor::of(&dispatcher);
    let mut stream = ben.ask("GET", "/events", "").await;
    assert_eq!(ben.hear(&mut stream).await.status(), 200);
    assert_eq!(stream.bytes(1).await, b"x");
    let mut ana = Visitor::of(&dispatcher);
    let mut wire = ana.ask("GET", "/", "").await;
    assert_eq!(ana.hear(&mut wire).await.status(), 200);
    assert_eq!(wire.rest().await, b"x", "the rest never comes, and the connection ends");
    times_out(&dispatcher, "download_pod").await;
    slow.is_left_alone().await;
    eventually("a log line", async || dispatcher.log().contains("body stalled: stream cut")).await;
    assert_eq!(events.open.load(std::sync::atomic::Ordering::Relaxed), 1, "still open");
}

#[tokio::test]
async fn a_response_to_a_visitor_that_stops_reading_is_cut() {
    let pod = Pod::start(|mut wire, _| async move {
        if wire.head().await.is_some() {
            wire.send("HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n").await;
            while wire.try_send(vec![b'x'; 1 << 20]).await {}
        }
    })
    .await;
    let dispatcher = behind(&pod, "stall_seconds = 0.5").await;
    let mut ana = Visitor::of(&dispatcher);
    let mut wire = ana.ask("GET", "/", "").await;
    assert_eq!(ana.hear(&mut wire).await.status(), 200);
    times_out(&dispatcher, "download_visitor").await;
    pod.is_left_alone().await;
}

#[tokio::test]
async fn time_limits_can_be_switched_off() {
    let pod = Pod::start(|mut wire, seen| async move {
        let Some(head) = wire.head().await else { return };
        seen.note(slotkeeper_tests::Request { head, ..Default::default() });
        tokio::time::sleep(std::time::Duration::from_secs(3)).await;
        wire.send(ok("late")).await;
    })
    .await;
    let dispatcher = behind(&pod, "answer_seconds = \"off\"\nstall_seconds = 0").await;
    assert_eq!(Visitor::of(&dispatcher).get("/").await.text(), "late");
}
