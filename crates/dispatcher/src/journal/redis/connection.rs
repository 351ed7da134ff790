//! One connection to the server: dials over our own `Net`, authenticates, sends commands. The `redis` crate packs the commands
//! and parses the answers; its own connections are not used, because a task multiplexes them and they send more commands than
//! needed here. Our connection has one user at a time, and is dropped at the first error, after which answers could be
//! mixed up.

use super::trouble::{Kind, Trouble};
use crate::config::redis::RedisJournal;
use crate::io::{Net, Socket};
use redis::{Cmd, ServerError, Value};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::io::AsyncWriteExt as _;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;

/// The timeout of connecting, and of an answer.
pub(super) const TIMEOUT: Duration = Duration::from_secs(2);
/// The part of the timeout that the TLS handshake may take.
const HANDSHAKE: Duration = Duration::from_millis(1500);
/// The timeout when a checkpoint is transferred.
pub(super) const LONG_TIMEOUT: Duration = Duration::from_secs(30);

/// Where the server is, and how to connect to it.
pub(super) struct Endpoint {
    pub(super) address: RedisJournal,
    pub(super) net: Arc<dyn Net>,
    pub(super) tls: Option<(TlsConnector, ServerName<'static>)>,
    /// The warning that the server may evict the journal has been logged.
    pub(super) warned: AtomicBool,
}

pub(super) struct Connection {
    stream: Socket,
    decoder: combine::stream::Decoder<combine::parser::combinator::AnySendSyncPartialState, Position>,
    /// Identifies this server process with its data: changes after a restart, or if the server was a replica meanwhile.
    pub(super) server: String,
}

type Position = combine::stream::PointerOffset<[u8]>;

impl Connection {
    pub(super) async fn open(endpoint: &Endpoint) -> Result<Connection, Trouble> {
        let opening = async {
            let stream = dial(endpoint).await?;
            let mut connection = Connection { stream, decoder: combine::stream::Decoder::new(), server: String::new() };
            connection.introduce(endpoint).await?;
            Ok(connection)
        };
        tokio::time::timeout(TIMEOUT, opening).await.unwrap_or_else(|_| Err(Trouble::late(TIMEOUT)))
    }

    async fn introduce(&mut self, endpoint: &Endpoint) -> Result<(), Trouble> {
        let RedisJournal { username, password, database, .. } = &endpoint.address;
        if let Some(password) = password {
            let mut auth = redis::cmd("AUTH");
            if let Some(username) = username {
                auth.arg(username);
            }
            self.exchange(&[auth.arg(&password.0[..])]).await?;
        }
        if *database != 0 {
            self.exchange(&[redis::cmd("SELECT").arg(*database)]).await?;
        }
        let sections = ["server", "replication", "memory"].map(|section| redis::cmd("INFO").arg(section).clone());
        let info = self.exchange(&sections.iter().collect::<Vec<_>>()).await?;
        let info: String = info.iter().filter_map(bytes).map(String::from_utf8_lossy).collect();
        let says = |key: &str| {
            info.lines()
                .find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))
                .unwrap_or_default()
                .trim()
                .to_owned()
        };
        if says("role") != "master" {
            let role = says("role");
            return Err(Trouble::new(
                Kind::Replica,
                format!("it is a replica (its role is {role:?}): the journal is written to the primary"),
            ));
        }
        self.server = says("run_id");
        if self.server.is_empty() {
            return Err(Trouble::answered_with("INFO server without a run_id"));
        }
        // The server was a replica, and may have got older data than it had when it was the primary before.
        if says("master_replid2").bytes().any(|digit| digit != b'0') {
            self.server = format!("{}+{}", self.server, says("master_replid"));
        }
        let policy = says("maxmemory_policy");
        // `volatile-*` policies evict only keys with an expiry; the journal's keys have none.
        if policy.starts_with("allkeys") && !endpoint.warned.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                server = endpoint.address.host_port(),
                "Redis may evict the journal when its memory is full (maxmemory-policy {policy}): set it to noeviction"
            );
        }
        Ok(())
    }

    /// Sends all commands in one pipeline; returns the first error that the server answers with. After any error, the
    /// connection must not be used any more.
    pub(super) async fn ask(&mut self, commands: &[&Cmd], patience: Duration) -> Result<Vec<Value>, Trouble> {
        let answers = tokio::time::timeout(patience, self.exchange(commands)).await;
        answers.unwrap_or_else(|_| Err(Trouble::late(patience)))
    }

    async fn exchange(&mut self, commands: &[&Cmd]) -> Result<Vec<Value>, Trouble> {
        let closed =
            |error: &dyn std::fmt::Display| Trouble::new(Kind::Closed, format!("the connection broke: {error}"));
        let packed: Vec<u8> = commands.iter().flat_map(|command| command.get_packed_command()).collect();
        self.stream.write_all(&packed).await.map_err(|error| closed(&error))?;
        self.stream.flush().await.map_err(|error| closed(&error))?;
        let mut answers = Vec::with_capacity(commands.len());
        for _ in commands {
            let answer = redis::parse_redis_value_async(&mut self.decoder, &mut self.stream).await;
            match answer.and_then(Value::extract_error) {
                Ok(answer) => answers.push(answer),
                Err(error) => {
                    return Err(ServerError::try_from(error).map_or_else(|broken| closed(&broken), Trouble::from));
                }
            }
        }
        Ok(answers)
    }
}

async fn dial(endpoint: &Endpoint) -> Result<Socket, Trouble> {
    let trouble = |error: std::io::Error| Trouble::new(Kind::Connect, format!("it cannot be reached: {error}"));
    let host_port = endpoint.address.host_port();
    let mut failed = std::io::Error::new(std::io::ErrorKind::NotFound, format!("{host_port} has no address"));
    for address in endpoint.net.resolve(&host_port).await.map_err(trouble)? {
        match endpoint.net.dial(address).await {
            Ok(stream) => return encrypt(stream, endpoint).await,
            Err(error) => failed = error,
        }
    }
    Err(trouble(failed))
}

async fn encrypt(stream: Socket, endpoint: &Endpoint) -> Result<Socket, Trouble> {
    let Some((connector, name)) = &endpoint.tls else { return Ok(stream) };
    match tokio::time::timeout(HANDSHAKE, connector.connect(name.clone(), stream)).await {
        Ok(Ok(stream)) => Ok(Socket::Other(Box::new(stream))),
        Ok(Err(error)) => Err(Trouble::new(Kind::Tls, format!("TLS failed: {error}"))),
        // A server without TLS waits for a line break, so it does not answer.
        Err(_) => Err(Trouble::new(Kind::Tls, "no answer to TLS: is this its TLS port?")),
    }
}

/// A bulk string's bytes.
pub(super) fn bytes(value: &Value) -> Option<&[u8]> {
    if let Value::BulkString(bytes) = value { Some(bytes) } else { None }
}

pub(super) fn text(value: &Value) -> Option<&str> {
    bytes(value).and_then(|bytes| std::str::from_utf8(bytes).ok())
}

pub(super) fn items(value: &Value) -> Option<&[Value]> {
    if let Value::Array(items) = value { Some(items) } else { None }
}
