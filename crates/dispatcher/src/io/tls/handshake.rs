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

/// The reaction of a client that was asked for a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Client {
    /// One that was accepted.
    Verified,
    /// None, and none is required.
    Anonymous,
    /// One that was not accepted, or none although one is required.
    Refused,
}

impl Client {
    const ALL: [Client; 3] = [Client::Verified, Client::Anonymous, Client::Refused];

    fn word(self) -> &'static str {
        match self {
            Client::Verified => "verified",
            Client::Anonymous => "none",
            Client::Refused => "refused",
        }
    }
}

/// Counts the handshakes of one listener.
#[derive(Clone)]
pub struct Handshakes {
    results: [IntCounter; 6],
    clients: [IntCounter; 3],
}

impl Handshakes {
    /// The counters by the words of the results.
    pub fn new(results: impl Fn(&str) -> IntCounter, clients: impl Fn(&str) -> IntCounter) -> Handshakes {
        Handshakes {
            results: Handshake::ALL.map(|result| results(result.word())),
            clients: Client::ALL.map(|result| clients(result.word())),
        }
    }

    /// Counts one handshake.
    pub fn count(&self, result: Handshake) {
        if let Some(counter) = self.results.get(result as usize) {
            counter.inc();
        }
    }

    /// Counts one client certificate, or its absence.
    pub fn count_client(&self, result: Client) {
        if let Some(counter) = self.clients.get(result as usize) {
            counter.inc();
        }
    }
}
