//! Receives every log line of every process in the world: an ERROR breaks a promise, a WARN is part of the story, and
//! all lines, if requested, are the trace that two runs of one seed must share.

use super::oracle::Oracle;
use std::fmt::{Debug, Write as _};
use std::sync::{Arc, Mutex, PoisonError};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

/// The log of one world.
pub struct Lines {
    inner: Arc<Inner>,
}

struct Inner {
    oracle: Oracle,
    trace: bool,
    lines: Mutex<Vec<String>>,
    /// The spans of the host that is currently running.
    host: Mutex<Vec<(u64, String)>>,
    spans: std::sync::atomic::AtomicU64,
}

impl Lines {
    pub fn new(oracle: Oracle, trace: bool) -> Lines {
        let inner = Inner { oracle, trace, lines: Mutex::default(), host: Mutex::default(), spans: 1.into() };
        Lines { inner: Arc::new(inner) }
    }

    pub fn subscriber(&self) -> impl Subscriber + Send + Sync + 'static {
        Listener(self.inner.clone())
    }

    pub fn take(&self) -> Vec<String> {
        std::mem::take(&mut *locked(&self.inner.lines))
    }
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Listener(Arc<Inner>);

/// Turmoil enters a span with this name for the running host.
const HOST: &str = "node";

impl Subscriber for Listener {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let world = metadata.target().starts_with("slotkeeper") || metadata.target().starts_with("turmoil");
        world && (self.0.trace || *metadata.level() <= Level::WARN || metadata.is_span() && metadata.name() == HOST)
    }

    fn new_span(&self, attributes: &Attributes<'_>) -> Id {
        let id = self.0.spans.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let mut text = Text(String::new());
        attributes.record(&mut text);
        locked(&self.0.host).push((id, text.0.trim_start_matches(" name=").trim_matches('"').to_owned()));
        Id::from_u64(id)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let host = locked(&self.0.host).last().map(|(_, name)| name.clone()).unwrap_or_default();
        let mut text = Text(String::new());
        event.record(&mut text);
        let (level, target) = (event.metadata().level(), event.metadata().target());
        if *level == Level::ERROR {
            self.0.oracle.violate("no process logs an ERROR", format!("{host}:{}", text.0));
        } else if *level == Level::WARN && target.starts_with("slotkeeper") {
            self.0.oracle.log(format!("{host} warns:{}", text.0));
            let happenings = [
                ("cut off from the journal", "dispatcher cut off"),
                ("continuing under a new replica id", "dispatcher starts a new life"),
                ("starting again under a new replica id", "dispatcher forgets what is lost"),
                ("the last record is incomplete", "torn record cut off"),
            ];
            for (_, what) in happenings.iter().filter(|(words, _)| text.0.contains(words)) {
                self.0.oracle.count(*what);
            }
        }
        if self.0.trace {
            let now = self.0.oracle.now();
            locked(&self.0.lines).push(format!("{now:>8} {host:<10} {level:<5} {target}{}", text.0));
        }
    }

    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}

    fn try_close(&self, id: Id) -> bool {
        locked(&self.0.host).retain(|(span, _)| *span != id.into_u64());
        true
    }
}

/// Formats an event's fields. Bytes on the wire are only counted: WebSocket masks are random.
struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let text = format!("{value:?}");
        let shown = match text.split_once(" [0x") {
            Some((protocol, bytes)) => format!("{protocol} of {} bytes", bytes.matches("0x").count() + 1),
            None => text,
        };
        let _ = match field.name() {
            "message" => write!(self.0, " {shown}"),
            name => write!(self.0, " {name}={shown}"),
        };
    }
}
