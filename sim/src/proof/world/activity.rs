//! Tracks activity from the visitors' view, to check the fleet's view of it: a session is active when its visitor
//! sends a request or a message, and until that is answered, but never because its pod sends something. An active
//! session is not ended as idle.

use std::collections::{BTreeMap, VecDeque};

/// How long answered messages are remembered, in milliseconds.
const REMEMBERED: u64 = 60_000;
/// A session is still active if its last answered message is at most this old, in milliseconds.
const RECENT: u64 = 2_000;
/// Milliseconds from a message until a replica must have written the report: a sweep, a write, and a slow network.
const REPORT: u64 = 3_000;
/// Allowed surplus of reports: for messages that were sent without the visitor's knowledge, or for time in the queue.
const SLACK: u64 = 3;

/// The activity of each session's visitor, by the session's public name.
#[derive(Debug, Default)]
pub struct Activity {
    sessions: BTreeMap<String, Deeds>,
    /// When entries were lost, possibly including reports of activity.
    lost: Option<u64>,
}

#[derive(Debug, Default)]
struct Deeds {
    /// Number of requests and messages sent.
    sent: u64,
    /// When the last one was sent; `last_answered`: when the last answered one was sent.
    last: Option<u64>,
    last_answered: Option<u64>,
    /// Number of activity reports in the journal, except those while something was unanswered.
    reported: u64,
    /// When the messages that the pod has answered were sent.
    answered: VecDeque<u64>,
}

impl Activity {
    /// The visitor is about to send a request or a message.
    pub fn sends(&mut self, session: &str, now: u64) {
        let deeds = self.sessions.entry(session.to_owned()).or_default();
        deeds.sent += 1;
        deeds.last = Some(now);
    }

    /// The pod has answered what the visitor sent at `asked`.
    pub fn answered(&mut self, session: &str, asked: u64, now: u64) {
        let deeds = self.sessions.entry(session.to_owned()).or_default();
        deeds.answered.push_back(asked);
        deeds.last_answered = deeds.last_answered.max(Some(asked));
        while deeds.answered.front().is_some_and(|at| at + REMEMBERED < now) {
            deeds.answered.pop_front();
        }
    }

    /// A replica reports that a session with streams was active. Returns an error if its visitor cannot have been
    /// active.
    pub fn reported(&mut self, session: &str) -> Result<(), String> {
        // A session unknown to all visitors belongs to a bot.
        let Some(deeds) = self.sessions.get_mut(session) else { return Ok(()) };
        // A request in progress is activity for its whole duration, and so is a download that is read.
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

    /// A dispatcher continues under a new replica id. It writes again what it cannot know to be written: every report so far
    /// may come a second time.
    pub fn repeats(&mut self) {
        for deeds in self.sessions.values_mut() {
            deeds.reported = 0;
        }
    }

    /// The journal has lost its newest entries.
    pub fn rewound(&mut self, now: u64) {
        self.lost = Some(now);
    }

    /// A session has been ended as idle. Returns an error if it was active, and a replica had enough time to report
    /// that.
    ///
    /// `silence`: a replica without a heartbeat for this long is given up, so activity that it could not report
    /// before that does not count. All times are milliseconds.
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
        assert!(activity.idled("b", 15_000, 6_000, 30_000).is_ok(), "the session is unknown");
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
        activity.repeats();
        for _ in 0..5 {
            assert_eq!(activity.reported("a"), Ok(()), "a new life repeats reports");
        }
        assert!(activity.reported("a").is_err());
    }
}
