//! Attach, then forward: whose bytes a dispatcher may send to a pod.

use super::mirror::uid_of;
use super::{Before, Inner, Oracle, short};
use slotkeeper_core::{Fleet, PoolId, ReplicaId, State};
use std::collections::BTreeSet;
use std::net::SocketAddr;

impl Oracle {
    /// A dispatcher writes bytes of a session to a pod: the slot must belong to that session now, and the dispatcher
    /// must be attached to it.
    pub fn egress(&self, host: usize, to: SocketAddr, session: &str) {
        let at = self.now();
        let mut inner = self.locked();
        inner.count("check egress".into());
        let Some((ordinal, uid)) = inner.addresses.get(&to).cloned() else { return };
        inner.departed.remove(&(session.to_owned(), uid.clone()));
        // A discarded fleet counts only for a process that has not restarted since. It may live under a new id: the streams of its
        // former life end, but their last frame may be sent late.
        let is_former = |id: &ReplicaId| inner.former.get(&host).is_some_and(|former| former.contains(id));
        let same = |b: &&Before| {
            let then = b.lives.get(&host);
            then == inner.lives.get(&host) || then.is_some_and(is_former)
        };
        let before = inner.before.iter().filter(same).map(|b| (&b.fleet, &b.lives));
        let fleets = before.chain([(&inner.mirror, &inner.lives)]);
        let allowed = fleets
            .map(|(fleet, lives)| {
                let former = inner.former.get(&host).into_iter().flatten();
                let me: BTreeSet<ReplicaId> = lives.get(&host).into_iter().chain(former).copied().collect();
                inner.may_write(&self.pool, fleet, at, &me, (ordinal, &uid), session)
            })
            .reduce(|before, now| if before.is_ok() { before } else { now });
        if let Some(Err(why)) = allowed {
            let name = short(session);
            let what = format!("dispatcher {host} sends bytes of session {name} to pod {ordinal} ({uid}), but {why}");
            inner.violate(at, "attach, then forward", what);
        }
    }
}

impl Inner {
    pub(super) fn may_write(
        &self,
        pool: &PoolId,
        fleet: &Fleet,
        at: u64,
        me: &BTreeSet<ReplicaId>,
        (ordinal, uid): (u32, &str),
        name: &str,
    ) -> Result<(), String> {
        let Some(session) = self.names.get(name).and_then(|id| fleet.session(pool, *id)) else {
            return Err("the journal knows no such session (any more)".into());
        };
        let (pod, by) = match &session.state {
            State::Taken { pod, by } | State::Ending { pod, by, .. } => (pod, by),
            // The fleet considers the pod lost. A dispatcher may not know that yet, but only while it may be cut off.
            State::Queued { lost: true, .. } if self.last_place(name) == Some(uid) => {
                let since = self.names.get(name).and_then(|id| self.requeued.get(id)).copied().unwrap_or_default();
                let late = at.saturating_sub(since);
                if late <= fleet.patience().0 {
                    return Ok(());
                }
                return Err(format!("its pod was lost {late} ms ago"));
            }
            State::Queued { .. } | State::Held { .. } => {
                return Err(format!("it is not attached: {:?}", session.state));
            }
        };
        let there = uid_of(fleet, pool, *pod).unwrap_or_default();
        if pod.0 != ordinal || there != uid {
            return Err(format!("it is placed in pod {pod} ({there})"));
        }
        if !by.iter().any(|replica| me.contains(replica)) {
            return Err(format!("this dispatcher has not attached it: {:?}", session.state));
        }
        Ok(())
    }

    /// Returns the incarnation in which the session was placed last.
    pub(super) fn last_place(&self, name: &str) -> Option<&str> {
        let places = self.places.get(self.names.get(name)?)?;
        places.last().map(String::as_str)
    }
}
