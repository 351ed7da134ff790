//! The stand-in of Redis: a host that speaks its protocol and knows the commands and scripts of the journal, and nothing
//! else. It can lose its newest writes, be flushed, full or slow, and its clock can be wrong. `tests/redis.rs` holds it
//! against a real one. Not here: replicas, persistence but as a delay, memory but as full or not, passwords, TLS.

pub mod data;
pub mod resp;

use super::journal::{Traps, When};
use super::truth::Truth;
use bytes::Bytes;
use data::{Data, Happened, Id, Known, Moment, Script};
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use resp::Answer;
use sha1::{Digest as _, Sha1};
use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::sync::watch;
use turmoil::net::TcpListener;

pub const PORT: u16 = 6379;
/// The one it is held against.
const VERSION: &str = "7.0.15";

const SCRIPTS: [(Script, &str); 3] = [
    (Script::Append, include_str!("../../../crates/dispatcher/src/journal/redis/append.lua")),
    (Script::Begin, include_str!("../../../crates/dispatcher/src/journal/redis/begin.lua")),
    (Script::Keep, include_str!("../../../crates/dispatcher/src/journal/redis/keep.lua")),
];

/// The server. What is in it outlives its host.
#[derive(Clone)]
pub struct Redis {
    inner: Arc<Mutex<Inner>>,
    /// Counts writes: whoever waits for news looks again.
    written: watch::Sender<u64>,
    /// Counts lives: connections end with the one they were made in.
    lives: watch::Sender<u64>,
    truth: Truth,
    traps: Traps,
}

struct Inner {
    data: Data,
    run_id: String,
    /// Of the data, now and before it was a replica.
    replid: [String; 2],
    known: Known,
    connections: i64,
    /// Its clock's deviation, in milliseconds.
    step: i64,
    /// Most milliseconds that a request takes.
    slow: u64,
    dice: ChaCha8Rng,
    /// Whose address it is.
    dispatchers: BTreeMap<IpAddr, usize>,
}

impl Inner {
    /// As it names what it cannot tell apart otherwise.
    fn name(&mut self) -> String {
        (0..40).map(|_| char::from(b"0123456789abcdef"[self.dice.random_range(0..16)])).collect()
    }
}

/// One client.
struct Client {
    id: i64,
    /// Of the protocol.
    version: u8,
    host: Option<usize>,
}

fn words(arguments: &[Bytes]) -> Vec<String> {
    arguments.iter().map(|a| String::from_utf8_lossy(a).to_ascii_uppercase()).collect()
}

fn number(text: &Bytes) -> Option<u64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

fn sha(text: &str) -> String {
    Sha1::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn syntax() -> Answer {
    Answer::Error("ERR syntax error".into())
}

impl Redis {
    #[must_use]
    pub fn new(truth: Truth, traps: Traps, dice: ChaCha8Rng) -> Redis {
        let inner = Inner {
            data: Data::default(),
            run_id: String::new(),
            replid: [String::new(), "0".repeat(40)],
            known: Known::new(),
            connections: 0,
            step: 0,
            slow: 0,
            dice,
            dispatchers: BTreeMap::new(),
        };
        let redis = Redis {
            inner: Arc::new(Mutex::new(inner)),
            written: watch::Sender::new(0),
            lives: watch::Sender::new(0),
            truth,
            traps,
        };
        redis.live();
        redis
    }

    fn locked(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Another process: it has a name of its own, and remembers neither scripts nor clients.
    fn live(&self) {
        let mut inner = self.locked();
        inner.run_id = inner.name();
        inner.replid = [inner.name(), "0".repeat(40)];
        inner.known.clear();
        drop(inner);
        self.lives.send_modify(|life| *life += 1);
    }

    /// The same process has been a replica for a moment, and was given the data of who was the primary.
    fn come_back(&self) {
        let mut inner = self.locked();
        let name = inner.name();
        let before = std::mem::replace(&mut inner.replid[0], name);
        inner.replid[1] = before;
        drop(inner);
        self.lives.send_modify(|life| *life += 1);
    }

    // ---- what happens to it ----

    pub fn knows(&self, address: IpAddr, dispatcher: usize) {
        self.locked().dispatchers.insert(address, dispatcher);
    }

    /// It has been restarted, or another has taken its place. What it was told in the last `newest` milliseconds is lost.
    pub fn restarts(&self, newest: u64) {
        self.lose(newest);
        self.live();
    }

    /// It was the primary, is it again, and has the data of who was it in between.
    pub fn returns(&self, newest: u64) {
        self.lose(newest);
        self.come_back();
    }

    fn lose(&self, newest: u64) {
        let now = self.truth.now();
        let mut inner = self.locked();
        let lost = inner.data.lose(now, newest);
        let position = inner.data.position();
        drop(inner);
        if lost {
            self.truth.count("journal entries lost");
            self.truth.rewound(position);
        }
    }

    /// Somebody deletes everything.
    pub fn flush(&self) {
        self.locked().data.flush();
        self.truth.rewound(0);
        self.written.send_modify(|count| *count += 1);
    }

    pub fn fill(&self, full: bool) {
        self.locked().data.full = full;
    }

    /// Each request takes up to this many milliseconds from now on.
    pub fn slow_down(&self, most: u64) {
        self.locked().slow = most;
    }

    /// Its clock is wrong by this from now on.
    pub fn step_clock(&self, by: i64) {
        self.locked().step = by;
    }

    // ---- what it answers ----

    /// Its host. Each start of it is another process.
    ///
    /// # Errors
    /// When nothing can be heard.
    pub async fn serve(self) -> io::Result<()> {
        let listener = TcpListener::bind(("0.0.0.0", PORT)).await?;
        loop {
            let (stream, peer) = listener.accept().await?;
            let redis = self.clone();
            // A client that is gone connects again.
            tokio::spawn(async move { redis.attend(stream, Some(peer.ip())).await });
        }
    }

    /// One connection, until either end closes it.
    ///
    /// # Errors
    /// When it breaks, or says what is no request.
    pub async fn attend(self, stream: impl AsyncRead + AsyncWrite + Unpin, peer: Option<IpAddr>) -> io::Result<()> {
        let mut over = self.lives.subscribe();
        let mut client = {
            let mut inner = self.locked();
            inner.connections += 1;
            let host = peer.and_then(|peer| inner.dispatchers.get(&peer).copied());
            Client { id: inner.connections, version: 2, host }
        };
        let mut stream = BufReader::new(stream);
        let conversation = async {
            while let Some(request) = resp::request(&mut stream).await? {
                let pause = {
                    let mut inner = self.locked();
                    let most = inner.slow;
                    if most > 0 { inner.dice.random_range(0..most) } else { 0 }
                };
                if pause > 0 {
                    tokio::time::sleep(Duration::from_millis(pause)).await;
                }
                let answer = self.answer(&request, &mut client).await;
                let mut text = Vec::new();
                answer.write(client.version, &mut text);
                stream.write_all(&text).await?;
                stream.flush().await?;
            }
            Ok(())
        };
        tokio::select! {
            biased;
            _ = over.changed() => Ok(()),
            ended = conversation => ended,
        }
    }

    async fn answer(&self, request: &[Bytes], client: &mut Client) -> Answer {
        let Some((name, arguments)) = request.split_first() else { return Answer::Error("ERR unknown command ''".into()) };
        let name = String::from_utf8_lossy(name).to_ascii_uppercase();
        match (name.as_str(), arguments) {
            ("PING", []) => Answer::Simple("PONG"),
            ("HELLO", arguments) => self.hello(arguments, client),
            ("SELECT", [_]) => Answer::Simple("OK"),
            ("CLIENT", arguments) => client_command(arguments, client),
            ("INFO", _) => self.info(),
            ("GET", [key]) => self.locked().data.get(key),
            ("HMGET", [key, fields @ ..]) => self.locked().data.hmget(key, fields),
            ("XLEN", [key]) => Answer::Integer(self.locked().data.length(key) as i64),
            ("XRANGE", [key, from, to, rest @ ..]) => self.range(key, from, to, rest, false),
            ("XREVRANGE", [key, to, from, rest @ ..]) => self.range(key, from, to, rest, true),
            ("XREAD", arguments) => self.read(arguments).await,
            ("FLUSHALL", []) => {
                self.flush();
                Answer::Simple("OK")
            }
            ("SCRIPT", [load, text]) if load.eq_ignore_ascii_case(b"LOAD") => match script_of(text) {
                Some(script) => {
                    self.locked().known.insert(script);
                    Answer::text(sha(&String::from_utf8_lossy(text)))
                }
                None => Answer::Error("ERR the stand-in knows the journal's scripts only".into()),
            },
            ("EVAL", [text, count, rest @ ..]) => match script_of(text) {
                Some(script) => {
                    self.locked().known.insert(script);
                    self.run(script, count, rest, client).await
                }
                None => Answer::Error("ERR the stand-in knows the journal's scripts only".into()),
            },
            ("EVALSHA", [hash, count, rest @ ..]) => {
                let hash = String::from_utf8_lossy(hash).to_ascii_lowercase();
                let script = SCRIPTS.iter().find(|(_, text)| sha(text) == hash).map(|(script, _)| *script);
                match script.filter(|script| self.locked().known.contains(script)) {
                    Some(script) => self.run(script, count, rest, client).await,
                    None => Answer::Error("NOSCRIPT No matching script. Please use EVAL.".into()),
                }
            }
            (_, rest) => {
                let rest: String = rest.iter().map(|a| format!("'{}' ", String::from_utf8_lossy(a))).collect();
                let name = request.first().map(|n| String::from_utf8_lossy(n)).unwrap_or_default();
                Answer::Error(format!("ERR unknown command '{name}', with args beginning with: {rest}"))
            }
        }
    }

    fn hello(&self, arguments: &[Bytes], client: &mut Client) -> Answer {
        if let Some(version) = arguments.first() {
            match number(version) {
                Some(version @ (2 | 3)) => client.version = version as u8,
                _ => return Answer::Error("NOPROTO unsupported protocol version".into()),
            }
        }
        let pair = |key: &'static str, value: Answer| (Answer::text(key), value);
        Answer::Map(vec![
            pair("server", Answer::text("redis")),
            pair("version", Answer::text(VERSION)),
            pair("proto", Answer::Integer(i64::from(client.version))),
            pair("id", Answer::Integer(client.id)),
            pair("mode", Answer::text("standalone")),
            pair("role", Answer::text("master")),
            pair("modules", Answer::Array(Vec::new())),
        ])
    }

    /// What is asked of it: which process it is, and that it is nobody's replica.
    fn info(&self) -> Answer {
        let inner = self.locked();
        let text = format!(
            "# Server\r\nredis_version:{VERSION}\r\nredis_mode:standalone\r\nrun_id:{}\r\ntcp_port:{PORT}\r\n\r\n\
             # Memory\r\nmaxmemory_policy:noeviction\r\n\r\n\
             # Replication\r\nrole:master\r\nconnected_slaves:0\r\nmaster_replid:{}\r\nmaster_replid2:{}\r\n",
            inner.run_id, inner.replid[0], inner.replid[1]
        );
        Answer::text(text)
    }

    fn range(&self, key: &Bytes, from: &Bytes, to: &Bytes, rest: &[Bytes], backwards: bool) -> Answer {
        let bound = |text: &Bytes, incomplete: u64| match &text[..] {
            b"-" => Ok(Id::default()),
            b"+" => Ok(Id { ms: u64::MAX, seq: u64::MAX }),
            _ => {
                let text = String::from_utf8_lossy(text);
                let (text, beyond) = text.strip_prefix('(').map_or((&*text, false), |rest| (rest, true));
                let id: Result<Id, String> = text.parse();
                id.map(|id| match (text.contains('-'), beyond, incomplete) {
                    (false, _, _) => Id { seq: incomplete, ..id },
                    (true, true, 0) => Id { seq: id.seq + 1, ..id },
                    (true, true, _) => Id { seq: id.seq.saturating_sub(1), ..id },
                    (true, false, _) => id,
                })
            }
        };
        let most = match rest {
            [] => usize::MAX,
            [count, most] if count.eq_ignore_ascii_case(b"COUNT") => number(most).unwrap_or_default() as usize,
            _ => return syntax(),
        };
        match (bound(from, 0), bound(to, u64::MAX)) {
            (Ok(from), Ok(to)) => self.locked().data.range(key, from, to, backwards, most),
            (Err(what), _) | (_, Err(what)) => Answer::Error(what),
        }
    }

    /// `[COUNT n] [BLOCK ms] STREAMS key id`
    async fn read(&self, arguments: &[Bytes]) -> Answer {
        let (mut most, mut block, mut rest) = (usize::MAX, None, arguments);
        let (key, after) = loop {
            rest = match rest {
                [word, value, rest @ ..] if word.eq_ignore_ascii_case(b"COUNT") => {
                    most = number(value).unwrap_or_default() as usize;
                    rest
                }
                [word, value, rest @ ..] if word.eq_ignore_ascii_case(b"BLOCK") => {
                    block = number(value);
                    rest
                }
                [word, key, after] if word.eq_ignore_ascii_case(b"STREAMS") => break (key, after),
                _ => return syntax(),
            };
        };
        let mut written = self.written.subscribe();
        let after = match &after[..] {
            b"$" => self.locked().data.last(key),
            _ => match String::from_utf8_lossy(after).parse() {
                Ok(id) => id,
                Err(what) => return Answer::Error(what),
            },
        };
        let found = async {
            loop {
                written.borrow_and_update();
                if let Some(entries) = self.locked().data.after(key, after, most) {
                    return entries;
                }
                if block.is_none() || written.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        };
        let patience = match block {
            None => Duration::ZERO,
            Some(0) => Duration::from_secs(86_400),
            Some(ms) => Duration::from_millis(ms),
        };
        match tokio::time::timeout(patience, found).await {
            Ok(entries) => Answer::Map(vec![(Answer::Text(key.clone()), entries)]),
            Err(_) => Answer::NoArray,
        }
    }

    async fn run(&self, script: Script, count: &Bytes, rest: &[Bytes], client: &Client) -> Answer {
        let count = number(count).unwrap_or(u64::MAX) as usize;
        let Some((keys, argv)) = rest.split_at_checked(count) else {
            return Answer::Error("ERR Number of keys can't be greater than number of args".into());
        };
        let caught = client.host.filter(|_| script == Script::Append).and_then(|host| self.traps.springs(host));
        if caught == Some(When::Before) {
            return std::future::pending().await;
        }
        let answer = self.perform(script, keys, argv, client);
        if caught.is_some() {
            return std::future::pending().await;
        }
        answer
    }

    /// In one step, as scripts are.
    fn perform(&self, script: Script, keys: &[Bytes], argv: &[Bytes], client: &Client) -> Answer {
        let mut happened = Vec::new();
        let mut inner = self.locked();
        let clock = (self.truth.wall().0 as i64 + inner.step) as u64;
        let moment = Moment { now: self.truth.now(), clock };
        let answer = inner.data.run(script, keys, argv, moment, &mut happened);
        drop(inner);
        if let Answer::Error(what) = &answer {
            self.truth.count(format!("journal says {}", what.split(' ').next().unwrap_or_default()));
        }
        for what in happened {
            match what {
                Happened::Taken { position, at, draft } => self.taken(position, at, &draft, client.host),
                Happened::Kept { position, state } => self.truth.kept(position, &state),
            }
        }
        self.written.send_modify(|count| *count += 1);
        answer
    }

    fn taken(&self, position: u64, at: u64, draft: &Bytes, host: Option<usize>) {
        let Some(entry) = super::journal::entry(at, draft) else {
            return self.truth.violate("the journal can be read", String::from_utf8_lossy(draft).into_owned());
        };
        if let Some(host) = host.filter(|_| entry.number > 0) {
            self.truth.lives_as(host, entry.from);
        }
        self.truth.journalled(position, &entry);
    }
}

fn script_of(text: &Bytes) -> Option<Script> {
    SCRIPTS.iter().find(|(_, known)| known.as_bytes() == &text[..]).map(|(script, _)| *script)
}

fn client_command(arguments: &[Bytes], client: &Client) -> Answer {
    let words = words(arguments);
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["SETNAME", _] => Answer::Simple("OK"),
        ["ID"] => Answer::Integer(client.id),
        [other, ..] => {
            Answer::Error(format!("ERR unknown subcommand '{other}'. Try CLIENT HELP."))
        }
        [] => Answer::Error("ERR wrong number of arguments for 'client' command".into()),
    }
}
