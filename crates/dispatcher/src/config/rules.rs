//! The part of a pool that the state machine needs: sizes, placement, scaling and clocks. Settings that depend on others are read
//! here, and checked.

use super::choices::Scaler;
use super::field::Choices as _;
use super::setting::{Setting, differ, read_field};
use super::table::Table;
use super::{ClusterConfig, PoolConfig, Trigger, Workload};
use slotkeeper_core::{AfterSession, Millis, Placement, Rules, Scaling, Window};

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

/// Reads `max_pods`: without it, as many as `min_pods`.
pub(super) fn max_pods(setting: &Setting, table: &Table<'_>, pool: &mut PoolConfig) {
    pool.rules.max = pool.rules.max.max(pool.rules.min);
    read_field(&mut pool.rules.max, setting, table);
}

/// Reads `scaling`.
pub(super) fn scaling(setting: &Setting, table: &Table<'_>, pool: &mut PoolConfig) {
    let mut scaler = usual_scaler(&pool.cluster);
    read_field(&mut scaler, setting, table);
    pool.trigger = if scaler == Scaler::KedaPush { Trigger::Push } else { Trigger::Prometheus };
    pool.rules.scaling = match scaler {
        Scaler::KedaPush => Scaling::Keda { settle: Millis::secs(20) },
        Scaler::Prometheus => Scaling::Keda { settle: Millis::secs(50) },
        Scaler::Direct => Scaling::Direct { window: Window::Fixed },
        Scaler::None => Scaling::None,
    };
}

fn usual_scaler(cluster: &ClusterConfig) -> Scaler {
    if matches!(cluster, ClusterConfig::Fixed(_)) { Scaler::None } else { Scaler::Direct }
}

/// For a reload: `scaling` with `window` and `settle_seconds`.
pub(super) fn merge_scaling(old: &PoolConfig, new: &mut PoolConfig, restart: bool) -> bool {
    let scaled_by = (old.trigger, old.rules.scaling);
    let differs = differ(&scaled_by, &(new.trigger, new.rules.scaling));
    if differs && restart {
        (new.trigger, new.rules.scaling) = scaled_by;
    }
    differs
}

/// Reads `window`, after `scaling`.
pub(super) fn window(setting: &Setting, table: &Table<'_>, pool: &mut PoolConfig) {
    let mut window = Window::Fixed;
    read_field(&mut window, setting, table);
    if let Scaling::Direct { window: own } = &mut pool.rules.scaling {
        *own = window;
    } else if window == Window::Sliding {
        table.wrong(
            "window",
            "an external scaler cannot slide the window; allowed: \"sliding\" with `scaling = \"direct\"`",
        );
    }
    let is_deployment = |pods: &super::KubernetesPods| matches!(pods.workload, Workload::Deployment(_));
    if window == Window::Sliding && matches!(&pool.cluster, ClusterConfig::Kubernetes(pods) if is_deployment(pods)) {
        table.wrong("window", "the pods of a Deployment have no ordinals to slide over; allowed: \"fixed\"");
    }
}

/// Reads `settle_seconds`, after `scaling`.
pub(super) fn settle(setting: &Setting, table: &Table<'_>, pool: &mut PoolConfig) {
    let mut settle = Millis(0);
    if let Scaling::Keda { settle: usual } = pool.rules.scaling {
        settle = usual;
    }
    read_field(&mut settle, setting, table);
    if let Scaling::Keda { settle: own } = &mut pool.rules.scaling {
        *own = settle;
    } else if table.has("settle_seconds") {
        let what = "there is no external scaler; allowed: with `scaling` \"keda-push\" or \"prometheus\"";
        table.wrong("settle_seconds", what);
    }
}

/// Reads `warn_before_seconds`, after the clocks that it warns of.
pub(super) fn warn_before(setting: &Setting, table: &Table<'_>, pool: &mut PoolConfig) {
    pool.rules.warn_before = usual_warning(&pool.rules);
    read_field(&mut pool.rules.warn_before, setting, table);
}

/// Checks the rules of a pool. `known`: the file defines the pods.
pub(super) fn rules(table: &Table<'_>, pool: &mut PoolConfig, known: bool) {
    let fixed = if let ClusterConfig::Fixed(fixed) = &pool.cluster { Some(fixed.pods.len()) } else { None };
    sizes(table, &mut pool.rules, fixed.map(|pods| u32::try_from(pods).unwrap_or(u32::MAX)));
    if pool.rules.after_session == AfterSession::Recycle {
        recycling(table, pool);
    }
    if known {
        scaled_by(table, pool);
    }
    warning(table, &pool.rules);
}

/// Checks the numbers of pods; `fixed` is the length of a fixed list.
fn sizes(table: &Table<'_>, rules: &mut Rules, fixed: Option<u32>) {
    let (min, max) = (rules.min, rules.max);
    if let Some(pods) = fixed {
        for (key, said) in [("min_pods", min), ("max_pods", max)] {
            if table.has(key) && said != pods {
                table.wrong(
                    key,
                    format_args!("{said}, but the fixed list has {pods}; allowed: {pods}, or leave it out"),
                );
            }
        }
        (rules.min, rules.max) = (pods, pods);
    } else if min > max {
        table.wrong("min_pods", format_args!("{min} is more than `max_pods`, {max}; allowed: at most `max_pods`"));
    }
}

fn recycling(table: &Table<'_>, pool: &PoolConfig) {
    if pool.rules.slots_per_pod > 1 {
        let what = "\"recycle\" would end the pod under its other sessions; allowed: with `slots_per_pod = 1`";
        table.wrong("after_session", what);
    }
    match &pool.cluster {
        ClusterConfig::Kubernetes(pods) if matches!(pods.workload, Workload::Deployment(_)) => {
            let what = "the successor of a Deployment's pod is another pod; allowed: \"keep\", or a StatefulSet";
            table.wrong("after_session", what);
        }
        ClusterConfig::Fixed(_) => {
            table.wrong("after_session", "the pods of a fixed list cannot be restarted; allowed: \"keep\"");
        }
        ClusterConfig::Kubernetes(_) | ClusterConfig::Processes(_) => {}
    }
}

fn scaled_by(table: &Table<'_>, pool: &PoolConfig) {
    let (scaler, usual) = (Scaler::of(pool), usual_scaler(&pool.cluster));
    let only = match &pool.cluster {
        ClusterConfig::Fixed(_) => Some("a fixed list of pods cannot be scaled"),
        ClusterConfig::Processes(_) => Some("local processes are started by the dispatcher itself"),
        ClusterConfig::Kubernetes(_) => None,
    };
    if let Some(pods) = only.filter(|_| scaler != usual) {
        table.wrong("scaling", format_args!("{pods}; allowed: \"{}\" (the default)", usual.name()));
    }
    if let ClusterConfig::Kubernetes(pods) = &pool.cluster
        && pods.keda_guard
        && !matches!(scaler, Scaler::KedaPush | Scaler::Prometheus)
    {
        let what = "keeps KEDA from scaling in; allowed: with `scaling` \"keda-push\" or \"prometheus\"";
        table.table("kubernetes").into_iter().for_each(|pods| pods.wrong("keda_guard", what));
    }
}

/// The default of `warn_before_seconds`: at most half of the shorter clock, because a permanent warning would be useless.
pub(super) fn usual_warning(rules: &Rules) -> Millis {
    let usual = Rules::default().warn_before;
    rules.idle.into_iter().chain(rules.max_session).map(|clock| Millis(clock.0 / 2)).fold(usual, Millis::min)
}

fn warning(table: &Table<'_>, rules: &Rules) {
    let clocks = [("idle_seconds", rules.idle), ("max_session_seconds", rules.max_session)];
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
