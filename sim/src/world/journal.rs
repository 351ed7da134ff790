//! Journals that outlive a dispatcher. `own`: as a file would be, of one dispatcher alone. `shared`: a service on the network
//! that several write to; it alone orders and stamps. What has been appended is durable: the service may crash.

use super::truth::Truth;
use serde::{Deserialize, Serialize};
use slotkeeper::journal::{Append, Draft, Follow, Journal, JournalError, News};
use slotkeeper::outside::BoxFuture;
use slotkeeper_core::{Command, Entry, PoolId, ReplicaId, Time};
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::sync::Notify;
use turmoil::net::{TcpListener, TcpStream};

pub const PORT: u16 = 6379;
const PATIENCE: Duration = Duration::from_secs(2);
const BREATH: Duration = Duration::from_millis(200);
const HEARTBEAT: Duration = Duration::from_secs(1);

/// All entries, in their order.
#[derive(Clone)]
pub struct Log {
    inner: Arc<Mutex<Inner>>,
    more: Arc<Notify>,
    truth: Truth,
}

#[derive(Default)]
struct Inner {
    entries: Vec<Entry>,
    /// Its own clock's deviation, in milliseconds.
    step: i64,
}

/// A `Draft` on the wire.
type Wire = (ReplicaId, u64, PoolId, Command);

#[derive(Serialize, Deserialize)]
enum Request {
    Append(Vec<Wire>),
    Follow(usize),
}

impl Log {
    pub fn new(truth: Truth) -> Log {
        Log { inner: Arc::default(), more: Arc::new(Notify::new()), truth }
    }

    fn locked(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The journal's clock is wrong by this from now on.
    pub fn step_clock(&self, by: i64) {
        self.locked().step = by;
    }

    /// The one place where entries get their order and their time.
    fn append(&self, drafts: Vec<Draft>) {
        let mut inner = self.locked();
        let clock = (self.truth.wall().0 as i64 + inner.step) as u64;
        // As every journal does: its time never goes back.
        let at = Time(clock.max(inner.entries.last().map_or(0, |e| e.at.0)));
        for Draft { from, number, pool, command } in drafts {
            let entry = Entry { at, from, number, pool, command };
            self.truth.journalled(&entry);
            inner.entries.push(entry);
        }
        drop(inner);
        self.more.notify_waiters();
    }

    fn after(&self, from: usize) -> Vec<Entry> {
        self.locked().entries.get(from..).unwrap_or_default().iter().take(256).cloned().collect()
    }

    async fn wait(&self, from: usize) -> Vec<Entry> {
        loop {
            let more = self.more.notified();
            tokio::pin!(more);
            more.as_mut().enable();
            let entries = self.after(from);
            if !entries.is_empty() {
                return entries;
            }
            more.await;
        }
    }
}

/// The journal of the only dispatcher. `sync`: how long a write takes to be durable.
pub fn own(log: &Log, host: usize, sync: Duration) -> Journal {
    Journal::new(
        Box::new(OwnAppend { log: log.clone(), host, sync }),
        Box::new(OwnFollow { log: log.clone(), read: 0 }),
        false,
    )
}

struct OwnAppend {
    log: Log,
    host: usize,
    sync: Duration,
}

impl Append for OwnAppend {
    fn append(&mut self, batch: Vec<Draft>) -> BoxFuture<'_, Result<(), JournalError>> {
        Box::pin(async move {
            tokio::time::sleep(self.sync).await;
            if let Some(draft) = batch.first() {
                self.log.truth.lives_as(self.host, draft.from);
            }
            self.log.append(batch);
            Ok(())
        })
    }
}

struct OwnFollow {
    log: Log,
    read: usize,
}

impl Follow for OwnFollow {
    fn next(&mut self) -> BoxFuture<'_, Result<News, JournalError>> {
        Box::pin(async move {
            let entries = self.log.wait(self.read).await;
            self.read += entries.len();
            Ok(News::Entries(entries))
        })
    }
}

/// The journal service's host.
pub async fn serve(log: Log) -> io::Result<()> {
    let listener = TcpListener::bind(("0.0.0.0", PORT)).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        let log = log.clone();
        tokio::spawn(async move {
            // A client that is gone connects again.
            let _ = answer(stream, log).await;
        });
    }
}

async fn answer(stream: TcpStream, log: Log) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    loop {
        line.clear();
        if stream.read_line(&mut line).await? == 0 {
            return Ok(());
        }
        match serde_json::from_str(&line).map_err(io::Error::other)? {
            Request::Append(wires) => {
                log.append(
                    wires
                        .into_iter()
                        .map(|(from, number, pool, command)| Draft { from, number, pool, command })
                        .collect(),
                );
                stream.write_all(b"ok\n").await?;
            }
            Request::Follow(mut from) => loop {
                let entries = tokio::time::timeout(HEARTBEAT, log.wait(from)).await.unwrap_or_default();
                from += entries.len();
                let mut text = serde_json::to_string(&entries).map_err(io::Error::other)?;
                text.push('\n');
                stream.write_all(text.as_bytes()).await?;
            },
        }
    }
}

/// The journal of one of several dispatchers.
pub fn shared(at: IpAddr, host: usize, truth: Truth) -> Journal {
    Journal::new(
        Box::new(SharedAppend { at, host, truth, stream: None }),
        Box::new(SharedFollow { at, read: 0, stream: None, line: Vec::new() }),
        true,
    )
}

struct SharedAppend {
    at: IpAddr,
    host: usize,
    truth: Truth,
    stream: Option<BufReader<TcpStream>>,
}

async fn connect(at: IpAddr) -> io::Result<BufReader<TcpStream>> {
    let stream = tokio::time::timeout(PATIENCE, TcpStream::connect((at, PORT))).await.map_err(io::Error::other)??;
    Ok(BufReader::new(stream))
}

impl SharedAppend {
    async fn try_append(&mut self, text: &str) -> io::Result<()> {
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => connect(self.at).await?,
        };
        stream.write_all(text.as_bytes()).await?;
        let mut answer = String::new();
        match tokio::time::timeout(PATIENCE, stream.read_line(&mut answer)).await {
            Ok(Ok(n)) if n > 0 => {}
            Ok(Ok(_)) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(Err(e)) => return Err(e),
            Err(late) => return Err(io::Error::other(late)),
        }
        self.stream = Some(stream);
        Ok(())
    }
}

impl Append for SharedAppend {
    /// Tried until it is acknowledged: the fleet knows repetitions by their numbers.
    fn append(&mut self, batch: Vec<Draft>) -> BoxFuture<'_, Result<(), JournalError>> {
        Box::pin(async move {
            if let Some(draft) = batch.first() {
                self.truth.lives_as(self.host, draft.from);
            }
            let wires: Vec<Wire> = batch.into_iter().map(|d| (d.from, d.number, d.pool, d.command)).collect();
            let Ok(mut text) = serde_json::to_string(&Request::Append(wires)) else { return Err(JournalError::Closed) };
            text.push('\n');
            while self.try_append(&text).await.is_err() {
                self.stream = None;
                tokio::time::sleep(BREATH).await;
            }
            Ok(())
        })
    }
}

struct SharedFollow {
    at: IpAddr,
    read: usize,
    stream: Option<BufReader<TcpStream>>,
    /// What has been read of the next line: kept when the reader is interrupted.
    line: Vec<u8>,
}

impl SharedFollow {
    async fn try_next(&mut self) -> io::Result<Vec<Entry>> {
        if self.stream.is_none() {
            let mut stream = connect(self.at).await?;
            let mut text = serde_json::to_string(&Request::Follow(self.read)).map_err(io::Error::other)?;
            text.push('\n');
            stream.write_all(text.as_bytes()).await?;
            self.stream = Some(stream);
            self.line.clear();
        }
        let Some(stream) = &mut self.stream else { return Ok(Vec::new()) };
        match tokio::time::timeout(HEARTBEAT * 3, stream.read_until(b'\n', &mut self.line)).await {
            Ok(Ok(_)) if self.line.ends_with(b"\n") => {
                let entries = serde_json::from_slice(&self.line).map_err(io::Error::other);
                self.line.clear();
                entries
            }
            Ok(Ok(_)) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(Err(e)) => Err(e),
            Err(late) => Err(io::Error::other(late)),
        }
    }
}

impl Follow for SharedFollow {
    fn next(&mut self) -> BoxFuture<'_, Result<News, JournalError>> {
        Box::pin(async move {
            loop {
                match self.try_next().await {
                    Ok(entries) if entries.is_empty() => {}
                    Ok(entries) => {
                        self.read += entries.len();
                        return Ok(News::Entries(entries));
                    }
                    Err(_) => {
                        self.stream = None;
                        tokio::time::sleep(BREATH).await;
                    }
                }
            }
        })
    }
}
