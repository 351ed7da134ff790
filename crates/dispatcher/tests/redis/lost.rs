//! The server loses some or all of the entries it had accepted, or may have: no reader continues with lost entries, and a
//! lapse precedes the new entries, so that no session is placed until every replica has noticed.

use super::replica::{ByHand, Replica, address, agree, mark, open};
use super::server::{Server, Way};
use slotkeeper::journal::Draft;
use slotkeeper_core::ReplicaId;

/// Two replicas that have written and read some entries.
async fn two(way: &Way) -> (Replica, Replica) {
    let (mut one, mut two) = (Replica::new(1, way), Replica::new(2, way));
    one.say(1..=5).await;
    two.say(6..=10).await;
    agree(&mut [&mut one, &mut two], 10).await;
    (one, two)
}

#[tokio::test]
async fn a_killed_server_with_a_synced_log_loses_no_acknowledged_entry() {
    let mut server = Server::durable().await;
    let way = Way::to(&server);
    let (mut one, mut other) = two(&way).await;
    for round in 1..=5_u128 {
        let (base, mut lines) = (round * 1000, tokio::task::JoinSet::new());
        for mut replica in [one, other] {
            lines.spawn(async move {
                let base = base + u128::from(replica.me.0) * 100;
                for what in base..base + 40 {
                    replica.say([what]).await;
                }
                replica
            });
        }
        server.restart().await;
        let mut back = lines.join_all().await;
        back.sort_by_key(|replica| replica.me);
        (other, one) = (back.pop().unwrap(), back.pop().unwrap());
    }
    one.say([1]).await;
    other.reads(5000 + 239).await;
    one.say([99_999]).await;
    agree(&mut [&mut one, &mut other], 99_999).await;
    let reading = one.now();
    assert_eq!(reading.states, 0);
    assert!(reading.lapses() >= 5);
    for (round, replica, what) in (1..=5).flat_map(|r| (1..=2).flat_map(move |p| (0..40).map(move |w| (r, p, w)))) {
        assert!(reading.has(round * 1000 + replica * 100 + what));
    }
    assert_eq!(reading.fleet.replica(one.me), Some(one.number));
    assert_eq!(reading.fleet.replica(other.me), Some(other.number));
}

#[tokio::test]
async fn a_restart_that_loses_everything_starts_all_replicas_over() {
    let mut server = Server::forgetful().await;
    let way = Way::to(&server);
    let (mut one, mut other) = two(&way).await;
    server.restart().await;
    one.say([11]).await;
    for replica in [&mut one, &mut other] {
        replica.until("a new state", |reading| reading.states == 1 && reading.has(11)).await;
    }
    one.say_anew([12]).await;
    other.say_anew([13]).await;
    agree(&mut [&mut one, &mut other], 13).await;
    let reading = one.now();
    assert!(reading.lapsed_between(None, 11) && !reading.has(10));
    assert!(reading.fleet.is_quiet());
    assert_eq!(reading.fleet.replica(one.me), Some(1));
}

#[tokio::test]
async fn a_lost_tail_is_noticed_by_replicas_that_had_read_it() {
    let mut server = Server::durable().await;
    let way = Way::to(&server);
    let (mut one, mut other) = two(&way).await;
    let (file, length) = (server.logs()[1].clone(), std::fs::metadata(&server.logs()[1]).unwrap().len());
    one.say(20..30).await;
    other.reads(29).await;
    server.kill();
    // The log is cut in the middle of an entry.
    let log = std::fs::OpenOptions::new().write(true).open(file).unwrap();
    log.set_len(length + (log.metadata().unwrap().len() - length) / 2).unwrap();
    server.start().await;
    other.say([11]).await;
    other.reads(11).await;
    for replica in [&mut one, &mut other] {
        replica.until("a new state", |reading| reading.states == 1 && reading.has(11)).await;
    }
    one.say_anew([12]).await;
    agree(&mut [&mut one, &mut other], 12).await;
    let reading = one.now();
    // The remaining entries are followed by a lapse, and that by the new entries.
    assert!(reading.has(10) && !reading.has(29));
    assert!(reading.lapsed_between(Some(10), 11));
}

#[tokio::test]
async fn a_flush_under_open_connections_starts_all_replicas_over() {
    let server = Server::forgetful().await;
    let way = Way::to(&server);
    let (mut one, mut other) = two(&way).await;
    for round in 1..=3 {
        server.ask(&["FLUSHALL"]).await;
        one.say([100 * u128::from(round)]).await;
        for replica in [&mut one, &mut other] {
            replica.until("a new state", |reading| reading.states == round).await;
        }
        other.say_anew([100 * u128::from(round) + 1]).await;
        agree(&mut [&mut one, &mut other], 100 * u128::from(round) + 1).await;
        assert!(one.now().lapsed_between(None, 100 * u128::from(round)));
    }
}

#[tokio::test]
async fn entries_accepted_but_not_read_are_written_again_after_a_loss() {
    let server = Server::forgetful().await;
    let way = Way::to(&server);
    let mut deaf = open(&address(), &way);
    let mut say = async |numbers: std::ops::RangeInclusive<u64>| {
        let draft =
            |number| Draft { from: ReplicaId(7), number, pool: "pool".into(), command: mark(u128::from(number) + 700) };
        deaf.append.append(numbers.map(draft).collect()).await.unwrap();
    };
    say(1..=2).await;
    say(3..=3).await;
    server.ask(&["FLUSHALL"]).await;
    // Another replica notices the loss first.
    let mut other = Replica::new(1, &way);
    other.say([1]).await;
    say(4..=4).await;
    let reading = other.reads(704).await;
    assert_eq!(reading.lapses(), 1);
    assert_eq!(reading.fleet.replica(ReplicaId(7)), Some(4));
    assert!([701, 702, 703, 704].iter().is_sorted_by_key(|what| reading.find(*what).unwrap()));
}

#[tokio::test]
async fn any_key_of_the_journal_can_be_deleted() {
    let server = Server::forgetful().await;
    let way = Way::to(&server);
    let (mut one, mut other) = two(&way).await;
    let state = one.now().fleet;
    one.keep.keep(state.clone().into()).await.unwrap();

    server.ask(&["DEL", "{slotkeeper}:life"]).await;
    one.say([11]).await;
    agree(&mut [&mut one, &mut other], 11).await;
    assert!(one.now().lapsed_between(Some(10), 11) && one.now().states == 0);

    server.ask(&["DEL", "{slotkeeper}:entries"]).await;
    one.say([12]).await;
    for replica in [&mut one, &mut other] {
        let reading = replica.until("a new state", |reading| reading.states == 1 && reading.has(12)).await;
        // The replica returns to the checkpoint, and continues from there.
        assert!(reading.lapsed_between(None, 12));
        assert_eq!(reading.fleet.applied(), state.applied() + reading.entries.len() as u64);
    }

    server.ask(&["DEL", "{slotkeeper}:checkpoint"]).await;
    other.say_anew([13]).await;
    agree(&mut [&mut one, &mut other], 13).await;
    assert_eq!(one.now().states, 1);
}

#[tokio::test]
async fn an_entry_deleted_by_hand_is_reported_as_a_loss() {
    let server = Server::forgetful().await;
    let way = Way::to(&server);
    let (mut one, mut other) = two(&way).await;
    let last = one.now().entries.last().unwrap().clone();
    let id = format!("{}-{}", last.at.0, one.now().fleet.applied());
    server.ask(&["XDEL", "{slotkeeper}:entries", &id]).await;
    for replica in [&mut one, &mut other] {
        replica.until("a new state", |reading| reading.states == 1 && !reading.entries.is_empty()).await;
    }
    other.say_anew([11]).await;
    one.say_anew([12]).await;
    agree(&mut [&mut one, &mut other], 12).await;
    assert!(one.now().lapsed_between(Some(9), 11));
}

#[tokio::test]
async fn a_lagging_replica_is_promoted() {
    let (mut primary, replica) = (Server::durable().await, Server::durable().await);
    let way = Way::to(&primary);
    let (mut one, mut other) = two(&way).await;
    replica.replicates(&primary).await;
    one.say([11]).await;
    replica.replicates(&primary).await;
    // From here on the replica is cut off, and becomes the primary without the entries that follow.
    replica.ask(&["REPLICAOF", "NO", "ONE"]).await;
    one.say(20..30).await;
    other.reads(29).await;
    primary.kill();
    way.turn_to(&replica);
    other.say([12]).await;
    for replica in [&mut one, &mut other] {
        replica.until("a new state", |reading| reading.states == 1 && reading.has(12)).await;
    }
    one.say_anew([13]).await;
    agree(&mut [&mut one, &mut other], 13).await;
    assert!(one.now().lapsed_between(Some(11), 12) && !one.now().has(20));
}

#[tokio::test]
async fn a_promotion_without_loss_starts_no_replica_over() {
    let (mut primary, replica) = (Server::durable().await, Server::durable().await);
    let way = Way::to(&primary);
    let (mut one, mut other) = two(&way).await;
    replica.replicates(&primary).await;
    primary.kill();
    way.turn_to(&replica);
    // The server has not been promoted yet.
    one.say_through(11, "replica", async {
        replica.ask(&["REPLICAOF", "NO", "ONE"]).await;
    })
    .await;
    agree(&mut [&mut one, &mut other], 11).await;
    assert!(one.now().lapsed_between(Some(10), 11) && one.now().states == 0);
}

/// The process and all connections are the same as before, but the data is older.
#[tokio::test]
async fn a_primary_that_was_a_replica_meanwhile_starts_replicas_over() {
    let (primary, replica) = (Server::durable().await, Server::durable().await);
    let way = Way::to(&primary);
    let (mut one, mut other) = two(&way).await;
    replica.replicates(&primary).await;
    replica.ask(&["REPLICAOF", "NO", "ONE"]).await;
    one.say(20..30).await;
    other.reads(29).await;
    primary.replicates(&replica).await;
    primary.ask(&["REPLICAOF", "NO", "ONE"]).await;
    for replica in [&mut one, &mut other] {
        replica.until("a new state", |reading| reading.states >= 1).await;
    }
    one.say_anew([11]).await;
    other.say_anew([12]).await;
    agree(&mut [&mut one, &mut other], 12).await;
    assert!(one.now().lapsed_between(Some(10), 11) && !one.now().has(20));
}

/// A clock that is behind gives new entries older times than the lost ones had: reading only what is newer would never
/// find them.
#[tokio::test]
async fn new_entries_may_have_older_times_than_lost_ones() {
    let server = Server::forgetful().await;
    let way = Way::to(&server);
    let mut one = Replica::new(1, &way);
    let mut reader = ByHand::new(&way);
    one.say([1]).await;
    let ahead = one.reads(1).await.fleet.journal().0 + 3_600_000;
    let json = r#"{"v":1,"from":7,"number":1,"pool":"pool","command":"Tick"}"#;
    server.ask(&["XADD", "{slotkeeper}:entries", &format!("{ahead}-3"), "entry", json]).await;
    while reader.reading.entries.len() < 3 {
        reader.read().await.unwrap();
    }
    server.ask(&["FLUSHALL"]).await;
    one.say([2]).await;
    while reader.reading.states == 0 || !reader.reading.has(2) {
        reader.read().await.unwrap();
    }
    assert!(reader.reading.lapsed_between(None, 2));
}
