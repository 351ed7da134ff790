//! Consecutive failures of one ordinal: the back-off before the next start, and its description.

use super::child::End;
use crate::cluster::probe::in_words;
use slotkeeper_core::planted;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

/// From this many consecutive failures on, the pod is logged as failing repeatedly.
const LOOP: u32 = 3;

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Crashes(u32);

impl Crashes {
    /// Counts a failure. Returns the time to wait, which doubles from the first to the second value of `backoff`.
    pub(super) fn another(&mut self, backoff: (Duration, Duration)) -> Duration {
        planted!(RestartAtOnce => self.another_at_once());
        let (first, most) = backoff;
        let doubled = first.saturating_mul(1_u32.checked_shl(self.0).unwrap_or(u32::MAX));
        self.0 = self.0.saturating_add(1);
        doubled.min(most.max(first))
    }

    #[cfg(feature = "planted")]
    fn another_at_once(&mut self) -> Duration {
        self.0 = self.0.saturating_add(1);
        Duration::ZERO
    }

    pub(super) fn is_loop(self) -> bool {
        self.0 >= LOOP
    }

    /// "crashed 3 times, last: exit status 1; next try in 8 s"
    pub(super) fn why(self, last: &End, wait: Duration) -> Arc<str> {
        let verb = match last {
            End::Status(status) if status.success() => "stopped by itself",
            End::Status(_) | End::Before | End::Unsupervised => "crashed",
            End::Hung(_) => "was ended",
        };
        let times = if self.0 == 1 { "once".to_owned() } else { format!("{} times", self.0) };
        format!("{verb} {times}, last: {}; next try in {}", ending(last), in_words(wait)).into()
    }
}

/// Describes how a process ended.
pub(super) fn ending(end: &End) -> String {
    match end {
        End::Status(status) => exit(*status),
        End::Before => "not started".into(),
        End::Unsupervised => "its supervisor was killed".into(),
        End::Hung(limit) => format!("it did not answer for {}", in_words(*limit)),
    }
}

fn exit(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => format!("killed by signal {signal}"),
        (None, None) => "an unknown end".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_doubles_up_to_the_maximum() {
        let mut crashes = Crashes::default();
        let backoff = (Duration::from_secs(1), Duration::from_secs(5));
        let waits: Vec<u64> = (0..5).map(|_| crashes.another(backoff).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 5, 5]);
        for _ in 0..100 {
            assert_eq!(crashes.another(backoff).as_secs(), 5);
        }
    }

    #[test]
    fn failures_are_described_in_plain_words() {
        let mut crashes = Crashes::default();
        let backoff = (Duration::from_secs(4), Duration::from_secs(60));
        let wait = crashes.another(backoff);
        let why = crashes.why(&End::Status(ExitStatus::from_raw(9)), wait);
        assert_eq!(&*why, "crashed once, last: killed by signal 9; next try in 4 s");
        let wait = crashes.another(backoff);
        assert_eq!(
            &*crashes.why(&End::Status(ExitStatus::from_raw(1 << 8)), wait),
            "crashed 2 times, last: exit status 1; next try in 8 s"
        );
        assert_eq!(
            &*crashes.why(&End::Status(ExitStatus::from_raw(0)), wait),
            "stopped by itself 2 times, last: exit status 0; next try in 8 s"
        );
    }
}
