//! The chat, within a pod and across pods.

use serde_json::Value;
use slotkeeper_workloads::gateway::{Config, RedisAddress};
use tokio_tungstenite::tungstenite::Message;

use super::Running;
use super::client::Client;
use super::redis::Redis;

#[tokio::test]
async fn within_a_pod_every_client_gets_every_message_once_with_its_sender() {
    let gateway = Running::ready(Config { name: "pod-7".into(), ..Config::default() }).await;
    let mut ana = Client::open(&gateway, "/any/chat?name=%20Ana%20%0a%e2%80%ae%20B%20").await;
    let welcome = ana.hear("welcome").await;
    assert_eq!((welcome["pod"].as_str(), welcome["name"].as_str()), (Some("pod-7"), Some("Ana B")));
    assert_eq!((&welcome["here"], &welcome["reach"], &welcome["resumed"]), (&1.into(), &"pod".into(), &false.into()));
    let mut ben = Client::open(&gateway, "/chat").await;
    assert_eq!(ben.hear("welcome").await["name"], "guest");
    assert_eq!(ana.hear("presence").await["here"], 2);

    ana.say("a-1", " <b>bold</b>\u{7}\n ").await;
    let sent = ana.hear("message").await;
    let heard = ben.hear("message").await;
    assert_eq!(sent, heard);
    assert_eq!((heard["from"].as_str(), heard["text"].as_str()), (Some("Ana B"), Some("<b>bold</b>")));
    assert_eq!((heard["pod"].as_str(), heard["client_id"].as_str()), (Some("pod-7"), Some("a-1")));
    // Sent again, as after a lost answer: the sender gets the same answer, and the others get nothing.
    ana.say("a-1", "<b>bold</b>").await;
    assert_eq!(ana.hear("sent").await["id"], heard["id"]);
    assert_eq!(ana.hear("sent").await["id"], heard["id"]);
    ben.send(Message::text(r#"{"type":"name","name":"Ben"}"#)).await;
    ben.say("b-1", "two").await;
    let second = ana.hear("message").await;
    assert_eq!((second["from"].as_str(), second["text"].as_str()), (Some("Ben"), Some("two")));
    gateway.counts("chat_messages_published_total", 2.0).await;
    gateway.counts("chat_messages_delivered_total", 4.0).await;

    // A new client gets the history; a returning one, the messages that it missed.
    let mut cleo = Client::open(&gateway, "/chat").await;
    assert_eq!(cleo.texts_until("two").await, ["<b>bold</b>", "two"]);
    let mut dora = Client::open(&gateway, &format!("/chat?after={}", heard["id"].as_str().expect("an id"))).await;
    let welcome = dora.hear("welcome").await;
    assert_eq!((&welcome["resumed"], &welcome["complete"]), (&true.into(), &true.into()));
    assert_eq!(dora.texts_until("two").await, ["two"]);
    assert_eq!(Client::refused(&gateway, "/chat?after=yesterday").await.0, 400);
}

#[tokio::test]
async fn invalid_messages_are_refused_and_the_socket_stays_open() {
    let gateway = Running::ready(Config::default()).await;
    let mut ana = Client::open(&gateway, "/chat").await;
    for nonsense in ["", "{", "[]", r#"{"type":"fly"}"#, r#"{"type":"say","text":"no id"}"#] {
        ana.send(Message::text(nonsense)).await;
        let refused = ana.hear("refused").await;
        assert_eq!((&refused["why"], &refused["client_id"]), (&"malformed".into(), &Value::Null), "{nonsense}");
    }
    ana.send(Message::binary(vec![1, 2, 3])).await;
    assert_eq!(ana.hear("refused").await["why"], "malformed");
    ana.say("not an id!", "hello").await;
    assert_eq!(ana.hear("refused").await["why"], "malformed");
    ana.say("e", " \n\u{200e} ").await;
    let refused = ana.hear("refused").await;
    assert_eq!((refused["why"].as_str(), refused["client_id"].as_str()), (Some("empty"), Some("e")));
    ana.say("l", &"ü".repeat(2001)).await;
    assert_eq!(ana.hear("refused").await["why"], "too-long");
    ana.say("f", &"ü".repeat(2000)).await;
    assert_eq!(ana.hear("sent").await["client_id"], "f");
    ana.say("x", &"x".repeat(70_000)).await;
    assert_eq!(ana.closed().await.map(|close| close.0), Some(1009));
}

#[tokio::test]
async fn a_flood_is_refused_and_then_closed_and_others_are_spared() {
    let gateway = Running::ready(Config { send_queue: 4000, ..Config::default() }).await;
    let mut ana = Client::open(&gateway, "/chat").await;
    let mut ben = Client::open(&gateway, "/chat").await;
    for number in 0..100 {
        ana.say(&format!("a-{number}"), "flood").await;
    }
    assert_eq!(ana.hear("refused").await["why"], "too-fast");
    ben.say("b", "calm").await;
    let heard = ben.texts_until("calm").await;
    assert!(heard.len() < 100, "{} messages of the flood came through", heard.len());
    use futures_util::SinkExt;
    // The socket may be closed in the middle of this.
    for _ in 0..1000 {
        if ana.socket.send(Message::text("{}")).await.is_err() {
            break;
        }
    }
    gateway.counts("websocket_closed_total{reason=\"protocol\"}", 1.0).await;
    ben.say("c", "still here").await;
    ben.texts_until("still here").await;
}

#[tokio::test]
async fn across_pods_every_client_gets_every_message_once_in_one_order() {
    let redis = Redis::start().await;
    let (one, two) = (Running::ready(redis.config("one")).await, Running::ready(redis.config("two")).await);
    let mut ana = Client::open(&one, "/chat?name=Ana").await;
    let mut ben = Client::open(&two, "/chat?name=Ben").await;
    assert_eq!(ben.hear("welcome").await["reach"], "pods");
    for number in 0..10 {
        ana.say(&format!("a-{number}"), &format!("from one {number}")).await;
        ben.say(&format!("b-{number}"), &format!("from two {number}")).await;
    }
    ana.say("a-4", "from one 4").await;
    let (mut heard_by_ana, mut heard_by_ben) = (Vec::new(), Vec::new());
    for _ in 0..20 {
        heard_by_ana.push(ana.hear("message").await);
        heard_by_ben.push(ben.hear("message").await);
    }
    assert_eq!(heard_by_ana, heard_by_ben);
    let from_one = heard_by_ben.iter().filter(|message| message["pod"] == "one").count();
    assert_eq!(from_one, 10);
    // On another pod she continues where she was.
    let last = heard_by_ana[14]["id"].as_str().expect("an id");
    let mut ana = Client::open(&two, &format!("/chat?after={last}")).await;
    for expected in &heard_by_ana[15..] {
        assert_eq!(&ana.hear("message").await, expected);
    }
    one.counts("chat_messages_published_total", 10.0).await;
    assert_eq!(one.metric("chat_redis_connected").await, 1.0);
    // A new pod has the same history.
    let three = Running::ready(Config { history: 7, ..redis.config("three") }).await;
    let mut cleo = Client::open(&three, "/chat").await;
    for expected in &heard_by_ana[13..] {
        assert_eq!(&cleo.hear("message").await, expected);
    }
    let mut dora =
        Client::open(&three, &format!("/chat?after={}", heard_by_ana[3]["id"].as_str().expect("an id"))).await;
    assert_eq!(dora.hear("welcome").await["complete"], false, "it does not reach back that far");
    let mut emma =
        Client::open(&three, &format!("/chat?after={}", heard_by_ana[12]["id"].as_str().expect("an id"))).await;
    assert_eq!(emma.hear("welcome").await["complete"], true);
}

#[tokio::test]
async fn the_stream_is_the_source_of_truth_and_pubsub_only_notifies() {
    let redis = Redis::start().await;
    let gateway = Running::ready(redis.config("one")).await;
    let mut ana = Client::open(&gateway, "/chat").await;
    ana.say("1", "one").await;
    ana.texts_until("one").await;
    // A message in the stream without a notice is found anyway. Other entries are skipped.
    redis.run(&["XADD", "slotkeeper-chat:log", "*", "something", "else"]).await;
    let silent = r#"{"from":"X","text":"silent","pod":"x","client_id":"x"}"#;
    redis.run(&["XADD", "slotkeeper-chat:log", "*", "message", silent]).await;
    assert_eq!(ana.texts_until("silent").await, ["silent"]);
    // A notice that is not in the stream and is not a message.
    redis.run(&["PUBLISH", "slotkeeper-chat:live:1", "nonsense"]).await;
    redis.run(&["PUBLISH", "slotkeeper-chat:live:0", &format!("99999999999998-0 0-0 {silent}")]).await;
    // A clock that was set back, or ids that pods delivered from lost data: new ids are larger.
    redis.run(&["SET", "slotkeeper-chat:floor", "99999999999999-7"]).await;
    ana.say("2", "two").await;
    let heard = ana.hear("message").await;
    assert_eq!((heard["text"].as_str(), heard["id"].as_str()), (Some("two"), Some("99999999999999-8")));
    ana.say("3", "three").await;
    assert_eq!(ana.hear("message").await["id"], "99999999999999-9");
}

#[tokio::test]
async fn a_slow_client_of_the_chat_learns_how_many_messages_it_missed() {
    let gateway = Running::ready(Config { send_queue: 8, history: 10, ..Config::default() }).await;
    let mut slow = Client::open(&gateway, "/chat").await;
    let mut talkers = Vec::new();
    for talker in 0..6 {
        let mut client = Client::open(&gateway, "/chat").await;
        for number in 0..20 {
            client.say(&format!("{talker}-{number}"), &"𝄞".repeat(2000)).await;
        }
        talkers.push(client);
    }
    gateway.counts("chat_messages_published_total", 120.0).await;
    assert!(slow.hear("missed").await["messages"].as_u64() > Some(0));
    // A new client gets the whole history, although it is longer than the queue.
    let mut ben = Client::open(&gateway, "/chat").await;
    for _ in 0..10 {
        ben.hear("message").await;
    }
}

#[test]
fn addresses_of_redis_are_parsed_or_refused_without_showing_their_password() {
    for good in ["redis://host", "redis://:secret@host:7000/3", "redis://ana:secret@[::1]:7000"] {
        let address: RedisAddress = good.parse().expect(good);
        assert!(!format!("{address} {address:?}").contains("secret"));
    }
    for bad in [
        "rediss://:secret@host",
        "http://:secret@host",
        "secret",
        "redis://:secret@host:port/3",
        "redis://:secret@host/x",
    ] {
        let error = bad.parse::<RedisAddress>().expect_err(bad);
        assert!(error.contains("allowed: redis://") && !error.contains("secret"), "{error}");
    }
}
