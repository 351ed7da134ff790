//! The console's settings: as arguments, and as the plain struct that the other modules use.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::name::name;

/// Arguments of `slotkeeper-console`; another command line can `#[command(flatten)]` them.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Address to listen on; port 0 picks a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:3000")]
    pub listen: SocketAddr,
    /// Name of this pod [default: $POD_NAME, else $HOSTNAME, else "console"]
    #[arg(long)]
    pub name: Option<String>,
    /// Folder with games: .ch8 (COSMAC VIP) and .sc8 (SUPER-CHIP) files. Without it, the built-in games are served
    #[arg(long, value_name = "FOLDER")]
    pub games: Option<PathBuf>,
    /// Folder for the saves of this pod, created if missing. Without it, saving is off
    #[arg(long, value_name = "FOLDER")]
    pub data: Option<PathBuf>,
    /// How long the start takes before it is ready, in seconds (fractions allowed)
    #[arg(long, value_name = "N", default_value = "0", value_parser = seconds)]
    pub cold_start_seconds: Duration,
}

/// The settings of a console.
#[derive(Clone, Debug)]
pub struct Config {
    /// Port 0 picks a free one; `Console::address` returns it.
    pub listen: SocketAddr,
    /// The pod's name, shown on the page.
    pub name: String,
    /// Read-only folder of ROM files; `None`: the built-in games.
    pub games: Option<PathBuf>,
    /// Folder for saves; `None`: saving is off.
    pub data: Option<PathBuf>,
    /// How long it listens before it is ready.
    pub cold_start: Duration,
}

impl Default for Config {
    /// The defaults of the arguments.
    fn default() -> Config {
        Config {
            listen: SocketAddr::from(([127, 0, 0, 1], 3000)),
            name: name(None, "console"),
            games: None,
            data: None,
            cold_start: Duration::ZERO,
        }
    }
}

impl From<Args> for Config {
    fn from(args: Args) -> Config {
        Config {
            listen: args.listen,
            name: name(args.name, "console"),
            games: args.games,
            data: args.data,
            cold_start: args.cold_start_seconds,
        }
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}
