//! The end of every case: all activity stops, and then the pool serves a visitor again.

use super::Swarm;
use super::case::SESSIONS;
use slotkeeper_core::{Command, Effect, Millis, Ordinal, Place, Rules, Scaling, SessionId};

/// Steps of time while nothing is left to do but to wait.
const SLOW: Millis = Millis(10_000);
/// Steps of time while the cluster has something to do.
const QUICK: Millis = Millis(400);

impl Swarm {
    /// All sessions leave or fall silent, the cluster acts, time passes: then all slots are free, the pool has shrunk to its
    /// minimum, and the next visitor is served.
    pub(super) fn calm(&mut self) {
        self.loses = false;
        for id in (0..SESSIONS).step_by(2).map(|n| SessionId(u128::from(n))) {
            self.say(0, Command::Leave { session: id });
            self.say(0, Command::Detach { session: id });
        }
        for ordinal in 0..6 {
            self.say(0, Command::Uncordon { pod: Ordinal(ordinal) });
        }
        for _ in 0..200 {
            if self.fleet.is_quiet() {
                self.wait(Millis(1_000), QUICK);
            }
        }
        assert!(!self.fleet.is_quiet(), "the lapse does not end");
        if let Some(rules) = self.fleet.rules(&self.pool).cloned() {
            // A silent replica keeps its slots until it is given up: here that is replica 0 itself.
            self.restart(0);
            // Before the first rules are known, the silence is the default one.
            let others = Rules::default().silence;
            self.wait(rules.silence + rules.grace + others, SLOW);
        }
        let Some(rules) = self.fleet.rules(&self.pool).cloned() else { return };
        assert_eq!(self.fleet.sessions(&self.pool), [], "not all sessions have ended");
        if self.rude {
            return;
        }
        self.wait(rules.cooldown + rules.targets.window + rules.stuck_after.min(Millis(5_000)) + Millis(5_000), QUICK);
        let census = self.fleet.census(&self.pool).expect("the pool exists");
        let owed: Vec<Effect> = self.fleet.owed().map(|(_, e)| e).collect();
        assert_eq!((owed, self.fleet.next_deadline()), (vec![], None), "{:?} {:?}", self.fleet, self.world);
        if rules.scaling != Scaling::None {
            assert_eq!(census.desired, census.needed);
            let warm = u64::from(rules.min > 0) + rules.spare.slots(0);
            assert_eq!(census.desired.is_empty(), warm == 0 || rules.max == 0, "{census:?}");
        }
        assert_eq!(self.world.ordinals(), (census.desired.start..census.desired.end).collect::<Vec<_>>());
        if rules.max > 0 && rules.queue_limit > 0 && rules.queue_lease > Millis(500) {
            let id = SessionId(0);
            self.say(0, Command::Visit { session: id, hint: None, class: 0 });
            for _ in 0..60 {
                if matches!(self.fleet.place(&self.pool, id), Place::At { .. }) {
                    return;
                }
                self.say(0, Command::Active { sessions: vec![id] });
                self.wait(Millis(300), QUICK);
            }
            panic!("a visitor is not served any more: {:?} {:?}", self.fleet, self.world);
        }
    }

    /// Lets time pass, in steps that count as fleet time.
    fn wait(&mut self, time: Millis, step: Millis) {
        let mut passed = 0;
        while passed < time.0 {
            let step = step.0.min(self.fleet.silence().0 / 2).max(1);
            self.pass(step);
            passed += step;
            self.cluster();
            self.say(0, Command::Tick);
        }
    }
}
