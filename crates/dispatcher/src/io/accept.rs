//! Accepting connections when that may fail: what is logged then, and how soon it is tried again. The same for all listeners.

use crate::io::inherited::is_out_of_files;
use crate::io::{Listener, Stream};
use crate::throttle::Throttle;
use prometheus::IntCounter;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

/// After a failure that lasts (no free descriptor, say).
const PAUSE: Duration = Duration::from_millis(50);

pub(crate) struct Acceptor {
    listener: Box<dyn Listener>,
    /// Whose connections they are, as the log says it.
    of: &'static str,
    errors: IntCounter,
    throttle: Throttle,
}

impl Acceptor {
    #[must_use]
    pub(crate) fn new(listener: Box<dyn Listener>, of: &'static str, errors: IntCounter) -> Acceptor {
        Acceptor { listener, of, errors, throttle: Throttle::new() }
    }

    /// The next connection. Dropped before that, it loses none.
    pub(crate) async fn accept(&mut self) -> (Stream, SocketAddr) {
        loop {
            match self.listener.accept().await {
                Ok(accepted) => return accepted,
                // That connection only: it ended before it was accepted.
                Err(error) if is_of_one(&error) => tracing::debug!(of = self.of, "a connection ended at once: {error}"),
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
