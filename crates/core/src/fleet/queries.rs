//! Reads the state. Nothing here changes it.

use super::{Fleet, Reason};
use crate::census::{Census, Place};
use crate::entry::{Effect, Entry};
use crate::ids::{Ordinal, PoolId, ReplicaId, SessionId, Timeline};
use crate::pods::Pod;
use crate::pool::Pool;
use crate::rules::{Rules, Scaling};
use crate::scale::{Seen, Span};
use crate::sessions::Session;
use crate::time::{Millis, Time};
use alloc::vec::Vec;

impl Fleet {
    /// Where the session is. O(1) except for the position of a queued one; allocates nothing.
    #[must_use]
    pub fn place(&self, pool: &PoolId, session: SessionId) -> Place<'_> {
        let place = self.pools.get(pool).map_or(Place::Unknown, |p| p.place(session, self.now));
        match place {
            Place::Queued { ahead, .. } if self.is_quiet() => Place::Queued { ahead, estimate: None },
            // Lost entries may have given its slot to another session. (Open streams continue.)
            Place::At { .. } if self.is_quiet() => Place::Queued { ahead: 0, estimate: None },
            Place::Unknown | Place::Queued { .. } | Place::At { .. } | Place::Ending { .. } => place,
        }
    }

    /// Whether a lapse is in progress: no session is placed or newly admitted, and no pod is removed, before it ends.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.lapse.is_some()
    }

    /// The position of the lapse for which this replica has not yet reported that it missed nothing.
    #[must_use]
    pub fn doubts(&self, replica: ReplicaId) -> Option<u64> {
        self.lapse.as_ref().filter(|lapse| lapse.doubts(replica)).map(|lapse| lapse.position)
    }

    /// When time alone will change something, and what. Firing early is harmless.
    #[must_use]
    pub fn next_deadline(&self) -> Option<(Time, Reason)> {
        let pools = self.pools.values().filter(|_| !self.is_quiet()).filter_map(|p| p.next_deadline(self.now));
        let departure = self.next_departure().filter(|_| self.replicas.len() > 1).map(|(_, at)| (at, "silence"));
        let lapse = self.lapse.as_ref().map(|lapse| (lapse.ends(), "lapse"));
        let others = departure.into_iter().chain(lapse).map(|(at, why)| (self.now + at.since(self.alive), why));
        pools.chain(others).min()
    }

    /// The effects that still have to be executed, derived again from the state.
    pub fn owed(&self) -> impl Iterator<Item = (PoolId, Effect)> {
        self.pools.iter().flat_map(|(id, pool)| {
            let mut own = Vec::new();
            pool.owed(&mut own);
            own.retain(|effect| !self.is_quiet() || !matches!(effect, Effect::Recycle { .. }));
            own.into_iter().map(|e| (id.clone(), e))
        })
    }

    /// Returns the pool in numbers. `None` if there is no such pool.
    #[must_use]
    pub fn census(&self, pool: &PoolId) -> Option<Census> {
        self.pools.get(pool).map(|p| p.census(self.knows_targets()))
    }

    /// The ordinals the pool should run.
    #[must_use]
    pub fn desired(&self, pool: &PoolId) -> Option<Span> {
        self.pools.get(pool).map(|p| p.scale.desired)
    }

    /// The effect that orders the present size from the cluster.
    #[must_use]
    pub fn scale(&self, pool: &PoolId) -> Option<Effect> {
        self.pools.get(pool).map(Pool::scale_effect)
    }

    /// The number that KEDA has to be served, if it differs from the last one ([`Command::Served`](crate::Command::Served)).
    #[must_use]
    pub fn unserved(&self, pool: &PoolId) -> Option<u32> {
        let pool = self.pools.get(pool).filter(|p| matches!(p.rules.scaling, Scaling::Keda { .. }))?;
        let replicas = pool.scale.desired.len();
        pool.scale.served.is_none_or(|(served, _)| served != replicas).then_some(replicas)
    }

    /// Reports whether sessions could be placed in pods of this pool if it were certain that KEDA does not remove them
    /// ([`Command::ScaleInPaused`](crate::Command::ScaleInPaused)).
    #[must_use]
    pub fn awaits_pause(&self, pool: &PoolId) -> bool {
        self.semantics >= Entry::PAUSES && !self.is_quiet() && self.pools.get(pool).is_some_and(Pool::awaits_pause)
    }

    /// Reports whether KEDA's scale-in must stay paused even if no session lives or waits.
    #[must_use]
    pub fn needs_pause(&self, pool: &PoolId) -> bool {
        self.pools.get(pool).is_some_and(|p| p.needs_pause(self.now))
    }

    /// Whether no new session can join: the queue has reached its limit, or the pool is frozen, being removed or unknown.
    #[must_use]
    pub fn is_full(&self, pool: &PoolId) -> bool {
        self.pools.get(pool).is_none_or(|p| !p.takes_newcomers(self.is_quiet()))
    }

    /// Fleet time: everything due up to this moment has been done. It stands still during a lapse.
    #[must_use]
    pub fn now(&self) -> Time {
        self.now
    }

    /// As [`Fleet::now`], but it also advances during a lapse.
    #[must_use]
    pub fn alive(&self) -> Time {
        self.alive
    }

    /// How many entries led to this state: the journal position.
    #[must_use]
    pub fn applied(&self) -> u64 {
        self.applied
    }

    /// The journal's clock at the last entry.
    #[must_use]
    pub fn journal(&self) -> Time {
        self.journal
    }

    /// This state with the journal position of another one.
    #[cfg(feature = "planted")]
    #[must_use]
    pub fn at_the_position_of(self, other: &Fleet) -> Fleet {
        Fleet { applied: other.applied, journal: other.journal, ..self }
    }

    /// The semantics in force: a replica that knows only older ones must stop reading.
    #[must_use]
    pub fn semantics(&self) -> u32 {
        self.semantics
    }

    /// The timeline that this state belongs to.
    #[must_use]
    pub fn timeline(&self) -> Timeline {
        self.timeline
    }

    /// Whether all replicas that read this journal know [`Command::Load`](crate::Command::Load), and `shrink` and `targets` of the rules.
    #[must_use]
    pub fn knows_targets(&self) -> bool {
        self.semantics >= Entry::TARGETS
    }

    /// The last number this replica wrote; `None` if the fleet does not know it or has given it up.
    #[must_use]
    pub fn replica(&self, replica: ReplicaId) -> Option<u64> {
        self.replicas.get(&replica).map(|r| r.number)
    }

    /// The longest `silence` of all pools.
    #[must_use]
    pub fn silence(&self) -> Millis {
        self.longest.silence
    }

    /// How long (by [`Fleet::alive`]) a replica may be silent before it is given up, and its sessions are detached.
    #[must_use]
    pub fn patience(&self) -> Millis {
        self.longest.silence + self.longest.grace
    }

    /// Returns the pools' names in alphabetical order.
    pub fn pools(&self) -> impl Iterator<Item = &PoolId> {
        self.pools.keys()
    }

    /// Returns the settings in force: those of the pool's last [`Command::Rules`](crate::Command::Rules) and [`Command::Schedule`](crate::Command::Schedule). `None` if there is no such
    /// pool.
    #[must_use]
    pub fn rules(&self, pool: &PoolId) -> Option<&Rules> {
        self.pools.get(pool).map(|p| &p.rules)
    }

    /// Whether a complete list of the pool's pods has been read.
    #[must_use]
    pub fn is_listed(&self, pool: &PoolId) -> bool {
        self.pools.get(pool).is_some_and(|p| p.listed)
    }

    /// The pool's size as last read from the cluster.
    #[must_use]
    pub fn scale_seen(&self, pool: &PoolId) -> Option<Seen> {
        self.pools.get(pool).and_then(|p| p.scale.seen)
    }

    /// Returns the session. `None` if it is unknown or has been released.
    #[must_use]
    pub fn session(&self, pool: &PoolId, session: SessionId) -> Option<&Session> {
        self.pools.get(pool).and_then(|p| p.sessions.get(session))
    }

    /// Every session of a pool in order of its id. O(n log n).
    #[must_use]
    pub fn sessions(&self, pool: &PoolId) -> Vec<(SessionId, &Session)> {
        self.pools.get(pool).map(|p| p.sessions.sorted()).unwrap_or_default()
    }

    /// Returns what is known of this ordinal, which may have no incarnation. `None` if it was never observed, desired or cordoned.
    #[must_use]
    pub fn pod(&self, pool: &PoolId, pod: Ordinal) -> Option<&Pod> {
        self.pools.get(pool).and_then(|p| p.pods.get(&pod))
    }

    /// Returns the known ordinals in order; some may have no incarnation.
    pub fn pods(&self, pool: &PoolId) -> impl Iterator<Item = (Ordinal, &Pod)> {
        self.pools.get(pool).into_iter().flat_map(|p| p.pods.iter().map(|(o, p)| (*o, p)))
    }

    /// How many sessions there are, in all pools.
    #[must_use]
    pub fn population(&self) -> usize {
        self.pools.values().map(|p| p.sessions.len()).sum()
    }

    /// The waiting sessions in order.
    pub fn queue(&self, pool: &PoolId) -> impl Iterator<Item = SessionId> {
        self.pools.get(pool).into_iter().flat_map(|p| p.queue.iter().map(|(_, s)| *s))
    }

    pub(crate) fn all_pools(&self) -> impl Iterator<Item = (&PoolId, &Pool)> {
        self.pools.iter()
    }
}
