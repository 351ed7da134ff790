//! Named worlds: one scenario each, the same for every seed except for random draws.

mod cluster;
mod pools;
mod processes;

use super::faults::{Fault, FaultKind};
use super::setting::Setting;

/// A named world.
#[derive(Clone, Copy)]
pub struct Scenario {
    pub name: &'static str,
    pub story: &'static str,
    make: fn(&mut Setting),
}

impl Scenario {
    #[must_use]
    pub fn setting(&self, seed: u64) -> Setting {
        let mut setting = Setting::plain(seed);
        setting.name = self.name.into();
        setting.story = self.story.into();
        (self.make)(&mut setting);
        setting
    }
}

/// Returns all scenarios.
pub fn all() -> impl Iterator<Item = &'static Scenario> {
    [pools::ALL, processes::ALL, cluster::ALL].into_iter().flatten()
}

/// Returns the scenario with this name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Scenario> {
    all().find(|s| s.name == name)
}

fn faults(setting: &mut Setting, faults: &[(FaultKind, u64, u64, u32)]) {
    setting.faults = faults.iter().map(|(kind, at, until, target)| Fault::new(*kind, *at, *until, *target)).collect();
    (0..).zip(&mut setting.faults).for_each(|(number, fault)| fault.number = number);
}
