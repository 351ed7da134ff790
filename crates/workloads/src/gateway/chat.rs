//! The chat: every message reaches all clients of all pods once, in one order, and reconnecting clients get the messages
//! that they missed.
//!
//! # One order
//!
//! A Redis stream is the source of truth. `say.lua` appends a message and publishes it in one step; the id of its entry
//! (`ms-number`) is its position. Every pod subscribes, and delivers messages that are newer than the last one it delivered,
//! in the order of their ids. Pub/sub is only a notification: each notice has the id of the previous message, so a pod
//! detects a gap. Then, after every loss of the connection, and every two seconds in any case, it reads the stream from its
//! position. So no message is delivered twice, and no message in the stream is skipped.
//!
//! # Exactly once
//!
//! A client makes an id for each message and sends the message again with the same id until it receives `sent`: the script
//! remembers these ids for an hour, and pods those in their history.
//!
//! # Reconnecting
//!
//! Every pod keeps the last messages (`--history`) in memory, in that order. A reconnecting client sends the last id that it
//! saw (`?after=`) and gets the later messages. Joining and delivery use one lock, so there are no gaps and no duplicates.
//! If the pod's history does not reach back that far, `complete` is false.
//!
//! # Without Redis
//!
//! While Redis is unavailable, sockets stay open, history is served from memory, and new messages are answered with
//! `refused`; clients send them again later. If Redis returns without its data, each pod first reports the last id that it
//! delivered: new ids are larger than all of them, so ids never go backwards for a client. Messages that were only in the
//! lost data are lost; delivered messages stay in the pods' history until the pods end.

mod local;
mod log;
mod manners;
pub mod protocol;
mod redis;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::mailbox::{Letter, Mailbox};
use super::metrics::Metrics;
use super::settings::Config;
use log::{Id, Log};
use manners::{Allowance, Pace};
use protocol::{Command, Draft, Out, Reach, Refusal};

/// The shortest interval between two messages with the number of connected clients.
const PRESENCE: Duration = Duration::from_secs(1);

/// The parameters of a client that joins.
pub(super) struct Arrival {
    name: String,
    after: Option<Id>,
}

impl Arrival {
    /// # Errors
    /// If `after` is not an id. A name may be any text: characters that cannot be shown are removed.
    pub(super) fn new(name: Option<&str>, after: Option<&str>) -> Result<Arrival, &'static str> {
        let after = after.filter(|after| !after.is_empty()).map(str::parse);
        let after = after.transpose().map_err(|_| "after: allowed is the id of a message, such as 1700000000000-0")?;
        Ok(Arrival { name: manners::name(name.unwrap_or_default()), after })
    }
}

pub(super) struct Chat {
    pod: String,
    table: Mutex<Table>,
    changed: Notify,
    post: Option<redis::Post>,
    /// Redis has answered once, or is not configured.
    is_met: AtomicBool,
    is_connected: AtomicBool,
    metrics: Arc<Metrics>,
    tasks: Mutex<JoinSet<()>>,
}

/// Under one lock, so that a new member's history and the messages delivered afterwards have no gap.
struct Table {
    log: Log,
    members: HashMap<u64, Arc<Mailbox>>,
    stopping: Option<u64>,
}

impl Chat {
    pub(super) fn start(config: &Config, metrics: Arc<Metrics>) -> Arc<Chat> {
        let table = Table { log: Log::new(config.history), members: HashMap::new(), stopping: None };
        let (post, desk) = match &config.redis {
            None => (None, None),
            Some(address) => {
                let (post, desk) = redis::office(address, &config.redis_prefix, config.history);
                (Some(post), Some(desk))
            }
        };
        let chat = Arc::new(Chat {
            pod: config.name.clone(),
            table: Mutex::new(table),
            changed: Notify::new(),
            is_met: AtomicBool::new(post.is_none()),
            is_connected: AtomicBool::new(false),
            post,
            metrics,
            tasks: Mutex::default(),
        });
        let mut tasks = chat.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.spawn(presence(chat.clone()));
        match desk {
            Some(desk) => desk.open(&chat, &mut tasks),
            None => tracing::info!(pod = chat.pod, "no --redis: the chat stays within this pod"),
        }
        drop(tasks);
        chat
    }

    /// A pod that has never reached Redis has no history: clients should use other pods.
    pub(super) fn is_waiting_for_first_contact(&self) -> bool {
        !self.is_met.load(Ordering::Relaxed)
    }

    /// Adds a socket: sends it the welcome, and the messages that it has not seen.
    pub(super) fn join(self: &Arc<Chat>, number: u64, arrival: Arrival, mailbox: &Arc<Mailbox>) -> Seat {
        let mut table = self.lock();
        table.members.insert(number, mailbox.clone());
        let welcome = Out::Welcome {
            pod: &self.pod,
            name: &arrival.name,
            here: table.members.len(),
            reach: self.reach(),
            resumed: arrival.after.is_some(),
            complete: arrival.after.is_none_or(|after| table.log.reaches_back_to(after)),
            last: table.log.last().to_string(),
        };
        let news = table.stopping.map(|in_seconds| Out::ServerShutdown { in_seconds }.letter());
        let history = table.log.after(arrival.after);
        self.metrics.delivered.inc_by(history.len() as u64);
        mailbox.welcome(std::iter::once(welcome.letter()).chain(history).chain(news));
        drop(table);
        self.changed.notify_one();
        Seat { chat: self.clone(), mailbox: mailbox.clone(), number, name: arrival.name, pace: Pace::default() }
    }

    /// Notifies all sockets that the pod is shutting down, and in how many seconds.
    pub(super) fn shut_down(&self, time: Duration) {
        let mut table = self.lock();
        table.stopping = Some(time.as_secs());
        table.tell(&Out::ServerShutdown { in_seconds: time.as_secs() }.letter());
    }

    /// Stops delivering.
    pub(super) fn stop(&self) {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner).abort_all();
    }

    fn say(&self, draft: Draft, mailbox: &Arc<Mailbox>) {
        match &self.post {
            None => local::say(self, &draft, mailbox),
            Some(_) if !self.is_connected.load(Ordering::Relaxed) => {
                refuse(mailbox, Some(&draft.client_id), Refusal::Redis);
            }
            Some(post) => post.say(draft, mailbox),
        }
    }

    /// The id of the last message that was delivered here.
    fn last(&self) -> Id {
        self.lock().log.last()
    }

    fn deliver(&self, id: Id, draft: &Draft) {
        self.lock().deliver(id, draft, &self.metrics);
    }

    /// Skips an entry that cannot be delivered.
    fn pass_over(&self, id: Id) {
        self.lock().log.pass_over(id);
    }

    fn connected(&self, connected: bool) {
        let was = self.is_connected.swap(connected, Ordering::Relaxed);
        self.metrics.redis_connected.set(i64::from(connected));
        if connected {
            self.is_met.store(true, Ordering::Relaxed);
        }
        if was != connected {
            self.lock().tell(&Out::Redis { connected }.letter());
        }
    }

    fn reach(&self) -> Reach {
        match (&self.post, self.is_connected.load(Ordering::Relaxed)) {
            (None, _) => Reach::Pod,
            (Some(_), true) => Reach::Pods,
            (Some(_), false) => Reach::Away,
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    /// Delivers a message to all members here, unless it has been delivered: a message that is not newer than the last one
    /// has been.
    fn deliver(&mut self, id: Id, draft: &Draft, metrics: &Metrics) {
        let Draft { from, text, pod, client_id } = draft;
        let letter = Out::Message { id: id.to_string(), from, text, at_ms: id.ms, pod, client_id }.letter();
        if self.log.push(id, client_id, letter.clone()) {
            metrics.delivered.inc_by(self.members.len() as u64);
            self.tell(&letter);
        }
    }

    fn tell(&self, letter: &Letter) {
        self.members.values().for_each(|member| member.post(letter.clone()));
    }
}

fn refuse(mailbox: &Mailbox, client_id: Option<&str>, why: Refusal) {
    mailbox.post(Out::Refused { client_id, why, text: why.text() }.letter());
}

fn sent(mailbox: &Mailbox, client_id: &str, id: Id) {
    mailbox.post(Out::Sent { client_id, id: id.to_string() }.letter());
}

/// Waits before it reports a change of the number of members: a thousand clients that join at once cause one message each,
/// not a thousand.
async fn presence(chat: Arc<Chat>) {
    let mut told = 0;
    loop {
        chat.changed.notified().await;
        sleep(PRESENCE).await;
        let table = chat.lock();
        let here = table.members.len();
        if here != told {
            told = here;
            table.tell(&Out::Presence { here }.letter());
        }
    }
}

/// A socket's membership in the chat, ended on drop.
pub(super) struct Seat {
    chat: Arc<Chat>,
    mailbox: Arc<Mailbox>,
    number: u64,
    name: String,
    pace: Pace,
}

/// The client sends far more than a person can.
pub(super) struct Flood;

impl Seat {
    /// # Errors
    /// If the client keeps sending too fast after many refusals.
    pub(super) fn hear(&mut self, letter: &Letter) -> Result<(), Flood> {
        let command = match letter {
            Letter::Text(text) => serde_json::from_str::<Command>(text).ok(),
            Letter::Binary(_) => None,
        };
        let client_id = match &command {
            Some(Command::Say { client_id, .. }) if manners::is_client_id(client_id) => Some(client_id.as_str()),
            Some(Command::Say { .. } | Command::Name { .. }) | None => None,
        };
        let refuse = |why| refuse(&self.mailbox, client_id, why);
        match self.pace.step() {
            Allowance::Fine => {}
            Allowance::TooFast => {
                refuse(Refusal::TooFast);
                return Ok(());
            }
            Allowance::Flood => return Err(Flood),
        }
        match &command {
            None => refuse(Refusal::Malformed),
            Some(Command::Name { name }) => self.name = manners::name(name),
            Some(Command::Say { text, .. }) => match (client_id, manners::text(text)) {
                (None, _) => refuse(Refusal::Malformed),
                (_, Err(why)) => refuse(why),
                (Some(client_id), Ok(text)) => {
                    let (from, pod) = (self.name.clone(), self.chat.pod.clone());
                    let draft = Draft { from, text, pod, client_id: client_id.to_owned() };
                    self.chat.say(draft, &self.mailbox);
                }
            },
        }
        Ok(())
    }

    /// The notice for a client that was too slow for this many messages.
    #[expect(clippy::unused_self, reason = "only members of the chat get this")]
    pub(super) fn missed(&self, messages: u64) -> Letter {
        Out::Missed { messages }.letter()
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.chat.lock().members.remove(&self.number);
        self.chat.changed.notify_one();
    }
}
