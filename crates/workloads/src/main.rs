//! `slotkeeper-console`: arguments, logging, [`console::run`]. Nothing else.

use std::io::IsTerminal;

use clap::Parser;
use slotkeeper_workloads::console;
use tracing_subscriber::EnvFilter;

/// A console for one player at a time: an emulator behind a page.
#[derive(Parser)]
#[command(name = "slotkeeper-console", version)]
struct Arguments {
    #[command(flatten)]
    console: console::Args,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let colours = std::io::stderr().is_terminal();
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(colours).init();
    console::run(arguments.console.into()).await
}
