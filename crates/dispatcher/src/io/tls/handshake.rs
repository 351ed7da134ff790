//! How handshakes end, and their counters.

use prometheus::IntCounter;

/// How a handshake ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handshake {
    /// With the certificate.
    Full,
    /// With the keys of an earlier connection of the client.
    Resumed,
    /// It took longer than the listener allows.
    Timeout,
    /// The client closed the connection, or the network did.
    Closed,
    /// The client refused, for example because it does not trust the certificate.
    Rejected,
    /// The client sent no TLS, or none that is accepted.
    Refused,
}

impl Handshake {
    const ALL: [Handshake; 6] = [
        Handshake::Full,
        Handshake::Resumed,
        Handshake::Timeout,
        Handshake::Closed,
        Handshake::Rejected,
        Handshake::Refused,
    ];

    fn word(self) -> &'static str {
        match self {
            Handshake::Full => "full",
            Handshake::Resumed => "resumed",
            Handshake::Timeout => "timeout",
            Handshake::Closed => "closed",
            Handshake::Rejected => "rejected",
            Handshake::Refused => "refused",
        }
    }
}

/// Counts the handshakes of one listener.
#[derive(Clone)]
pub struct Handshakes([IntCounter; 6]);

impl Handshakes {
    /// The counters by the words of the results.
    pub fn new(counter: impl Fn(&str) -> IntCounter) -> Handshakes {
        Handshakes(Handshake::ALL.map(|result| counter(result.word())))
    }

    /// Counts one handshake.
    pub fn count(&self, result: Handshake) {
        if let Some(counter) = self.0.get(result as usize) {
            counter.inc();
        }
    }
}
