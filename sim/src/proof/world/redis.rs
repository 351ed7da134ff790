//! A stand-in for Redis: a host that speaks its protocol (RESP2) and supports only what the journal uses (listed at
//! the top of the dispatcher's `journal/redis.rs`). It can lose its newest writes, be flushed, full or slow, and its
//! clock can be wrong. `tests/redis.rs` compares it with a real Redis. Not modelled: replicas, persistence except as
//! a delay, memory except as full or not, passwords, TLS, other databases.

pub mod data;
pub mod resp;

use super::journal::{Traps, When};
use super::oracle::Oracle;
use bytes::Bytes;
use data::{Data, Happened, Id, Moment, Script};
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use resp::Answer;
use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::sync::watch;
use turmoil::net::TcpListener;

pub const PORT: u16 = 6379;
/// The version it is compared with.
const VERSION: &str = "7.0.15";

const SCRIPTS: [(Script, &str); 3] = [
    (Script::Append, include_str!("../../../../crates/dispatcher/src/journal/redis/append.lua")),
    (Script::Begin, include_str!("../../../../crates/dispatcher/src/journal/redis/begin.lua")),
    (Script::Keep, include_str!("../../../../crates/dispatcher/src/journal/redis/keep.lua")),
];

/// The server. Its content outlives its host.
#[derive(Clone)]
pub struct Redis {
    inner: Arc<Mutex<Inner>>,
    /// Counts writes: blocked readers look again.
    written: watch::Sender<u64>,
    /// Counts lives: connections end with the life in which they were made.
    lives: watch::Sender<u64>,
    oracle: Oracle,
    traps: Traps,
}

struct Inner {
    data: Data,
    run_id: String,
    /// The replication ids of the data: the current one, and the one before it was a replica.
    replid: [String; 2],
    /// The clock skew, in milliseconds.
    step: i64,
    /// Maximum duration of a request, in milliseconds.
    slow: u64,
    dice: ChaCha8Rng,
    /// The dispatcher at each address.
    dispatchers: BTreeMap<IpAddr, usize>,
}

impl Inner {
    /// Returns a random name, as Redis uses for its run and replication ids.
    fn name(&mut self) -> String {
        (0..40).map(|_| char::from(b"0123456789abcdef"[self.dice.random_range(0..16)])).collect()
    }
}

fn number(text: &Bytes) -> Option<u64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

fn syntax() -> Answer {
    Answer::Error("ERR syntax error".into())
}

impl Redis {
    #[must_use]
    pub fn new(oracle: Oracle, traps: Traps, dice: ChaCha8Rng) -> Redis {
        let inner = Inner {
            data: Data::default(),
            run_id: String::new(),
            replid: [String::new(), "0".repeat(40)],
            step: 0,
            slow: 0,
            dice,
            dispatchers: BTreeMap::new(),
        };
        let redis = Redis {
            inner: Arc::new(Mutex::new(inner)),
            written: watch::Sender::new(0),
            lives: watch::Sender::new(0),
            oracle,
            traps,
        };
        redis.live();
        redis
    }

    fn locked(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts another process, with its own name and no clients.
    fn live(&self) {
        let mut inner = self.locked();
        inner.run_id = inner.name();
        inner.replid = [inner.name(), "0".repeat(40)];
        drop(inner);
        self.lives.send_modify(|life| *life += 1);
    }

    /// The same process was briefly a replica, and received the data of the server that was the primary.
    fn come_back(&self) {
        let mut inner = self.locked();
        let name = inner.name();
        let before = std::mem::replace(&mut inner.replid[0], name);
        inner.replid[1] = before;
        drop(inner);
        self.lives.send_modify(|life| *life += 1);
    }

    // ---- faults ----

    pub fn knows(&self, address: IpAddr, dispatcher: usize) {
        self.locked().dispatchers.insert(address, dispatcher);
    }

    /// The server is restarted or replaced. Its writes of the last `newest` milliseconds are lost.
    pub fn restarts(&self, newest: u64) {
        self.lose(newest);
        self.live();
    }

    /// The server was the primary, is the primary again, and has the data of the server that was it meanwhile.
    pub fn returns(&self, newest: u64) {
        self.lose(newest);
        self.come_back();
    }

    fn lose(&self, newest: u64) {
        let now = self.oracle.now();
        let mut inner = self.locked();
        let lost = inner.data.lose(now, newest);
        let position = inner.data.position();
        drop(inner);
        if lost {
            self.oracle.count("journal entries lost");
            self.oracle.rewound(position);
        }
    }

    /// An operator deletes everything.
    pub fn flush(&self) {
        self.locked().data.flush();
        self.oracle.rewound(0);
        self.written.send_modify(|count| *count += 1);
    }

    pub fn fill(&self, full: bool) {
        self.locked().data.full = full;
    }

    /// From now on, each request takes up to this many milliseconds.
    pub fn slow_down(&self, most: u64) {
        self.locked().slow = most;
    }

    /// From now on, the clock is wrong by this much.
    pub fn step_clock(&self, by: i64) {
        self.locked().step = by;
    }

    // ---- requests ----

    /// Runs its host. Each start of it is another process.
    ///
    /// # Errors
    /// If it cannot listen.
    pub async fn serve(self) -> io::Result<()> {
        let listener = TcpListener::bind(("0.0.0.0", PORT)).await?;
        loop {
            let (stream, peer) = listener.accept().await?;
            let redis = self.clone();
            // A disconnected client connects again.
            tokio::spawn(async move { redis.attend(stream, Some(peer.ip())).await });
        }
    }

    /// Serves one connection, until either end closes it.
    ///
    /// # Errors
    /// If it breaks, or receives something that is not a request.
    pub async fn attend(self, stream: impl AsyncRead + AsyncWrite + Unpin, peer: Option<IpAddr>) -> io::Result<()> {
        let mut over = self.lives.subscribe();
        let host = peer.and_then(|peer| self.locked().dispatchers.get(&peer).copied());
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
                let mut text = Vec::new();
                self.answer(&request, host).await.write(&mut text);
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

    async fn answer(&self, request: &[Bytes], host: Option<usize>) -> Answer {
        let Some((name, arguments)) = request.split_first() else { return syntax() };
        let name = String::from_utf8_lossy(name).to_ascii_uppercase();
        match (name.as_str(), arguments) {
            ("INFO", _) => self.info(),
            ("GET", [key]) => self.locked().data.get(key),
            ("HMGET", [key, fields @ ..]) => {
                let answer = self.locked().data.hmget(key, fields);
                if fields.iter().any(|f| &f[..] == b"state")
                    && matches!(&answer, Answer::Array(a) if !a.contains(&Answer::Nothing))
                {
                    self.oracle.count("checkpoint restored");
                }
                answer
            }
            ("XRANGE", [key, from, to]) => self.range(key, from, to),
            ("XREAD", arguments) => self.read(arguments).await,
            ("EVAL", [text, count, rest @ ..]) => {
                match SCRIPTS.iter().find(|(_, known)| known.as_bytes() == &text[..]) {
                    Some((script, _)) => self.run(*script, count, rest, host).await,
                    None => Answer::Error("ERR the stand-in knows the journal's scripts only".into()),
                }
            }
            ("FLUSHALL", []) => {
                self.flush();
                Answer::Simple("OK")
            }
            // Commands that an operator may run on the journal's keys by hand.
            ("XADD" | "XTRIM" | "XDEL" | "DEL" | "SET" | "HSET", arguments) => {
                let now = self.oracle.now();
                let answer = self.locked().data.meddle(&name, arguments, now);
                self.written.send_modify(|count| *count += 1);
                answer
            }
            _ => Answer::Error(format!("ERR the stand-in does not know {name} with {} arguments", arguments.len())),
        }
    }

    /// Answers `INFO`: which process it is, and that it is not a replica.
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

    fn range(&self, key: &Bytes, from: &Bytes, to: &Bytes) -> Answer {
        let id = |text: &Bytes| String::from_utf8_lossy(text).parse::<Id>();
        match (id(from), id(to)) {
            (Ok(from), Ok(to)) => self.locked().data.range(key, from, to),
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
        let after = match String::from_utf8_lossy(after).parse() {
            Ok(id) => id,
            Err(what) => return Answer::Error(what),
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
            Ok(entries) => Answer::Array(vec![Answer::Array(vec![Answer::Text(key.clone()), entries])]),
            Err(_) => Answer::NoArray,
        }
    }

    async fn run(&self, script: Script, count: &Bytes, rest: &[Bytes], host: Option<usize>) -> Answer {
        let count = number(count).unwrap_or(u64::MAX) as usize;
        let Some((keys, argv)) = rest.split_at_checked(count) else {
            return Answer::Error("ERR Number of keys can't be greater than number of args".into());
        };
        let caught = host.filter(|_| script == Script::Append).and_then(|host| self.traps.springs(host));
        if caught == Some(When::Before) {
            return std::future::pending().await;
        }
        let answer = self.perform(script, keys, argv, host);
        if caught.is_some() {
            return std::future::pending().await;
        }
        answer
    }

    /// Runs a script atomically.
    fn perform(&self, script: Script, keys: &[Bytes], argv: &[Bytes], host: Option<usize>) -> Answer {
        let mut happened = Vec::new();
        let mut inner = self.locked();
        let clock = (self.oracle.wall().0 as i64 + inner.step) as u64;
        let moment = Moment { now: self.oracle.now(), clock };
        let answer = inner.data.run(script, keys, argv, moment, &mut happened);
        drop(inner);
        if let Answer::Error(what) = &answer {
            self.oracle.count(format!("journal returns {}", what.split(' ').next().unwrap_or_default()));
        }
        for what in happened {
            match what {
                Happened::Taken { position, at, draft } => self.taken(position, at, &draft, host),
                Happened::Kept { position, state } => self.oracle.kept(position, &state),
            }
        }
        self.written.send_modify(|count| *count += 1);
        answer
    }

    fn taken(&self, position: u64, at: u64, draft: &Bytes, host: Option<usize>) {
        let Some(entry) = super::journal::entry(at, draft) else {
            return self.oracle.violate("the journal can be read", String::from_utf8_lossy(draft).into_owned());
        };
        if let Some(host) = host.filter(|_| entry.number > 0) {
            self.oracle.lives_as(host, entry.from);
        }
        self.oracle.journalled(position, &entry);
    }
}
