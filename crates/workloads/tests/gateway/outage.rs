//! Redis is killed during the chat, and returns with and without its data.

use slotkeeper_workloads::gateway::Config;

use super::client::Client;
use super::redis::Redis;
use super::{Running, eventually};

fn id(message: &serde_json::Value) -> (u64, u64) {
    let (ms, number) = message["id"].as_str().expect("an id").split_once('-').expect("two numbers");
    (ms.parse().expect("a number"), number.parse().expect("a number"))
}

/// Sends a message until it is confirmed, as the page does.
async fn insist(client: &mut Client, client_id: &str, text: &str) {
    loop {
        client.say(client_id, text).await;
        let news = loop {
            let news: serde_json::Value = serde_json::from_slice(&client.next().await).expect("JSON");
            if news["client_id"] == client_id && news["type"] != "message" {
                break news;
            }
        };
        if news["type"] == "sent" {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn during_a_redis_outage_sockets_stay_and_messages_are_delivered_once_afterwards() {
    let mut redis = Redis::start().await;
    let (one, two) = (Running::ready(redis.config("one")).await, Running::ready(redis.config("two")).await);
    let mut ana = Client::open(&one, "/chat").await;
    let mut listener = Client::open(&one, "/chat").await;
    let mut ben = Client::open(&two, "/chat").await;
    insist(&mut ana, "1", "before").await;
    assert_eq!(ben.texts_until("before").await, ["before"]);
    let first = listener.hear("message").await;

    redis.kill().await;
    assert_eq!(ben.hear("redis").await["connected"], false);
    two.counts("chat_redis_connected", 0.0).await;
    assert_eq!(two.get("/readyz").await.0, 200, "the sockets need no Redis");
    ben.say("2", "meanwhile").await;
    let refused = ben.hear("refused").await;
    assert_eq!((refused["client_id"].as_str(), refused["why"].as_str()), (Some("2"), Some("redis")));
    // A client that joins now gets the pod's history.
    let mut cleo = Client::open(&two, "/chat").await;
    assert_eq!(cleo.hear("welcome").await["reach"], "away");
    assert_eq!(cleo.texts_until("before").await, ["before"]);
    // A pod that has never reached Redis has no history and is not ready.
    let three = Running::start(redis.config("three"));
    eventually("the third pod to answer", async || three.get("/healthz").await.0 == 200).await;
    assert_eq!(three.get("/readyz").await.0, 503);

    redis.restart().await;
    assert_eq!(ben.hear("redis").await["connected"], true);
    insist(&mut ben, "2", "meanwhile").await;
    insist(&mut ben, "2", "meanwhile").await;
    insist(&mut ana, "3", "after").await;
    assert_eq!(cleo.texts_until("after").await, ["meanwhile", "after"]);
    assert_eq!(listener.texts_until("after").await, ["meanwhile", "after"]);
    eventually("the third pod to be ready", async || three.get("/readyz").await.0 == 200).await;
    let mut dora = Client::open(&three, &format!("/chat?after={}", first["id"].as_str().expect("an id"))).await;
    assert_eq!(dora.texts_until("after").await, ["meanwhile", "after"]);
}

#[tokio::test]
async fn messages_in_flight_when_redis_is_killed_are_delivered_once() {
    let mut redis = Redis::start().await;
    let (one, two) = (Running::ready(redis.config("one")).await, Running::ready(redis.config("two")).await);
    let mut listeners = [Client::open(&one, "/chat").await, Client::open(&two, "/chat").await];
    let speak = |gateway: &Running, who: &'static str| {
        let address = gateway.address;
        tokio::spawn(async move {
            let mut client = Client::try_open(address, "/chat").await.expect("a socket");
            for number in 0..15 {
                insist(&mut client, &format!("{who}-{number}"), &format!("{who} {number}")).await;
            }
        })
    };
    let speakers = [speak(&one, "ana"), speak(&two, "ben")];
    for _ in 0..4 {
        listeners[0].hear("message").await;
    }
    redis.kill().await;
    redis.restart().await;
    for speaker in speakers {
        super::patiently("the speakers", speaker).await.expect("no panic");
    }
    // There are 30 messages; the first client has already received 4 of them.
    let mut rest = Vec::new();
    for _ in 4..30 {
        rest.push(listeners[0].hear("message").await);
    }
    let mut all = Vec::new();
    for _ in 0..30 {
        all.push(listeners[1].hear("message").await);
    }
    assert_eq!(rest, all[4..]);
    let mut texts: Vec<_> = all.iter().map(|message| message["text"].as_str().expect("a text")).collect();
    texts.sort_unstable();
    texts.dedup();
    assert_eq!(texts.len(), 30);
    // No other message follows them.
    let mut ana = Client::open(&one, "/chat").await;
    insist(&mut ana, "last", "last").await;
    for listener in &mut listeners {
        assert_eq!(listener.texts_until("last").await, ["last"]);
    }
}

#[tokio::test]
async fn after_redis_returns_empty_ids_continue_and_nothing_is_delivered_twice() {
    let mut redis = Redis::start().await;
    let (one, two) = (Running::ready(redis.config("one")).await, Running::ready(redis.config("two")).await);
    let mut ana = Client::open(&one, "/chat").await;
    let mut ben = Client::open(&two, "/chat").await;
    insist(&mut ana, "1", "before").await;
    let before = ben.hear("message").await;

    redis.kill().await;
    ben.hear("redis").await;
    redis.restart_empty().await;
    assert_eq!(ben.hear("redis").await["connected"], true);
    one.counts("chat_redis_connected", 1.0).await;
    // Redis has lost the record of this message; the pods that delivered it have not.
    insist(&mut ana, "1", "before").await;
    insist(&mut ana, "2", "after").await;
    let after = ben.hear("message").await;
    assert_eq!(after["text"], "after");
    assert!(id(&after) > id(&before));
    // A pod still has the messages that it delivered.
    let mut cleo = Client::open(&two, "/chat").await;
    assert_eq!(cleo.texts_until("after").await, ["before", "after"]);
    // A new pod has the messages of this Redis.
    let three = Running::ready(Config { history: 2, ..redis.config("three") }).await;
    let mut dora = Client::open(&three, "/chat").await;
    assert_eq!(dora.texts_until("after").await, ["before", "after"]);
}
