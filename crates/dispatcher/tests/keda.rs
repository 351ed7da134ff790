//! The external scaler, called as KEDA calls it.

mod attacks;
mod client;
mod configured;
mod encrypted;
mod rig;

use crate::memory_net::MemoryNet;
use client::{Heard, Keda, Learned, metrics, trigger};
use rig::{MemoryJournal, POOL, Plan, Rig, SETTLE, pool};
use slotkeeper::config::{PoolConfig, Trigger};
use slotkeeper::io::{Net, RealNet, now};
use slotkeeper::ops::keda::REPEAT;
use slotkeeper::ops::keda::messages::{GetMetricsRequest, GetMetricsResponse, IsActiveResponse};
use slotkeeper_core::{Command, Millis, Rules, Scaling, SessionId, Spare};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tonic::{Code, Status};

const ASLEEP: Learned = Learned { replicas: 0.0, is_active: false };
const LONG: Duration = Duration::from_secs(600);

/// One dispatcher with a sleeping pool, and KEDA.
async fn pair() -> (Rig, MemoryJournal, Keda) {
    let (journal, net) = (MemoryJournal::new(), Arc::new(MemoryNet::default()));
    let rig = Plan::new(net.clone(), &journal).asleep().await;
    let keda = Keda::new(net, &[rig.keda]);
    (rig, journal, keda)
}

/// The events that KEDA's push handler receives.
struct PushEvents(mpsc::UnboundedReceiver<(Instant, Heard)>);

impl PushEvents {
    fn of(keda: &Keda) -> PushEvents {
        let (sender, receiver) = mpsc::unbounded_channel();
        tokio::spawn(keda.clone().listen(sender));
        PushEvents(receiver)
    }

    async fn next(&mut self) -> (Instant, Heard) {
        tokio::time::timeout(LONG, self.0.recv()).await.expect("no event is received").unwrap()
    }

    async fn hears(&mut self, expected: Heard) -> Instant {
        let (at, heard) = self.next().await;
        assert_eq!(heard, expected);
        at
    }

    async fn hears_nothing_for(&mut self, time: Duration) {
        if let Ok(heard) = tokio::time::timeout(time, self.0.recv()).await {
            panic!("{heard:?}");
        }
    }
}

async fn eventually(keda: &mut Keda, expected: Result<Learned, Code>) {
    for _ in 0..1000 {
        let learned = keda.evaluate().await;
        if learned == expected {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("the answer does not become {expected:?}");
}

#[tokio::test(start_paused = true)]
async fn the_first_visitor_wakes_a_sleeping_pool_at_once() {
    let (_house, journal, mut keda) = pair().await;
    assert_eq!(keda.evaluate().await, Ok(ASLEEP));
    let mut events = PushEvents::of(&keda);
    events.hears(Heard::Opened).await;
    events.hears_nothing_for(REPEAT * 3).await;
    let came = now();
    journal.visit(1);
    let told = events.hears(Heard::Active(true)).await;
    assert!(told - came <= Duration::from_millis(100), "{:?}", told - came);
    assert_eq!(keda.evaluate().await, Ok(Learned { replicas: 1.0, is_active: true }));
    journal.visit(2);
    journal.visit(3);
    eventually(&mut keda, Ok(Learned { replicas: 3.0, is_active: true })).await;
}

#[tokio::test(start_paused = true)]
async fn an_active_pool_is_pushed_repeatedly_and_a_sleeping_one_never() {
    let (rig, journal, mut keda) = pair().await;
    journal.visit(1);
    let mut events = PushEvents::of(&keda);
    events.hears(Heard::Opened).await;
    let mut last = events.hears(Heard::Active(true)).await;
    for _ in 0..3 {
        let at = events.hears(Heard::Active(true)).await;
        assert!(at - last >= REPEAT && at - last <= REPEAT + Duration::from_secs(1), "{:?}", at - last);
        last = at;
    }
    // The waiting session leaves after 30 s; the pod is wanted for the whole cooldown after that, and KEDA must not remove it.
    eventually(&mut keda, Ok(ASLEEP)).await;
    while let Ok((_, heard)) = events.0.try_recv() {
        assert_eq!(heard, Heard::Active(true));
    }
    events.hears_nothing_for(REPEAT * 3).await;
    let pushes = rig.metric(&format!("slotkeeper_scaler_pushes_total{{pool=\"{POOL}\"}}")).await;
    assert!(pushes >= 9.0, "{pushes}");
    // 30 s in the queue and 60 s of cooldown: the pool did not become inactive while a pod was wanted.
    assert!(now() - last >= Duration::from_secs(50));
    journal.visit(2);
    events.hears(Heard::Active(true)).await;
}

#[tokio::test(start_paused = true)]
async fn spare_slots_wake_a_pool_without_sessions() {
    let (_house, journal, mut keda) = pair().await;
    let mut events = PushEvents::of(&keda);
    events.hears(Heard::Opened).await;
    journal.write(Command::Schedule(Spare::Slots(2)));
    events.hears(Heard::Active(true)).await;
    assert_eq!(keda.evaluate().await, Ok(Learned { replicas: 2.0, is_active: true }));
}

#[tokio::test(start_paused = true)]
async fn a_waiting_session_makes_the_pool_active_even_if_no_pod_can_be_used() {
    let (_house, journal, mut keda) = pair().await;
    for pod in 0..5 {
        journal.write(Command::Cordon { pod: slotkeeper_core::Ordinal(pod) });
    }
    journal.visit(1);
    eventually(&mut keda, Ok(Learned { replicas: 5.0, is_active: true })).await;
}

#[tokio::test(start_paused = true)]
async fn a_dispatcher_that_has_not_listed_the_pods_returns_no_number() {
    let (journal, net) = (MemoryJournal::new(), Arc::new(MemoryNet::default()));
    let rig = Plan::new(net.clone(), &journal).start().await.unwrap();
    let mut keda = Keda::new(net, &[rig.keda]);
    for _ in 0..3 {
        assert_eq!(keda.metrics().await.unwrap_err().code(), Code::Unavailable);
        let status = keda.is_active().await.unwrap_err();
        assert_eq!(
            (status.code(), status.message()),
            (Code::Unavailable, "the pods of this pool have not been listed yet")
        );
    }
    // The metric's name is returned nevertheless: KEDA needs it to create its autoscaler and to count failures of other calls.
    assert_eq!(keda.spec().await.unwrap().metric_specs.len(), 1);
    assert_eq!(journal.served(), Vec::<u32>::new());
    let mut events = PushEvents::of(&keda);
    events.hears(Heard::Opened).await;
    let ended = events.hears(Heard::Ended).await;
    let again = events.hears(Heard::Opened).await;
    assert!(again - ended >= Duration::from_secs(2));
    rig.lists(1);
    rig.until_ready().await;
    assert_eq!(keda.evaluate().await, Ok(ASLEEP));
    let refused =
        format!("slotkeeper_scaler_requests_total{{code=\"unavailable\",method=\"GetMetrics\",pool=\"{POOL}\"}}");
    assert_eq!(rig.metric(&refused).await, 3.0);
}

#[tokio::test(start_paused = true)]
async fn a_pool_removed_by_an_operator_is_unavailable_and_not_asleep() {
    let (_house, journal, mut keda) = pair().await;
    journal.write(Command::Remove);
    eventually(&mut keda, Err(Code::Unavailable)).await;
}

fn named(name: &str, scaling: Scaling, trigger: Trigger) -> PoolConfig {
    let rules = Rules { scaling, ..pool().rules };
    let own = PoolConfig::new(name, rules, pool().cluster);
    PoolConfig { trigger, path: format!("/{name}"), cookie_name: name.into(), ..own }
}

#[tokio::test(start_paused = true)]
async fn invalid_triggers_are_refused_with_the_allowed_values() {
    let (journal, net) = (MemoryJournal::new(), Arc::new(MemoryNet::default()));
    let keda_scaled = Scaling::Keda { settle: Millis::secs(20) };
    let direct = Scaling::Direct { window: slotkeeper_core::Window::Fixed };
    let mut plan = Plan::new(net.clone(), &journal);
    plan.pools.push(named("own", direct, Trigger::Prometheus));
    plan.pools.push(named("scraped", keda_scaled, Trigger::Prometheus));
    let rig = plan.asleep().await;
    let mut keda = Keda::new(net.clone(), &[rig.keda]);
    let mut refused = async |metadata: &[(&str, &str)]| {
        keda.asks = trigger(metadata);
        let of_metrics = keda.metrics().await.map(drop);
        let of_spec = keda.spec().await.map(drop);
        let of_activity = keda.is_active().await.map(drop);
        let stream = keda.channel().await.unwrap().stream(keda.asks.clone()).await.map(drop);
        let said = |result: Result<(), Status>| result.map_err(|s| (s.code(), s.message().to_owned()));
        let all = [of_metrics, of_spec, of_activity, stream].map(said);
        assert!(all.iter().all(|one| *one == all[0]), "{all:?}");
        all[0].clone()
    };
    assert_eq!(refused(&[("pool", POOL), ("scalerAddress", "slotkeeper-keda:9091")]).await, Ok(()));
    assert_eq!(refused(&[]).await, Ok(()), "there is only one pool");
    let message = r#"there is no pool "caht"; allowed: chat"#;
    assert_eq!(refused(&[("pool", "caht")]).await, Err((Code::NotFound, message.to_owned())));
    for name in ["own", "scraped"] {
        let message = format!("pool {name} is not scaled by KEDA over gRPC; it needs scaling = \"keda-push\"");
        assert_eq!(refused(&[("pool", name)]).await, Err((Code::FailedPrecondition, message)));
    }
    let long = "x".repeat(10_000);
    let (code, message) = refused(&[("pool", &long)]).await.unwrap_err();
    assert!(code == Code::NotFound && message.len() < 200, "{message}");

    let mut plan = Plan::new(net.clone(), &journal);
    plan.host = 2;
    plan.pools = vec![named("a", keda_scaled, Trigger::Push), named("b", keda_scaled, Trigger::Push)];
    let two = plan.start().await.unwrap();
    let mut keda = Keda::new(net, &[two.keda]);
    keda.asks = trigger(&[]);
    let status = keda.metrics().await.unwrap_err();
    let message = "the trigger's metadata names no pool; allowed for `pool`: a, b";
    assert_eq!((status.code(), status.message()), (Code::InvalidArgument, message));
}

#[tokio::test(start_paused = true)]
async fn unknown_metrics_and_methods_are_refused() {
    let (_house, _book, mut keda) = pair().await;
    let channel = keda.channel().await.unwrap();
    let asks = GetMetricsRequest { metric_name: "sessions".into(), ..metrics(keda.asks.clone()) };
    let status = channel.unary::<_, GetMetricsResponse>("GetMetrics", asks).await.unwrap_err();
    let message = "there is no metric \"sessions\"; allowed: slotkeeper-pods";
    assert_eq!((status.code(), status.message()), (Code::InvalidArgument, message));
    for method in ["StreamMetricSpec", "Nonsense"] {
        let status = channel.unary::<_, IsActiveResponse>(method, keda.asks.clone()).await.unwrap_err();
        assert_eq!(status.code(), Code::Unimplemented, "{method}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_number_is_journaled_once_when_it_is_served() {
    let (rig, journal, mut keda) = pair().await;
    let settle = Duration::from_millis(10);
    // IsActive, a push and a scrape of the gauges do not serve the number for scaling, so nothing is journaled.
    let mut events = PushEvents::of(&keda);
    events.hears(Heard::Opened).await;
    keda.is_active().await.unwrap();
    rig.get("/metrics").await;
    tokio::time::sleep(settle).await;
    assert_eq!(journal.served(), Vec::<u32>::new());
    for (visitor, expected) in [(0, vec![0]), (1, vec![0, 1]), (2, vec![0, 1, 2])] {
        if visitor > 0 {
            journal.visit(visitor);
        }
        tokio::time::sleep(settle).await;
        for _ in 0..5 {
            assert_eq!(keda.metrics().await.unwrap(), visitor as f64);
            tokio::time::sleep(settle).await;
        }
        assert_eq!(journal.served(), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn a_scrape_serves_the_number_of_a_pool_that_is_scaled_by_prometheus() {
    let (journal, net) = (MemoryJournal::new(), Arc::new(MemoryNet::default()));
    let mut plan = Plan::new(net, &journal);
    plan.pools[0].trigger = Trigger::Prometheus;
    let rig = plan.asleep().await;
    rig.get("/metrics").await;
    tokio::time::sleep(Duration::from_millis(10)).await;
    assert_eq!(journal.served(), [0]);
}

#[tokio::test(start_paused = true)]
async fn a_stopping_dispatcher_ends_its_streams_cleanly_and_refuses_calls() {
    let (mut rig, journal, mut keda) = pair().await;
    journal.visit(1);
    let mut events = PushEvents::of(&keda);
    events.hears(Heard::Opened).await;
    events.hears(Heard::Active(true)).await;
    assert_eq!(keda.evaluate().await, Ok(Learned { replicas: 1.0, is_active: true }));
    rig.stop();
    let ended = events.hears(Heard::Ended).await;
    // The first failure after a clean end comes after 2 s, the next after 4 s: a clean end resets KEDA's backoff.
    let mut waits = Vec::new();
    let mut last = ended;
    for _ in 0..3 {
        let at = events.hears(Heard::Broken(Code::Unavailable)).await;
        waits.push((at - last).as_secs());
        last = at;
    }
    assert_eq!(waits, [2, 4, 8]);
    assert_eq!(keda.evaluate().await, Err(Code::Unavailable));
    rig.ended().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn keda_reconnects_after_a_dispatcher_was_killed() {
    let (journal, net) = (MemoryJournal::new(), Arc::new(MemoryNet::default()));
    let rig = Plan::new(net.clone(), &journal).asleep().await;
    let mut keda = Keda::new(net.clone(), &[rig.keda]);
    let mut events = PushEvents::of(&keda);
    events.hears(Heard::Opened).await;
    keda.evaluate().await.unwrap();
    rig.crash(&net).await;
    let mut waits = Vec::new();
    let mut last = now();
    for _ in 0..8 {
        let (at, heard) = events.next().await;
        assert!(matches!(heard, Heard::Broken(_)), "{heard:?}");
        waits.push((at - last).as_secs());
        last = at;
    }
    assert_eq!(waits, [0, 2, 4, 8, 16, 32, 60, 60]);
    assert_eq!(keda.evaluate().await, Err(Code::Unavailable));
    let rig = Plan::new(net, &journal).start().await.unwrap();
    journal.visit(1);
    // The pods were listed before: the journal has what the previous process knew.
    rig.until_ready().await;
    eventually(&mut keda, Ok(Learned { replicas: 1.0, is_active: true })).await;
    journal.visit(2);
    events.hears(Heard::Opened).await;
    events.hears(Heard::Active(true)).await;
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_cannot_read_its_journal_soon_returns_no_number() {
    let (journal, net) = (MemoryJournal::new(), Arc::new(MemoryNet::default()));
    let one = Plan::new(net.clone(), &journal).asleep().await;
    let two = Plan { host: 2, ..Plan::new(net.clone(), &journal) }.start().await.unwrap();
    two.until_ready().await;
    let mut keda = Keda::new(net.clone(), &[one.keda, two.keda]);
    for _ in 0..4 {
        assert_eq!(keda.evaluate().await, Ok(ASLEEP));
    }
    let (mut with_one, mut with_two) = (Keda::new(net.clone(), &[one.keda]), Keda::new(net, &[two.keda]));
    let mut events = PushEvents::of(&with_two);
    events.hears(Heard::Opened).await;

    two.away.send_replace(true);
    let cut = now();
    journal.visit(1);
    eventually(&mut with_one, Ok(Learned { replicas: 1.0, is_active: true })).await;
    let mut refused = None;
    while now() < cut + Duration::from_secs(60) {
        match with_two.evaluate().await {
            Ok(learned) => assert_eq!((learned, refused), (ASLEEP, None)),
            Err(code) => {
                assert_eq!(code, Code::Unavailable);
                refused.get_or_insert(now());
            }
        }
        assert!(with_one.evaluate().await.is_ok(), "the other replica answers");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    let refused = refused.expect("the replica refuses in the end");
    assert!(refused - cut <= SETTLE / 2 + Duration::from_secs(1), "{:?}", refused - cut);
    let ended = events.hears(Heard::Ended).await;
    assert!(ended - cut <= SETTLE / 2 + Duration::from_secs(2), "{:?}", ended - cut);

    two.away.send_replace(false);
    journal.visit(2);
    journal.visit(3);
    eventually(&mut with_two, Ok(Learned { replicas: 2.0, is_active: true })).await;
    assert!(journal.served().ends_with(&[2]), "{:?}", journal.served());
}

#[tokio::test(start_paused = true)]
async fn an_idle_replica_proves_that_it_reads_its_journal() {
    let (_house, _book, mut keda) = pair().await;
    for _ in 0..600 {
        assert_eq!(keda.evaluate().await, Ok(ASLEEP));
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn after_a_session_has_left_the_pool_is_active_until_no_pod_is_wanted() {
    let (_house, journal, mut keda) = pair().await;
    journal.visit(1);
    eventually(&mut keda, Ok(Learned { replicas: 1.0, is_active: true })).await;
    let left = now();
    journal.write(Command::Leave { session: SessionId(1) });
    loop {
        let learned = keda.evaluate().await.unwrap();
        assert_eq!(learned.is_active, learned.replicas > 0.0, "KEDA scales an inactive pool to 0");
        if !learned.is_active {
            break;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    let took = now() - left;
    assert!(took >= Duration::from_secs(59) && took <= Duration::from_secs(62), "{took:?}");
}

/// `cargo test --release -p slotkeeper --test dispatcher keda::speed -- --ignored --nocapture`
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "prints measurements"]
async fn speed() {
    let (journal, net) = (MemoryJournal::new(), Arc::new(RealNet));
    let rig = Plan { host: 0, ..Plan::new(net.clone(), &journal) }.asleep().await;
    let mut keda = Keda::new(net.clone(), &[rig.keda]);
    let mut took = Vec::new();
    for _ in 0..20_000 {
        let began = now();
        keda.metrics().await.unwrap();
        took.push(now() - began);
    }
    took.sort();
    let percentile = |p: usize| took[took.len() * p / 1000];
    let (median, high, highest) = (percentile(500), percentile(990), percentile(999));
    println!("GetMetrics over loopback: p50 {median:?}, p99 {high:?}, p99.9 {highest:?}");
    let mut took = Vec::new();
    let mut stream = keda.channel().await.unwrap().stream(keda.asks.clone()).await.unwrap();
    for session in 1..=200 {
        let came = now();
        journal.visit(session);
        assert!(stream.message().await.unwrap().unwrap().result);
        took.push(now() - came);
        journal.write(Command::Leave { session: SessionId(session) });
        journal.write(Command::Rules(Rules { cooldown: Millis(0), ..pool().rules }));
        while keda.is_active().await.unwrap() {}
    }
    took.sort();
    println!("from the journal to the push: p50 {:?}, p99 {:?}", took[100], took[198]);
    assert!(net.dial(rig.keda).await.is_ok());
}
