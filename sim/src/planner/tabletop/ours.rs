//! Slotkeeper's core as a dispatcher of the tabletop: turns events into entries of a journal without latency, and
//! effects into orders. Makes no decision about places or pods.

use super::dispatcher::{Dispatcher, Gauge, News, Order, Phase};
use slotkeeper_core::{
    Command, Decision, Effect, Entry, Fleet, Millis, Ordinal, Place, PoolId, ReplicaId, Rules, Scaling, SessionId,
    Sighting, Time, Uid,
};
use std::collections::BTreeMap;
use std::net::SocketAddr;

/// Where the journal's clock begins: a Monday, 00:00 UTC.
const BEGIN: u64 = 1_767_571_200_000;
/// The first command of each of its processes.
const HELLO: Command = Command::Hello { speaks: Entry::SEMANTICS };

/// Slotkeeper's core as a dispatcher of the tabletop.
pub(crate) struct Ours {
    fleet: Fleet,
    pool: PoolId,
    rules: Rules,
    replica: u64,
    number: u64,
    version: u64,
    /// The latest known incarnation of each ordinal, and its phase.
    lives: BTreeMap<u32, (u64, Phase)>,
    scale: (u32, u32, Decision),
}

impl Ours {
    /// Creates a pool that initially wants `replicas` pods.
    pub(crate) fn new(rules: Rules, replicas: u32) -> Ours {
        Ours {
            fleet: Fleet::new(),
            pool: PoolId::from("pool"),
            rules,
            replica: 1,
            number: 0,
            version: 0,
            lives: BTreeMap::new(),
            scale: (0, replicas, Decision::default()),
        }
    }

    /// Writes the first entries of the journal.
    fn begin(&mut self, now: u64) -> Vec<Order> {
        let first = [HELLO, Command::Rules(self.rules.clone()), self.list(), self.scale_seen()];
        first.into_iter().flat_map(|command| self.write(now, command)).collect()
    }

    fn version(&mut self) -> u64 {
        self.version += 1;
        self.version
    }

    fn list(&mut self) -> Command {
        let version = self.version();
        let seen =
            |(o, (uid, phase)): (&u32, &(u64, Phase))| Some((Ordinal(*o), name(*o, *uid), core_phase(*o, *phase)?));
        let pods = self.lives.iter().filter_map(seen);
        Command::PodsListed { pods: pods.map(|(pod, uid, phase)| Sighting { pod, uid, phase }).collect(), version }
    }

    fn scale_seen(&mut self) -> Command {
        let (start, replicas, decided) = self.scale;
        let Decision { timeline, position: decided } = decided;
        Command::ScaleSeen { start, replicas, decided, timeline, version: self.version() }
    }

    fn pod_seen(&mut self, ordinal: u32, uid: u64, phase: Phase) -> Command {
        let (pod, version) = (Ordinal(ordinal), self.version());
        match core_phase(ordinal, phase) {
            Some(phase) => Command::PodSeen { pod, uid: name(ordinal, uid), phase, version },
            None => Command::PodGone { pod, uid: name(ordinal, uid), version },
        }
    }

    fn write(&mut self, now: u64, command: Command) -> Vec<Order> {
        self.number += 1;
        let at = Time(BEGIN + now);
        let from = ReplicaId(self.replica);
        let entry = Entry { at, from, number: self.number, pool: self.pool.clone(), command };
        let effects = self.fleet.apply(&entry);
        effects.into_iter().filter_map(|(_, effect)| self.order(effect)).collect()
    }

    fn order(&self, effect: Effect) -> Option<Order> {
        let life = |pod: Ordinal| self.lives.get(&pod.0).map(|(uid, _)| *uid);
        match effect {
            Effect::Scale { start, replicas, decided, .. } => Some(Order::Scale { start, replicas, decided }),
            Effect::Recycle { pod, .. } => Some(Order::Recycle { ordinal: pod.0, uid: life(pod)? }),
            Effect::Drain { pod, gone: false, .. } => Some(Order::Drain { ordinal: pod.0, uid: life(pod)? }),
            Effect::Placed { session, pod, .. } => {
                Some(Order::Seat { guest: guest(session), ordinal: pod.0, uid: life(pod)? })
            }
            Effect::Released { session, why, .. } => Some(Order::Release { guest: guest(session), why: why.word() }),
            Effect::Requeued { session, .. } => Some(Order::Requeue { guest: guest(session) }),
            // The streams to a removed pod have already ended.
            Effect::Drain { gone: true, .. } | Effect::Started { .. } => None,
            Effect::Broken { what } => panic!("an invariant of the core does not hold: {what}"),
        }
    }
}

impl Dispatcher for Ours {
    fn hear(&mut self, now: u64, news: News<'_>) -> Vec<Order> {
        let mut orders = Vec::new();
        let command = match news {
            News::Started => return self.begin(now),
            News::Visit { guest, last } => {
                Command::Visit { session: session(guest), hint: last.map(Ordinal), class: 0 }
            }
            News::Attach { guest } => Command::Attach { session: session(guest) },
            News::Detach { guest } => Command::Detach { session: session(guest) },
            // The dispatcher notices a closed page only by the missing heartbeats.
            News::Close { .. } => return Vec::new(),
            News::Active { guests } => Command::Active { sessions: guests.iter().map(|g| session(*g)).collect() },
            News::Pod { ordinal, uid, phase } => {
                self.lives.insert(ordinal, (uid, phase));
                self.pod_seen(ordinal, uid, phase)
            }
            News::Scale { start, replicas, decided } => {
                self.scale = (start, replicas, decided);
                self.scale_seen()
            }
            News::Served => Command::Served { replicas: self.desired() },
            News::Max { pods } => {
                self.rules.max = pods;
                Command::Rules(self.rules.clone())
            }
            News::Restarted => {
                // Another process: the previous one is silent from now on.
                self.replica += 1;
                self.number = 0;
                orders = self.write(now, HELLO);
                self.list()
            }
            News::Spare { slots } => Command::Schedule(slots),
            News::Tick => Command::Tick,
        };
        orders.extend(self.write(now, command));
        if let News::Visit { guest, .. } = news
            && self.fleet.place(&self.pool, session(guest)) == Place::Unknown
        {
            orders.push(Order::Refuse { guest });
        }
        if let News::Restarted = news {
            orders.extend(self.fleet.owed().filter_map(|(_, effect)| self.order(effect)));
        }
        orders
    }

    /// Replicas tick at least every third of a `silence` while a deadline is pending.
    fn alarm(&self, now: u64) -> Option<u64> {
        let (due, _) = self.fleet.next_deadline()?;
        let wait = due.since(self.fleet.now()).min(Millis(self.rules.silence.0 / 3));
        Some(now + wait.0.max(1))
    }

    /// The metric is the highest wanted ordinal plus one, never the count of sessions.
    fn gauge(&self) -> Gauge {
        let metric = self.desired();
        Gauge { metric: f64::from(metric), active: metric > 0 }
    }

    fn desired(&self) -> u32 {
        match self.rules.scaling {
            Scaling::Direct { .. } => self.fleet.desired(&self.pool).map_or(0, |span| span.len()),
            Scaling::Keda { .. } | Scaling::None => self.fleet.desired(&self.pool).map_or(0, |span| span.end),
        }
    }

    fn moves_guests(&self) -> bool {
        true
    }
}

fn session(guest: u32) -> SessionId {
    SessionId(u128::from(guest))
}

fn guest(session: SessionId) -> u32 {
    session.0 as u32
}

fn name(ordinal: u32, uid: u64) -> Uid {
    Uid::from(format!("{ordinal}/{uid}").as_str())
}

/// Converts a phase; `None`: the pod no longer exists.
fn core_phase(ordinal: u32, phase: Phase) -> Option<slotkeeper_core::Phase> {
    use slotkeeper_core::Phase as Core;
    Some(match phase {
        Phase::Starting => Core::Starting,
        Phase::Ready => {
            let [_, b, c, d] = ordinal.to_be_bytes();
            Core::Ready { address: SocketAddr::from(([10, b, c, d], 8080)) }
        }
        Phase::Unready => Core::Unready,
        Phase::Terminating => Core::Terminating,
        Phase::Failed => Core::Failed { why: "it crashes repeatedly".into() },
        Phase::Gone => return None,
    })
}
