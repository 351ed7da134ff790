//! Metrics, and the numbers that scalers read.

use super::Oracle;
use slotkeeper_core::{Census, ReplicaId};
use std::collections::{BTreeMap, VecDeque};

/// A number sent to KEDA must not be older than this, in milliseconds (half a `settle`).
const OLD: u64 = 2_000;

impl Oracle {
    /// A dispatcher's `/metrics`, requested at `asked`, must match the fleet at the journal position that it names.
    pub fn scraped(&self, host: usize, asked: u64, position: u64, gauges: &BTreeMap<String, f64>) {
        let at = self.now();
        let mut inner = self.locked();
        let (since, started) = inner.started.get(&host).copied().unwrap_or_default();
        if asked >= since && position < started {
            let what = format!(
                "dispatcher {host} reports gauges at position {position}; the journal was at {started} when it started"
            );
            inner.violate(at, "no scaler reads a number before the journal is read", what);
        }
        if position > inner.highest {
            let what = format!("dispatcher {host} is at journal position {position}; there are only {}", inner.highest);
            inner.violate(at, "metrics", what);
        }
        let Some(current) = census_at(&inner.censuses, position) else { return };
        // Includes replicas that did not yet know about the loss when they were scraped.
        let since = inner.lives_since.get(&host).copied().unwrap_or_default();
        let life = inner.lives.get(&host);
        let unaware = |lives: &BTreeMap<usize, ReplicaId>| lives.get(&host) == life || since >= asked;
        let lost = inner.lost.iter().filter(|(lives, _)| unaware(lives));
        let lost: Vec<Census> = lost.filter_map(|(_, censuses)| census_at(censuses, position)).collect();
        inner.count("check metrics".into());
        // A replica that does not know about the loss reports the state with the lost entries.
        if let Some(what) = differs(&current, gauges)
            && lost.iter().all(|census| differs(census, gauges).is_some())
        {
            inner.violate(at, "metrics", format!("dispatcher {host} at journal position {position}: {what}"));
        }
    }

    /// Checks a dispatcher's answer to KEDA, in thousandths: the number must have been wanted at the time of the
    /// query, or shortly before.
    pub fn told(&self, host: usize, asked: u64, milli: i64) {
        let at = self.now();
        let mut inner = self.locked();
        inner.count("check told".into());
        let earliest = asked.saturating_sub(OLD);
        let first = inner.wanted.iter().rposition(|(since, _)| *since <= earliest).unwrap_or_default();
        let lately = inner.wanted.iter().skip(first).any(|(_, n)| i64::from(*n) * 1_000 == milli);
        if !lately {
            let what = format!(
                "dispatcher {host} answered {milli} thousandths to a query at {asked} ms; wanted were {:?}",
                &inner.wanted[first..]
            );
            inner.violate(at, "no scaler reads an old number", what);
        }
    }
}

pub(super) fn census_at(line: &VecDeque<(u64, Census)>, position: u64) -> Option<Census> {
    let at = line.binary_search_by_key(&position, |(p, _)| *p).ok()?;
    line.get(at).map(|(_, census)| *census)
}

/// Returns a difference between the gauges and the fleet.
pub(super) fn differs(census: &Census, gauges: &BTreeMap<String, f64>) -> Option<String> {
    let real = [
        ("slotkeeper_sessions queued", census.queued),
        ("slotkeeper_sessions held", census.held),
        ("slotkeeper_sessions taken", census.taken),
        ("slotkeeper_sessions ending", census.ending),
        ("slotkeeper_queue_length", census.queued),
        ("slotkeeper_slots busy", census.busy_slots),
        ("slotkeeper_slots free", census.free_slots),
        ("slotkeeper_pods desired", u64::from(census.desired.len())),
        ("slotkeeper_pods needed", u64::from(census.needed.len())),
        ("slotkeeper_pods ready", u64::from(census.ready)),
        ("slotkeeper_active", u64::from(census.is_active())),
    ];
    real.into_iter().find_map(|(name, real)| {
        let told = gauges.get(name).copied();
        (told != Some(real as f64)).then(|| format!("{name} is {told:?}; it is {real}"))
    })
}
