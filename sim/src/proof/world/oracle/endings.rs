//! A session ends only for the reason that is given: disconnected, or idle.

use super::super::setting::POOL;
use super::{EPOCH, Inner, Oracle, short};
use slotkeeper::cookie::public_name;
use slotkeeper_core::{PoolId, Session, SessionId, State, Time, Why};

impl Oracle {
    /// The visitor of this session is about to send a request or a message.
    pub fn sends(&self, session: &str) {
        let at = self.now();
        self.locked().activity.sends(session, at);
    }

    /// The session's pod has answered a request that the visitor sent at `asked`.
    pub fn answered(&self, session: &str, asked: u64) {
        let at = self.now();
        self.locked().activity.answered(session, asked, at);
    }
}

impl Inner {
    /// A session of a playing visitor must not be released as disconnected.
    pub(super) fn is_not_playing(&mut self, name: &str, why: Why, at: u64) {
        let pool = POOL.into();
        let Some(rules) = self.mirror.rules(&pool) else { return };
        let clock = match why {
            Why::Disconnected => rules.grace.0,
            Why::NoShow => rules.claim.0,
            Why::LeftQueue => rules.queue_lease.0,
            Why::Idle | Why::TimeUp | Why::Left | Why::Kicked | Why::PodLost | Why::PoolRemoved => return,
        };
        let half = rules.silence.0 / 2;
        self.count("check playing".into());
        let played = self.echoes.values().find(|(session, asked)| session == name && asked + 1_000 > at).cloned();
        let Some((_, asked)) = played else { return };
        // For sessions affected by a loss of entries, this is unknown. A step of the journal's clock counts for at
        // most half a silence; the release is excused if the session's time-out has passed with that step.
        let passed = at - asked + self.stepped(asked).min(half);
        let is_shaken = self.names.get(name).is_some_and(|id| self.shaken.contains(id));
        if is_shaken || passed >= clock {
            self.count("excused release".into());
        } else {
            let what = format!("session {} is released ({}), and was answered at {asked} ms", short(name), why.word());
            self.violate(at, "a playing session is not released as disconnected", what);
        }
    }

    /// Checks that a session that was ended as idle was idle.
    pub(super) fn is_idle(&mut self, pool: &PoolId, name: &str, why: Why, at: u64) {
        let Some(rules) = self.mirror.rules(pool).filter(|_| why == Why::Idle) else { return };
        let (idle, silence) = (rules.idle.unwrap_or_default().0, self.mirror.silence().0);
        if self.stepped(at.saturating_sub(idle)) > 0 {
            return;
        }
        if let Err(what) = self.activity.idled(name, idle, silence, at) {
            let what = format!("session {} is ended {what}", short(name));
            self.violate(at, "an active session is not ended as idle", what);
        }
    }

    /// A replica reports these sessions as active: the visitors of those with streams must have sent something.
    pub(super) fn check_reports(&mut self, pool: &PoolId, sessions: &[SessionId], at: u64) {
        for id in sessions {
            let is_taken = |s: &Session| matches!(s.state, State::Taken { .. });
            if !self.mirror.session(pool, *id).is_some_and(is_taken) {
                continue;
            }
            self.count("check activity".into());
            let name = public_name(*id);
            if let Err(what) = self.activity.reported(&name) {
                self.violate(
                    at,
                    "only its visitor makes a session active",
                    format!("session {}: {what}", short(&name)),
                );
            }
        }
    }

    /// Returns by how many milliseconds the journal's clock has run ahead since then.
    pub(super) fn stepped(&self, since: u64) -> u64 {
        let ahead = |(at, clock): &(u64, Time)| clock.0.saturating_sub(EPOCH + at);
        let then = self.stamps.partition_point(|(at, _)| *at <= since);
        let then = then.checked_sub(1).and_then(|before| self.stamps.get(before));
        let (then, now) = (then.map_or(0, ahead), self.stamps.back().map_or(0, ahead));
        now.saturating_sub(then)
    }
}
