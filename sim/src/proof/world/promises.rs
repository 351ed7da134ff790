//! Each promise that a world can break, as a rule, and where it is documented.

/// A promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Promise {
    /// The name that violations use.
    pub name: &'static str,
    /// The condition that must hold.
    pub rule: &'static str,
    /// The file that documents the promise, and words that occur there.
    pub documented: (&'static str, &'static str),
}

const README: &str = "README.md";
const SIM: &str = "sim/README.md";
const LAWS: &str = "crates/dispatcher/src/lib.rs";
const RUN: &str = "crates/dispatcher/src/run.rs";
const CORE: &str = "crates/core/src/lib.rs";

/// Returns the promise with this name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Promise> {
    ALL.iter().find(|promise| promise.name == name)
}

const fn promise(name: &'static str, rule: &'static str, file: &'static str, words: &'static str) -> Promise {
    Promise { name, rule, documented: (file, words) }
}

pub const ALL: &[Promise] = &[
    promise(
        "exclusive",
        "A pod with one slot serves one session at a time; with `after_session = \"recycle\"`, one session in its whole life.",
        README,
        "A slot is never shared",
    ),
    promise(
        "attach, then forward",
        "Whenever a dispatcher writes to a pod, the journal has that session at that pod, attached by that dispatcher.",
        LAWS,
        "Attach, then forward",
    ),
    promise(
        "sticky",
        "A session reaches only incarnations that it was placed in.",
        README,
        "A session stays with its pod",
    ),
    promise(
        "every session gets its own answers",
        "A pod's answer names the session that asked.",
        README,
        "A session stays with its pod",
    ),
    promise(
        "a cookie stays good",
        "A visitor's cookie names the same session until the visitor asks for a new one.",
        LAWS,
        "Unknown is not new",
    ),
    promise(
        "no live session is killed",
        "No pod is deleted by a scale-down or a recycle while a session has a slot in it or was answered by it less than 1 s ago.",
        README,
        "No live session is killed",
    ),
    promise(
        "a playing session is not released as disconnected",
        "No session is released as disconnected, as a no-show or as left while its pod answered it within that time-out.",
        SIM,
        "a playing session is not released as disconnected",
    ),
    promise(
        "nothing breaks without a cause",
        "No stream breaks and no request fails unless a fault is active or has ended less than 30 s ago.",
        SIM,
        "nothing breaks without a cause",
    ),
    promise(
        "no session is placed in a terminating pod",
        "No session is placed in a pod that is known to terminate.",
        SIM,
        "no session is placed in a terminating pod",
    ),
    promise(
        "first come, first served",
        "A placed session was ahead of every session that still waits, unless it had lost its pod.",
        SIM,
        "first come, first served",
    ),
    promise(
        "bytes arrive as they were sent",
        "Messages and bodies arrive in both directions as they were sent, in order; what was sent before a close arrives before it.",
        README,
        "Bytes are not touched",
    ),
    promise(
        "only its visitor makes a session active",
        "A replica reports a session as active only after its visitor has sent a request or a message.",
        SIM,
        "only its visitor makes a session active",
    ),
    promise(
        "an active session is not ended as idle",
        "No session is ended as idle while its visitor sends messages that a replica had the time to report.",
        SIM,
        "an active session is not ended as idle",
    ),
    promise(
        "every pool has its own visitors",
        "A pod is asked only for paths of its own pool.",
        SIM,
        "every pool has its own visitors",
    ),
    promise(
        "what is written twice counts once",
        "An entry that the journal has already taken changes nothing when it is written again.",
        CORE,
        "Outdated input is ignored",
    ),
    promise(
        "a checkpoint equals the state at its position",
        "A checkpoint is the state at its position, byte by byte.",
        SIM,
        "a checkpoint equals the state at its position",
    ),
    promise(
        "metrics",
        "The gauges of `/metrics` are the fleet's at the journal position that they name.",
        SIM,
        "`/metrics` equals the state at the same journal position",
    ),
    promise(
        "no scaler reads a number before the journal is read",
        "A dispatcher reports no number before it has read the journal up to its end at the dispatcher's start.",
        SIM,
        "no numbers before the journal is read",
    ),
    promise(
        "no scaler reads an old number",
        "A number that KEDA receives was the desired one at most 2 s before the query.",
        "crates/dispatcher/OPERATING.md",
        "KEDA",
    ),
    promise(
        "one metric, one pod each",
        "KEDA gets one metric whose target is one pod.",
        "crates/dispatcher/OPERATING.md",
        "KEDA",
    ),
    promise(
        "only `true` is pushed",
        "The push stream to KEDA carries `true` only.",
        "crates/dispatcher/OPERATING.md",
        "KEDA",
    ),
    promise(
        "invariants of the core",
        "After each entry the fleet's invariants hold, and no pool is frozen.",
        CORE,
        "A broken invariant is a bug",
    ),
    promise(
        "bots wake nothing",
        "Where the cookie must be returned first, every session that takes part has a visitor with its cookie.",
        README,
        "No pod starts without a visitor",
    ),
    promise("no process logs an ERROR", "No process logs an ERROR.", SIM, "no process logs an ERROR"),
    promise("nothing panics", "No process panics.", SIM, "nothing panics"),
    promise(
        "every patient visitor is served",
        "After all faults, every visitor who waits long enough has had a slot.",
        SIM,
        "every patient visitor is served",
    ),
    promise(
        "everything comes to rest",
        "After all faults, every session ends, every slot is free, and the pool shrinks to its minimum.",
        SIM,
        "everything comes to rest",
    ),
    promise(
        "a dispatcher runs",
        "A dispatcher starts, and ends only when it is asked to.",
        RUN,
        "Runs a dispatcher until",
    ),
    promise(
        "the cookie stays with the dispatcher",
        "The session cookie is removed before a request reaches a pod.",
        "crates/dispatcher/OPERATING.md",
        "the visitor's request without Slotkeeper's cookie",
    ),
    promise(
        "what was acknowledged is not lost",
        "Every entry that the journal has acknowledged is on the disk after a crash or a loss of power.",
        "sim/src/proof/world/disk.rs",
        "acknowledged",
    ),
    promise(
        "the journal can be read",
        "Every entry that the journal takes can be read.",
        README,
        "Sessions survive failures",
    ),
    promise(
        "the journal goes on where it was",
        "Each entry's position follows that of the one before.",
        README,
        "Sessions survive failures",
    ),
    promise("the world runs", "The simulation itself has no error.", SIM, "A **world** has one to three dispatchers"),
    promise(
        "reference: two sessions in one slot",
        "By what visitors and pods observe, an incarnation never has more sessions than slots, and a slot is held for `grace`.",
        SIM,
        "two sessions in one slot",
    ),
    promise(
        "reference: a session moved without cause",
        "A session is answered by another pod only if its pod ends, or the session may have ended or may be moved.",
        SIM,
        "a session moved without cause",
    ),
    promise(
        "reference: a session killed by us",
        "No scale-down, recycle or size removes the pod of a session that must have a slot there, and each end has its reason.",
        SIM,
        "a session killed by us",
    ),
    promise(
        "reference: a visitor waits while a slot is free",
        "No visitor waits while a slot is free, beyond the time that processes invisible to an outsider may take.",
        SIM,
        "a visitor waits while a slot is free",
    ),
    promise(
        "reference: a lost queue position",
        "A connected visitor keeps its position in the queue, and no later visitor gets a slot first.",
        SIM,
        "a lost queue position",
    ),
    promise(
        "reference: a missing notification",
        "A stream that ends because its session or its pod does is closed with a reason.",
        SIM,
        "a missing notification",
    ),
];
