//! One pool: its sessions, pods and queue. Commands are implemented in `pool/visitors.rs` and `pool/cluster.rs`; they update
//! the indexes at once (`pool/index.rs`); at the end of every entry `settle` places waiting sessions and updates `desired`.

mod cluster;
mod index;
mod pause;
mod returning;
mod visitors;

pub(crate) use index::{Owner, PoolIndex};

use crate::census::{Census, Place};
use crate::decision::Decision;
use crate::entry::{Command, Effect, Phase, Why};
use crate::estimate::Estimate;
use crate::ids::{Ordinal, ReplicaId, SessionId, Timeline};
use crate::load::Load;
use crate::lookup::Lookup;
use crate::pods::{Life, Pod, Standing};
use crate::queue::{Queue, Turn};
use crate::rules::{Rules, Scaling};
use crate::scale::{Demand, Scale, Span};
use crate::sessions::{Session, State};
use crate::time::{Millis, Time};
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Pool {
    pub(crate) rules: Rules,
    pub(crate) sessions: Lookup<SessionId, Session>,
    pub(crate) pods: BTreeMap<Ordinal, Pod>,
    pub(crate) queue: Queue,
    pub(crate) scale: Scale,
    pub(crate) estimate: Estimate,
    #[serde(default)]
    pub(crate) load: Load,
    /// A complete list of pods has been read at least once.
    pub(crate) listed: bool,
    /// The cluster's version of the newest complete list: older observations of pods are ignored.
    pub(crate) list_version: u64,
    /// An invariant was broken: no session is placed any more.
    pub(crate) frozen: bool,
    /// The pool is being removed: no session can join.
    pub(crate) removed: bool,
    #[serde(skip)]
    pub(crate) index: PoolIndex,
}

/// The pool's present demand. (A macro, so that other fields of the pool can be written to meanwhile.)
macro_rules! demand {
    ($pool:expr, $targeted:expr) => {
        Demand {
            rules: &$pool.rules,
            usable: &$pool.index.usable,
            able: &$pool.index.able,
            busy: $pool.busy(),
            busy_slots: $pool.index.busy_slots,
            want: ($pool.queue.len() as u64).saturating_add($pool.rules.spare.slots($pool.index.busy_slots)),
            load: &$pool.load,
            targeted: $targeted,
        }
    };
}

/// The context of one entry for a pool, and the list that receives its effects.
pub(crate) struct Step<'a> {
    pub(crate) now: Time,
    /// Fleet time at which time last passed that it does not count.
    pub(crate) stalled: Time,
    /// How many entries the fleet has applied, this one included.
    pub(crate) position: u64,
    /// A lapse is in progress: there may be streams in slots that look free.
    pub(crate) quiet: bool,
    /// The semantics in force include [`Entry::TARGETS`](crate::Entry::TARGETS).
    pub(crate) targeted: bool,
    /// The semantics in force include [`Entry::RETURNS`](crate::Entry::RETURNS).
    pub(crate) returns: bool,
    /// The semantics in force include [`Entry::PAUSES`](crate::Entry::PAUSES).
    pub(crate) pauses: bool,
    /// The semantics in force include [`Entry::SUCCESSORS`](crate::Entry::SUCCESSORS).
    pub(crate) successors: bool,
    /// [`Timeline::FIRST`] until the semantics in force include [`Entry::TIMELINES`](crate::Entry::TIMELINES).
    pub(crate) timeline: Timeline,
    pub(crate) effects: &'a mut Vec<Effect>,
}

impl Pool {
    pub(crate) fn new(rules: Rules) -> Pool {
        let mut pool = Pool {
            rules: rules.clamped(),
            sessions: Lookup::default(),
            pods: BTreeMap::new(),
            queue: Queue::default(),
            scale: Scale::default(),
            estimate: Estimate::default(),
            load: Load::default(),
            listed: false,
            list_version: 0,
            frozen: false,
            removed: false,
            index: PoolIndex::default(),
        };
        pool.reindex();
        pool
    }

    pub(crate) fn apply(&mut self, from: ReplicaId, command: &Command, step: &mut Step<'_>) {
        match command {
            Command::Visit { session, hint, class } => self.visit(*session, *hint, *class, step),
            Command::Attach { session } => self.attach(*session, from, step),
            Command::Detach { session } => self.detach(*session, from, step),
            Command::Active { sessions } => sessions.iter().for_each(|s| self.active(*s, step.now)),
            Command::Leave { session } => self.end(*session, Why::Left, step),
            Command::Kick { session } => self.end(*session, Why::Kicked, step),
            Command::Extend { session } => self.extend(*session, step.now),
            Command::PodSeen { pod, uid, phase, version } => self.pod_seen(*pod, uid, phase, *version, step),
            Command::PodGone { pod, uid, version } => self.pod_gone(*pod, uid, *version, step),
            Command::PodsListed { pods, version } => self.pods_listed(pods, *version, step),
            Command::ScaleSeen { start, replicas, decided, timeline, version } => {
                let span = Span { start: *start, end: start.saturating_add(*replicas) };
                let decided = Decision { timeline: *timeline, position: *decided };
                self.scale_seen(span, decided, *version, step);
            }
            Command::Load { messages, over, gauge } => {
                self.load.note(from, (*messages, *over), *gauge, &self.rules.targets, step.now);
            }
            Command::Served { replicas } => self.served(*replicas, step),
            Command::ScaleInPaused { at, timeline } => self.scale_in_paused(*at, *timeline, step),
            Command::Cordon { pod } => self.cordon(*pod, true),
            Command::Uncordon { pod } => self.cordon(*pod, false),
            Command::Empty { pod } => self.empty(*pod, step),
            Command::Rules(rules) => {
                self.set_rules(rules.clone());
                self.removed = false;
                self.expire(step);
            }
            Command::Schedule(spare) => self.rules.spare = *spare,
            Command::Remove => self.remove(step),
            // Already handled by the fleet, for all pools.
            Command::Hello { .. }
            | Command::Lapse { .. }
            | Command::Whole { .. }
            | Command::Farewell
            | Command::Tick => {}
        }
        self.settle(step);
    }

    /// Handles what is due because of time alone.
    pub(crate) fn expire(&mut self, step: &mut Step<'_>) {
        let mut due = false;
        while let Some(&(at, owner)) = self.index.deadlines.first()
            && at <= step.now
        {
            self.index.deadlines.pop_first();
            due = true;
            match owner {
                Owner::Session(id) => {
                    let Some(session) = self.sessions.get_mut(id) else { continue };
                    session.alarm = Time::NEVER;
                    if let Some((_, why)) = session.due(&self.rules) {
                        self.end(id, why, step);
                    }
                }
                Owner::Pod(ordinal) => self.pod_is_late(ordinal, step),
            }
        }
        if due || self.is_due(step.now) {
            self.settle(step);
        }
    }

    /// Whether anything is due because of time alone.
    pub(crate) fn is_due(&self, now: Time) -> bool {
        let first = self.index.deadlines.first().map(|(at, _)| *at);
        let load = self.load.deadline(self.rules.targets.window);
        [first, self.scale.deadline(&self.rules), self.settled_at(), load].into_iter().flatten().any(|at| at <= now)
    }

    /// When KEDA has certainly acted on a raised number, for the first pod that waits for that.
    fn settled_at(&self) -> Option<Time> {
        if !matches!(self.rules.scaling, Scaling::Keda { .. }) {
            return None;
        }
        let returning = self.index.returning.iter().filter_map(|o| Some((o, self.pods.get(o)?.returning()?)));
        returning.filter_map(|(o, (_, since))| self.scale.settled_at(o.0, since, &self.rules)).min()
    }

    pub(crate) fn next_deadline(&self, now: Time) -> Option<(Time, &'static str)> {
        let session_or_pod = self.index.deadlines.first().map(|(at, owner)| match owner {
            Owner::Session(id) => {
                (*at, self.sessions.get(*id).and_then(|s| s.due(&self.rules)).map_or("?", |d| d.1.word()))
            }
            Owner::Pod(_) => (*at, "stuck"),
        });
        let cooldown = self.scale.deadline(&self.rules).map(|at| (at, "cooldown"));
        let settle = self.settled_at().filter(|at| *at > now).map(|at| (at, "settle"));
        let load = self.load.deadline(self.rules.targets.window).map(|at| (at, "load"));
        let pause =
            self.scale.pause_ends(&self.rules).and_then(Time::known).filter(|at| *at > now).map(|at| (at, "pause"));
        session_or_pod.into_iter().chain(cooldown).chain(settle).chain(pause).chain(load).min()
    }

    // ---- the end of every entry ----

    /// Places waiting sessions and updates `desired`, until neither changes anything.
    pub(crate) fn settle(&mut self, step: &mut Step<'_>) {
        self.load.forget(self.rules.targets.window, step.now);
        loop {
            self.seat(step);
            let (before, surplus) = (self.scale.desired, self.scale.surplus());
            let demand = demand!(self, step.targeted);
            if self.scale.update(&demand, step.quiet, step.now) {
                self.scale.decide(step.position, step.timeline);
                self.redraw(before, step);
            }
            let moved = self.restand(surplus, step);
            if !self.confirm_returning(step) && !moved {
                break;
            }
        }
        if !step.quiet && !step.timeline.is_first() {
            self.condemn();
        }
        self.withdraw_recycles(step);
        if !step.quiet && !self.queue_is_just() && !self.frozen {
            self.freeze("a session is queued while a placeable slot is free", step);
        }
    }

    /// The lowest and the highest ordinal with a busy slot.
    fn busy(&self) -> Option<(u32, u32)> {
        planted!(CountSessions => (self.index.busy.len() as u32).checked_sub(1).map(|last| (0, last)));
        let (lowest, highest) = self.index.busy.first().zip(self.index.busy.last())?;
        Some((lowest.0, highest.0))
    }

    fn queue_is_just(&self) -> bool {
        self.queue.len() == 0 || self.index.open.is_empty()
    }

    fn freeze(&mut self, what: &str, step: &mut Step<'_>) {
        self.frozen = true;
        step.effects.push(Effect::Broken { what: String::from(what) });
    }

    fn seat(&mut self, step: &mut Step<'_>) {
        while !self.frozen
            && !step.quiet
            && let Some((id, ordinal)) = self.next_seat(step.returns)
        {
            let (now, until) = (step.now, step.now + self.rules.claim);
            let placed = self.change(id, |session| {
                let State::Queued { turn, .. } = session.state else { return None };
                let waited = now.since(session.since);
                session.state = State::Held { pod: ordinal, until, came: false };
                session.last = Some(ordinal);
                session.since = now;
                Some((turn, waited))
            });
            let Some((turn, waited)) = placed.flatten() else { return };
            self.queue.leave(turn);
            step.effects.push(Effect::Placed { session: id, pod: ordinal, waited });
            if let Some(pod) = self.pods.get_mut(&ordinal) {
                pod.sessions.insert(id);
            }
            self.touch_pod(ordinal, step);
        }
    }

    /// The next session to place, and its ordinal. A session that lost its pod overtakes those in front of it if its former
    /// ordinal has a free slot: its data is there, and the pods of the others are still to come.
    fn next_seat(&self, returns: bool) -> Option<(SessionId, Ordinal)> {
        let &(_, best) = self.index.open.first()?;
        if returns && let Some(own) = self.own_seat() {
            return Some(own);
        }
        let id = self.queue.first()?;
        let session = self.sessions.get(id)?;
        let prefers = self.rules.sticky_storage || matches!(session.state, State::Queued { lost: true, .. });
        Some((id, free_again(&self.pods, session.last.filter(|_| prefers)).unwrap_or(best)))
    }

    fn own_seat(&self) -> Option<(SessionId, Ordinal)> {
        planted!(OwnOrdinalForgotten => None);
        let missed = &self.index.missed;
        if missed.is_empty() {
            return None;
        }
        let own = self.index.open.iter().filter_map(|(_, ordinal)| {
            let first = (*ordinal, Turn::FIRST, SessionId(0));
            missed.range(first..).next().filter(|(at, ..)| at == ordinal)
        });
        own.min_by_key(|(_, turn, _)| *turn).map(|(ordinal, _, id)| (*id, *ordinal))
    }

    // ---- reads ----

    /// Whether a new session can join the queue. If a slot is free, the queue is empty, and the session is placed at once.
    pub(crate) fn takes_newcomers(&self, quiet: bool) -> bool {
        let closed = quiet || self.index.open.is_empty();
        let full = self.queue.len() >= self.rules.queue_limit as usize && closed;
        !full && !self.removed && !self.frozen
    }

    pub(crate) fn place(&self, id: SessionId, now: Time) -> Place<'_> {
        let Some(session) = self.sessions.get(id) else { return Place::Unknown };
        match session.state {
            State::Queued { turn, .. } => {
                let ahead = self.queue.ahead(turn);
                Place::Queued { ahead, estimate: self.estimate(ahead as u64, now) }
            }
            State::Held { pod, .. } | State::Taken { pod, .. } => {
                let life = self.pods.get(&pod).and_then(|p| p.life.as_ref());
                if life.is_some_and(Life::is_returning) {
                    // It is not certain yet that the pod stays: see `Pool::doubt`.
                    return Place::Queued { ahead: 0, estimate: None };
                }
                match life.and_then(|l| l.incarnation.as_ref()) {
                    Some(incarnation) => Place::At { pod, incarnation },
                    None => Place::Unknown,
                }
            }
            State::Ending { why, .. } => Place::Ending { why },
        }
    }

    /// How long until a session behind `ahead` others gets a slot: from a pod that is starting, else from a session that ends.
    fn estimate(&self, ahead: u64, now: Time) -> Option<Millis> {
        let per_pod = u64::from(self.rules.slots_per_pod);
        let coming = (self.index.starting.len() as u64).saturating_mul(per_pod);
        if ahead < coming {
            let (since, _) = self.index.starting.iter().nth((ahead / per_pod).min(64) as usize)?;
            return self.estimate.until_started(now.since(*since));
        }
        self.estimate.until_released(now, ahead - coming + 1)
    }

    /// O(pods), in one pass.
    pub(crate) fn census(&self, targeted: bool) -> Census {
        let mut census = Census {
            queued: self.queue.len() as u64,
            held: self.index.held,
            taken: self.index.taken,
            ending: self.index.ending,
            busy_slots: self.index.busy_slots,
            ready: self.index.ready,
            needed: self.scale.needed,
            desired: self.scale.desired,
            asked: demand!(self, targeted).asked(self.scale.goal),
            messages_per_second: self.load.rate(self.rules.targets.window) / 1000,
            gauge: self.load.gauge(),
            leaving: self.scale.surplus().len(),
            frozen: self.frozen,
            ..Census::default()
        };
        for pod in self.pods.values() {
            if pod.index.open.is_some() {
                census.free_slots += u64::from(pod.free_slots());
            }
            census.terminating += u32::from(pod.is_terminating());
            let Some(life) = &pod.life else { continue };
            census.pods += 1;
            census.unusable += u32::from(pod.index.usable == 0 && pod.index.busy == 0);
            census.failing += u32::from(life.stuck || matches!(life.phase, Phase::Failed { .. }));
            let is_retiring = matches!(life.standing, Standing::Retiring | Standing::Returning { .. });
            census.retiring += u32::from(is_retiring);
        }
        census
    }
}

/// The session's previous ordinal, if it has a free slot.
fn free_again(pods: &BTreeMap<Ordinal, Pod>, last: Option<Ordinal>) -> Option<Ordinal> {
    planted!(NoStickiness => None);
    last.filter(|ordinal| pods.get(ordinal).is_some_and(|pod| pod.free_slots() > 0))
}
