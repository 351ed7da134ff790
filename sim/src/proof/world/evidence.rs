//! Explains a broken promise: the journal's entries about one session with their effects, and the life of a pod.
//! Entries are kept in every world, but only formatted when a promise is broken.

use super::oracle::{Line, short};
use slotkeeper_core::{Command, Effect, Entry, Ordinal, ReplicaId, Session, SessionId, State, Uid};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Maximum number of remembered entries.
const ENTRIES: usize = 4_000;

/// The entries of one journal, in order.
#[derive(Default)]
pub struct Ledger {
    entries: VecDeque<Noted>,
    /// The dispatcher that wrote under each replica id.
    hosts: BTreeMap<ReplicaId, usize>,
}

struct Noted {
    at: u64,
    position: u64,
    entry: Entry,
    effects: Vec<Effect>,
    /// The state of the entry's session afterwards.
    state: Option<State>,
}

/// One line about a session or a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    pub at: u64,
    /// The position in the journal; none for events outside of it.
    pub position: Option<u64>,
    /// The dispatcher that wrote the entry.
    pub host: Option<usize>,
    pub text: String,
}

/// The history of one session or one pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    pub title: String,
    pub rows: Vec<Row>,
}

impl Ledger {
    pub fn writes_as(&mut self, host: usize, replica: ReplicaId) {
        self.hosts.insert(replica, host);
    }

    /// `after`: the entry's own session, after the entry.
    pub fn note(&mut self, at: u64, position: u64, entry: &Entry, effects: Vec<Effect>, after: Option<&Session>) {
        if self.entries.len() == ENTRIES {
            self.entries.pop_front();
        }
        let state = after.map(|session| session.state.clone());
        self.entries.push_back(Noted { at, position, entry: entry.clone(), effects, state });
    }

    /// Returns the sessions, then the pods, that a violation's text names.
    #[must_use]
    pub fn about(&self, what: &str, names: &BTreeMap<String, SessionId>, story: &VecDeque<Line>) -> Vec<Subject> {
        let words: BTreeSet<&str> = what.split(|c: char| !c.is_ascii_alphanumeric() && c != '-').collect();
        let sessions = names.iter().filter(|(name, _)| words.contains(short(name)) || words.contains(name.as_str()));
        let sessions = sessions.map(|(name, id)| self.session(short(name), *id));
        let pods = self.pods().into_iter().filter(|(_, uid)| words.contains(&*uid.0));
        let pods = pods.map(|(pod, uid)| self.pod(pod, &uid, story));
        sessions.chain(pods).filter(|subject| !subject.rows.is_empty()).collect()
    }

    fn host(&self, noted: &Noted) -> Option<usize> {
        self.hosts.get(&noted.entry.from).copied()
    }

    fn session(&self, name: &str, id: SessionId) -> Subject {
        let mut rows = Vec::new();
        for noted in &self.entries {
            let own = (subject(&noted.entry.command) == Some(id)).then(|| word(&noted.entry.command));
            let state = own.as_ref().and(noted.state.as_ref()).map(|state| self.state(state));
            let followed: Vec<String> = noted.effects.iter().filter_map(|effect| of_session(effect, id)).collect();
            if own.is_none() && followed.is_empty() {
                continue;
            }
            let mut text = own.unwrap_or_else(|| format!("({})", word(&noted.entry.command)));
            for what in followed.into_iter().chain(state) {
                text += &format!(", {what}");
            }
            let host = self.host(noted);
            rows.push(Row { at: noted.at, position: Some(noted.position), host, text });
        }
        Subject { title: format!("Session {name}"), rows }
    }

    fn state(&self, state: &State) -> String {
        let by = |by: &[ReplicaId]| {
            let names: Vec<String> = by
                .iter()
                .map(|r| self.hosts.get(r).map_or_else(|| format!("{r:?}"), |host| format!("d{host}")))
                .collect();
            names.join(", ")
        };
        match state {
            State::Queued { lost: true, .. } => "now queued (its pod was lost)".to_owned(),
            State::Queued { .. } => "now queued".to_owned(),
            State::Held { pod, came: true, .. } => format!("now held in pod {pod} (grace)"),
            State::Held { pod, .. } => format!("now held in pod {pod} (claim)"),
            State::Taken { pod, by: replicas } => format!("now taken in pod {pod} by {}", by(replicas)),
            State::Ending { pod, by: replicas, why } => {
                format!("now ending in pod {pod} ({}), open at {}", why.word(), by(replicas))
            }
        }
    }

    /// Returns all incarnations in the journal.
    fn pods(&self) -> BTreeSet<(Ordinal, Uid)> {
        let seen = self.entries.iter().filter_map(|noted| {
            let Command::PodSeen { pod, uid, .. } = &noted.entry.command else { return None };
            Some((*pod, uid.clone()))
        });
        seen.collect()
    }

    fn pod(&self, pod: Ordinal, uid: &Uid, story: &VecDeque<Line>) -> Subject {
        let mut rows = Vec::new();
        for noted in &self.entries {
            #[expect(clippy::wildcard_enum_match_arm, reason = "only these two are about one pod")]
            let text = match &noted.entry.command {
                Command::PodSeen { uid: seen, phase, .. } if seen == uid => Some(format!("PodSeen {}", first(phase))),
                Command::PodGone { uid: seen, .. } if seen == uid => Some("PodGone".to_owned()),
                _ => None,
            };
            let host = self.host(noted);
            rows.extend(text.map(|text| Row { at: noted.at, position: Some(noted.position), host, text }));
        }
        // Several dispatchers report the same phase one after the other.
        rows.dedup_by(|later, first| later.text == first.text);
        // Compares whole words: `pod-1` is not in `pod-12`.
        let names = |line: &&Line| {
            let mut words = line.text.split(|c: char| !c.is_ascii_alphanumeric() && c != '-');
            words.any(|word| word == &*uid.0) && !line.text.starts_with("BROKEN")
        };
        rows.extend(story.iter().filter(names).map(|line| Row {
            at: line.at,
            position: None,
            host: None,
            text: line.text.clone(),
        }));
        rows.sort_by_key(|row| row.at);
        Subject { title: format!("Pod {pod} ({})", uid.0), rows }
    }
}

/// Returns the session that an entry is about.
#[must_use]
#[expect(clippy::wildcard_enum_match_arm, reason = "only these are about one session")]
pub fn subject(command: &Command) -> Option<SessionId> {
    match command {
        Command::Visit { session, .. }
        | Command::Attach { session }
        | Command::Detach { session }
        | Command::Leave { session }
        | Command::Kick { session }
        | Command::Extend { session } => Some(*session),
        _ => None,
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "only these are about one session")]
fn of_session(effect: &Effect, id: SessionId) -> Option<String> {
    match effect {
        Effect::Placed { session, pod, waited } if *session == id => {
            Some(format!("placed in pod {pod} after {}.{:03} s", waited.0 / 1000, waited.0 % 1000))
        }
        Effect::Released { session, why, .. } if *session == id => Some(format!("released: {}", why.word())),
        Effect::Requeued { session, pod } if *session == id => Some(format!("lost pod {pod}, waits in front")),
        _ => None,
    }
}

/// Returns the command's name.
pub(super) fn word(command: &Command) -> String {
    first(command)
}

fn first(thing: &impl std::fmt::Debug) -> String {
    let debug = format!("{thing:?}");
    debug.split([' ', '(', '{']).next().unwrap_or_default().to_owned()
}
