//! Parses the arguments and runs the command.

mod limits;

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use limits::LimitArguments;
use slotkeeper_sim::chance::{Arrivals, Draw, milliseconds};
use slotkeeper_sim::configured;
use slotkeeper_sim::planner::plan;
use slotkeeper_sim::planner::{compare, gateway, report};
use slotkeeper_sim::proof::hunt::{self, Hunt};
use slotkeeper_sim::proof::narrate;
use slotkeeper_sim::proof::world::limits::{Limits, Selection};
use slotkeeper_sim::proof::world::setting::Setting;
use slotkeeper_sim::proof::world::{Outcome, play, reference, scenarios, stored};
use slotkeeper_sim::record::Record;
use slotkeeper_sim::vectors;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Simulates the world of a session dispatcher from one seed.
#[derive(Parser)]
#[command(name = "slotkeeper-sim", version)]
struct Arguments {
    #[command(subcommand)]
    job: Job,
    /// Plants a bug, to check whether it is found (needs the feature `planted`).
    #[arg(long, global = true, value_name = "BUG")]
    plant: Option<String>,
    /// Only the second oracle judges: shows what it detects by itself.
    #[arg(long, global = true)]
    reference_alone: bool,
}

#[derive(Subcommand)]
enum Job {
    /// Plays one world, and reports the outcome of every promise.
    Run {
        /// The seed of everything; default: 1, or the seed of a stored world.
        #[arg(long)]
        seed: Option<u64>,
        /// A named world instead of a drawn one (`slotkeeper-sim scenarios` lists them), or a stored one: the name of
        /// a file in the folder of stored worlds, or a path.
        #[arg(long, value_name = "NAME|FILE")]
        scenario: Option<String>,
        /// The folder of stored worlds.
        #[arg(long, value_name = "FOLDER", default_value = stored::FOLDER)]
        scenarios: PathBuf,
        /// Prints every line of every log.
        #[arg(long, conflicts_with = "json")]
        trace: bool,
        #[command(flatten)]
        output: Output,
        #[command(flatten)]
        limits: LimitArguments,
    },
    /// Plays many seeds until a promise breaks, and shrinks the failing world as far as possible.
    Hunt {
        /// The number of seeds.
        #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u64).range(1..))]
        seeds: u64,
        /// The first seed; default: one derived from the current time (it is printed).
        #[arg(long, value_name = "SEED")]
        from: Option<u64>,
        /// Number of worlds played in parallel; 0 = one per core.
        #[arg(long, default_value_t = 0)]
        jobs: u64,
        /// Shows a failing world as it was played, without shrinking it.
        #[arg(long)]
        as_it_is: bool,
        /// Stores the failing world under this name (or in this file), for `run --scenario`.
        #[arg(long, value_name = "NAME|FILE")]
        keep: Option<String>,
        /// The folder to store it in.
        #[arg(long, value_name = "FOLDER", default_value = stored::FOLDER)]
        scenarios: PathBuf,
        /// Also fails if something that must occur in a long hunt did not occur.
        #[arg(long)]
        covered: bool,
        #[command(flatten)]
        limits: LimitArguments,
    },
    /// One job of `hunt`, which starts several of these processes.
    #[command(hide = true)]
    Work {
        #[arg(long)]
        from: u64,
        #[arg(long)]
        seeds: u64,
        #[arg(long)]
        step: u64,
        #[command(flatten)]
        limits: LimitArguments,
    },
    /// Plays the same visitors with several designs side by side, from least effort to ours.
    Compare {
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// A known failure of the least-effort design, or a gateway's bad day, instead of a usual day
        /// (`slotkeeper-sim scenarios` lists them).
        #[arg(long, value_name = "NAME")]
        scenario: Option<String>,
        /// Number of gateway clients instead of 50 000; the capacity of a pod is scaled in proportion.
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(100..=1_000_000))]
        clients: Option<u32>,
        #[command(flatten)]
        output: Output,
    },
    /// Reports the waiting time and pod-hours of an operator's own settings, and of neighbouring settings.
    Plan(Box<PlanArguments>),
    /// Lists the named worlds, and the known failures for comparing designs.
    Scenarios,
    /// Runs a folder of test vectors against the models of Kubernetes and KEDA.
    Vectors { folder: PathBuf },
}

/// Arguments of `plan`.
#[derive(Args)]
struct PlanArguments {
    /// Slotkeeper's configuration.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// The pool to plan, if the configuration has several.
    #[arg(long, value_name = "NAME")]
    pool: Option<String>,
    /// Arrivals: `10000/day`, `30/h`, `2000/day:office`, with a burst: `2000/day:evening+200@18:00/10m`.
    #[arg(long)]
    arrivals: Arrivals,
    /// Session length: `20m`, `10m-40m`, `exp:20m`, `lognormal:30m,p95=2h`.
    #[arg(long)]
    session_length: Draw,
    /// Time from the start of a pod's program until it can answer.
    #[arg(long)]
    cold_start: Draw,
    /// Time from the creation of a pod until its program starts (scheduling, volumes, the kubelet, the container);
    /// default: 0.5s-1.2s for pools on Kubernetes, else 0s.
    #[arg(long, value_name = "TIME")]
    pod_start: Option<Draw>,
    /// The period of the startup probe (or, without one, of the readiness probe): a pod becomes ready at the first
    /// probe after its program can answer; default: 2s for pools on Kubernetes, else 0s.
    #[arg(long, value_name = "TIME", value_parser = milliseconds)]
    probe_period: Option<u64>,
    /// How long visitors wait before they give up.
    #[arg(long)]
    patience: Option<Draw>,
    #[arg(long, default_value_t = 1)]
    days: u32,
    /// The first seed.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Number of seeds that each setting is played with, the same for all; default: 10, fewer if there are very many
    /// visitors.
    #[arg(long, value_name = "N")]
    seeds: Option<u32>,
    /// Maximum number of neighbouring settings to try.
    #[arg(long, value_name = "N")]
    variants: Option<usize>,
    #[command(flatten)]
    output: Output,
}

/// Where results are written, in addition to a table.
#[derive(Args)]
struct Output {
    /// Writes an HTML report to this file.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Prints JSON instead of text.
    #[arg(long)]
    json: bool,
}

impl Output {
    fn draw(&self, records: &[Record]) -> anyhow::Result<()> {
        self.write(|| report::html(records))
    }

    fn write(&self, page: impl FnOnce() -> String) -> anyhow::Result<()> {
        let Some(file) = &self.report else { return Ok(()) };
        std::fs::write(file, page()).with_context(|| format!("cannot write {}", file.display()))
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let Arguments { job, plant: bug, reference_alone } = arguments;
    reference::judge_alone(reference_alone);
    match plant(bug.as_deref()).and_then(|()| act(job, bug)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        // A closed reader (`| head`) is no error.
        Err(error) if error.downcast_ref().is_some_and(|e: &io::Error| e.kind() == io::ErrorKind::BrokenPipe) => {
            ExitCode::SUCCESS
        }
        Err(error) => {
            let _ = writeln!(io::stderr(), "slotkeeper-sim: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// Returns the `--plant` argument for the jobs of a hunt.
fn planted(bug: Option<&str>) -> Vec<String> {
    bug.into_iter().flat_map(|bug| ["--plant".to_owned(), bug.to_owned()]).collect()
}

#[cfg(feature = "planted")]
fn plant(bug: Option<&str>) -> anyhow::Result<()> {
    use slotkeeper_core::planted::{Bug, plant};
    let Some(word) = bug else { return Ok(()) };
    let all = || Bug::ALL.iter().map(|bug| bug.word()).collect::<Vec<_>>().join(", ");
    plant(Bug::find(word).with_context(|| format!("--plant: {word:?} is no bug; there are: {}", all()))?);
    Ok(())
}

#[cfg(not(feature = "planted"))]
fn plant(bug: Option<&str>) -> anyhow::Result<()> {
    anyhow::ensure!(bug.is_none(), "--plant: this program was built without bugs; build it with the feature `planted`");
    Ok(())
}

/// Returns true if every promise was kept.
fn act(job: Job, bug: Option<String>) -> anyhow::Result<bool> {
    let mut out = io::stdout().lock();
    let arguments = [planted(bug.as_deref()), reference::arguments()].concat();
    match job {
        Job::Run { seed, scenario, scenarios: folder, trace, output, limits } => {
            let limits = limits.limits()?;
            let setting = match &scenario {
                Some(name) => {
                    anyhow::ensure!(
                        limits.selection == Selection::default(),
                        "--several, --sparse, --only and --config select among drawn worlds; a scenario is one world"
                    );
                    named(name, &folder, seed)?.within(&limits)
                }
                None => Setting::limited(seed.unwrap_or(1), &limits),
            };
            let arguments = [limits.arguments(), arguments].concat();
            run(&play(&setting, trace), scenario.as_deref(), &arguments, &output, &mut out)
        }
        Job::Hunt { seeds, from, jobs, as_it_is, keep, scenarios: folder, covered, limits } => {
            let cores = || std::thread::available_parallelism().map_or(1, |n| n.get() as u64);
            let hunt = Hunt {
                from: from.unwrap_or_else(fresh),
                seeds,
                jobs: if jobs == 0 { cores() } else { jobs },
                limits: limits.limits()?,
                program: std::env::current_exe().context("cannot find this program")?,
                arguments,
            };
            let keep = keep.map(|name| stored::path(&name, &folder));
            search(&hunt, covered, !as_it_is, keep, &mut out)
        }
        Job::Work { from, seeds, step, limits } => {
            hunt::work(from, seeds, step, &limits.limits()?, &mut out)?;
            Ok(true)
        }
        Job::Compare { seed, scenario, clients, output } => {
            contrast(scenario.as_deref(), clients, seed, &output, &mut out)
        }
        Job::Plan(asked) => foresee(*asked, &mut out),
        Job::Scenarios => list(&mut out),
        Job::Vectors { folder } => Ok(vectors::run(&folder, &mut out)?.failed == 0),
    }
}

/// Reports one world; `arguments`: those of the command that plays it again.
fn run(
    outcome: &Outcome,
    scenario: Option<&str>,
    arguments: &[String],
    output: &Output,
    out: &mut dyn Write,
) -> anyhow::Result<bool> {
    for line in &outcome.log {
        writeln!(out, "{line}")?;
    }
    let records = std::slice::from_ref(&outcome.record);
    output.draw(records)?;
    if output.json {
        writeln!(out, "{}", report::json(records))?;
    } else {
        narrate::write(outcome, scenario, arguments, out)?;
    }
    Ok(outcome.violations.is_empty())
}

fn list(out: &mut dyn Write) -> anyhow::Result<bool> {
    writeln!(out, "Worlds, for `run --scenario`:")?;
    for scenario in scenarios::all() {
        writeln!(out, "  {:<30} {}", scenario.name, scenario.story)?;
    }
    writeln!(out, "\nFailures of the design of least effort, for `compare --scenario`:")?;
    for scenario in compare::scenarios() {
        writeln!(out, "  {:<30} {}", scenario.name, scenario.story)?;
    }
    writeln!(out, "\nGateways, for `compare --scenario`:")?;
    for scenario in gateway::scenarios() {
        writeln!(out, "  {:<30} {}", scenario.name, scenario.story)?;
    }
    Ok(true)
}

fn contrast(
    scenario: Option<&str>,
    clients: Option<u32>,
    seed: u64,
    output: &Output,
    out: &mut dyn Write,
) -> anyhow::Result<bool> {
    if let Some(gateway) = scenario.and_then(gateway::scenario) {
        return besiege(&gateway, clients, seed, output, out);
    }
    anyhow::ensure!(clients.is_none(), "--clients: only the scenarios of gateways have clients (g1 to g5)");
    let records = match scenario {
        Some(name) => compare::scenario(name)
            .with_context(|| format!("--scenario: there is no {name:?}; there are: {}", failures()))?
            .play(),
        None => compare::run(&compare::Options::new(seed)),
    };
    output.draw(&records)?;
    if output.json {
        writeln!(out, "{}", report::json(&records))?;
    } else {
        writeln!(out, "{}\n", records.first().map_or("", |r| &r.story))?;
        report::table(&records, out)?;
    }
    Ok(true)
}

fn besiege(
    scenario: &gateway::Scenario,
    clients: Option<u32>,
    seed: u64,
    output: &Output,
    out: &mut dyn Write,
) -> anyhow::Result<bool> {
    let outcomes = scenario.play(clients.unwrap_or(gateway::Scenario::CLIENTS), seed);
    output.write(|| report::gateway::html(&outcomes))?;
    if output.json {
        writeln!(out, "{}", serde_json::to_string_pretty(&outcomes)?)?;
    } else {
        writeln!(out, "{}\n", scenario.story)?;
        report::gateway::table(&outcomes, out)?;
    }
    Ok(true)
}

fn foresee(asked: PlanArguments, out: &mut dyn Write) -> anyhow::Result<bool> {
    let config = slotkeeper::config::read(&asked.config)?;
    let usual = plan::Options::new(configured::pools(&config), asked.arrivals, asked.session_length, asked.cold_start);
    let plan = plan::run(&plan::Options {
        pool: asked.pool,
        days: asked.days,
        seed: asked.seed,
        seeds: asked.seeds,
        variants: asked.variants,
        patience: asked.patience.unwrap_or(usual.patience),
        pod_start: asked.pod_start,
        probe_period: asked.probe_period,
        ..usual
    })?;
    let output = asked.output;
    output.write(|| report::plan::html(&plan))?;
    if output.json {
        writeln!(out, "{}", serde_json::to_string_pretty(&plan)?)?;
    } else {
        plan::table(out, &plan)?;
    }
    Ok(true)
}

/// Returns a built-in scenario, or else a stored one.
fn named(name: &str, folder: &Path, seed: Option<u64>) -> anyhow::Result<Setting> {
    if let Some(scenario) = scenarios::find(name) {
        return Ok(scenario.setting(seed.unwrap_or(1)));
    }
    let path = stored::path(name, folder);
    anyhow::ensure!(
        path.exists(),
        "--scenario: there is no {name:?}, and no file {}; there are: {}",
        path.display(),
        names()
    );
    Ok(stored::read(&path, seed)?)
}

fn search(
    options: &Hunt,
    covered: bool,
    shrink: bool,
    keep: Option<PathBuf>,
    out: &mut dyn Write,
) -> anyhow::Result<bool> {
    writeln!(out, "{} worlds from seed {}, {} at a time", options.seeds, options.from, options.jobs)?;
    let began = std::time::Instant::now();
    let bar = ProgressBar::new(options.seeds);
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} worlds, {per_sec}, {eta} left")?;
    bar.set_style(style);
    let result = hunt::hunt(options, || bar.inc(1))?;
    bar.finish_and_clear();
    let took = began.elapsed().as_secs_f64();
    writeln!(
        out,
        "{} worlds, {:.1} h of simulated time, {:.1} faults per world, in {took:.1} s: {:.0} worlds a minute",
        result.played,
        result.simulated as f64 / 3_600_000.0,
        result.faults as f64 / result.played.max(1) as f64,
        result.played as f64 * 60.0 / took
    )?;
    let Some(seed) = result.broken else {
        hunt::table(&result.coverage, out)?;
        let missing = hunt::missing(&result.coverage);
        writeln!(out, "every promise was kept in every world")?;
        if covered && !missing.is_empty() {
            writeln!(out, "but this never occurred: {}", missing.join(", "))?;
            return Ok(false);
        }
        return Ok(true);
    };
    let again = |limits: &Limits| [limits.arguments(), options.arguments.clone()].concat();
    let failure = play(&Setting::limited(seed, &options.limits), false);
    anyhow::ensure!(!failure.violations.is_empty(), "seed {seed} broke a promise, but not a second time");
    let (limits, smallest) = if shrink {
        writeln!(out, "seed {seed} breaks a promise; looking for the smallest world in which it does")?;
        let progress = |played: usize, what: Option<String>| {
            if let Some(what) = what {
                let _ = writeln!(io::stderr(), "  world {played}: still broken with {what}");
            }
        };
        let smallest = hunt::shrink(&options.limits, failure, progress);
        writeln!(out)?;
        smallest
    } else {
        (options.limits.clone(), failure)
    };
    narrate::write(&smallest, None, &again(&limits), out)?;
    if let Some(path) = keep {
        store(&smallest, &path).with_context(|| format!("cannot write {}", path.display()))?;
        writeln!(out, "Stored: slotkeeper-sim run --scenario {}", path.display())?;
    }
    Ok(false)
}

/// Stores the world of a failure, with the broken promise as its story.
fn store(failure: &Outcome, path: &Path) -> io::Result<()> {
    let mut setting = failure.setting.clone();
    let name = path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
    setting.name = name.unwrap_or(setting.name);
    if let Some(violation) = failure.violations.first() {
        setting.story = format!("Seed {} broke: {}. {}", setting.seed, violation.promise, violation.what);
    }
    stored::write(&setting, path)
}

/// Returns a seed derived from the current time.
fn fresh() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    now.as_secs() % 1_000_000_000 * 1_000
}

fn failures() -> String {
    let gateways = gateway::scenarios();
    let failures = compare::scenarios();
    failures.iter().map(|s| s.name).chain(gateways.iter().map(|s| s.name)).collect::<Vec<_>>().join(", ")
}

fn names() -> String {
    scenarios::all().map(|s| s.name).collect::<Vec<_>>().join(", ")
}
