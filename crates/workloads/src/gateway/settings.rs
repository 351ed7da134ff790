//! The gateway's settings: as arguments, and as the plain struct that the other modules use.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context, anyhow, ensure};
use redis::{ConnectionInfo, IntoConnectionInfo};

use crate::name::name;

/// Arguments of `slotkeeper-gateway`; another command line can `#[command(flatten)]` them.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Address to listen on for visitors; port 0 picks a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:3000")]
    pub listen: SocketAddr,
    /// Address to listen on for metrics, or "off"
    #[arg(long, value_name = "ADDR|off", default_value = "127.0.0.1:9100")]
    pub metrics_listen: MetricsAddress,
    /// Name of this pod [default: $POD_NAME, else $HOSTNAME, else "gateway"]
    #[arg(long)]
    pub name: Option<String>,
    /// WebSockets at a time
    #[arg(long, value_name = "N", default_value = "8000", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub connections: u32,
    /// Redis of the chat. Without it the chat stays within this pod
    #[arg(long, value_name = "redis://[user[:password]@]host[:port][/db]")]
    // Parsed later: clap would quote an invalid one with its password.
    pub redis: Option<String>,
    /// File with the password for Redis, before the one in the URL; $REDIS_PASSWORD is another way
    #[arg(long, value_name = "FILE")]
    pub redis_password_file: Option<PathBuf>,
    /// Messages of the chat that are kept for joining and reconnecting clients
    #[arg(long, value_name = "N", default_value = "100", value_parser = clap::value_parser!(u32).range(0..=100_000))]
    pub history: u32,
    /// How long the closing of sockets takes at the end
    #[arg(long, value_name = "N", default_value = "30", value_parser = seconds(0..=86_400))]
    pub drain_seconds: Duration,
    /// How often a client is pinged
    #[arg(long, value_name = "N", default_value = "30", value_parser = seconds(1..=3_600))]
    pub heartbeat_seconds: Duration,
    /// Messages that may wait for one socket
    #[arg(long, value_name = "N", default_value = "64", value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub send_queue: u32,
    /// What to do if more would wait: drop the oldest message, or close the socket
    #[arg(long, value_name = "WAY", default_value = "drop")]
    pub slow_consumer: SlowConsumer,
    /// The largest message that a client may send, in bytes
    #[arg(long, value_name = "N", default_value = "65536", value_parser = clap::value_parser!(u32).range(1..=16_777_216))]
    pub message_bytes: u32,
}

/// The policy for a client that reads more slowly than others write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum SlowConsumer {
    /// The oldest waiting messages are dropped.
    Drop,
    /// The socket is closed with 1013.
    Close,
}

/// An address, or `off`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MetricsAddress(Option<SocketAddr>);

impl FromStr for MetricsAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<MetricsAddress, String> {
        if text == "off" {
            return Ok(MetricsAddress(None));
        }
        let address =
            text.parse().map_err(|_| "allowed: an address with a port (127.0.0.1:9100), or off".to_owned())?;
        Ok(MetricsAddress(Some(address)))
    }
}

/// The address of a Redis. Its `Display` and `Debug` omit the password.
#[derive(Clone)]
pub struct RedisAddress(ConnectionInfo);

impl FromStr for RedisAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<RedisAddress, String> {
        const ALLOWED: &str = "allowed: redis://[user[:password]@]host[:port][/db]";
        if !text.starts_with("redis://") {
            // Only the scheme: the rest may contain a password.
            let scheme = text.split_once("://").map_or("no scheme", |(scheme, _)| scheme);
            return Err(format!("{scheme:?} is not supported (nor is TLS); {ALLOWED}"));
        }
        // The error of the `redis` crate is not used: it may quote the address.
        text.into_connection_info().map(RedisAddress).map_err(|_| format!("invalid; {ALLOWED}"))
    }
}

impl RedisAddress {
    /// The same with another password.
    #[must_use]
    pub fn with_password(self, password: &str) -> RedisAddress {
        let settings = self.0.redis_settings().clone().set_password(password);
        RedisAddress(self.0.set_redis_settings(settings))
    }

    pub(super) fn info(&self) -> ConnectionInfo {
        self.0.clone()
    }
}

impl std::fmt::Display for RedisAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.0.addr(), self.0.redis_settings().db())
    }
}

impl std::fmt::Debug for RedisAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self}")
    }
}

/// The settings of a gateway.
#[derive(Clone, Debug)]
pub struct Config {
    /// For visitors. Port 0 picks a free one; `Gateway::address` returns it.
    pub listen: SocketAddr,
    /// For metrics; `None`: they are not served.
    pub metrics_listen: Option<SocketAddr>,
    /// The pod's name, shown on the page.
    pub name: String,
    /// WebSockets at a time.
    pub connections: usize,
    /// The chat's Redis; `None`: the chat stays within this pod.
    pub redis: Option<RedisAddress>,
    /// The prefix of the chat's keys in Redis.
    pub redis_prefix: String,
    /// Messages of the chat kept for joining and reconnecting clients.
    pub history: usize,
    /// How long the closing of all sockets takes after SIGTERM.
    pub drain: Duration,
    /// The interval of pings to each socket.
    pub heartbeat: Duration,
    /// Messages that may wait for one socket.
    pub send_queue: usize,
    /// What happens to a socket whose queue is full.
    pub slow_consumer: SlowConsumer,
    /// The maximum size of a client's message in bytes.
    pub message_bytes: usize,
}

impl Default for Config {
    /// The defaults of the arguments.
    fn default() -> Config {
        Config {
            listen: SocketAddr::from(([127, 0, 0, 1], 3000)),
            metrics_listen: Some(SocketAddr::from(([127, 0, 0, 1], 9100))),
            name: name(None, "gateway"),
            connections: 8000,
            redis: None,
            redis_prefix: "slotkeeper-chat".to_owned(),
            history: 100,
            drain: Duration::from_secs(30),
            heartbeat: Duration::from_secs(30),
            send_queue: 64,
            slow_consumer: SlowConsumer::Drop,
            message_bytes: 65_536,
        }
    }
}

impl TryFrom<Args> for Config {
    type Error = anyhow::Error;

    /// # Errors
    /// If the password file cannot be read, or there is a password and no Redis.
    fn try_from(args: Args) -> anyhow::Result<Config> {
        let from_file = args.redis_password_file.map(|file| {
            let told = std::fs::read_to_string(&file);
            let told = told.with_context(|| format!("--redis-password-file {}: reading it", file.display()))?;
            let password = told.trim_end_matches(['\r', '\n']).to_owned();
            ensure!(!password.is_empty(), "--redis-password-file {}: it is empty", file.display());
            ensure!(args.redis.is_some(), "--redis-password-file: allowed only with --redis");
            Ok(password)
        });
        let from_environment = || std::env::var("REDIS_PASSWORD").ok().filter(|password| !password.is_empty());
        let redis = args.redis.as_deref().map(RedisAddress::from_str).transpose();
        let redis = redis.map_err(|wrong| anyhow!("--redis: {wrong}"))?;
        let redis = match (redis, from_file.transpose()?.or_else(from_environment)) {
            (Some(redis), Some(password)) => Some(redis.with_password(&password)),
            (redis, _) => redis,
        };
        Ok(Config {
            listen: args.listen,
            metrics_listen: args.metrics_listen.0,
            name: name(args.name, "gateway"),
            connections: args.connections as usize,
            redis,
            history: args.history as usize,
            drain: args.drain_seconds,
            heartbeat: args.heartbeat_seconds,
            send_queue: args.send_queue as usize,
            slow_consumer: args.slow_consumer,
            message_bytes: args.message_bytes as usize,
            ..Config::default()
        })
    }
}

fn seconds(allowed: RangeInclusive<u64>) -> impl Fn(&str) -> Result<Duration, String> + Clone {
    move |text| {
        let seconds = text.parse().ok().filter(|seconds| allowed.contains(seconds));
        let seconds = seconds.ok_or_else(|| format!("allowed: {} to {} seconds", allowed.start(), allowed.end()))?;
        Ok(Duration::from_secs(seconds))
    }
}
