//! Describes a configuration for operators: every effective value with its meaning, and a mark if it is not the default.
//! Secrets are counted, not shown.

use super::rules::{default_rules, seconds as plain, usual_warning};
use super::{
    Admission, ClusterConfig, Config, DataBetween, JournalConfig, KubernetesPods, OnRestart, PodLimits, PoolConfig,
    Probe, ProbeKind, Processes, Signals, TlsVersion, Trigger, Workload, pool,
};
use crate::config::request_rules::{Passive, Rejoin};
use slotkeeper_core::{AfterSession, Millis, Placement, Scaling, Shrink, Spare, Window};
use std::fmt::{Display, Write};
use std::time::Duration;

/// One setting: its key (within its table), its value, its meaning.
type Line = (&'static str, String, &'static str);

/// Every effective value.
#[must_use]
pub fn describe(config: &Config) -> String {
    let mut default = Config::new(Vec::new());
    default.journal = JournalConfig::usual();
    default.admin.listen = Some(super::Admin::DEFAULT);
    let mut text = String::from("Settings that differ from their default are marked with *.\n\n");
    marked(&mut text, &top(config), &top(&default));
    for pool in &config.pools {
        let mut default = PoolConfig::new(
            &pool.id.0,
            default_rules(pool.rules.slots_per_pod, &pool.cluster),
            defaults_of(&pool.cluster),
        );
        default.cookie_name = pool::usual_cookie_name(&pool.id.0, config.pools.len());
        default.rules.slots_per_pod = 1;
        default.rules.warn_before = usual_warning(&pool.rules);
        let _ = write!(text, "\n[pools.{}]: {}\n", pool.id, summary(pool));
        marked(&mut text, &lines(pool), &lines(&default));
    }
    text
}

/// The same pods with all defaults; settings without a default stay.
fn defaults_of(cluster: &ClusterConfig) -> ClusterConfig {
    match cluster {
        ClusterConfig::Fixed(fixed) => {
            let (pods, resolve) = (fixed.pods.clone(), super::FixedPods::RESOLVE);
            ClusterConfig::Fixed(super::FixedPods { pods, resolve, probe: Probe::default() })
        }
        ClusterConfig::Processes(processes) => {
            ClusterConfig::Processes(Processes::new(processes.command.clone(), processes.data_folder.clone()))
        }
        ClusterConfig::Kubernetes(pods) => ClusterConfig::Kubernetes(KubernetesPods {
            workload: pods.workload.clone(),
            port: pods.port,
            namespace: None,
            probe: Probe::default(),
            scaled_object: None,
            keda_guard: false,
            give_up: KubernetesPods::GIVE_UP,
        }),
    }
}

fn marked(text: &mut String, lines: &[Line], defaults: &[Line]) {
    for (key, value, means) in lines {
        let default = defaults.iter().find(|(other, ..)| other == key).map_or("none", |(_, value, _)| value);
        let (mark, note) = match default {
            same if same == value => (' ', String::new()),
            other => ('*', format!(" (default: {other})")),
        };
        let _ = writeln!(text, "{mark} {key:<40} {value:<22}  {means}{note}");
    }
}

fn summary(pool: &PoolConfig) -> String {
    let rules = &pool.rules;
    let whom = listed(&pool.hosts, "visitors of any host");
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
        format!("scaled to zero after {} s without demand", plain(rules.cooldown))
    } else {
        format!("scaled down after {} s of lower demand", plain(rules.cooldown))
    };
    format!("\"{}\" for {whom}{below}, {slots}, {pods}, {sleep}.", pool.title)
}

fn top(config: &Config) -> Vec<Line> {
    let limits = &config.limits;
    vec![
        ("listen", listed(&config.listen, "nowhere"), "where visitors connect"),
        ("tls.listen", listed(&config.tls.listen, "nowhere"), "where visitors connect with TLS"),
        ("tls.redirect_listen", listed(&config.tls.redirect, "nowhere"), "where requests without TLS are redirected"),
        (
            "tls.redirect_port",
            config.tls.redirect_port.map_or("that of tls.listen".to_owned(), |port| port.to_string()),
            "the port that they are redirected to",
        ),
        (
            "tls.certificates",
            certificates(config),
            "certificates for the names that they contain; the first is the default",
        ),
        (
            "tls.min_version",
            match config.tls.least_version {
                TlsVersion::V1_2 => "1.2",
                TlsVersion::V1_3 => "1.3",
            }
            .to_owned(),
            "the oldest version of TLS that is accepted",
        ),
        ("tls.handshake_seconds", secs(config.tls.handshake), "maximum time for a TLS handshake"),
        (
            "tls.hsts_seconds",
            config.tls.hsts.map_or("off".to_owned(), |hsts| secs(hsts.age)),
            "how long browsers connect only with TLS",
        ),
        (
            "tls.hsts_subdomains",
            config.tls.hsts.is_some_and(|hsts| hsts.subdomains).to_string(),
            "also to all hosts below",
        ),
        ("threads", config.threads.to_string(), "worker threads; 0 is one per core"),
        (
            "drain_seconds",
            secs(config.drain),
            "streams may take this long to end when the dispatcher stops or a pod drains",
        ),
        (
            "trusted_proxies",
            listed(config.trusted_proxies.iter().map(|net| format!("{}/{}", net.address, net.prefix)), "none"),
            "proxies whose X-Forwarded-* headers are trusted",
        ),
        (
            "cookie_keys",
            match config.cookie_keys.len() {
                0 => "a random one".to_owned(),
                n => format!("{n} given"),
            },
            "sign the session cookies; a random one is kept beside a journal in a folder",
        ),
        (
            "kubernetes.kubeconfig",
            config.kubernetes.kubeconfig.as_ref().map_or("the pod's own".to_owned(), |path| path.display().to_string()),
            "how the Kubernetes API is reached",
        ),
        (
            "kubernetes.context",
            config.kubernetes.context.clone().unwrap_or_else(|| "the current one".to_owned()),
            "which of its contexts",
        ),
        ("journal.at", journal_at(config), journal_means(config)),
        ("admin.listen", config.admin.listen.map_or("off".to_owned(), |at| at.to_string()), "where operators connect"),
        (
            "admin.token",
            if config.admin.token.is_some() { "given" } else { "none" }.to_owned(),
            "the bearer token for operators",
        ),
        keda(config),
        (
            "keda.tls",
            if config.keda.tls.is_some() { "given" } else { "none" }.to_owned(),
            "the certificate of this listener",
        ),
        ("limits.header_bytes", limits.header_bytes.to_string(), "maximum bytes of a request's head"),
        (
            "limits.header_fields",
            limits.header_fields.to_string(),
            "maximum fields of a head, of requests and responses",
        ),
        ("limits.header_seconds", secs(limits.header_time), "maximum time for it to arrive"),
        (
            "limits.body_bytes",
            limits.body_bytes.map_or("off".to_owned(), |n| n.to_string()),
            "maximum bytes of a request's body",
        ),
        ("limits.idle_seconds", secs(limits.idle), "an idle keep-alive connection is closed after this"),
        (
            "limits.linger_seconds",
            if limits.linger.is_zero() { "off".to_owned() } else { secs(limits.linger) },
            "how long unread input is discarded before a connection is closed",
        ),
        ("limits.linger_bytes", limits.linger_bytes.to_string(), "maximum bytes of it"),
        ("limits.connections", limits.connections.to_string(), "maximum connections from visitors at once"),
        (
            "limits.streams_per_session",
            limits.streams_per_session.to_string(),
            "maximum streams of one session at once",
        ),
        (
            "limits.new_sessions_per_second",
            limits.new_sessions_per_second.to_string(),
            "maximum new sessions per second, over all pools",
        ),
    ]
}

fn certificates(config: &Config) -> String {
    listed(config.tls.certificates.iter().map(|files| files.certificate.display()), "none")
}

/// Not the path of the default folder, which depends on the user.
fn journal_at(config: &Config) -> String {
    if config.journal == JournalConfig::usual() { "a folder".to_owned() } else { config.journal.shown() }
}

fn journal_means(config: &Config) -> &'static str {
    match config.journal {
        JournalConfig::File(_) if config.journal == JournalConfig::usual() => {
            "session state is stored in this user's state folder, for one dispatcher"
        }
        JournalConfig::Memory => "session state is stored in memory: sessions end with this process",
        JournalConfig::File(_) => "session state is stored in this folder, for one dispatcher",
        JournalConfig::Redis(_) => "session state is stored there, for several dispatchers",
    }
}

fn keda(config: &Config) -> Line {
    let is_asked = config.pools.iter().any(|p| p.trigger == Trigger::Push);
    let means = match config.keda.listen {
        Some(_) if !is_asked => "where KEDA connects; WARNING: unused, as no pool has scaling = \"keda-push\"",
        Some(_) | None => "where KEDA gets the numbers of pods",
    };
    ("keda.listen", config.keda.listen.map_or("off".to_owned(), |at| at.to_string()), means)
}

fn lines(pool: &PoolConfig) -> Vec<Line> {
    let rules = &pool.rules;
    let mut lines = vec![
        ("title", format!("{:?}", pool.title), "the title that visitors see"),
        ("hosts", listed(&pool.hosts, "any"), "host names that lead here"),
        ("path", pool.path.clone(), "path prefix that leads here"),
        ("slots_per_pod", rules.slots_per_pod.to_string(), "sessions that fit in one pod"),
        ("min_pods", rules.min.to_string(), "pods kept even without sessions"),
        ("max_pods", rules.max.to_string(), "pods at most"),
        (
            "admission",
            match pool.admission {
                Admission::Returning => "returning",
                Admission::Immediate => "immediate",
            }
            .to_owned(),
            match pool.admission {
                Admission::Returning => "no slot is allocated before the browser has returned the cookie once",
                Admission::Immediate => "the first request is placed at once",
            },
        ),
        (
            "placement",
            match rules.placement {
                Placement::Pack => "pack",
                Placement::Spread => "spread",
            }
            .to_owned(),
            match rules.placement {
                Placement::Pack => "the first pod with a free slot",
                Placement::Spread => "the pod with the fewest sessions",
            },
        ),
        ("sticky_storage", rules.sticky_storage.to_string(), "a returning session prefers its previous pod"),
        (
            "after_session",
            match rules.after_session {
                AfterSession::Keep => "keep",
                AfterSession::Recycle => "recycle",
            }
            .to_owned(),
            match rules.after_session {
                AfterSession::Keep => "the pod keeps running after a session",
                AfterSession::Recycle => "the pod is restarted after each session",
            },
        ),
    ];
    match rules.scaling {
        Scaling::None => lines.push(("scaling", "none".to_owned(), "pods are never started or stopped")),
        Scaling::Keda { settle } => {
            lines.push(match pool.trigger {
                Trigger::Push => {
                    ("scaling", "keda-push".to_owned(), "KEDA starts and stops pods: it calls the listener of [keda]")
                }
                Trigger::Prometheus => {
                    ("scaling", "prometheus".to_owned(), "KEDA starts and stops pods: it queries Prometheus")
                }
            });
            lines.push(("settle_seconds", millis(settle), "after this, KEDA no longer acts on an older number"));
        }
        Scaling::Direct { window } => {
            lines.push(("scaling", "direct".to_owned(), "the dispatcher starts and stops pods"));
            lines.push(match window {
                Window::Fixed => ("window", "fixed".to_owned(), "the pods that run start at 0"),
                Window::Sliding => ("window", "sliding".to_owned(), "the pods that run start at any ordinal"),
            });
        }
    }
    if !matches!(rules.scaling, Scaling::None) {
        lines.push(("spare", spare(rules.spare), "free slots kept warm for new sessions"));
        if let Some(schedule) = &pool.schedule {
            let windows = schedule.windows().iter();
            let windows = windows.map(|w| format!("{} {} to {}: {}", w.days, w.from, w.to, spare(w.spare)));
            lines.push(("schedule", windows.collect::<Vec<_>>().join("; "), "free slots kept warm at these times"));
            lines.push(("time_zone", schedule.zone().to_owned(), "the time zone of these times"));
        }
    }
    lines.extend(targets(pool));
    lines.extend(clocks(pool));
    lines.extend([
        ("cookie_name", pool.cookie_name.clone(), "name of the session cookie"),
        ("cookie_max_age_seconds", secs(pool.cookie_max_age), "a browser keeps it this long"),
        ("allowed_origins", listed(&pool.allowed_origins, "the same origin"), "where WebSockets may come from"),
        ("embedded_in", listed(&pool.embedded_in, "the same origin"), "pages that may show this pool in a frame"),
        ("passive", passive(pool), "rules for requests that do not use the pool"),
        (
            "rejoin",
            match pool.rejoin {
                Rejoin::Page => "page",
                Rejoin::Any => "any",
            }
            .to_owned(),
            "which requests restart a session that has ended by itself",
        ),
        (
            "activity.signals",
            match pool.activity.signals {
                Signals::Any => "any",
                Signals::Frames => "frames",
                Signals::Reported => "reported",
            }
            .to_owned(),
            "what counts as activity",
        ),
        ("activity.frame_bytes", listed(&pool.activity.frame_bytes, "none"), "payloads of WebSocket frames that count"),
        ("activity.ignored_paths", listed(&pool.activity.ignored_paths, "none"), "requests that never count"),
        (
            "activity.busy_limit_seconds",
            secs(pool.activity.busy_limit),
            "one report makes a session busy this long at most",
        ),
        (
            "answer_seconds",
            pool.answer.map_or("off".to_owned(), secs),
            "a request that the pod has not answered this long after its end is given up",
        ),
        ("stall_seconds", pool.stall.map_or("off".to_owned(), secs), "a body without progress for this long is cut"),
        (
            "connections.idle_seconds",
            pool.connections.idle.map_or("off".to_owned(), secs),
            "an idle connection to a pod is closed after this",
        ),
        (
            "connections.age_seconds",
            pool.connections.age.map_or("off".to_owned(), secs),
            "a connection to a pod older than this carries no further request",
        ),
        (
            "connections.share",
            pool.connections.share.to_string(),
            "whether a connection that carried no body may serve another session",
        ),
        (
            "landing_url",
            pool.landing.as_ref().map_or("ours".to_owned(), |page| format!("http://{}{}", page.authority, page.path)),
            "the page of the waiting room",
        ),
        (
            "active_sessions_gauge",
            pool.active_sessions_gauge.clone().unwrap_or_else(|| "none".to_owned()),
            "an extra gauge of active sessions",
        ),
        (
            "priority_header",
            pool.priority_header.as_ref().map_or("none".to_owned(), ToString::to_string),
            "a proxy's header with the visitor's class, 0 (first) to 9",
        ),
    ]);
    lines.extend(pods(&pool.cluster));
    lines
}

/// The number of rules, and whether the default ones are among them.
fn passive(pool: &PoolConfig) -> String {
    let usual = Passive::usual();
    match pool.passive.len() - if pool.passive.starts_with(&usual) { usual.len() } else { 0 } {
        0 if pool.passive.is_empty() => "none".to_owned(),
        0 => "the usual".to_owned(),
        n if n == pool.passive.len() => format!("{n} given"),
        n => format!("the usual and {n} given"),
    }
}

fn targets(pool: &PoolConfig) -> Vec<Line> {
    let (rules, targets) = (&pool.rules, &pool.rules.targets);
    let mut lines = Vec::new();
    lines.push(match rules.shrink {
        Shrink::Wait => ("shrink", "wait".to_owned(), "an unneeded pod ends when its last session has left by itself"),
        Shrink::Move => ("shrink", "move".to_owned(), "an unneeded pod is emptied: its sessions are moved"),
    });
    if let Some(sessions) = targets.sessions {
        lines.push(("targets.sessions", sessions.to_string(), "sessions a pod should have"));
    }
    if let Some(messages) = targets.messages {
        let means = "WebSocket messages a pod should carry, both directions together";
        lines.push(("targets.messages_per_second", messages.to_string(), means));
    }
    if let Some((gauge, per_pod)) = pool.gauge.as_ref().zip(targets.gauge) {
        lines.extend([
            ("targets.gauge.name", gauge.name.clone(), "a gauge that the pods export"),
            ("targets.gauge.per_pod", (per_pod as f64 / 1000.0).to_string(), "its target value per pod"),
            (
                "targets.gauge.port",
                gauge.port.map_or("the visitors'".to_owned(), |port| port.to_string()),
                "the port that it is read from",
            ),
            ("targets.gauge.path", gauge.path.clone(), "the path that it is read from"),
            ("targets.gauge.every_seconds", secs(gauge.every), "how often"),
        ]);
    }
    if targets.is_measured() {
        lines.push(("targets.window_seconds", millis(targets.window), "the period of measurement"));
    }
    if targets.is_measured() || targets.sessions.is_some() {
        let means = "scale down only if the remaining pods stay this far below every target";
        lines.push(("targets.slack_percent", targets.slack.to_string(), means));
    }
    lines
}

fn clocks(pool: &PoolConfig) -> [Line; 15] {
    let rules = &pool.rules;
    let off = |clock: Option<Millis>| clock.map_or("off".to_owned(), millis);
    let hold = if pool.hold.is_zero() { "off".to_owned() } else { secs(pool.hold) };
    [
        ("queue_limit", rules.queue_limit.to_string(), "maximum sessions that may wait"),
        (
            "queue_lease_seconds",
            millis(rules.queue_lease),
            "a waiting session that sends no heartbeat for this long leaves the queue",
        ),
        (
            "claim_seconds",
            millis(rules.claim),
            "a ready slot is kept this long for a session that has not connected yet",
        ),
        ("grace_seconds", millis(rules.grace), "a slot is kept this long after the last stream closed"),
        (
            "linger_seconds",
            secs(pool.linger),
            "without WebSockets, a session counts as present this long after a request",
        ),
        (
            "half_open_seconds",
            pool.half_open.map_or("off".to_owned(), secs),
            "a silent WebSocket client is pinged after this, and has as long to answer",
        ),
        ("idle_seconds", off(rules.idle), "a session without activity ends after this"),
        ("max_session_seconds", off(rules.max_session), "every session ends after this"),
        (
            "warn_before_seconds",
            millis(rules.warn_before),
            "the visitor is warned this long before the end; also the length of an extension",
        ),
        ("extend_limit_seconds", millis(rules.extend_limit), "what all extensions of a session may add up to"),
        (
            "silence_seconds",
            millis(rules.silence),
            "a dispatcher that sends no heartbeat for this long is presumed cut off",
        ),
        ("cooldown_seconds", millis(rules.cooldown), "how long demand must stay lower before the pool scales down"),
        (
            "stuck_after_seconds",
            millis(rules.stuck_after),
            "a pod that is not ready for this long is no longer counted on",
        ),
        ("hold_seconds", hold, "upgrades and API calls wait this long for a slot instead of a 503"),
        ("hold_limit", pool.hold_limit.to_string(), "maximum requests held at once"),
    ]
}

fn pods(cluster: &ClusterConfig) -> Vec<Line> {
    match cluster {
        ClusterConfig::Fixed(fixed) => {
            let mut lines = vec![("fixed.pods", listed(&fixed.pods, "none"), "the pods, in order of their ordinals")];
            let [kind, every, timeout, failures] = probe(&fixed.probe);
            lines.extend([
                ("fixed.resolve_seconds", secs(fixed.resolve), "how often names are looked up again"),
                ("fixed.probe.kind", kind, "how readiness is probed"),
                ("fixed.probe.every_seconds", every, "how often"),
                ("fixed.probe.timeout_seconds", timeout, "how long an answer may take"),
                ("fixed.probe.failures", failures, "failures in a row that make a pod unready"),
            ]);
            lines
        }
        ClusterConfig::Processes(processes) => {
            let folder = |path: &std::path::PathBuf| path.display().to_string();
            let [kind, every, timeout, failures] = probe(&processes.probe);
            let names = processes.environment.iter().map(|(name, _)| name);
            let usual_folder = if processes.data == DataBetween::Wipe { "its own" } else { "inherited" };
            vec![
                ("processes.command", processes.command.join(" "), "the command of a pod"),
                ("processes.environment", listed(names, "none"), "variables it gets in addition (values not shown)"),
                (
                    "processes.inherit",
                    listed(&processes.inherit, "none"),
                    "variables of the dispatcher's environment that it gets in addition to the usual ones",
                ),
                (
                    "processes.working_folder",
                    processes.working_folder.as_ref().map_or(usual_folder.to_owned(), folder),
                    "its working folder",
                ),
                ("processes.data_folder", folder(&processes.data_folder), "each pod has its data in a folder in it"),
                (
                    "processes.data",
                    match processes.data {
                        DataBetween::Keep => "keep",
                        DataBetween::Wipe => "wipe",
                    }
                    .to_owned(),
                    match processes.data {
                        DataBetween::Keep => "its content stays when a pod is restarted",
                        DataBetween::Wipe => "it is emptied between two incarnations of a pod",
                    },
                ),
                ("processes.user", or_own(&processes.user), "the user that the processes run as"),
                ("processes.group", or_own(&processes.group), "the group that the processes run as"),
                (
                    "processes.limits",
                    limits(&processes.limits),
                    "what one pod may use: memory_bytes, cpus, files, processes",
                ),
                (
                    "processes.cgroup",
                    if processes.cgroup { "auto" } else { "off" }.to_owned(),
                    "whether each pod gets a control group where that is possible",
                ),
                (
                    "processes.on_restart",
                    match processes.on_restart {
                        OnRestart::Stop => "stop",
                        OnRestart::Adopt => "adopt",
                    }
                    .to_owned(),
                    match processes.on_restart {
                        OnRestart::Stop => "pods end with the dispatcher",
                        OnRestart::Adopt => "pods keep running without a dispatcher, and the next one adopts them",
                    },
                ),
                (
                    "processes.adopt_within_seconds",
                    secs(processes.adopt_within),
                    "how long they wait for the next dispatcher",
                ),
                ("processes.host", processes.host.to_string(), "the address it listens on"),
                (
                    "processes.first_port",
                    processes.first_port.map_or("any".to_owned(), |port| port.to_string()),
                    "the port of ordinal 0, the others follow",
                ),
                ("processes.stop_grace_seconds", secs(processes.stop_grace), "from SIGTERM to SIGKILL"),
                (
                    "processes.restart_backoff_seconds",
                    secs(processes.backoff.0),
                    "first delay after a crash, then doubled",
                ),
                ("processes.restart_backoff_limit_seconds", secs(processes.backoff.1), "longest delay after a crash"),
                (
                    "processes.restart_unready_seconds",
                    processes.restart_unready.map_or("off".to_owned(), secs),
                    "a pod that was ready and does not answer for this long is restarted",
                ),
                (
                    "processes.log_lines_per_second",
                    processes.log_lines.map_or("off".to_owned(), |lines| lines.to_string()),
                    "maximum lines of a pod's output that are logged",
                ),
                ("processes.probe.kind", kind, "how readiness is probed"),
                ("processes.probe.every_seconds", every, "how often"),
                ("processes.probe.timeout_seconds", timeout, "how long an answer may take"),
                ("processes.probe.failures", failures, "failures in a row that make a pod unready"),
            ]
        }
        ClusterConfig::Kubernetes(pods) => {
            let [kind, every, timeout, _] = probe(&pods.probe);
            let workload = match &pods.workload {
                Workload::StatefulSet(_) => "kubernetes.stateful_set",
                Workload::Deployment(_) => "kubernetes.deployment",
            };
            let or = |text: &Option<String>, none: &str| text.clone().unwrap_or_else(|| none.to_owned());
            vec![
                (workload, pods.workload.name().to_owned(), "the workload that has the pods"),
                ("kubernetes.namespace", or(&pods.namespace, "its own"), "its namespace"),
                ("kubernetes.port", pods.port.to_string(), "the port the pods listen on"),
                ("kubernetes.probe.kind", kind, "how a new pod is probed once, after its own readiness"),
                ("kubernetes.probe.every_seconds", every, "how often, until it answers"),
                ("kubernetes.probe.timeout_seconds", timeout, "how long an answer may take"),
                ("kubernetes.scaled_object", or(&pods.scaled_object, "none"), "KEDA's ScaledObject for it"),
                (
                    "kubernetes.keda_guard",
                    pods.keda_guard.to_string(),
                    "KEDA is kept from scaling in while any session exists",
                ),
                (
                    "kubernetes.give_up_seconds",
                    pods.give_up.map_or("off".to_owned(), secs),
                    "a pod on a lost node that answers no probe for this long is deleted",
                ),
            ]
        }
    }
}

fn or_own(name: &Option<String>) -> String {
    name.clone().unwrap_or_else(|| "the dispatcher's".to_owned())
}

fn limits(limits: &PodLimits) -> String {
    let shown = |name: &str, limit: Option<u64>| limit.map(|limit| format!("{name} {limit}"));
    let cpus = limits.cpu_millis.map(|millis| format!("cpus {}", millis as f64 / 1000.0));
    let memory = shown("memory_bytes", limits.memory_bytes);
    let counts = [shown("files", limits.files), shown("processes", limits.processes)];
    listed([memory, cpus].into_iter().chain(counts).flatten(), "none")
}

fn probe(probe: &Probe) -> [String; 4] {
    let kind = match &probe.kind {
        ProbeKind::Tcp => "tcp".to_owned(),
        ProbeKind::Http { path } => format!("http {path}"),
    };
    [kind, secs(probe.every), secs(probe.timeout), probe.failures.to_string()]
}

fn spare(spare: Spare) -> String {
    match spare {
        Spare::Slots(n) => n.to_string(),
        Spare::Percent(n) => format!("{n}%"),
    }
}

fn listed<T: Display>(items: impl IntoIterator<Item = T>, none: &str) -> String {
    let all: Vec<String> = items.into_iter().map(|item| item.to_string()).collect();
    if all.is_empty() { none.to_owned() } else { all.join(", ") }
}

fn millis(millis: Millis) -> String {
    secs(Duration::from_millis(millis.0))
}

/// Seconds, and also a larger unit if that is easier to read.
fn secs(duration: Duration) -> String {
    let seconds = duration.as_millis() as f64 / 1000.0;
    let units = [(86_400.0, "d"), (3600.0, "h"), (60.0, "min")];
    match units.iter().find(|(unit, _)| seconds > 60.0 && seconds >= *unit && seconds % unit == 0.0) {
        Some((unit, name)) => format!("{seconds} ({} {name})", seconds / unit),
        None => seconds.to_string(),
    }
}
