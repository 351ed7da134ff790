//! The operator's decision after one poll (`pkg/scaling/executor/scale_scaledobjects.go`). The first matching rule
//! applies.

use super::ScaledObject;

/// The result of a poll.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    pub now: u64,
    /// `spec.replicas` of the target.
    pub current: u32,
    /// A trigger without error is active, or a trigger is in fallback.
    pub active: bool,
    /// A trigger failed.
    pub error: bool,
    pub last_active: Option<u64>,
    /// When the ScaledObject was created.
    pub created: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The number written to `spec.replicas`.
    pub set: Option<u32>,
    /// `lastActive` becomes now.
    pub refreshed: bool,
    /// Reason of the condition Active; `None`: unchanged.
    pub active: Option<Active>,
    pub ready: Ready,
    pub paused: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Active {
    ScalerActive,
    ScalerNotActive,
    ScalerCooldown,
}

/// The condition Ready. While the HPA fails too, 2.20.1 has another reason (ScalingDegraded): do not match on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ready {
    True,
    /// Unknown: some triggers are active, some fail.
    PartialTriggerError,
    /// False.
    TriggerError,
}

/// Makes one decision, without side effects.
#[must_use]
pub fn decide(object: &ScaledObject, moment: &Moment) -> Decision {
    let notes = &object.annotations;
    if notes.paused() {
        let set = notes.paused_replicas().filter(|n| *n != moment.current);
        return Decision { set, refreshed: false, active: None, ready: Ready::True, paused: true };
    }
    let quiet = Decision { set: None, refreshed: false, active: None, ready: Ready::True, paused: false };
    if moment.active || notes.force_activation() {
        Decision { active: Some(Active::ScalerActive), ..while_active(object, moment, quiet) }
    } else {
        while_inactive(object, moment, Decision { active: Some(Active::ScalerNotActive), ..quiet })
    }
}

fn while_active(object: &ScaledObject, moment: &Moment, quiet: Decision) -> Decision {
    if moment.current == 0 || object.idle.is_some() && moment.current < object.min {
        if object.annotations.paused_scale_out() {
            return quiet;
        }
        Decision { set: Some(object.min.max(1)), refreshed: true, ..quiet }
    } else if moment.error {
        Decision { ready: Ready::PartialTriggerError, ..quiet }
    } else {
        Decision { refreshed: true, ..quiet }
    }
}

fn while_inactive(object: &ScaledObject, moment: &Moment, quiet: Decision) -> Decision {
    match &object.fallback {
        // Waits for the fallback, instead of scaling to 0.
        Some(fallback) if moment.error && fallback.replicas != 0 => return quiet,
        None if moment.error => return Decision { ready: Ready::TriggerError, ..quiet },
        // With `fallback.replicas: 0` an error is no reason to wait.
        Some(_) | None => {}
    }
    let floor = match object.idle {
        Some(idle) if moment.current > idle => Some(idle),
        Some(_) | None => (moment.current > 0 && object.min == 0).then_some(0),
    };
    match floor {
        Some(_) if object.annotations.paused_scale_in() => quiet,
        Some(floor) if cooldown_is_over(object, moment) => {
            Decision { set: Some(object.idle.unwrap_or(floor)), ..quiet }
        }
        Some(_) => Decision { active: Some(Active::ScalerCooldown), ..quiet },
        None if object.idle.is_none() && moment.current < object.min => Decision { set: Some(object.min), ..quiet },
        None => quiet,
    }
}

/// Compares strictly. While no trigger has ever been active, only `initial_cooldown` counts.
fn cooldown_is_over(object: &ScaledObject, moment: &Moment) -> bool {
    let (since, wait) = match moment.last_active {
        Some(at) => (at, object.cooldown),
        None => (moment.created, object.initial_cooldown),
    };
    moment.now > since.saturating_add(wait)
}
