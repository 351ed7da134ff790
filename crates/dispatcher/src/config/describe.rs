//! Describes a configuration for operators: every effective value with its meaning, and a mark if it is not the default.
//! Secrets are counted, not shown.

use super::rules::{default_rules, seconds, usual_warning};
use super::setting::{Kind, Row, Shown};
use super::{
    Activity, Admin, ClusterConfig, Config, FixedPods, JournalConfig, KeptConnections, KubernetesPods, PoolConfig,
    Probe, Processes, access_log, activity, admin, connections, file, http2, journal, keda, kubernetes, limits, pods,
    pool, processes, targets, tls,
};
use slotkeeper_core::{Scaling, Spare};
use std::fmt::Write;

/// Every effective value.
#[must_use]
pub fn describe(config: &Config) -> String {
    let mut text = Text(String::from("Settings that differ from their default are marked with *.\n\n"));
    let default = default();
    text.rows("", file::ROWS, config, &default);
    text.rows("tls.", tls::ROWS, &config.tls, &default.tls);
    text.rows("http2.", http2::ROWS, &config.http2, &default.http2);
    text.rows("kubernetes.", kubernetes::ACCESS, config, &default);
    text.rows("journal.", journal::ROWS, config, &default);
    text.rows("admin.", admin::ROWS, config, &default);
    text.rows("keda.", keda::ROWS, config, &default);
    text.rows("limits.", limits::ROWS, &config.limits, &default.limits);
    text.rows("access_log.", access_log::ROWS, &config.access_log, &default.access_log);
    for pool in &config.pools {
        let _ = write!(text.0, "\n[pools.{}]: {}\n", pool.id, summary(pool));
        text.pool(pool, config.pools.len());
    }
    text.0
}

/// The configuration of a file without any settings.
pub(super) fn default() -> Config {
    let mut default = Config::new(Vec::new());
    default.journal = JournalConfig::usual();
    default.admin.listen = Some(Admin::DEFAULT);
    default
}

struct Text(String);

impl Text {
    fn rows<T>(&mut self, prefix: &str, rows: &[Row<T>], value: &T, default: &T) {
        for row in rows {
            let setting = &row.setting;
            let Some(shown) = (row.access.shown)(setting, value) else { continue };
            let usual = (row.access.shown)(setting, default).unwrap_or(Shown::Words("none"));
            let (mark, note) = if setting.required || shown == usual {
                (' ', String::new())
            } else {
                ('*', format!(" (default: {usual})"))
            };
            let key = format!("{prefix}{}", setting.shown_as.unwrap_or(setting.key));
            let _ = writeln!(self.0, "{mark} {key:<40} {:<22}  {}{note}", shown.to_string(), means(row, value, &shown));
        }
    }

    fn pool(&mut self, pool: &PoolConfig, pools: usize) {
        let rules = default_rules(pool.rules.slots_per_pod, &pool.cluster);
        let mut default = PoolConfig::new(&pool.id.0, rules, pool.cluster.clone());
        default.cookie_name = pool::usual_cookie_name(&pool.id.0, pools);
        default.rules.slots_per_pod = 1;
        default.rules.warn_before = usual_warning(&pool.rules);
        self.rows("", pool::ROWS, pool, &default);
        let targets = &pool.rules.targets;
        if targets.is_measured() || targets.sessions.is_some() {
            self.rows("targets.", targets::ROWS, pool, &default);
        }
        if let Some(gauge) = targets::GaugeTarget::of(pool) {
            self.rows("targets.gauge.", targets::GAUGE, &gauge, &targets::GaugeTarget::default());
        }
        self.rows("activity.", activity::ROWS, &pool.activity, &Activity::default());
        let exclusive = pool.rules.slots_per_pod == 1;
        self.rows("connections.", connections::ROWS, &pool.connections, &KeptConnections::new(exclusive));
        self.pods(&pool.cluster);
    }

    fn pods(&mut self, cluster: &ClusterConfig) {
        match cluster {
            ClusterConfig::Fixed(fixed) => {
                self.rows("fixed.", pods::FIXED, fixed, &FixedPods::new(fixed.pods.clone()));
                self.probe("fixed.probe.", &fixed.probe);
            }
            ClusterConfig::Processes(own) => {
                let default = Processes::new(own.command.clone(), own.data_folder.clone());
                self.rows("processes.", processes::ROWS, own, &default);
                self.rows("processes.limits.", processes::LIMITS, &own.limits, &default.limits);
                self.probe("processes.probe.", &own.probe);
            }
            ClusterConfig::Kubernetes(pods) => {
                let default = KubernetesPods::new(pods.workload.clone(), pods.port);
                self.rows("kubernetes.", kubernetes::PODS, pods, &default);
                self.probe("kubernetes.probe.", &pods.probe);
            }
        }
    }

    fn probe(&mut self, prefix: &str, probe: &Probe) {
        self.rows(prefix, pods::PROBE, probe, &Probe::default());
    }
}

/// The meaning of the value that is shown.
fn means<T>(row: &Row<T>, value: &T, shown: &Shown) -> &'static str {
    if let Some(means) = row.access.means {
        return means(value);
    }
    let chosen = |(name, means): (&'static str, &'static str)| {
        matches!(shown, Shown::Text(text) if text == name).then_some(means).filter(|means| !means.is_empty())
    };
    let choice = if let Kind::Choice(all) = row.setting.kind { all().into_iter().find_map(chosen) } else { None };
    choice.unwrap_or(row.setting.help)
}

fn summary(pool: &PoolConfig) -> String {
    let rules = &pool.rules;
    let whom = Shown::list(&pool.hosts, "visitors of any host");
    let below = if pool.path == "/" { String::new() } else { format!(" below {}", pool.path) };
    let slots = match rules.slots_per_pod {
        1 => "one session to a pod".to_owned(),
        n => format!("{n} sessions to a pod"),
    };
    let pods = match &pool.cluster {
        ClusterConfig::Fixed(fixed) => format!("a fixed list of {}", fixed.pods.len()),
        ClusterConfig::Processes(_) => format!("{} to {} local processes", rules.min, rules.max),
        ClusterConfig::Kubernetes(pods) => {
            format!("{} to {} pods of the {} {}", rules.min, rules.max, pods.workload.kind(), pods.workload.name())
        }
    };
    let sleep = if matches!(rules.scaling, Scaling::None) {
        "which always run".to_owned()
    } else if rules.min == 0 && rules.spare == Spare::Slots(0) && pool.schedule.is_none() {
        format!("scaled to zero after {} s without demand", seconds(rules.cooldown))
    } else {
        format!("scaled down after {} s of lower demand", seconds(rules.cooldown))
    };
    format!("\"{}\" for {whom}{below}, {slots}, {pods}, {sleep}.", pool.title)
}
