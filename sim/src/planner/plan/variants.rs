//! The neighbours of a setting: one change at a time, the most informative ones first.

use slotkeeper_core::{AfterSession, Millis, Rules, Scaling, Spare, Window};

/// An alternative setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variant {
    pub name: String,
    pub rules: Rules,
}

/// Returns the alternatives. Settings that are invalid or equal to the given one are omitted.
pub(super) fn around(rules: &Rules) -> Vec<Variant> {
    let mut all = Vec::new();
    let mut add = |name: String, change: &dyn Fn(&mut Rules)| {
        let mut changed = rules.clone();
        change(&mut changed);
        let known = changed == *rules || all.iter().any(|v: &Variant| v.rules == changed);
        if !known && changed == changed.clone().clamped() {
            all.push(Variant { name, rules: changed });
        }
    };
    if rules.scaling == Scaling::None {
        for max in sizes(rules.max) {
            add(format!("pods {max}"), &|r| (r.min, r.max) = (max, max));
        }
        return all;
    }
    let slots = u64::from(rules.max) * u64::from(rules.slots_per_pod);
    // One slot is a lot in a pool of five, and negligible in a pool of ten thousand.
    let unit = u32::try_from(slots / 100).unwrap_or(u32::MAX).max(1);
    // Keeping more than half of all slots free is not a useful suggestion.
    let sensible = |spare: &u32| u64::from(*spare) <= slots / 2;
    for spare in [0, 1, 2, 5].map(|n: u32| n.saturating_mul(unit)).into_iter().filter(sensible) {
        add(format!("spare {spare}"), &|r| r.spare = Spare::Slots(spare));
    }
    let [lower, higher, ..] = sizes(rules.max);
    add(format!("max_pods {lower}"), &|r| (r.min, r.max) = (r.min.min(lower), lower));
    add(format!("max_pods {higher}"), &|r| r.max = higher);
    for cooldown in [rules.cooldown.0 / 5, rules.cooldown.0.saturating_mul(3)] {
        add(format!("cooldown_seconds {}", cooldown / 1000), &|r| r.cooldown = Millis(cooldown));
    }
    if let Scaling::Direct { window } = rules.scaling {
        let (name, other) = match window {
            Window::Fixed => ("sliding", Window::Sliding),
            Window::Sliding => ("fixed", Window::Fixed),
        };
        add(format!("window {name}"), &|r| r.scaling = Scaling::Direct { window: other });
    }
    if rules.slots_per_pod == 1 {
        let (name, other) = match rules.after_session {
            AfterSession::Keep => ("recycle", AfterSession::Recycle),
            AfterSession::Recycle => ("keep", AfterSession::Keep),
        };
        add(format!("after_session {name}"), &|r| r.after_session = other);
    }
    if let Some(spare) = Some(10u32.saturating_mul(unit)).filter(sensible) {
        add(format!("spare {spare}"), &|r| r.spare = Spare::Slots(spare));
    }
    add("spare \"20%\"".to_owned(), &|r| r.spare = Spare::Percent(20));
    let [_, _, lowest, highest] = sizes(rules.max);
    add(format!("max_pods {lowest}"), &|r| (r.min, r.max) = (r.min.min(lowest), lowest));
    add(format!("max_pods {highest}"), &|r| r.max = highest);
    all
}

/// A quarter less, a half more; half, double.
fn sizes(max: u32) -> [u32; 4] {
    let less = (max - max.div_ceil(4)).max(1);
    let more = max.saturating_add(max.div_ceil(2)).min(Rules::MAX_PODS);
    [less, more, max.div_ceil(2), max.saturating_mul(2).min(Rules::MAX_PODS)]
}
