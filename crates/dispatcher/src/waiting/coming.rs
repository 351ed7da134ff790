//! The pods that are on their way, and how far the first of them is: the same for everybody in line, so derived once an
//! entry and not once a visitor.

use super::Step;
use slotkeeper_core::{Fleet, Life, Phase, Pod, PoolId, planted};
use std::sync::{Arc, Mutex, PoisonError};

/// As of one journal position.
#[derive(Default)]
pub struct Coming(Mutex<Option<(u64, Arc<Pods>)>>);

#[derive(Default)]
pub struct Pods {
    /// Slots that will be there.
    pub slots: u64,
    /// How far the pod is that will be ready first, in plain words.
    pub steps: Vec<Step>,
}

impl Coming {
    #[must_use]
    pub fn get(&self, fleet: &Fleet, pool: &PoolId) -> Arc<Pods> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &*known {
            Some((at, pods)) if is_current(*at, fleet) => pods.clone(),
            Some(_) | None => {
                let pods = Arc::new(derive(fleet, pool));
                *known = Some((fleet.applied(), pods.clone()));
                pods
            }
        }
    }
}

fn is_current(position: u64, fleet: &Fleet) -> bool {
    planted!(ProgressFrozen => true);
    position == fleet.applied()
}

fn derive(fleet: &Fleet, pool: &PoolId) -> Pods {
    let Some((desired, rules)) = fleet.desired(pool).zip(fleet.rules(pool)) else { return Pods::default() };
    let (mut starting, mut furthest): (u64, Option<(u8, Option<&Life>)>) = (0, None);
    for (_, pod) in fleet.pods(pool).filter(|(o, p)| desired.contains(o.0) && !p.is_ready()) {
        starting += u64::from(will_come(pod));
        let at = pod.life.as_ref().map_or(0, |l| progress(&l.phase));
        if furthest.is_none_or(|(most, _)| at > most) {
            furthest = Some((at, pod.life.as_ref()));
        }
    }
    let steps = steps(furthest.and_then(|(_, life)| life).map(|l| &l.phase));
    Pods { slots: starting * u64::from(rules.slots_per_pod), steps }
}

fn will_come(pod: &Pod) -> bool {
    !pod.cordoned && pod.life.as_ref().is_none_or(|l| !l.stuck && !matches!(l.phase, Phase::Failed { .. }))
}

fn steps(phase: Option<&Phase>) -> Vec<Step> {
    let step = |name, text: &str, done| Step { name, text: text.to_owned(), done };
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

/// How near to ready.
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
