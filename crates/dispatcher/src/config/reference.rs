//! Every setting of every table, with its default: for the tables of CONFIG.md, `slotkeeper settings`, and the JSON Schema.

use super::describe::default;
use super::rules::default_rules;
use super::schedule::{Days, Minute, Window};
use super::setting::{Kind, Row, Setting, Shown};
use super::{
    Activity, ClusterConfig, FixedPods, KeptConnections, KubernetesPods, PodLimits, PoolConfig, Probe, Processes,
    Workload, access_log, activity, admin, connections, file, http2, journal, keda, kubernetes, limits, passive, pods,
    pool, processes, spare, targets, tls,
};
use crate::config::request_rules::Passive;
use slotkeeper_core::Spare;
use std::fmt::Write;

/// One table of the file.
#[derive(Clone, Debug)]
pub struct Section {
    /// Such as `pools.NAME.connections`; empty for the top of the file.
    pub path: &'static str,
    /// The file has a list of such tables, `[[...]]`.
    pub many: bool,
    /// In the order of CONFIG.md.
    pub settings: Vec<Documented>,
}

/// A setting, and its default value for each of some cases.
#[derive(Clone, Debug)]
pub struct Documented {
    /// Its description.
    pub setting: Setting,
    pub(super) defaults: Vec<(&'static str, Shown)>,
}

/// Every table, in the order of CONFIG.md.
#[must_use]
pub fn sections() -> Vec<Section> {
    let default = &default();
    let cluster = ClusterConfig::Processes(Processes::new(Vec::new(), "".into()));
    let pool = |slots| PoolConfig::new("NAME", default_rules(slots, &cluster), cluster.clone());
    let (mut exclusive, mut shared) = (pool(1), pool(2));
    (exclusive.rules.slots_per_pod, shared.rules.slots_per_pod) = (1, 1);
    let pools = [("exclusive", &exclusive), ("shared", &shared)];
    let kept = [("exclusive", &KeptConnections::new(true)), ("shared", &KeptConnections::new(false))];
    let daily = Window { days: Days::DAILY, from: Minute::MIDNIGHT, to: Minute::END_OF_DAY, spare: Spare::Slots(0) };
    let workload = KubernetesPods::new(Workload::StatefulSet(String::new()), 80);
    let probe = |path| section(path, pods::PROBE, &[("", &Probe::default())]);
    vec![
        section("", file::ROWS, &[("", default)]),
        section("tls", tls::ROWS, &[("", &default.tls)]),
        Section { many: true, ..section("tls.certificates", tls::CERTIFICATES, &[]) },
        section("http2", http2::ROWS, &[("", &default.http2)]),
        section("journal", journal::ROWS, &[("", default)]),
        section("admin", admin::ROWS, &[("", default)]),
        section("kubernetes", kubernetes::ACCESS, &[("", default)]),
        section("keda", keda::ROWS, &[("", default)]),
        section("limits", limits::ROWS, &[("", &default.limits)]),
        section("access_log", access_log::ROWS, &[("", &default.access_log)]),
        section("pools.NAME", pool::ROWS, &pools),
        Section { many: true, ..section("pools.NAME.passive", passive::ROWS, &[("", &Passive::default())]) },
        section("pools.NAME.activity", activity::ROWS, &[("", &Activity::default())]),
        section("pools.NAME.connections", connections::ROWS, &kept),
        section("pools.NAME.targets", targets::ROWS, &pools),
        section("pools.NAME.targets.gauge", targets::GAUGE, &[("", &targets::GaugeTarget::default())]),
        Section { many: true, ..section("pools.NAME.schedule", spare::SCHEDULE, &[("", &daily)]) },
        section("pools.NAME.processes", processes::ROWS, &[("", &Processes::new(Vec::new(), "".into()))]),
        section("pools.NAME.processes.limits", processes::LIMITS, &[("", &PodLimits::default())]),
        probe("pools.NAME.processes.probe"),
        section("pools.NAME.fixed", pods::FIXED, &[("", &FixedPods::new(Vec::new()))]),
        probe("pools.NAME.fixed.probe"),
        section("pools.NAME.kubernetes", kubernetes::PODS, &[("", &workload)]),
        probe("pools.NAME.kubernetes.probe"),
    ]
}

/// The tables of every section, each below its name.
#[must_use]
pub fn markdown() -> String {
    let named = |section: Section| {
        let name = match (section.path, section.many) {
            ("", _) => "The file".to_owned(),
            (path, true) => format!("`[[{path}]]`"),
            (path, false) => format!("`[{path}]`"),
        };
        format!("## {name}\n\n{}", section.markdown())
    };
    sections().into_iter().map(named).collect::<Vec<_>>().join("\n")
}

fn section<T>(path: &'static str, rows: &[Row<T>], defaults: &[(&'static str, &T)]) -> Section {
    let documented = |row: &Row<T>| {
        let shown = |(case, on): &(&'static str, &T)| (row.access.shown)(&row.setting, on).map(|shown| (*case, shown));
        let mut defaults: Vec<(&str, Shown)> = defaults.iter().filter_map(shown).collect();
        // One value for all cases.
        defaults.dedup_by(|(_, one), (_, other)| one == other);
        Documented { setting: row.setting, defaults }
    };
    Section { path, many: false, settings: rows.iter().map(documented).collect() }
}

impl Section {
    /// The whole name of one of its keys.
    #[must_use]
    pub fn key(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// The table in CONFIG.md.
    #[must_use]
    pub fn markdown(&self) -> String {
        let mut text = String::from("| key | default | unit, range | reload | meaning |\n|---|---|---|---|---|\n");
        for documented in &self.settings {
            let setting = &documented.setting;
            let reload = if setting.live { "yes" } else { "restart" };
            let (default, range) = (documented.default(), setting.allowed());
            let cells = [format!("`{}`", self.key(setting.key)), default, range, reload.to_owned(), setting.meaning()];
            let _ = writeln!(text, "| {} |", cells.map(|cell| cell.replace('|', "\\|")).join(" | "));
        }
        text
    }
}

impl Documented {
    /// The default in words.
    #[must_use]
    pub fn default(&self) -> String {
        if self.setting.required {
            return "required".to_owned();
        }
        if let Some(words) = self.setting.default {
            return words.to_owned();
        }
        match self.defaults.as_slice() {
            [] => "none".to_owned(),
            [(_, one)] => written(one),
            cases => {
                let case = |(case, shown): &(&str, Shown)| format!("{case}: {}", written(shown));
                cases.iter().map(case).collect::<Vec<_>>().join(", ")
            }
        }
    }
}

/// A value as the file has it.
fn written(shown: &Shown) -> String {
    match shown {
        Shown::Seconds(duration) => (duration.as_millis() as f64 / 1000.0).to_string(),
        Shown::Plain(text) => text.clone(),
        Shown::Text(text) => format!("`\"{text}\"`"),
        Shown::List(items) if items.len() == 1 => format!("`\"{}\"`", items.concat()),
        Shown::List(items) => format!("`{items:?}`"),
        Shown::Words(words) => (*words).to_owned(),
    }
}

impl Setting {
    /// Unit and range in words.
    #[must_use]
    pub fn allowed(&self) -> String {
        if let Some(words) = self.range {
            return words.to_owned();
        }
        match self.kind {
            Kind::Number { least, most, or: None } => format!("{} to {}", short(least), short(most)),
            Kind::Number { least, most, or: Some(or) } => format!("{} to {}, or `\"{or}\"`", short(least), short(most)),
            Kind::Decimal { least, most } => format!("{least} to {most}"),
            Kind::Seconds { least, most, off: false } => format!("{least} to {most}"),
            Kind::Seconds { least, most, off: true } => format!("{least} to {most}, 0 or `\"off\"`"),
            Kind::Bool => "true, false".to_owned(),
            Kind::Choice(all) => all().iter().map(|(name, _)| format!("`\"{name}\"`")).collect::<Vec<_>>().join(", "),
            Kind::Text(form) => form.to_owned(),
            Kind::List(form) => format!("list of {form}"),
            Kind::OneOrList(form) => format!("{form}, or a list"),
            Kind::Path => "path".to_owned(),
            Kind::Variable => "name of an environment variable".to_owned(),
            Kind::Slots => "slots, or a percentage".to_owned(),
            Kind::Account => "name or number".to_owned(),
            Kind::Texts => "table of strings".to_owned(),
            Kind::Table => "table".to_owned(),
            Kind::Tables => "list of tables, see below".to_owned(),
        }
    }

    /// The whole explanation: that of each choice included.
    #[must_use]
    pub fn meaning(&self) -> String {
        let mut text = self.help.to_owned();
        if let Kind::Choice(all) = self.kind {
            let explained = all().into_iter().filter(|(_, means)| !means.is_empty());
            let choices: Vec<String> = explained.map(|(name, means)| format!("`\"{name}\"`: {means}")).collect();
            if !choices.is_empty() {
                let _ = write!(text, ". {}", choices.join("; "));
            }
        }
        text + self.more
    }
}

/// Large powers of two are shown as such.
fn short(number: u64) -> String {
    if number.is_power_of_two() && number > 1 << 24 { format!("2^{}", number.ilog2()) } else { number.to_string() }
}
