//! The second oracle (`slotkeeper-reference`) watches the world. Visitors report what they send and receive, the API
//! server what it stores, the operator what it orders; every finding is a violation. Nothing here reads the mirror,
//! except one fact that visitors could see in the waiting room (`checking`): whether the dispatchers serve again
//! after a journal loss.
//!
//! It judges the first pool only. Pods of a second pool (a fixed list of addresses, local processes) are not pods of
//! the API server, so no observer could report their states and sizes.
//!
//! In a world with a rolling restart, old and new settings are in force at the same time. There it judges by the more
//! permissive value of each setting, and does not judge how long visitors wait and whether positions fall back.

use super::faults::FaultKind;
use super::oracle::Oracle;
use super::setting::Setting;
use slotkeeper_core::{AfterSession, Millis, Scaling, Shrink};
use slotkeeper_reference::{
    self as reference, Answer, Observation, Observed, PodState, Reason, Reference, Remover, Rule, Settings, Watch,
};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Time to recover after a fault, in milliseconds: connections are given up, dispatchers start, time-outs of absent
/// sessions run out.
const RECOVERY: u64 = 15_000;
/// A dispatcher may show state that another one changed this many milliseconds ago.
const BEHIND: u64 = 1_000;

/// Longer than any world.
const NEVER: u64 = 24 * 3_600_000;

/// Dispatchers that have not yet read that they serve again do so within this many milliseconds.
const LATE: u64 = 2_000;

/// The prefix of every promise that the second oracle judges.
const PREFIX: &str = "reference: ";

static ALONE: AtomicBool = AtomicBool::new(false);

/// In this process, only findings of the second oracle count as violations.
pub fn judge_alone(alone: bool) {
    ALONE.store(alone, Ordering::Relaxed);
}

/// Returns the arguments with which another process judges like this one.
#[must_use]
pub fn arguments() -> Vec<String> {
    let alone = ALONE.load(Ordering::Relaxed);
    alone.then(|| "--reference-alone".to_owned()).into_iter().collect()
}

pub(super) fn judges(promise: &str) -> bool {
    !ALONE.load(Ordering::Relaxed) || promise.starts_with(PREFIX)
}

/// The receiver of all observations of a world.
#[derive(Clone)]
pub(super) struct ReferenceOracle(Arc<Mutex<Inner>>);

struct Inner {
    reference: Reference,
    lost: bool,
    /// When the dispatchers are known to serve again after a loss.
    settles: Option<u64>,
    not_before: u64,
}

impl Default for ReferenceOracle {
    fn default() -> ReferenceOracle {
        let reference = Reference::new(Watch::Events);
        ReferenceOracle(Arc::new(Mutex::new(Inner { reference, lost: false, settles: None, not_before: 0 })))
    }
}

impl ReferenceOracle {
    fn locked(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Oracle {
    /// Reports an observation. It became true at some moment since `since`.
    pub fn observed(&self, since: u64, what: Observation) {
        if !self.is_of_the_first_pool() {
            return;
        }
        let at = self.now();
        let observed = Observed { at, tolerance: at.saturating_sub(since), what };
        self.count(format!("outsiders: {}", what_kind(&observed.what)));
        let findings = self.reference.locked().reference.observe(&observed);
        for finding in findings {
            self.violate(promise(finding.rule), finding.text);
        }
    }

    /// Reports the settings of this world, before it begins.
    pub fn settings(&self, setting: &Setting) {
        self.observed(self.now(), Observation::Settings(settings(setting)));
    }

    /// A visitor sends a request.
    pub fn asks(&self, session: &str) {
        self.asked(session, self.now());
    }

    /// A visitor sent a request at that moment, before it had a cookie.
    pub fn asked(&self, session: &str, since: u64) {
        self.observed(since, Observation::Sign { visitor: session.into(), class: 0 });
    }

    /// The waiting room shows this JSON (in an event or an answer) to the visitor.
    pub fn shows(&self, session: &str, facts: &str) {
        let word = |key: &str| facts.split(&format!("\"{key}\":\"")).nth(1).and_then(|s| s.split('"').next());
        let position = facts.split("\"position\":").nth(1).and_then(|s| s.split([',', '}']).next());
        let reason = word("reason");
        let answer = match word("state") {
            // Until it is certain what is lost, positions have no meaning.
            Some("queued" | "starting" | "failing") if reason == Some("checking") => return,
            Some("queued" | "starting" | "failing") => {
                let position: Option<u64> = position.and_then(|p| p.parse().ok());
                Answer::Waiting { ahead: position.map(|p| p.saturating_sub(1)) }
            }
            Some("ready") => Answer::Ready,
            Some("full") => Answer::Full,
            Some("ended") => match reason.and_then(Reason::from_word) {
                Some(reason) => Answer::Ended { reason },
                None => return,
            },
            _ => return,
        };
        let since = self.now().saturating_sub(BEHIND);
        self.observed(since, Observation::Told { visitor: session.into(), answer });
    }

    /// The visitor's stream was closed with this code and reason, at some moment since `since`.
    pub fn closed(&self, session: &str, uid: &str, stream: u64, code: u16, reason: &str, since: u64) {
        if matches!(code, 1001 | 1012 | 4001..=4010) {
            self.observed(self.now(), Observation::Notified { visitor: session.into(), pod: uid.into() });
        }
        self.broke_off(session, stream);
        if let Some(reason) = Reason::from_word(reason).filter(|_| code == 4001) {
            self.observed(since, Observation::Told { visitor: session.into(), answer: Answer::Ended { reason } });
        }
    }

    /// The visitor's stream ended without a close frame.
    pub fn broke_off(&self, session: &str, stream: u64) {
        let now = self.now();
        self.observed(now, Observation::Closed { visitor: session.into(), stream, quiet_since: now });
    }

    /// The API server stores this state of a pod.
    pub fn pod_is(&self, uid: &str, ordinal: u32, state: PodState) {
        self.observed(self.now(), Observation::Pod { pod: uid.into(), ordinal, state });
    }

    /// The API server stores this number of replicas.
    pub fn size_is(&self, start: u32, end: u32, position: u64) {
        self.observed(self.now(), Observation::Ordered { start, end, position });
        self.observed(self.now(), Observation::Stored { start, end, position });
    }

    /// A fault is active from now on, until that moment.
    pub(super) fn disturbed(&self, until: u64, kind: &str) {
        self.observed(self.now(), Observation::Disturbed { until: until + RECOVERY });
        if kind == FaultKind::PoolRemoval.word() {
            // All state of the pool is deleted, and it begins again.
            self.reference.locked().not_before = until + RECOVERY;
            self.journal_lost();
        }
    }

    pub(super) fn journal_lost(&self) {
        let mut inner = self.reference.locked();
        (inner.lost, inner.settles) = (true, None);
        drop(inner);
        self.observed(self.now(), Observation::JournalLost);
    }

    /// The journal accepts entries, and no loss is being handled.
    pub(super) fn journal_serves(&self) {
        let now = self.now();
        let mut inner = self.reference.locked();
        if inner.lost && inner.settles.is_none() {
            inner.settles = Some(inner.not_before.max(now + LATE));
        }
    }

    /// Some time has passed.
    pub fn passed(&self) {
        let now = self.now();
        let mut inner = self.reference.locked();
        let settled = inner.settles.is_some_and(|at| at <= now);
        if settled {
            (inner.lost, inner.settles) = (false, None);
        }
        drop(inner);
        if settled {
            self.observed(now, Observation::JournalSettled);
        }
        self.observed(self.now(), Observation::CaughtUp);
        self.observed(self.now(), Observation::Clock);
    }
}

fn what_kind(what: &Observation) -> String {
    let debug = format!("{what:?}");
    debug.split([' ', '(']).next().unwrap_or_default().to_owned()
}

/// Returns what removes a pod that ends like this.
pub(super) fn remover(end: crate::record::PodEnd) -> Remover {
    use crate::record::PodEnd;
    match end {
        PodEnd::ScaledDown => Remover::ScaleDown,
        PodEnd::Recycled => Remover::Recycle,
        PodEnd::RolledOut | PodEnd::Crashed | PodEnd::NodeLost | PodEnd::Drained | PodEnd::Preempted => Remover::Other,
    }
}

fn promise(rule: Rule) -> &'static str {
    match rule {
        Rule::SharedSlot => "reference: two sessions in one slot",
        Rule::Moved => "reference: a session moved without cause",
        Rule::Killed => "reference: a session killed by us",
        Rule::WaitsInVain => "reference: a visitor waits while a slot is free",
        Rule::Position => "reference: a lost queue position",
        Rule::Notice => "reference: a missing notification",
    }
}

fn settings(setting: &Setting) -> Settings {
    let rules = &setting.rules;
    let settle = match rules.scaling {
        Scaling::Keda { settle } => settle.0,
        Scaling::Direct { .. } | Scaling::None => 0,
    };
    let absent = setting.linger + setting.half_open;
    let other = setting.rollout.as_ref().map_or(rules, |rollout| &rollout.rules);
    let either = |one: Option<Millis>, other: Option<Millis>| one.into_iter().chain(other).min().map(|t| t.0);
    let hidden = (rules.claim + rules.silence + rules.grace).0 + absent.as_millis() as u64 + settle + 2 * RECOVERY;
    let clock_faults = [FaultKind::JournalClock, FaultKind::DispatcherClock];
    Settings {
        slots_per_pod: rules.slots_per_pod.max(other.slots_per_pod),
        max: rules.max.max(other.max),
        recycle: rules.after_session == AfterSession::Recycle,
        moves: rules.shrink == Shrink::Move,
        scaling: match rules.scaling {
            Scaling::Direct { .. } => reference::Scaling::Own,
            Scaling::Keda { .. } => reference::Scaling::Keda,
            Scaling::None => reference::Scaling::Fixed,
        },
        queue_lease: rules.queue_lease.min(other.queue_lease).0,
        claim: rules.claim.min(other.claim).0,
        grace: rules.grace.min(other.grace).0,
        idle: either(rules.idle, other.idle),
        max_session: either(rules.max_session, other.max_session),
        stuck_after: rules.stuck_after.0,
        hidden: if setting.rollout.is_some() { NEVER } else { hidden },
        clocks_jump: setting.faults.iter().any(|f| clock_faults.contains(&f.kind)),
    }
}
