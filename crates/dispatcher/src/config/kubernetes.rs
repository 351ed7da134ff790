//! `[kubernetes]`: how to reach the API; and `[pools.NAME.kubernetes]`: which workload a pool's pods belong to.

use super::table::{Table, quoted};
use super::{KubernetesAccess, KubernetesPods, Workload, pods};

pub(super) fn access(top: &Table<'_>) -> KubernetesAccess {
    let Some(table) = top.table("kubernetes") else { return KubernetesAccess::default() };
    let kubeconfig = table.path("kubeconfig");
    let context = table.string("context").map(str::to_owned);
    if context.as_ref().is_some_and(String::is_empty) {
        table.wrong("context", "the name is empty; allowed: a context of the kubeconfig, or leave it out");
    }
    table.finish();
    KubernetesAccess { kubeconfig, context }
}

pub(super) fn pods(table: &Table<'_>) -> KubernetesPods {
    let name = |key: &'static str| table.string(key).and_then(|text| table.accept(key, object_name(text)));
    let (stateful_set, deployment) = (name("stateful_set"), name("deployment"));
    if table.has("stateful_set") && table.has("deployment") {
        table.wrong("deployment", "contradicts `stateful_set`; allowed: one of the two");
    } else if !table.has("stateful_set") && !table.has("deployment") {
        table.missing("stateful_set", "allowed: the name of a StatefulSet (or `deployment`, of a Deployment)");
    }
    let workload = match (stateful_set, deployment) {
        (Some(name), _) => Workload::StatefulSet(name),
        (None, Some(name)) => Workload::Deployment(name),
        (None, None) => Workload::StatefulSet(String::new()),
    };
    if !table.has("port") {
        table.missing("port", "allowed: the container port the pods listen on, 1 to 65535");
    }
    let scaled_object = name("scaled_object");
    let keda_guard = table.bool("keda_guard", false);
    if keda_guard && !table.has("scaled_object") {
        table.wrong("keda_guard", "there is no ScaledObject to annotate; allowed: with `scaled_object`");
    }
    let pods = KubernetesPods {
        workload,
        namespace: table.string("namespace").and_then(|text| table.accept("namespace", namespace(text))),
        port: table.number("port", 80, 1..=u16::MAX),
        probe: pods::probe(table),
        scaled_object,
        keda_guard,
        give_up: table.seconds_or_off("give_up_seconds", KubernetesPods::GIVE_UP, 1.0..=3600.0),
    };
    table.finish();
    pods
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
