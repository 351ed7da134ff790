//! A saved machine, as stored in a file. Restoring validates everything: a truncated, edited or damaged file gives an error,
//! never a machine that could panic.

use serde::{Deserialize, Serialize};

use super::screen::Screen;
use super::{MEMORY, Machine, Quirks, STACK};

/// The whole state of a machine, except pressed keys, its quirks (they belong to the game) and a halt (a halted machine is
/// not saved). Bytes are hexadecimal text.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Snapshot {
    memory: String,
    registers: String,
    flags: String,
    screen: String,
    stack: Vec<u16>,
    index: u16,
    counter: u16,
    delay: u8,
    sound: u8,
    random: u64,
}

/// The part of a snapshot that is invalid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid {0}")]
pub struct Damaged(pub &'static str);

impl Machine {
    /// Returns the complete state, with which another machine continues exactly here.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            memory: to_hex(self.memory.iter().copied()),
            registers: to_hex(self.v.into_iter()),
            flags: to_hex(self.flags.into_iter()),
            screen: to_hex(self.screen.packed()),
            stack: self.stack[..self.depth].to_vec(),
            index: self.index,
            counter: self.counter,
            delay: self.delay,
            sound: self.sound,
            random: self.random,
        }
    }

    /// # Errors
    /// Names the damaged part.
    pub fn restore(snapshot: &Snapshot, quirks: Quirks) -> Result<Machine, Damaged> {
        let memory: [u8; MEMORY] = exactly(&snapshot.memory).ok_or(Damaged("memory"))?;
        let mut stack = [0; STACK];
        stack.get_mut(..snapshot.stack.len()).ok_or(Damaged("stack"))?.copy_from_slice(&snapshot.stack);
        // A counter near the end of u16 would overflow when it skips; no valid machine has one.
        if snapshot.stack.iter().chain([&snapshot.counter]).any(|address| usize::from(*address) > 2 * MEMORY) {
            return Err(Damaged("program counter"));
        }
        Ok(Machine {
            quirks,
            memory: Box::new(memory),
            v: exactly(&snapshot.registers).ok_or(Damaged("registers"))?,
            index: snapshot.index,
            counter: snapshot.counter,
            stack,
            depth: snapshot.stack.len(),
            delay: snapshot.delay,
            sound: snapshot.sound,
            flags: exactly(&snapshot.flags).ok_or(Damaged("flags"))?,
            keys: 0,
            pressed: None,
            random: snapshot.random,
            halt: None,
            screen: from_hex(&snapshot.screen).and_then(|bytes| Screen::unpack(&bytes)).ok_or(Damaged("screen"))?,
        })
    }
}

fn to_hex(bytes: impl Iterator<Item = u8>) -> String {
    bytes.flat_map(|byte| [byte >> 4, byte & 0xF]).filter_map(|digit| char::from_digit(u32::from(digit), 16)).collect()
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> = text.chars().map(|digit| digit.to_digit(16).map(|digit| digit as u8)).collect();
    let digits = digits?;
    digits.len().is_multiple_of(2).then(|| digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect())
}

fn exactly<const N: usize>(text: &str) -> Option<[u8; N]> {
    from_hex(text)?.try_into().ok()
}
