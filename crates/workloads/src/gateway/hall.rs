//! Who is here: all sockets, and who is in which room. The chat keeps its own list, next to its history.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::mailbox::{DRAIN, Letter, Mailbox};

#[derive(Default)]
pub(super) struct Hall {
    numbers: AtomicU64,
    guests: Mutex<Guests>,
}

#[derive(Default)]
struct Guests {
    /// Those that nobody has sent away yet.
    all: HashMap<u64, Arc<Mailbox>>,
    rooms: HashMap<String, HashMap<u64, Arc<Mailbox>>>,
}

/// One socket's presence, which ends on drop.
pub(super) struct Guest {
    hall: Arc<Hall>,
    pub(super) number: u64,
    room: Option<String>,
}

impl Hall {
    pub(super) fn enter(self: &Arc<Hall>, mailbox: &Arc<Mailbox>, room: Option<&str>) -> Guest {
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        let mut guests = self.lock();
        guests.all.insert(number, mailbox.clone());
        if let Some(room) = room {
            guests.rooms.entry(room.to_owned()).or_default().insert(number, mailbox.clone());
        }
        Guest { hall: self.clone(), number, room: room.map(str::to_owned) }
    }

    /// To everybody in the room, whoever says it included.
    pub(super) fn tell(&self, room: &str, letter: &Letter) {
        for mailbox in self.lock().rooms.get(room).into_iter().flat_map(HashMap::values) {
            mailbox.post(letter.clone());
        }
    }

    /// Sends away `so_many` of those that nobody has sent away yet. Returns how many are left.
    pub(super) fn send_away(&self, so_many: impl FnOnce(usize) -> usize) -> usize {
        let mut guests = self.lock();
        let so_many = so_many(guests.all.len());
        let chosen: Vec<u64> = guests.all.keys().take(so_many).copied().collect();
        for number in chosen {
            if let Some(mailbox) = guests.all.remove(&number) {
                mailbox.close(DRAIN);
            }
        }
        guests.all.len()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Guests> {
        self.guests.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let mut guests = self.hall.lock();
        guests.all.remove(&self.number);
        let Some(room) = &self.room else { return };
        let is_empty = guests.rooms.get_mut(room).is_some_and(|members| {
            members.remove(&self.number);
            members.is_empty()
        });
        if is_empty {
            guests.rooms.remove(room);
        }
    }
}
