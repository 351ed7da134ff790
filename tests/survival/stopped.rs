//! A dispatcher that does not run for a while, because of `SIGSTOP` or a starved machine: its sockets stay open, and accept
//! data of clients. When it continues, its slots have been granted to other sessions.

use super::CLOCKS;
use super::dispatchers::Dispatchers;
use super::redis::Redis;
use futures_util::{SinkExt, StreamExt};
use rustix::process::Signal;
use slotkeeper_tests::pod::{ok, switch};
use slotkeeper_tests::{Pod, Visitor, patiently};
use std::sync::{Arc, Mutex};
use tokio_tungstenite::tungstenite::Message;

/// The messages that the only machine received, each with the number of its WebSocket.
#[derive(Clone, Default)]
struct Heard(Arc<Mutex<Vec<(usize, String)>>>);

impl Heard {
    fn all(&self) -> Vec<(usize, String)> {
        self.0.lock().unwrap().clone()
    }
}

async fn machine(heard: Heard) -> Pod {
    let sockets = Arc::new(Mutex::new(0));
    Pod::start(move |mut wire, _| {
        let (heard, sockets) = (heard.clone(), sockets.clone());
        async move {
            while let Some(head) = wire.head().await {
                if head.get("upgrade").is_none() {
                    wire.send(ok("machine")).await;
                    continue;
                }
                let number = {
                    let mut sockets = sockets.lock().unwrap();
                    *sockets += 1;
                    *sockets
                };
                let mut socket = switch(wire, &head, "").await;
                while let Some(Ok(message)) = socket.next().await {
                    if let Message::Text(text) = &message {
                        heard.0.lock().unwrap().push((number, text.to_string()));
                        let _ = socket.send(message).await;
                    }
                }
                return;
            }
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn data_sent_to_a_suspended_dispatcher_does_not_reach_the_pod_after_its_slot_was_granted_again() {
    let (heard, redis) = (Heard::default(), Redis::start().await);
    let machine = machine(heard.clone()).await;
    let tables = format!(
        "[pools.arcade]\nslots_per_pod = 1\n{CLOCKS}[pools.arcade.fixed]\npods = [\"{}\"]\n\
         [pools.arcade.fixed.probe]\nevery_seconds = 2\n",
        machine.address
    );
    let mut dispatchers = Dispatchers::new(2, "drain_seconds = 0.5", &tables, |_| redis.address());
    dispatchers.start(0).await;
    dispatchers.start(1).await;

    // Several sockets, as the process may read any of them first when it continues.
    let mut ana = Visitor::at(dispatchers.addresses()[0]);
    ana.wait_for_slot().await;
    let mut sockets = Vec::new();
    for number in 1..=8 {
        let mut socket = ana.socket("/play").await;
        socket.send(Message::text("early")).await.unwrap();
        let echo = patiently("an echo", socket.next()).await.unwrap().unwrap();
        assert_eq!(echo, Message::text("early"), "socket {number}");
        sockets.push(socket);
    }

    dispatchers.suspend(0).await;
    for socket in &mut sockets {
        socket.send(Message::text("late")).await.unwrap();
    }
    let mut ben = Visitor::at(dispatchers.addresses()[1]);
    ben.wait_for_slot().await;
    let mut his = ben.socket("/play").await;
    his.send(Message::text("ben")).await.unwrap();
    patiently("an echo", his.next()).await.unwrap().unwrap();
    assert!(heard.all().iter().all(|(_, text)| text != "late"), "it does not run: {:?}", heard.all());

    dispatchers.signal(0, Signal::CONT);
    for mut socket in sockets {
        // Until it is closed or broken.
        patiently("her sockets to end", async { while let Some(Ok(_)) = socket.next().await {} }).await;
    }
    his.send(Message::text("ben again")).await.unwrap();
    patiently("an echo", his.next()).await.unwrap().unwrap();
    let late: Vec<_> = heard.all().into_iter().filter(|(_, text)| text == "late").collect();
    assert_eq!(late, [], "the machine is another visitor's by now");
}
