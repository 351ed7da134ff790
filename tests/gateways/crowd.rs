//! Clients that hold a WebSocket each, and reconnect as `client.js` does: with exponential backoff and full jitter.

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use slotkeeper_tests::pod::{Socket, socket};
use slotkeeper_tests::visitor::HANDSHAKE;
use slotkeeper_tests::{Visitor, patiently};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;

const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(30);

/// Statistics of all clients.
#[derive(Default)]
pub(crate) struct Ledger {
    pub(crate) open: AtomicUsize,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    connects: Vec<Instant>,
    away: Vec<Duration>,
    codes: BTreeMap<u16, usize>,
    refused: BTreeMap<u16, usize>,
    /// The messages that each chatter has received, by number, in order.
    heard: BTreeMap<usize, Vec<u64>>,
}

/// Statistics of the time between two calls of [`Ledger::take`].
#[derive(Debug)]
pub(crate) struct Figures {
    pub(crate) connects: usize,
    /// The most in any second.
    pub(crate) peak: usize,
    pub(crate) away: Vec<Duration>,
    /// Close codes of the sockets; 0 if there was no close frame.
    pub(crate) codes: BTreeMap<u16, usize>,
    /// Responses other than 101.
    pub(crate) refused: BTreeMap<u16, usize>,
}

impl Ledger {
    fn with<T>(&self, act: impl FnOnce(&mut Inner) -> T) -> T {
        act(&mut self.inner.lock().expect("no panic"))
    }

    pub(crate) fn take(&self) -> Figures {
        self.with(|inner| {
            let connects = std::mem::take(&mut inner.connects);
            let peak = connects.iter().enumerate().map(|(n, at)| {
                connects[n..].iter().take_while(|other| other.duration_since(*at) < Duration::from_secs(1)).count()
            });
            let peak = peak.max().unwrap_or(0);
            let mut away = std::mem::take(&mut inner.away);
            away.sort();
            let (codes, refused) = (std::mem::take(&mut inner.codes), std::mem::take(&mut inner.refused));
            Figures { connects: connects.len(), peak, away, codes, refused }
        })
    }

    pub(crate) fn heard(&self) -> BTreeMap<usize, Vec<u64>> {
        self.with(|inner| inner.heard.clone())
    }
}

pub(crate) struct Crowd {
    pub(crate) ledger: Arc<Ledger>,
    goes: Arc<AtomicBool>,
    lives: Vec<JoinHandle<()>>,
}

impl Crowd {
    /// Connects `idle` clients on `/ws`, which send nothing, and `chatters`, which listen, `at_once` at a time, until all are
    /// connected.
    pub(crate) async fn gather(addresses: &[SocketAddr], idle: usize, chatters: usize, at_once: usize) -> Crowd {
        let ledger = Arc::new(Ledger::default());
        let goes = Arc::new(AtomicBool::new(false));
        let addresses: Arc<[SocketAddr]> = addresses.into();
        let dice = Arc::new(AtomicU64::new(42));
        let mut lives = Vec::new();
        for number in 0..idle + chatters {
            let client = Client {
                number,
                chats: number >= idle,
                addresses: addresses.clone(),
                ledger: ledger.clone(),
                goes: goes.clone(),
                dice: dice.clone(),
                last: None,
            };
            lives.push(tokio::spawn(client.live()));
            let enough = || lives.len() - ledger.open.load(Ordering::Relaxed) < at_once;
            while !enough() {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        }
        let crowd = Crowd { ledger, goes, lives };
        crowd.is_complete().await;
        crowd
    }

    pub(crate) async fn is_complete(&self) {
        let all = self.lives.len();
        patiently("all clients to be connected", async {
            while self.ledger.open.load(Ordering::Relaxed) != all {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
    }

    pub(crate) async fn leave(self) {
        self.goes.store(true, Ordering::Relaxed);
        for life in self.lives {
            patiently("a client to leave", life).await.expect("no panic");
        }
    }
}

struct Client {
    number: usize,
    chats: bool,
    addresses: Arc<[SocketAddr]>,
    ledger: Arc<Ledger>,
    goes: Arc<AtomicBool>,
    dice: Arc<AtomicU64>,
    /// The id of the last message of the chat.
    last: Option<String>,
}

impl Client {
    async fn live(mut self) {
        let mut visitor = Visitor::at(self.addresses[self.number % self.addresses.len()]);
        let (mut failures, mut away) = (0u32, None::<Instant>);
        while !self.goes.load(Ordering::Relaxed) {
            if failures > 0 || away.is_some() {
                let longest = LONGEST.min(FIRST * 2u32.saturating_pow(failures.min(10)));
                tokio::time::sleep(longest.mul_f64(self.roll())).await;
            }
            let Some(socket) = self.come(&mut visitor).await else {
                failures += 1;
                continue;
            };
            failures = 0;
            self.ledger.open.fetch_add(1, Ordering::Relaxed);
            self.ledger.with(|inner| {
                inner.connects.push(Instant::now());
                inner.away.extend(away.take().map(|since| since.elapsed()));
            });
            let code = self.stay(socket).await;
            self.ledger.open.fetch_sub(1, Ordering::Relaxed);
            away = Some(Instant::now());
            self.ledger.with(|inner| *inner.codes.entry(code).or_default() += 1);
        }
    }

    /// A number from 0 to 1; every run gets the same sequence.
    fn roll(&self) -> f64 {
        // SplitMix64: the numbers only need to be well mixed.
        let mut z = self.dice.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Connects to any dispatcher, or to the next one if it does not answer, as a load balancer does.
    async fn come(&self, visitor: &mut Visitor) -> Option<Socket> {
        let path = match (&self.last, self.chats) {
            (_, false) => "/ws".to_owned(),
            (None, true) => format!("/chat?name=c{}", self.number),
            (Some(last), true) => format!("/chat?name=c{}&after={last}", self.number),
        };
        let first = (self.roll() * self.addresses.len() as f64) as usize;
        let mut answer = None;
        for index in (first..).take(self.addresses.len()) {
            *visitor = visitor.clone().through(self.addresses[index % self.addresses.len()]);
            answer = visitor.knock(&path, HANDSHAKE).await;
            if answer.is_some() {
                break;
            }
        }
        let (head, wire) = answer?;
        if head.status() != 101 {
            self.ledger.with(|inner| *inner.refused.entry(head.status()).or_default() += 1);
            return None;
        }
        Some(socket(wire, Role::Client).await)
    }

    /// Waits until the connection ends, and returns its close code.
    async fn stay(&mut self, mut socket: Socket) -> u16 {
        loop {
            let heard = tokio::time::timeout(Duration::from_millis(500), socket.next()).await;
            match heard {
                Ok(Some(Ok(Message::Close(close)))) => return close.map_or(1005, |c| u16::from(c.code)),
                Ok(Some(Ok(Message::Text(text)))) => self.hear(&text),
                Ok(Some(Ok(_))) => {}
                Ok(Some(Err(_)) | None) => return 0,
                Err(_) if self.goes.load(Ordering::Relaxed) => return 1000,
                Err(_) => {}
            }
        }
    }

    fn hear(&mut self, text: &str) {
        let told: Value = serde_json::from_str(text).unwrap_or_default();
        match told["type"].as_str() {
            Some("message") => {
                self.last = told["id"].as_str().map(str::to_owned);
                let said = told["text"].as_str().and_then(|text| text.parse().ok()).expect("a number");
                self.ledger.with(|inner| inner.heard.entry(self.number).or_default().push(said));
            }
            // A chatter that has received nothing yet must not miss the first message either.
            Some("welcome") if self.last.is_none() => self.last = told["last"].as_str().map(str::to_owned),
            Some("missed") => panic!("client {} is too slow for this: {told}", self.number),
            _ => {}
        }
    }
}

/// Sends consecutive numbers until `stops` is set, and returns their count.
pub(crate) async fn speak(at: SocketAddr, pause: Duration, stops: Arc<AtomicBool>) -> u64 {
    let mut visitor = Visitor::at(at);
    let mut next = 1;
    while !stops.load(Ordering::Relaxed) {
        let Some((head, wire)) = visitor.knock("/chat?name=speaker", HANDSHAKE).await else {
            tokio::time::sleep(pause).await;
            continue;
        };
        if head.status() != 101 {
            tokio::time::sleep(pause).await;
            continue;
        }
        let mut socket = socket(wire, Role::Client).await;
        'open: while !stops.load(Ordering::Relaxed) {
            let say = json!({ "type": "say", "client_id": format!("n{next}"), "text": next.to_string() });
            if socket.send(Message::Text(say.to_string().into())).await.is_err() {
                break;
            }
            // Sends the same again, with the same id, until the gateway confirms it.
            loop {
                match socket.next().await {
                    Some(Ok(Message::Text(text))) => {
                        let told: Value = serde_json::from_str(&text).unwrap_or_default();
                        if told["client_id"] == format!("n{next}") && told["type"] == "sent" {
                            next += 1;
                            break;
                        }
                        if told["type"] == "refused" {
                            break;
                        }
                    }
                    Some(Ok(Message::Close(_)) | Err(_)) | None => break 'open,
                    Some(Ok(_)) => {}
                }
            }
            tokio::time::sleep(pause).await;
        }
    }
    next - 1
}
