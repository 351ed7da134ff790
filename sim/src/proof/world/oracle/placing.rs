//! Sticky: a session reaches only pods that it was given, and is given none that is about to end.

use super::{Inner, Oracle, short};
use slotkeeper::cookie::public_name;
use slotkeeper_core::{Command, Effect, PoolId};
use std::collections::BTreeSet;

impl Oracle {
    /// A session has reached a pod: it must have been placed there.
    pub fn arrived(&self, ordinal: u32, uid: &str, session: &str) {
        let at = self.now();
        let mut inner = self.locked();
        let Some(id) = inner.names.get(session).copied() else {
            return inner.violate(
                at,
                "sticky",
                format!("pod {ordinal} got session {}, which the journal does not know", short(session)),
            );
        };
        let given = inner.places.get(&id).is_some_and(|uids| uids.iter().any(|u| u == uid));
        if !given {
            let what = format!("session {} reached pod {ordinal} ({uid}), which it was never given", short(session));
            inner.violate(at, "sticky", what);
        }
        if let Some(placed) = inner.placed.remove(&id) {
            inner.answered.push(at - placed);
        }
    }
}

impl Inner {
    /// `ending`: the incarnations that were about to end before the entry. Deadlines that became due with the entry
    /// are handled before its own observation of a pod.
    pub(super) fn placed_where_it_can_stay(
        &mut self,
        pool: &PoolId,
        ending: &BTreeSet<String>,
        effect: &Effect,
        command: &Command,
        at: u64,
    ) {
        let Effect::Placed { session, pod, .. } = effect else { return };
        let news = matches!(command, Command::PodSeen { .. } | Command::PodGone { .. } | Command::PodsListed { .. });
        let ends = self.mirror.pod(pool, *pod).is_none_or(|p| p.is_terminating());
        let uid = self.uid(pool, *pod).unwrap_or_default();
        if ending.contains(&uid) || ends && !news {
            let name = public_name(*session);
            let what = format!("session {} is placed in pod {pod} ({uid}), which terminates", short(&name));
            self.violate(at, "no session is placed in a terminating pod", what);
        }
    }
}
