//! Turns arguments into a `Config` and an `Outside`, and runs the dispatcher. Nothing else.

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use slotkeeper::Outside;
use slotkeeper::cluster::processes;
use slotkeeper::config::{self, ClusterConfig, Config, ConfigError};
use slotkeeper::io::{Clock, Ids, Net, RealNet, now, watch_for_suspends};
use slotkeeper::io::{inherited, service, sockets};
use slotkeeper::ops::reload::Reloads;
use slotkeeper::{Listening, cluster, journal};
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, Once};
use std::time::Duration;
use tokio::sync::mpsc::UnboundedReceiver;

/// A session dispatcher: every browser session gets a slot of its own in a pod, and a pool without sessions sleeps.
#[derive(Parser)]
#[command(name = "slotkeeper", version, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Job,
}

#[derive(Subcommand)]
enum Job {
    /// Run a dispatcher, by a configuration file or in front of a list of pods.
    Serve {
        /// Where session state is stored: memory, file:FOLDER, or redis://[user[:password]@]HOST[:PORT][/DB] (rediss://
        /// for TLS). Without it (and without [journal] in the configuration) this user's state folder.
        #[arg(long, value_name = "WHERE")]
        journal: Option<String>,
        /// The configuration (TOML).
        #[arg(long, value_name = "FILE", conflicts_with_all = ["listen", "pods", "slots_per_pod", "threads"], required_unless_present = "pods")]
        config: Option<PathBuf>,
        /// Where visitors connect.
        #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080")]
        listen: String,
        /// The pods, in order: HOST:PORT,HOST:PORT,...
        #[arg(long, value_name = "HOST:PORT,...")]
        pods: Option<String>,
        /// Sessions that fit in one pod; 1 = exclusive.
        #[arg(long, value_name = "N", default_value_t = 1)]
        slots_per_pod: u32,
        /// Worker threads; 0 = one per core.
        #[arg(long, value_name = "N", default_value_t = 0)]
        threads: usize,
    },
    /// Print what a configuration file means, or everything that is wrong in it.
    Check {
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Print every setting with its default, range and meaning (Markdown), or the JSON Schema of a configuration file.
    Settings {
        /// The JSON Schema, for editors.
        #[arg(long)]
        json_schema: bool,
    },
    /// Inspect the folder of a file journal, or repair it.
    #[command(subcommand)]
    Journal(journal::file::tool::Job),
    /// Five game consoles on this machine, started and stopped as visitors come and go.
    #[cfg(feature = "demo")]
    Demo {
        /// Where visitors connect.
        #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080")]
        listen: SocketAddr,
        /// Metrics and the admin API.
        #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9090")]
        admin: SocketAddr,
        /// Where the consoles keep their saved games; a temporary folder by default.
        #[arg(long, value_name = "FOLDER")]
        data: Option<PathBuf>,
        /// Visitors connect with TLS, by a self-signed certificate that is made at each start.
        #[arg(long)]
        tls: bool,
        /// Consoles at most.
        #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
        pods: u32,
        #[command(flatten)]
        pace: Pace,
    },
    /// One console of the demo.
    #[cfg(feature = "demo")]
    #[command(hide = true)]
    ConsolePod(slotkeeper_workloads::console::Args),
}

/// Durations of the demo. Fractions are allowed.
#[cfg(feature = "demo")]
#[derive(clap::Args)]
struct Pace {
    /// How long a console takes to start.
    #[arg(long, value_name = "N", default_value = "3", value_parser = seconds)]
    cold_start_seconds: Duration,
    /// How long the slot of a disconnected session is kept.
    #[arg(long, value_name = "N", default_value = "10", value_parser = seconds)]
    grace_seconds: Duration,
    /// How long an unused console keeps running.
    #[arg(long, value_name = "N", default_value = "30", value_parser = seconds)]
    cooldown_seconds: Duration,
}

#[cfg(feature = "demo")]
fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().or_else(|| config::duration::seconds(text));
    let allowed = "allowed: seconds from 0 to 3600, or a text such as 500ms or 2m";
    let seconds = seconds.filter(|s| (0.0..=3600.0).contains(s)).ok_or(allowed)?;
    Ok(Duration::from_secs_f64(seconds))
}

fn main() -> ExitCode {
    // A pod's supervisor is this program, too. It must stay small, so it starts nothing of what follows.
    let mut own = std::env::args_os().skip(1);
    if own.next().is_some_and(|argument| argument == processes::SUPERVISE) && own.next().is_none() {
        return processes::supervise();
    }
    let arguments = Arguments::parse();
    log_to_stderr();
    if let Err(error) = inherited::settle() {
        tracing::warn!("cannot reset inherited signals and limits: {error}");
    }
    if let Err(error) = service::join() {
        tracing::warn!("variables of the service manager not used: {error}");
    }
    match act(arguments.command) {
        Ok(code) => code,
        Err(error) => {
            eprintln_all(&format!("slotkeeper: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn act(job: Job) -> anyhow::Result<ExitCode> {
    match job {
        Job::Journal(job) => return look(&job),
        Job::Serve { journal, config, listen, pods, slots_per_pod, threads } => {
            let with_journal = move |mut config: Config| match &journal {
                Some(journal) => config::journal_from_arg(&mut config, journal).map(|()| config),
                None => Ok(config),
            };
            let pods = pods.unwrap_or_default();
            let read = match &config {
                Some(path) => config::read(path)?,
                None => config::from_args(&listen, &pods, slots_per_pod, threads)?,
            };
            let read = with_journal(read).map_err(anyhow::Error::msg)?;
            let again = config.map(|path| -> Again {
                Box::new(move || {
                    let problem = |problem| ConfigError { problems: vec![problem] };
                    config::read(&path).and_then(|config| with_journal(config).map_err(problem))
                })
            });
            serve(read, again, |_, _| {})
        }
        Job::Check { config } => {
            let config = config::read(&config)?;
            println_all(&config::describe(&config));
            let warnings = config::doubts(&config);
            if !warnings.is_empty() {
                println_all(&format!("Warnings:\n{}", warnings.join("\n")));
            }
            Ok(())
        }
        Job::Settings { json_schema: true } => {
            println_all(&serde_json::to_string_pretty(&config::schema::schema())?);
            Ok(())
        }
        Job::Settings { json_schema: false } => {
            println_all(&config::reference::markdown());
            Ok(())
        }
        #[cfg(feature = "demo")]
        Job::Demo { listen, admin, data, tls, pods, pace } => demo((listen, tls), admin, data, pods, &pace),
        #[cfg(feature = "demo")]
        Job::ConsolePod(arguments) => runtime(1)?.block_on(slotkeeper_workloads::console::run(arguments.into())),
    }
    .map(|()| ExitCode::SUCCESS)
}

/// Exit code 1: something is wrong with the journal.
fn look(job: &journal::file::tool::Job) -> anyhow::Result<ExitCode> {
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    let sound = match journal::file::tool::run(job, &mut out) {
        // A closed pipe (`| head`) is no error.
        Err(journal::file::tool::ToolError::Print(_)) => true,
        result => result?,
    };
    let _ = out.flush();
    Ok(if sound { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

#[cfg(feature = "demo")]
fn demo(
    (listen, tls): (SocketAddr, bool),
    admin: SocketAddr,
    data: Option<PathBuf>,
    pods: u32,
    pace: &Pace,
) -> anyhow::Result<()> {
    let program = std::env::current_exe().context("cannot find this program")?;
    let temporary =
        data.is_none().then(|| std::env::temp_dir().join(format!("slotkeeper-demo-{}", std::process::id())));
    let folder = data.or_else(|| temporary.clone()).unwrap_or_default();
    let certificate = folder.join("tls");
    let mut config = config::demo(listen, admin, program, folder, pace.cold_start_seconds);
    let hint = if tls {
        let now = Clock::real().wall();
        let fingerprint = config::secure_demo(&mut config, &certificate, now)
            .map_err(anyhow::Error::from_boxed)
            .context("cannot make a self-signed certificate")?;
        format!("  Certificate: self-signed, so the browser warns; SHA-256\n  {fingerprint}\n\n")
    } else {
        String::new()
    };
    for pool in &mut config.pools {
        let millis = |d: Duration| slotkeeper_core::Millis(d.as_millis() as u64);
        pool.rules.max = pods;
        pool.rules.grace = millis(pace.grace_seconds);
        pool.rules.cooldown = millis(pace.cooldown_seconds);
    }
    let result = serve(config, None, |listening, config| {
        let plain = listening.visitors.iter().map(|a| format!("http://{a}/"));
        let at = plain.chain(listening.tls.iter().map(|a| format!("https://{a}/"))).collect::<Vec<_>>().join(" ");
        let admin = listening.admin.map(|a| format!("http://{a}")).unwrap_or_default();
        let pods = config.pools.iter().map(|p| p.rules.max).sum::<u32>();
        println_all(&format!(
            "\n  Slotkeeper demo: up to {pods} consoles, none of them running yet.\n\n  \
             Play:      {at}\n  Metrics:   {admin}/metrics\n  Pools:     {admin}/api/v1/pools\n\n\
             {hint}  Open it in two browser profiles: each gets a console of its own. Ctrl-C ends it.\n"
        ));
    });
    if let Some(folder) = temporary {
        let _ = std::fs::remove_dir_all(folder);
    }
    result
}

/// Configurations that have been read again.
type Configurations = UnboundedReceiver<Result<Config, ConfigError>>;

/// Reads the configuration file again.
type Again = Box<dyn Fn() -> Result<Config, ConfigError> + Send>;

fn serve(mut config: Config, again: Option<Again>, started: impl FnOnce(&Listening, &Config)) -> anyhow::Result<()> {
    fit_connections(&mut config);
    watch_for_suspends();
    runtime(config.threads)?.block_on(async move {
        let (net, ids, clock): (Arc<dyn Net>, _, _) = (Arc::new(RealNet), Ids::Os, Clock::real());
        tokio::spawn(service::watchdog());
        // Connections wait here from now on, if a process with the same listeners ends.
        let endpoints = config.endpoints();
        sockets::reserve(endpoints.iter().map(|(_, endpoint)| endpoint))
            .map_err(|(at, error)| anyhow::Error::new(error).context(format!("cannot listen on {}", at.at)))?;
        // If another process holds the journal, nothing else is started.
        let journal = open_journal(&config, &net, clock).await?;
        for warning in config::doubts(&config) {
            tracing::warn!("{warning}");
        }
        prepare_for_processes(&config);
        let clusters = cluster::from_config(&config, &net, &ids).await?;
        let (stop, hurry, configurations) = signals(again)?;
        let reloads = Reloads { configurations, maker: cluster::maker(net.clone()) };
        let outside = Outside { net, clock, ids, clusters, journal };
        let shown = config.clone();
        slotkeeper::run_until(outside, config, stop, hurry, reloads, move |listening| {
            let Listening { visitors, tls, redirect, http2, unix, admin, keda } = listening;
            tracing::info!(?visitors, ?admin, ?keda, ?tls, ?redirect, ?http2, ?unix, "listening");
            let unused = service::names();
            if !unused.is_empty() {
                tracing::warn!(
                    sockets = unused.join(", "),
                    "sockets of the service manager not used: no listener is systemd:NAME with these names"
                );
            }
            started(listening, &shown);
        })
        .await
    })
}

/// Opens the journal. If another process uses its folder, waits for `takeover_seconds` until that process has ended.
async fn open_journal(config: &Config, net: &Arc<dyn Net>, clock: Clock) -> anyhow::Result<journal::Journal> {
    let began = now();
    let mut waits = false;
    loop {
        let opened = journal::open(config, net, clock);
        let Err(error) = &opened else { return opened };
        let is_in_use = matches!(error.downcast_ref(), Some(journal::file::OpenError::InUse { .. }));
        let is_in_time = config.takeover.is_some_and(|most| now().duration_since(began) < most);
        if !is_in_use || !is_in_time {
            return opened;
        }
        if !std::mem::replace(&mut waits, true) {
            tracing::info!("waiting for the former process to end: {error:#}");
            service::waiting("waiting for the former process to end");
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Prepares this process for local pods, before the first one starts.
fn prepare_for_processes(config: &Config) {
    static HIDDEN: Once = Once::new();
    static ORPHANS: Once = Once::new();
    let has_processes = config.pools.iter().any(|pool| matches!(pool.cluster, ClusterConfig::Processes(_)));
    if has_processes {
        HIDDEN.call_once(processes::hide_memory);
    }
    // As the first process of a container, this process also gets the orphans of processes that it did not start.
    if has_processes || std::process::id() == 1 {
        ORPHANS.call_once(|| drop(tokio::spawn(processes::adopt_orphans())));
    }
}

/// Lowers `limits.connections` so that visitors' connections leave enough file descriptors for everything else.
fn fit_connections(config: &mut Config) {
    let Some(open_files) = inherited::open_files() else { return };
    let local = config.pools.iter().filter(|pool| matches!(pool.cluster, ClusterConfig::Processes(_)));
    let processes = local.map(|pool| u64::from(pool.rules.max)).sum();
    let most = inherited::connections(open_files, processes);
    let configured = config.limits.connections;
    if configured <= most {
        return;
    }
    config.limits.connections = most;
    if configured == config::Limits::default().connections {
        tracing::info!(open_files, "connections from visitors limited to {most} by the limit of open files");
    } else {
        tracing::warn!(
            open_files,
            "at most {most} connections from visitors instead of {configured} (limits.connections): raise the hard limit of open files (ulimit -Hn)"
        );
    }
}

/// A runtime with this many worker threads. With one thread, no work-stealing scheduler is needed.
fn runtime(threads: usize) -> anyhow::Result<tokio::runtime::Runtime> {
    let mut builder = match threads {
        1 => tokio::runtime::Builder::new_current_thread(),
        0 => tokio::runtime::Builder::new_multi_thread(),
        n => {
            let mut builder = tokio::runtime::Builder::new_multi_thread();
            builder.worker_threads(n);
            builder
        }
    };
    builder.enable_all().build().context("cannot start the worker threads")
}

/// Two futures, which the first and the second SIGTERM or SIGINT resolve; a third ends the process at once. SIGHUP reads the
/// configuration again, and never ends the process (a closed terminal sends SIGHUP, too).
fn signals(
    again: Option<Again>,
) -> anyhow::Result<(impl Future<Output = ()> + Send, impl Future<Output = ()> + Send, Configurations)> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut term = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let mut int = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    let mut hangup = signal(SignalKind::hangup()).context("cannot listen for SIGHUP")?;
    let (count, mut first) = tokio::sync::watch::channel(0);
    let mut second = first.clone();
    let (reload, reloads) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        loop {
            tokio::select! {
                biased;
                Some(()) = term.recv() => count.send_modify(|n| *n += 1),
                Some(()) = int.recv() => count.send_modify(|n| *n += 1),
                Some(()) = hangup.recv() => match &again {
                    Some(again) => {
                        service::reloading();
                        let read = again().map(|mut config| {
                            fit_connections(&mut config);
                            prepare_for_processes(&config);
                            config
                        });
                        let _ = reload.send(read);
                    }
                    None => tracing::info!("SIGHUP: there is no configuration file to reload"),
                },
                else => return,
            }
            if *count.borrow() > 2 {
                tracing::warn!("third stop signal: exiting at once");
                std::process::exit(1);
            }
        }
    });
    let reached = |n: u32| move |count: &u32| *count >= n;
    Ok((
        async move {
            let _ = first.wait_for(reached(1)).await;
        },
        async move {
            let _ = second.wait_for(reached(2)).await;
        },
        reloads,
    ))
}

/// `RUST_LOG` sets what is logged; INFO and up by default (from the Kubernetes client only errors: the dispatcher logs the
/// causes of its warnings itself; from the HTTP/2 library as well: its warnings are about what a visitor sends). JSON with
/// `SLOTKEEPER_LOG=json`.
fn log_to_stderr() {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| "info,kube_client=error,h2=error".into());
    let terminal = std::io::IsTerminal::is_terminal(&std::io::stderr());
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(terminal);
    if std::env::var("SLOTKEEPER_LOG").is_ok_and(|v| v == "json") {
        builder.json().init();
    } else {
        builder.with_target(false).init();
    }
}

/// Ignores a closed pipe (`| head`).
fn println_all(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

fn eprintln_all(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}
