//! The list of games. Built-in ones are assembled from `games/*.asm`; if there is a games folder, its ROM files replace
//! them. A file that cannot be played is listed with the reason.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use super::asm::{self, SourceError};
use super::chip8::{Machine, Quirks, ROM_LIMIT, RomError};

/// The limit for files that are read.
const FILES_LIMIT: usize = 256;
const KIT: &str = include_str!("../../games/kit.asm");
const TITLE: &str = include_str!("../../games/title.asm");
const BUILT_IN: [(&str, &str); 3] = [
    ("bricks", include_str!("../../games/bricks.asm")),
    ("snake", include_str!("../../games/snake.asm")),
    ("starfall", include_str!("../../games/starfall.asm")),
];

/// One playable game.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Game {
    /// Lower-case letters, digits and dashes: safe in file names.
    pub(crate) id: String,
    pub(crate) title: String,
    pub(crate) about: String,
    pub(crate) rom: Vec<u8>,
    pub(crate) quirks: Quirks,
    /// Instructions per frame.
    pub(crate) speed: u32,
}

impl Game {
    /// A hash that distinguishes versions of a game (FNV-1a, 64 bit). Saves contain it.
    pub(crate) fn digest(&self) -> u64 {
        self.rom
            .iter()
            .fold(0xCBF2_9CE4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01B3))
    }

    /// # Errors
    /// If the ROM cannot be loaded.
    pub(crate) fn machine(&self, seed: u64) -> Result<Machine, RomError> {
        Machine::new(&self.rom, self.quirks, seed)
    }
}

/// A file that is not a game, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unusable {
    pub(crate) file: String,
    pub(crate) reason: String,
}

/// All games, sorted by id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Shelf {
    pub(crate) games: Vec<Arc<Game>>,
    pub(crate) unusable: Vec<Unusable>,
}

impl Shelf {
    pub(crate) fn find(&self, id: &str) -> Option<&Arc<Game>> {
        self.games.iter().find(|game| game.id == id)
    }

    /// # Errors
    /// If a built-in source does not assemble (a test ensures that all do).
    pub(crate) fn built_in() -> Result<Shelf, SourceError> {
        let games = BUILT_IN.into_iter().map(|(id, source)| built_in(id, source).map(Arc::new));
        Ok(Shelf { games: games.collect::<Result<_, _>>()?, unusable: Vec::new() })
    }

    /// Reads the games in the folder. If the folder cannot be read, returns the built-in games and lists the folder with the
    /// reason.
    ///
    /// # Errors
    /// Like [`Shelf::built_in`].
    pub(crate) fn read(folder: &Path) -> Result<Shelf, SourceError> {
        let entries = match std::fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) => {
                let mut shelf = Shelf::built_in()?;
                let reason = format!("the games folder cannot be read: {error}");
                shelf.unusable.push(Unusable { file: folder.display().to_string(), reason });
                return Ok(shelf);
            }
        };
        let mut files: Vec<_> =
            entries.filter_map(|entry| Some(entry.ok()?.path())).filter(|path| is_rom(path)).collect();
        files.sort();
        files.truncate(FILES_LIMIT);
        let mut games = BTreeMap::new();
        let mut unusable = Vec::new();
        for path in files {
            let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            match from_file(&path) {
                Ok(game) if games.contains_key(&game.id) => {
                    unusable.push(Unusable { file, reason: "another file has the same name".to_owned() });
                }
                Ok(game) => {
                    games.insert(game.id.clone(), Arc::new(game));
                }
                Err(reason) => unusable.push(Unusable { file, reason }),
            }
        }
        Ok(Shelf { games: games.into_values().collect(), unusable })
    }
}

/// The program that runs while no game is selected.
pub(crate) fn title() -> Result<Game, SourceError> {
    built_in("title", TITLE)
}

fn built_in(id: &str, source: &str) -> Result<Game, SourceError> {
    // The kit's numbers come first, because the source uses them, and its code last: the machine starts at the first byte.
    let (numbers, code): (Vec<&str>, Vec<&str>) = KIT.lines().partition(|line| line.contains(" = "));
    let program = asm::assemble(&format!("{}\n{source}\n{}", numbers.join("\n"), code.join("\n")))?;
    Ok(Game {
        id: id.to_owned(),
        title: program.title,
        about: program.about,
        rom: program.rom,
        quirks: Quirks::SUPER,
        speed: program.speed.unwrap_or(60),
    })
}

fn is_rom(path: &Path) -> bool {
    quirks_of(path).is_some()
}

/// The file extension names the machine that a file was made for, and so its speed.
fn quirks_of(path: &Path) -> Option<(Quirks, u32)> {
    match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
        "ch8" => Some((Quirks::VIP, 15)),
        "sc8" => Some((Quirks::SUPER, 60)),
        _ => None,
    }
}

fn from_file(path: &Path) -> Result<Game, String> {
    let (quirks, speed) = quirks_of(path).ok_or("not a ROM file")?;
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let id = id_of(&stem);
    if id.is_empty() {
        return Err("its name has neither letters nor digits".to_owned());
    }
    if !path.is_file() {
        return Err("not a file".to_owned());
    }
    // One byte more than the limit is enough to know that a file is too large.
    let mut rom = Vec::new();
    let file = std::fs::File::open(path).map_err(|error| format!("cannot be read: {error}"))?;
    let size = file.metadata().map(|facts| facts.len()).unwrap_or(0);
    file.take(ROM_LIMIT as u64 + 1).read_to_end(&mut rom).map_err(|error| format!("cannot be read: {error}"))?;
    if rom.len() > ROM_LIMIT {
        return Err(RomError::TooLarge(usize::try_from(size).unwrap_or(usize::MAX).max(rom.len())).to_string());
    }
    Machine::new(&rom, quirks, 0).map_err(|error| error.to_string())?;
    let title = stem.replace('_', " ").trim().to_owned();
    Ok(Game { id, title, about: String::new(), rom, quirks, speed })
}

fn id_of(stem: &str) -> String {
    let mut id = String::new();
    for letter in stem.chars().take(64) {
        if letter.is_ascii_alphanumeric() {
            id.push(letter.to_ascii_lowercase());
        } else if !id.is_empty() && !id.ends_with('-') {
            id.push('-');
        }
    }
    id.trim_end_matches('-').to_owned()
}

#[cfg(test)]
mod tests;
