//! Visitors: browsers behind one address per home, each with its own cookie jar and behaviour. They check that a
//! pod's answers are for their own session, and that their messages are echoed unchanged.

mod bot;
mod requests;
mod stay;

pub use bot::bot;
pub use requests::{ANSWER, Failure, connect};

use super::conduct::{Conduct, VisitorConduct};
use super::oracle::Oracle;
use super::setting::{Habits, POOL};
use super::tab::Socket;
use super::window::Windows;
use crate::chance::Chance;
use futures_util::future::join_all;
use http::Method;
use http_body_util::BodyExt;
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use requests::request;
use slotkeeper::config::Secret;
use slotkeeper::cookie::Keys;
use slotkeeper_reference::Observation;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

pub const PORT: u16 = 8080;
/// The key of all cookies in the simulation.
pub const KEY: &[u8] = b"0123456789abcdef0123456789abcdef";

/// First requests that a dispatcher must recognise as coming from one browser are answered within this time, in
/// milliseconds.
const AT_ONCE: u64 = 900;

/// Shared by all visitors.
#[derive(Clone)]
pub struct Scene {
    pub oracle: Oracle,
    pub dispatchers: Vec<IpAddr>,
    pub habits: Habits,
    /// The fault phase is over: visitors that have been served leave.
    pub calm: Arc<AtomicBool>,
    pub guests: Guests,
    /// First requests are placed at once, before a cookie returns.
    pub bots_are_placed: bool,
    /// A pod has one session at a time.
    pub alone: bool,
    pub chance: Chance,
    pub conduct: Conduct,
    pub windows: Windows,
    pub way: Way,
}

/// How a pool is reached: its name, its path prefix, and the name of its cookie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Way {
    pub pool: &'static str,
    pub base: &'static str,
    pub cookie: &'static str,
}

/// The first pool's.
pub const WAY: Way = Way { pool: POOL, base: "", cookie: "slotkeeper" };

/// The progress of each visitor, by number.
#[derive(Clone, Default)]
pub struct Guests(Arc<Mutex<BTreeMap<usize, Guest>>>);

#[derive(Clone, Copy, Debug, Default)]
pub struct Guest {
    pub patient: bool,
    pub served: bool,
    pub done: bool,
}

impl Guests {
    fn note(&self, number: usize, change: impl FnOnce(&mut Guest)) {
        let mut guests = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        change(guests.entry(number).or_default());
    }

    #[must_use]
    pub fn all(&self) -> BTreeMap<usize, Guest> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// One browser.
pub struct Visitor {
    number: usize,
    scene: Scene,
    dice: ChaCha8Rng,
    keys: Keys,
    jar: Option<String>,
    manners: Manners,
    patient: bool,
    /// Sends messages occasionally.
    talks: bool,
    served: bool,
    /// Sockets that were left open without closing them.
    lost: Vec<Socket>,
    conduct: VisitorConduct,
    /// Random numbers for its conduct.
    whims: ChaCha8Rng,
}

/// The kind of client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manners {
    /// Pages, and one to three tabs with a WebSocket each.
    Tabs(u32),
    /// Pages only, repeatedly.
    Pages,
    /// A program: no pages, retries when a response asks for it.
    Program,
}

/// How a visit to the pod ended.
enum Leaving {
    /// The visitor left.
    Home,
    /// The connection broke: the visitor reconnects.
    Back,
}

impl Visitor {
    #[must_use]
    pub fn new(number: usize, scene: Scene, mut dice: ChaCha8Rng) -> Visitor {
        let manners = match dice.random_range(0..10) {
            0 => Manners::Program,
            1..=2 => Manners::Pages,
            _ => Manners::Tabs(dice.random_range(1..=3)),
        };
        let patient = dice.random_range(0..100) >= scene.habits.impatient;
        let talks = dice.random_range(0..100) >= scene.habits.idle;
        let keys = Keys::new(&[Secret(KEY.to_vec())]);
        scene.guests.note(number, |g| g.patient = patient);
        let conduct = VisitorConduct::draw(scene.conduct, scene.chance, number);
        let mut whims = scene.chance.stream(&format!("whims of visitor {number}"));
        let manners = match manners {
            Manners::Tabs(_) if conduct.many_tabs => Manners::Tabs(whims.random_range(6..=10)),
            other @ (Manners::Tabs(_) | Manners::Pages | Manners::Program) => other,
        };
        let lost = Vec::new();
        Visitor { number, scene, dice, keys, jar: None, manners, patient, talks, served: false, lost, conduct, whims }
    }

    fn calm(&self) -> bool {
        self.scene.calm.load(Ordering::Relaxed)
    }

    fn draw(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_millis(self.dice.random_range(from..=to.max(from)))
    }

    /// Runs the visitor until it has finished.
    pub async fn live(mut self) {
        let arrive = self.draw(0, self.scene.habits.arrive_within);
        tokio::time::sleep(arrive).await;
        if self.conduct.rushes {
            self.rush().await;
        }
        loop {
            let stayed = self.visit().await;
            if self.calm() || !stayed || self.dice.random_ratio(1, 2) {
                break;
            }
            // Later the same day.
            let pause = self.draw(1_000, 20_000);
            tokio::time::sleep(pause).await;
        }
        self.scene.guests.note(self.number, |g| g.done = true);
        if !self.lost.is_empty() {
            std::future::pending::<()>().await;
        }
    }

    /// Sends five requests at once, before there is a cookie. Where first requests are placed at once, one dispatcher
    /// gets all of them, and redirects four. Elsewhere all answers set a cookie, and the browser keeps the last.
    async fn rush(&mut self) {
        let one = self.dispatcher();
        let to: Vec<IpAddr> =
            (0..5).map(|_| if self.scene.bots_are_placed { one } else { self.dispatcher() }).collect();
        let requests = to
            .into_iter()
            .map(|at| request(&self.scene.windows, self.scene.way, at, Method::GET, "/desk?x=1", true, None));
        let (mut names, asked) = (Vec::new(), self.scene.oracle.now());
        let was_undisturbed = self.scene.oracle.is_undisturbed();
        for response in join_all(requests).await.into_iter().flatten() {
            let before = self.session();
            self.keep(response.headers(), true);
            names.extend(self.session().filter(|session| before.as_ref() != Some(session)));
        }
        names.iter().for_each(|name| self.scene.oracle.asked(name, asked));
        self.scene.oracle.count("five first requests at once");
        // On a bad network the requests may be spread over a longer time.
        let at_once =
            self.scene.oracle.now() - asked < AT_ONCE && was_undisturbed && self.scene.oracle.is_undisturbed();
        if !self.scene.bots_are_placed || at_once {
            self.scene.oracle.one_of(names);
        } else {
            self.scene.oracle.count("five first requests one after the other");
        }
    }

    /// Runs a visit from request to departure. Returns false if the visitor gave up, or accepted the end of its session.
    async fn visit(&mut self) -> bool {
        let patience = if self.patient { Duration::from_secs(3600) } else { self.draw(500, 6_000) };
        let give_up = tokio::time::Instant::now() + patience;
        loop {
            let waited = tokio::time::timeout_at(give_up, self.reach()).await;
            match waited {
                Err(_) => {
                    self.scene.oracle.count("visitor gave up");
                    return false;
                }
                Ok(false) => return false,
                Ok(true) => {}
            }
            self.served = true;
            self.scene.guests.note(self.number, |g| g.served = true);
            match self.stay().await {
                Leaving::Home => return true,
                Leaving::Back => {
                    self.scene.oracle.count("visitor reconnects");
                    let pause = self.draw(50, 1_500);
                    tokio::time::sleep(pause).await;
                }
            }
        }
    }

    /// Retries until the pod has answered. Returns false if the session has ended.
    async fn reach(&mut self) -> bool {
        loop {
            let pages = self.manners != Manners::Program;
            match self.fetch(Method::GET, "/desk?x=1", pages).await {
                Ok(reply) if reply.is_from_pod() => {
                    if reply.status.is_success() {
                        self.scene.oracle.count("answer pod");
                        return true;
                    }
                }
                Ok(reply) => {
                    let text = String::from_utf8_lossy(&reply.body).into_owned();
                    self.scene.oracle.meets(format!("answer {}", reply.status.as_u16()));
                    if let Some(session) = self.session().filter(|_| !pages) {
                        self.scene.oracle.shows(&session, &text);
                    }
                    if !pages && text.contains("\"state\":\"ended\"") {
                        if !self.start_again().await {
                            return false;
                        }
                    } else if pages && reply.status.is_success() && !self.follow().await {
                        return false;
                    }
                    if !pages {
                        let seconds = reply.header("retry-after").parse().unwrap_or(2);
                        tokio::time::sleep(Duration::from_secs(seconds).min(Duration::from_secs(4))).await;
                    }
                }
                Err(_) => self.scene.oracle.meets("answer none".into()),
            }
            let pause = self.draw(100, 900);
            tokio::time::sleep(pause).await;
        }
    }

    /// The session has ended. A button starts a new one.
    async fn start_again(&mut self) -> bool {
        if !self.patient || self.served && self.calm() {
            self.scene.oracle.count("visitor accepts the end");
            return false;
        }
        let _ = self.fetch(Method::POST, "/.slotkeeper/join", true).await;
        self.scene.oracle.count("visitor starts again");
        true
    }

    /// Follows the waiting room's event stream until it asks for a reload. Returns false if the session has ended,
    /// and the visitor accepts that.
    async fn follow(&mut self) -> bool {
        let Ok(mut body) = self.open(Method::GET, "/.slotkeeper/events", false).await.map(|r| r.into_body()) else {
            return true;
        };
        let (mut text, mut shown, mut seen) = (String::new(), String::new(), self.scene.oracle.now());
        loop {
            let Ok(Some(Ok(frame))) = tokio::time::timeout(Duration::from_secs(25), body.frame()).await else {
                // The stream is silent or has ended: the page opens another.
                return true;
            };
            if let Some(session) = self.session() {
                let visitor = session.as_str().into();
                self.scene.oracle.observed(self.scene.oracle.now(), Observation::Connected { visitor, since: seen });
                // A change would have been pushed before.
                self.scene.oracle.shows(&session, &shown);
            }
            seen = self.scene.oracle.now();
            text += &frame.into_data().map(|d| String::from_utf8_lossy(&d).into_owned()).unwrap_or_default();
            while let Some((event, rest)) = text.split_once("\n\n") {
                let state = event.split("\"state\":\"").nth(1).and_then(|s| s.split('"').next()).unwrap_or_default();
                if !state.is_empty() {
                    self.scene.oracle.count(format!("room {state}"));
                    shown = event.to_owned();
                    if let Some(session) = self.session() {
                        self.scene.oracle.shows(&session, &shown);
                    }
                }
                let over = state == "ended";
                let reload = over || state == "ready" || event.contains("event: again");
                text = rest.to_owned();
                if over {
                    return self.start_again().await;
                }
                if reload {
                    return true;
                }
            }
        }
    }
}
