//! The push stream of an external-push trigger: when it is reopened (`pkg/scaling/scale_handler.go`,
//! startPushScalers).

/// How a stream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The server closed it with OK.
    Clean,
    Error,
}

/// One trigger's stream. It is opened when the scale loop starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stream {
    wait: u64,
}

impl Stream {
    const FIRST: u64 = 2_000;
    const LONGEST: u64 = 60_000;

    /// Returns how long until the stream is reopened, in milliseconds: 2 s, doubling, at most 60 s. Only a clean end
    /// resets the backoff (and itself waits 2 s); hours of uptime do not.
    pub fn ended(&mut self, end: End) -> u64 {
        if end == End::Clean {
            self.wait = Self::FIRST;
        }
        let wait = self.wait;
        self.wait = (wait * 2).min(Self::LONGEST);
        wait
    }
}

impl Default for Stream {
    fn default() -> Stream {
        Stream { wait: Self::FIRST }
    }
}
