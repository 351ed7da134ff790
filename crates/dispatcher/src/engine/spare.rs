//! The second copy of the fleet. Requests read the view's copy, so no lock may be held on it for long. Entries are applied to
//! the spare one, without a lock, and then the two are exchanged. Between two batches the spare copy applies what it has
//! missed. So an entry that takes long (rules that change, a replica that leaves with all its sessions) stops no reader.
//!
//! A checkpoint is written from the spare copy, which is lent for that. Until it is returned, entries are applied to the
//! view's copy in place, and remembered.
//!
//! It costs the memory of one more fleet, and the time to apply each entry twice.

use slotkeeper_core::{Entry, Fleet, planted};
use std::mem;
use std::sync::Arc;

pub(super) struct Spare {
    /// Has more than one owner while it is lent.
    fleet: Arc<Fleet>,
    /// Entries that the view's copy has applied, and this one has not.
    behind: Vec<Entry>,
}

impl Spare {
    /// The second copy of this fleet.
    pub(super) fn of(fleet: &Fleet) -> Spare {
        Spare { fleet: Arc::new(fleet.clone()), behind: Vec::new() }
    }

    /// The copy, equal to the view's. `None` while it is lent.
    pub(super) fn current(&mut self) -> Option<&mut Fleet> {
        self.at(u64::MAX)
    }

    /// The copy, after the entries up to this position. `None` while it is lent.
    fn at(&mut self, position: u64) -> Option<&mut Fleet> {
        let fleet = Arc::get_mut(&mut self.fleet)?;
        let missing = usize::try_from(position.saturating_sub(fleet.applied())).unwrap_or(usize::MAX);
        for entry in self.behind.drain(..missing.min(self.behind.len())) {
            // The effects are known from the view's copy.
            let _ = fleet.apply(&entry);
        }
        Some(fleet)
    }

    /// Exchanges the copies. Nothing happens while this one is lent.
    pub(super) fn exchange(&mut self, view: &mut Fleet) {
        if let Some(fleet) = Arc::get_mut(&mut self.fleet) {
            mem::swap(fleet, view);
        }
    }

    /// Records what the view's copy has applied alone.
    pub(super) fn remember(&mut self, entries: Vec<Entry>) {
        if self.behind.is_empty() {
            self.behind = entries;
        } else {
            self.behind.extend(entries);
        }
    }

    /// The state at this position, which this copy has not passed, to be written while entries continue. `None` while the
    /// previous one is being written.
    pub(super) fn lend(&mut self, position: u64) -> Option<Arc<Fleet>> {
        planted!(WrongPosition => self.state_before(position));
        self.at(position)?;
        Some(self.fleet.clone())
    }

    #[cfg(feature = "planted")]
    fn state_before(&mut self, position: u64) -> Option<Arc<Fleet>> {
        let before = self.at(position - 1)?.clone();
        Some(Arc::new(before.at_the_position_of(self.at(position)?)))
    }
}

#[cfg(test)]
mod tests {
    use super::Spare;
    use slotkeeper_core::{Command, Entry, Fleet, ReplicaId, Rules, SessionId, Time};

    /// A pool, and then a visitor per entry.
    fn entries(numbers: std::ops::Range<u64>) -> Vec<Entry> {
        let command = |number| match number {
            1 => Command::Rules(Rules::default()),
            _ => Command::Visit { session: SessionId(number.into()), hint: None, class: 0 },
        };
        let entry = |number| Entry {
            at: Time(1_000 + number),
            from: ReplicaId(1),
            number,
            pool: "pool".into(),
            command: command(number),
        };
        numbers.map(entry).collect()
    }

    /// As the engine does.
    fn apply(spare: &mut Spare, view: &mut Fleet, entries: Vec<Entry>) {
        let apply = |fleet: &mut Fleet| entries.iter().for_each(|entry| drop(fleet.apply(entry)));
        match spare.current() {
            Some(fleet) => {
                apply(fleet);
                spare.exchange(view);
            }
            None => apply(view),
        }
        spare.remember(entries);
    }

    fn json(fleet: &Fleet) -> String {
        serde_json::to_string(fleet).unwrap()
    }

    #[test]
    fn both_copies_apply_every_entry_once_whether_or_not_one_is_lent() {
        let mut expected = Fleet::new();
        let (mut spare, mut view) = (Spare::of(&expected), Fleet::new());
        let mut lent = None;
        for first in (1..40).step_by(3) {
            let batch = entries(first..first + 3);
            let mut middle = expected.clone();
            batch[..2].iter().for_each(|entry| drop(middle.apply(entry)));
            batch.iter().for_each(|entry| drop(expected.apply(entry)));
            apply(&mut spare, &mut view, batch);
            assert_eq!(json(&view), json(&expected));
            match first % 4 {
                0 => {
                    // In the middle of the batch.
                    let state = spare.lend(first + 1).unwrap();
                    assert_eq!(json(&state), json(&middle));
                    assert!(spare.lend(first + 2).is_none() && spare.current().is_none(), "it is lent");
                    lent = Some((json(&state), state));
                }
                1 => {
                    if let Some((before, state)) = lent.take() {
                        assert_eq!(json(&state), before, "it does not change while it is lent");
                    }
                    assert_eq!(json(spare.current().unwrap()), json(&expected));
                }
                _ => {}
            }
        }
        assert!(expected.population() > 30);
    }
}
