//! Checks cookies: which visitor has which one.

use super::Oracle;

impl Oracle {
    /// A visitor has this session's cookie.
    pub fn owns(&self, session: String) {
        self.locked().owned.insert(session);
    }

    /// Returns sessions of this pool that take part although no visitor has their cookie. (The second pool may be one that
    /// places a first request at once, and the answer with the cookie may be lost.)
    #[must_use]
    pub fn strangers(&self) -> Vec<String> {
        let inner = self.locked();
        inner.names.keys().filter(|name| !inner.owned.contains(*name)).cloned().collect()
    }

    /// One browser got these sessions, and uses one of them.
    pub fn one_of(&self, sessions: Vec<String>) {
        self.locked().choices.push(sessions);
    }

    /// Returns the number of browsers that got several sessions and use more than one.
    #[must_use]
    pub fn doubles(&self) -> usize {
        let others = self.beside.as_ref().map_or(0, |t| t.doubles());
        let inner = self.locked();
        let used = |names: &&Vec<String>| names.iter().filter(|name| inner.names.contains_key(*name)).count() > 1;
        others + inner.choices.iter().filter(used).count()
    }
}
