//! A snapshot of the observations of one pool that were written to the journal, to write them again if the journal loses
//! entries.

use slotkeeper_core::{Command, Ordinal, Phase, Sighting, Uid, planted};
use std::collections::BTreeMap;

#[derive(Debug, Default)]
pub(crate) struct LatestObservations {
    /// A complete list has been written.
    listed: bool,
    pods: BTreeMap<Ordinal, (Uid, Phase)>,
    /// The highest version of all observations of pods.
    version: u64,
    /// The last `ScaleSeen`.
    scale: Option<Command>,
}

impl LatestObservations {
    /// Records an observation that is being written.
    pub(crate) fn note(&mut self, observation: &Command) {
        #[expect(clippy::wildcard_enum_match_arm, reason = "a cluster sends only some of all commands")]
        match observation {
            Command::PodsListed { pods, version } => {
                self.pods = pods.iter().map(|s| (s.pod, (s.uid.clone(), s.phase.clone()))).collect();
                (self.listed, self.version) = (true, self.version.max(*version));
            }
            Command::PodSeen { pod, uid, phase, version } => {
                self.pods.insert(*pod, (uid.clone(), phase.clone()));
                self.version = self.version.max(*version);
            }
            Command::PodGone { pod, uid, version } => {
                if self.pods.get(pod).is_some_and(|(living, _)| living == uid) {
                    self.pods.remove(pod);
                }
                self.version = self.version.max(*version);
            }
            _ => {}
        }
        if matches!(observation, Command::ScaleSeen { .. }) {
            self.scale = Some(observation.clone());
        }
    }

    /// The snapshot as commands, with the highest version: a fleet that knows it already ignores it.
    pub(crate) fn again(&self) -> Vec<Command> {
        planted!(NewsNotRetold => Vec::new());
        let pods = || self.pods.iter().map(|(pod, (uid, phase))| (*pod, uid.clone(), phase.clone()));
        let list = self.listed.then(|| Command::PodsListed {
            pods: pods().map(|(pod, uid, phase)| Sighting { pod, uid, phase }).collect(),
            version: self.version,
        });
        list.into_iter().chain(self.scale.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use slotkeeper_core::Timeline;

    fn seen(pod: u32, uid: &str, phase: Phase, version: u64) -> Command {
        Command::PodSeen { pod: Ordinal(pod), uid: uid.into(), phase, version }
    }

    #[test]
    fn observations_are_repeated_as_one_list() {
        let mut latest = LatestObservations::default();
        assert_eq!(latest.again(), []);
        let sighting = |pod, uid: &str, phase| Sighting { pod: Ordinal(pod), uid: uid.into(), phase };
        let size = Command::ScaleSeen { start: 0, replicas: 2, decided: 7, timeline: Timeline::FIRST, version: 9 };
        let list = vec![sighting(0, "a", Phase::Starting), sighting(1, "b", Phase::Starting)];
        for observation in [
            Command::PodsListed { pods: list, version: 3 },
            size.clone(),
            seen(0, "a", Phase::Unready, 4),
            seen(2, "c", Phase::Starting, 5),
            Command::PodGone { pod: Ordinal(1), uid: "b".into(), version: 6 },
            // Of an earlier incarnation.
            Command::PodGone { pod: Ordinal(2), uid: "before".into(), version: 8 },
        ] {
            latest.note(&observation);
        }
        let pods = vec![sighting(0, "a", Phase::Unready), sighting(2, "c", Phase::Starting)];
        assert_eq!(latest.again(), [Command::PodsListed { pods, version: 8 }, size]);
    }
}
