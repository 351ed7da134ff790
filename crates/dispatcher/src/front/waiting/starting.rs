//! The pods that are being started, and the progress of the first of them; or why none can be started. Equal for all waiting
//! sessions, so derived once per entry and not per visitor.

use super::StartStep;
use sha2::{Digest, Sha256};
use slotkeeper_core::{Fleet, Life, Millis, Ordinal, Phase, Pod, PoolId, Time, planted};
use std::sync::{Arc, Mutex, PoisonError};

/// How long after a failure a pod's retry counts as the same problem (the longest usual delay between retries, and a start).
const MEMORY: Millis = Millis::secs(90);

/// The result for the current journal position.
#[derive(Default)]
pub struct Starting(Mutex<Cached>);

#[derive(Default)]
struct Cached {
    at: Option<(u64, Arc<StartingPods>)>,
    /// The id of the current problem, and when no pod could be started for the last time.
    failing: Option<(String, Time)>,
}

#[derive(Default)]
pub struct StartingPods {
    /// Slots that these pods will have.
    pub slots: u64,
    /// The progress of the pod that will be ready first, in plain words.
    pub steps: Vec<StartStep>,
    /// No pod can be started: the id of the log line with the reason.
    pub problem: Option<String>,
}

impl Starting {
    #[must_use]
    pub fn get(&self, fleet: &Fleet, pool: &PoolId) -> Arc<StartingPods> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &known.at {
            Some((at, pods)) if is_current(*at, fleet) => pods.clone(),
            Some(_) | None => {
                let mut pods = derive(fleet, pool);
                known.failing = failing(fleet, pool, known.failing.take());
                pods.problem = known.failing.as_ref().map(|(id, _)| id.clone());
                let pods = Arc::new(pods);
                known.at = Some((fleet.applied(), pods.clone()));
                pods
            }
        }
    }
}

/// Returns the id of the problem while no pod can be started: none is ready, and all wanted ones have failed or are stuck.
/// While they are retried, it remains the same problem.
fn failing(fleet: &Fleet, pool: &PoolId, before: Option<(String, Time)>) -> Option<(String, Time)> {
    let desired = fleet.desired(pool)?;
    let wanted = |(ordinal, _): &(Ordinal, &Pod)| desired.contains(ordinal.0);
    let pods: Vec<(Ordinal, &Pod)> = fleet.pods(pool).filter(wanted).filter(|(_, pod)| !pod.cordoned).collect();
    if pods.is_empty() || fleet.pods(pool).any(|(_, pod)| pod.is_ready()) {
        return None;
    }
    let broken =
        |pod: &Pod| pod.life.as_ref().is_some_and(|life| life.stuck || matches!(life.phase, Phase::Failed { .. }));
    if !pods.iter().all(|(_, pod)| broken(pod)) {
        return before.filter(|(_, last)| fleet.now().since(*last) < MEMORY);
    }
    let id = before.map_or_else(|| name(fleet, pool, &pods), |(id, _)| id);
    Some((id, fleet.now()))
}

/// Makes the id, and logs it with the reason.
fn name(fleet: &Fleet, pool: &PoolId, pods: &[(Ordinal, &Pod)]) -> String {
    let first = pods.iter().find_map(|(ordinal, pod)| Some((*ordinal, pod.life.as_ref()?)));
    let uid = first.map_or("", |(_, life)| &life.uid.0);
    let digest = Sha256::digest(format!("{pool} {uid} {}", fleet.now().0));
    let problem: String = digest.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    let why = match first.map(|(_, life)| &life.phase) {
        Some(Phase::Failed { why } | Phase::Pending { why }) => why,
        Some(Phase::Starting | Phase::Unready | Phase::Ready { .. } | Phase::Terminating) | None => {
            "not ready for `stuck_after_seconds`"
        }
    };
    let ordinal = first.map(|(ordinal, _)| ordinal.0);
    tracing::warn!(%pool, ordinal, problem, "no pod can be started, the waiting room shows this problem: {why}");
    problem
}

fn is_current(position: u64, fleet: &Fleet) -> bool {
    planted!(ProgressFrozen => true);
    position == fleet.applied()
}

fn derive(fleet: &Fleet, pool: &PoolId) -> StartingPods {
    let Some((desired, rules)) = fleet.desired(pool).zip(fleet.rules(pool)) else { return StartingPods::default() };
    let (mut starting, mut furthest): (u64, Option<(u8, Option<&Life>)>) = (0, None);
    for (_, pod) in fleet.pods(pool).filter(|(o, p)| desired.contains(o.0) && !p.is_ready()) {
        starting += u64::from(will_come(pod));
        let at = pod.life.as_ref().map_or(0, |l| progress(&l.phase));
        if furthest.is_none_or(|(most, _)| at > most) {
            furthest = Some((at, pod.life.as_ref()));
        }
    }
    let steps = steps(furthest.and_then(|(_, life)| life).map(|l| &l.phase));
    StartingPods { slots: starting * u64::from(rules.slots_per_pod), steps, problem: None }
}

fn will_come(pod: &Pod) -> bool {
    !pod.cordoned && pod.life.as_ref().is_none_or(|l| !l.stuck && !matches!(l.phase, Phase::Failed { .. }))
}

fn steps(phase: Option<&Phase>) -> Vec<StartStep> {
    let step = |name, text: &str, done| StartStep { name, text: text.to_owned(), done };
    let at = phase.map_or(0, progress);
    let waking = match phase {
        Some(Phase::Pending { why } | Phase::Failed { why }) => why,
        Some(Phase::Starting | Phase::Ready { .. } | Phase::Unready | Phase::Terminating) | None => "Waking up",
    };
    vec![
        step("waking", waking, at >= 3),
        step("starting", "Starting", at >= 4),
        step("checking", "Checking that it is ready", false),
    ]
}

/// How close the pod is to ready.
fn progress(phase: &Phase) -> u8 {
    match phase {
        Phase::Terminating => 0,
        Phase::Failed { .. } => 1,
        Phase::Pending { .. } => 2,
        Phase::Starting => 3,
        Phase::Unready => 4,
        Phase::Ready { .. } => 5,
    }
}
