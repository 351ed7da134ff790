//! `slotkeeper-console`: arguments, logging, [`console::run`]. Nothing else.

use clap::Parser;
use slotkeeper_workloads::{console, logging};

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
    logging::start();
    console::run(arguments.console.into()).await
}
