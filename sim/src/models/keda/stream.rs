//! The push stream of an external-push trigger: when it is opened again (`pkg/scaling/scale_handler.go`, startPushScalers).

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

    /// How long until it is opened again, in milliseconds: 2 s, doubling, at most 60 s. Only a clean end begins anew (and
    /// is itself the first of the new row); hours of health do not.
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
