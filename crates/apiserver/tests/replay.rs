//! Replays a transcript's requests against this server, at their times (tokio's, paused), and compares every answer and
//! every line of every watch. Scheduler, kubelet and operators act at the recorded times; the recorded actions of the API
//! server and the StatefulSet controller must happen by themselves.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;
use slotkeeper_apiserver::{Server, Store, controllers};
use tokio::time::{Instant, sleep_until};

use crate::client;
use crate::compare::{Names, compare};

#[derive(Deserialize)]
pub(crate) struct Transcript {
    pub exchanges: Vec<Exchange>,
}

#[derive(Deserialize, Clone)]
pub(crate) struct Exchange {
    pub name: String,
    pub at_ms: u64,
    pub request: Asked,
    pub response: Answered,
}

#[derive(Deserialize, Clone)]
pub(crate) struct Asked {
    pub method: String,
    pub path: String,
    pub headers: BTreeMap<String, String>,
    pub body: Option<String>,
}

#[derive(Deserialize, Clone)]
pub(crate) struct Answered {
    pub status: u16,
    pub body: Option<String>,
    pub lines: Option<Vec<Line>>,
}

#[derive(Deserialize, Clone)]
pub(crate) struct Line {
    pub ms: u64,
    pub line: String,
}

impl Line {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.line).unwrap()
    }
}

impl Transcript {
    pub(crate) fn read(file: &str) -> Transcript {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts").join(file);
        serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
    }

    /// The body of an answer.
    pub(crate) fn body(&self, name: &str) -> Value {
        serde_json::from_str(self.exchange(name).response.body.as_ref().unwrap()).unwrap()
    }

    /// A watch's lines, with their time since the scenario began.
    pub(crate) fn lines(&self, name: &str) -> Vec<(u64, Value)> {
        let exchange = self.exchange(name);
        exchange.response.lines.iter().flatten().map(|line| (exchange.at_ms + line.ms, line.json())).collect()
    }

    pub(crate) fn exchange(&self, name: &str) -> &Exchange {
        self.exchanges.iter().find(|exchange| exchange.name == name).unwrap_or_else(|| panic!("no exchange {name}"))
    }
}

pub(crate) type Act = Box<dyn FnOnce(&mut Store, u64)>;

enum Step {
    Act(Act),
    Ask(Exchange),
}

/// Actions in addition to the requests.
pub(crate) struct Beside {
    /// The actions of scheduler, kubelet and operators, and their times.
    pub acts: Vec<(u64, Act)>,
    /// Runs before each exchange, for rights and tokens.
    pub prepare: fn(&Server, &Exchange),
    /// The controllers are slow: they run only after an action.
    pub slow_controllers: bool,
}

impl Beside {
    pub(crate) fn acts(acts: Vec<(u64, Act)>) -> Beside {
        Beside { acts, prepare: |_, _| {}, slow_controllers: false }
    }
}

/// Replays all exchanges except the excused ones, together with the actions of others.
pub(crate) async fn replay(server: &Server, transcript: &Transcript, excused: &[&str], beside: Beside) {
    let Beside { acts, prepare, slow_controllers } = beside;
    let start = Instant::now();
    let mut steps: Vec<(u64, Step)> = acts.into_iter().map(|(at, act)| (at, Step::Act(act))).collect();
    let asked = transcript.exchanges.iter().filter(|exchange| !excused.contains(&exchange.name.as_str()));
    steps.extend(asked.cloned().map(|exchange| (exchange.at_ms, Step::Ask(exchange))));
    steps.sort_by_key(|(at, _)| *at);
    let mut names = Names::default();
    let mut watches = Vec::new();
    let mut steps = steps.into_iter().peekable();
    while let Some((at, step)) = steps.next() {
        sleep_until(start + Duration::from_millis(at)).await;
        let controllers_look = matches!(step, Step::Act(_)) || !slow_controllers;
        match step {
            Step::Act(act) => {
                server.store(act);
                // Actions at the same moment come before a sync of the controllers.
                if steps.peek().is_some_and(|(next, step)| *next == at && matches!(step, Step::Act(_))) {
                    continue;
                }
            }
            Step::Ask(exchange) => {
                prepare(server, &exchange);
                let path = names.translate(&exchange.request.path);
                let body = names.translate(exchange.request.body.as_deref().unwrap_or_default());
                let headers: Vec<(&str, &str)> =
                    exchange.request.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
                let answer = client::ask(server, &exchange.request.method, &path, &headers, &body).await.unwrap();
                assert_eq!(answer.status, exchange.response.status, "{}", exchange.name);
                assert_eq!(answer.headers["content-type"], "application/json", "{}", exchange.name);
                if exchange.response.lines.is_some() {
                    let lines = tokio::spawn(answer.lines());
                    // Lets the watch open before anything else happens.
                    tokio::time::sleep(Duration::from_micros(1)).await;
                    watches.push((exchange, lines));
                } else {
                    let recorded = serde_json::from_str(exchange.response.body.as_ref().unwrap()).unwrap();
                    let ours = answer.json().await;
                    compare(&recorded, &ours, &mut names)
                        .unwrap_or_else(|why| panic!("{}: {why}\nours: {ours}", exchange.name));
                }
            }
        }
        if controllers_look {
            server.store(|store, now| while controllers::step(store, now) {});
        }
    }
    for (exchange, lines) in watches {
        let (ours, ended_in_order) = lines.await.unwrap();
        assert!(ended_in_order, "{}", exchange.name);
        let recorded: Vec<Value> = exchange.response.lines.iter().flatten().map(Line::json).collect();
        compare_lines(&exchange, &recorded, &ours, &mut names);
    }
}

fn compare_lines(exchange: &Exchange, recorded: &[Value], ours: &[Value], names: &mut Names) {
    let name = &exchange.name;
    let version =
        |line: &Value| line["object"]["metadata"]["resourceVersion"].as_str().map(|v| v.parse::<u64>().unwrap());
    let streamed = exchange.request.path.contains("sendInitialEvents=true");
    let mut last = 0;
    let mut initial = streamed;
    for line in ours {
        initial &= line["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"].is_null();
        if let Some(version) = version(line).filter(|_| !initial) {
            assert!(version >= last, "{name}: versions go back: {line}");
            last = version;
        }
    }
    assert_eq!(
        ours.iter().any(|line| line["type"] == "BOOKMARK"),
        exchange.request.path.contains("allowWatchBookmarks=true") && !ours.iter().any(|line| line["type"] == "ERROR"),
        "{name}: bookmarks are sent if and only if requested"
    );
    // A timer decides when ordinary bookmarks are sent; the one after the initial events is part of the protocol.
    let told = |lines: &[Value]| -> Vec<Value> {
        let plain = |line: &&Value| line["type"] != "BOOKMARK" || line["object"]["metadata"]["annotations"].is_object();
        lines.iter().filter(plain).cloned().collect()
    };
    let by_object = |lines: &[Value]| -> BTreeMap<String, Vec<Value>> {
        let mut map: BTreeMap<String, Vec<Value>> = BTreeMap::new();
        for line in lines {
            let name = line["object"]["metadata"]["name"].as_str().unwrap_or_default();
            map.entry(name.to_owned()).or_default().push(line.clone());
        }
        map
    };
    let short = |lines: &[Value]| -> Vec<String> {
        lines.iter().map(|line| format!("{} {}", line["type"], line["object"]["metadata"]["name"])).collect()
    };
    let (recorded, ours) = (told(recorded), told(ours));
    if streamed {
        assert_eq!(short(&recorded), short(&ours), "{name}: the order of a streamed list is fixed");
    }
    let (recorded, ours) = (by_object(&recorded), by_object(&ours));
    assert_eq!(recorded.keys().collect::<Vec<_>>(), ours.keys().collect::<Vec<_>>(), "{name}");
    for (object, lines) in &recorded {
        assert_eq!(short(lines), short(&ours[object]), "{name}");
        for (line, our) in lines.iter().zip(&ours[object]) {
            compare(line, our, names).unwrap_or_else(|why| panic!("{name}: {why}\nours: {our}"));
        }
    }
}
