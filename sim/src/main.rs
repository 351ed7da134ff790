//! Arguments, and the command they name.

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use slotkeeper_sim::chance::{Arrivals, Draw};
use slotkeeper_sim::hunt::{self, Hunt};
use slotkeeper_sim::plan;
use slotkeeper_sim::record::Record;
use slotkeeper_sim::world::setting::{Limits, Setting};
use slotkeeper_sim::world::{faults::FaultKind, play, reference, scenarios};
use slotkeeper_sim::{compare, gateway};
use slotkeeper_sim::{report, tale, vectors};
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

/// The world of a session dispatcher in one seed.
#[derive(Parser)]
#[command(name = "slotkeeper-sim", version)]
struct Arguments {
    #[command(subcommand)]
    job: Job,
    /// Plants a bug, to see whether it is found (needs the feature `planted`).
    #[arg(long, global = true, value_name = "BUG")]
    plant: Option<String>,
    /// Only the second oracle judges: shows what it notices by itself.
    #[arg(long, global = true)]
    reference_alone: bool,
}

#[derive(Subcommand)]
enum Job {
    /// Plays one world, and says what became of every promise.
    Run {
        /// Decides everything.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// A bad day with a name instead of a drawn one (`slotkeeper-sim scenarios` lists them).
        #[arg(long, value_name = "NAME")]
        scenario: Option<String>,
        /// Prints every line of every log.
        #[arg(long, conflicts_with = "json")]
        trace: bool,
        #[command(flatten)]
        output: Output,
        #[command(flatten)]
        limits: LimitArguments,
    },
    /// Plays many seeds until a promise breaks, and makes the world in which it does as small as it can.
    Hunt {
        /// How many.
        #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u64).range(1..))]
        seeds: u64,
        /// The first one; without it, one that nobody has tried (it is printed).
        #[arg(long, value_name = "SEED")]
        from: Option<u64>,
        /// Worlds played at once; 0 = one per core.
        #[arg(long, default_value_t = 0)]
        jobs: u64,
        /// Shows a failing world as it was played, without making it smaller.
        #[arg(long)]
        as_it_is: bool,
        /// Also fails if something that must occur in a long hunt never did.
        #[arg(long)]
        covered: bool,
        #[command(flatten)]
        limits: LimitArguments,
    },
    /// What `hunt` starts several times.
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
    /// Plays the same visitors with several designs side by side, from the one of least effort to ours.
    Compare {
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// A known failure of the design of least effort, or a gateway's bad day, instead of a usual one (`slotkeeper-sim
        /// scenarios` lists them).
        #[arg(long, value_name = "NAME")]
        scenario: Option<String>,
        /// Clients of a gateway instead of 50 000; what a pod can do shrinks or grows with them.
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(100..=1_000_000))]
        clients: Option<u32>,
        #[command(flatten)]
        output: Output,
    },
    /// Says what waiting time and what pod-hours an operator's own settings buy, and their neighbours.
    Plan(Box<PlanArguments>),
    /// Lists the worlds with a name, and the known failures that designs are compared on.
    Scenarios,
    /// Runs a folder of test vectors against the models of Kubernetes and KEDA.
    Vectors { folder: PathBuf },
}

/// What an operator asks.
#[derive(Args)]
struct PlanArguments {
    /// Slotkeeper's configuration.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Which pool of it, if there are several.
    #[arg(long, value_name = "NAME")]
    pool: Option<String>,
    /// Who comes: `10000/day`, `30/h`, `2000/day:office`, with a burst: `2000/day:evening+200@18:00/10m`.
    #[arg(long)]
    arrivals: Arrivals,
    /// How long sessions are: `20m`, `10m-40m`, `exp:20m`, `lognormal:30m,p95=2h`.
    #[arg(long)]
    session_length: Draw,
    /// From the creation of a pod until it is ready.
    #[arg(long)]
    cold_start: Draw,
    /// How long visitors wait before they go.
    #[arg(long)]
    patience: Option<Draw>,
    #[arg(long, default_value_t = 1)]
    days: u32,
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Most neighbouring settings to try.
    #[arg(long, value_name = "N")]
    variants: Option<usize>,
    #[command(flatten)]
    output: Output,
}

/// What becomes of the results besides a table.
#[derive(Args)]
struct Output {
    /// Draws what happened into this HTML file.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Prints JSON for machines instead of text.
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

/// Takes things away from a world.
#[derive(Args)]
struct LimitArguments {
    /// Only worlds with several dispatchers.
    #[arg(long)]
    several: bool,
    /// No more dispatchers than this.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    dispatchers: Option<u32>,
    /// No more visitors than this.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    visitors: Option<u32>,
    /// No more nodes than this.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    nodes: Option<u32>,
    /// Faults for no longer than this, in milliseconds.
    #[arg(long, value_name = "MS")]
    chaos_ms: Option<u64>,
    /// Without these kinds of faults (with commas between them).
    #[arg(long, value_name = "KINDS", value_delimiter = ',')]
    without: Vec<FaultKind>,
}

impl LimitArguments {
    fn limits(self) -> Limits {
        Limits {
            several: self.several,
            dispatchers: self.dispatchers,
            visitors: self.visitors,
            nodes: self.nodes,
            chaos: self.chaos_ms,
            without: self.without.into_iter().collect(),
        }
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let Arguments { job, plant: bug, reference_alone } = arguments;
    reference::judge_alone(reference_alone);
    match plant(bug.as_deref()).and_then(|()| act(job, bug)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        // A reader that has gone away (`| head`) is no error.
        Err(error) if error.downcast_ref().is_some_and(|e: &io::Error| e.kind() == io::ErrorKind::BrokenPipe) => {
            ExitCode::SUCCESS
        }
        Err(error) => {
            let _ = writeln!(io::stderr(), "slotkeeper-sim: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// The same argument again.
fn planted(bug: Option<&str>) -> Vec<String> {
    bug.into_iter().flat_map(|bug| ["--plant".to_owned(), bug.to_owned()]).collect()
}

#[cfg(feature = "planted")]
fn plant(bug: Option<&str>) -> anyhow::Result<()> {
    use slotkeeper_core::planted::{Bug, plant};
    let Some(word) = bug else { return Ok(()) };
    let all = || Bug::ALL.map(Bug::word).join(", ");
    let bug = Bug::ALL.into_iter().find(|b| b.word() == word);
    plant(bug.with_context(|| format!("--plant: {word:?} is no bug; there are: {}", all()))?);
    Ok(())
}

#[cfg(not(feature = "planted"))]
fn plant(bug: Option<&str>) -> anyhow::Result<()> {
    anyhow::ensure!(bug.is_none(), "--plant: this program was built without bugs; build it with the feature `planted`");
    Ok(())
}

/// True if every promise was kept.
fn act(job: Job, bug: Option<String>) -> anyhow::Result<bool> {
    let mut out = io::stdout().lock();
    match job {
        Job::Run { seed, scenario, trace, output, limits } => {
            let limits = limits.limits();
            let setting = match &scenario {
                Some(name) => scenarios::find(name)
                    .with_context(|| format!("--scenario: there is no {name:?}; there are: {}", names()))?
                    .setting(seed)
                    .within(&limits),
                None => Setting::limited(seed, &limits),
            };
            let outcome = play(&setting, trace);
            for line in &outcome.log {
                writeln!(out, "{line}")?;
            }
            let records = std::slice::from_ref(&outcome.record);
            output.draw(records)?;
            if output.json {
                writeln!(out, "{}", report::json(records))?;
            } else {
                let others = [limits.arguments(), planted(bug.as_deref()), reference::arguments()].concat();
                tale::tell(&outcome, scenario.as_deref(), &others, &mut out)?;
            }
            Ok(outcome.violations.is_empty())
        }
        Job::Hunt { seeds, from, jobs, as_it_is, covered, limits } => {
            let cores = || std::thread::available_parallelism().map_or(1, |n| n.get() as u64);
            let hunt = Hunt {
                from: from.unwrap_or_else(fresh),
                seeds,
                jobs: if jobs == 0 { cores() } else { jobs },
                limits: limits.limits(),
                program: std::env::current_exe().context("cannot find this program")?,
                arguments: [planted(bug.as_deref()), reference::arguments()].concat(),
            };
            search(&hunt, covered, !as_it_is, &mut out)
        }
        Job::Work { from, seeds, step, limits } => {
            hunt::work(from, seeds, step, &limits.limits(), &mut out)?;
            Ok(true)
        }
        Job::Compare { seed, scenario, clients, output } => {
            if let Some(gateway) = scenario.as_deref().and_then(gateway::scenario) {
                return besiege(&gateway, clients, seed, &output, &mut out);
            }
            anyhow::ensure!(clients.is_none(), "--clients: only the scenarios of gateways have clients (g1 to g5)");
            let records = match &scenario {
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
                report::table(&records, &mut out)?;
            }
            Ok(true)
        }
        Job::Plan(asked) => foresee(*asked, &mut out),
        Job::Scenarios => {
            writeln!(out, "Worlds, for `run --scenario`:")?;
            for scenario in scenarios::ALL {
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
        Job::Vectors { folder } => Ok(vectors::run(&folder, &mut out)?.failed == 0),
    }
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
    let PlanArguments { config, pool, arrivals, session_length, cold_start, patience, days, seed, variants, output } =
        asked;
    let usual = plan::Options::new(slotkeeper::config::read(&config)?, arrivals, session_length, cold_start);
    let patience = patience.unwrap_or(usual.patience);
    let plan = plan::run(&plan::Options { pool, days, seed, variants, patience, ..usual })?;
    output.draw(std::slice::from_ref(&plan.record))?;
    if output.json {
        writeln!(out, "{}", serde_json::to_string_pretty(&plan)?)?;
    } else {
        plan::table(out, &plan)?;
    }
    Ok(true)
}

fn search(options: &Hunt, covered: bool, shrink: bool, out: &mut dyn Write) -> anyhow::Result<bool> {
    writeln!(out, "{} worlds from seed {}, {} at a time", options.seeds, options.from, options.jobs)?;
    let began = std::time::Instant::now();
    let bar = ProgressBar::new(options.seeds);
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} worlds, {per_sec}, {eta} left")?;
    bar.set_style(style);
    let catch = hunt::hunt(options, || bar.inc(1))?;
    bar.finish_and_clear();
    let took = began.elapsed().as_secs_f64();
    writeln!(
        out,
        "{} worlds, {:.1} h of simulated time in {took:.1} s: {:.0} worlds a minute",
        catch.played,
        catch.simulated as f64 / 3_600_000.0,
        catch.played as f64 * 60.0 / took
    )?;
    let Some(seed) = catch.broken else {
        hunt::table(&catch.coverage, out)?;
        let missing = hunt::missing(&catch.coverage);
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
    if !shrink {
        tale::tell(&failure, None, &again(&options.limits), out)?;
        return Ok(false);
    }
    writeln!(out, "seed {seed} breaks a promise; looking for the smallest world in which it does")?;
    let bar = ProgressBar::new_spinner();
    let (limits, smallest) = hunt::shrink(&options.limits, failure, |_, _| bar.tick());
    bar.finish_and_clear();
    writeln!(out)?;
    tale::tell(&smallest, None, &again(&limits), out)?;
    Ok(false)
}

/// A seed that depends on when it is asked for.
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
    scenarios::ALL.iter().map(|s| s.name).collect::<Vec<_>>().join(", ")
}
