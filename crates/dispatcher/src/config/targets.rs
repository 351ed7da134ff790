//! The target load of one pod, `[pools.NAME.targets]`, and what happens to sessions on pods that are not needed, `shrink`.

use super::PoolConfig;
use super::addresses::{asked_path, gauge};
use super::setting::{Access, Kind, Row, Setting, Shown, field, number, read_all, read_field, seconds};
use super::table::Table;
use slotkeeper_core::{Rules, Scaling, Shrink, Window};
use std::time::Duration;

/// A gauge that the pods export in Prometheus' text format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodGauge {
    /// As the pods export it, without labels.
    pub name: String,
    /// `None`: the port that visitors' requests go to.
    pub port: Option<u16>,
    /// The path of the pods' metrics.
    pub path: String,
    /// How often every pod is read.
    pub every: Duration,
}

impl Default for PodGauge {
    fn default() -> PodGauge {
        PodGauge { name: String::new(), port: None, path: "/metrics".into(), every: Duration::from_secs(15) }
    }
}

pub(super) const ROWS: &[Row<PoolConfig>] = &[
    Row::new(
        "sessions",
        number(1, u32::MAX as u64),
        Access { read: sessions, ..field!(PoolConfig, rules.targets.sessions) },
    )
    .help("sessions a pod should have", "")
    .range("1 to `slots_per_pod`"),
    Row::new("messages_per_second", number(1, 1_000_000_000), field!(PoolConfig, rules.targets.messages))
        .help("WebSocket messages a pod should carry, both directions together, counted by all dispatchers", ""),
    Row::new("window_seconds", seconds(5.0, 3600.0), field!(PoolConfig, rules.targets.window)).help(
        "window over which messages are counted, on the journal's clock",
        "; a gauge value older than this is ignored. Only with `messages_per_second` or `gauge`",
    ),
    Row::new("slack_percent", number(0, 90), field!(PoolConfig, rules.targets.slack))
        .help("hysteresis", ": one pod is removed only if the others would then be this far below every target"),
    Row::new("gauge", Kind::Table, Access::NONE)
        .help(
            "a gauge that the pods expose in Prometheus' text format, such as a utilisation, a load or a queue \
             length",
            "",
        )
        .default("none"),
];

/// A gauge of the pods, and its target value in thousandths.
#[derive(Clone, Debug, Default)]
pub(super) struct GaugeTarget {
    pub(super) gauge: PodGauge,
    pub(super) per_pod: u64,
}

impl GaugeTarget {
    pub(super) fn of(pool: &PoolConfig) -> Option<GaugeTarget> {
        let (gauge, per_pod) = pool.gauge.clone().zip(pool.rules.targets.gauge)?;
        Some(GaugeTarget { gauge, per_pod })
    }
}

pub(super) const GAUGE: &[Row<GaugeTarget>] = &[
    Row::new("name", Kind::Text("name of a metric"), field!(GaugeTarget, gauge.name = gauge, ""))
        .help("the gauge", "; all its series of a pod are added up")
        .required(),
    Row::new(
        "per_pod",
        Kind::Decimal { least: 0.001, most: 1e12 },
        Access {
            read: per_pod,
            shown: |_, target: &GaugeTarget| Some(Shown::plain(target.per_pod as f64 / 1000.0)),
            ..Access::NONE
        },
    )
    .help("its target value for each pod", "")
    .required(),
    Row::new("port", number(1, u16::MAX as u64), field!(GaugeTarget, gauge.port))
        .help("port where the pods expose it", "")
        .default("the visitors'"),
    Row::new("path", Kind::Text("path"), field!(GaugeTarget, gauge.path = |text| asked_path(text, "/metrics"), ""))
        .help("path where the pods expose it", ""),
    Row::new("every_seconds", seconds(1.0, 600.0), field!(GaugeTarget, gauge.every))
        .help(
            "how often it is read",
            ". Pods that do not answer are assumed to have the average value; if none answers, the number of pods \
             does not fall",
        )
        .range("1 to 600, at most half of the window"),
];

/// Reads `sessions`: at most as many as a pod has slots.
fn sessions(setting: &Setting, table: &Table<'_>, pool: &mut PoolConfig) {
    let kind = number(1, pool.rules.slots_per_pod.into());
    read_field(&mut pool.rules.targets.sessions, &Setting { kind, ..*setting }, table);
}

fn per_pod(setting: &Setting, table: &Table<'_>, target: &mut GaugeTarget) {
    if let Some(value) = table.value(setting.key)
        && let Some(number) = value.decimal(setting.kind)
    {
        target.per_pod = (number * 1000.0).round() as u64;
    }
}

/// Checks `shrink`.
pub(super) fn shrink(table: &Table<'_>, rules: &Rules) {
    if rules.shrink != Shrink::Move {
        return;
    }
    if rules.slots_per_pod == 1 {
        table.wrong(
            "shrink",
            "the session of an exclusive pod stays there; allowed: \"move\" with `slots_per_pod` above 1",
        );
    } else if rules.sticky_storage {
        let what = "sessions cannot leave what they have stored; allowed: \"move\" without `sticky_storage`";
        table.wrong("shrink", what);
    }
    if rules.scaling == (Scaling::Direct { window: Window::Sliding }) {
        table.wrong("shrink", "pods are emptied from the top; allowed: \"move\" with `window = \"fixed\"`");
    }
}

/// Reads the targets, and the gauge to read from the pods, if it is a target.
pub(super) fn targets(top: &Table<'_>, pool: &mut PoolConfig) {
    let Some(table) = top.table("targets") else { return };
    match pool.rules.scaling {
        Scaling::None => top.wrong("targets", "this pool is not scaled; allowed: for pools that are scaled"),
        Scaling::Direct { window: Window::Sliding } => {
            top.wrong("targets", "they count pods from 0; allowed: with `window = \"fixed\"`");
        }
        Scaling::Direct { window: Window::Fixed } | Scaling::Keda { .. } => {}
    }
    read_all(ROWS, &table, pool);
    if let Some(target) = table.table("gauge").map(|table| gauge_target(&table)) {
        pool.rules.targets.gauge = Some(target.per_pod);
        pool.gauge = Some(target.gauge);
    }
    let targets = &pool.rules.targets;
    if !targets.is_measured() && targets.sessions.is_none() {
        let what = "no target in it; allowed: `sessions`, `messages_per_second`, `gauge`, one or more of them";
        top.wrong("targets", what);
    }
    if !targets.is_measured() && table.has("window_seconds") {
        let what = "nothing is measured; allowed: with `messages_per_second` or `gauge`";
        table.wrong("window_seconds", what);
    }
    if let Some(gauge) = pool.gauge.as_ref().filter(|gauge| gauge.every.as_millis() * 2 > targets.window.0.into()) {
        let (every, window) = (gauge.every.as_secs_f64(), targets.window.0 as f64 / 1000.0);
        let what = format!("{every} is too long for a window of {window} s; allowed: at most half of it");
        table.table("gauge").into_iter().for_each(|table| table.wrong("every_seconds", &what));
    }
    table.finish();
}

fn gauge_target(table: &Table<'_>) -> GaugeTarget {
    let mut target = GaugeTarget { gauge: PodGauge::default(), per_pod: 1000 };
    if !table.has("name") {
        table.missing("name", "allowed: the name of a gauge that pods have, such as \"websocket_capacity_ratio\"");
    }
    if !table.has("per_pod") {
        table.missing("per_pod", "allowed: the target value per pod, from 0.001 to 1000000000000");
    }
    read_all(GAUGE, table, &mut target);
    table.finish();
    target
}
