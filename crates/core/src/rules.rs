//! One pool's settings, as the state machine needs them. They enter as an entry, so two dispatchers rolled out with
//! different configurations still compute the same state. Settings that only the dispatcher needs (linger, hold, half_open)
//! are not here.

use crate::time::Millis;
use serde::{Deserialize, Serialize};

/// Settings of one pool. `Rules::default()` is an exclusive pool that its dispatcher scales itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rules {
    /// Sessions that fit in one pod; 1 = exclusive. At least 1.
    pub slots_per_pod: u32,
    /// Pods kept even without sessions.
    pub min: u32,
    /// Most pods (but never below the highest busy ordinal: lowering `max` ends no session). At most [`Rules::MAX_PODS`].
    pub max: u32,
    /// In which order pods with a free slot are chosen.
    pub placement: Placement,
    /// A returning session prefers its previous ordinal: its saved data is on that volume.
    pub sticky_storage: bool,
    /// What happens to a pod after a session.
    pub after_session: AfterSession,
    /// The program that turns `desired` into pods.
    pub scaling: Scaling,
    /// What happens to the sessions on pods that are no longer needed.
    #[serde(default)]
    pub shrink: Shrink,
    /// The load that a pod should bear, in addition to the limit of its slots.
    #[serde(default)]
    pub targets: Targets,
    /// Free slots kept ready for the next sessions.
    pub spare: Spare,
    /// Most waiting sessions.
    pub queue_limit: u32,
    /// A waiting session without a heartbeat for this long leaves the queue.
    pub queue_lease: Millis,
    /// A slot is kept this long for a session that has not attached to it yet.
    pub claim: Millis,
    /// A slot is kept this long after the last stream closed.
    pub grace: Millis,
    /// No activity from the client for this long ends the session.
    pub idle: Option<Millis>,
    /// The session ends this long after its first attach.
    pub max_session: Option<Millis>,
    /// How long before `idle` or `max_session` ends the session the visitor is warned; also what one `Extend` adds.
    pub warn_before: Millis,
    /// The most that all extensions of one session may add up to.
    pub extend_limit: Millis,
    /// A dispatcher replica without an entry for this long is presumed cut off.
    pub silence: Millis,
    /// How long demand must stay lower before fewer pods are asked for.
    pub cooldown: Millis,
    /// A pod that has not been ready for this long is no longer counted on.
    pub stuck_after: Millis,
}

impl Rules {
    /// Most pods in one pool.
    pub const MAX_PODS: u32 = 100_000;

    /// Whether sessions may be moved; not before the semantics in force know that (`targeted`).
    pub(crate) fn moves(&self, targeted: bool) -> bool {
        targeted && self.shrink == Shrink::Move
    }

    /// The rules as the state machine uses them: every number inside the range its documentation states.
    #[must_use]
    pub fn clamped(mut self) -> Rules {
        self.max = self.max.min(Self::MAX_PODS);
        self.min = self.min.min(self.max);
        self.slots_per_pod = self.slots_per_pod.max(1);
        // A duration of 0 would be a deadline that has already passed.
        let clocks = [&mut self.queue_lease, &mut self.claim, &mut self.grace, &mut self.stuck_after];
        for clock in clocks.into_iter().chain(&mut self.idle).chain(&mut self.max_session) {
            *clock = (*clock).max(Millis(1));
        }
        // Fleet time advances only over gaps of at most half of it, so that half must not be 0.
        self.silence = self.silence.max(Millis(2));
        self.targets = self.targets.clamped(self.slots_per_pod);
        let slides = self.scaling == (Scaling::Direct { window: Window::Sliding });
        if slides {
            self.targets = Targets { sessions: None, messages: None, gauge: None, ..self.targets };
        }
        if slides || self.slots_per_pod == 1 {
            self.shrink = Shrink::Wait;
        }
        self
    }
}

/// In which order pods with a free slot are chosen. A returning session's previous pod goes first (`sticky_storage`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Placement {
    /// Lowest ordinal first, so that the highest pods become empty.
    Pack,
    /// Fewest sessions first.
    Spread,
}

/// What happens to a pod after a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AfterSession {
    /// The pod takes other sessions.
    Keep,
    /// The incarnation is deleted by uid; only a new one takes other sessions.
    Recycle,
}

/// The program that turns `desired` into pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Scaling {
    /// The dispatcher itself: `Effect::Scale`.
    Direct {
        /// Which ordinals it may choose.
        window: Window,
    },
    /// KEDA asks the dispatcher, or reads its gauges; `settle` after a raised number was served, it acts on no lower one.
    Keda {
        /// How long after a raised number was served KEDA, or its autoscaler, may still act on a lower one.
        settle: Millis,
    },
    /// None: a fixed pool.
    None,
}

/// Which ordinals the pods of a pool may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Window {
    /// Ordinals `0..n`.
    Fixed,
    /// Ordinals `start..end` inside `0..max`: idle low ordinals retire too.
    Sliding,
}

/// What happens to the sessions on pods that are no longer needed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Shrink {
    /// They stay until they end, and the pod stays as long.
    #[default]
    Wait,
    /// They are moved: the highest pod takes no session any more, its streams are closed, and clients that reconnect get a
    /// slot on another pod. When it is empty it is removed, and the next one follows. In addition, a session without a stream
    /// does not stay on a pod that is not ready. Only in shared pools with a fixed window.
    Move,
}

/// The load that one pod should bear. Of several targets the one that asks for the most pods counts. Not with a sliding window.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Targets {
    /// Sessions, at most the slots: the other slots are headroom. `None`: as many as it has slots.
    pub sessions: Option<u32>,
    /// WebSocket messages per second, both directions together.
    pub messages: Option<u32>,
    /// A gauge that the pods export, in thousandths.
    pub gauge: Option<u64>,
    /// Messages are counted over this time, and an older gauge value does not count.
    pub window: Millis,
    /// One pod fewer is wanted only if the others would then be this far (per cent) below every target; at most 90.
    pub slack: u32,
}

impl Targets {
    fn clamped(mut self, slots: u32) -> Targets {
        self.sessions = self.sessions.map(|n| n.clamp(1, slots));
        self.messages = self.messages.map(|n| n.max(1));
        self.gauge = self.gauge.map(|n| n.max(1));
        self.window = self.window.max(Millis(1000));
        self.slack = self.slack.min(90);
        self
    }

    /// Whether anything has to be measured.
    #[must_use]
    pub fn is_measured(&self) -> bool {
        self.messages.is_some() || self.gauge.is_some()
    }
}

impl Default for Targets {
    fn default() -> Targets {
        Targets { sessions: None, messages: None, gauge: None, window: Millis::secs(60), slack: 10 }
    }
}

/// Free slots kept ready for the next sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Spare {
    /// That many.
    Slots(u32),
    /// Of the busy slots, rounded up: none if no slot is busy.
    Percent(u32),
}

impl Spare {
    /// Returns the number of spare slots while `busy` slots are in use.
    #[must_use]
    pub fn slots(self, busy: u64) -> u64 {
        match self {
            Spare::Slots(n) => u64::from(n),
            // Rules are input: the percentage may be as large as its type.
            Spare::Percent(p) => busy.saturating_mul(u64::from(p)).div_ceil(100),
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
            shrink: Shrink::Wait,
            targets: Targets::default(),
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
