//! The facts of a world: a mirror of the fleet that reads the journal at its source, the promises that can be checked
//! from outside, and the story. All components report here, but only checks may read it. Each check has a file of its
//! own; `mirror` calls those that belong to an entry of the journal.

mod breaks;
mod checkpoint;
mod cookies;
mod egress;
mod endings;
mod exclusive;
mod kills;
mod metrics;
mod mirror;
mod order;
mod placing;
mod results;

use super::activity::Activity;
use super::evidence::Ledger;
use super::reference::{self, ReferenceOracle};
use super::setting::POOL;
use crate::record::{Mark, MarkKind, SessionLife};
use slotkeeper_core::{Census, Fleet, PoolId, ReplicaId, SessionId, Time};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// When every world begins: a Monday morning (Unix time, milliseconds).
pub const EPOCH: u64 = 1_767_600_000_000;

/// Number of story lines that are kept to explain a failure.
const STORY: usize = 4_000;

/// The oracle of one pool. (`reference` is a second one, which shares no code with the core.)
#[derive(Clone)]
pub struct Oracle {
    inner: Arc<Mutex<Inner>>,
    /// The second oracle.
    pub(super) reference: ReferenceOracle,
    pool: PoolId,
    /// The same for another pool of the same fleet: it has its own mirror, and receives every event that does not
    /// belong to one pool.
    beside: Option<Arc<Oracle>>,
    /// The time of the last moment between two steps.
    clock: Arc<AtomicU64>,
    /// Between two steps, no host runs.
    stands_still: Arc<AtomicBool>,
}

/// A broken promise.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Violation {
    pub at: u64,
    /// The name of the promise.
    pub promise: &'static str,
    pub what: String,
}

/// One line of the story.
#[derive(Clone, Debug)]
pub struct Line {
    pub at: u64,
    pub text: String,
}

/// Censuses of lost entries by journal position, and the replicas at that time.
type LostCensuses = (BTreeMap<usize, ReplicaId>, VecDeque<(u64, Census)>);

#[derive(Default)]
struct Inner {
    mirror: Fleet,
    /// Past states of the fleet, by journal position.
    states: VecDeque<(u64, Fleet)>,
    /// Fleets before a loss of entries, until no component can still act on them.
    before: Vec<Before>,
    /// Entries may be lost, and the journal has no lapse for them yet.
    lapse_is_due: bool,
    /// By journal position.
    censuses: VecDeque<(u64, Census)>,
    /// Censuses of lost positions, and the replicas at that time.
    lost: Vec<LostCensuses>,
    /// Sessions whose state in the journal has changed by a loss of entries, until they are attached again.
    shaken: BTreeSet<SessionId>,
    /// The journal's clock at each entry, and the world's time.
    stamps: VecDeque<(u64, Time)>,
    /// Number of active faults; `last_fault`: when the last one ended.
    faults: usize,
    last_fault: Option<u64>,
    /// Entries, to explain a broken promise.
    ledger: Ledger,
    /// The highest position so far.
    highest: u64,
    /// The number of pods wanted, and since when.
    wanted: Vec<(u64, u32)>,
    names: BTreeMap<String, SessionId>,
    /// The incarnations in which each session was placed, in order.
    places: BTreeMap<SessionId, Vec<String>>,
    /// When each session last lost its pod.
    requeued: BTreeMap<SessionId, u64>,
    /// The current replica id of each dispatcher's host.
    lives: BTreeMap<usize, ReplicaId>,
    /// Since when.
    lives_since: BTreeMap<usize, u64>,
    /// The earlier replica ids of each host's process. Streams of such a life may still send a close frame: the fleet
    /// reassigns their slots only after it has given that replica up.
    former: BTreeMap<usize, BTreeSet<ReplicaId>>,
    /// Sessions (by public name) that had ended or moved away from an incarnation according to lost entries: the
    /// state has them there again, until bytes confirm that they are.
    departed: BTreeSet<(String, String)>,
    /// The incarnation at an address, while it exists.
    addresses: BTreeMap<SocketAddr, (u32, String)>,
    /// Sessions whose cookie a visitor has.
    owned: BTreeSet<String>,
    /// When each dispatcher started, and the journal's position at that time.
    started: BTreeMap<usize, (u64, u64)>,
    /// The session that each incarnation answered last, as reported by the visitors, and when it had sent the
    /// message.
    echoes: BTreeMap<String, (String, u64)>,
    /// The activity of each session's visitor.
    activity: Activity,
    /// Groups of sessions of which one browser may use only one.
    choices: Vec<Vec<String>>,
    /// The first session of each incarnation in a recycling pool.
    first: BTreeMap<String, String>,
    violations: Vec<Violation>,
    /// Events, and how often they occurred.
    coverage: BTreeMap<String, u64>,
    story: VecDeque<Line>,
    marks: Vec<Mark>,
    sessions: BTreeMap<SessionId, SessionLife>,
    /// When each session got its slot, until its pod has answered.
    placed: BTreeMap<SessionId, u64>,
    /// Times from slot to answer.
    answered: Vec<u64>,
    /// Times from request to slot.
    waited: Vec<u64>,
}

/// A discarded fleet, and its replicas.
struct Before {
    fleet: Fleet,
    lives: BTreeMap<usize, ReplicaId>,
}

impl Oracle {
    #[must_use]
    pub fn new() -> Oracle {
        Oracle::of(POOL)
    }

    #[must_use]
    pub fn of(pool: &str) -> Oracle {
        Oracle {
            inner: Arc::default(),
            reference: ReferenceOracle::default(),
            pool: pool.into(),
            beside: None,
            clock: Arc::default(),
            stands_still: Arc::default(),
        }
    }

    /// Adds the checks of another pool.
    #[must_use]
    pub fn with(self, beside: Option<Oracle>) -> Oracle {
        Oracle { beside: beside.map(Arc::new), ..self }
    }

    pub(super) fn is_of_the_first_pool(&self) -> bool {
        &*self.pool.0 == POOL
    }

    fn others(&self, act: impl Fn(&Oracle)) {
        if let Some(beside) = &self.beside {
            act(beside);
        }
    }

    fn locked(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns milliseconds since the world began. A host that is stopped between two steps has no simulated clock:
    /// turmoil's time would include real time there.
    #[must_use]
    pub fn now(&self) -> u64 {
        let clock = self.clock.load(Ordering::Relaxed);
        if self.stands_still.load(Ordering::Relaxed) {
            return clock;
        }
        turmoil::sim_elapsed().map_or(clock, |t| t.as_millis() as u64)
    }

    /// Sets the time between two steps, when no host runs.
    pub fn clock(&self, now: u64) {
        self.others(|t| t.clock(now));
        self.clock.store(now, Ordering::Relaxed);
        self.stands_still.store(true, Ordering::Relaxed);
    }

    /// A step begins: the hosts' clocks run.
    pub fn steps(&self) {
        self.others(Oracle::steps);
        self.stands_still.store(false, Ordering::Relaxed);
    }

    /// Returns the world's wall clock.
    #[must_use]
    pub fn wall(&self) -> Time {
        Time(EPOCH + self.now())
    }

    pub fn log(&self, text: impl Into<String>) {
        let at = self.now();
        self.locked().log(at, text.into());
    }

    /// A fault begins.
    pub fn fault(&self, at: u64, until: Option<u64>, kind: &str, text: String) {
        self.others(|t| t.locked().faults += 1);
        self.disturbed(until.unwrap_or(at), kind);
        let mut inner = self.locked();
        inner.count(format!("fault {kind}"));
        inner.faults += 1;
        inner.log(at, format!("FAULT {text}"));
        inner.marks.push(Mark { at, until, kind: MarkKind::Fault, text });
    }

    /// A fault ends.
    pub fn fault_is_over(&self, kind: &str) {
        let at = self.now();
        self.others(|t| t.locked().mended(at));
        self.disturbed(at, kind);
        let mut inner = self.locked();
        inner.mended(at);
        inner.log(at, format!("{kind} is over"));
    }

    pub fn count(&self, what: impl Into<String>) {
        self.locked().count(what.into());
    }

    pub fn violate(&self, promise: &'static str, what: impl Into<String>) {
        let at = self.now();
        self.locked().violate(at, promise, what.into());
    }

    /// The host writes under this replica id from now on.
    pub fn lives_as(&self, host: usize, replica: ReplicaId) {
        self.others(|t| t.lives_as(host, replica));
        let at = self.now();
        let mut inner = self.locked();
        inner.ledger.writes_as(host, replica);
        let before = inner.lives.insert(host, replica);
        if before != Some(replica) {
            if before.is_some() {
                inner.activity.repeats();
            }
            inner.former.entry(host).or_default().extend(before);
            inner.lives_since.insert(host, at);
            inner.log(at, format!("dispatcher {host} lives as {replica:?}"));
        }
    }

    /// A life of a dispatcher begins.
    pub fn started(&self, host: usize) {
        self.others(|t| t.started(host));
        let at = self.now();
        self.disturbed(at, "a dispatcher starts");
        let mut inner = self.locked();
        inner.ends(host);
        let applied = inner.mirror.applied();
        inner.started.insert(host, (at, applied));
        inner.count("dispatcher started".into());
        inner.log(at, format!("dispatcher {host} starts"));
    }

    pub fn crashed(&self, host: usize) {
        self.others(|t| t.crashed(host));
        self.disturbed(self.now(), "a dispatcher is killed");
        self.locked().ends(host);
    }

    /// An incarnation serves at this address.
    pub fn pod_is_at(&self, address: SocketAddr, ordinal: u32, uid: &str) {
        self.locked().addresses.insert(address, (ordinal, uid.to_owned()));
    }

    /// Reports whether a pod of this pool serves there, or did.
    #[must_use]
    pub fn has_pod_at(&self, address: SocketAddr) -> bool {
        self.locked().addresses.contains_key(&address)
    }

    pub fn pod_is_gone(&self, uid: &str) {
        self.locked().addresses.retain(|_, (_, u)| u != uid);
    }

    /// No program runs on this node any more.
    pub fn node_lost(&self, node: std::net::IpAddr) {
        self.locked().addresses.retain(|address, _| address.ip() != node);
    }

    /// All faults are healed from now on.
    pub fn calm(&self) {
        self.log("everything is healed");
    }
}

/// Returns the part of a public name that logs show.
#[must_use]
pub fn short(name: &str) -> &str {
    name.get(..8).unwrap_or(name)
}

impl Inner {
    fn log(&mut self, at: u64, text: String) {
        if self.story.len() == STORY {
            self.story.pop_front();
        }
        self.story.push_back(Line { at, text });
    }

    fn count(&mut self, what: String) {
        *self.coverage.entry(what).or_default() += 1;
    }

    fn violate(&mut self, at: u64, promise: &'static str, what: String) {
        if !reference::judges(promise) {
            return;
        }
        // Only the first violation of each promise is reported.
        if self.violations.iter().any(|v| v.promise == promise) {
            return;
        }
        self.log(at, format!("BROKEN {promise}: {what}"));
        self.marks.push(Mark { at, until: None, kind: MarkKind::Violation, text: format!("{promise}: {what}") });
        self.violations.push(Violation { at, promise, what });
    }

    /// The host's process has ended.
    fn ends(&mut self, host: usize) {
        self.lives.remove(&host);
        self.former.remove(&host);
    }
}

impl Default for Oracle {
    fn default() -> Oracle {
        Oracle::new()
    }
}
