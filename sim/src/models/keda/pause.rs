//! The annotations on a ScaledObject that pause KEDA, or force its activation
//! (`apis/keda/v1alpha1/scaledobject_types.go`).

use std::collections::BTreeMap;

/// All annotations, by full name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Annotations(pub BTreeMap<String, String>);

const PREFIX: &str = "autoscaling.keda.sh/";

impl Annotations {
    pub const PAUSED: &'static str = "autoscaling.keda.sh/paused";
    pub const PAUSED_REPLICAS: &'static str = "autoscaling.keda.sh/paused-replicas";
    pub const PAUSED_SCALE_IN: &'static str = "autoscaling.keda.sh/paused-scale-in";
    pub const PAUSED_SCALE_OUT: &'static str = "autoscaling.keda.sh/paused-scale-out";
    pub const FORCE_ACTIVATION: &'static str = "autoscaling.keda.sh/force-activation";

    /// Adds an annotation.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Annotations {
        self.0.insert(name.to_owned(), value.to_owned());
        self
    }

    /// The scale loop is stopped, the HPA deleted, and the replicas stay.
    #[must_use]
    pub fn paused(&self) -> bool {
        self.is_set("paused") || self.0.contains_key(Self::PAUSED_REPLICAS)
    }

    /// Paused at this number, which is written at once. A value that is not a number has the same effect as `paused`.
    #[must_use]
    pub fn paused_replicas(&self) -> Option<u32> {
        self.0.get(Self::PAUSED_REPLICAS)?.parse().ok()
    }

    /// The HPA does not scale down, and KEDA does not scale to 0 or idle.
    #[must_use]
    pub fn paused_scale_in(&self) -> bool {
        self.is_set("paused-scale-in")
    }

    /// The HPA does not scale up, and KEDA does not activate.
    #[must_use]
    pub fn paused_scale_out(&self) -> bool {
        self.is_set("paused-scale-out")
    }

    /// Counts as an active trigger. Takes effect at the next poll only.
    #[must_use]
    pub fn force_activation(&self) -> bool {
        self.is_set("force-activation")
    }

    /// Parses Go's booleans; any other value counts as true.
    fn is_set(&self, name: &str) -> bool {
        let value = self.0.get(&format!("{PREFIX}{name}"));
        value.is_some_and(|v| !matches!(v.as_str(), "0" | "f" | "F" | "false" | "FALSE" | "False"))
    }
}
