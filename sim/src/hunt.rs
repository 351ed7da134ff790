//! Plays many seeds until a promise breaks, then takes away from the failing world what does not matter. What has occurred
//! on the way is counted: a hunt that never met a fault proves nothing about it.

use crate::world::setting::{Limits, Setting};
use crate::world::{Outcome, faults::FaultKind, play};
use slotkeeper_core::Why;
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;

/// Which seeds, and how.
#[derive(Clone, Debug)]
pub struct Hunt {
    pub from: u64,
    pub seeds: u64,
    /// Worlds played at once.
    pub jobs: usize,
    pub limits: Limits,
}

/// What a hunt came home with.
#[derive(Debug, Default)]
pub struct Catch {
    pub played: u64,
    /// Simulated milliseconds.
    pub simulated: u64,
    pub coverage: BTreeMap<String, u64>,
    /// The first failing world, as it was played.
    pub failure: Option<Box<Outcome>>,
}

/// Most worlds played to make a failing one smaller.
const SHRINKS: usize = 60;

/// Plays the seeds; `seen` is told of each world when it is over. Ends with the first broken promise.
pub fn hunt(hunt: &Hunt, mut seen: impl FnMut(&Outcome)) -> Catch {
    let (next, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    let (sender, outcomes) = mpsc::channel::<Outcome>();
    let mut catch = Catch::default();
    std::thread::scope(|scope| {
        for _ in 0..hunt.jobs.max(1) {
            let (next, stop, sender) = (&next, &stop, sender.clone());
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= hunt.seeds {
                        return;
                    }
                    let setting = Setting::draw(hunt.from.wrapping_add(number)).within(&hunt.limits);
                    // Nobody listens any more only when everything is over.
                    let _ = sender.send(play(&setting, false));
                }
            });
        }
        drop(sender);
        for outcome in outcomes {
            catch.played += 1;
            catch.simulated += outcome.lasted;
            for (what, times) in &outcome.coverage {
                *catch.coverage.entry(what.clone()).or_default() += times;
            }
            seen(&outcome);
            let earlier = catch.failure.as_ref().is_none_or(|f| outcome.setting.seed < f.setting.seed);
            if !outcome.violations.is_empty() && earlier {
                stop.store(true, Ordering::Relaxed);
                catch.failure = Some(Box::new(outcome));
            }
        }
    });
    catch
}

/// Takes away from a failing world what the same promise breaks without. `seen` is told of every attempt.
pub fn shrink(limits: &Limits, failing: Outcome, mut seen: impl FnMut(&Limits, bool)) -> (Limits, Outcome) {
    let (mut limits, mut smallest) = (limits.clone(), failing);
    let mut left = SHRINKS;
    loop {
        let before = limits.clone();
        for candidate in smaller(&limits, &smallest) {
            if left == 0 {
                return (limits, smallest);
            }
            left -= 1;
            let setting = Setting::draw(smallest.setting.seed).within(&candidate);
            let outcome = play(&setting, false);
            let same = |o: &Outcome| o.violations.first().map(|v| v.promise);
            let fails = same(&outcome).is_some() && same(&outcome) == same(&smallest);
            seen(&candidate, fails);
            if fails {
                (limits, smallest) = (candidate, outcome);
                break;
            }
        }
        if limits == before {
            return (limits, smallest);
        }
    }
}

/// Each with one thing less.
fn smaller(limits: &Limits, outcome: &Outcome) -> Vec<Limits> {
    let setting = &outcome.setting;
    let mut all = Vec::new();
    let mut with = |change: &dyn Fn(&mut Limits)| {
        let mut less = limits.clone();
        change(&mut less);
        if less != *limits {
            all.push(less);
        }
    };
    for kind in FaultKind::ALL.iter().filter(|k| setting.faults.iter().any(|f| f.kind == **k)) {
        with(&|l| {
            l.without.insert(*kind);
        });
    }
    for visitors in [1, setting.visitors / 2, setting.visitors.saturating_sub(1)] {
        if visitors > 0 && visitors < setting.visitors {
            with(&|l| l.visitors = Some(visitors));
        }
    }
    for dispatchers in 1..setting.dispatchers {
        with(&|l| l.dispatchers = Some(dispatchers));
    }
    for nodes in 1..setting.nodes {
        with(&|l| l.nodes = Some(nodes));
    }
    for chaos in [setting.chaos / 2, setting.chaos * 3 / 4] {
        if chaos > 5_000 {
            with(&|l| l.chaos = Some(chaos));
        }
    }
    all
}

/// Everything that must have occurred in a long hunt.
#[must_use]
pub fn expected() -> Vec<String> {
    let commands = [
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
        "Cordon",
        "Uncordon",
        "Rules",
        "Schedule",
        "Remove",
        "Farewell",
        "Tick",
    ];
    let effects = ["Scale", "Recycle", "Drain", "Placed", "Released", "Requeued", "Started"];
    let rooms = ["arriving", "starting", "queued", "ready", "ended"];
    let mut all: Vec<String> = commands.iter().map(|c| format!("command {c}")).collect();
    all.extend(effects.iter().map(|e| format!("effect {e}")));
    all.extend(Why::ALL.iter().map(|why| format!("reason {}", why.word())));
    all.extend(FaultKind::ALL.iter().map(|kind| format!("fault {kind}")));
    all.extend(rooms.iter().map(|state| format!("room {state}")));
    all.extend(
        ["check metrics", "KEDA writes", "HPA writes", "watch broken", "pod evicted", "pod stuck"].map(String::from),
    );
    all
}

/// What never occurred although it should have.
#[must_use]
pub fn missing(coverage: &BTreeMap<String, u64>) -> Vec<String> {
    expected().into_iter().filter(|what| coverage.get(what).copied().unwrap_or_default() == 0).collect()
}

/// How often everything occurred, in columns.
///
/// # Errors
/// When it cannot be written.
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
