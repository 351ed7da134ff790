//! No live session is killed.

use super::{Inner, Oracle, short};
use crate::record::{Mark, MarkKind};
use slotkeeper::cookie::public_name;
use slotkeeper_core::{Ordinal, PoolId, SessionId};

const SCALE_DOWN: &str = "a scale-down";

impl Oracle {
    /// A scaler deletes an incarnation: no session may have a slot there.
    pub fn scaled_down(&self, ordinal: u32, uid: &str) {
        let at = self.now();
        self.locked().deleted(&self.pool, ordinal, uid, at, SCALE_DOWN);
    }

    /// A dispatcher recycles an incarnation.
    pub fn recycled(&self, ordinal: u32, uid: &str) {
        let at = self.now();
        self.locked().deleted(&self.pool, ordinal, uid, at, "a recycle");
    }
}

impl Inner {
    pub(super) fn deleted(&mut self, pool: &PoolId, ordinal: u32, uid: &str, at: u64, by: &str) {
        self.log(at, format!("pod {ordinal} ({uid}) is deleted by {by}"));
        if let Some((session, asked)) = self.echoes.get(uid).filter(|(_, asked)| by == SCALE_DOWN && asked + 1_000 > at)
        {
            let what = format!(
                "pod {ordinal} ({uid}) is deleted under session {}, which it answered at {asked} ms",
                short(session)
            );
            self.violate(at, "no live session is killed", what);
        }
        let Some(pod) = self.mirror.pod(pool, Ordinal(ordinal)) else { return };
        if pod.life.as_ref().is_none_or(|l| &*l.uid.0 != uid) {
            return;
        }
        let departed = |id: &SessionId| self.departed.contains(&(public_name(*id), uid.to_owned()));
        let there: Vec<SessionId> = pod.sessions.iter().copied().filter(|id| !departed(id)).collect();
        if let Some(first) = there.first() {
            let what =
                format!("pod {ordinal} ({uid}) is deleted by {by} under session {}", short(&public_name(*first)));
            for session in there {
                self.life(session, at).killed = true;
            }
            self.marks.push(Mark { at, until: None, kind: MarkKind::Kill, text: what.clone() });
            self.violate(at, "no live session is killed", what);
        }
    }
}
