//! Plays many seeds until a promise breaks, then shrinks the failing world. Counts what occurred on the way: a hunt
//! that never met a fault proves nothing about it.
//!
//! Each job is a process of its own: the order in which the async runtime polls its tasks depends on a process-wide
//! counter, and a failure must be reproducible when its world is played alone.

mod coverage;
mod shrink;

pub use coverage::{expected, missing, table};
pub use shrink::shrink;

use crate::proof::world::play;
use crate::proof::world::setting::{Limits, Setting};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;

/// The seeds to play, and how.
#[derive(Clone, Debug)]
pub struct Hunt {
    pub from: u64,
    pub seeds: u64,
    /// Number of worlds played in parallel.
    pub jobs: u64,
    pub limits: Limits,
    /// This program, and additional arguments for every job.
    pub program: PathBuf,
    pub arguments: Vec<String>,
}

/// Summary of one world, which a job sends to the hunt.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct WorldResult {
    pub seed: u64,
    /// Simulated milliseconds.
    pub lasted: u64,
    pub coverage: BTreeMap<String, u64>,
    /// Number of faults in the world.
    pub faults: u64,
    pub broken: bool,
}

/// The result of a hunt.
#[derive(Debug, Default)]
pub struct HuntResult {
    pub played: u64,
    /// Simulated milliseconds.
    pub simulated: u64,
    pub faults: u64,
    pub coverage: BTreeMap<String, u64>,
    /// A seed whose world breaks a promise: the lowest, if several were found at once.
    pub broken: Option<u64>,
}

/// Maximum number of parallel processes.
const MOST_JOBS: u64 = 64;

/// Plays the seeds, and calls `seen` after each world. Stops at the first broken promise.
///
/// # Errors
/// If a job cannot be started, or ends before it has reported all its worlds.
pub fn hunt(hunt: &Hunt, mut seen: impl FnMut()) -> io::Result<HuntResult> {
    let jobs = hunt.jobs.clamp(1, hunt.seeds.clamp(1, MOST_JOBS));
    let (sender, worlds) = mpsc::channel::<io::Result<WorldResult>>();
    let mut children = Vec::new();
    for job in 0..jobs {
        let mut child = start(hunt, job, jobs)?;
        let output = child.stdout.take();
        children.push(child);
        let sender = sender.clone();
        std::thread::spawn(move || {
            for line in output.into_iter().flat_map(|o| BufReader::new(o).lines()) {
                let world = line.and_then(|line| serde_json::from_str(&line).map_err(io::Error::other));
                if sender.send(world).is_err() {
                    return;
                }
            }
        });
    }
    drop(sender);
    let mut result = HuntResult::default();
    for world in worlds {
        // A job that was stopped may have written an incomplete line.
        let world = match world {
            Ok(world) => world,
            Err(_) if result.broken.is_some() => continue,
            Err(error) => return Err(error),
        };
        result.played += 1;
        result.simulated += world.lasted;
        result.faults += world.faults;
        for (what, times) in world.coverage {
            *result.coverage.entry(what).or_default() += times;
        }
        seen();
        if world.broken {
            result.broken = Some(result.broken.map_or(world.seed, |seed| seed.min(world.seed)));
            children.iter_mut().for_each(stop);
        }
    }
    children.iter_mut().for_each(stop);
    if result.broken.is_none() && result.played < hunt.seeds {
        return Err(io::Error::other(format!("a job died after {} of {} worlds", result.played, hunt.seeds)));
    }
    Ok(result)
}

fn start(hunt: &Hunt, job: u64, jobs: u64) -> io::Result<Child> {
    let mut command = Command::new(&hunt.program);
    command.arg("work").args(["--from", &hunt.from.wrapping_add(job).to_string()]);
    command.args(["--seeds", &(hunt.seeds - job).div_ceil(jobs).to_string(), "--step", &jobs.to_string()]);
    command.args(hunt.limits.arguments()).args(&hunt.arguments).stdout(Stdio::piped()).spawn()
}

/// The job may already have ended by itself.
fn stop(child: &mut Child) {
    let _ = child.kill();
    let _ = child.wait();
}

/// Runs one job: plays its worlds and writes a summary line for each.
///
/// # Errors
/// If `out` is closed.
pub fn work(from: u64, seeds: u64, step: u64, limits: &Limits, out: &mut dyn Write) -> io::Result<()> {
    for number in 0..seeds {
        let seed = from.wrapping_add(number.wrapping_mul(step));
        let outcome = play(&Setting::limited(seed, limits), false);
        let (broken, faults) = (!outcome.violations.is_empty(), outcome.setting.faults.len() as u64);
        let world = WorldResult { seed, lasted: outcome.lasted, coverage: outcome.coverage, faults, broken };
        writeln!(out, "{}", serde_json::to_string(&world)?)?;
        out.flush()?;
        if broken {
            return Ok(());
        }
    }
    Ok(())
}
