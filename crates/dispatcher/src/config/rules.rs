//! The part of a pool that the state machine needs: sizes, placement, scaling and clocks.

use super::ClusterConfig;
use super::Workload;
use super::spare::spare;
use super::table::{Table, millis};
use slotkeeper_core::{AfterSession, Millis, Placement, Rules, Scaling, Window};

pub(super) const DAY: f64 = 86_400.0;
/// The maximum of clocks that may run for weeks.
const LONG: f64 = 30.0 * DAY;

/// The component that scales the workload, as named in the file.
#[derive(Clone, Copy, PartialEq)]
enum Scaler {
    Direct,
    KedaPush,
    Prometheus,
    Nobody,
}

const SCALERS: [(&str, Scaler); 4] = [
    ("direct", Scaler::Direct),
    ("keda-push", Scaler::KedaPush),
    ("prometheus", Scaler::Prometheus),
    ("none", Scaler::Nobody),
];

/// The default rules of a pool.
pub(super) fn default_rules(slots_per_pod: u32, cluster: &ClusterConfig) -> Rules {
    let mut rules = Rules { slots_per_pod, ..Rules::default() };
    if slots_per_pod > 1 {
        rules.placement = Placement::Spread;
        rules.sticky_storage = false;
    }
    if let ClusterConfig::Fixed(fixed) = cluster {
        rules.scaling = Scaling::None;
        rules.max = u32::try_from(fixed.pods.len()).unwrap_or(u32::MAX);
        rules.min = rules.max;
    }
    rules
}

/// Reads the rules of a pool. `known`: the file defines the pods.
pub(super) fn rules(table: &Table<'_>, rules: &mut Rules, cluster: &ClusterConfig, known: bool) {
    let fixed = matches!(cluster, ClusterConfig::Fixed(_));
    let pods = rules.max;
    rules.min = table.number("min_pods", rules.min, 0..=Rules::MAX_PODS);
    rules.max = table.number("max_pods", rules.max.max(rules.min), 1..=Rules::MAX_PODS);
    if fixed {
        for (key, said) in [("min_pods", rules.min), ("max_pods", rules.max)] {
            if table.has(key) && said != pods {
                table.wrong(
                    key,
                    format_args!("{said}, but the fixed list has {pods}; allowed: {pods}, or leave it out"),
                );
            }
        }
        (rules.min, rules.max) = (pods, pods);
    } else if rules.min > rules.max {
        let (min, max) = (rules.min, rules.max);
        table.wrong("min_pods", format_args!("{min} is more than `max_pods`, {max}; allowed: at most `max_pods`"));
    }
    rules.placement =
        table.choice("placement", rules.placement, &[("pack", Placement::Pack), ("spread", Placement::Spread)]);
    rules.sticky_storage = table.bool("sticky_storage", rules.sticky_storage);
    rules.after_session = table.choice(
        "after_session",
        rules.after_session,
        &[("keep", AfterSession::Keep), ("recycle", AfterSession::Recycle)],
    );
    if rules.after_session == AfterSession::Recycle {
        if rules.slots_per_pod > 1 {
            let what = "\"recycle\" would end the pod under its other sessions; allowed: with `slots_per_pod = 1`";
            table.wrong("after_session", what);
        }
        if matches!(cluster, ClusterConfig::Kubernetes(pods) if matches!(pods.workload, Workload::Deployment(_))) {
            let what = "the successor of a Deployment's pod is another pod; allowed: \"keep\", or a StatefulSet";
            table.wrong("after_session", what);
        }
        if fixed {
            table.wrong("after_session", "the pods of a fixed list cannot be restarted; allowed: \"keep\"");
        }
    }
    if known {
        rules.scaling = scaling(table, cluster);
    }
    rules.spare = spare(table, rules);
    rules.queue_limit = table.number("queue_limit", rules.queue_limit, 1..=1_000_000);
    rules.queue_lease = table.millis("queue_lease_seconds", rules.queue_lease, 0.1..=3600.0);
    rules.claim = table.millis("claim_seconds", rules.claim, 0.1..=DAY);
    rules.grace = table.millis("grace_seconds", rules.grace, 0.0..=7.0 * DAY);
    rules.idle = table.seconds_or_off("idle_seconds", None, 0.1..=LONG).map(millis);
    rules.max_session = table.seconds_or_off("max_session_seconds", None, 0.1..=LONG).map(millis);
    warning(table, rules);
    rules.extend_limit = table.millis("extend_limit_seconds", rules.extend_limit, 0.0..=LONG);
    rules.silence = table.millis("silence_seconds", rules.silence, 0.1..=3600.0);
    rules.cooldown = table.millis("cooldown_seconds", rules.cooldown, 0.0..=7.0 * DAY);
    rules.stuck_after = table.millis("stuck_after_seconds", rules.stuck_after, 1.0..=7.0 * DAY);
}

fn scaling(table: &Table<'_>, cluster: &ClusterConfig) -> Scaling {
    let fixed = matches!(cluster, ClusterConfig::Fixed(_));
    let default = if fixed { Scaler::Nobody } else { Scaler::Direct };
    let scaler = table.choice("scaling", default, &SCALERS);
    let only = match cluster {
        ClusterConfig::Fixed(_) => Some(("a fixed list of pods cannot be scaled", "none")),
        ClusterConfig::Processes(_) => Some(("local processes are started by the dispatcher itself", "direct")),
        ClusterConfig::Kubernetes(_) => None,
    };
    if let Some((pods, allowed)) = only.filter(|_| scaler != default) {
        table.wrong("scaling", format_args!("{pods}; allowed: \"{allowed}\" (the default)"));
    }
    let windows = [("fixed", Window::Fixed), ("sliding", Window::Sliding)];
    let window = table.choice("window", Window::Fixed, &windows);
    if window == Window::Sliding && scaler != Scaler::Direct {
        table.wrong(
            "window",
            "an external scaler cannot slide the window; allowed: \"sliding\" with `scaling = \"direct\"`",
        );
    }
    if let ClusterConfig::Kubernetes(pods) = cluster {
        if window == Window::Sliding && matches!(pods.workload, Workload::Deployment(_)) {
            table.wrong("window", "the pods of a Deployment have no ordinals to slide over; allowed: \"fixed\"");
        }
        if pods.keda_guard && !matches!(scaler, Scaler::KedaPush | Scaler::Prometheus) {
            let what = "keeps KEDA from scaling in; allowed: with `scaling` \"keda-push\" or \"prometheus\"";
            table.table("kubernetes").into_iter().for_each(|pods| pods.wrong("keda_guard", what));
        }
    }
    let usual = Millis::secs(if scaler == Scaler::Prometheus { 50 } else { 20 });
    let settle = table.millis("settle_seconds", usual, 0.0..=3600.0);
    if table.has("settle_seconds") && !matches!(scaler, Scaler::KedaPush | Scaler::Prometheus) {
        let what = "there is no external scaler; allowed: with `scaling` \"keda-push\" or \"prometheus\"";
        table.wrong("settle_seconds", what);
    }
    match scaler {
        Scaler::KedaPush | Scaler::Prometheus => Scaling::Keda { settle },
        Scaler::Direct => Scaling::Direct { window },
        Scaler::Nobody => Scaling::None,
    }
}

/// The default of `warn_before_seconds`: at most half of the shorter clock, because a permanent warning would be useless.
pub(super) fn usual_warning(rules: &Rules) -> Millis {
    let usual = Rules::default().warn_before;
    rules.idle.into_iter().chain(rules.max_session).map(|clock| Millis(clock.0 / 2)).fold(usual, Millis::min)
}

fn warning(table: &Table<'_>, rules: &mut Rules) {
    let clocks = [("idle_seconds", rules.idle), ("max_session_seconds", rules.max_session)];
    rules.warn_before = table.millis("warn_before_seconds", usual_warning(rules), 0.0..=DAY);
    for (key, clock) in clocks {
        if let Some(clock) = clock.filter(|clock| *clock <= rules.warn_before && table.has("warn_before_seconds")) {
            let (warn, clock) = (seconds(rules.warn_before), seconds(clock));
            table.wrong(
                "warn_before_seconds",
                format_args!("{warn} is not before the end of `{key}`, {clock}; allowed: less"),
            );
        }
    }
}

pub(super) fn seconds(millis: Millis) -> f64 {
    millis.0 as f64 / 1000.0
}
