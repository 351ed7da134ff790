//! `slotkeeper-gateway`: arguments, logging, [`gateway::run`]. Nothing else.

use clap::Parser;
use slotkeeper_workloads::{gateway, logging};

/// Thousands of WebSockets in one pod: echo, rooms, and a chat across pods.
#[derive(Parser)]
#[command(name = "slotkeeper-gateway", version)]
struct Arguments {
    #[command(flatten)]
    gateway: gateway::Args,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    logging::start();
    gateway::run(arguments.gateway.try_into()?).await
}
