//! The HorizontalPodAutoscaler controller with external metrics (`pkg/controller/podautoscaler`): one object's spec
//! and the controller's memory of it; `reconcile` is one sync. Not modelled: resource, pod and object metrics, and
//! the workers shared with other HPAs.

mod behavior;
mod limit;
mod proposal;
mod reconcile;
mod stabilize;

pub use behavior::{Behavior, Policy, PolicyKind, Rules, Select};
pub use limit::{Event, Events, Limited, Recent, limit};
pub use proposal::{Answer, Metric, NoAnswer, Target, Tolerance, proposal, reported};
pub use reconcile::{AbleToScale, Scale, ScalingActive, Sync};
pub use stabilize::{History, Recommendation, Windows};

/// Flags of the cluster's controller. The defaults are those of kube-controller-manager 1.36.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Controller {
    /// `--horizontal-pod-autoscaler-sync-period`: from the end of one sync to the start of the next.
    pub period: u64,
    /// `--horizontal-pod-autoscaler-downscale-stabilization`.
    pub downscale_window: u64,
    /// `--horizontal-pod-autoscaler-tolerance`.
    pub tolerance: f64,
    pub gates: Gates,
    /// Kubernetes up to 1.32 compared `|1 - ratio| <= tolerance`, which scales at exactly +10 %, due to rounding.
    pub old_comparison: bool,
}

/// Feature gates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gates {
    /// HPAConfigurableTolerance: on since 1.35. If off, the API drops the field.
    pub configurable_tolerance: bool,
    /// HPAScaleToZero: off.
    pub scale_to_zero: bool,
}

/// The object's spec: bounds and behavior. The metrics are passed to each sync, because their targets are.
#[derive(Clone, Debug, PartialEq)]
pub struct Spec {
    pub min: u32,
    pub max: u32,
    /// `None` and `Some(Behavior::default())` differ: any behavior enables other rate limits.
    pub behavior: Option<Behavior>,
}

/// One HPA and the controller's memory of it. Dropping it (or `restart`) loses that memory, as a restart of the
/// controller or a new HPA object does.
#[derive(Clone, Debug)]
pub struct Hpa {
    pub spec: Spec,
    pub controller: Controller,
    /// Unstabilized, unclamped proposals. `None`: this controller has not seen the object yet.
    pub history: Option<History>,
    pub ups: Events,
    pub downs: Events,
    /// The status condition ScaledToZero (gate HPAScaleToZero): only an HPA that scaled to 0 itself scales up from 0.
    pub scaled_to_zero: bool,
    next_sync: u64,
}

impl Hpa {
    /// Creates a new object: the first sync is one period after its creation.
    #[must_use]
    pub fn new(spec: Spec, controller: Controller, created: u64) -> Hpa {
        Hpa {
            spec,
            next_sync: created.saturating_add(controller.period),
            controller,
            history: None,
            ups: Events::default(),
            downs: Events::default(),
            scaled_to_zero: false,
        }
    }

    /// Returns when the next sync starts: one period after the last one has ended. Nothing triggers it earlier,
    /// neither a change of the object nor one of its target.
    #[must_use]
    pub fn next_sync(&self) -> u64 {
        self.next_sync
    }

    /// The controller restarts, or another replica of it takes over: it loses its memory.
    pub fn restart(&mut self, now: u64) {
        self.history = None;
        self.ups = Events::default();
        self.downs = Events::default();
        self.next_sync = now.saturating_add(self.controller.period);
    }

    /// Returns the effective tolerances per direction.
    #[must_use]
    pub fn tolerance(&self) -> Tolerance {
        let own = |rules: &Rules| rules.tolerance.filter(|_| self.controller.gates.configurable_tolerance);
        let behavior = self.spec.behavior.as_ref();
        Tolerance {
            up: behavior.and_then(|b| own(&b.scale_up)).unwrap_or(self.controller.tolerance),
            down: behavior.and_then(|b| own(&b.scale_down)).unwrap_or(self.controller.tolerance),
            old_comparison: self.controller.old_comparison,
        }
    }
}

impl Default for Controller {
    fn default() -> Controller {
        Controller {
            period: 15_000,
            downscale_window: 300_000,
            tolerance: 0.1,
            gates: Gates { configurable_tolerance: true, scale_to_zero: false },
            old_comparison: false,
        }
    }
}
