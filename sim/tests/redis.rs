//! Compares the Redis stand-in with a real one: the same requests, the same answers. (Debian: `redis-server`.)

mod generated;

use slotkeeper_sim::chance::Chance;
use slotkeeper_sim::proof::world::journal::Traps;
use slotkeeper_sim::proof::world::oracle::Oracle;
use slotkeeper_sim::proof::world::redis::Redis;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const APPEND: &str = include_str!("../../crates/dispatcher/src/journal/redis/append.lua");
const BEGIN: &str = include_str!("../../crates/dispatcher/src/journal/redis/begin.lua");
const KEEP: &str = include_str!("../../crates/dispatcher/src/journal/redis/keep.lua");
const ENTRIES: &str = "{journal}:entries";
const LIFE: &str = "{journal}:life";
const CHECKPOINT: &str = "{journal}:checkpoint";

/// An answer of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Said {
    Word(String),
    Error(String),
    Number(i64),
    Text(String),
    Nothing,
    All(Vec<Said>),
}

impl Said {
    fn all(&self) -> &[Said] {
        if let Said::All(all) = self { all } else { &[] }
    }

    fn text(&self) -> &str {
        if let Said::Text(text) = self { text } else { "" }
    }

    /// Removes everything that depends on the clock.
    fn timeless(&self) -> Said {
        match self {
            Said::Text(text) => Said::Text(timeless(text)),
            Said::All(all) => Said::All(all.iter().map(Said::timeless).collect()),
            // A real server adds the position in the script.
            Said::Error(what) if what.starts_with("OOM ") => Said::Error("OOM".into()),
            Said::Word(_) | Said::Error(_) | Said::Number(_) | Said::Nothing => self.clone(),
        }
    }
}

fn timeless(text: &str) -> String {
    let is_time = |word: &&str| word.len() == 13 && word.bytes().all(|b| b.is_ascii_digit());
    let words = text.split_inclusive(|c: char| !c.is_ascii_digit());
    let shown = words.map(|word| {
        let digits = word.trim_end_matches(|c: char| !c.is_ascii_digit());
        if is_time(&digits) { word.replace(digits, "TIME") } else { word.to_owned() }
    });
    shown.collect()
}

struct Client(BufReader<UnixStream>);

impl Client {
    fn new(socket: &Path) -> Client {
        let begun = Instant::now();
        loop {
            match UnixStream::connect(socket) {
                Ok(stream) => return Client(BufReader::new(stream)),
                Err(error) => assert!(begun.elapsed() < Duration::from_secs(10), "{}: {error}", socket.display()),
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn send(&mut self, request: &[&str]) {
        let mut text = format!("*{}\r\n", request.len());
        for word in request {
            text += &format!("${}\r\n{word}\r\n", word.len());
        }
        self.0.get_mut().write_all(text.as_bytes()).expect("the server listens");
    }

    fn hear(&mut self) -> Said {
        let mut line = String::new();
        self.0.read_line(&mut line).expect("the server answers");
        let (kind, rest) = line.trim_end().split_at_checked(1).expect("a line");
        let number = || rest.parse::<i64>().expect("a number");
        match kind {
            "+" => Said::Word(rest.to_owned()),
            "-" => Said::Error(rest.to_owned()),
            ":" => Said::Number(number()),
            "$" | "*" if number() < 0 => Said::Nothing,
            "$" => {
                let mut text = vec![0; number() as usize + 2];
                self.0.read_exact(&mut text).expect("all of it");
                Said::Text(String::from_utf8_lossy(&text[..text.len() - 2]).into_owned())
            }
            "*" => Said::All((0..number()).map(|_| self.hear()).collect()),
            _ => panic!("{line:?} is not an answer"),
        }
    }

    fn ask(&mut self, request: &[&str]) -> Said {
        self.send(request);
        self.hear()
    }
}

fn draft(number: u32) -> String {
    format!(r#"{{"v":1,"from":7,"number":{number},"pool":"arcade","command":"Tick"}}"#)
}

const LAPSE: &str = r#"{"v":1,"from":0,"number":0,"pool":"","command":{"Lapse":{"patience":0}}}"#;

/// Sends requests, and records the answers.
struct Exercise {
    client: Client,
    heard: Vec<(String, Said)>,
}

impl Exercise {
    fn ask(&mut self, what: &str, request: &[&str]) -> Said {
        let said = self.client.ask(request);
        self.heard.push((what.to_owned(), said.timeless()));
        said
    }

    /// Reads all data. Returns the ids of the entries.
    fn look(&mut self, what: &str) -> Vec<String> {
        let entries = self.ask(what, &["XREAD", "COUNT", "256", "STREAMS", ENTRIES, "0-0"]);
        self.ask(what, &["HMGET", CHECKPOINT, "position", "at", "state"]);
        self.ask(what, &["GET", LIFE]);
        let entries = entries.all().first().map(|stream| stream.all()[1].all().to_vec()).unwrap_or_default();
        entries.iter().map(|entry| entry.all()[0].text().to_owned()).collect()
    }

    /// Begins a life, and returns it.
    fn begin(&mut self, what: &str, server: &str, doubted: &str) -> String {
        let said = self.ask(what, &["EVAL", BEGIN, "3", ENTRIES, LIFE, CHECKPOINT, server, LAPSE, doubted]);
        said.all().first().map(|life| life.text().to_owned()).unwrap_or_default()
    }

    fn append(&mut self, what: &str, life: &str, drafts: &[String]) {
        let drafts = drafts.iter().map(String::as_str);
        let request: Vec<&str> = ["EVAL", APPEND, "2", ENTRIES, LIFE, life].into_iter().chain(drafts).collect();
        self.ask(what, &request);
    }

    fn keep(&mut self, what: &str, life: &str, id: &str, state: &str) {
        let (at, position) = id.split_once('-').unwrap_or_default();
        self.ask(what, &["EVAL", KEEP, "3", ENTRIES, LIFE, CHECKPOINT, life, position, at, state]);
    }
}

/// Sends every kind of request that a journal sends, in good and bad states. `full`: the server is out of memory.
fn exercise(socket: &Path, full: &dyn Fn(bool)) -> Vec<(String, Said)> {
    let mut e = Exercise { client: Client::new(socket), heard: Vec::new() };
    let drafts: Vec<String> = (1..=5).map(draft).collect();
    e.look("empty");
    e.ask("no entry arrives", &["XREAD", "COUNT", "2", "BLOCK", "30", "STREAMS", ENTRIES, "0-0"]);
    e.ask("nothing there", &["XRANGE", ENTRIES, "1-1", "1-1"]);
    e.ask("no id", &["XRANGE", ENTRIES, "x", "1-1"]);
    e.append("append without a life", "s/1-1", &drafts);

    let first = e.begin("begin", "s1", "");
    e.begin("begin again", "s1", "");
    e.begin("begin on another server", "s2", "");
    let second = e.begin("a later one finds it begun", "s2", &first);
    let life = e.begin("begin after a suspected loss", "s2", &second);
    e.append("append", &life, &drafts);
    e.append("append nothing", &life, &[]);
    e.append("append in a life that has ended", &first, &drafts);
    let ids = e.look("written");
    let last = ids[ids.len() - 1].as_str();
    for after in ["0-0", "0", &ids[2], last] {
        e.ask("read on", &["XREAD", "COUNT", "2", "BLOCK", "30", "STREAMS", ENTRIES, after]);
    }
    e.ask("one entry", &["XRANGE", ENTRIES, &ids[3], &ids[3]]);
    e.ask("the wrong way round", &["XRANGE", ENTRIES, &ids[3], &ids[2]]);

    // One client waits while another writes.
    let mut waiting = Client::new(socket);
    waiting.send(&["XREAD", "COUNT", "256", "BLOCK", "5000", "STREAMS", ENTRIES, last]);
    std::thread::sleep(Duration::from_millis(50));
    e.append("append meanwhile", &life, &[draft(6)]);
    let woken = waiting.hear().timeless();
    e.heard.push(("the waiting client is woken".into(), woken));

    e.keep("keep what is not there", &life, "1767600000000-77", "{}");
    e.keep("keep in a life that has ended", &first, &ids[3], "{}");
    e.keep("keep", &life, &ids[3], "{}");
    e.keep("keep again", &life, &ids[3], "{}");
    e.keep("keep an older one", &life, &ids[2], "{}");
    e.keep("keep a newer one", &life, &ids[5], "{1}");
    e.look("kept");
    e.ask("a trimmed entry", &["XRANGE", ENTRIES, &ids[1], &ids[1]]);

    full(true);
    e.append("append to a full one", &life, &drafts);
    e.begin("begin on a full one", "s3", "");
    e.keep("keep in a full one", &life, &ids[6], "{2}");
    e.look("full");
    full(false);
    e.append("append when it is no longer full", &life, &drafts);

    e.ask("flush", &["FLUSHALL"]);
    e.append("append to a flushed one", &life, &drafts);
    e.look("flushed");
    e.begin("begin after a flush", "s2", "");
    e.look("begun");
    e.heard
}

/// Checks what a client looks for in INFO.
fn introduces_itself(socket: &Path) {
    let mut client = Client::new(socket);
    let info: String = ["server", "replication", "memory"]
        .iter()
        .map(|section| client.ask(&["INFO", section]).text().to_owned())
        .collect();
    let says = |key: &str| {
        let line = info.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':')).unwrap_or_default();
        line.to_owned()
    };
    assert_eq!(says("run_id").len(), 40, "{info}");
    assert_eq!(says("master_replid").len(), 40, "{info}");
    assert_eq!(says("master_replid2"), "0".repeat(40));
    assert_eq!((says("role"), says("maxmemory_policy")), ("master".into(), "noeviction".into()));
}

struct Real(Child, PathBuf);

impl Real {
    fn start(name: &str) -> Real {
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("redis-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        let socket = folder.join("s");
        let child = Command::new("redis-server")
            .args(["--port", "0", "--save", "", "--appendonly", "no", "--unixsocket"])
            .arg(&socket)
            .current_dir(&folder)
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server is installed");
        Real(child, folder)
    }
}

impl Drop for Real {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
        let _ = std::fs::remove_dir_all(&self.1);
    }
}

#[test]
fn the_stand_in_answers_like_a_real_redis() {
    let real = Real::start("exercise");
    let socket = real.1.join("s");
    introduces_itself(&socket);
    let theirs = exercise(&socket, &|full| fill(&socket, full));

    let own = real.1.join("o");
    let redis = stand_in(&own);
    introduces_itself(&own);
    let ours = exercise(&own, &|full| redis.fill(full));
    assert!(theirs.len() > 45, "only {} answers", theirs.len());
    assert_eq!(ours.len(), theirs.len());
    for ((what, ours), (_, theirs)) in ours.iter().zip(&theirs) {
        assert_eq!(ours, theirs, "{what}");
    }
}

/// Makes a real server run out of memory, or gives it some again.
fn fill(socket: &Path, full: bool) {
    let most = if full { "1" } else { "0" };
    assert_eq!(Client::new(socket).ask(&["CONFIG", "SET", "maxmemory", most]), Said::Word("OK".into()));
}

/// Serves the stand-in at this socket.
fn stand_in(own: &Path) -> Redis {
    let redis = Redis::new(Oracle::new(), Traps::default(), Chance::new(1).stream("redis"));
    let (server, at) = (redis.clone(), own.to_owned());
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let listener = tokio::net::UnixListener::bind(at).expect("a socket");
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(server.clone().attend(stream, None));
            }
        });
    });
    redis
}
