//! Reads entries in order, and checks with each answer whether the entry read last still exists. If it does not, or if there is
//! a gap, reading starts over from the newest checkpoint.

use super::connection::{Connection, LONG_TIMEOUT, bytes, items, text};
use super::record::{self, Id};
use super::trouble::{Kind, Outage, Trouble};
use super::{RedisHandle, SharedState};
use crate::io::BoxFuture;
use crate::journal::{Follow, JournalError, ReadResult};
use redis::Value;
use slotkeeper_core::{Entry, Fleet, Time, planted};
use std::time::Duration;

/// The maximum number of entries per answer.
const COUNT: usize = 256;
/// How long the server waits for new entries before it answers that there are none.
const BLOCK: Duration = Duration::from_secs(1);
const TIMEOUT: Duration = Duration::from_secs(3);

/// Safe to cancel: a read that was cancelled is kept in `busy` and continues with the next call.
pub(super) struct Follower {
    idle: Option<Reader>,
    busy: Option<BoxFuture<'static, (Reader, Result<ReadResult, JournalError>)>>,
}

impl Follower {
    pub(super) fn new(handle: RedisHandle) -> Follower {
        Follower { idle: Some(Reader::new(handle)), busy: None }
    }
}

impl Follow for Follower {
    fn next(&mut self) -> BoxFuture<'_, Result<ReadResult, JournalError>> {
        Box::pin(async move {
            if let Some(mut reader) = self.idle.take() {
                self.busy = Some(Box::pin(async move {
                    let read = reader.next().await;
                    (reader, read)
                }));
            }
            // Either `idle` or `busy` is always set.
            let Some(busy) = &mut self.busy else { return Err(JournalError::Closed) };
            let (reader, read) = busy.await;
            (self.idle, self.busy) = (Some(reader), None);
            read
        })
    }
}

struct Reader {
    handle: RedisHandle,
    connection: Option<Connection>,
    outage: Outage,
    /// The position of reading; `None`: reading has to start over.
    bookmark: Option<Bookmark>,
    /// Something has been returned already: starting over must be reported, even if the journal is empty.
    has_returned: bool,
    /// The checkpoint that reading started over from last, if nothing could be read after it.
    fruitless: Option<Id>,
}

/// The entry or checkpoint read last.
#[derive(Clone, Debug)]
struct Bookmark {
    id: Id,
    /// The content of the entry. `None`: there was no entry, only a checkpoint, or nothing at all.
    content: Option<Vec<u8>>,
}

const START: Id = Id { at: Time(0), position: 0 };

/// Why a read failed.
enum Stop {
    /// A temporary failure.
    Trouble(Trouble),
    Fatal(JournalError),
}

impl From<Trouble> for Stop {
    fn from(trouble: Trouble) -> Stop {
        Stop::Trouble(trouble)
    }
}

fn unreadable(what: String) -> Stop {
    Stop::Fatal(JournalError::Unreadable(what))
}

/// One answer of the server.
struct Page {
    /// The entries after the bookmark, unparsed.
    entries: Vec<(Id, Vec<u8>)>,
    /// The content of the entry at the bookmark now.
    content: Option<Vec<u8>>,
    kept: Option<Id>,
    life: Option<String>,
}

impl Reader {
    fn new(handle: RedisHandle) -> Reader {
        let outage = Outage::new("reader", handle.endpoint.address.host_port(), handle.metrics.clone());
        Reader { handle, connection: None, outage, bookmark: None, has_returned: false, fruitless: None }
    }

    async fn next(&mut self) -> Result<ReadResult, JournalError> {
        loop {
            match self.step().await {
                Ok(None) => {}
                Ok(Some(read)) => {
                    self.has_returned = true;
                    return Ok(read);
                }
                Err(Stop::Trouble(trouble)) => {
                    if trouble.kind == Kind::Replica {
                        self.handle.shared.lock().estranged = true;
                    }
                    self.outage.wait(&trouble).await;
                }
                Err(Stop::Fatal(error)) => return Err(error),
            }
        }
    }

    async fn step(&mut self) -> Result<Option<ReadResult>, Stop> {
        // Taken out, so that a connection that failed is not used again.
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => Connection::open(&self.handle.endpoint).await?,
        };
        let read = match self.bookmark.clone() {
            None => self.start_over(&mut connection).await?,
            Some(bookmark) => {
                let page = self.handle.read(&mut connection, &bookmark).await?;
                self.take(&bookmark, page)?
            }
        };
        self.connection = Some(connection);
        self.outage.is_over();
        Ok(read)
    }

    async fn start_over(&mut self, connection: &mut Connection) -> Result<Option<ReadResult>, Stop> {
        let key = &self.handle.keys.checkpoint;
        let mut kept = redis::cmd("HMGET");
        kept.arg(key).arg("position").arg("at").arg("state");
        let answers = connection.ask(&[&kept], LONG_TIMEOUT).await?;
        let kept = answers.first().and_then(items).unwrap_or_default();
        let Some((id, fleet)) = self.state(kept)? else {
            self.bookmark = Some(Bookmark { id: START, content: None });
            return Ok(self.has_returned.then(|| ReadResult::State(Box::new(Fleet::new()))));
        };
        let range = self.handle.range(id);
        let answers = connection.ask(&[&range], LONG_TIMEOUT).await?;
        let content = answers.first().and_then(items).and_then(<[Value]>::first).and_then(entry).map(|(_, c)| c);
        self.bookmark = Some(Bookmark { id, content });
        Ok(Some(ReadResult::State(Box::new(fleet))))
    }

    /// Parses the checkpoint, if there is one.
    fn state(&self, kept: &[Value]) -> Result<Option<(Id, Fleet)>, Stop> {
        let key = &self.handle.keys.checkpoint;
        let [position, at, state] = kept else { return Ok(None) };
        let Some(state) = bytes(state) else { return Ok(None) };
        let remedy =
            "run the version that wrote it, or stop all dispatchers and delete the journal's keys (see OPERATING.md)";
        let fleet: Fleet = serde_json::from_slice(state)
            .map_err(|error| unreadable(format!("the state in {key} cannot be read: {error}; {remedy}")))?;
        if fleet.semantics() > Entry::SEMANTICS {
            let (theirs, ours) = (fleet.semantics(), Entry::SEMANTICS);
            return Err(unreadable(format!(
                "the state in {key} is of semantics {theirs}, and this slotkeeper knows only {ours}; {remedy}"
            )));
        }
        match id(position, at) {
            Some(id) if (id.at, id.position) == (fleet.journal(), fleet.applied()) => Ok(Some((id, fleet))),
            _ => Err(unreadable(format!(
                "the state in {key} is of {}-{}, and not of the position that is written next to it; {remedy}",
                fleet.journal().0,
                fleet.applied()
            ))),
        }
    }

    fn take(&mut self, bookmark: &Bookmark, page: Page) -> Result<Option<ReadResult>, Stop> {
        let Page { entries, content, kept, life } = page;
        let is_there = is_there(bookmark, content.as_deref(), !entries.is_empty(), kept);
        let goes_on = goes_on(bookmark, &entries);
        if !is_there || !goes_on {
            let hole = entries.first().filter(|_| !goes_on).map(|(id, _)| *id);
            self.lose_bookmark(bookmark, hole, kept, life)?;
            return Ok(None);
        }
        let mut read = Vec::with_capacity(entries.len());
        for (id, json) in &entries {
            read.push(record::read(*id, json).map_err(|what| {
                let key = &self.handle.keys.entries;
                unreadable(format!(
                    "the entry {id} in {key} is {what}; run the version that wrote it, or stop all dispatchers and delete \
                     the journal's keys (see OPERATING.md)"
                ))
            })?);
        }
        self.note(&read, life);
        if let Some((id, json)) = entries.into_iter().next_back() {
            self.bookmark = Some(Bookmark { id, content: Some(json) });
            self.fruitless = None;
        }
        Ok((!read.is_empty()).then_some(ReadResult::Entries(read)))
    }

    /// Shares with the writer and the keeper what has been read, and in which life.
    fn note(&self, read: &[Entry], life: Option<String>) {
        let mut state = self.handle.shared.lock();
        let SharedState { ours, life: known, .. } = &mut *state;
        *known = life;
        if let Some((ours, highest)) = ours {
            let numbers = read.iter().filter(|entry| entry.from == *ours).map(|entry| entry.number);
            *highest = numbers.fold(*highest, u64::max);
        }
    }

    /// Starts over: the entry read last does not exist any more, or the next one (`hole`) does not have the next position.
    fn lose_bookmark(
        &mut self,
        bookmark: &Bookmark,
        hole: Option<Id>,
        kept: Option<Id>,
        life: Option<String>,
    ) -> Result<(), Stop> {
        let RedisHandle { keys, shared, .. } = &self.handle;
        let (last, kept) = (bookmark.id, kept.unwrap_or(START));
        if kept.position > last.position {
            tracing::info!(%last, %kept, "entries were trimmed before this replica read them: starting over from the checkpoint");
        } else {
            tracing::warn!(%last, %kept, "entries that this replica had read are lost: starting over from what is left");
            let mut state = shared.lock();
            // If the journal is still in the life of the lost entries, no lapse has been written for them.
            if life.is_some() && state.life == life {
                state.doubted = life;
            }
        }
        if let Some(first) = hole
            && bookmark.id == kept
            && self.fruitless == Some(kept)
        {
            let after = if kept == START {
                "there is no checkpoint".to_owned()
            } else {
                format!("the checkpoint is of {kept}")
            };
            return Err(unreadable(format!(
                "{} continues with {first}, and {after}: the entries before that are missing (trimmed or deleted by another client); \
                 restore Redis from a backup, or stop all dispatchers and delete {}, {} and {}: sessions are forgotten then",
                keys.entries, keys.entries, keys.life, keys.checkpoint
            )));
        }
        self.fruitless = Some(kept);
        self.bookmark = None;
        Ok(())
    }
}

impl RedisHandle {
    fn range(&self, id: Id) -> redis::Cmd {
        let mut range = redis::cmd("XRANGE");
        range.arg(&self.keys.entries).arg(id.to_string()).arg(id.to_string());
        range
    }

    async fn read(&self, connection: &mut Connection, bookmark: &Bookmark) -> Result<Page, Trouble> {
        let mut read = redis::cmd("XREAD");
        read.arg("COUNT").arg(COUNT).arg("BLOCK").arg(BLOCK.as_millis() as u64);
        read.arg("STREAMS").arg(&self.keys.entries).arg(bookmark.id.to_string());
        let mut kept = redis::cmd("HMGET");
        kept.arg(&self.keys.checkpoint).arg("position").arg("at");
        let mut life = redis::cmd("GET");
        life.arg(&self.keys.life);
        // The order matters: an entry that exists after the entries and the life were read existed when they were read; and if
        // entries have been trimmed by then, the checkpoint that they were trimmed for exists already.
        let answers = connection.ask(&[&read, &life, &self.range(bookmark.id), &kept], TIMEOUT).await?;
        let [read, life, range, kept] = &answers[..] else { return Err(Trouble::answered_with("fewer answers")) };
        Ok(Page {
            entries: entries(read)?,
            content: items(range).and_then(<[Value]>::first).and_then(entry).map(|(_, content)| content),
            kept: items(kept).and_then(|kept| id(kept.first()?, kept.get(1)?)),
            life: text(life).map(str::to_owned),
        })
    }
}

/// Whether the entry read last still exists.
fn is_there(bookmark: &Bookmark, content: Option<&[u8]>, goes_on: bool, kept: Option<Id>) -> bool {
    planted!(LossNotNoticed => true);
    match &bookmark.content {
        Some(known) => content == Some(known),
        // There is no entry to compare: check whether the checkpoint that reading started from is still the current one.
        None => goes_on || kept.unwrap_or(START) == bookmark.id,
    }
}

/// Whether no entry is missing after the one read last.
fn goes_on(bookmark: &Bookmark, entries: &[(Id, Vec<u8>)]) -> bool {
    planted!(HoleNotNoticed => true);
    let expected = bookmark.id.position + 1;
    entries.iter().zip(expected..).all(|((id, _), position)| id.position == position)
}

fn id(position: &Value, at: &Value) -> Option<Id> {
    Some(Id { at: Time(text(at)?.parse().ok()?), position: text(position)?.parse().ok()? })
}

/// Parses the answer of XREAD for one stream; nil if there is nothing new.
fn entries(read: &Value) -> Result<Vec<(Id, Vec<u8>)>, Trouble> {
    if *read == Value::Nil {
        return Ok(Vec::new());
    }
    let stream = items(read).and_then(<[Value]>::first).and_then(items).and_then(|stream| items(stream.get(1)?));
    let stream = stream.ok_or_else(|| Trouble::answered_with("no stream"))?;
    stream.iter().map(|value| entry(value).ok_or_else(|| Trouble::answered_with("no entry"))).collect()
}

/// Parses one entry of a stream. Without our field, its content is empty, which fails as unreadable later.
fn entry(value: &Value) -> Option<(Id, Vec<u8>)> {
    let [id, fields] = items(value)? else { return None };
    let fields = items(fields)?;
    let ours = fields.chunks_exact(2).find(|pair| bytes(&pair[0]) == Some(record::FIELD.as_bytes()));
    Some((Id::read(text(id)?)?, ours.and_then(|pair| bytes(&pair[1])).unwrap_or_default().to_vec()))
}
