//! `[kubernetes]`: how to reach the API; and `[pools.NAME.kubernetes]`: which workload a pool's pods belong to.

use super::setting::{Access, Kind, Row, Shown, field, number, read_all, seconds_or_off};
use super::table::{Table, quoted};
use super::{Config, Probe, pods};
use std::path::PathBuf;
use std::time::Duration;

/// How to reach the Kubernetes API: by default with the pod's own service account, if there is one, else with the kubeconfig
/// named by the environment variable `KUBECONFIG`, else with `~/.kube/config`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KubernetesAccess {
    /// `None`: found as described above.
    pub kubeconfig: Option<PathBuf>,
    /// A context in it; `None`: its current one.
    pub context: Option<String>,
}

/// The pods of a StatefulSet or a Deployment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KubernetesPods {
    /// The object that runs the pods, and has the size that is written.
    pub workload: Workload,
    /// `None`: the dispatcher's own, or that of the kubeconfig's context.
    pub namespace: Option<String>,
    /// The container port the pods listen on.
    pub port: u16,
    /// How a new incarnation is probed, until it answers once, after the pod's own readiness.
    pub probe: Probe,
    /// KEDA's ScaledObject of this workload.
    pub scaled_object: Option<String>,
    /// While any session exists, an annotation on the ScaledObject keeps KEDA from scaling in.
    pub keda_guard: bool,
    /// A pod on a node that Kubernetes has lost is deleted if it has not answered for this long. `None`: never.
    pub give_up: Option<Duration>,
}

impl KubernetesPods {
    /// The default of `give_up`.
    pub const GIVE_UP: Option<Duration> = Some(Duration::from_secs(10));

    /// The pods of this workload, with defaults for everything else.
    #[must_use]
    pub fn new(workload: Workload, port: u16) -> KubernetesPods {
        KubernetesPods {
            workload,
            port,
            namespace: None,
            probe: Probe::default(),
            scaled_object: None,
            keda_guard: false,
            give_up: KubernetesPods::GIVE_UP,
        }
    }
}

/// The object that runs the pods of a pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Workload {
    /// By its name. Its pods have ordinals.
    StatefulSet(String),
    /// By its name. The dispatcher gives its pods ordinals.
    Deployment(String),
}

impl Workload {
    /// The object's name.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Workload::StatefulSet(name) | Workload::Deployment(name) => name,
        }
    }

    /// The Kubernetes kind.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Workload::StatefulSet(_) => "StatefulSet",
            Workload::Deployment(_) => "Deployment",
        }
    }
}

pub(super) const ACCESS: &[Row<Config>] = &[
    Row::new(
        "kubeconfig",
        Kind::Path,
        Access {
            shown: |_, config: &Config| Some(path_or(&config.kubernetes.kubeconfig, "the pod's own")),
            ..field!(Config, kubernetes.kubeconfig)
        },
    )
    .help("the file with servers, users and contexts", "")
    .default("the pod's service account, else `$KUBECONFIG`, else `~/.kube/config`")
    .restart(),
    Row::new("context", Kind::Text("name"), field!(Config, kubernetes.context = context, "the current one"))
        .help("context of the kubeconfig", "")
        .default("the current one")
        .restart(),
];

pub(super) const PODS: &[Row<KubernetesPods>] = &[
    Row::new("stateful_set", Kind::Text("name"), Access::shown(|_, pods: &KubernetesPods| stateful_set(pods)))
        .help("the StatefulSet", "")
        .default("required, or `deployment`")
        .restart(),
    Row::new("deployment", Kind::Text("name"), Access::shown(|_, pods: &KubernetesPods| deployment(pods)))
        .help(
            "the Deployment",
            ": its pods are numbered as they appear; guarantees are weaker, since the ReplicaSet chooses which \
             pod is deleted",
        )
        .default("none")
        .restart(),
    Row::new("namespace", Kind::Text("name"), field!(KubernetesPods, namespace = namespace, "its own"))
        .help("its namespace", "")
        .default("the dispatcher's own, or that of the kubeconfig's context")
        .restart(),
    Row::new("port", number(1, u16::MAX as u64), field!(KubernetesPods, port))
        .help("the container port the pods listen on", "")
        .restart()
        .required(),
    Row::new("scaled_object", Kind::Text("name"), field!(KubernetesPods, scaled_object = object_name, "none"))
        .help("KEDA's ScaledObject of this workload", "")
        .restart(),
    Row::new("keda_guard", Kind::Bool, field!(KubernetesPods, keda_guard))
        .help(
            "keeps KEDA's annotation `paused-scale-in` on the ScaledObject while any session lives or waits, so \
             that KEDA scales nothing in meanwhile, regardless of what it reads",
            ". Needs `scaled_object`, and `scaling` `\"keda-push\"` or `\"prometheus\"`",
        )
        .restart(),
    Row::new("give_up_seconds", seconds_or_off(1.0, 3600.0), field!(KubernetesPods, give_up))
        .help(
            "a pod whose node Kubernetes reports as lost (some 50 s after the node's failure), and that answers \
             no probe of the dispatcher for this long, is deleted",
            ": its sessions get other slots. `\"off\"`: they wait for their pod, and so for its disk, until \
             Kubernetes deletes it (by its tolerations)",
        )
        .restart(),
    Row::new("probe", Kind::Table, Access::NONE)
        .help(
            "how the dispatcher checks a new pod that Kubernetes reports as ready before it places sessions there",
            "; after the first success only the pod's readiness counts (`failures` has no effect here)",
        )
        .default("TCP")
        .restart(),
];

fn path_or(path: &Option<PathBuf>, none: &'static str) -> Shown {
    Shown::or(&path.as_ref().map(|path| path.display()), none)
}

fn context(text: &str) -> Result<String, String> {
    let what = "the name is empty; allowed: a context of the kubeconfig, or leave it out";
    if text.is_empty() { Err(what.to_owned()) } else { Ok(text.to_owned()) }
}

pub(super) fn access(top: &Table<'_>, config: &mut Config) {
    if let Some(table) = top.table("kubernetes") {
        read_all(ACCESS, &table, config);
        table.finish();
    }
}

fn stateful_set(pods: &KubernetesPods) -> Option<Shown> {
    if let Workload::StatefulSet(name) = &pods.workload { Some(Shown::text(name)) } else { None }
}

fn deployment(pods: &KubernetesPods) -> Option<Shown> {
    if let Workload::Deployment(name) = &pods.workload { Some(Shown::text(name)) } else { None }
}

pub(super) fn pods(table: &Table<'_>) -> KubernetesPods {
    let mut pods = KubernetesPods::new(workload(table), 80);
    if !table.has("port") {
        table.missing("port", "allowed: the container port the pods listen on, 1 to 65535");
    }
    read_all(PODS, table, &mut pods);
    if pods.keda_guard && !table.has("scaled_object") {
        table.wrong("keda_guard", "there is no ScaledObject to annotate; allowed: with `scaled_object`");
    }
    pods.probe = pods::probe(table);
    table.finish();
    pods
}

fn workload(table: &Table<'_>) -> Workload {
    let name = |key: &'static str| table.string(key).and_then(|text| table.accept(key, object_name(text)));
    let (stateful_set, deployment) = (name("stateful_set"), name("deployment"));
    if table.has("stateful_set") && table.has("deployment") {
        table.wrong("deployment", "contradicts `stateful_set`; allowed: one of the two");
    } else if !table.has("stateful_set") && !table.has("deployment") {
        table.missing("stateful_set", "allowed: the name of a StatefulSet (or `deployment`, of a Deployment)");
    }
    match (stateful_set, deployment) {
        (Some(name), _) => Workload::StatefulSet(name),
        (None, Some(name)) => Workload::Deployment(name),
        (None, None) => Workload::StatefulSet(String::new()),
    }
}

/// A DNS subdomain name (Kubernetes docs, "Object Names and IDs").
fn object_name(text: &str) -> Result<String, String> {
    let good = !text.is_empty() && text.len() <= 253 && text.split('.').all(is_label);
    let allowed = "letters a-z, digits, - and ., such as gamecube";
    if good { Ok(text.to_owned()) } else { Err(format!("{} is not a name; allowed: {allowed}", quoted(text))) }
}

/// A DNS label (same source).
fn namespace(text: &str) -> Result<String, String> {
    let allowed = "1 to 63 letters a-z, digits and -, such as games";
    if text.len() <= 63 && is_label(text) {
        return Ok(text.to_owned());
    }
    Err(format!("{} is not a namespace; allowed: {allowed}", quoted(text)))
}

fn is_label(label: &str) -> bool {
    let letter = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    !label.starts_with('-')
        && !label.ends_with('-')
        && !label.is_empty()
        && label.bytes().all(|b| letter(b) || b == b'-')
}
