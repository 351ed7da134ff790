//! Visitors: browsers behind one address per home, each with its own cookie jar and behaviour. They check that a
//! pod's answers are for their own session, and that their messages are echoed unchanged.

use super::conduct::{Conduct, Received, VisitorConduct, pause};
use super::oracle::{Truth, short};
use super::setting::{Habits, POOL};
use super::tab::{SILENCE, Socket};
use super::transfer;
use super::window::Windows;
use crate::chance::Chance;
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::future::join_all;
use http::{HeaderMap, Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use slotkeeper::config::Secret;
use slotkeeper::front::cookie::{Keys, public_name};
use slotkeeper_reference::{Answer, Observation};
use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio_tungstenite::tungstenite::Message;
use turmoil::net::TcpStream;

pub const PORT: u16 = 8080;
/// The key of all cookies in the simulation.
pub const KEY: &[u8] = b"0123456789abcdef0123456789abcdef";

/// A visitor's time-out for connecting; `ANSWER`: for an answer.
const CONNECT: Duration = Duration::from_secs(2);
pub const ANSWER: Duration = Duration::from_secs(12);
/// First requests that a dispatcher must recognise as coming from one browser are answered within this time, in
/// milliseconds.
const AT_ONCE: u64 = 900;

pub type Failure = Box<dyn std::error::Error + Send + Sync>;
/// Shared by all visitors.
#[derive(Clone)]
pub struct Scene {
    pub truth: Truth,
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

struct Reply {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl Reply {
    fn is_from_pod(&self) -> bool {
        self.headers.contains_key("x-pod")
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default()
    }
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
        let (mut names, asked) = (Vec::new(), self.scene.truth.now());
        let was_undisturbed = self.scene.truth.is_undisturbed();
        for response in join_all(requests).await.into_iter().flatten() {
            let before = self.session();
            self.keep(response.headers(), true);
            names.extend(self.session().filter(|session| before.as_ref() != Some(session)));
        }
        names.iter().for_each(|name| self.scene.truth.asked(name, asked));
        self.scene.truth.count("five first requests at once");
        // On a bad network the requests may be spread over a longer time.
        let at_once = self.scene.truth.now() - asked < AT_ONCE && was_undisturbed && self.scene.truth.is_undisturbed();
        if !self.scene.bots_are_placed || at_once {
            self.scene.truth.one_of(names);
        } else {
            self.scene.truth.count("five first requests one after the other");
        }
    }

    /// Performs one action outside of its tabs, which are not read meanwhile. Returns false if the pod did not
    /// answer.
    async fn act_up(&mut self, sockets: &mut [Socket]) -> bool {
        let answered = match self.whims.random_range(0..12) {
            0 if self.conduct.suspends => {
                self.scene.truth.count("visitor suspended");
                tokio::time::sleep(pause(&mut self.whims, 1_000, 9_000)).await;
                true
            }
            1..=2 if self.conduct.uploads => self.upload().await,
            3..=4 if self.conduct.downloads => self.download().await,
            _ => return true,
        };
        sockets.iter_mut().for_each(|s| s.neglected = true);
        answered
    }

    async fn upload(&mut self) -> bool {
        let (at, Some(cookie)) = (self.dispatcher(), self.jar.clone()) else { return true };
        self.sends();
        match transfer::upload(&self.scene.windows, self.scene.way, at, &cookie, &mut self.whims).await {
            Ok(response) if response.headers().contains_key("x-pod") && response.status().is_success() => {
                self.scene.truth.count("upload answered");
                true
            }
            Ok(_) => false,
            Err(_) => {
                self.scene.truth.meets("upload failed".into());
                false
            }
        }
    }

    async fn download(&mut self) -> bool {
        let Ok(response) = self.open(Method::GET, "/download", false).await else {
            self.scene.truth.meets("download failed".into());
            return false;
        };
        if !response.headers().contains_key("x-pod") {
            return false;
        }
        match transfer::read_slowly(response, &mut self.whims).await {
            Ok(true) => self.scene.truth.count("download complete"),
            Ok(false) => {
                let what = format!("visitor {} fetched a long body, and it is another one", self.number);
                self.scene.truth.violate("bytes arrive as they were sent", what);
            }
            Err(_) => {
                self.scene.truth.meets("download failed".into());
                return false;
            }
        }
        true
    }

    /// Runs a visit from request to departure. Returns false if the visitor gave up, or accepted the end of its session.
    async fn visit(&mut self) -> bool {
        let patience = if self.patient { Duration::from_secs(3600) } else { self.draw(500, 6_000) };
        let give_up = tokio::time::Instant::now() + patience;
        loop {
            let waited = tokio::time::timeout_at(give_up, self.reach()).await;
            match waited {
                Err(_) => {
                    self.scene.truth.count("visitor gave up");
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
                    self.scene.truth.count("visitor reconnects");
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
                        self.scene.truth.count("answer pod");
                        return true;
                    }
                }
                Ok(reply) => {
                    let text = String::from_utf8_lossy(&reply.body).into_owned();
                    self.scene.truth.meets(format!("answer {}", reply.status.as_u16()));
                    if let Some(session) = self.session().filter(|_| !pages) {
                        self.scene.truth.shows(&session, &text);
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
                Err(_) => self.scene.truth.meets("answer none".into()),
            }
            let pause = self.draw(100, 900);
            tokio::time::sleep(pause).await;
        }
    }

    /// The session has ended. A button starts a new one.
    async fn start_again(&mut self) -> bool {
        if !self.patient || self.served && self.calm() {
            self.scene.truth.count("visitor accepts the end");
            return false;
        }
        let _ = self.fetch(Method::POST, "/.slotkeeper/join", true).await;
        self.scene.truth.count("visitor starts again");
        true
    }

    /// Follows the waiting room's event stream until it asks for a reload. Returns false if the session has ended,
    /// and the visitor accepts that.
    async fn follow(&mut self) -> bool {
        let Ok(mut body) = self.open(Method::GET, "/.slotkeeper/events", false).await.map(|r| r.into_body()) else {
            return true;
        };
        let (mut text, mut shown, mut seen) = (String::new(), String::new(), self.scene.truth.now());
        loop {
            let Ok(Some(Ok(frame))) = tokio::time::timeout(Duration::from_secs(25), body.frame()).await else {
                // The stream is silent or has ended: the page opens another.
                return true;
            };
            if let Some(session) = self.session() {
                let visitor = session.as_str().into();
                self.scene.truth.observed(self.scene.truth.now(), Observation::Connected { visitor, since: seen });
                // A change would have been pushed before.
                self.scene.truth.shows(&session, &shown);
            }
            seen = self.scene.truth.now();
            text += &frame.into_data().map(|d| String::from_utf8_lossy(&d).into_owned()).unwrap_or_default();
            while let Some((event, rest)) = text.split_once("\n\n") {
                let state = event.split("\"state\":\"").nth(1).and_then(|s| s.split('"').next()).unwrap_or_default();
                if !state.is_empty() {
                    self.scene.truth.count(format!("room {state}"));
                    shown = event.to_owned();
                    if let Some(session) = self.session() {
                        self.scene.truth.shows(&session, &shown);
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

    /// Uses the pod.
    async fn stay(&mut self) -> Leaving {
        let (least, most) = self.scene.habits.stay;
        let stay = if self.calm() { self.draw(1_000, 4_000) } else { self.draw(least, most) };
        let until = tokio::time::Instant::now() + stay;
        let tabs = match self.manners {
            Manners::Tabs(tabs) => tabs,
            Manners::Pages | Manners::Program => return self.turn_pages(until).await,
        };
        let mut sockets = Vec::new();
        for _ in 0..tabs {
            match self.socket().await {
                Ok(Some(socket)) => sockets.push(socket),
                Ok(None) => return Leaving::Back,
                Err(_) => {
                    self.scene.truth.meets("socket refused".into());
                    return Leaving::Back;
                }
            }
        }
        let mut said = 0u32;
        loop {
            let pause = self.draw(200, 2_000);
            tokio::time::sleep(pause).await;
            let cut = !self.calm() && self.dice.random_ratio(1, 60);
            if cut {
                self.scene.truth.count("socket dropped by its visitor");
                return Leaving::Back;
            }
            let over = tokio::time::Instant::now() >= until || self.calm() && self.dice.random_ratio(1, 4);
            if over {
                return self.leave(sockets).await;
            }
            if !self.act_up(&mut sockets).await {
                return Leaving::Back;
            }
            for socket in &mut sockets {
                said += 1;
                let size = [3, 40, 300, 9_000, 70_000][self.dice.random_range(0..5)];
                let letters = (0..size).map(|n| char::from(b'a' + ((n * 7 + said) % 26) as u8));
                let ask = self.talks.then(|| format!("{said}:{}", letters.collect::<String>()));
                if let Err(end) = socket.talk(ask, &self.scene).await {
                    let neglected = socket.neglected && matches!(&*end, "broken" | "silent" | "stuck");
                    let end = if neglected { "given up while its visitor did not read".to_owned() } else { end };
                    self.scene.truth.meets(format!("socket {end}"));
                    if end == "4001" && self.dice.random_ratio(1, 3) {
                        return Leaving::Home;
                    }
                    return Leaving::Back;
                }
            }
        }
    }

    async fn turn_pages(&mut self, until: tokio::time::Instant) -> Leaving {
        let pages = self.manners == Manners::Pages;
        while tokio::time::Instant::now() < until {
            let pause = self.draw(300, 1_500);
            tokio::time::sleep(pause).await;
            if !self.act_up(&mut []).await {
                return Leaving::Back;
            }
            match self.fetch(Method::GET, "/page", pages).await {
                Ok(reply) if reply.is_from_pod() => {}
                Ok(_) | Err(_) => return Leaving::Back,
            }
        }
        Leaving::Home
    }

    async fn leave(&mut self, sockets: Vec<Socket>) -> Leaving {
        let manner = self.dice.random_range(0..100);
        if manner < self.scene.habits.half_open {
            // The lid is closed: nothing more is sent, not even a close frame.
            self.scene.truth.count("visitor half-open");
            self.lost.extend(sockets);
            return Leaving::Home;
        }
        if manner % 3 == 0 {
            self.scene.truth.count("visitor leaves");
            let _ = self.fetch(Method::POST, "/.slotkeeper/leave", true).await;
            return Leaving::Home;
        }
        for socket in sockets {
            socket.close().await;
        }
        self.scene.truth.count("visitor closes");
        Leaving::Home
    }

    /// Opens a WebSocket to the pod; `None` if the waiting room answers instead.
    async fn socket(&mut self) -> Result<Option<Socket>, Failure> {
        let asked = self.scene.truth.now();
        let at = self.dispatcher();
        self.sends();
        let stream = self.scene.windows.open(connect(at).await?)?;
        let key = format!("{:022}==", self.dice.random_range(0..1_000_000));
        let mut request = Request::builder()
            .uri(format!("ws://{at}:{PORT}{}/ws", self.scene.way.base))
            .header(header::HOST, format!("{at}:{PORT}"))
            .header(header::CONNECTION, "Upgrade")
            .header(header::UPGRADE, "websocket")
            .header(header::SEC_WEBSOCKET_VERSION, "13")
            .header(header::SEC_WEBSOCKET_KEY, key);
        if let Some(cookie) = &self.jar {
            request = request.header(header::COOKIE, format!("{}={cookie}", self.scene.way.cookie));
        }
        let opening = tokio_tungstenite::client_async(request.body(())?, stream);
        let (mut socket, response) = match tokio::time::timeout(ANSWER, opening).await? {
            Ok(opened) => opened,
            Err(tokio_tungstenite::tungstenite::Error::Http(refused)) => {
                self.scene.truth.count(format!("upgrade {}", refused.status().as_u16()));
                return Ok(None);
            }
            Err(e) => return Err(e.into()),
        };
        self.keep(response.headers(), false);
        let hello = match tokio::time::timeout(SILENCE, socket.next()).await? {
            Some(Ok(Message::Text(hello))) => hello.to_string(),
            Some(Ok(_)) | None => return Ok(None),
            Some(Err(e)) => return Err(e.into()),
        };
        let mut words = hello.split(' ').skip(1);
        let session = words.next().unwrap_or_default().to_owned();
        self.is_mine(&session, "a WebSocket");
        let uid = words.nth(1).unwrap_or_default().to_owned();
        let opened = self.scene.truth.now();
        let number = (self.number as u64) << 40 | opened;
        let seen = Observation::Stream { visitor: session.as_str().into(), pod: uid.as_str().into(), stream: number };
        self.scene.truth.observed(asked, seen);
        Ok(Some(Socket {
            stream: socket,
            uid,
            session,
            opened,
            number,
            looked: opened,
            received: Received::default(),
            sent: 0,
            neglected: false,
        }))
    }

    /// The following request counts as activity of the session.
    fn sends(&self) {
        if let Some(session) = self.session() {
            self.scene.truth.sends(&session);
            self.scene.truth.asks(&session);
        }
    }

    fn dispatcher(&mut self) -> IpAddr {
        let count = self.scene.dispatchers.len();
        self.scene.dispatchers[self.dice.random_range(0..count)]
    }

    /// The session that a pod's answer names must be this visitor's.
    fn is_mine(&self, session: &str, what: &str) {
        let own = self.session();
        if own.as_deref() != Some(session) {
            let own = own.unwrap_or_default();
            self.scene.truth.violate(
                "every session gets its own answers",
                format!(
                    "visitor {} is session {}, and {what} answered as {}",
                    self.number,
                    short(&own),
                    short(session)
                ),
            );
        }
    }

    /// Stores a cookie. `anew`: the visitor has requested a new session.
    fn keep(&mut self, headers: &HeaderMap, anew: bool) {
        for value in headers.get_all(header::SET_COOKIE) {
            let value = value.to_str().unwrap_or_default();
            let Some(rest) = value.strip_prefix(self.scene.way.cookie).and_then(|v| v.strip_prefix('=')) else {
                continue;
            };
            let before = self.session();
            self.jar = rest.split(';').next().map(str::to_owned);
            let now = self.session();
            match &now {
                Some(now) => self.scene.truth.owns(now.clone()),
                None => self.scene.truth.violate("a cookie stays good", "a cookie was set that cannot be decrypted"),
            }
            if let Some(before) = before.filter(|b| !anew && now.as_ref() != Some(b)) {
                let text = format!("visitor {} was session {}, and got another one", self.number, short(&before));
                self.scene.truth.violate("a cookie stays good", text);
            }
        }
    }

    /// Returns the public name of the session in the jar.
    fn session(&self) -> Option<String> {
        self.jar.as_deref().and_then(|v| self.keys.open(&self.scene.way.pool.into(), v)).map(|t| public_name(t.session))
    }

    async fn fetch(&mut self, method: Method, path: &str, page: bool) -> Result<Reply, Failure> {
        let asked = self.scene.truth.now();
        let response = self.open(method, path, page).await?;
        let (head, body) = response.into_parts();
        let body = tokio::time::timeout(ANSWER, body.collect()).await??.to_bytes();
        let reply = Reply { status: head.status, headers: head.headers, body };
        if reply.is_from_pod() {
            self.is_mine(reply.header("x-session"), "a page");
            self.scene.truth.answered(reply.header("x-session"), asked);
            let answer = Answer::Seat { pod: reply.header("x-pod").into() };
            self.scene.truth.observed(asked, Observation::Told { visitor: reply.header("x-session").into(), answer });
        }
        Ok(reply)
    }

    async fn open(&mut self, method: Method, path: &str, page: bool) -> Result<http::Response<Incoming>, Failure> {
        let at = self.dispatcher();
        let anew = path.ends_with("/join");
        let (before, asked) = (self.session(), self.scene.truth.now());
        self.sends();
        if let Some(session) = before.as_deref().filter(|_| anew || path.ends_with("/leave")) {
            self.scene.truth.observed(asked, Observation::Leaves { visitor: session.into() });
        }
        let response =
            request(&self.scene.windows, self.scene.way, at, method, path, page, self.jar.as_deref()).await?;
        self.keep(response.headers(), anew);
        if let Some(session) = self.session().filter(|s| before.as_ref() != Some(s)) {
            // This request was the session's first.
            self.scene.truth.asked(&session, asked);
        }
        Ok(response)
    }
}

pub async fn connect(at: IpAddr) -> io::Result<TcpStream> {
    tokio::time::timeout(CONNECT, TcpStream::connect((at, PORT))).await.map_err(io::Error::other)?
}

/// Sends one request on a separate connection.
async fn request(
    windows: &Windows,
    way: Way,
    at: IpAddr,
    method: Method,
    path: &str,
    page: bool,
    cookie: Option<&str>,
) -> Result<http::Response<Incoming>, Failure> {
    let stream = windows.open(connect(at).await?)?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(async move {
        let _ = connection.await;
    });
    let mut request = Request::builder()
        .method(method)
        .uri(format!("{}{path}", way.base))
        .header(header::HOST, format!("{at}:{PORT}"))
        .header(header::ACCEPT, if page { "text/html" } else { "application/json" });
    if let Some(cookie) = cookie {
        request = request.header(header::COOKIE, format!("{}={cookie}; other=1", way.cookie));
    }
    let request = request.body(Full::new(Bytes::new()))?;
    Ok(tokio::time::timeout(ANSWER, sender.send_request(request)).await??)
}

/// Runs a crawler or health check without cookies. It wakes nothing where the cookie must be returned first; where
/// that is not required, it does, and stops when everything is to come to rest.
pub async fn bot(scene: Scene, mut dice: ChaCha8Rng) {
    while !(scene.bots_are_placed && scene.calm.load(Ordering::Relaxed)) {
        tokio::time::sleep(Duration::from_millis(dice.random_range(200..3_000))).await;
        let at = scene.dispatchers[dice.random_range(0..scene.dispatchers.len())];
        let path = ["/", "/robots.txt", "/.slotkeeper/health", "/.slotkeeper/status"][dice.random_range(0..4)];
        if let Ok(response) =
            request(&scene.windows, scene.way, at, Method::GET, path, dice.random_ratio(1, 2), None).await
        {
            scene.truth.count(format!("bot {}", response.status().as_u16()));
        }
    }
}
