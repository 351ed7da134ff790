//! The time within which the head of a request must be complete, from its first byte on.

use crate::config::Limits;
use crate::io::now;
use std::future::Future as _;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::{Instant, Sleep};

pub(crate) struct HeadTime {
    limit: Duration,
    /// When the current head began.
    since: Instant,
    timer: Option<Pin<Box<Sleep>>>,
}

impl HeadTime {
    pub(crate) fn new(limits: &Limits) -> HeadTime {
        HeadTime { limit: limits.header_time, since: now(), timer: None }
    }

    /// A head begins.
    pub(crate) fn begin(&mut self) {
        self.since = now();
    }

    pub(crate) fn since(&self) -> Instant {
        self.since
    }

    /// Ready if the current head takes too long. The timer is not moved for each head, but when it fires too early.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let due = self.since + self.limit;
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(due)));
        if timer.deadline() > due {
            timer.as_mut().reset(due);
        }
        while timer.as_mut().poll(cx).is_ready() {
            if now() >= due {
                return Poll::Ready(());
            }
            timer.as_mut().reset(due);
        }
        Poll::Pending
    }
}
