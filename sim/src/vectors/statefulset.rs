//! The operations of `statefulset.json`.

use super::Operation;
use super::fields::{Fields, MOST_PODS, Wrong};
use crate::models::replicaset;
use crate::models::statefulset::{Action, ClaimRetention, Phase, PodView, Policy, Reason, StatefulSet, Sync};
use serde_json::{Value, json};
use std::collections::BTreeMap;

pub(super) const OPERATIONS: &[(&str, Operation)] =
    &[("sync", sync), ("trace", trace), ("pvcOwner", pvc_owner), ("replicaSetVictims", replica_set_victims)];

/// The moment of a call: ages are subtracted from it.
const NOW: u64 = 1_000_000_000_000;

const POLICIES: [(&str, Policy); 2] = [("OrderedReady", Policy::OrderedReady), ("Parallel", Policy::Parallel)];
const PHASES: [(&str, Phase); 5] = [
    ("Pending", Phase::Pending),
    ("Unknown", Phase::Unknown),
    ("Running", Phase::Running),
    ("Succeeded", Phase::Succeeded),
    ("Failed", Phase::Failed),
];

fn sync(input: &Fields<'_>) -> Result<Value, Wrong> {
    let set = StatefulSet {
        start: input.or("start", 0)?,
        min_ready: input.maybe_seconds("minReadySeconds")?.unwrap_or(0),
        ..StatefulSet::new(input.word("podManagementPolicy", &POLICIES)?, input.pods("replicas")?)
    };
    let Sync { actions, blocked_on, status, recheck: _ } = set.sync(&input.each("pods", pod)?, NOW);
    let action = |action: &Action| match action {
        Action::Create { ordinal, .. } => json!({ "action": "create", "ordinal": ordinal }),
        Action::Delete { ordinal, .. } => json!({ "action": "delete", "ordinal": ordinal }),
    };
    let reason = |reason| match reason {
        Reason::Terminating => "Terminating",
        Reason::NotReady => "NotReady",
        Reason::NotAvailable => "NotAvailable",
    };
    Ok(json!({
        "actions": actions.iter().map(action).collect::<Vec<_>>(),
        "blockedOn": blocked_on.map(|b| json!({ "ordinal": b.ordinal, "reason": reason(b.reason) })),
        "status": {
            "replicas": status.replicas,
            "readyReplicas": status.ready,
            "availableReplicas": status.available,
        },
    }))
}

fn pod(fields: &Fields<'_>) -> Result<PodView, Wrong> {
    let ready: bool = fields.get("ready")?;
    let since = NOW - fields.maybe_seconds("readySeconds")?.unwrap_or(NOW);
    Ok(PodView {
        ordinal: fields.get("ordinal")?,
        uid: 0,
        phase: fields.word("phase", &PHASES)?,
        ready_since: ready.then_some(since),
        terminating: fields.or("terminating", false)?,
        revision: 1,
    })
}

/// Sorts the actions within each run of either kind (inside or outside the ordinal window), so that equivalent orders
/// compare equal: a Parallel set's calls of one sync are concurrent, but those inside the window come first.
pub(super) fn canonical(input: &Fields<'_>, value: &Value) -> Value {
    let mut value = value.clone();
    let number = |v: Option<&Value>| v.and_then(Value::as_u64);
    let parallel = input.value().get("podManagementPolicy").and_then(Value::as_str) == Some("Parallel");
    let start = Some(number(input.value().get("start")).unwrap_or(0));
    let replicas = number(input.value().get("replicas"));
    if let (true, Some(start), Some(replicas)) = (parallel, start, replicas)
        && let Some(Value::Array(actions)) = value.get_mut("actions")
    {
        let inside = |a: &Value| number(a.get("ordinal")).is_some_and(|o| start <= o && o < start + replicas);
        for run in actions.chunk_by_mut(|a, b| inside(a) == inside(b)) {
            run.sort_by_key(|a| (number(a.get("ordinal")), a.to_string()));
        }
    }
    value
}

/// A pod of a trace.
struct Life {
    uid: u64,
    ready: u64,
    gone: Option<u64>,
}

/// Syncs until nothing is left to do. Each round jumps to the next moment at which a pod changes.
fn trace(input: &Fields<'_>) -> Result<Value, Wrong> {
    let (from, to) = (input.pods("fromReplicas")?, input.pods("toReplicas")?);
    let set = StatefulSet {
        start: input.or("start", 0)?,
        ..StatefulSet::new(input.word("podManagementPolicy", &POLICIES)?, to)
    };
    let (begin, stop, rise) =
        (input.seconds("atSecond")?, input.seconds("terminationSeconds")?, input.seconds("readyAfterSeconds")?);
    let first = |index| (set.start.saturating_add(index), Life { uid: 0, ready: 0, gone: None });
    let mut pods: BTreeMap<u32, Life> = (0..from).map(first).collect();
    let (mut creates, mut deletes) = (Vec::new(), Vec::new());
    let mut now = begin;
    let mut uid = 0;
    loop {
        pods.retain(|_, life| life.gone.is_none_or(|at| at > now));
        let views: Vec<PodView> = pods.iter().map(|(ordinal, life)| life.view(*ordinal, now)).collect();
        let actions = set.sync(&views, now).actions;
        for action in &actions {
            match *action {
                Action::Create { ordinal, .. } => {
                    uid += 1;
                    pods.insert(ordinal, Life { uid, ready: now + rise, gone: None });
                    creates.push((now / 1000, ordinal));
                }
                Action::Delete { ordinal, .. } => {
                    deletes.push((now / 1000, ordinal));
                    if let Some(life) = pods.get_mut(&ordinal) {
                        life.gone = Some(now + stop);
                    }
                }
            }
        }
        if !actions.is_empty() {
            continue;
        }
        let next = pods.values().flat_map(|life| [Some(life.ready), life.gone]).flatten().filter(|at| *at > now).min();
        match next {
            Some(at) => now = at,
            None => break,
        }
    }
    Ok(json!({ "creates": creates, "deletes": deletes, "doneAtSecond": now / 1000 }))
}

impl Life {
    fn view(&self, ordinal: u32, now: u64) -> PodView {
        PodView {
            ordinal,
            uid: self.uid,
            phase: Phase::Running,
            ready_since: (self.ready <= now).then_some(self.ready),
            terminating: self.gone.is_some(),
            revision: 1,
        }
    }
}

fn pvc_owner(input: &Fields<'_>) -> Result<Value, Wrong> {
    let words = [("Retain", false), ("Delete", true)];
    let retention = ClaimRetention {
        delete_with_set: input.word("whenDeleted", &words)?,
        delete_when_scaled: input.word("whenScaled", &words)?,
    };
    let owners = retention.owners(input.get("podOutsideWindow")?);
    Ok(json!({ "ownedByStatefulSet": owners.set, "ownedByPod": owners.pod }))
}

/// A pod of a ReplicaSet, with its names.
struct Named {
    name: String,
    uid: String,
    node: String,
    view: replicaset::PodView,
}

fn replica_set_victims(input: &Fields<'_>) -> Result<Value, Wrong> {
    let mut pods = input.each("pods", named)?;
    let related = related_nodes(input)?;
    // The model compares numbers: the rank of a string preserves its order.
    let mut uids: Vec<String> = pods.iter().map(|p| p.uid.clone()).collect();
    uids.sort();
    let mut nodes: Vec<String> = pods.iter().map(|p| p.node.clone()).chain(related.iter().flatten().cloned()).collect();
    nodes.sort();
    let rank = |all: &[String], one: &String| all.partition_point(|other| other < one);
    let node_number = |node: &String| u32::try_from(rank(&nodes, node)).unwrap_or(u32::MAX);
    for pod in &mut pods {
        pod.view.uid = rank(&uids, &pod.uid) as u64;
        pod.view.node = (!pod.node.is_empty()).then(|| node_number(&pod.node));
    }
    let related: Option<Vec<u32>> = related.map(|nodes| nodes.iter().map(node_number).collect());
    let views: Vec<replicaset::PodView> = pods.iter().map(|p| p.view.clone()).collect();
    let replicas: u32 = input.pods("replicas")?;
    let sync = replicaset::sync(replicas as usize, &views, related.as_deref(), NOW);
    let names: Vec<&str> = sync.delete.iter().filter_map(|i| pods.get(*i)).map(|p| p.name.as_str()).collect();
    Ok(json!({ "deleted": names }))
}

/// Returns the nodes of all active pods of the same owner, one string per pod. The input is a list of node names
/// (null or empty: not scheduled yet), a list of pods with their `node`, or the number of pods per node.
fn related_nodes(input: &Fields<'_>) -> Result<Option<Vec<String>>, Wrong> {
    let Some(value) = input.maybe::<Value>("relatedPods")? else { return Ok(None) };
    let wrong = |what: String| input.wrong("relatedPods", what);
    let node_of = |pod: &Value| match pod {
        Value::Null => Ok(String::new()),
        Value::String(node) => Ok(node.clone()),
        Value::Object(pod) => match pod.get("node") {
            Some(Value::String(node)) => Ok(node.clone()),
            Some(Value::Null) | None => Ok(String::new()),
            Some(other) => Err(wrong(format!("holds a pod with the node {other}, expected a text or null"))),
        },
        Value::Bool(_) | Value::Number(_) | Value::Array(_) => {
            Err(wrong(format!("holds {pod}, expected the name of a node or a pod")))
        }
    };
    let nodes: Vec<String> = match &value {
        Value::Array(pods) => pods.iter().map(node_of).collect::<Result<_, _>>()?,
        Value::Object(counts) => {
            let mut nodes = Vec::new();
            for (node, count) in counts {
                let number = count.as_u64().ok_or_else(|| wrong(format!("has {count} pods on {node}")))?;
                let left = u64::from(MOST_PODS).saturating_sub(nodes.len() as u64);
                if number > left {
                    return Err(wrong(format!("has more than {MOST_PODS} pods")));
                }
                nodes.extend(std::iter::repeat_n(node.clone(), number as usize));
            }
            nodes
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            return Err(wrong(format!("is {value}, expected a list or numbers of pods per node")));
        }
    };
    // A pod that is not scheduled shares no node.
    Ok(Some(nodes.into_iter().filter(|node| !node.is_empty()).collect()))
}

fn named(fields: &Fields<'_>) -> Result<Named, Wrong> {
    let ready_seconds = fields.maybe_seconds("readySeconds")?;
    Ok(Named {
        name: fields.get("name")?,
        uid: fields.get("uid")?,
        node: fields.or("node", String::new())?,
        view: replicaset::PodView {
            uid: 0,
            node: None,
            phase: fields.word("phase", &PHASES)?,
            ready: fields.get("ready")?,
            ready_since: NOW - ready_seconds.unwrap_or(0),
            deletion_cost: fields.or("deletionCost", 0)?,
            restarts: fields.or("restarts", 0)?,
            created: NOW - fields.seconds("ageSeconds")?,
        },
    })
}
