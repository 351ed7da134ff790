//! First come, first served.

use super::{Inner, short};
use slotkeeper::cookie::public_name;
use slotkeeper_core::{Effect, Ordinal, PoolId, SessionId};
use std::collections::BTreeSet;

impl Inner {
    /// First come, first served: a placed session was ahead of every session that still waits. Sessions that lost
    /// their pod are in front, and among those, the ones that can return to their ordinal. `before`: the waiting
    /// sessions, and the ordinal each may return to.
    pub(super) fn ordered(
        &mut self,
        pool: &PoolId,
        before: &[(SessionId, Option<Ordinal>)],
        effects: &[(PoolId, Effect)],
        at: u64,
    ) {
        let returns = |session: &SessionId, pod: &Ordinal| before.contains(&(*session, Some(*pod)));
        let placed: BTreeSet<SessionId> = effects
            .iter()
            .filter_map(|(_, e)| if let Effect::Placed { session, pod, .. } = e { Some((session, pod)) } else { None })
            .filter(|(session, pod)| !returns(session, pod))
            .map(|(session, _)| *session)
            .collect();
        let still: BTreeSet<SessionId> = self.mirror.queue(pool).collect();
        let requeued: BTreeSet<SessionId> = effects
            .iter()
            .filter_map(|(_, e)| if let Effect::Requeued { session, .. } = e { Some(*session) } else { None })
            .collect();
        self.count("check order".into());
        let passed = before.iter().position(|(s, _)| still.contains(s) && !requeued.contains(s)).and_then(|first| {
            let is_later = |s: &SessionId| before.iter().position(|(b, _)| b == s).is_none_or(|at| at > first);
            let passer = placed.iter().find(|s| !requeued.contains(s) && is_later(s))?;
            Some((before[first].0, *passer))
        });
        if let Some((waits, passer)) = passed {
            let (waits, passer) = (public_name(waits), public_name(passer));
            let what = format!("session {} was placed before {}, which came earlier", short(&passer), short(&waits));
            self.violate(at, "first come, first served", what);
        }
    }
}
