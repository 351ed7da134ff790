//! The configurations that a hunt can be restricted to (`--config`). A shape fixes only what its name refers to;
//! everything else stays as drawn.

use super::conduct::Conduct;
use super::pools::{Annex, Kind};
use super::setting::{SETTLE, Setting};
use crate::models::statefulset::Policy;
use slotkeeper::config::Trigger;
use slotkeeper_core::{AfterSession, Scaling, Shrink, Targets, Window};
use std::fmt;
use std::str::FromStr;

macro_rules! shapes {
    ($($(#[$doc:meta])* $shape:ident = $word:literal,)*) => {
        /// One configuration of the pool and its dispatchers.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Shape {
            $($(#[$doc])* $shape,)*
        }

        impl Shape {
            pub const ALL: &[Shape] = &[$(Shape::$shape),*];

            /// Returns the word used in commands.
            #[must_use]
            pub fn word(self) -> &'static str {
                match self {
                    $(Shape::$shape => $word,)*
                }
            }
        }
    };
}

shapes! {
    /// The dispatcher scales the pool; ordinals start at 0.
    Direct = "direct",
    /// The dispatcher scales the pool; the window of ordinals slides.
    Sliding = "sliding",
    /// KEDA scales by what Prometheus has scraped.
    KedaPrometheus = "keda-prometheus",
    /// KEDA scales by what the dispatchers answer over gRPC.
    KedaPush = "keda-push",
    /// One session per pod; the pod is kept.
    Exclusive = "exclusive",
    /// One session per pod; the pod is replaced after each session.
    Recycle = "recycle",
    /// Several sessions per pod.
    Shared = "shared",
    /// Several sessions per pod; surplus pods are emptied by moving their sessions.
    Gateway = "gateway",
    /// A second pool: a fixed list of addresses.
    FixedBeside = "fixed-beside",
    /// A second pool: local processes of the only dispatcher.
    ProcessesBeside = "processes-beside",
    /// A rolling restart with other settings.
    Rollout = "rollout",
    /// All pods and visitors are impolite.
    Impolite = "impolite",
    /// 50 pods and 200 visitors.
    Crowd = "crowd",
    /// One dispatcher with its own journal.
    Alone = "alone",
    /// One dispatcher with a journal on the network.
    AloneShared = "alone-shared",
}

impl Shape {
    /// Changes the setting so that it has this shape.
    pub(super) fn apply(self, setting: &mut Setting) {
        match self {
            Shape::Direct => setting.rules.scaling = Scaling::Direct { window: Window::Fixed },
            Shape::Sliding => {
                setting.policy = Policy::Parallel;
                setting.rules.scaling = Scaling::Direct { window: Window::Sliding };
                setting.rules.targets = Targets::default();
                setting.rules.shrink = Shrink::Wait;
            }
            Shape::KedaPrometheus => {
                setting.rules.scaling = Scaling::Keda { settle: SETTLE };
                setting.trigger = Trigger::Prometheus;
            }
            Shape::KedaPush => setting.push(),
            Shape::Exclusive => setting.exclusive(AfterSession::Keep),
            Shape::Recycle => setting.exclusive(AfterSession::Recycle),
            Shape::Shared => setting.share(),
            Shape::Gateway => {
                setting.share();
                if setting.rules.scaling == (Scaling::Direct { window: Window::Sliding }) {
                    setting.rules.scaling = Scaling::Direct { window: Window::Fixed };
                }
                setting.rules.sticky_storage = false;
                setting.rules.shrink = Shrink::Move;
            }
            Shape::FixedBeside => setting.annex = Some(Annex::new(Kind::Fixed, &setting.rules)),
            Shape::ProcessesBeside => {
                setting.dispatchers = 1;
                setting.annex = Some(Annex::new(Kind::Processes, &setting.rules));
            }
            // Drawn with the faults, because its restarts are faults.
            Shape::Rollout => {}
            Shape::Impolite => setting.conduct = Conduct::IMPOLITE,
            Shape::Crowd => setting.crowd(),
            Shape::Alone => (setting.dispatchers, setting.shared_journal) = (1, false),
            Shape::AloneShared => (setting.dispatchers, setting.shared_journal) = (1, true),
        }
    }

    /// Reports whether worlds of this shape have only one dispatcher.
    #[must_use]
    pub fn is_alone(self) -> bool {
        matches!(self, Shape::Alone | Shape::AloneShared | Shape::ProcessesBeside)
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl FromStr for Shape {
    type Err = String;
    fn from_str(word: &str) -> Result<Shape, String> {
        let all = || Shape::ALL.iter().map(|s| s.word()).collect::<Vec<_>>().join(", ");
        Shape::ALL
            .iter()
            .copied()
            .find(|s| s.word() == word)
            .ok_or_else(|| format!("{word:?} is not a configuration; allowed: {}", all()))
    }
}
