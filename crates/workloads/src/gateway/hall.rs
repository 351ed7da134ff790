//! The list of connected sockets, and of the members of each room. The chat has its own list, next to its history.

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
    /// Sockets that are not closing.
    all: HashMap<u64, Arc<Mailbox>>,
    rooms: HashMap<String, HashMap<u64, Arc<Mailbox>>>,
}

/// A socket's entry in the list, removed on drop.
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

    /// Sends a message to all sockets in the room, including the sender.
    pub(super) fn tell(&self, room: &str, letter: &Letter) {
        for mailbox in self.lock().rooms.get(room).into_iter().flat_map(HashMap::values) {
            mailbox.post(letter.clone());
        }
    }

    /// Closes `so_many` of the sockets that are not closing yet. Returns how many of these are left.
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
