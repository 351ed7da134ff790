//! The known failures of the least-effort design, numbered as in the project's notes on autoscaling. That design
//! counts sessions and lets a KEDA Prometheus trigger turn the count into replicas. Each setting is as small as
//! possible while the failure still occurs by itself: no kill is injected.

mod clusters;
mod counting;
mod forgetting;
mod measuring;

use super::Scenario;
use crate::models::hpa::{Behavior, Rules as Direction};
use crate::planner::tabletop::{Design, Guard, Mind, Setting, Source, Visitor};
use slotkeeper_core::{Rules, Window};

const SECOND: u64 = 1000;
const MINUTE: u64 = 60 * SECOND;
/// Longer than every run, in seconds.
const LONG: u64 = 24 * 3600;

/// Returns every scenario, ordered by number.
#[must_use]
pub fn scenarios() -> Vec<Scenario> {
    let mut all = counting::counting();
    all.extend(counting::placing());
    all.extend(counting::replicas());
    all.extend(forgetting::forgetting());
    all.extend(measuring::measuring());
    all.extend(measuring::failing());
    all.extend(clusters::defaults());
    all.extend(clusters::operating());
    all.sort_by_key(|s| number(s.name));
    all
}

fn number(name: &str) -> u32 {
    name.trim_start_matches('f').split('-').next().and_then(|n| n.parse().ok()).unwrap_or(u32::MAX)
}

/// Returns this many visitors who arrive at once and stay longer than the run.
fn crowd(visitors: u64) -> Vec<Visitor> {
    (0..visitors).map(|_| Visitor::at(1, LONG)).collect()
}

fn setting(max: u32, minutes: u64) -> Setting {
    Setting::new(max, minutes * MINUTE)
}

fn rules(max: u32) -> Rules {
    Rules { max, ..Rules::default() }
}

fn naive(max: u32) -> Design {
    Design::naive(&rules(max))
}

fn direct() -> Vec<Design> {
    vec![Design::direct(Window::Fixed), Design::direct(Window::Sliding)]
}

/// Our designs behind KEDA, both with the guard that prevents any scale-down and with the one that allows it, and our
/// direct scaling.
fn every_scaling(max: u32) -> Vec<Design> {
    let behind_keda = [Design::keda_prometheus(&rules(max)), Design::keda_push(&rules(max))];
    let mut all = behind_keda.to_vec();
    all.extend(behind_keda.map(shrinking));
    all.extend(direct());
    all
}

fn shrinking(mut design: Design) -> Design {
    if let Some(wiring) = &mut design.wiring {
        wiring.guard = Guard::MinOne;
        design.title += ", minimum 1 as guard";
    }
    design
}

/// The operator has set the scale-down stabilization window to 0 to save pods.
fn without_window(mut design: Design) -> Design {
    if let Some(wiring) = &mut design.wiring {
        let down = Direction { window: Some(0), ..Direction::default() };
        wiring.behavior = Some(Behavior { scale_down: down, ..Behavior::default() });
    }
    design
}

fn remembering(mut design: Design) -> Design {
    if let Mind::Naive(habit) = &mut design.mind {
        habit.remembers = true;
    }
    design
}

/// KEDA queries the dispatcher as an external scaler.
fn external(mut design: Design) -> Design {
    if let Some(wiring) = &mut design.wiring {
        wiring.source = Source::External { push: false };
    }
    design
}
