//! Accepts connections for all listeners: logs and counts failures, and retries after a pause.

use crate::io::inherited::is_out_of_files;
use crate::io::throttle::Throttle;
use crate::io::{Listener, Socket};
use prometheus::IntCounter;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

/// Pause after a failure that may last, for example when no descriptor is free.
const PAUSE: Duration = Duration::from_millis(50);

pub(crate) struct Acceptor {
    listener: Box<dyn Listener>,
    /// The name of the listener in logs.
    of: &'static str,
    errors: IntCounter,
    throttle: Throttle,
}

impl Acceptor {
    #[must_use]
    pub(crate) fn new(listener: Box<dyn Listener>, of: &'static str, errors: IntCounter) -> Acceptor {
        Acceptor { listener, of, errors, throttle: Throttle::new() }
    }

    /// As [`Listener::hand_over`].
    pub(crate) fn hand_over(&mut self) -> Option<Duration> {
        self.listener.hand_over()
    }

    /// Returns the next connection. Cancel-safe: no connection is lost.
    pub(crate) async fn accept(&mut self) -> (Socket, SocketAddr) {
        loop {
            match self.listener.accept().await {
                Ok(accepted) => return accepted,
                // Only that connection failed: it ended before it was accepted.
                Err(error) if is_of_one(&error) => {
                    tracing::debug!(of = self.of, "connection ended before it was accepted: {error}");
                }
                Err(error) => {
                    self.errors.inc();
                    if let Some(failures) = self.throttle.note() {
                        let of = self.of;
                        if is_out_of_files(&error) {
                            let files = crate::io::inherited::open_files();
                            tracing::warn!(of, failures, open_files = files, "cannot accept connections: {error}");
                        } else {
                            tracing::warn!(of, failures, "cannot accept connections: {error}");
                        }
                    }
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }
}

fn is_of_one(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
    )
}
