//! `spec.behavior`: how fast an HPA may scale, per direction, and the defaults of omitted fields
//! (`pkg/apis/autoscaling/v2/defaults.go`).

/// Both directions. The default is `behavior: {}`: all fields omitted.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Behavior {
    pub scale_up: Rules,
    pub scale_down: Rules,
}

/// One direction; `None` means omitted.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rules {
    /// `stabilizationWindowSeconds`, in milliseconds. Default: 0 upwards, the controller's downwards.
    pub window: Option<u64>,
    pub select: Select,
    /// Default: 4 pods and 100 % per 15 s upwards, 100 % per 15 s downwards.
    pub policies: Option<Vec<Policy>>,
    /// Default: the controller's.
    pub tolerance: Option<f64>,
}

/// `selectPolicy`: of several policies, the one that allows the largest change, the smallest, or no change at all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Select {
    #[default]
    Max,
    Min,
    Disabled,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    pub kind: PolicyKind,
    pub value: u32,
    /// Milliseconds.
    pub period: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PolicyKind {
    Pods,
    Percent,
}

const DEFAULT_PERIOD: u64 = 15_000;
const DEFAULT_UP: [Policy; 2] = [
    Policy { kind: PolicyKind::Pods, value: 4, period: DEFAULT_PERIOD },
    Policy { kind: PolicyKind::Percent, value: 100, period: DEFAULT_PERIOD },
];
const DEFAULT_DOWN: [Policy; 1] = [Policy { kind: PolicyKind::Percent, value: 100, period: DEFAULT_PERIOD }];

impl Behavior {
    /// Returns the policies for scaling up; `policies_down` returns those for scaling down.
    #[must_use]
    pub fn policies_up(&self) -> &[Policy] {
        self.scale_up.policies.as_deref().unwrap_or(&DEFAULT_UP)
    }

    #[must_use]
    pub fn policies_down(&self) -> &[Policy] {
        self.scale_down.policies.as_deref().unwrap_or(&DEFAULT_DOWN)
    }
}
