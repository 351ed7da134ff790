//! Invariants that must hold after every entry. Checked there in debug builds (so in every test and simulation); reads the
//! state from scratch and relies on no index.

use crate::fleet::Fleet;
use crate::ids::{Ordinal, PoolId, SessionId};
use crate::pods::{Index, Life, Standing};
use crate::pool::{Owner, Pool, PoolIndex};
use crate::prefix::Prefix;
use crate::rules::Scaling;
use crate::sessions::State;
use crate::time::Time;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

macro_rules! must {
    ($cond:expr, $($what:tt)*) => {
        if !$cond {
            return Err(format!($($what)*));
        }
    };
}

impl Fleet {
    /// Checks all invariants; the error names the one that does not hold. O(size of the state).
    ///
    /// # Errors
    /// The first broken invariant, in words.
    pub fn invariants(&self) -> Result<(), String> {
        for (id, pool) in self.all_pools() {
            check(pool, self.is_quiet(), self.now()).map_err(|what| format!("pool {id}: {what}"))?;
        }
        if let Some((at, reason)) = self.next_deadline() {
            must!(at > self.now(), "the next deadline ({reason} at {at:?}) is not later than now ({:?})", self.now());
        }
        Ok(())
    }

    /// How many pods hold the session; for tests.
    #[must_use]
    pub fn pods_of(&self, pool: &PoolId, session: SessionId) -> Vec<Ordinal> {
        self.pods(pool).filter(|(_, p)| p.sessions.contains(&session)).map(|(o, _)| o).collect()
    }
}

fn check(pool: &Pool, quiet: bool, now: Time) -> Result<(), String> {
    must!(!pool.frozen, "it is frozen");
    sessions(pool)?;
    pods(pool)?;
    queue(pool, quiet)?;
    indexes(pool, quiet, now)
}

fn sessions(pool: &Pool) -> Result<(), String> {
    for (id, session) in pool.sessions.sorted() {
        match &session.state {
            State::Queued { .. } => {
                must!(pool.pods.values().all(|p| !p.sessions.contains(&id)), "queued {id:?} is in a pod");
            }
            State::Held { pod, .. } | State::Taken { pod, .. } | State::Ending { pod, .. } => {
                let known = pool.pods.get(pod);
                must!(known.is_some_and(|p| p.sessions.contains(&id)), "pod {pod:?} does not know {id:?}");
                must!(
                    known.is_some_and(|p| p.life.as_ref().is_some_and(|l| l.incarnation.is_some())),
                    "{id:?} is in no incarnation"
                );
                must!(pool.scale.desired.contains(pod.0), "busy {pod:?} is outside desired {:?}", pool.scale.desired);
            }
        }
        if let State::Taken { by, .. } | State::Ending { by, .. } = &session.state {
            must!(!by.is_empty(), "{id:?} is attached by no replica");
        }
        if let State::Held { pod, until, .. } = &session.state {
            must!(
                !pool.pods.get(pod).is_some_and(|p| p.is_going()),
                "{id:?} is held on a pod that is terminating or being emptied"
            );
            let returning = pool.pods.get(pod).and_then(|p| p.life.as_ref()).is_some_and(Life::is_returning);
            must!(
                !returning || *until == Time::NEVER,
                "{id:?} cannot return to {pod:?}, and its slot is kept until {until:?}"
            );
        }
    }
    Ok(())
}

fn pods(pool: &Pool) -> Result<(), String> {
    for (ordinal, pod) in &pool.pods {
        must!(
            pod.sessions.len() as u32 <= pod.slots,
            "{} sessions in {} slots of {ordinal:?}",
            pod.sessions.len(),
            pod.slots
        );
        for id in &pod.sessions {
            let at = pool.sessions.get(*id).and_then(|s| s.pod());
            must!(at == Some(*ordinal), "{ordinal:?} lists {id:?}, which is at {at:?}");
        }
        let inside = pool.scale.desired.contains(ordinal.0);
        if let Some(life) = &pod.life {
            must!(!life.condemned || pod.sessions.is_empty(), "{ordinal:?} is to be deleted under {:?}", pod.sessions);
            let retiring = life.standing == Standing::Retiring;
            must!(retiring != inside, "{ordinal:?} is {:?}, desired is {:?}", life.standing, pool.scale.desired);
            must!(!retiring || pod.sessions.is_empty(), "retiring {ordinal:?} is busy");
            let own = pool.scale.standing(ordinal.0);
            let uncertain = matches!(life.standing, Standing::Retiring | Standing::Returning { .. });
            must!(uncertain || life.standing == own, "{ordinal:?} is {:?}, and should be {own:?}", life.standing);
        }
        let awaited = inside && !pod.is_ready();
        must!(awaited || pod.asked == Time::NEVER || pod.is_ready(), "{ordinal:?} is awaited outside desired");
        must!(pod.life.is_some() || !inside || pod.asked != Time::NEVER, "missing {ordinal:?} is not awaited");
    }
    Ok(())
}

fn queue(pool: &Pool, quiet: bool) -> Result<(), String> {
    let line: Vec<_> = pool.queue.iter().copied().collect();
    must!(line.windows(2).all(|w| w[0].0 < w[1].0), "the queue is out of order");
    let queued = pool.sessions.sorted().iter().filter(|(_, s)| matches!(s.state, State::Queued { .. })).count();
    must!(queued == line.len(), "{queued} sessions are queued, {} are in the line", line.len());
    for (turn, id) in &line {
        let own = pool.sessions.get(*id).map(|s| &s.state);
        must!(
            matches!(own, Some(State::Queued { turn: t, .. }) if t == turn),
            "{id:?} is in the line at another turn than its own"
        );
    }
    let placeable = pool.pods.values().any(|p| p.free_slots() > 0);
    must!(quiet || line.is_empty() || !placeable, "a session is queued while a placeable slot is free");
    Ok(())
}

fn indexes(pool: &Pool, quiet: bool, now: Time) -> Result<(), String> {
    let mut fresh = pool.clone();
    fresh.reindex();
    let (PoolIndex { usable, .. }, rebuilt) = (&pool.index, &fresh.index);
    must!(
        pool.index.deadlines == rebuilt.deadlines,
        "deadlines differ: {:?}, rebuilt {:?}",
        pool.index.deadlines,
        rebuilt.deadlines
    );
    must!(pool.index.open == rebuilt.open, "open pods differ: {:?}, rebuilt {:?}", pool.index.open, rebuilt.open);
    must!(pool.index.busy == rebuilt.busy && pool.index.busy_slots == rebuilt.busy_slots, "busy pods differ");
    must!(pool.index.starting == rebuilt.starting, "starting pods differ");
    must!(pool.index.returning == rebuilt.returning, "returning pods differ");
    must!(pool.index.owes_recycle == rebuilt.owes_recycle, "owed recycles differ");
    must!(pool.index.ready == rebuilt.ready, "ready pods: counted {}, are {}", pool.index.ready, rebuilt.ready);
    let counts = |i: &PoolIndex| (i.held, i.taken, i.ending);
    must!(
        counts(&pool.index) == counts(rebuilt),
        "held, taken, ending: counted {:?}, are {:?}",
        counts(&pool.index),
        counts(rebuilt)
    );
    must!(same_sums(usable, &rebuilt.usable), "usable slots differ");
    must!(same_sums(&pool.index.able, &rebuilt.able), "able pods differ");
    for (at, owner) in &pool.index.deadlines {
        let lives = match owner {
            Owner::Session(id) => pool.sessions.get(*id).is_some_and(|s| s.alarm == *at),
            Owner::Pod(o) => pool.pods.get(o).is_some_and(|p| p.index.alarm == Some(*at)),
        };
        must!(lives && *at > now, "the deadline {at:?} of {owner:?} is past, or has no owner");
    }
    let blank = pool.pods.values().all(|p| p.index != Index::default() || p.derive(&pool.rules) == Index::default());
    must!(blank, "a pod is not indexed");
    let unbounded = pool.scale.desired.end > pool.rules.max;
    let floor = pool.index.busy.last().map_or(0, |o| o.0.saturating_add(1));
    let fixed = pool.rules.scaling == Scaling::None;
    must!(
        quiet || !unbounded || fixed || pool.scale.desired.end <= floor,
        "desired {:?} is over max {}",
        pool.scale.desired,
        pool.rules.max
    );
    Ok(())
}

fn same_sums(a: &Prefix, b: &Prefix) -> bool {
    a.len() == b.len() && (0..=a.len()).all(|n| a.below(n) == b.below(n) && a.get(n) == b.get(n))
}
