//! A checkpoint equals the state at its position.

use super::Oracle;

impl Oracle {
    /// A checkpoint has been written: it must equal the state at its position.
    pub fn kept(&self, position: u64, state: &[u8]) {
        let at = self.now();
        let mut inner = self.locked();
        inner.count("checkpoint kept".into());
        let Ok(found) = inner.states.binary_search_by_key(&position, |(p, _)| *p) else { return };
        let real = inner.states.get(found).and_then(|(_, fleet)| serde_json::to_vec(fleet).ok());
        if real.as_deref() != Some(state) {
            let what = format!("a checkpoint differs from the state at position {position}");
            inner.violate(at, "a checkpoint equals the state at its position", what);
        }
    }
}
