//! The target load of one pod, `[pools.NAME.targets]`, and what happens to sessions on pods that are not needed, `shrink`.

use super::PodGauge;
use super::addresses::{asked_path, gauge};
use super::table::Table;
use slotkeeper_core::{Rules, Scaling, Shrink, Targets, Window};

pub(super) fn shrink(table: &Table<'_>, rules: &Rules) -> Shrink {
    let shrink = table.choice("shrink", rules.shrink, &[("wait", Shrink::Wait), ("move", Shrink::Move)]);
    if shrink == Shrink::Move {
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
    shrink
}

/// The targets, and the gauge to read from the pods, if it is a target.
pub(super) fn targets(pool: &Table<'_>, rules: &Rules) -> (Targets, Option<PodGauge>) {
    let default = Targets::default();
    let Some(table) = pool.table("targets") else { return (default, None) };
    match rules.scaling {
        Scaling::None => pool.wrong("targets", "this pool is not scaled; allowed: for pools that are scaled"),
        Scaling::Direct { window: Window::Sliding } => {
            pool.wrong("targets", "they count pods from 0; allowed: with `window = \"fixed\"`");
        }
        Scaling::Direct { window: Window::Fixed } | Scaling::Keda { .. } => {}
    }
    let count = |key: &'static str, most: u32| table.value(key).and_then(|value| value.number(&(1..=most)));
    let mut targets = Targets {
        sessions: count("sessions", rules.slots_per_pod),
        messages: count("messages_per_second", 1_000_000_000),
        gauge: None,
        window: table.millis("window_seconds", default.window, 5.0..=3600.0),
        slack: table.number("slack_percent", default.slack, 0..=90),
    };
    let asked = table.table("gauge").map(|table| pod_gauge(&table));
    if let Some((_, per_pod)) = &asked {
        targets.gauge = Some(*per_pod);
    }
    if !targets.is_measured() && targets.sessions.is_none() {
        let what = "no target in it; allowed: `sessions`, `messages_per_second`, `gauge`, one or more of them";
        pool.wrong("targets", what);
    }
    if !targets.is_measured() && table.has("window_seconds") {
        let what = "nothing is measured; allowed: with `messages_per_second` or `gauge`";
        table.wrong("window_seconds", what);
    }
    if let Some((gauge, _)) = asked.as_ref().filter(|(gauge, _)| gauge.every.as_millis() * 2 > targets.window.0.into())
    {
        let (every, window) = (gauge.every.as_secs_f64(), targets.window.0 as f64 / 1000.0);
        let what = format!("{every} is too long for a window of {window} s; allowed: at most half of it");
        table.table("gauge").into_iter().for_each(|table| table.wrong("every_seconds", &what));
    }
    table.finish();
    (targets, asked.map(|(gauge, _)| gauge))
}

fn pod_gauge(table: &Table<'_>) -> (PodGauge, u64) {
    let default = PodGauge::default();
    let name = table.string("name").and_then(|text| table.accept("name", gauge(text)));
    if !table.has("name") {
        table.missing("name", "allowed: the name of a gauge that pods have, such as \"websocket_capacity_ratio\"");
    }
    let path = table.string("path").and_then(|text| table.accept("path", asked_path(text, &default.path)));
    let per_pod = table.value("per_pod").and_then(|value| value.decimal(&(0.001..=1e12)));
    if !table.has("per_pod") {
        table.missing("per_pod", "allowed: the target value per pod, from 0.001 to 1000000000000");
    }
    let gauge = PodGauge {
        name: name.unwrap_or_default(),
        port: table.value("port").and_then(|port| port.number(&(1..=u16::MAX))),
        path: path.unwrap_or(default.path),
        every: table.seconds("every_seconds", default.every, 1.0..=600.0),
    };
    table.finish();
    (gauge, (per_pod.unwrap_or(1.0) * 1000.0).round() as u64)
}
