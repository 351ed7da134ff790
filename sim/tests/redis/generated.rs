//! Random histories of a journal in Redis: the real server, which runs the Lua scripts, and the stand-in get the same
//! requests, and must give the same answers and hold the same data after each of them. A difference is printed with
//! all preceding requests.

use super::{APPEND, BEGIN, CHECKPOINT, Client, ENTRIES, KEEP, LAPSE, LIFE, Real, Said, draft, fill, stand_in};
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use slotkeeper_sim::chance::Chance;
use std::time::Duration;

const HISTORIES: u64 = 150;
const STEPS: u64 = 40;
/// Later than any clock: tests the journal after a clock that was ahead has been set back.
const AHEAD: u64 = 9_000_000_000_000_000;

/// One request, in terms that both servers share: lives and entries by their number.
#[derive(Clone, Debug)]
enum Step {
    Append {
        life: Name,
        drafts: u32,
    },
    Begin {
        server: u32,
        doubted: Name,
    },
    Keep {
        life: Name,
        entry: Name,
        state: u32,
    },
    Read {
        after: Name,
        count: u32,
    },
    Range {
        from: Name,
        to: Name,
    },
    Trim(Name),
    DeleteEntry(Name),
    Delete(&'static str),
    Flush,
    /// An entry written by a clock that is ahead.
    Ahead {
        ms: u64,
        seq: u64,
    },
    OtherLife(u32),
    OtherCheckpoint {
        position: u64,
        at: u64,
    },
    Fill(bool),
}

#[derive(Clone, Debug)]
enum Name {
    Nothing,
    /// A name that was never assigned.
    Unknown,
    Known(usize),
    Newest,
}

impl Name {
    fn draw(dice: &mut ChaCha8Rng) -> Name {
        match dice.random_range(0..10) {
            0 => Name::Nothing,
            1 => Name::Unknown,
            2..=4 => Name::Known(dice.random_range(0..12)),
            _ => Name::Newest,
        }
    }

    fn of<'a>(&self, known: &'a [String], unknown: &'a str) -> &'a str {
        let found = match self {
            Name::Nothing => Some(""),
            Name::Unknown => None,
            Name::Known(number) => known.get(*number).map(String::as_str),
            Name::Newest => known.last().map(String::as_str),
        };
        found.unwrap_or(unknown)
    }
}

impl Step {
    fn draw(dice: &mut ChaCha8Rng) -> Step {
        let mut name = || Name::draw(dice);
        let (first, second) = (name(), name());
        match dice.random_range(0..100) {
            0..=27 => Step::Append { life: first, drafts: dice.random_range(0..4) },
            28..=47 => Step::Begin { server: dice.random_range(1..4), doubted: first },
            48..=67 => Step::Keep { life: first, entry: second, state: dice.random_range(0..9) },
            68..=71 => Step::Read { after: first, count: dice.random_range(1..4) },
            72..=75 => Step::Range { from: first, to: second },
            76..=78 => Step::Trim(first),
            79..=82 => Step::DeleteEntry(first),
            83..=85 => Step::Delete([ENTRIES, LIFE, CHECKPOINT][dice.random_range(0..3)]),
            86 => Step::Flush,
            87..=89 => Step::Ahead { ms: AHEAD + dice.random_range(0..5), seq: dice.random_range(1..30) },
            90..=91 => Step::OtherLife(dice.random_range(1..4)),
            92..=93 => {
                let at = [1, AHEAD + 2][dice.random_range(0..2)];
                Step::OtherCheckpoint { position: dice.random_range(1..40), at }
            }
            _ => Step::Fill(dice.random_ratio(1, 3)),
        }
    }
}

/// A server, and the names that it has assigned.
struct Server {
    client: Client,
    lives: Vec<String>,
    entries: Vec<String>,
}

impl Server {
    fn new(client: Client) -> Server {
        Server { client, lives: Vec::new(), entries: Vec::new() }
    }

    fn take(&mut self, step: &Step) -> Said {
        let Server { client, lives, entries } = self;
        let life = |name: &Name| name.of(lives, "s9/1-1").to_owned();
        // Ids are never empty.
        let entry =
            |name: &Name| Some(name.of(entries, "77-77")).filter(|id| !id.is_empty()).unwrap_or("0-1").to_owned();
        match step {
            Step::Append { life: name, drafts } => {
                let (life, drafts): (_, Vec<String>) = (life(name), (1..=*drafts).map(draft).collect());
                let drafts = drafts.iter().map(String::as_str);
                client.ask(&["EVAL", APPEND, "2", ENTRIES, LIFE, &life].into_iter().chain(drafts).collect::<Vec<_>>())
            }
            Step::Begin { server, doubted } => {
                let (server, doubted) = (format!("s{server}"), life(doubted));
                let said = client.ask(&["EVAL", BEGIN, "3", ENTRIES, LIFE, CHECKPOINT, &server, LAPSE, &doubted]);
                if let Some(life) = said.all().first() {
                    lives.push(life.text().to_owned());
                }
                said
            }
            Step::Keep { life: name, entry: at, state } => {
                let (life, id, state) = (life(name), entry(at), format!("{{{state}}}"));
                let (ms, seq) = id.split_once('-').expect("an id");
                client.ask(&["EVAL", KEEP, "3", ENTRIES, LIFE, CHECKPOINT, &life, seq, ms, &state])
            }
            Step::Read { after, count } => {
                client.ask(&["XREAD", "COUNT", &count.to_string(), "STREAMS", ENTRIES, &entry(after)])
            }
            Step::Range { from, to } => client.ask(&["XRANGE", ENTRIES, &entry(from), &entry(to)]),
            Step::Trim(least) => client.ask(&["XTRIM", ENTRIES, "MINID", &entry(least)]),
            Step::DeleteEntry(at) => client.ask(&["XDEL", ENTRIES, &entry(at)]),
            Step::Delete(key) => client.ask(&["DEL", key]),
            Step::Flush => client.ask(&["FLUSHALL"]),
            Step::Ahead { ms, seq } => client.ask(&["XADD", ENTRIES, &format!("{ms}-{seq}"), "entry", &draft(99)]),
            Step::OtherLife(server) => client.ask(&["SET", LIFE, &format!("s{server}/5-5")]),
            Step::OtherCheckpoint { position, at } => {
                let (position, at) = (position.to_string(), at.to_string());
                client.ask(&["HSET", CHECKPOINT, "position", &position, "at", &at, "state", "{0}"])
            }
            Step::Fill(_) => Said::Nothing,
        }
    }

    /// Reads all data.
    fn look(&mut self) -> [Said; 3] {
        let all = self.client.ask(&["XRANGE", ENTRIES, "0-0", "9999999999999999-9999999"]);
        self.entries = all.all().iter().map(|entry| entry.all()[0].text().to_owned()).collect();
        let kept = self.client.ask(&["HMGET", CHECKPOINT, "position", "at", "state"]);
        [all, kept, self.client.ask(&["GET", LIFE])].map(|said| said.timeless())
    }
}

/// Removes the position in the script, which only the real server reports in its errors.
fn plain(said: Said) -> Said {
    match said.timeless() {
        Said::Error(what) if what.starts_with("ERR ") => Said::Error("ERR".into()),
        said @ (Said::Word(_) | Said::Error(_) | Said::Number(_) | Said::Text(_) | Said::Nothing | Said::All(_)) => {
            said
        }
    }
}

#[test]
fn random_histories_are_the_same_on_both_servers() {
    let real = Real::start("generated");
    let (socket, own) = (real.1.join("s"), real.1.join("o"));
    let redis = stand_in(&own);
    let mut seen = std::collections::BTreeMap::<String, u32>::new();
    for history in 0..HISTORIES {
        let mut dice = Chance::new(history).stream("redis histories");
        let (mut theirs, mut ours) = (Server::new(Client::new(&socket)), Server::new(Client::new(&own)));
        let mut steps = Vec::new();
        fill(&socket, false);
        redis.fill(false);
        for server in [&mut theirs, &mut ours] {
            server.take(&Step::Flush);
        }
        for moment in 1..=STEPS {
            // A life is named after its first entry's time and position, so both clocks move.
            std::thread::sleep(Duration::from_millis(1));
            redis.step_clock((history * STEPS + moment) as i64);
            let step = Step::draw(&mut dice);
            steps.push(step.clone());
            if let Step::Fill(full) = step {
                fill(&socket, full);
                redis.fill(full);
            }
            let (their_word, our_word) = (plain(theirs.take(&step)), plain(ours.take(&step)));
            assert_eq!(our_word, their_word, "history {history}: {steps:#?}");
            assert_eq!(ours.look(), theirs.look(), "history {history}: the data after {steps:#?}");
            let kind = format!("{step:?}").split([' ', '(']).next().unwrap_or_default().to_owned();
            let word = match &their_word {
                Said::Error(what) => what.split(' ').next().unwrap_or_default().to_owned(),
                Said::Number(number) => format!("{}", (*number).min(1)),
                Said::All(all) => format!("{} of them", all.len().min(2)),
                Said::Word(_) | Said::Text(_) | Said::Nothing => "done".to_owned(),
            };
            *seen.entry(format!("{kind}: {word}")).or_default() += 1;
        }
    }
    for what in [
        "Append: 1",
        "Append: LAPSED",
        "Append: OOM",
        "Append: ERR",
        "Begin: 2 of them",
        "Begin: OOM",
        "Begin: ERR",
        "Keep: 0",
        "Keep: 1",
        "Keep: LAPSED",
        "Keep: OOM",
        "Trim: 1",
        "DeleteEntry: 1",
        "Ahead: done",
    ] {
        assert!(seen.contains_key(what), "{what} never occurs; there are {seen:?}");
    }
}
