//! Writes entries. Acknowledged entries that have not been read back may be lost with the journal's life (a restart, a
//! failover): they are written again in the next life, before anything new.

use super::connection::{Connection, TIMEOUT, bytes, items, text};
use super::trouble::{Kind, Outage, Trouble};
use super::{RedisHandle, SharedState, record};
use crate::io::{BoxFuture, Ids, now};
use crate::journal::{Append, Draft, JournalError, Patience};
use redis::Value;
use slotkeeper_core::{Millis, ReplicaId, Timeline, planted};
use std::collections::VecDeque;

const BEGIN: &str = include_str!("begin.lua");
const APPEND: &str = include_str!("append.lua");
/// The maximum number of entries per batch when entries are written again.
const BATCH: usize = 256;

pub(super) struct Writer {
    handle: RedisHandle,
    patience: Patience,
    connection: Option<BegunConnection>,
    /// The life in which the entries of `unread` were written.
    life: Option<String>,
    /// Generates names for timelines. They are unique because it is seeded with the replica id, which is drawn at random.
    timelines: Ids,
    /// Acknowledged entries that have not been read back; in order.
    unread: VecDeque<Unread>,
    outage: Outage,
}

/// A connection, and the life that `begin.lua` returned on it.
struct BegunConnection {
    connection: Connection,
    life: String,
}

struct Unread {
    number: u64,
    json: String,
}

impl Append for Writer {
    fn append(&mut self, batch: Vec<Draft>) -> BoxFuture<'_, Result<(), JournalError>> {
        Box::pin(async move {
            let started = now();
            let Some(from) = batch.last().map(|draft| draft.from) else { return Ok(()) };
            self.begin_replica(from);
            let mut records = Vec::with_capacity(batch.len());
            for draft in &batch {
                records.push(Unread { number: draft.number, json: record::write(draft)? });
            }
            let mut lapsed_before = false;
            loop {
                match self.write(&records).await? {
                    Ok(()) => break,
                    // The next attempt begins a new life: there is nothing to wait for.
                    Err(trouble) if trouble.kind == Kind::Lapsed && !lapsed_before => lapsed_before = true,
                    Err(trouble) => self.outage.wait(&trouble).await,
                }
            }
            self.outage.is_over();
            self.handle.metrics.appends.observe(now().duration_since(started).as_secs_f64());
            self.handle.metrics.entries.inc_by(records.len() as u64);
            self.unread.extend(records);
            Ok(())
        })
    }
}

impl Writer {
    pub(super) fn new(handle: RedisHandle, patience: Patience) -> Writer {
        let outage = Outage::new("writer", handle.endpoint.address.host_port(), handle.metrics.clone());
        let timelines = Ids::seeded(0);
        Writer { handle, patience, connection: None, life: None, timelines, unread: VecDeque::new(), outage }
    }

    /// Forgets entries that were written under an earlier replica id: the fleet ignores them.
    fn begin_replica(&mut self, from: ReplicaId) {
        let mut state = self.handle.shared.lock();
        if state.ours.is_none_or(|(ours, _)| ours != from) {
            state.ours = Some((from, 0));
            self.timelines = Ids::seeded(from.0);
            self.unread.clear();
        }
    }

    async fn write(&mut self, records: &[Unread]) -> Result<Result<(), Trouble>, JournalError> {
        let (doubted, estranged) = {
            let mut state = self.handle.shared.lock();
            let SharedState { ours, doubted, estranged, .. } = &mut *state;
            let read = ours.map_or(0, |(_, read)| read);
            while self.unread.front().is_some_and(|unread| unread.number <= read) {
                self.unread.pop_front();
            }
            (doubted.clone(), std::mem::take(estranged))
        };
        // Taken out, so that a connection that failed is not used again.
        let known = self.connection.take().filter(|connection| !is_in_doubt(connection, estranged, doubted.as_deref()));
        let patience = self.patience.get();
        let timeline = match &known {
            Some(_) => Timeline::FIRST,
            None => Timeline(self.timelines.draw().map_err(|error| JournalError::Unreadable(error.to_string()))?),
        };
        let lapse = record::lapse(patience, timeline)?;
        let written = async {
            let mut connection = match known {
                Some(connection) => connection,
                None => self.handle.connect(&lapse, patience, doubted.as_deref().unwrap_or_default()).await?,
            };
            if self.life.as_ref() != Some(&connection.life) {
                for batch in lost(self.unread.make_contiguous()).chunks(BATCH) {
                    self.handle.append(&mut connection, batch).await?;
                }
                self.life = Some(connection.life.clone());
            }
            self.handle.append(&mut connection, records).await?;
            Ok(connection)
        };
        Ok(written.await.map(|connection| self.connection = Some(connection)))
    }
}

/// The entries that may be lost with an earlier life.
fn lost(unread: &[Unread]) -> &[Unread] {
    planted!(UnreadNotRepeated => &[]);
    unread
}

/// Whether the life must be checked again with `begin.lua`.
fn is_in_doubt(connection: &BegunConnection, estranged: bool, doubted: Option<&str>) -> bool {
    planted!(LifeNotChecked => false);
    estranged || doubted == Some(&connection.life)
}

impl RedisHandle {
    /// Connects, and gets the current life of the journal, or begins a new one.
    async fn connect(&self, lapse: &str, patience: Millis, doubted: &str) -> Result<BegunConnection, Trouble> {
        let RedisHandle { endpoint, keys, metrics, .. } = self;
        let mut connection = Connection::open(endpoint).await?;
        let mut begin = redis::cmd("EVAL");
        begin.arg(BEGIN).arg(3).arg(&keys.entries).arg(&keys.life).arg(&keys.checkpoint);
        begin.arg(&connection.server).arg(lapse).arg(doubted);
        let answers = connection.ask(&[&begin], TIMEOUT).await?;
        let answer = answers.first().and_then(items).unwrap_or_default();
        let [life, begun] = answer else { return Err(Trouble::answered_with("no life")) };
        let life = text(life).ok_or_else(|| Trouble::answered_with("a life that is no text"))?.to_owned();
        if *begun == Value::Int(1) {
            metrics.lapses.inc();
            tracing::warn!(
                server = endpoint.address.host_port(),
                journal = keys.entries,
                "this Redis is new, has restarted, has been promoted or has been emptied, so entries may be lost: \
                 no session is placed for {} s",
                patience.0 as f64 / 1000.0
            );
        }
        Ok(BegunConnection { connection, life })
    }

    async fn append(&self, connection: &mut BegunConnection, records: &[Unread]) -> Result<(), Trouble> {
        let mut append = redis::cmd("EVAL");
        append.arg(APPEND).arg(2).arg(&self.keys.entries).arg(&self.keys.life).arg(&connection.life);
        for record in records {
            append.arg(&record.json);
        }
        let answers = connection.connection.ask(&[&append], TIMEOUT).await?;
        fault_point!(RedisAfterSend, dropped => return Err(Trouble::new(Kind::Closed, "the connection broke")));
        match &answers[..] {
            [Value::Int(_)] => Ok(()),
            [other] if bytes(other).is_some() => Err(Trouble::answered_with("text instead of a position")),
            _ => Err(Trouble::answered_with("no position")),
        }
    }
}
