//! The events that must occur in a long hunt: a hunt without a fault proves nothing about that fault.

use crate::proof::world::{faults::FaultKind, points};
use slotkeeper_core::Why;
use std::collections::BTreeMap;
use std::io::{self, Write};

/// Commands of the journal.
const COMMANDS: &[&str] = &[
    "Visit",
    "Attach",
    "Detach",
    "Active",
    "Leave",
    "Kick",
    "Extend",
    "PodSeen",
    "PodGone",
    "PodsListed",
    "ScaleSeen",
    "Served",
    "ScaleInPaused",
    "Cordon",
    "Uncordon",
    "Rules",
    "Schedule",
    "Remove",
    "Hello",
    "Lapse",
    "Farewell",
    "Tick",
];

/// Effects of the core.
const EFFECTS: &[&str] = &["Scale", "Recycle", "Drain", "Placed", "Released", "Requeued", "Started"];

/// States that the waiting room shows.
const ROOMS: &[&str] = &["arriving", "starting", "queued", "ready", "ended", "full"];

/// Checks that ran.
const CHECKS: &[&str] =
    &["check metrics", "check egress", "check exclusive", "check order", "message echoed", "dispatcher cut off"];

/// Events of the cluster.
const CLUSTER: &[&str] = &[
    "KEDA writes",
    "HPA writes",
    "KEDA is pushed",
    "watch broken",
    "history forgotten",
    "pod evicted",
    "pod stuck",
    "API answers 429",
    "API patch given up",
    "pods listed again",
    "pod drained",
    "eviction refused",
    "pod preempted",
    "pod removed with its node",
    "set created again",
    "KEDA's autoscaler: Disabled",
];

/// Events of the journals.
const JOURNALS: &[&str] = &[
    "checkpoint kept",
    "checkpoint restored",
    "disk returns EIO",
    "disk returns ENOSPC",
    "dispatcher could not open its journal",
    "entry found after a crash",
    "no descriptor left",
    "power lost",
    "process ended in a system call",
    "torn record cut off",
    "unsynced bytes lost",
    "dispatcher forgets what is lost",
    "dispatcher killed while writing",
    "dispatcher starts a new life",
    "entry repeated",
    "journal entries lost",
    "journal returns LAPSED",
    "journal returns OOM",
    "session forgotten",
];

/// Events of visitors, pods and streams.
const STREAMS: &[&str] = &[
    "check activity",
    "dispatcher of an older version",
    "dispatcher with new settings",
    "download complete",
    "five first requests at once",
    "fault listed-address-away",
    "ping of a pod answered",
    "pod answers in chunks",
    "pod answers late",
    "pod half-closes",
    "pod hangs up after an answer",
    "pod ignores a close",
    "pod reads slowly",
    "pod's messages counted at a close",
    "pod's messages counted at a half-close",
    "process ended",
    "push received",
    "socket given up while its visitor did not read",
    "upload received",
    "visitor suspended",
    "visitor's messages counted",
    "writer waits for its reader",
];

/// Returns everything that must occur in a long hunt.
#[must_use]
pub fn expected() -> Vec<String> {
    let named =
        |what: &'static str, words: Vec<&'static str>| words.into_iter().map(move |word| format!("{what} {word}"));
    named("command", COMMANDS.to_vec())
        .chain(named("effect", EFFECTS.to_vec()))
        .chain(named("reason", Why::ALL.iter().map(|why| why.word()).collect()))
        .chain(named("fault", FaultKind::ALL.iter().map(|kind| kind.word()).collect()))
        .chain(named("room", ROOMS.to_vec()))
        .chain(named("point", points::words().to_vec()))
        .chain([CHECKS, CLUSTER, JOURNALS, STREAMS].concat().into_iter().map(str::to_owned))
        .collect()
}

/// Returns what should have occurred but did not.
#[must_use]
pub fn missing(coverage: &BTreeMap<String, u64>) -> Vec<String> {
    expected().into_iter().filter(|what| coverage.get(what).copied().unwrap_or_default() == 0).collect()
}

/// Writes how often everything occurred, in columns.
///
/// # Errors
/// If writing fails.
pub fn table(coverage: &BTreeMap<String, u64>, out: &mut dyn Write) -> io::Result<()> {
    let mut all = coverage.clone();
    for what in missing(coverage) {
        all.insert(what, 0);
    }
    let cells: Vec<String> = all
        .iter()
        .map(|(what, times)| if *times == 0 { format!("{what}: NEVER") } else { format!("{what}: {times}") })
        .collect();
    let rows = cells.len().div_ceil(3);
    for row in 0..rows {
        let line: Vec<String> =
            (0..3).filter_map(|column| cells.get(column * rows + row)).map(|c| format!("{c:<40}")).collect();
        writeln!(out, "  {}", line.concat().trim_end())?;
    }
    Ok(())
}
