//! The stage's disk operations: saves and the games folder. Disks may be slow (the games may be on a network): nothing here
//! blocks the thread, and every operation has a time limit.

use std::time::Duration;

use tokio::time::timeout;

use super::Player;
use crate::console::games::{Shelf, Unusable};
use crate::console::saves::SaveError;

/// The time limit of a disk operation.
const PATIENCE: Duration = Duration::from_secs(3);

impl Player {
    pub(super) async fn save(&mut self, slot: u8) {
        if !self.is_game() {
            return self.tell("Pick a game first.", true);
        }
        let (saves, game, machine) = (self.saves.clone(), self.game.clone(), self.machine.clone());
        match on_disk(move || saves.save(&game, slot, &machine)).await.and_then(|saved| saved) {
            Ok(()) => {
                self.metrics.saves_total.inc();
                self.tell(&format!("Saved in slot {slot}."), false);
            }
            Err(error) => self.save_failed(&error),
        }
        self.list_saves().await;
    }

    pub(super) async fn load(&mut self, slot: u8) {
        if !self.is_game() {
            return self.tell("Pick a game first.", true);
        }
        let (saves, game) = (self.saves.clone(), self.game.clone());
        match on_disk(move || saves.load(&game, slot)).await.and_then(|loaded| loaded) {
            Ok(machine) => {
                self.machine = machine;
                self.metrics.loads_total.inc();
                self.tell(&format!("Loaded slot {slot}."), false);
            }
            Err(error) => self.save_failed(&error),
        }
    }

    fn save_failed(&mut self, error: &SaveError) {
        tracing::info!(pod = self.config.name, game = self.game.id, %error, "not saved or loaded");
        self.metrics.save_errors_total.inc();
        let text = error.to_string();
        let mut letters = text.chars();
        let first = letters.next().map(|first| first.to_ascii_uppercase());
        self.tell(&format!("{}{}.", first.into_iter().collect::<String>(), letters.as_str()), true);
    }

    pub(super) async fn list_saves(&mut self) {
        let (saves, game) = (self.saves.clone(), self.game.clone());
        self.taken = on_disk(move || saves.list(&game.id)).await.unwrap_or_default();
    }

    /// Reads the games folder again, so that the next player's menu lists new ROMs.
    pub(super) async fn look_at_shelf(&mut self) {
        let Some(folder) = self.config.games.clone() else {
            return;
        };
        let shown = folder.display().to_string();
        match on_disk(move || Shelf::read(&folder)).await {
            Ok(Ok(shelf)) => {
                if shelf != self.shelf {
                    let (games, unusable) = (shelf.games.len(), shelf.unusable.len());
                    tracing::info!(pod = self.config.name, games, unusable, "games folder read");
                }
                self.shelf = shelf;
            }
            Ok(Err(error)) => tracing::error!(pod = self.config.name, %error, "a built-in game does not assemble"),
            Err(error) => {
                tracing::warn!(pod = self.config.name, %error, "games folder not read");
                self.shelf.unusable = vec![Unusable { file: shown, reason: "the games folder is unavailable".into() }];
            }
        }
    }
}

/// Runs a blocking operation with a time limit.
async fn on_disk<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, SaveError> {
    match timeout(PATIENCE, tokio::task::spawn_blocking(work)).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(error)) => Err(SaveError::Disk(std::io::Error::other(error))),
        Err(_) => Err(SaveError::Disk(std::io::ErrorKind::TimedOut.into())),
    }
}
