//! Nothing breaks without a cause.

use super::{Inner, Oracle};
use crate::record::SessionLife;
use slotkeeper::cookie::public_name;
use slotkeeper_core::SessionId;

/// Milliseconds after the end of the last fault in which streams may still break: by then all interrupted connections
/// have been given up (`silence` and `grace` are at most 16 s), and all lost requests have been retried.
const AFTERMATH: u64 = 30_000;
/// Milliseconds after the end of a session in which its transfers may still be noticed to have ended: bodies are read slowly.
const SLOW: u64 = 3_000;
/// Events that a visitor never meets in a world without faults.
const ODD: [&str; 9] = [
    "socket broken",
    "socket silent",
    "socket stuck",
    "socket refused",
    "answer 502",
    "answer none",
    "upload failed",
    "upload broken off",
    "download failed",
];

impl Oracle {
    /// A visitor meets this event; some events need a cause.
    pub fn meets(&self, what: String) {
        let at = self.now();
        let mut inner = self.locked();
        let excused = inner.faults > 0 || inner.last_fault.is_some_and(|ended| at <= ended + AFTERMATH);
        if ODD.contains(&what.as_str()) {
            if excused {
                inner.count("excused break".into());
            } else {
                let since = inner
                    .last_fault
                    .map_or("there was none".into(), |ended| format!("the last one ended at {ended} ms"));
                inner.violate(at, "nothing breaks without a cause", format!("{what}, and no fault is active; {since}"));
            }
        }
        inner.count(what);
    }

    /// Reports whether no fault is active or has ended lately, and sessions are placed, so no entries can be lost.
    #[must_use]
    pub fn is_undisturbed(&self) -> bool {
        let at = self.now();
        let inner = self.locked();
        inner.faults == 0 && inner.last_fault.is_none_or(|ended| at > ended + AFTERMATH) && !inner.mirror.is_quiet()
    }

    /// The rest of a body does not arrive, or a request with a body is not answered. The end of its session is a cause.
    pub fn breaks_off(&self, what: &str, session: &str) {
        let at = self.now();
        let has_ended = |(id, life): (&SessionId, &SessionLife)| {
            public_name(*id) == session && life.end.is_some_and(|end| at <= end + SLOW)
        };
        let ended = self.locked().sessions.iter().any(has_ended);
        if ended {
            self.count("transfer ended with its session");
        } else {
            self.meets(what.into());
        }
    }
}

impl Inner {
    pub(super) fn mended(&mut self, at: u64) {
        self.faults = self.faults.saturating_sub(1);
        self.last_fault = Some(at);
    }
}
