//! Activity as visitors know it, to check what the fleet makes of it: a session is active when its visitor sends a request or
//! a message, and until that is answered, never when its pod does. A session that is active is not ended as idle.

use std::collections::{BTreeMap, VecDeque};

/// How long answered messages are remembered, in milliseconds.
const REMEMBERED: u64 = 60_000;
/// A session is still active if the last message that was answered is not older than this, in milliseconds.
const RECENT: u64 = 2_000;
/// Milliseconds from a message until a replica must have written the report: a sweep, a write, and a slow network.
const REPORT: u64 = 3_000;
/// Reports that may concern a message of which the visitor does not know that it was sent, or a time in the queue.
const SLACK: u64 = 3;

/// What each session's visitor has done, by the session's public name.
#[derive(Debug, Default)]
pub struct Activity {
    sessions: BTreeMap<String, Deeds>,
    /// Entries were lost at this moment: reports of activity may be among them.
    lost: Option<u64>,
}

#[derive(Debug, Default)]
struct Deeds {
    /// Requests and messages that were sent.
    sent: u64,
    /// When the last one was sent, and when the last one that was answered.
    last: Option<u64>,
    last_answered: Option<u64>,
    /// Reports of activity that are in the journal, but for those while something was unanswered.
    reported: u64,
    /// When the messages were sent that the pod has answered.
    answered: VecDeque<u64>,
}

impl Activity {
    /// The visitor is about to send a request or a message.
    pub fn sends(&mut self, session: &str, now: u64) {
        let deeds = self.sessions.entry(session.to_owned()).or_default();
        deeds.sent += 1;
        deeds.last = Some(now);
    }

    /// What the visitor sent at `asked` has been answered by its pod.
    pub fn answered(&mut self, session: &str, asked: u64, now: u64) {
        let deeds = self.sessions.entry(session.to_owned()).or_default();
        deeds.answered.push_back(asked);
        deeds.last_answered = deeds.last_answered.max(Some(asked));
        while deeds.answered.front().is_some_and(|at| at + REMEMBERED < now) {
            deeds.answered.pop_front();
        }
    }

    /// A replica reports that a session with streams was active. The error: its visitor cannot have been.
    pub fn reported(&mut self, session: &str) -> Result<(), String> {
        // A session of which no visitor knows is a bot's.
        let Some(deeds) = self.sessions.get_mut(session) else { return Ok(()) };
        // A request in progress is activity for as long as it takes, and so is a download that is read.
        if deeds.last > deeds.last_answered {
            return Ok(());
        }
        deeds.reported += 1;
        if deeds.reported <= deeds.sent + SLACK {
            return Ok(());
        }
        let Deeds { sent, reported, .. } = deeds;
        Err(format!("{reported} reports of activity, and the visitor has sent {sent} requests and messages"))
    }

    /// The journal has lost its newest entries.
    pub fn rewound(&mut self, now: u64) {
        self.lost = Some(now);
    }

    /// A session has been ended as idle. The error: it was active, and a replica had enough time to report it.
    ///
    /// `silence`: after so long without a sign of life a replica is given up, so whatever it could not report before that is no
    /// fault. All in milliseconds.
    pub fn idled(&self, session: &str, idle: u64, silence: u64, now: u64) -> Result<(), String> {
        if self.lost.is_some_and(|at| at + idle > now) {
            return Ok(());
        }
        let Some(deeds) = self.sessions.get(session) else { return Ok(()) };
        let within = |from: u64, to: u64| {
            deeds.answered.iter().rev().find(|at| (from..=to).contains(&now.saturating_sub(**at))).copied()
        };
        let (last, reportable) = (within(0, RECENT), within(silence + REPORT, idle.saturating_sub(1_000)));
        match last.zip(reportable) {
            Some((last, reportable)) => Err(format!(
                "after {idle} ms without activity; its visitor sent messages at {reportable} ms and at {last} ms, and was answered"
            )),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Activity;

    #[test]
    fn a_session_that_sends_messages_is_not_idle() {
        let mut activity = Activity::default();
        for at in (0..30_000).step_by(1_000) {
            activity.answered("a", at, at + 20);
        }
        assert!(activity.idled("a", 15_000, 6_000, 30_000).is_err());
        assert!(activity.idled("a", 15_000, 6_000, 33_000).is_ok(), "it has stopped");
        assert!(activity.idled("a", 15_000, 14_000, 30_000).is_ok(), "no replica had the time to report it");
        activity.rewound(20_000);
        assert!(activity.idled("a", 15_000, 6_000, 30_000).is_ok(), "the reports may be lost");
        assert!(activity.idled("b", 15_000, 6_000, 30_000).is_ok(), "nobody has heard of it");
    }

    #[test]
    fn a_session_whose_visitor_sends_nothing_is_not_reported_as_active() {
        let mut activity = Activity::default();
        activity.sends("a", 1);
        for _ in 0..9 {
            assert_eq!(activity.reported("a"), Ok(()), "it has not been answered yet");
        }
        activity.answered("a", 1, 2);
        for _ in 0..4 {
            assert_eq!(activity.reported("a"), Ok(()));
        }
        assert!(activity.reported("a").is_err());
        activity.sends("a", 3);
        activity.answered("a", 3, 4);
        assert!(activity.reported("a").is_err(), "one message does not account for two reports");
    }
}
