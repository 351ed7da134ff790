//! A node: its kubelet runs the pods assigned to it. The program in a pod is in `program`.

use super::conduct::{Conduct, PodConduct};
use super::kube::{Kube, Pod, Stage, TERMINATION};
use super::oracle::Oracle;
use super::program::Program;
use super::window::Windows;
use crate::chance::Chance;
use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;

const LOOK: Duration = Duration::from_millis(50);

/// Shared by all pods of a world.
#[derive(Clone)]
pub struct Pods {
    pub kube: Kube,
    pub oracle: Oracle,
    /// Each pod belongs to its first session for its whole life.
    pub recycled: bool,
    pub chance: Chance,
    pub conduct: Conduct,
    pub windows: Windows,
}

/// One container.
struct Container {
    tasks: JoinSet<()>,
    /// True after SIGTERM.
    stopping: watch::Sender<bool>,
    ready_at: u64,
    runs: bool,
}

/// Uids of containers that a fault crashes.
pub type Crashes = Arc<Mutex<Vec<String>>>;

/// Runs the node's host.
pub async fn run(node: usize, pods: Pods, crashes: Crashes) -> io::Result<()> {
    let mut containers: BTreeMap<String, Container> = BTreeMap::new();
    // Containers from before the loss of the node have ended: they start again.
    for pod in pods.kube.assigned(node) {
        if matches!(pod.stage, Stage::Ready { .. } | Stage::Unready) {
            let ready_at = pods.kube.restarts(&pod.uid);
            containers.insert(pod.uid, Container::new(ready_at));
        }
    }
    loop {
        let assigned = pods.kube.assigned(node);
        let crashed: Vec<String> = {
            let mut crashes = crashes.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            let here = |uid: &String| assigned.iter().any(|p| p.uid == *uid);
            let (mine, others) = crashes.drain(..).partition(here);
            *crashes = others;
            mine
        };
        for uid in crashed {
            pods.oracle.log(format!("the container of {uid} crashes"));
            let ready_at = pods.kube.restarts(&uid);
            containers.insert(uid, Container::new(ready_at));
        }
        containers.retain(|uid, _| assigned.iter().any(|p| p.uid == *uid));
        let now = pods.oracle.now();
        for pod in assigned {
            if let Some(deadline) = pod.terminating {
                match containers.get_mut(&pod.uid).filter(|c| c.runs) {
                    Some(container) => {
                        container.stopping.send_replace(true);
                        if now >= deadline - TERMINATION / 2 {
                            containers.remove(&pod.uid);
                            pods.kube.ended(&pod.uid);
                        }
                    }
                    None => pods.kube.ended(&pod.uid),
                }
                continue;
            }
            if pod.stage == Stage::Failed {
                containers.remove(&pod.uid);
            }
            let ready_at = match (pod.stage, containers.get(&pod.uid)) {
                (Stage::Starting { ready_at }, None) => ready_at,
                // The pod is ready: while the node was silent, the kubelet could not report the end of the container.
                (Stage::Ready { .. } | Stage::Unready, Some(container)) if !container.runs => container.ready_at,
                // The node was considered lost, but was not; or it started the container while it was silent.
                (Stage::Starting { .. } | Stage::Unready, Some(_)) => {
                    pods.kube.stage(&pod.uid, Stage::Ready { since: now });
                    continue;
                }
                _ => continue,
            };
            if now >= ready_at {
                containers.insert(pod.uid.clone(), Container::start(&pod, &pods));
                pods.kube.stage(&pod.uid, Stage::Ready { since: now });
            }
        }
        tokio::time::sleep(LOOK).await;
    }
}

impl Container {
    /// Creates a container that does not run before `ready_at`.
    fn new(ready_at: u64) -> Container {
        Container { tasks: JoinSet::new(), stopping: watch::channel(false).0, ready_at, runs: false }
    }

    fn start(pod: &Pod, pods: &Pods) -> Container {
        let mut container = Container::new(0);
        container.runs = true;
        pods.oracle.pod_is_at(pod.address, pod.ordinal, &pod.uid);
        let program = Program {
            base: "/",
            ordinal: pod.ordinal,
            uid: pod.uid.clone(),
            oracle: pods.oracle.clone(),
            recycled: pods.recycled,
            stopping: container.stopping.subscribe(),
            conduct: PodConduct::draw(pods.conduct, pods.chance, &pod.uid),
            dice: Arc::new(Mutex::new(pods.chance.stream(&format!("whims of {}", pod.uid)))),
            windows: pods.windows.clone(),
        };
        container.tasks.spawn(program.serve(pod.address.port()));
        container
    }
}
