//! Checks whether a world is at rest, and every visitor was served.

use super::World;
use super::oracle::Oracle;
use super::pools::Kind;
use crate::record::Sample;

impl World {
    pub(super) fn sample(&self, at: u64) -> Sample {
        let (spec, pods, ready, _) = self.kube.size();
        let census = self.oracle.census();
        Sample {
            at,
            desired: census.map_or(0, |c| c.desired.len()),
            replicas: spec.replicas,
            pods,
            ready,
            seated: census.map_or(0, |c| (c.held + c.taken + c.ending) as u32),
            waiting: census.map_or(0, |c| c.queued as u32),
        }
    }

    /// Returns why the world is not at rest: a session is left, or the pool is not at its minimum.
    pub(super) fn unrest(&self) -> Option<String> {
        let left = self.oracle.left();
        if !left.is_empty() {
            return Some(format!("{} sessions are left: {}", left.len(), left.join(", ")));
        }
        let at_home = self.guests.all();
        let out = at_home.values().filter(|g| !g.done).count();
        if out > 0 {
            return Some(format!("{out} visitors have not finished"));
        }
        if let Some((census, annex)) = self.annex.as_ref().and_then(Oracle::census).zip(self.setting.annex.as_ref())
            && annex.kind == Kind::Processes
            && !census.desired.is_empty()
        {
            return Some(format!("{} processes of the second pool are wanted", census.desired.len()));
        }
        let (Some(census), Some(rules)) = (self.oracle.census(), self.oracle.rules()) else {
            return Some("there is no pool".into());
        };
        let spare = rules.spare.slots(0).div_ceil(u64::from(rules.slots_per_pod)) as u32;
        let least = rules.min.max(spare.min(rules.max)).min(rules.max);
        let (spec, pods, ready, _) = self.kube.size();
        let all = [census.desired.len(), spec.replicas, pods, ready];
        let slots = u64::from(least) * u64::from(rules.slots_per_pod);
        if all == [least; 4] && (census.free_slots, census.busy_slots) != (slots, 0) {
            return Some(format!("{slots} slots exist; {} are free, {} busy", census.free_slots, census.busy_slots));
        }
        (all != [least; 4]).then(|| {
            format!(
                "{least} pods are needed; desired {}, replicas {}, existing {}, ready {}",
                all[0], all[1], all[2], all[3]
            )
        })
    }

    pub(super) fn everybody_was_served(&self) {
        let unserved: Vec<String> = (self.guests.all().iter())
            .filter(|(_, guest)| guest.patient && !guest.served)
            .map(|(number, _)| number.to_string())
            .collect();
        if !unserved.is_empty() {
            let what = format!("visitors {} never got a slot", unserved.join(", "));
            self.oracle.violate("every patient visitor is served", what);
        }
    }
}
