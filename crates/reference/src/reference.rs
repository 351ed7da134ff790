//! Takes observations one by one and stores what is known about visitors and pods. The rules are in `visitors`, `slots` and
//! `queue`.

use crate::observation::{Observation, Observed, Settings, VisitorId};
use crate::pods::Pods;
use crate::queue::Line;
use crate::visitors::Visitor;
use std::collections::BTreeMap;
use std::fmt;

/// How complete the observations are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Watch {
    /// At every snapshot, every visitor has been queried.
    Snapshots,
    /// Each observation is judged by itself.
    Events,
}

/// Which promise is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    /// More sessions than slots in one incarnation, or, with recycling, a used one.
    SharedSlot,
    /// A session in another incarnation although its own lives.
    Moved,
    /// A pod with a session removed by the dispatcher, or a false reason for a session's end.
    Killed,
    /// A visitor who waits or is turned away while a slot is surely free.
    WaitsInVain,
    /// A place in the queue lost to a later visitor of the same class.
    Position,
    /// An end, or a terminating pod, of which the visitor was not notified.
    Notice,
}

impl Rule {
    /// Returns the promise's violation in words.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Rule::SharedSlot => "two sessions in one slot",
            Rule::Moved => "a session moved without cause",
            Rule::Killed => "a session killed by us",
            Rule::WaitsInVain => "a visitor waits while a slot is free",
            Rule::Position => "a lost queue position",
            Rule::Notice => "a missing notification",
        }
    }
}

/// A contradiction between a promise and what was observed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The broken promise.
    pub rule: Rule,
    /// When it was observed, in milliseconds of real time.
    pub time: u64,
    /// The observations that contradict each other, with the visitors and pods concerned.
    pub text: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {} ms: {}", self.rule.words(), self.time, self.text)
    }
}

/// The oracle. See the crate's documentation.
#[derive(Debug)]
pub struct Reference {
    pub(crate) watch: Watch,
    pub(crate) settings: Option<Settings>,
    /// The shortest value of each duration that has been in force.
    pub(crate) shortest: Option<Settings>,
    pub(crate) visitors: BTreeMap<VisitorId, Visitor>,
    pub(crate) pods: Pods,
    /// The waiting visitors at the last snapshot.
    pub(crate) line: Line,
    /// Visitors turned away since the last snapshot.
    pub(crate) turned_away: Vec<VisitorId>,
    /// The journal has lost entries and has not settled yet.
    pub(crate) lost: bool,
    /// When the dispatchers served again after a journal loss: answers to earlier requests may be based on the lost state.
    pub(crate) settled_at: u64,
    /// The pool is being removed, or is removed.
    pub(crate) removed: bool,
    /// Until when the network, processes or nodes have been broken.
    pub(crate) disturbed_until: u64,
    /// When a pod last ended or a session was last moved: a waiting visitor may fall back by a position.
    pub(crate) moved_at: u64,
    pub(crate) episodes: u64,
    findings: Vec<Finding>,
}

impl Reference {
    /// Returns a reference that has observed nothing.
    #[must_use]
    pub fn new(watch: Watch) -> Reference {
        Reference {
            watch,
            settings: None,
            shortest: None,
            visitors: BTreeMap::new(),
            pods: Pods::default(),
            line: Line::default(),
            turned_away: Vec::new(),
            lost: false,
            settled_at: 0,
            removed: false,
            disturbed_until: 0,
            moved_at: 0,
            episodes: 0,
            findings: Vec::new(),
        }
    }

    /// Takes an observation and returns the contradictions it reveals. Before the first settings nothing is judged.
    pub fn observe(&mut self, observed: &Observed) -> Vec<Finding> {
        let (at, earliest) = (observed.at, observed.at.saturating_sub(observed.tolerance));
        match &observed.what {
            Observation::Settings(settings) => self.set(settings),
            Observation::Sign { visitor, class } => self.sign(visitor, *class, earliest),
            Observation::Connected { visitor, since } => self.connected(visitor, *since, earliest),
            Observation::Told { visitor, answer } => self.told(visitor, answer, at, earliest),
            Observation::Stream { visitor, pod, stream } => self.stream(visitor, pod, *stream, at, earliest),
            Observation::Closed { visitor, stream, quiet_since } => self.closed(visitor, *stream, *quiet_since, at),
            Observation::Notified { visitor, pod } => {
                self.visitor(visitor).notified.insert(pod.clone());
                self.moved_at = at;
            }
            Observation::Leaves { visitor } => {
                let visitor = self.visitor(visitor);
                (visitor.left, visitor.ever_left) = (true, true);
            }
            Observation::Kicked { visitor } => {
                let visitor = self.visitor(visitor);
                (visitor.kicked, visitor.ever_kicked) = (Some(at), true);
            }
            Observation::Pod { pod, ordinal, state } => self.pod(pod, *ordinal, *state, at),
            Observation::Ordered { start, end, position } => {
                if let Some(settings) = &self.settings {
                    self.pods.ordered(*start, *end, *position, settings, at);
                    self.order_spares_sessions(at);
                }
            }
            Observation::Stored { start, end, position } => self.pods.stored(*start, *end, *position),
            Observation::CaughtUp => self.pods.catch_up(),
            Observation::Cordoned { ordinal } => self.pods.cordon(*ordinal, true),
            Observation::Uncordoned { ordinal } => self.pods.cordon(*ordinal, false),
            Observation::Emptied { ordinal } => {
                self.pods.empty(*ordinal);
                self.moved_at = at;
            }
            Observation::PoolRemoved => self.removed = true,
            Observation::JournalLost => self.journal_lost(at),
            Observation::JournalSettled => {
                (self.lost, self.settled_at) = (false, at);
                self.pods.journal_settled();
            }
            Observation::Disturbed { until } => self.disturbed_until = self.disturbed_until.max(*until),
            Observation::Snapshot => self.snapshot(at),
            Observation::Clock => self.clock(at),
        }
        std::mem::take(&mut self.findings)
    }

    fn set(&mut self, settings: &Settings) {
        if self.settings.is_some() {
            self.pods.settings_changed(settings);
        }
        let shortest = self.shortest.take().unwrap_or_else(|| settings.clone());
        let either = |a: Option<u64>, b: Option<u64>| a.into_iter().chain(b).min();
        self.shortest = Some(Settings {
            queue_lease: shortest.queue_lease.min(settings.queue_lease),
            claim: shortest.claim.min(settings.claim),
            grace: shortest.grace.min(settings.grace),
            idle: either(shortest.idle, settings.idle),
            max_session: either(shortest.max_session, settings.max_session),
            clocks_jump: shortest.clocks_jump || settings.clocks_jump,
            ..settings.clone()
        });
        self.settings = Some(settings.clone());
        self.removed = false;
    }

    fn journal_lost(&mut self, at: u64) {
        self.lost = true;
        self.pods.journal_lost(self.settings.as_ref(), at);
        self.line = Line::default();
        self.turned_away.clear();
        for visitor in self.visitors.values_mut() {
            visitor.forget();
        }
    }

    fn snapshot(&mut self, at: u64) {
        self.slots_at_snapshot(at);
        if self.lost || self.settings.is_none() {
            return;
        }
        self.orders_spare_sessions(at);
        self.line_at_snapshot(at);
        self.waiting_at_snapshot(at);
        self.turned_away.clear();
    }

    fn clock(&mut self, at: u64) {
        if !self.lost {
            self.waiting_over_time(at);
        }
    }

    pub(crate) fn is_disturbed(&self, since: u64) -> bool {
        self.disturbed_until >= since && self.disturbed_until > 0
    }

    pub(crate) fn snapshots(&self) -> bool {
        self.watch == Watch::Snapshots
    }

    pub(crate) fn visitor(&mut self, id: &VisitorId) -> &mut Visitor {
        self.visitors.entry(id.clone()).or_default()
    }

    pub(crate) fn report(&mut self, rule: Rule, time: u64, text: String) {
        self.findings.push(Finding { rule, time, text });
    }
}
