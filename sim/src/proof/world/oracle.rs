//! The facts of a world: a mirror of the fleet that reads the journal at its source, the promises that can be checked
//! from outside, and the story. All components report here, but only checks may read it.

use super::activity::Activity;
use super::evidence::{self, Ledger, Subject};
use super::reference::{self, Outsiders};
use super::setting::POOL;
use crate::record::{Mark, MarkKind, SessionLife, Spell};
use slotkeeper::front::cookie::public_name;
use slotkeeper_core::{
    Census, Command, Effect, Entry, Fleet, Ordinal, PoolId, ReplicaId, Rules, Session, SessionId, State, Time, Why,
};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// When every world begins: a Monday morning (Unix time, milliseconds).
pub const EPOCH: u64 = 1_767_600_000_000;

/// A number sent to KEDA must not be older than this, in milliseconds (half a `settle`).
const OLD: u64 = 2_000;
/// Number of journal positions whose census is remembered: a scrape's position is a recent one.
const REMEMBERED: usize = 20_000;

/// Number of the fleet's states that are remembered: lost entries and checkpoints are always more recent.
const STATES: usize = 2_000;

/// Milliseconds after the end of the last fault in which streams may still break: by then all interrupted connections
/// have been given up (`silence` and `grace` are at most 16 s), and all lost requests have been retried.
const AFTERMATH: u64 = 30_000;

/// Events that a visitor never meets in a world without faults.
const ODD: [&str; 9] = [
    "socket broken",
    "socket silent",
    "socket stuck",
    "socket refused",
    "answer 502",
    "answer none",
    "upload failed",
    "upload broken off",
    "download failed",
];

/// Number of story lines that are kept to explain a failure.
const STORY: usize = 4_000;

const SCALE_DOWN: &str = "a scale-down";

#[derive(Clone)]
pub struct Truth {
    inner: Arc<Mutex<Inner>>,
    /// The second oracle.
    pub(super) outsiders: Outsiders,
    pool: PoolId,
    /// The same for another pool of the same fleet: it has its own mirror, and receives every event that does not
    /// belong to one pool.
    beside: Option<Arc<Truth>>,
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
    clock: u64,
}

/// A discarded fleet, and its replicas.
struct Before {
    fleet: Fleet,
    lives: BTreeMap<usize, ReplicaId>,
}

impl Truth {
    #[must_use]
    pub fn new() -> Truth {
        Truth::of(POOL)
    }

    #[must_use]
    pub fn of(pool: &str) -> Truth {
        Truth { inner: Arc::default(), outsiders: Outsiders::default(), pool: pool.into(), beside: None }
    }

    /// Adds the checks of another pool.
    #[must_use]
    pub fn with(self, beside: Option<Truth>) -> Truth {
        Truth { beside: beside.map(Arc::new), ..self }
    }

    pub(super) fn is_of_the_first_pool(&self) -> bool {
        &*self.pool.0 == POOL
    }

    fn others(&self, act: impl Fn(&Truth)) {
        if let Some(beside) = &self.beside {
            act(beside);
        }
    }

    fn locked(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns milliseconds since the world began.
    #[must_use]
    pub fn now(&self) -> u64 {
        turmoil::sim_elapsed().map_or_else(|| self.locked().clock, |t| t.as_millis() as u64)
    }

    /// Sets the time between two steps, when no host runs.
    pub fn clock(&self, now: u64) {
        self.others(|t| t.clock(now));
        self.locked().clock = now;
    }

    /// Returns the world's wall clock.
    #[must_use]
    pub fn wall(&self) -> Time {
        Time(EPOCH + self.now())
    }

    // ---- reports ----

    pub fn tell(&self, text: impl Into<String>) {
        let at = self.now();
        self.locked().tell(at, text.into());
    }

    /// A fault begins.
    pub fn fault(&self, at: u64, until: Option<u64>, kind: &str, text: String) {
        self.others(|t| t.locked().faults += 1);
        self.disturbed(until.unwrap_or(at), kind);
        let mut inner = self.locked();
        inner.count(format!("fault {kind}"));
        inner.faults += 1;
        inner.tell(at, format!("FAULT {text}"));
        inner.marks.push(Mark { at, until, kind: MarkKind::Fault, text });
    }

    /// A fault ends.
    pub fn fault_is_over(&self, kind: &str) {
        let at = self.now();
        self.others(|t| t.locked().mended(at));
        self.disturbed(at, kind);
        let mut inner = self.locked();
        inner.mended(at);
        inner.tell(at, format!("{kind} is over"));
    }

    pub fn count(&self, what: impl Into<String>) {
        self.locked().count(what.into());
    }

    /// A visitor meets this event; some events need a cause.
    pub fn meets(&self, what: String) {
        let at = self.now();
        let mut inner = self.locked();
        let excused = inner.faults > 0 || inner.last_fault.is_some_and(|ended| at <= ended + AFTERMATH);
        if ODD.contains(&what.as_str()) {
            if excused {
                inner.count("excused break".into());
            } else {
                let since = inner
                    .last_fault
                    .map_or("there was none".into(), |ended| format!("the last one ended at {ended} ms"));
                inner.violate(at, "nothing breaks without a cause", format!("{what}, and no fault is active; {since}"));
            }
        }
        inner.count(what);
    }

    /// Reports whether no fault is active or has ended lately, and sessions are placed, so no entries can be lost.
    #[must_use]
    pub fn is_undisturbed(&self) -> bool {
        let at = self.now();
        let inner = self.locked();
        inner.faults == 0 && inner.last_fault.is_none_or(|ended| at > ended + AFTERMATH) && !inner.mirror.is_quiet()
    }

    /// The rest of a request's body does not arrive at the pod. The end of its session is a cause.
    pub fn upload_breaks_off(&self, session: &str) {
        let at = self.now();
        let has_ended = |(id, life): (&SessionId, &SessionLife)| {
            public_name(*id) == session && life.end.is_some_and(|end| at <= end + 1000)
        };
        let ended = self.locked().sessions.iter().any(has_ended);
        if ended {
            self.count("upload ended with its session");
        } else {
            self.meets("upload broken off".into());
        }
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
            inner.former.entry(host).or_default().extend(before);
            inner.lives_since.insert(host, at);
            inner.tell(at, format!("dispatcher {host} lives as {replica:?}"));
        }
    }

    /// A visitor has this session's cookie.
    pub fn owns(&self, session: String) {
        self.locked().owned.insert(session);
    }

    /// Returns sessions of this pool that take part although no visitor has their cookie. (The second pool may be one that
    /// places a first request at once, and the answer with the cookie may be lost.)
    #[must_use]
    pub fn strangers(&self) -> Vec<String> {
        let inner = self.locked();
        inner.names.keys().filter(|name| !inner.owned.contains(*name)).cloned().collect()
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
        inner.tell(at, format!("dispatcher {host} starts"));
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

    /// The journal has taken an entry: applies it to the mirror, and runs all checks that are possible now.
    pub fn journalled(&self, position: u64, entry: &Entry) {
        self.others(|t| t.journalled(position, entry));
        let at = self.now();
        let mut inner = self.locked();
        if position != inner.mirror.applied() + 1 {
            let what = format!("position {position} follows {}", inner.mirror.applied());
            inner.violate(at, "the journal goes on where it was", what);
        }
        inner.journalled(&self.pool, entry, at);
        let serves = !inner.lapse_is_due && !inner.mirror.is_quiet();
        drop(inner);
        if serves {
            self.journal_serves();
        }
    }

    /// The journal has lost all entries after this position.
    pub fn rewound(&self, position: u64) {
        self.others(|t| t.rewound(position));
        let at = self.now();
        self.locked().rewound(&self.pool, position, at);
        self.journal_lost();
    }

    /// A checkpoint has been written: it must equal the state at its position.
    pub fn kept(&self, position: u64, state: &[u8]) {
        let at = self.now();
        let mut inner = self.locked();
        inner.count("checkpoint kept".into());
        let Ok(found) = inner.states.binary_search_by_key(&position, |(p, _)| *p) else { return };
        let real = inner.states.get(found).and_then(|(_, fleet)| serde_json::to_vec(fleet).ok());
        if real.as_deref() != Some(state) {
            let what = format!("a checkpoint differs from the state at position {position}");
            inner.violate(at, "a checkpoint equals the state at its position", what);
        }
    }

    /// A dispatcher writes bytes of a session to a pod: the slot must belong to that session now, and the dispatcher
    /// must be attached to it.
    pub fn egress(&self, host: usize, to: SocketAddr, session: &str) {
        let at = self.now();
        let mut inner = self.locked();
        inner.count("check egress".into());
        let Some((ordinal, uid)) = inner.addresses.get(&to).cloned() else { return };
        inner.departed.remove(&(session.to_owned(), uid.clone()));
        // A discarded fleet counts only for a replica that has not restarted since.
        let same = |b: &&Before| b.lives.get(&host) == inner.lives.get(&host);
        let before = inner.before.iter().filter(same).map(|b| (&b.fleet, &b.lives));
        let fleets = before.chain([(&inner.mirror, &inner.lives)]);
        let allowed = fleets
            .map(|(fleet, lives)| {
                let former = inner.former.get(&host).into_iter().flatten();
                let me: BTreeSet<ReplicaId> = lives.get(&host).into_iter().chain(former).copied().collect();
                inner.may_write(&self.pool, fleet, at, &me, (ordinal, &uid), session)
            })
            .reduce(|before, now| if before.is_ok() { before } else { now });
        if let Some(Err(why)) = allowed {
            let name = short(session);
            let what = format!("dispatcher {host} sends bytes of session {name} to pod {ordinal} ({uid}), but {why}");
            inner.violate(at, "attach, then forward", what);
        }
    }

    /// A pod that belongs to one session for its whole life has received a request. Returns false if it must refuse
    /// it.
    #[must_use]
    pub fn serves(&self, ordinal: u32, uid: &str, session: &str) -> bool {
        let at = self.now();
        let mut inner = self.locked();
        inner.count("check exclusive".into());
        let first = inner.first.entry(uid.to_owned()).or_insert_with(|| session.to_owned()).clone();
        if first == session {
            return true;
        }
        let what = format!(
            "pod {ordinal} ({uid}) belongs to session {}, and was asked to serve {}",
            short(&first),
            short(session)
        );
        inner.violate(at, "exclusive", what);
        false
    }

    /// A session has reached a pod: it must have been placed there.
    pub fn arrived(&self, ordinal: u32, uid: &str, session: &str) {
        let at = self.now();
        let mut inner = self.locked();
        let Some(id) = inner.names.get(session).copied() else {
            return inner.violate(
                at,
                "sticky",
                format!("pod {ordinal} got session {}, which the journal does not know", short(session)),
            );
        };
        let given = inner.places.get(&id).is_some_and(|uids| uids.iter().any(|u| u == uid));
        if !given {
            let what = format!("session {} reached pod {ordinal} ({uid}), which it was never given", short(session));
            inner.violate(at, "sticky", what);
        }
        if let Some(placed) = inner.placed.remove(&id) {
            inner.answered.push(at - placed);
        }
    }

    /// A pod has answered a message that the visitor sent at `asked`, on a connection opened at `opened`: evidence
    /// from the visitor, independent of the fleet's state. `alone`: no other session may be in that pod.
    pub fn echoed(&self, uid: &str, session: &str, opened: u64, asked: u64, alone: bool) {
        let at = self.now();
        let mut inner = self.locked();
        inner.count("message echoed".into());
        inner.activity.answered(session, asked, at);
        let other = inner.echoes.insert(uid.to_owned(), (session.to_owned(), asked));
        let Some((other, theirs)) = other.filter(|(other, theirs)| alone && other != session && *theirs > opened)
        else {
            return;
        };
        let what = format!(
            "{uid} answers session {} on a connection of {opened} ms, and answered {} at {theirs} ms meanwhile",
            short(session),
            short(&other)
        );
        inner.violate(at, "exclusive", what);
    }

    /// The visitor of this session is about to send a request or a message.
    pub fn sends(&self, session: &str) {
        let at = self.now();
        self.locked().activity.sends(session, at);
    }

    /// One browser got these sessions, and uses one of them.
    pub fn one_of(&self, sessions: Vec<String>) {
        self.locked().choices.push(sessions);
    }

    /// Returns the number of browsers that got several sessions and use more than one.
    #[must_use]
    pub fn doubles(&self) -> usize {
        let others = self.beside.as_ref().map_or(0, |t| t.doubles());
        let inner = self.locked();
        let used = |names: &&Vec<String>| names.iter().filter(|name| inner.names.contains_key(*name)).count() > 1;
        others + inner.choices.iter().filter(used).count()
    }

    /// The session's pod has answered a request that the visitor sent at `asked`.
    pub fn answered(&self, session: &str, asked: u64) {
        let at = self.now();
        self.locked().activity.answered(session, asked, at);
    }

    /// A scaler deletes an incarnation: no session may have a slot there.
    pub fn scaled_down(&self, ordinal: u32, uid: &str) {
        let at = self.now();
        self.locked().deleted(&self.pool, ordinal, uid, at, SCALE_DOWN);
    }

    /// A dispatcher recycles an incarnation.
    pub fn recycled(&self, ordinal: u32, uid: &str) {
        let at = self.now();
        self.locked().deleted(&self.pool, ordinal, uid, at, "a recycle");
    }

    /// A dispatcher's `/metrics`, requested at `asked`, must match the fleet at the journal position that it names.
    pub fn scraped(&self, host: usize, asked: u64, position: u64, gauges: &BTreeMap<String, f64>) {
        let at = self.now();
        let mut inner = self.locked();
        let (since, started) = inner.started.get(&host).copied().unwrap_or_default();
        if asked >= since && position < started {
            let what = format!(
                "dispatcher {host} reports gauges at position {position}; the journal was at {started} when it started"
            );
            inner.violate(at, "no scaler reads a number before the journal is read", what);
        }
        if position > inner.highest {
            let what = format!("dispatcher {host} is at journal position {position}; there are only {}", inner.highest);
            inner.violate(at, "metrics", what);
        }
        let Some(current) = census_at(&inner.censuses, position) else { return };
        // Includes replicas that did not yet know about the loss when they were scraped.
        let since = inner.lives_since.get(&host).copied().unwrap_or_default();
        let life = inner.lives.get(&host);
        let unaware = |lives: &BTreeMap<usize, ReplicaId>| lives.get(&host) == life || since >= asked;
        let lost = inner.lost.iter().filter(|(lives, _)| unaware(lives));
        let lost: Vec<Census> = lost.filter_map(|(_, censuses)| census_at(censuses, position)).collect();
        inner.count("check metrics".into());
        // A replica that does not know about the loss reports the state with the lost entries.
        if let Some(what) = differs(&current, gauges)
            && lost.iter().all(|census| differs(census, gauges).is_some())
        {
            inner.violate(at, "metrics", format!("dispatcher {host} at journal position {position}: {what}"));
        }
    }

    /// Checks a dispatcher's answer to KEDA, in thousandths: the number must have been wanted at the time of the
    /// query, or shortly before.
    pub fn told(&self, host: usize, asked: u64, milli: i64) {
        let at = self.now();
        let mut inner = self.locked();
        inner.count("check told".into());
        let earliest = asked.saturating_sub(OLD);
        let first = inner.wanted.iter().rposition(|(since, _)| *since <= earliest).unwrap_or_default();
        let lately = inner.wanted.iter().skip(first).any(|(_, n)| i64::from(*n) * 1_000 == milli);
        if !lately {
            let what = format!(
                "dispatcher {host} answered {milli} thousandths to a query at {asked} ms; wanted were {:?}",
                &inner.wanted[first..]
            );
            inner.violate(at, "no scaler reads an old number", what);
        }
    }

    // ---- queries of checks and reports ----

    #[must_use]
    pub fn census(&self) -> Option<Census> {
        self.locked().mirror.census(&self.pool)
    }

    /// Returns the rules in force.
    #[must_use]
    pub fn rules(&self) -> Option<Rules> {
        self.locked().mirror.rules(&self.pool).cloned()
    }

    #[must_use]
    pub fn violations(&self) -> Vec<Violation> {
        let mut all = self.locked().violations.clone();
        all.extend(self.beside.iter().flat_map(|t| t.violations()));
        all.sort_by_key(|v| v.at);
        all
    }

    #[must_use]
    pub fn is_broken(&self) -> bool {
        !self.locked().violations.is_empty() || self.beside.as_ref().is_some_and(|t| t.is_broken())
    }

    #[must_use]
    pub fn coverage(&self) -> BTreeMap<String, u64> {
        let mut all = self.locked().coverage.clone();
        for (what, times) in self.beside.iter().flat_map(|t| t.coverage()) {
            *all.entry(what).or_default() += times;
        }
        all
    }

    #[must_use]
    pub fn story(&self) -> Vec<Line> {
        let mut all: Vec<Line> = self.locked().story.iter().cloned().collect();
        let others = self.beside.iter().flat_map(|t| t.story().into_iter().map(|line| (&t.pool, line)));
        all.extend(others.map(|(pool, line)| Line { text: format!("[{pool}] {}", line.text), ..line }));
        all.sort_by_key(|line| line.at);
        all
    }

    #[must_use]
    pub fn marks(&self) -> Vec<Mark> {
        self.locked().marks.clone()
    }

    #[must_use]
    pub fn sessions(&self) -> Vec<SessionLife> {
        self.locked().sessions.values().cloned().collect()
    }

    /// Returns milliseconds from request to slot, and from slot to the pod's first answer.
    #[must_use]
    pub fn waits(&self) -> (Vec<u64>, Vec<u64>) {
        let inner = self.locked();
        (inner.waited.clone(), inner.answered.clone())
    }

    /// All faults are healed from now on.
    pub fn calm(&self) {
        self.tell("everything is healed");
    }

    /// Returns the explanation of the first broken promise.
    #[must_use]
    pub fn evidence(&self) -> Vec<Subject> {
        let inner = self.locked();
        let Some(first) = inner.violations.first() else {
            return self.beside.as_ref().map(|t| t.evidence()).unwrap_or_default();
        };
        inner.ledger.about(&first.what, &inner.names, &inner.story)
    }

    /// Returns the position of the journal's last entry.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.locked().mirror.applied()
    }

    /// Returns the remaining sessions of all pools, for the last check.
    #[must_use]
    pub fn left(&self) -> Vec<String> {
        let inner = self.locked();
        let sessions = inner.mirror.sessions(&self.pool);
        let own = sessions.into_iter().map(|(id, s)| format!("{} {:?}", short(&public_name(id)), s.state));
        own.chain(self.beside.iter().flat_map(|t| t.left())).collect()
    }
}

/// Returns the part of a public name that logs show.
#[must_use]
pub fn short(name: &str) -> &str {
    name.get(..8).unwrap_or(name)
}

impl Inner {
    fn mended(&mut self, at: u64) {
        self.faults = self.faults.saturating_sub(1);
        self.last_fault = Some(at);
    }

    fn tell(&mut self, at: u64, text: String) {
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
        self.tell(at, format!("BROKEN {promise}: {what}"));
        self.marks.push(Mark { at, until: None, kind: MarkKind::Violation, text: format!("{promise}: {what}") });
        self.violations.push(Violation { at, promise, what });
    }

    fn journalled(&mut self, pool: &PoolId, entry: &Entry, at: u64) {
        let repeated = entry.number > 0 && self.mirror.replica(entry.from).is_some_and(|number| entry.number <= number);
        let without = repeated.then(|| {
            self.count("entry repeated".into());
            let mut fleet = self.mirror.clone();
            let _ = fleet.apply(&Entry { from: ReplicaId(0), number: 0, command: Command::Tick, ..entry.clone() });
            serde_json::to_string(&fleet).ok()
        });
        if let Command::Lapse { .. } = entry.command {
            self.lapse_is_due = false;
            self.tell(at, "entries may be lost: no session is placed for a while".into());
        }
        let missed = |id: &SessionId| {
            let session = self.mirror.session(pool, *id)?;
            session.last.filter(|_| matches!(session.state, State::Queued { lost: true, .. }))
        };
        let queue: Vec<(SessionId, Option<Ordinal>)> = self.mirror.queue(pool).map(|id| (id, missed(&id))).collect();
        if let Command::Active { sessions } = &entry.command
            && !repeated
            && entry.pool == *pool
        {
            self.check_reports(pool, sessions, at);
        }
        self.count(format!("command {}", evidence::word(&entry.command)));
        if let Command::Visit { session, .. } = &entry.command
            && entry.pool == *pool
        {
            self.names.insert(public_name(*session), *session);
        }
        let terminating: Vec<Ordinal> =
            self.mirror.pods(pool).filter(|(_, p)| p.is_terminating()).map(|(ordinal, _)| ordinal).collect();
        let ending: BTreeSet<String> = terminating.into_iter().filter_map(|o| self.uid(pool, o)).collect();
        let mut effects = self.mirror.apply(entry);
        effects.retain(|(id, _)| id == pool);
        self.stamps.push_back((at, entry.at));
        if self.stamps.len() > STATES {
            self.stamps.pop_front();
        }
        self.remember(pool, entry, &effects, at);
        if without.is_some_and(|without| without != serde_json::to_string(&self.mirror).ok()) {
            let what = format!(
                "number {} of {:?} was written twice, and had an effect: {:?}",
                entry.number, entry.from, entry.command
            );
            self.violate(at, "what is written twice counts once", what);
        }
        if let Err(what) = self.mirror.invariants() {
            self.violate(at, "invariants of the core", format!("{what}, after {entry:?}"));
        }
        self.ordered(pool, &queue, &effects, at);
        for (_, effect) in &effects {
            self.placed_where_it_can_stay(pool, &ending, effect, &entry.command, at);
            self.effect(pool, effect, at);
        }
        if !self.lapse_is_due && !self.mirror.is_quiet() {
            // All that relied on lost entries has been released.
            self.before.clear();
            self.shaken.clear();
        }
        self.highest = self.highest.max(self.mirror.applied());
        if self.states.len() == STATES {
            self.states.pop_front();
        }
        self.states.push_back((self.mirror.applied(), self.mirror.clone()));
        self.noted(pool, at);
    }

    fn remember(&mut self, pool: &PoolId, entry: &Entry, effects: &[(PoolId, Effect)], at: u64) {
        let subject = evidence::subject(&entry.command);
        let after = subject.and_then(|id| self.mirror.session(pool, id));
        if let (Command::Attach { session }, Some(State::Taken { .. })) = (&entry.command, after.map(|s| &s.state)) {
            self.shaken.remove(session);
        }
        let effects = effects.iter().map(|(_, effect)| effect.clone()).collect();
        self.ledger.note(at, self.mirror.applied(), entry, effects, after);
    }

    /// The fleet has changed: remembers its census.
    fn noted(&mut self, pool: &PoolId, at: u64) {
        if let Some(census) = self.mirror.census(pool) {
            if self.censuses.len() == REMEMBERED {
                self.censuses.pop_front();
            }
            self.censuses.push_back((self.mirror.applied(), census));
            if self.wanted.last().is_none_or(|(_, n)| *n != census.desired.len()) {
                self.wanted.push((at, census.desired.len()));
            }
        }
    }

    /// The entries after this position are lost: restores the fleet's state at this position.
    fn rewound(&mut self, pool: &PoolId, position: u64, at: u64) {
        self.tell(at, format!("the journal has lost what came after {position}; it was at {}", self.mirror.applied()));
        self.lapse_is_due = true;
        self.activity.rewound(at);
        let kept = self.states.partition_point(|(p, _)| *p <= position);
        self.states.truncate(kept);
        let fleet = match self.states.back() {
            Some((p, fleet)) if *p == position => fleet.clone(),
            _ if position == 0 => Fleet::new(),
            _ => return self.violate(at, "the world runs", format!("position {position} is not remembered")),
        };
        let fleet = std::mem::replace(&mut self.mirror, fleet);
        for (id, session) in self.mirror.sessions(pool) {
            let Some(uid) = session.pod().and_then(|at| uid_of(&self.mirror, pool, at)) else { continue };
            let there = fleet.session(pool, id).and_then(|s| s.pod()).and_then(|at| uid_of(&fleet, pool, at));
            if there.as_ref() != Some(&uid) {
                self.departed.insert((public_name(id), uid));
            }
        }
        let gone = self.censuses.partition_point(|(p, _)| *p <= position);
        self.lost.push((self.lives.clone(), self.censuses.split_off(gone)));
        // Sessions whose state differs because of the loss.
        let different = |id: &SessionId, session: &slotkeeper_core::Session, other: &Fleet| {
            other.session(pool, *id).map(|s| &s.state) != Some(&session.state)
        };
        let lost = fleet.sessions(pool).into_iter().filter(|(id, s)| different(id, s, &self.mirror));
        let revived = self.mirror.sessions(pool).into_iter().filter(|(id, s)| different(id, s, &fleet));
        let shaken: Vec<SessionId> = lost.chain(revived).map(|(id, _)| id).collect();
        self.shaken.extend(shaken);
        for (_, applied) in self.started.values_mut() {
            *applied = position.min(*applied);
        }
        for (id, session) in fleet.sessions(pool) {
            let now = self.mirror.session(pool, id);
            let (known, moved) = (now.is_some(), now.and_then(|s| s.pod()) != session.pod());
            if !known {
                self.count("session forgotten".into());
                self.tell(at, format!("session {} is forgotten", short(&public_name(id))));
            }
            if moved {
                self.placed.remove(&id);
                end_spell(self.life(id, at), at);
            }
        }
        self.before.push(Before { fleet, lives: self.lives.clone() });
        self.wanted.push((at, self.mirror.desired(pool).map_or(0, |d| d.len())));
    }

    /// First come, first served: a placed session was ahead of every session that still waits. Sessions that lost
    /// their pod are in front, and among those, the ones that can return to their ordinal. `before`: the waiting
    /// sessions, and the ordinal each may return to.
    fn ordered(
        &mut self,
        pool: &PoolId,
        before: &[(SessionId, Option<Ordinal>)],
        effects: &[(PoolId, Effect)],
        at: u64,
    ) {
        let returns = |session: &SessionId, pod: &Ordinal| before.contains(&(*session, Some(*pod)));
        let placed: BTreeSet<SessionId> = effects
            .iter()
            .filter_map(|(_, e)| if let Effect::Placed { session, pod, .. } = e { Some((session, pod)) } else { None })
            .filter(|(session, pod)| !returns(session, pod))
            .map(|(session, _)| *session)
            .collect();
        let still: BTreeSet<SessionId> = self.mirror.queue(pool).collect();
        let requeued: BTreeSet<SessionId> = effects
            .iter()
            .filter_map(|(_, e)| if let Effect::Requeued { session, .. } = e { Some(*session) } else { None })
            .collect();
        self.count("check order".into());
        let passed = before.iter().position(|(s, _)| still.contains(s) && !requeued.contains(s)).and_then(|first| {
            let is_later = |s: &SessionId| before.iter().position(|(b, _)| b == s).is_none_or(|at| at > first);
            let passer = placed.iter().find(|s| !requeued.contains(s) && is_later(s))?;
            Some((before[first].0, *passer))
        });
        if let Some((waits, passer)) = passed {
            let (waits, passer) = (public_name(waits), public_name(passer));
            let what = format!("session {} was placed before {}, which came earlier", short(&passer), short(&waits));
            self.violate(at, "first come, first served", what);
        }
    }

    /// `ending`: the incarnations that were about to end before the entry. Deadlines that became due with the entry
    /// are handled before its own observation of a pod.
    fn placed_where_it_can_stay(
        &mut self,
        pool: &PoolId,
        ending: &BTreeSet<String>,
        effect: &Effect,
        command: &Command,
        at: u64,
    ) {
        let Effect::Placed { session, pod, .. } = effect else { return };
        let news = matches!(command, Command::PodSeen { .. } | Command::PodGone { .. } | Command::PodsListed { .. });
        let ends = self.mirror.pod(pool, *pod).is_none_or(|p| p.is_terminating());
        let uid = self.uid(pool, *pod).unwrap_or_default();
        if ending.contains(&uid) || ends && !news {
            let name = public_name(*session);
            let what = format!("session {} is placed in pod {pod} ({uid}), which terminates", short(&name));
            self.violate(at, "no session is placed in a terminating pod", what);
        }
    }

    fn effect(&mut self, pool: &PoolId, effect: &Effect, at: u64) {
        let debug = format!("{effect:?}");
        self.count(format!("effect {}", debug.split([' ', '(']).next().unwrap_or_default()));
        match effect {
            Effect::Placed { session, pod, waited } => {
                let name = public_name(*session);
                let uid = self.uid(pool, *pod).unwrap_or_default();
                self.tell(at, format!("session {} is placed in pod {pod} ({uid})", short(&name)));
                self.places.entry(*session).or_default().push(uid.clone());
                self.placed.insert(*session, at);
                self.waited.push(waited.0);
                let joined = at.saturating_sub(waited.0);
                self.life(*session, joined).spells.push(Spell { ordinal: pod.0, uid, from: at, to: None });
            }
            Effect::Released { session, why, .. } => {
                self.count(format!("reason {}", why.word()));
                let name = public_name(*session);
                self.is_not_playing(&name, *why, at);
                self.is_idle(pool, &name, *why, at);
                self.tell(at, format!("session {} is released: {}", short(&name), why.word()));
                // Answers from before the release do not show that the visitor is still connected.
                self.echoes.retain(|_, (heard, _)| *heard != name);
                self.placed.remove(session);
                let life = self.life(*session, at);
                life.end = Some(at);
                life.why = Some(why.word().to_owned());
                end_spell(life, at);
            }
            Effect::Requeued { session, pod } => {
                let name = public_name(*session);
                self.tell(at, format!("session {} lost pod {pod}, and waits in front", short(&name)));
                self.requeued.insert(*session, at);
                // The same applies here: its streams to the pod are closed.
                self.echoes.retain(|_, (heard, _)| *heard != name);
                self.placed.remove(session);
                end_spell(self.life(*session, at), at);
            }
            Effect::Scale { start, replicas, decided, .. } => {
                let (position, timeline) = (decided.position, decided.timeline);
                self.tell(at, format!("pods wanted: {replicas} from {start} (decided {position} in {timeline:?})"));
            }
            Effect::Recycle { pod, uid } => self.tell(at, format!("pod {pod} ({uid:?}) is to be recycled")),
            Effect::Drain { pod, gone, .. } => {
                self.tell(at, format!("pod {pod} {}", if *gone { "has ended" } else { "is terminating" }));
            }
            Effect::Started { pod, took } => self.tell(at, format!("pod {pod} has started in {took:?}")),
            Effect::Broken { what } => self.violate(at, "invariants of the core", what.clone()),
        }
    }

    /// A session of a playing visitor must not be released as disconnected.
    fn is_not_playing(&mut self, name: &str, why: Why, at: u64) {
        let pool = POOL.into();
        let Some(rules) = self.mirror.rules(&pool) else { return };
        let clock = match why {
            Why::Disconnected => rules.grace.0,
            Why::NoShow => rules.claim.0,
            Why::LeftQueue => rules.queue_lease.0,
            Why::Idle | Why::TimeUp | Why::Left | Why::Kicked | Why::PodLost | Why::PoolRemoved => return,
        };
        let half = rules.silence.0 / 2;
        self.count("check playing".into());
        let played = self.echoes.values().find(|(session, asked)| session == name && asked + 1_000 > at).cloned();
        let Some((_, asked)) = played else { return };
        // For sessions affected by a loss of entries, this is unknown. A step of the journal's clock counts for at
        // most half a silence; the release is excused if the session's time-out has passed with that step.
        let passed = at - asked + self.stepped(asked).min(half);
        let is_shaken = self.names.get(name).is_some_and(|id| self.shaken.contains(id));
        if is_shaken || passed >= clock {
            self.count("excused release".into());
        } else {
            let what = format!("session {} is released ({}), and was answered at {asked} ms", short(name), why.word());
            self.violate(at, "a playing session is not released as disconnected", what);
        }
    }

    /// A replica reports these sessions as active: the visitors of those with streams must have sent something.
    fn check_reports(&mut self, pool: &PoolId, sessions: &[SessionId], at: u64) {
        for id in sessions {
            let is_taken = |s: &Session| matches!(s.state, State::Taken { .. });
            if !self.mirror.session(pool, *id).is_some_and(is_taken) {
                continue;
            }
            self.count("check activity".into());
            let name = public_name(*id);
            if let Err(what) = self.activity.reported(&name) {
                self.violate(
                    at,
                    "only its visitor makes a session active",
                    format!("session {}: {what}", short(&name)),
                );
            }
        }
    }

    /// Checks that a session that was ended as idle was idle.
    fn is_idle(&mut self, pool: &PoolId, name: &str, why: Why, at: u64) {
        let Some(rules) = self.mirror.rules(pool).filter(|_| why == Why::Idle) else { return };
        let (idle, silence) = (rules.idle.unwrap_or_default().0, self.mirror.silence().0);
        if self.stepped(at.saturating_sub(idle)) > 0 {
            return;
        }
        if let Err(what) = self.activity.idled(name, idle, silence, at) {
            let what = format!("session {} is ended {what}", short(name));
            self.violate(at, "an active session is not ended as idle", what);
        }
    }

    /// Returns by how many milliseconds the journal's clock has run ahead since then.
    fn stepped(&self, since: u64) -> u64 {
        let ahead = |(at, clock): &(u64, Time)| clock.0.saturating_sub(EPOCH + at);
        let then = self.stamps.partition_point(|(at, _)| *at <= since);
        let then = then.checked_sub(1).and_then(|before| self.stamps.get(before));
        let (then, now) = (then.map_or(0, ahead), self.stamps.back().map_or(0, ahead));
        now.saturating_sub(then)
    }

    fn life(&mut self, session: SessionId, joined: u64) -> &mut SessionLife {
        let visitor = self.sessions.len() as u32;
        self.sessions.entry(session).or_insert_with(|| SessionLife {
            visitor,
            joined,
            spells: Vec::new(),
            end: None,
            why: None,
            killed: false,
        })
    }

    fn uid(&self, pool: &PoolId, pod: Ordinal) -> Option<String> {
        uid_of(&self.mirror, pool, pod)
    }

    /// The host's process has ended.
    fn ends(&mut self, host: usize) {
        self.lives.remove(&host);
        self.former.remove(&host);
    }

    fn may_write(
        &self,
        pool: &PoolId,
        fleet: &Fleet,
        at: u64,
        me: &BTreeSet<ReplicaId>,
        (ordinal, uid): (u32, &str),
        name: &str,
    ) -> Result<(), String> {
        let Some(session) = self.names.get(name).and_then(|id| fleet.session(pool, *id)) else {
            return Err("the journal knows no such session (any more)".into());
        };
        let (pod, by) = match &session.state {
            State::Taken { pod, by } | State::Ending { pod, by, .. } => (pod, by),
            // The fleet considers the pod lost. A dispatcher may not know that yet, but only while it may be cut off.
            State::Queued { lost: true, .. } if self.last_place(name) == Some(uid) => {
                let since = self.names.get(name).and_then(|id| self.requeued.get(id)).copied().unwrap_or_default();
                let late = at.saturating_sub(since);
                if late <= fleet.patience().0 {
                    return Ok(());
                }
                return Err(format!("its pod was lost {late} ms ago"));
            }
            State::Queued { .. } | State::Held { .. } => {
                return Err(format!("it is not attached: {:?}", session.state));
            }
        };
        let there = uid_of(fleet, pool, *pod).unwrap_or_default();
        if pod.0 != ordinal || there != uid {
            return Err(format!("it is placed in pod {pod} ({there})"));
        }
        if !by.iter().any(|replica| me.contains(replica)) {
            return Err(format!("this dispatcher has not attached it: {:?}", session.state));
        }
        Ok(())
    }

    /// Returns the incarnation in which the session was placed last.
    fn last_place(&self, name: &str) -> Option<&str> {
        let places = self.places.get(self.names.get(name)?)?;
        places.last().map(String::as_str)
    }

    fn deleted(&mut self, pool: &PoolId, ordinal: u32, uid: &str, at: u64, by: &str) {
        self.tell(at, format!("pod {ordinal} ({uid}) is deleted by {by}"));
        if let Some((session, asked)) = self.echoes.get(uid).filter(|(_, asked)| by == SCALE_DOWN && asked + 1_000 > at)
        {
            let what = format!(
                "pod {ordinal} ({uid}) is deleted under session {}, which it answered at {asked} ms",
                short(session)
            );
            self.violate(at, "no live session is killed", what);
        }
        let Some(pod) = self.mirror.pod(pool, Ordinal(ordinal)) else { return };
        if pod.life.as_ref().is_none_or(|l| &*l.uid.0 != uid) {
            return;
        }
        let departed = |id: &SessionId| self.departed.contains(&(public_name(*id), uid.to_owned()));
        let there: Vec<SessionId> = pod.sessions.iter().copied().filter(|id| !departed(id)).collect();
        if let Some(first) = there.first() {
            let what =
                format!("pod {ordinal} ({uid}) is deleted by {by} under session {}", short(&public_name(*first)));
            for session in there {
                self.life(session, at).killed = true;
            }
            self.marks.push(Mark { at, until: None, kind: MarkKind::Kill, text: what.clone() });
            self.violate(at, "no live session is killed", what);
        }
    }
}

fn census_at(line: &VecDeque<(u64, Census)>, position: u64) -> Option<Census> {
    let at = line.binary_search_by_key(&position, |(p, _)| *p).ok()?;
    line.get(at).map(|(_, census)| *census)
}

fn uid_of(fleet: &Fleet, pool: &PoolId, pod: Ordinal) -> Option<String> {
    Some(fleet.pod(pool, pod)?.life.as_ref()?.uid.0.to_string())
}

fn end_spell(life: &mut SessionLife, at: u64) {
    if let Some(spell) = life.spells.last_mut().filter(|s| s.to.is_none()) {
        spell.to = Some(at);
    }
}

/// Returns a difference between the gauges and the fleet.
fn differs(census: &Census, gauges: &BTreeMap<String, f64>) -> Option<String> {
    let real = [
        ("slotkeeper_sessions queued", census.queued),
        ("slotkeeper_sessions held", census.held),
        ("slotkeeper_sessions taken", census.taken),
        ("slotkeeper_sessions ending", census.ending),
        ("slotkeeper_queue_length", census.queued),
        ("slotkeeper_slots busy", census.busy_slots),
        ("slotkeeper_slots free", census.free_slots),
        ("slotkeeper_pods desired", u64::from(census.desired.len())),
        ("slotkeeper_pods needed", u64::from(census.needed.len())),
        ("slotkeeper_pods ready", u64::from(census.ready)),
        ("slotkeeper_active", u64::from(census.is_active())),
    ];
    real.into_iter().find_map(|(name, real)| {
        let told = gauges.get(name).copied();
        (told != Some(real as f64)).then(|| format!("{name} is {told:?}; it is {real}"))
    })
}

impl Default for Truth {
    fn default() -> Truth {
        Truth::new()
    }
}
