//! One pool's settings, as the state machine needs them. They enter as an entry, so two dispatchers rolled out with
//! different configurations still compute the same state. What only the shell needs (linger, hold, half_open) is not here.

use crate::time::Millis;
use serde::{Deserialize, Serialize};

/// Settings of one pool. `Rules::default()` is an exclusive pool that its dispatcher scales itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rules {
    /// Sessions that fit in one pod; 1 = exclusive. At least 1.
    pub slots_per_pod: u32,
    /// Pods kept even when nobody is there.
    pub min: u32,
    /// Pods never exceeded (but never below the highest busy ordinal: a lowered `max` kills nobody). At most [`Rules::MAX_PODS`].
    pub max: u32,
    pub placement: Placement,
    /// A session that comes back prefers the ordinal it had: its saves are on that volume.
    pub sticky_storage: bool,
    pub after_session: AfterSession,
    pub scaling: Scaling,
    pub spare: Spare,
    /// Waiting sessions at most.
    pub queue_limit: u32,
    /// A waiting session without a sign of life for this long has left.
    pub queue_lease: Millis,
    /// A slot is kept this long for a session that has not come yet.
    pub claim: Millis,
    /// A slot is kept this long after the last stream closed.
    pub grace: Millis,
    /// No activity from the client for this long ends the session.
    pub idle: Option<Millis>,
    /// The session ends this long after its first attach.
    pub max_session: Option<Millis>,
    /// How early the visitor is told that `idle` or `max_session` will end the session; also what one `Extend` adds.
    pub warn_before: Millis,
    /// What all extensions of one session may add up to.
    pub extend_limit: Millis,
    /// A dispatcher replica without a sign of life for this long is presumed cut off.
    pub silence: Millis,
    /// Fewer pods are asked for only after this long of not needing more.
    pub cooldown: Millis,
    /// A pod that has not been ready for this long is not counted on any more.
    pub stuck_after: Millis,
}

impl Rules {
    /// Most pods in one pool.
    pub const MAX_PODS: u32 = 100_000;

    /// The rules as the state machine uses them: every number inside the range its documentation states.
    #[must_use]
    pub fn clamped(mut self) -> Rules {
        self.max = self.max.min(Self::MAX_PODS);
        self.min = self.min.min(self.max);
        self.slots_per_pod = self.slots_per_pod.max(1);
        // A clock that has run out before it starts would be a deadline in the past.
        let clocks = [&mut self.queue_lease, &mut self.claim, &mut self.grace, &mut self.stuck_after];
        for clock in clocks.into_iter().chain(&mut self.idle).chain(&mut self.max_session) {
            *clock = (*clock).max(Millis(1));
        }
        // Half of it must still be a time in which fleet time can pass.
        self.silence = self.silence.max(Millis(2));
        self
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Placement {
    /// Lowest ordinal first: lets the top drain.
    Pack,
    /// Least sessions first.
    Spread,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AfterSession {
    /// The pod goes on.
    Keep,
    /// The incarnation is deleted by uid; only a new one is free again.
    Recycle,
}

/// Who turns `desired` into pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Scaling {
    /// The dispatcher itself: `Effect::Scale`.
    Direct { window: Window },
    /// KEDA asks the dispatcher, or reads its gauges; `settle` after a raised number was served nobody still acts on a lower one.
    Keda { settle: Millis },
    /// Nobody: a fixed pool.
    None,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Window {
    /// Ordinals `0..n`.
    Fixed,
    /// Ordinals `start..end` inside `0..max`: idle low ordinals retire too.
    Sliding,
}

/// Free slots kept warm for whoever comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Spare {
    Slots(u32),
    /// Of the busy slots, rounded up: 0 busy slots keep nothing warm.
    Percent(u32),
}

impl Spare {
    #[must_use]
    pub fn slots(self, busy: u64) -> u64 {
        match self {
            Spare::Slots(n) => u64::from(n),
            Spare::Percent(p) => (busy * u64::from(p)).div_ceil(100),
        }
    }
}

impl Default for Rules {
    fn default() -> Rules {
        Rules {
            slots_per_pod: 1,
            min: 0,
            max: 1,
            placement: Placement::Pack,
            sticky_storage: true,
            after_session: AfterSession::Keep,
            scaling: Scaling::Direct { window: Window::Fixed },
            spare: Spare::Slots(0),
            queue_limit: 1000,
            queue_lease: Millis::secs(30),
            claim: Millis::secs(60),
            grace: Millis::secs(30),
            idle: None,
            max_session: None,
            warn_before: Millis::secs(300),
            extend_limit: Millis::secs(1800),
            silence: Millis::secs(60),
            cooldown: Millis::secs(300),
            stuck_after: Millis::secs(600),
        }
    }
}
