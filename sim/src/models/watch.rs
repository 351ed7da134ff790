//! The API server's watch, as one client sees it: a store whose objects have resource versions, and cursors over its
//! changes. Events arrive late, in order, sometimes twice; a broken watch loses the events in flight, deletions
//! included, and resumes with the missed changes or with a complete list. The driver decides how late and how often.
//! Not modelled: selectors, bookmarks, pages.

use std::collections::{BTreeMap, VecDeque};

/// The objects and their changes. O(log n) per change.
#[derive(Clone, Debug)]
pub struct Store<K, O> {
    objects: BTreeMap<K, O>,
    version: u64,
    /// The latest changes, without gaps: older ones are compacted.
    changes: VecDeque<Change<O>>,
    kept: usize,
}

/// One change of the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change<O> {
    pub what: What,
    /// The object after the change, or its last state before a deletion.
    pub object: O,
    pub version: u64,
    /// When the change was made.
    pub at: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    Added,
    Modified,
    Deleted,
}

/// An event that a client reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event<O> {
    pub news: News<O>,
    /// The resource version of the object or of the list.
    pub version: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News<O> {
    Added(O),
    Modified(O),
    Deleted(O),
    /// The complete list: absent objects no longer exist.
    Relist(Vec<O>),
}

/// How a change reaches a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fate {
    /// Milliseconds from the change to its arrival. Order is preserved: a change never arrives before the previous
    /// one.
    pub delay: u64,
    /// The change arrives twice.
    pub twice: bool,
}

/// One client's position in the changes of a store.
#[derive(Clone, Debug)]
pub struct Watch<O> {
    /// The version up to which changes have been taken from the store; `arrived` is the version up to which they have
    /// arrived.
    taken: u64,
    arrived: u64,
    /// Events in flight, with their time of arrival; each waits for the earlier ones.
    coming: VecDeque<(u64, Event<O>)>,
    open: bool,
}

impl<K: Ord + Clone, O: Clone> Store<K, O> {
    /// `kept`: how many changes a client may be behind before it has to list again.
    #[must_use]
    pub fn new(kept: usize) -> Store<K, O> {
        Store { objects: BTreeMap::new(), version: 0, changes: VecDeque::new(), kept }
    }

    /// Creates or replaces the object, and returns the new resource version.
    pub fn put(&mut self, key: K, object: O, now: u64) -> u64 {
        let before = self.objects.insert(key, object.clone());
        let what = if before.is_some() { What::Modified } else { What::Added };
        self.record(what, object, now)
    }

    /// Deletes the object, and returns the version of the deletion; `None` if there is no such object.
    pub fn delete(&mut self, key: &K, now: u64) -> Option<u64> {
        let object = self.objects.remove(key)?;
        Some(self.record(What::Deleted, object, now))
    }

    #[must_use]
    pub fn get(&self, key: &K) -> Option<&O> {
        self.objects.get(key)
    }

    /// Returns every object, ordered by key.
    #[must_use]
    pub fn list(&self) -> Vec<O> {
        self.objects.values().cloned().collect()
    }

    pub fn iter(&self) -> impl Iterator<Item = (&K, &O)> {
        self.objects.iter()
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.objects.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.objects.is_empty()
    }

    /// Returns the version of the last change.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    fn record(&mut self, what: What, object: O, at: u64) -> u64 {
        self.version += 1;
        self.changes.push_back(Change { what, object, version: self.version, at });
        while self.changes.len() > self.kept {
            self.changes.pop_front();
        }
        self.version
    }

    /// Returns the changes after `version`; `None` if some of them are compacted (HTTP 410).
    fn since(&self, version: u64) -> Option<impl Iterator<Item = &Change<O>>> {
        let missing = self.version.saturating_sub(version);
        let skip = self.changes.len().checked_sub(usize::try_from(missing).ok()?)?;
        Some(self.changes.iter().skip(skip))
    }
}

impl<O: Clone> Watch<O> {
    /// Creates a client that has received nothing: `resume` it to begin with a list.
    #[must_use]
    pub fn new() -> Watch<O> {
        Watch { taken: 0, arrived: 0, coming: VecDeque::new(), open: false }
    }

    #[must_use]
    pub fn is_open(&self) -> bool {
        self.open
    }

    /// Sends the store's new changes to the client. A closed watch gets nothing; the server closes one that is too
    /// far behind (after `resume` it lists again).
    pub fn take<K: Ord + Clone>(&mut self, store: &Store<K, O>, mut fate: impl FnMut(&Change<O>) -> Fate) {
        if !self.open {
            return;
        }
        let Some(changes) = store.since(self.taken) else {
            self.break_watch();
            return;
        };
        for change in changes {
            let Fate { delay, twice } = fate(change);
            let at = change.at.saturating_add(delay);
            let event = Event::of(change);
            if twice {
                self.coming.push_back((at, event.clone()));
            }
            self.coming.push_back((at, event));
        }
        self.taken = store.version();
    }

    /// Returns what has arrived by now.
    pub fn poll(&mut self, now: u64) -> Vec<Event<O>> {
        let mut events = Vec::new();
        while let Some((at, _)) = self.coming.front()
            && *at <= now
            && let Some((_, event)) = self.coming.pop_front()
        {
            self.arrived = event.version;
            events.push(event);
        }
        events
    }

    /// Returns when the next event arrives.
    #[must_use]
    pub fn next(&self) -> Option<u64> {
        self.coming.front().map(|(at, _)| *at)
    }

    /// The connection breaks, and the events in flight are lost.
    pub fn break_watch(&mut self) {
        self.open = false;
        self.coming.clear();
        self.taken = self.arrived;
    }

    /// Connects again: with the changes after the last one that arrived, or, if `relist` is set or the server no
    /// longer has these changes, with a complete list of the current objects, arriving `delay` later.
    pub fn resume<K: Ord + Clone>(&mut self, store: &Store<K, O>, relist: bool, now: u64, delay: u64) {
        self.break_watch();
        self.open = true;
        if relist || self.arrived == 0 || store.since(self.arrived).is_none() {
            let event = Event { news: News::Relist(store.list()), version: store.version() };
            self.coming.push_back((now.saturating_add(delay), event));
            self.taken = store.version();
        }
    }
}

impl<O: Clone> Default for Watch<O> {
    fn default() -> Watch<O> {
        Watch::new()
    }
}

impl<O: Clone> Event<O> {
    fn of(change: &Change<O>) -> Event<O> {
        let object = change.object.clone();
        let news = match change.what {
            What::Added => News::Added(object),
            What::Modified => News::Modified(object),
            What::Deleted => News::Deleted(object),
        };
        Event { news, version: change.version }
    }
}
