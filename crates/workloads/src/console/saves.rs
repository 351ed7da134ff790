//! Saved machines, in files of this pod: `FOLDER/saves/GAME/SLOT.json`. A file is either complete or absent (it is written
//! under another name, synced, renamed); a damaged one, or one of another version of the game, is refused with a message.

use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::chip8::Machine;
use super::chip8::snapshot::{Damaged, Snapshot};
use super::games::Game;
use super::protocol::Save;

/// Saves per game: slots 1 to 8.
pub(crate) const SLOTS: u8 = 8;
/// The limit for reading a save, in bytes; a save has about 11 KB.
const FILE_LIMIT: u64 = 64 * 1024;
const FORMAT: u32 = 1;

/// Why a game was not saved or loaded; shown to the player.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SaveError {
    #[error("saving is off: this console has no data folder")]
    Off,
    #[error("there is no save slot {0}")]
    NoSuchSlot(u8),
    #[error("a game that has ended cannot be saved")]
    Halted,
    #[error("slot {0} is empty")]
    Empty(u8),
    #[error("the save in slot {0} is damaged: {1}")]
    Unreadable(u8, #[source] serde_json::Error),
    #[error("the save in slot {0} is damaged: {1}")]
    Damaged(u8, #[source] Damaged),
    #[error("the save in slot {0} has format {1}, this console reads {FORMAT}")]
    Format(u8, u32),
    #[error("the save in slot {0} belongs to another version of the game")]
    OtherRom(u8),
    #[error("the data folder is unavailable: {0}")]
    Disk(#[from] std::io::Error),
}

#[derive(Serialize, Deserialize)]
struct SaveFile {
    format: u32,
    game: String,
    rom: String,
    machine: Snapshot,
}

/// The folder of the saves. All calls block on the disk.
#[derive(Clone, Debug)]
pub(crate) struct Saves {
    folder: Option<PathBuf>,
}

impl Saves {
    /// Creates the folder.
    ///
    /// # Errors
    /// If it cannot be created.
    pub(crate) fn open(data: Option<&Path>) -> std::io::Result<Saves> {
        let folder = data.map(|data| data.join("saves"));
        if let Some(folder) = &folder {
            fs::create_dir_all(folder)?;
        }
        Ok(Saves { folder })
    }

    pub(crate) fn are_on(&self) -> bool {
        self.folder.is_some()
    }

    /// The used slots of a game, and when each was saved.
    pub(crate) fn list(&self, game: &str) -> Vec<Save> {
        (1..=SLOTS)
            .filter_map(|slot| {
                let modified = fs::metadata(self.path(game, slot).ok()?).ok()?.modified().ok()?;
                let since = modified.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
                Some(Save { slot, saved_at_ms: since.as_millis() as u64 })
            })
            .collect()
    }

    pub(crate) fn save(&self, game: &Game, slot: u8, machine: &Machine) -> Result<(), SaveError> {
        let path = self.path(&game.id, slot)?;
        if machine.halt().is_some() {
            return Err(SaveError::Halted);
        }
        let file = SaveFile {
            format: FORMAT,
            game: game.id.clone(),
            rom: format!("{:016x}", game.digest()),
            machine: machine.snapshot(),
        };
        let text = serde_json::to_vec(&file).map_err(std::io::Error::other)?;
        let beside = path.with_extension("json.new");
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
            let mut new = File::create(&beside)?;
            new.write_all(&text)?;
            new.sync_all()?;
            fs::rename(&beside, &path)?;
            File::open(folder)?.sync_all()?;
        }
        Ok(())
    }

    pub(crate) fn load(&self, game: &Game, slot: u8) -> Result<Machine, SaveError> {
        let path = self.path(&game.id, slot)?;
        let mut text = Vec::new();
        match File::open(path) {
            Ok(file) => file.take(FILE_LIMIT).read_to_end(&mut text)?,
            Err(error) if error.kind() == ErrorKind::NotFound => return Err(SaveError::Empty(slot)),
            Err(error) => return Err(error.into()),
        };
        let file: SaveFile = serde_json::from_slice(&text).map_err(|error| SaveError::Unreadable(slot, error))?;
        if file.format != FORMAT {
            return Err(SaveError::Format(slot, file.format));
        }
        if file.rom != format!("{:016x}", game.digest()) {
            return Err(SaveError::OtherRom(slot));
        }
        Machine::restore(&file.machine, game.quirks).map_err(|damaged| SaveError::Damaged(slot, damaged))
    }

    fn path(&self, game: &str, slot: u8) -> Result<PathBuf, SaveError> {
        if !(1..=SLOTS).contains(&slot) {
            return Err(SaveError::NoSuchSlot(slot));
        }
        Ok(self.folder.as_ref().ok_or(SaveError::Off)?.join(game).join(format!("{slot}.json")))
    }
}
