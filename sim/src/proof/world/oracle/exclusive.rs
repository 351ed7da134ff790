//! Exclusive: a pod that belongs to one session serves no other one.

use super::{Oracle, short};

impl Oracle {
    /// A pod that belongs to one session for its whole life has received a request. Returns false if it must refuse
    /// it.
    #[must_use]
    pub fn serves(&self, ordinal: u32, uid: &str, session: &str) -> bool {
        let at = self.now();
        let mut inner = self.locked();
        inner.count("check exclusive".into());
        let first = inner.first.entry(uid.to_owned()).or_insert_with(|| session.to_owned()).clone();
        if first == session {
            return true;
        }
        let what = format!(
            "pod {ordinal} ({uid}) belongs to session {}, and was asked to serve {}",
            short(&first),
            short(session)
        );
        inner.violate(at, "exclusive", what);
        false
    }

    /// A pod has answered a message that the visitor sent at `asked`, on a connection opened at `opened`: evidence
    /// from the visitor, independent of the fleet's state. `alone`: no other session may be in that pod.
    pub fn echoed(&self, uid: &str, session: &str, opened: u64, asked: u64, alone: bool) {
        let at = self.now();
        let mut inner = self.locked();
        inner.count("message echoed".into());
        inner.activity.answered(session, asked, at);
        let other = inner.echoes.insert(uid.to_owned(), (session.to_owned(), asked));
        let Some((other, theirs)) = other.filter(|(other, theirs)| alone && other != session && *theirs > opened)
        else {
            return;
        };
        let what = format!(
            "{uid} answers session {} on a connection of {opened} ms, and answered {} at {theirs} ms meanwhile",
            short(session),
            short(&other)
        );
        inner.violate(at, "exclusive", what);
    }
}
