//! All readers get one order, each entry once, and none is skipped.

use super::replica::{ByHand, PATIENCE, Replica, agree, mark};
use super::server::{Server, Way};
use slotkeeper::journal::Draft;
use slotkeeper_core::{Command, Millis, Phase, Sighting, Timeline};

#[tokio::test]
async fn several_writers_are_read_in_one_order_by_all() {
    let server = Server::durable().await;
    let way = Way::to(&server);
    let writers = (1..=3).map(|writer: u64| {
        let mut replica = Replica::new(writer, &way);
        tokio::spawn(async move {
            for batch in 0..40_u128 {
                let first = u128::from(writer) * 1000 + batch * 5;
                replica.say(first..first + 1 + batch % 5).await;
            }
            replica
        })
    });
    let mut replicas = Vec::new();
    for writer in writers.collect::<Vec<_>>() {
        replicas.push(writer.await.unwrap());
    }
    let mut late = Replica::new(9, &way);
    replicas[0].say([1]).await;
    let [one, two, three] = &mut replicas[..] else { panic!() };
    agree(&mut [one, two, three, &mut late], 1).await;
    for replica in &replicas {
        let entries = replica.now().entries;
        let numbers = entries.iter().filter(|entry| entry.from == replica.me).map(|entry| entry.number);
        assert_eq!(numbers.collect::<Vec<_>>(), (1..=replica.number).collect::<Vec<_>>());
        assert!(entries.is_sorted_by_key(|entry| entry.at));
    }
}

#[tokio::test]
async fn the_first_entry_in_an_empty_redis_is_a_lapse() {
    let server = Server::forgetful().await;
    let mut replica = Replica::new(1, &Way::to(&server));
    replica.say([1]).await;
    let reading = replica.reads(1).await;
    assert!(
        matches!(reading.entries[0].command, Command::Lapse { patience: PATIENCE, timeline } if timeline != Timeline::FIRST)
    );
    assert_eq!(reading.entries.len(), 2);
    assert!(reading.fleet.is_quiet());
}

#[tokio::test]
async fn entries_are_read_as_they_were_written() {
    let server = Server::forgetful().await;
    let mut replica = Replica::new(u64::MAX, &Way::to(&server));
    let session = slotkeeper_core::SessionId(u128::MAX);
    let pod = slotkeeper_core::Ordinal(7);
    let phase = Phase::Pending { why: "no node: \"größer\" is needed\r\n".into() };
    let rules = slotkeeper_core::Rules { silence: Millis(u64::MAX >> 1), ..Default::default() };
    let commands = [
        Command::Visit { session, hint: Some(pod), class: 3 },
        Command::Active { sessions: vec![session; 3] },
        Command::PodsListed { pods: vec![Sighting { pod, uid: "u".into(), phase }], version: u64::MAX },
        Command::Rules(rules),
        Command::Remove,
        Command::Tick,
        mark(1),
    ];
    let drafts = commands.iter().zip(1..).map(|(command, number)| Draft {
        from: replica.me,
        number,
        pool: "pool \0 ∑".into(),
        command: command.clone(),
    });
    let drafts = drafts.collect();
    replica.write(drafts).await;
    let read = replica.reads(1).await.entries;
    let read: Vec<Command> = read.into_iter().skip(1).map(|entry| entry.command).collect();
    assert_eq!(read, commands);
}

#[tokio::test]
async fn a_repeated_entry_counts_once() {
    let server = Server::forgetful().await;
    let mut replica = Replica::new(1, &Way::to(&server));
    replica.say([1, 2, 3]).await;
    let before = replica.reads(3).await;
    replica.number = 1;
    replica.say([2, 3, 4]).await;
    let after = replica.reads(4).await;
    assert_eq!(after.entries.len(), before.entries.len() + 3);
    assert_eq!(after.fleet.replica(replica.me), Some(4));
}

#[tokio::test]
async fn a_cancelled_read_misses_no_entry() {
    let server = Server::forgetful().await;
    let way = Way::to(&server);
    let mut writer = Replica::new(1, &way);
    let mut reader = ByHand::new(&way);
    for what in 0..50 {
        writer.say([what]).await;
        for _ in 0..20 {
            reader.glance().await.unwrap();
        }
    }
    while !reader.reading.has(49) {
        reader.read().await.unwrap();
    }
    assert_eq!(reader.reading.entries, writer.reads(49).await.entries);
}

#[tokio::test]
async fn journals_with_other_names_or_databases_share_a_redis() {
    let server = Server::forgetful().await;
    let way = Way::to(&server);
    let other = slotkeeper::journal::redis::RedisJournal { name: "other".into(), ..super::replica::address() };
    let elsewhere = slotkeeper::journal::redis::RedisJournal { database: 3, ..super::replica::address() };
    let configs = [super::replica::address(), other, elsewhere];
    for (config, what) in configs.iter().zip(1..) {
        Replica::with(1, config, &way).say([what]).await;
    }
    for (config, what) in configs.iter().zip(1..) {
        let read = Replica::with(2, config, &way).reads(what).await;
        assert_eq!(read.entries.len(), 2);
    }
}
