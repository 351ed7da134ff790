//! The console's metrics. Each console has its own registry: several consoles in one process do not share metrics.

use prometheus::{Encoder, IntCounter, IntGauge, Registry, TextEncoder};
use tokio::time::Instant;

macro_rules! metrics {
    ($($kind:ident $name:ident: $help:literal,)*) => {
        pub(crate) struct Metrics {
            registry: Registry,
            started: Instant,
            $(pub(crate) $name: $kind,)*
        }

        impl Metrics {
            /// # Errors
            /// If two metrics have the same name.
            pub(crate) fn new() -> prometheus::Result<Metrics> {
                let registry = Registry::new();
                $(
                    let $name = $kind::new(concat!("console_", stringify!($name)), $help)?;
                    registry.register(Box::new($name.clone()))?;
                )*
                Ok(Metrics { registry, started: Instant::now(), $($name,)* })
            }
        }
    };
}

metrics! {
    IntGauge ready: "1 once the cold start is over",
    IntGauge players: "Sessions that are playing: 0 or 1",
    IntGauge sockets: "Open sockets of the player",
    IntGauge uptime_seconds: "Seconds since the start",
    IntCounter sessions_total: "Sessions that have started to play",
    IntCounter refused_players_total: "Requests of a second session while one played",
    IntCounter frames_sent_total: "Frames sent to clients",
    IntCounter frames_skipped_total: "Frames not sent because the client was slow",
    IntCounter inputs_total: "Commands of clients",
    IntCounter bad_messages_total: "Invalid messages of clients",
    IntCounter instructions_total: "Instructions the machine executed",
    IntCounter games_started_total: "Games started from the menu",
    IntCounter saves_total: "Games saved",
    IntCounter loads_total: "Games loaded from a save",
    IntCounter save_errors_total: "Saves and loads that failed",
}

impl Metrics {
    /// All metrics in Prometheus' text format.
    pub(crate) fn text(&self) -> Result<Vec<u8>, prometheus::Error> {
        self.uptime_seconds.set(self.started.elapsed().as_secs() as i64);
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
    }
}
