//! Settings that can be reset one by one to a simple value (`--reset`): a failing world needs few of them.

use super::setting::Setting;
use crate::models::statefulset::Policy;
use slotkeeper::config::Admission;
use slotkeeper_core::{AfterSession, Placement, Shrink, Spare, Targets};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

macro_rules! parts {
    ($($part:ident = $word:literal: |$setting:ident| $reset:expr,)*) => {
        /// One setting, or a few related ones.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Part {
            $($part,)*
        }

        impl Part {
            pub const ALL: &[Part] = &[$(Part::$part),*];

            /// Returns the word used in commands.
            #[must_use]
            pub fn word(self) -> &'static str {
                match self {
                    $(Part::$part => $word,)*
                }
            }

            /// Resets the setting. Faults and visitors stay as drawn.
            pub(super) fn reset(self, setting: &mut Setting) {
                match self {
                    $(Part::$part => { let $setting = setting; $reset; })*
                }
            }
        }
    };
}

parts! {
    Spare = "spare": |s| s.rules.spare = Spare::Slots(0),
    Minimum = "min": |s| s.rules.min = 0,
    Placement = "placement": |s| s.rules.placement = Placement::Pack,
    Sticky = "sticky-storage": |s| s.rules.sticky_storage = true,
    AfterSession = "after-session": |s| s.rules.after_session = AfterSession::Keep,
    Targets = "targets": |s| { s.rules.targets = Targets::default(); s.rules.shrink = Shrink::Wait },
    QueueLimit = "queue-limit": |s| s.rules.queue_limit = 1000,
    Idle = "idle": |s| s.rules.idle = None,
    MaxSession = "max-session": |s| s.rules.max_session = None,
    Schedule = "schedule": |s| s.scheduled = false,
    Admission = "admission": |s| s.admission = Admission::Returning,
    Hold = "hold": |s| s.hold = Duration::ZERO,
    Policy = "policy": |s| s.policy = Policy::Parallel,
    Bots = "bots": |s| s.bots = 0,
    Lag = "lag": |s| s.lag = 0,
    ColdStart = "cold-start": |s| s.cold_start = (500, 1_000),
    Latency = "latency": |s| s.latency = (1, 5),
    Impatient = "impatient": |s| s.habits.impatient = 0,
    HalfOpen = "half-open": |s| s.habits.half_open = 0,
    ImpolitePods = "impolite-pods": |s| s.conduct.pods = 0,
    ImpoliteVisitors = "impolite-visitors": |s| s.conduct.visitors = 0,
    SecondPool = "second-pool": |s| s.annex = None,
    Rollout = "rollout": |s| s.rollout = None,
    Silent = "silent-visitors": |s| s.habits.idle = 0,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl FromStr for Part {
    type Err = String;
    fn from_str(word: &str) -> Result<Part, String> {
        let all = || Part::ALL.iter().map(|p| p.word()).collect::<Vec<_>>().join(", ");
        let found = Part::ALL.iter().copied().find(|p| p.word() == word);
        found.ok_or_else(|| format!("{word:?} is not a setting that can be reset; allowed: {}", all()))
    }
}
