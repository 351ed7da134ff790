//! The record of a world, for its report.

use super::kube::Kube;
use super::oracle::Oracle;
use super::setting::Setting;
use super::visitor::Guests;
use crate::record::{Figures, Quantiles, Record, Sample};

/// Returns the record; `waited`: milliseconds from request to slot.
pub(super) fn record(
    setting: &Setting,
    oracle: &Oracle,
    kube: &Kube,
    samples: Vec<Sample>,
    mut waited: Vec<u64>,
    lasted: u64,
    guests: &Guests,
) -> Record {
    let (pods, sessions) = (kube.lives(), oracle.sessions());
    let hours = |ms: u64| ms as f64 / 3_600_000.0;
    let alive: u64 = pods.iter().map(|p| p.gone.unwrap_or(lasted).saturating_sub(p.created)).sum();
    let spells = || sessions.iter().flat_map(|s| &s.spells);
    let seated: u64 = spells().map(|s| s.to.unwrap_or(lasted).saturating_sub(s.from)).sum();
    let in_slots = seated / u64::from(setting.rules.slots_per_pod);
    let figures = Figures {
        visitors: sessions.len() as u64,
        killed: sessions.iter().filter(|s| s.killed).count() as u64,
        never_served: guests.all().values().filter(|g| !g.served).count() as u64,
        time_to_slot: Quantiles::of(&mut waited),
        pod_hours: hours(alive),
        wasted_pod_hours: hours(alive.saturating_sub(in_slots)),
        writes: kube.size().3,
    };
    Record {
        title: setting.name.clone(),
        story: if setting.story.is_empty() { setting.describe() } else { setting.story.clone() },
        seed: Some(setting.seed),
        length: lasted,
        samples,
        pods,
        sessions,
        marks: oracle.marks(),
        figures,
    }
}
