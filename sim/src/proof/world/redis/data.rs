//! The data of the Redis stand-in, the commands on it, and the journal's three scripts, in Rust. Every write can be
//! undone: that is how the newest ones are lost.

use super::resp::Answer;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// An entry's position in a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Id {
    pub ms: u64,
    pub seq: u64,
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.ms, self.seq)
    }
}

impl FromStr for Id {
    type Err = String;
    fn from_str(text: &str) -> Result<Id, String> {
        let (ms, seq) = text.split_once('-').unwrap_or((text, "0"));
        let parsed = ms.parse().ok().zip(seq.parse().ok()).map(|(ms, seq)| Id { ms, seq });
        parsed.ok_or_else(|| "ERR Invalid stream ID specified as stream command argument".to_owned())
    }
}

type Fields = Vec<Bytes>;
type Hash = BTreeMap<Bytes, Bytes>;

#[derive(Default)]
struct Stream {
    entries: BTreeMap<Id, Fields>,
    last: Id,
}

#[derive(Default)]
pub struct Data {
    strings: BTreeMap<Bytes, Bytes>,
    hashes: BTreeMap<Bytes, Hash>,
    streams: BTreeMap<Bytes, Stream>,
    /// The newest writes, and when they were made (in milliseconds of the world).
    written: Vec<(u64, Undo)>,
    /// Out of memory: commands that need memory fail.
    pub full: bool,
}

/// How to undo a write.
enum Undo {
    String(Bytes, Option<Bytes>),
    Hash(Bytes, Option<Hash>),
    /// The entry, and the last one before it; `None`: there was no stream.
    Entry(Bytes, Id, Option<Id>),
    Trim(Bytes, BTreeMap<Id, Fields>),
}

/// Effects of a script that other components need.
#[derive(Debug)]
pub enum Happened {
    Taken { position: u64, at: u64, draft: Bytes },
    Kept { position: u64, state: Bytes },
}

/// One of the journal's scripts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Script {
    Append,
    Begin,
    Keep,
}

/// The time of a request.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// Milliseconds of the world.
    pub now: u64,
    /// The server's clock, in milliseconds.
    pub clock: u64,
}

/// Writes older than this are on disk in any case, in milliseconds.
const WRITTEN: u64 = 10_000;

const LAPSED_LIFE: &str = "LAPSED this server or its data is not of the life that the writer knows";

fn oom() -> Answer {
    Answer::Error("OOM command not allowed when used memory > 'maxmemory'.".into())
}

fn number(text: Option<&Bytes>) -> u64 {
    text.and_then(|t| std::str::from_utf8(t).ok()?.parse().ok()).unwrap_or_default()
}

fn entry((id, fields): (&Id, &Fields)) -> Answer {
    let fields = fields.iter().cloned().map(Answer::Text).collect();
    Answer::Array(vec![Answer::text(id.to_string()), Answer::Array(fields)])
}

impl Data {
    // ---- reads ----

    #[must_use]
    pub fn get(&self, key: &Bytes) -> Answer {
        self.strings.get(key).cloned().map_or(Answer::Nothing, Answer::Text)
    }

    #[must_use]
    pub fn hmget(&self, key: &Bytes, fields: &[Bytes]) -> Answer {
        let hash = self.hashes.get(key);
        let field = |f| hash.and_then(|h| h.get(f)).cloned().map_or(Answer::Nothing, Answer::Text);
        Answer::Array(fields.iter().map(field).collect())
    }

    /// Returns the entries from one id to the other, both included.
    #[must_use]
    pub fn range(&self, key: &Bytes, from: Id, to: Id) -> Answer {
        let stream = self.streams.get(key).filter(|_| from <= to);
        Answer::Array(stream.into_iter().flat_map(|s| s.entries.range(from..=to)).map(entry).collect())
    }

    /// Returns the entries after an id; `None`: none yet.
    #[must_use]
    pub fn after(&self, key: &Bytes, after: Id, most: usize) -> Option<Answer> {
        let stream = self.streams.get(key)?;
        let newer = stream.entries.range(Id { ms: after.ms, seq: after.seq.checked_add(1)? }..);
        let found: Vec<Answer> = newer.take(most).map(entry).collect();
        (!found.is_empty()).then_some(Answer::Array(found))
    }

    /// Returns the position at which the data ends: that of the newest entry, or of a checkpoint without entries.
    #[must_use]
    pub fn position(&self) -> u64 {
        let newest = |s: &Stream| s.entries.keys().next_back().map(|id| id.seq);
        let kept = || self.hashes.values().map(|h| number(h.get("position".as_bytes()))).max();
        self.streams.values().filter_map(newest).max().or_else(kept).unwrap_or_default()
    }

    // ---- writes ----

    /// Undoes the writes of the last `newest` milliseconds. Returns true if there were any.
    pub fn lose(&mut self, now: u64, newest: u64) -> bool {
        let kept = now.saturating_sub(newest);
        let mut any = false;
        while let Some((_, undo)) = self.written.pop_if(|(at, _)| *at > kept) {
            any = true;
            match undo {
                Undo::String(key, before) => restore(&mut self.strings, key, before),
                Undo::Hash(key, before) => restore(&mut self.hashes, key, before),
                Undo::Entry(key, _, None) => {
                    self.streams.remove(&key);
                }
                Undo::Entry(key, id, Some(last)) => {
                    if let Some(stream) = self.streams.get_mut(&key) {
                        stream.entries.remove(&id);
                        stream.last = last;
                    }
                }
                Undo::Trim(key, entries) => {
                    if let Some(stream) = self.streams.get_mut(&key) {
                        stream.entries.extend(entries);
                    }
                }
            }
        }
        any
    }

    /// Deletes everything; the deletion is on disk.
    pub fn flush(&mut self) {
        let full = self.full;
        *self = Data { full, ..Data::default() };
    }

    fn note(&mut self, now: u64, undo: Undo) {
        let done = self.written.iter().take_while(|(at, _)| at + WRITTEN < now).count();
        self.written.drain(..done);
        self.written.push((now, undo));
    }

    fn set(&mut self, now: u64, key: &Bytes, value: Bytes) {
        let before = self.strings.insert(key.clone(), value);
        self.note(now, Undo::String(key.clone(), before));
    }

    /// Ids only grow, even beyond deleted entries.
    fn add(&mut self, now: u64, key: &Bytes, id: Id, fields: Fields) -> Result<(), Answer> {
        let before = self.streams.get(key).map(|s| s.last);
        if before.unwrap_or_default() >= id {
            let what = "ERR The ID specified in XADD is equal or smaller than the target stream top item";
            return Err(Answer::Error(what.into()));
        }
        let stream = self.streams.entry(key.clone()).or_default();
        stream.entries.insert(id, fields);
        stream.last = id;
        self.note(now, Undo::Entry(key.clone(), id, before));
        Ok(())
    }

    /// Returns how many entries were removed.
    fn trim(&mut self, now: u64, key: &Bytes, least: Id) -> usize {
        let Some(stream) = self.streams.get_mut(key) else { return 0 };
        let stay = stream.entries.split_off(&least);
        let gone = std::mem::replace(&mut stream.entries, stay);
        let count = gone.len();
        if count > 0 {
            self.note(now, Undo::Trim(key.clone(), gone));
        }
        count
    }

    /// Runs the commands with which an operator may change the journal's keys by hand.
    pub fn meddle(&mut self, command: &str, arguments: &[Bytes], now: u64) -> Answer {
        let needs_memory = !matches!(command, "XTRIM" | "XDEL" | "DEL");
        if self.full && needs_memory {
            return oom();
        }
        let id = |text: &Bytes| String::from_utf8_lossy(text).parse::<Id>().map_err(Answer::Error);
        let done = match (command, arguments) {
            ("XADD", [key, at, fields @ ..]) => {
                id(at).and_then(|id| self.add(now, key, id, fields.to_vec())).map(|()| Answer::Text(at.clone()))
            }
            ("XTRIM", [key, _, least]) => id(least).map(|least| Answer::Integer(self.trim(now, key, least) as i64)),
            ("XDEL", [key, at]) => id(at).map(|id| {
                let gone = self.streams.get_mut(key).and_then(|stream| stream.entries.remove_entry(&id));
                let count = i64::from(gone.is_some());
                if let Some(gone) = gone {
                    self.note(now, Undo::Trim(key.clone(), [gone].into()));
                }
                Answer::Integer(count)
            }),
            // Not undone when the newest writes are lost: no world deletes keys by hand.
            ("DEL", keys) => {
                let gone = |key| {
                    let string = self.strings.remove(key).is_some();
                    let hash = self.hashes.remove(key).is_some();
                    string | hash | self.streams.remove(key).is_some()
                };
                Ok(Answer::Integer(keys.iter().map(gone).filter(|gone| *gone).count() as i64))
            }
            ("SET", [key, value]) => {
                self.set(now, key, value.clone());
                Ok(Answer::Simple("OK"))
            }
            ("HSET", [key, pairs @ ..]) => {
                let before = self.hashes.get(key).cloned();
                let hash = self.hashes.entry(key.clone()).or_default();
                let mut new = 0;
                for pair in pairs.chunks_exact(2) {
                    new += i64::from(hash.insert(pair[0].clone(), pair[1].clone()).is_none());
                }
                self.note(now, Undo::Hash(key.clone(), before));
                Ok(Answer::Integer(new))
            }
            _ => Err(Answer::Error(format!("ERR wrong arguments of {command}"))),
        };
        done.unwrap_or_else(|error| error)
    }

    // ---- the scripts: line by line as in the Lua code ----

    pub fn run(
        &mut self,
        script: Script,
        keys: &[Bytes],
        argv: &[Bytes],
        at: Moment,
        happened: &mut Vec<Happened>,
    ) -> Answer {
        match (script, keys) {
            (Script::Append, [entries, life]) => self.append(entries, life, argv, at, happened),
            (Script::Begin, [entries, life, checkpoint]) => self.begin(entries, life, checkpoint, argv, at, happened),
            (Script::Keep, [entries, life, checkpoint]) => self.keep(entries, life, checkpoint, argv, at, happened),
            _ => Answer::Error(format!("ERR {script:?} was given {} keys", keys.len())),
        }
    }

    fn newest(&self, entries: &Bytes) -> Option<Id> {
        self.streams.get(entries)?.entries.keys().next_back().copied()
    }

    fn append(
        &mut self,
        entries: &Bytes,
        life: &Bytes,
        argv: &[Bytes],
        at: Moment,
        happened: &mut Vec<Happened>,
    ) -> Answer {
        let Some((name, drafts)) = argv.split_first() else { return Answer::Error("ERR no life".into()) };
        if self.strings.get(life) != Some(name) {
            return Answer::Error(LAPSED_LIFE.into());
        }
        let Some(last) = self.newest(entries) else { return Answer::Error("LAPSED the entries are missing".into()) };
        if self.full && !drafts.is_empty() {
            return oom();
        }
        let mut id = Id { ms: last.ms.max(at.clock), seq: last.seq };
        for draft in drafts {
            id.seq += 1;
            if let Err(error) = self.add(at.now, entries, id, vec!["entry".into(), draft.clone()]) {
                return error;
            }
            happened.push(Happened::Taken { position: id.seq, at: id.ms, draft: draft.clone() });
        }
        Answer::Integer(id.seq as i64)
    }

    fn begin(
        &mut self,
        entries: &Bytes,
        life: &Bytes,
        checkpoint: &Bytes,
        argv: &[Bytes],
        at: Moment,
        happened: &mut Vec<Happened>,
    ) -> Answer {
        let [server, lapse, lost] = argv else { return Answer::Error("ERR 3 arguments are needed".into()) };
        let last = self.newest(entries);
        let ours = [&server[..], b"/"].concat();
        let current = self.strings.get(life).filter(|l| last.is_some() && l.starts_with(&ours) && *l != lost);
        if let Some(life) = current {
            return Answer::Array(vec![Answer::Text(life.clone()), Answer::Integer(0)]);
        }
        if self.full {
            return oom();
        }
        let last = last.unwrap_or_default();
        let kept = self.hashes.get(checkpoint);
        let field = |name: &'static str| number(kept.and_then(|h| h.get(name.as_bytes())));
        let id = Id { ms: last.ms.max(field("at")).max(at.clock), seq: last.seq.max(field("position")) + 1 };
        if let Err(error) = self.add(at.now, entries, id, vec!["entry".into(), lapse.clone()]) {
            return error;
        }
        happened.push(Happened::Taken { position: id.seq, at: id.ms, draft: lapse.clone() });
        let name = Bytes::from([&ours[..], id.to_string().as_bytes()].concat());
        self.set(at.now, life, name.clone());
        Answer::Array(vec![Answer::Text(name), Answer::Integer(1)])
    }

    fn keep(
        &mut self,
        entries: &Bytes,
        life: &Bytes,
        checkpoint: &Bytes,
        argv: &[Bytes],
        at: Moment,
        happened: &mut Vec<Happened>,
    ) -> Answer {
        let [name, position, stamp, state] = argv else { return Answer::Error("ERR 4 arguments are needed".into()) };
        if self.strings.get(life) != Some(name) {
            return Answer::Error(LAPSED_LIFE.into());
        }
        let id = Id { ms: number(Some(stamp)), seq: number(Some(position)) };
        if !self.streams.get(entries).is_some_and(|s| s.entries.contains_key(&id)) {
            return Answer::Error("LAPSED the entry that this state was read at is missing".into());
        }
        let before = self.hashes.get(checkpoint).cloned();
        let kept = before.as_ref().filter(|h| h.contains_key("position".as_bytes()));
        let kept = kept.map(|h| Id { ms: number(h.get("at".as_bytes())), seq: number(h.get("position".as_bytes())) });
        if kept.is_some_and(|kept| kept.seq >= id.seq) {
            return Answer::Integer(0);
        }
        if self.full {
            return oom();
        }
        let hash = self.hashes.entry(checkpoint.clone()).or_default();
        for (name, value) in [("position", position), ("at", stamp), ("state", state)] {
            hash.insert(name.into(), value.clone());
        }
        self.note(at.now, Undo::Hash(checkpoint.clone(), before));
        happened.push(Happened::Kept { position: id.seq, state: state.clone() });
        if let Some(kept) = kept {
            self.trim(at.now, entries, kept);
        }
        Answer::Integer(1)
    }
}

fn restore<V>(map: &mut BTreeMap<Bytes, V>, key: Bytes, before: Option<V>) {
    match before {
        Some(value) => map.insert(key, value),
        None => map.remove(&key),
    };
}
