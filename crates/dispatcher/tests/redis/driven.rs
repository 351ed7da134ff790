//! Drivers on the journal, as in a dispatcher: every command is applied in the end, whatever happens to the server
//! meanwhile, and all drivers reach the same state.

use super::replica::{LONG, address, open};
use super::server::{Server, Way};
use slotkeeper::engine::view::View;
use slotkeeper::engine::{self, Driver, EffectSink};
use slotkeeper::io::Ids;
use slotkeeper_core::{Command, Effect, PoolId, ReplicaId, SessionId};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::sync::watch;

#[derive(Clone, Default)]
struct Lives(Arc<AtomicU32>);

impl EffectSink for Lives {
    fn effect(&self, _: &PoolId, _: &Effect, _: ReplicaId) {}
    fn new_life(&self, lost: bool) -> Vec<(PoolId, Command)> {
        assert!(lost, "a new life although no entries are lost");
        self.0.fetch_add(1, Ordering::Relaxed);
        Vec::new()
    }
}

struct Dispatcher {
    driver: Driver,
    view: watch::Receiver<View>,
    lives: Lives,
}

fn dispatcher(seed: u64, way: &Way) -> Dispatcher {
    let (driver, engine, view) = engine::new(open(&address(), way), &Ids::seeded(seed)).unwrap();
    let lives = Lives::default();
    let sink = lives.clone();
    tokio::spawn(async move {
        let error = engine.run(sink).await;
        panic!("the journal has ended: {error}");
    });
    Dispatcher { driver, view, lives }
}

/// Sends many commands through all of them while `trouble` runs.
async fn busy(dispatchers: &[Dispatcher], orders: u128, trouble: impl AsyncFn()) {
    let mut lines = tokio::task::JoinSet::new();
    for dispatcher in dispatchers {
        for line in 0..8_u128 {
            let driver = dispatcher.driver.clone();
            lines.spawn(async move {
                for order in 0..orders {
                    let session = SessionId(line * orders + order + 1);
                    driver.write(&"pool".into(), Command::Visit { session, hint: None, class: 0 }).await.unwrap();
                    driver.write(&"pool".into(), Command::Leave { session }).await.unwrap();
                }
            });
        }
    }
    let work = async { while lines.join_next().await.transpose().unwrap().is_some() {} };
    tokio::time::timeout(LONG, async { tokio::join!(work, trouble()) }).await.expect("not every command was applied");
}

async fn agree(dispatchers: &[Dispatcher]) {
    let same = async {
        loop {
            let states = dispatchers.iter().map(|d| d.view.borrow().fleet.clone()).collect::<Vec<_>>();
            if states.iter().all(|state| state.applied() == states[0].applied()) {
                let json = states.iter().map(|state| serde_json::to_value(state).unwrap()).collect::<Vec<_>>();
                assert!(json.iter().all(|state| *state == json[0]));
                return;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(LONG, same).await.expect("the dispatchers do not reach the same position");
}

#[tokio::test]
async fn every_command_is_applied_whatever_the_server_loses() {
    let mut server = Server::forgetful().await;
    let way = Way::to(&server);
    let dispatchers = [1, 2, 3].map(|seed| dispatcher(seed, &way));
    for round in 0..6_u32 {
        let server = tokio::sync::Mutex::new(&mut server);
        busy(&dispatchers, 20, async || {
            tokio::time::sleep(Duration::from_millis(20)).await;
            let mut server = server.lock().await;
            match round % 3 {
                0 => drop(server.ask(&["FLUSHALL"]).await),
                1 => server.restart().await,
                _ => drop(server.ask(&["DEL", "{slotkeeper}:entries"]).await),
            }
        })
        .await;
        busy(&dispatchers, 1, async || {}).await;
        agree(&dispatchers).await;
        assert!(dispatchers.iter().all(|d| d.driver.owed() <= 1));
    }
    assert!(dispatchers.iter().all(|d| d.lives.0.load(Ordering::Relaxed) >= 6));
}

#[tokio::test]
async fn checkpoints_are_stored_without_starting_a_replica_over() {
    let mut server = Server::durable().await;
    let way = Way::to(&server);
    let mut dispatchers = vec![dispatcher(1, &way), dispatcher(2, &way)];
    let kept = async |server: &Server| {
        let position = server.ask(&["HGET", "{slotkeeper}:checkpoint", "position"]).await;
        redis::from_redis_value::<Option<u64>>(position).unwrap().unwrap_or_default()
    };
    for times in 1..=2 {
        while kept(&server).await < times * 4096 {
            busy(&dispatchers, 50, async || {}).await;
        }
        server.restart().await;
    }
    dispatchers.push(dispatcher(3, &way));
    busy(&dispatchers, 1, async || {}).await;
    agree(&dispatchers).await;
    let lives = dispatchers.iter().map(|d| d.lives.0.load(Ordering::Relaxed)).collect::<Vec<_>>();
    // The newcomer may write before it has read its first state, and then starts a new life: others are not affected.
    assert_eq!(lives[..2], [0, 0]);
    let first: Vec<(String, Vec<String>)> =
        redis::from_redis_value(server.ask(&["XRANGE", "{slotkeeper}:entries", "-", "+", "COUNT", "1"]).await).unwrap();
    assert!(first[0].0.ends_with("-4096"), "{first:?}");
}
