//! The settings that are one of some names: each name with its value and its meaning.

use super::field::Choices;
use super::{AddressField, Admission, DataBetween, OnRestart, PoolConfig, Processes, Signals, Trigger};
use crate::config::request_rules::Rejoin;
use slotkeeper_core::{AfterSession, Placement, Scaling, Shrink, Window};

impl Choices for AddressField {
    const ALL: &'static [(&'static str, AddressField, &'static str)] = &[
        (
            "x-forwarded-for",
            AddressField::XForwardedFor,
            "`X-Forwarded-For`, with `X-Forwarded-Proto`, `-Host` and `-Port`",
        ),
        ("forwarded", AddressField::Forwarded, "`Forwarded` (RFC 7239), with its `proto` and `host`"),
    ];
}

impl Choices for Admission {
    const ALL: &'static [(&'static str, Admission, &'static str)] = &[
        (
            "returning",
            Admission::Returning,
            "a session gets a slot only after its browser has sent the cookie back once",
        ),
        ("immediate", Admission::Immediate, "the first request is placed at once"),
    ];
}

impl Choices for Placement {
    const ALL: &'static [(&'static str, Placement, &'static str)] = &[
        ("pack", Placement::Pack, "the lowest pod with a free slot"),
        ("spread", Placement::Spread, "the pod with the fewest sessions"),
    ];
}

impl Choices for AfterSession {
    const ALL: &'static [(&'static str, AfterSession, &'static str)] = &[
        ("keep", AfterSession::Keep, "the pod serves the next session"),
        ("recycle", AfterSession::Recycle, "the pod is replaced after each session"),
    ];
}

/// The component that scales the workload.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Scaler {
    Direct,
    KedaPush,
    Prometheus,
    None,
}

impl Scaler {
    pub(super) fn of(pool: &PoolConfig) -> Scaler {
        match (pool.rules.scaling, pool.trigger) {
            (Scaling::None, _) => Scaler::None,
            (Scaling::Direct { .. }, _) => Scaler::Direct,
            (Scaling::Keda { .. }, Trigger::Push) => Scaler::KedaPush,
            (Scaling::Keda { .. }, Trigger::Prometheus) => Scaler::Prometheus,
        }
    }
}

impl Choices for Scaler {
    const ALL: &'static [(&'static str, Scaler, &'static str)] = &[
        ("direct", Scaler::Direct, "the dispatcher starts and stops pods"),
        ("keda-push", Scaler::KedaPush, "KEDA starts and stops pods, and calls the listener of `[keda]`"),
        ("prometheus", Scaler::Prometheus, "KEDA starts and stops pods, by a query to Prometheus"),
        ("none", Scaler::None, "pods are never started or stopped"),
    ];
}

impl Choices for Window {
    const ALL: &'static [(&'static str, Window, &'static str)] = &[
        ("fixed", Window::Fixed, "the pods that run start at ordinal 0"),
        ("sliding", Window::Sliding, "idle pods with the lowest ordinals retire, too"),
    ];
}

impl Choices for Shrink {
    const ALL: &'static [(&'static str, Shrink, &'static str)] = &[
        ("wait", Shrink::Wait, "a surplus pod is removed when its last session has ended"),
        ("move", Shrink::Move, "the sessions of a surplus pod are moved to other pods"),
    ];
}

impl Choices for Rejoin {
    const ALL: &'static [(&'static str, Rejoin, &'static str)] =
        &[("page", Rejoin::Page, ""), ("any", Rejoin::Any, "")];
}

impl Choices for Signals {
    const ALL: &'static [(&'static str, Signals, &'static str)] = &[
        ("any", Signals::Any, "requests, bodies and WebSocket frames"),
        ("frames", Signals::Frames, "only WebSocket frames of certain sizes"),
        ("reported", Signals::Reported, "only reports of pages and pods"),
    ];
}

impl Choices for DataBetween {
    const ALL: &'static [(&'static str, DataBetween, &'static str)] = &[
        ("keep", DataBetween::Keep, "the folder's content stays when the pod starts again"),
        ("wipe", DataBetween::Wipe, "the folder is emptied before the pod starts again"),
    ];
}

/// Whether pods get control groups.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Groups {
    Auto,
    Off,
}

impl Groups {
    pub(super) fn of(processes: &Processes) -> Groups {
        if processes.cgroup { Groups::Auto } else { Groups::Off }
    }
}

impl Choices for Groups {
    const ALL: &'static [(&'static str, Groups, &'static str)] = &[
        ("auto", Groups::Auto, "each pod gets a control group if the dispatcher may create some"),
        ("off", Groups::Off, "no pod gets one"),
    ];
}

impl Choices for OnRestart {
    const ALL: &'static [(&'static str, OnRestart, &'static str)] = &[
        ("stop", OnRestart::Stop, "pods end with the dispatcher"),
        ("adopt", OnRestart::Adopt, "pods keep running without a dispatcher, and the next one adopts them"),
    ];
}

/// How readiness is probed, as named in the file.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Probing {
    Tcp,
    Http,
}

impl Choices for Probing {
    const ALL: &'static [(&'static str, Probing, &'static str)] = &[
        ("tcp", Probing::Tcp, "a connection succeeds (and, in a fixed list, is not closed at once)"),
        ("http", Probing::Http, "`GET path` answers 2xx or 3xx"),
    ];
}
