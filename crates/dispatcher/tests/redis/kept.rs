//! Checkpoints, the entries that are removed for them, and what cannot be read.

use super::replica::{ByHand, Replica, agree};
use super::server::{Server, Way};
use slotkeeper::journal::JournalError;
use slotkeeper_core::{Entry, Fleet};

const ENTRIES: &str = "{slotkeeper}:entries";

async fn length(server: &Server) -> i64 {
    redis::from_redis_value(server.ask(&["XLEN", ENTRIES]).await).unwrap()
}

/// Writes these marks, and a checkpoint at the end of them.
async fn say_and_keep(replica: &mut Replica, marks: std::ops::RangeInclusive<u128>) -> Fleet {
    let last = *marks.end();
    replica.say(marks).await;
    let state = replica.reads(last).await.fleet;
    replica.keep.keep(state.clone().into()).await.unwrap();
    state
}

#[tokio::test]
async fn a_newcomer_starts_from_the_checkpoint() {
    let server = Server::forgetful().await;
    let way = Way::to(&server);
    let mut old = Replica::new(1, &way);
    let first = say_and_keep(&mut old, 1..=9).await;
    assert_eq!(length(&server).await, 10);
    let second = say_and_keep(&mut old, 10..=19).await;
    // The oldest entry left is that of the checkpoint before, so that a reader that is a little behind can continue.
    assert_eq!(length(&server).await, 11);
    // A checkpoint older than the stored one is not stored.
    old.keep.keep(first.into()).await.unwrap();
    old.say([20]).await;
    let mut new = Replica::new(2, &way);
    agree(&mut [&mut old, &mut new], 20).await;
    assert_eq!((new.now().states, new.now().entries.len()), (1, 1));
    assert_eq!(new.now().fleet.applied(), second.applied() + 1);
    old.say((21..=320).rev()).await;
    agree(&mut [&mut old, &mut new], 21).await;
}

#[tokio::test]
async fn a_reader_that_is_far_behind_starts_over_without_a_lapse() {
    let server = Server::forgetful().await;
    let way = Way::to(&server);
    let mut writer = Replica::new(1, &way);
    writer.say(1..=4).await;
    let (mut near, mut far) = (ByHand::new(&way), ByHand::new(&way));
    for reader in [&mut near, &mut far] {
        while !reader.reading.has(4) {
            reader.read().await.unwrap();
        }
    }
    say_and_keep(&mut writer, 5..=9).await;
    while !near.reading.has(9) {
        near.read().await.unwrap();
    }
    say_and_keep(&mut writer, 10..=19).await;
    for (reader, states) in [(&mut near, 0), (&mut far, 1)] {
        writer.say([100 + u128::from(states)]).await;
        while !reader.reading.has(100 + u128::from(states)) {
            reader.read().await.unwrap();
        }
        assert_eq!(reader.reading.states, states);
    }
    assert_eq!(writer.now().lapses(), 1);
}

#[tokio::test]
async fn a_checkpoint_of_lost_entries_is_not_stored() {
    let server = Server::forgetful().await;
    let way = Way::to(&server);
    let mut replica = Replica::new(1, &way);
    replica.say(1..=9).await;
    let lost = replica.reads(9).await.fleet;
    server.ask(&["FLUSHALL"]).await;
    let error = replica.keep.keep(lost.clone().into()).await.unwrap_err();
    let error = format!("{:#}", anyhow::Error::new(error));
    assert!(error.starts_with("keeping the state in Redis at 127.0.0.1:6379: entries may be lost"), "{error}");
    replica.say_anew([10]).await;
    replica.until("a new state", |reading| reading.states == 1 && reading.has(10)).await;
    replica.keep.keep(lost.into()).await.unwrap_err();
    assert_eq!(Replica::new(2, &way).reads(10).await.states, 0);
}

async fn refusal(server: &Server) -> String {
    let mut reader = ByHand::new(&Way::to(server));
    loop {
        match reader.read().await {
            Ok(()) => {}
            Err(JournalError::Unreadable(what)) => return what,
            Err(other) => panic!("{other}"),
        }
    }
}

#[tokio::test]
async fn unreadable_entries_are_refused_with_their_name_and_a_remedy() {
    let server = Server::forgetful().await;
    let mut replica = Replica::new(1, &Way::to(&server));
    replica.say([1]).await;
    let at = replica.reads(1).await.fleet.journal().0;
    let newest = format!("of version 9, and this slotkeeper knows only {}", Entry::SEMANTICS);
    for (json, says) in [
        (r#"{"v":9,"from":1,"number":1,"pool":"","command":{"New":{}}}"#, newest.as_str()),
        (r#"{"v":1,"from":1,"number":1,"pool":"","command":"New"}"#, "of version 1, but unknown variant `New`"),
        (r#"{"v":1,"from":1}"#, "of version 1, but missing field"),
        ("", "not an entry of slotkeeper"),
        ("\0\u{7f}", "not an entry of slotkeeper"),
    ] {
        let id = format!("{}-3", at + 1);
        server.ask(&["XADD", ENTRIES, &id, "entry", json]).await;
        let what = refusal(&server).await;
        assert!(what.starts_with(&format!("the entry {id} in {ENTRIES} is ")) && what.contains(says), "{what}");
        assert!(what.contains("run the version that wrote it, or stop all dispatchers"), "{what}");
        server.ask(&["XDEL", ENTRIES, &id]).await;
        server.ask(&["XSETID", ENTRIES, &format!("{at}-2")]).await;
    }
}

#[tokio::test]
async fn a_stream_without_its_beginning_is_refused() {
    let server = Server::forgetful().await;
    let mut replica = Replica::new(1, &Way::to(&server));
    replica.say(1..=9).await;
    replica.reads(9).await;
    server.ask(&["XTRIM", ENTRIES, "MAXLEN", "4"]).await;
    let what = refusal(&server).await;
    assert!(what.contains("-7, and there is no checkpoint: the entries before that are missing"), "{what}");
    assert!(what.contains("delete {slotkeeper}:entries, {slotkeeper}:life and {slotkeeper}:checkpoint"), "{what}");
    // A replica that has read the beginning continues.
    replica.say([10]).await;
    assert_eq!(replica.reads(10).await.states, 0);
}

#[tokio::test]
async fn an_unreadable_checkpoint_is_refused() {
    let server = Server::forgetful().await;
    let mut replica = Replica::new(1, &Way::to(&server));
    let state = say_and_keep(&mut replica, 1..=9).await;
    let mut newer = serde_json::to_value(&state).unwrap();
    newer["semantics"] = 9.into();
    let mut other = serde_json::to_value(&state).unwrap();
    other["applied"] = 9.into();
    let newest = format!("is of semantics 9, and this slotkeeper knows only {}", Entry::SEMANTICS);
    for (json, says) in [
        ("{".to_owned(), "cannot be read: EOF"),
        (newer.to_string(), newest.as_str()),
        (other.to_string(), "not of the position that is written next to it"),
    ] {
        server.ask(&["HSET", "{slotkeeper}:checkpoint", "state", &json]).await;
        let what = refusal(&server).await;
        assert!(what.starts_with("the state in {slotkeeper}:checkpoint") && what.contains(says), "{what}");
    }
}
