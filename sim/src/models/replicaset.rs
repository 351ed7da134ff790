//! The ReplicaSet controller: how many pods it creates, and which ones it deletes (`pkg/controller/replicaset`,
//! `controller_utils.go`: ActivePodsWithRanks). Deployments scale through it.

use super::statefulset::Phase;
use std::cmp::Ordering;
use std::collections::BTreeMap;

/// Maximum number of creations or deletions in one sync.
const BURST: usize = 500;

/// One active pod of the set: neither terminating nor Failed nor Succeeded. Other pods must be omitted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodView {
    /// Orders pods that are equal in everything else.
    pub uid: u64,
    /// `None`: not scheduled yet.
    pub node: Option<u32>,
    pub phase: Phase,
    /// The Ready condition.
    pub ready: bool,
    /// Time of the last change to ready.
    pub ready_since: u64,
    /// `controller.kubernetes.io/pod-deletion-cost`.
    pub deletion_cost: i32,
    /// The highest restart count of its containers.
    pub restarts: u32,
    pub created: u64,
}

/// The actions of one sync.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sync {
    pub create: usize,
    /// Indexes into the pods, the most preferred victim first.
    pub delete: Vec<usize>,
    /// `status.replicas`: active pods only, before this sync.
    pub status: usize,
}

/// Runs one sync. `related`: the nodes of all active pods of the same owner (a Deployment's other ReplicaSets);
/// `None`: only the nodes of these pods. O(n log n).
#[must_use]
pub fn sync(replicas: usize, pods: &[PodView], related: Option<&[u32]>, now: u64) -> Sync {
    let create = replicas.saturating_sub(pods.len()).min(BURST);
    let count = pods.len().saturating_sub(replicas).min(BURST);
    let delete = if count == 0 { Vec::new() } else { victims(pods, count, related, now) };
    Sync { create, delete, status: pods.len() }
}

fn victims(pods: &[PodView], count: usize, related: Option<&[u32]>, now: u64) -> Vec<usize> {
    let mut on_node: BTreeMap<u32, usize> = BTreeMap::new();
    match related {
        Some(nodes) => nodes.iter().for_each(|n| *on_node.entry(*n).or_default() += 1),
        None => pods.iter().filter_map(|p| p.node).for_each(|n| *on_node.entry(n).or_default() += 1),
    }
    let crowd = |p: &PodView| p.node.and_then(|n| on_node.get(&n)).copied().unwrap_or(0);
    let before = |a: &usize, b: &usize| match (pods.get(*a), pods.get(*b)) {
        (Some(a), Some(b)) => compare(a, b, (crowd(a), crowd(b)), now) == Ordering::Less,
        (Some(_) | None, _) => false,
    };
    let mut order = merge_sort((0..pods.len()).collect(), &before);
    order.truncate(count);
    order
}

/// Less: `a` is deleted first. The first difference decides.
fn compare(a: &PodView, b: &PodView, (crowd_a, crowd_b): (usize, usize), now: u64) -> Ordering {
    a.node
        .is_some()
        .cmp(&b.node.is_some())
        .then(a.phase.cmp(&b.phase))
        .then(a.ready.cmp(&b.ready))
        .then(a.deletion_cost.cmp(&b.deletion_cost))
        .then(crowd_b.cmp(&crowd_a))
        .then_with(|| match a.ready && b.ready {
            true => by_age(a.ready_since, b.ready_since, (a.uid, b.uid), now),
            false => Ordering::Equal,
        })
        .then(b.restarts.cmp(&a.restarts))
        .then_with(|| by_age(a.created, b.created, (a.uid, b.uid), now))
}

/// Younger first, but only by orders of magnitude (powers of two, in nanoseconds); within one, the lower uid first.
fn by_age(a: u64, b: u64, (uid_a, uid_b): (u64, u64), now: u64) -> Ordering {
    if a == b {
        return Ordering::Equal;
    }
    let magnitude = |t: u64| now.saturating_sub(t).saturating_mul(1_000_000).checked_ilog2();
    magnitude(a).cmp(&magnitude(b)).then(uid_a.cmp(&uid_b))
}

/// The rules above are not a total order (equal times are ordered by restarts, different times of one magnitude by
/// uid), and the library's sort may panic on that.
fn merge_sort(mut items: Vec<usize>, before: &impl Fn(&usize, &usize) -> bool) -> Vec<usize> {
    if items.len() < 2 {
        return items;
    }
    let right = merge_sort(items.split_off(items.len() / 2), before);
    let left = merge_sort(items, before);
    let mut merged = Vec::with_capacity(left.len() + right.len());
    let (mut left, mut right) = (left.into_iter().peekable(), right.into_iter().peekable());
    while let (Some(l), Some(r)) = (left.peek(), right.peek()) {
        merged.extend(if before(r, l) { right.next() } else { left.next() });
    }
    merged.extend(left.chain(right));
    merged
}
