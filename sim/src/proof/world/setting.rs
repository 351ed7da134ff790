//! The world that a seed determines: the number of everything, the pool's rules, and the faults. To find the cause of
//! a failure, parts can be removed (`Limits`) without changing the rest.

use super::conduct::Conduct;
use super::faults::Fault;
pub use super::limits::{Limits, Selection};
use super::points::{self, Rate};
use super::pools::Annex;
use super::rollout::Rollout;
use super::shape::Shape;
use crate::chance::Chance;
use crate::models::statefulset::Policy;
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use slotkeeper::config::schedule::{Days, Minute, Schedule, Window};
use slotkeeper::config::{Admission, Trigger};
use slotkeeper_core::{AfterSession, Millis, Placement, Rules, Scaling, Shrink, Spare, Targets, Window as Span};
use std::collections::BTreeSet;
use std::time::Duration;

/// The pool of every world.
pub const POOL: &str = "arcade";

/// One world, before it begins.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Setting {
    pub seed: u64,
    pub name: String,
    /// A description for readers.
    pub story: String,
    pub dispatchers: u32,
    /// One journal on the network for all dispatchers; otherwise a durable one of the only dispatcher.
    pub shared_journal: bool,
    /// How much the journal on the network loses when it is killed, at most, in milliseconds of entries; 0: nothing.
    pub lag: u64,
    pub nodes: u32,
    pub homes: u32,
    pub visitors: u32,
    pub bots: u32,
    pub rules: Rules,
    /// How KEDA gets the number, in pools scaled by KEDA.
    pub trigger: Trigger,
    pub admission: Admission,
    #[serde(with = "super::milliseconds")]
    pub linger: Duration,
    #[serde(with = "super::milliseconds")]
    pub half_open: Duration,
    #[serde(with = "super::milliseconds")]
    pub hold: Duration,
    pub policy: Policy,
    /// Time from a pod's creation until it is ready, drawn from this range.
    pub cold_start: (u64, u64),
    /// Latency of a message, drawn from this range.
    pub latency: (u64, u64),
    /// Duration of the fault phase; then all faults are healed, and everything must come to rest within `calm`.
    pub chaos: u64,
    pub calm: u64,
    pub faults: Vec<Fault>,
    /// Interval at which the dispatchers list everything again that they watch (an hour, in production).
    #[serde(with = "super::milliseconds", default = "hour")]
    pub relist: Duration,
    /// A second pool in addition to the first one.
    pub annex: Option<Annex>,
    /// A rolling restart with other settings.
    pub rollout: Option<Rollout>,
    /// What happens at fault points in the code.
    pub points: Vec<Rate>,
    /// Only visitors with these numbers arrive; `None`: all.
    pub guests: Option<BTreeSet<u32>>,
    /// One more spare slot in the first minute, by weekly schedule.
    pub scheduled: bool,
    /// The habits of the visitors.
    pub habits: Habits,
    /// How many pods and visitors are impolite.
    pub conduct: Conduct,
}

/// The habits of visitors.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Habits {
    /// All visitors arrive within this time.
    pub arrive_within: u64,
    /// The length of a stay, drawn from this range.
    pub stay: (u64, u64),
    /// Percentage of visitors who soon give up waiting.
    pub impatient: u32,
    /// Percentage of endings without a close frame and without a FIN.
    pub half_open: u32,
    /// Percentage of visitors who send nothing while they have a slot.
    pub idle: u32,
}

impl Setting {
    /// Draws the world of this seed.
    #[must_use]
    pub fn draw(seed: u64) -> Setting {
        Setting::select(seed, &Selection::default())
    }

    /// Some shared pools have targets for sessions or messages below their capacity, and are emptied pod by pod.
    fn gateway(&mut self, dice: &mut ChaCha8Rng) {
        let slides = self.rules.scaling == Scaling::Direct { window: Span::Sliding };
        if self.rules.slots_per_pod == 1 || slides || dice.random_ratio(1, 3) {
            return;
        }
        let slots = self.rules.slots_per_pod;
        self.rules.targets = Targets {
            sessions: dice.random_ratio(1, 2).then(|| dice.random_range(1..=slots)),
            messages: dice.random_ratio(1, 2).then(|| dice.random_range(1..=20)),
            gauge: None,
            window: Millis::secs(dice.random_range(5..=12)),
            slack: dice.random_range(0..=30),
        };
        if dice.random_ratio(3, 4) {
            self.rules.sticky_storage = false;
            self.rules.shrink = Shrink::Move;
        }
    }

    /// Draws the world of this seed among the selected ones.
    fn select(seed: u64, selection: &Selection) -> Setting {
        let mut setting = Setting::basis(seed, selection);
        let mut push = Chance::new(seed).stream("push");
        if setting.is_keda() && push.random_ratio(1, 2) {
            setting.push();
            // The others are guarded, and scale down only when no session is left.
            setting.rules.min = setting.rules.min.max(push.random_range(0..=1));
        }
        // KEDA and its HPA would need longer for a crowd than the rest of a world takes.
        let keda = selection.shapes.iter().any(|s| matches!(s, Shape::KedaPush | Shape::KedaPrometheus));
        if !keda && Chance::new(seed).stream("crowd").random_ratio(1, 50) {
            setting.crowd();
        }
        setting.gateway(&mut Chance::new(seed).stream("gateway"));
        let mut relist = Chance::new(seed).stream("relist");
        if relist.random_ratio(1, 2) {
            setting.relist = Duration::from_millis(relist.random_range(3_000..40_000));
        }
        setting.lag = [0, 300, 1_500][Chance::new(seed).stream("lag").random_range(0..3)];
        for shape in &selection.shapes {
            shape.apply(&mut setting);
        }
        setting.faults = Fault::draw(&setting, selection);
        setting.annex = setting.annex.take().or_else(|| Annex::draw(&setting));
        if let Some((rollout, restarts)) = Rollout::draw(&setting, selection) {
            setting.rollout = Some(rollout);
            setting.faults.extend(restarts);
            setting.faults.sort_by_key(|f| f.at);
            // In order, as in a world that is read from a file.
            (0..).zip(&mut setting.faults).for_each(|(number, fault)| fault.number = number);
        }
        setting
    }

    /// Draws the first pool, its dispatchers and its visitors; nothing happens to them yet.
    fn basis(seed: u64, selection: &Selection) -> Setting {
        let mut dice = Chance::new(seed).stream("setting");
        let dispatchers = if selection.several { [2, 2, 2, 3, 3] } else { [1, 1, 2, 2, 3] };
        let dispatchers = dispatchers[dice.random_range(0..5)];
        let (rules, policy) = rules(&mut dice);
        let admission = if rules.slots_per_pod > 1 && dice.random_ratio(1, 2) {
            Admission::Immediate
        } else {
            Admission::Returning
        };
        Setting {
            seed,
            name: format!("seed {seed}"),
            story: String::new(),
            dispatchers,
            shared_journal: dispatchers > 1 || dice.random_ratio(1, 3),
            lag: 0,
            nodes: dice.random_range(2..=3),
            homes: dice.random_range(2..=3),
            visitors: dice.random_range(4..=12),
            bots: dice.random_range(0..=1),
            rules,
            trigger: Trigger::Prometheus,
            admission,
            linger: Duration::from_secs(3),
            half_open: Duration::from_secs(3),
            hold: if dice.random_ratio(1, 3) { Duration::from_secs(2) } else { Duration::ZERO },
            policy,
            cold_start: (500, dice.random_range(1_000..5_000)),
            latency: (1, dice.random_range(5..60)),
            chaos: dice.random_range(40_000..90_000),
            calm: CALM,
            faults: Vec::new(),
            relist: HOUR,
            annex: None,
            rollout: None,
            points: points::draw(seed),
            guests: None,
            scheduled: dice.random_ratio(1, 6),
            habits: Habits {
                arrive_within: dice.random_range(1_000..40_000),
                stay: (5_000, 35_000),
                impatient: 15,
                half_open: 20,
                idle: 15,
            },
            conduct: Conduct::draw(Chance::new(seed)),
        }
    }

    /// One session per pod.
    pub(super) fn exclusive(&mut self, after_session: AfterSession) {
        self.rules.slots_per_pod = 1;
        self.rules.after_session = after_session;
        self.rules.targets = Targets::default();
        self.rules.shrink = Shrink::Wait;
        self.admission = Admission::Returning;
    }

    /// Several sessions per pod.
    pub(super) fn share(&mut self) {
        if self.rules.slots_per_pod == 1 {
            self.rules.slots_per_pod = Chance::new(self.seed).stream("share").random_range(2..5);
        }
        self.rules.after_session = AfterSession::Keep;
    }

    /// KEDA scales the pool, and queries over gRPC.
    pub fn push(&mut self) {
        self.rules.scaling = Scaling::Keda { settle: SETTLE_PUSH };
        self.trigger = Trigger::Push;
    }

    /// Many pods and visitors. Less time for faults, as each second costs more.
    pub fn crowd(&mut self) {
        // KEDA and its HPA would need longer for that many pods than the rest of a world takes.
        if self.is_keda() {
            self.rules.scaling = Scaling::Direct { window: Span::Fixed };
            self.trigger = Trigger::Prometheus;
        }
        self.nodes = 4;
        self.homes = 4;
        self.visitors = 200;
        self.rules.max = 50;
        // Pods that start only one after another, and are recycled, would not serve that many visitors in time.
        self.policy = Policy::Parallel;
        self.rules.queue_limit = 1_000;
        self.chaos = 35_000;
        self.habits.arrive_within = 20_000;
        self.habits.stay = (5_000, 20_000);
    }

    /// Returns a small world without faults: two dispatchers, three pods, six visitors.
    #[must_use]
    pub fn plain(seed: u64) -> Setting {
        let mut setting = Setting::draw(seed);
        setting.name = "plain".into();
        setting.dispatchers = 2;
        setting.shared_journal = true;
        setting.lag = 1_500;
        setting.nodes = 2;
        setting.homes = 2;
        setting.visitors = 6;
        setting.policy = Policy::Parallel;
        setting.rules = Rules {
            max: 3,
            queue_lease: Millis::secs(6),
            claim: Millis::secs(6),
            grace: Millis::secs(4),
            silence: Millis::secs(6),
            cooldown: Millis::secs(6),
            stuck_after: Millis::secs(20),
            warn_before: Millis::secs(5),
            ..Rules::default()
        };
        setting.trigger = Trigger::Prometheus;
        setting.admission = Admission::Returning;
        setting.hold = Duration::ZERO;
        setting.chaos = 50_000;
        setting.calm = CALM;
        setting.faults = Vec::new();
        setting.annex = None;
        setting.rollout = None;
        setting.conduct = Conduct::default();
        setting.points = Vec::new();
        setting.guests = None;
        setting.scheduled = false;
        setting.relist = HOUR;
        setting
    }

    /// Returns the weekly schedule of spare slots, if there is one: one more in the world's first minute.
    #[must_use]
    pub fn schedule(&self) -> Option<Schedule> {
        if !self.scheduled {
            return None;
        }
        let days = Days::parse("mon")?;
        let (from, to) = (Minute::parse("08:00")?, Minute::parse("08:01")?);
        let more = Spare::Slots(self.rules.spare.slots(0) as u32 + 1);
        Schedule::new("UTC", self.rules.spare, vec![Window { days, from, to, spare: more }]).ok()
    }

    /// Draws the world of this seed within the limits.
    #[must_use]
    pub fn limited(seed: u64, limits: &Limits) -> Setting {
        Setting::select(seed, &limits.selection).within(limits)
    }

    /// Removes everything beyond the limits.
    #[must_use]
    pub fn within(mut self, limits: &Limits) -> Setting {
        self.dispatchers = limits.dispatchers.map_or(self.dispatchers, |n| n.clamp(1, self.dispatchers));
        self.visitors = limits.visitors.map_or(self.visitors, |n| n.min(self.visitors));
        self.nodes = limits.nodes.map_or(self.nodes, |n| n.clamp(1, self.nodes));
        self.rules.max = limits.pods.map_or(self.rules.max, |n| n.clamp(1, self.rules.max));
        self.rules.min = self.rules.min.min(self.rules.max);
        self.chaos = limits.chaos.map_or(self.chaos, |ms| ms.min(self.chaos));
        self.guests = limits.guests.clone().or(self.guests);
        self.points.retain(|rate| limits.points.as_ref().is_none_or(|chosen| chosen.contains(&rate.point)));
        for part in &limits.reset {
            part.reset(&mut self);
        }
        let chosen = |fault: &Fault| limits.faults.as_ref().is_none_or(|chosen| chosen.contains(&fault.number));
        self.faults.retain(|f| chosen(f) && !limits.without.contains(&f.kind) && f.at < self.chaos);
        self
    }

    /// Returns the numbers of the visitors that arrive.
    pub fn comers(&self) -> impl Iterator<Item = u32> + '_ {
        (0..self.visitors).filter(|number| self.guests.as_ref().is_none_or(|chosen| chosen.contains(number)))
    }

    /// Describes the world in one line.
    #[must_use]
    pub fn describe(&self) -> String {
        let r = &self.rules;
        let scaling = match r.scaling {
            Scaling::Direct { window: Span::Fixed } => "direct scaling",
            Scaling::Direct { window: Span::Sliding } => "direct scaling, sliding window",
            Scaling::Keda { .. } if self.is_pushed() => "KEDA by gRPC",
            Scaling::Keda { .. } => "KEDA by Prometheus",
            Scaling::None => "no scaling",
        };
        let mut more = String::new();
        if let Some(annex) = &self.annex {
            more += &format!("; {} visitors of a second pool ({:?})", annex.visitors, annex.kind);
        }
        if let Some(rollout) = &self.rollout {
            more += &format!("; other settings from {} ms", rollout.at);
        }
        if self.conduct != Conduct::default() {
            more += &format!("; impolite: {} % of pods, {} % of visitors", self.conduct.pods, self.conduct.visitors);
        }
        format!(
            "{} dispatcher{} ({} journal), {} to {} pods of {} slot{} on {} nodes ({:?}, {:?} after a session), {scaling}; {} visitors in {} homes{more}",
            self.dispatchers,
            if self.dispatchers == 1 { "" } else { "s" },
            if self.shared_journal { "shared" } else { "own" },
            r.min,
            r.max,
            r.slots_per_pod,
            if r.slots_per_pod == 1 { "" } else { "s" },
            self.nodes,
            self.policy,
            r.after_session,
            self.comers().count(),
            self.homes,
        )
    }

    #[must_use]
    pub fn is_keda(&self) -> bool {
        matches!(self.rules.scaling, Scaling::Keda { .. })
    }

    /// Reports whether KEDA scales nothing in while a session lives. Without that, an outage with late answers may end in 0
    /// pods (KEDA 2.20), which a minimum of one prevents, too. With Prometheus, an outage fails at once: only half of the
    /// worlds are guarded.
    #[must_use]
    pub fn is_guarded(&self) -> bool {
        let guarded = self.is_pushed() || Chance::new(self.seed).stream("guard").random_ratio(1, 2);
        self.is_keda() && self.rules.min == 0 && guarded
    }

    /// Reports whether KEDA scales, and queries the dispatchers themselves.
    #[must_use]
    pub fn is_pushed(&self) -> bool {
        self.is_keda() && self.trigger == Trigger::Push
    }
}

/// Draws the pool's rules, and the order in which its pods start.
fn rules(dice: &mut ChaCha8Rng) -> (Rules, Policy) {
    let secs = |range: std::ops::RangeInclusive<u64>, dice: &mut ChaCha8Rng| Millis::secs(dice.random_range(range));
    let slots_per_pod = if dice.random_ratio(7, 10) { 1 } else { dice.random_range(2..5) };
    let policy = if dice.random_ratio(4, 5) { Policy::Parallel } else { Policy::OrderedReady };
    let scaling = match dice.random_range(0..10) {
        0..=5 => Scaling::Direct { window: Span::Fixed },
        6..=7 if policy == Policy::Parallel => Scaling::Direct { window: Span::Sliding },
        6..=7 => Scaling::Direct { window: Span::Fixed },
        _ => Scaling::Keda { settle: SETTLE },
    };
    let rules = Rules {
        slots_per_pod,
        min: if dice.random_ratio(1, 4) { 1 } else { 0 },
        max: dice.random_range(2..=5),
        placement: if dice.random_ratio(4, 5) { Placement::Pack } else { Placement::Spread },
        sticky_storage: dice.random_ratio(3, 4),
        after_session: if slots_per_pod == 1 && dice.random_ratio(1, 2) {
            AfterSession::Recycle
        } else {
            AfterSession::Keep
        },
        scaling,
        shrink: Shrink::Wait,
        targets: Targets::default(),
        spare: if dice.random_ratio(1, 4) { Spare::Slots(1) } else { Spare::Slots(0) },
        queue_limit: if dice.random_ratio(1, 6) { 3 } else { 1000 },
        queue_lease: secs(6..=9, dice),
        claim: secs(5..=10, dice),
        grace: secs(3..=7, dice),
        idle: dice.random_ratio(1, 3).then(|| Millis::secs(15)),
        max_session: dice.random_ratio(1, 4).then(|| Millis::secs(25)),
        warn_before: Millis::secs(5),
        extend_limit: Millis::secs(20),
        silence: secs(6..=9, dice),
        cooldown: secs(4..=12, dice),
        stuck_after: secs(15..=25, dice),
    };
    (rules, policy)
}

/// Long enough for a served number to have been scraped, polled and synced (see `scaler`).
pub const SETTLE: Millis = Millis(14_000);

/// A fifth of the default, like all clocks of these worlds.
pub const SETTLE_PUSH: Millis = Millis(4_000);

const HOUR: Duration = Duration::from_secs(3_600);

/// The default for stored worlds that are older than the setting.
fn hour() -> Duration {
    HOUR
}

/// Milliseconds from the end of all faults until everything must have come to rest.
pub const CALM: u64 = 260_000;
