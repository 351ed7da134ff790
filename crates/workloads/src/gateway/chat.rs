//! The chat: what is said in any pod reaches everybody in all pods, once, in one order, and those who come back get what they
//! missed.
//!
//! # One order
//!
//! A Redis stream is the truth. `say.lua` appends a message and publishes it in one step; the id it gets (`ms-number`) is
//! its place. Every pod subscribes, and delivers in the order of the ids what is newer than what it delivered last. Pub/sub is only the bell:
//! each notice says which id came before, so a pod that missed one knows, and after every loss of the connection, and every
//! two seconds in any case, it reads the stream from where it is. So nothing is delivered twice, and nothing that is in the stream
//! is left out.
//!
//! # Once
//!
//! A client makes an id for each message and says it again with the same id until it hears `sent`: the script remembers these ids for
//! an hour, and pods those of their history.
//!
//! # Coming back
//!
//! Every pod keeps the last messages (`--history`) in memory, in that order. Who comes back says which id it saw last (`?after=`), and gets what
//! came after it; joining and what is delivered are one after the other under one lock, so there is no gap and nothing twice. A pod whose
//! history does not reach back that far says so (`complete` is false).
//!
//! # Without Redis
//!
//! While it is away sockets stay open, history is served from memory, and whoever says something is told `refused` and says it again
//! later. When it comes back without its data, each pod first tells it the last id that it delivered: new ids are larger than
//! all of them, so clients never see them go backwards. What only that data had is lost; what pods delivered stays in their
//! history until they end.

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

/// How often those who are here hear how many they are, if it changed.
const PRESENCE: Duration = Duration::from_secs(1);

/// Who wants to come in.
pub(super) struct Arrival {
    name: String,
    after: Option<Id>,
}

impl Arrival {
    /// # Errors
    /// `after` is no id. A name can be anything: of it, what can be shown is taken.
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
    /// Redis has answered once, or there is none.
    is_met: AtomicBool,
    is_connected: AtomicBool,
    metrics: Arc<Metrics>,
    tasks: Mutex<JoinSet<()>>,
}

/// Under one lock, so that what a new member gets and what it hears fit together.
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

    /// A pod that has never seen Redis knows nothing of what was said: others should be asked.
    pub(super) fn is_waiting_for_first_contact(&self) -> bool {
        !self.is_met.load(Ordering::Relaxed)
    }

    /// Lets a socket in: who is here, and what was said that it does not know.
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

    /// All sockets hear that the pod goes, and how long that takes.
    pub(super) fn shut_down(&self, time: Duration) {
        let mut table = self.lock();
        table.stopping = Some(time.as_secs());
        table.tell(&Out::ServerShutdown { in_seconds: time.as_secs() }.letter());
    }

    /// Nothing is delivered any more.
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

    /// The last id that was delivered here.
    fn last(&self) -> Id {
        self.lock().log.last()
    }

    fn deliver(&self, id: Id, draft: &Draft) {
        self.lock().deliver(id, draft, &self.metrics);
    }

    /// What cannot be delivered is behind us all the same.
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
    /// Passes a message on to everybody here, unless that has been done. Whatever is not newer than the last one has been.
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

/// A thousand who come at once are one piece of news, not a thousand for each of a thousand.
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

/// One socket's place in the chat, given back on drop.
pub(super) struct Seat {
    chat: Arc<Chat>,
    mailbox: Arc<Mailbox>,
    number: u64,
    name: String,
    pace: Pace,
}

/// Far more than anybody can have to say.
pub(super) struct Flood;

impl Seat {
    /// # Errors
    /// The client goes on and on although it is told that it is too fast.
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

    /// The client was too slow for so many messages.
    #[expect(clippy::unused_self, reason = "only who sits in the chat is told")]
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
