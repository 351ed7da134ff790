//! Pods that are returning: inside `desired`, but not yet certain to stay, because an earlier, lower size may still delete them
//! (`docs/behaviour.md`, §7; after a lapse: `docs/lapse.md`).

use super::{Pool, Step};
use crate::entry::Phase;
use crate::ids::{Ordinal, SessionId};
use crate::pods::Standing;
use crate::rules::Scaling;
use crate::sessions::State;
use crate::time::Time;
use alloc::vec::Vec;

impl Pool {
    /// A timeline begins: orders of another one, decided by entries that this fleet does not know, may still be in flight. So
    /// every pod inside `desired` is returning until a size of this timeline has been read; from then on such orders have no
    /// effect ([`Decision::may_overwrite`]). Until then it keeps its sessions, but admits none that has no stream there.
    pub(crate) fn doubt(&mut self, step: &mut Step<'_>) {
        planted!(TrustedAfterLapse => ());
        if self.rules.scaling == Scaling::None {
            return;
        }
        self.scale.doubt();
        self.scale.decide(step.position, step.timeline);
        let (desired, decided) = (self.scale.desired, self.scale.decided);
        for ordinal in (desired.start..desired.end).map(Ordinal) {
            let Some(pod) = self.pods.get_mut(&ordinal) else { continue };
            (pod.raised, pod.contested) = (decided, None);
            let sessions: Vec<SessionId> = match &mut pod.life {
                Some(life) => {
                    life.standing = Standing::Returning { decided, since: step.now };
                    pod.sessions.iter().copied().collect()
                }
                None => Vec::new(),
            };
            self.touch_pod(ordinal, step);
            for id in sessions {
                self.hold_on(id, Time::NEVER);
            }
        }
        if self.owes_scale() {
            self.tell_scale(step);
        }
    }

    /// Sets until when the session's slot is kept, if it has no streams.
    fn hold_on(&mut self, id: SessionId, time: Time) {
        self.change(id, |session| {
            if let State::Held { until, .. } = &mut session.state {
                *until = time;
            }
        });
    }

    /// Ends `Returning` for pods that are certain to stay. Returns whether there was one.
    pub(super) fn confirm_returning(&mut self, step: &mut Step<'_>) -> bool {
        let certain = |pool: &Pool, ordinal: Ordinal, decided: u64, since: Time, now: Time| {
            pool.scale.is_certain(ordinal.0, decided, since, &pool.rules, now)
        };
        self.confirm(certain, step).is_some()
    }

    /// As `confirm_returning`, with this condition on the ordinal, the position and the time since which its pod is returning,
    /// and the present time. Returns the highest of these ordinals, and the latest of these times.
    pub(super) fn confirm(
        &mut self,
        is_certain: impl Fn(&Pool, Ordinal, u64, Time, Time) -> bool,
        step: &mut Step<'_>,
    ) -> Option<(Ordinal, Time)> {
        let returning: Vec<Ordinal> = self.index.returning.iter().copied().collect();
        let mut last: Option<(Ordinal, Time)> = None;
        for ordinal in returning {
            let Some((decided, since)) = self.may_return(ordinal) else { continue };
            if !is_certain(self, ordinal, decided, since, step.now) {
                continue;
            }
            let standing = self.scale.standing(ordinal.0);
            let Some(pod) = self.pods.get_mut(&ordinal) else { continue };
            let Some(life) = &mut pod.life else { continue };
            life.standing = standing;
            life.forgive();
            pod.contested = None;
            last = Some((ordinal, last.map_or(since, |(_, before)| before.max(since))));
            self.touch_pod(ordinal, step);
            self.admit(ordinal, step);
        }
        last
    }

    /// Returns since when the pod is returning, if it can be used again at all. Once it is owed a recycle, a dispatcher may be
    /// deleting it: only its successor is placeable. A pod with sessions is owed none.
    fn may_return(&self, ordinal: Ordinal) -> Option<(u64, Time)> {
        let pod = self.pods.get(&ordinal)?;
        let life = pod.life.as_ref()?;
        let returning = pod.returning()?;
        let owed = life.stuck && pod.sessions.is_empty();
        (!matches!(life.phase, Phase::Terminating) && !owed).then_some(returning)
    }

    /// The pod is certain to stay again: its sessions may return from now on, unless it is to be emptied.
    fn admit(&mut self, ordinal: Ordinal, step: &mut Step<'_>) {
        let Some(pod) = self.pods.get(&ordinal) else { return };
        let sessions: Vec<SessionId> = pod.sessions.iter().copied().collect();
        let uid = pod.life.as_ref().filter(|l| l.standing == Standing::Leaving).map(|l| l.uid.clone());
        if let Some(uid) = uid {
            self.drain(ordinal, uid, step);
        }
        for id in sessions {
            let came = self.sessions.get(id).is_some_and(|s| s.state.has_come());
            self.hold_on(id, step.now + if came { self.rules.grace } else { self.rules.claim });
        }
    }
}
