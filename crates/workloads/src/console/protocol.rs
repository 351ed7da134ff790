//! The socket's messages: commands in, states and frames out. `console.rs` documents the protocol.

use bytes::{BufMut, Bytes, BytesMut};
use serde::{Deserialize, Serialize};

use super::chip8::screen::Screen;

/// The largest message a client may send, in bytes.
pub const MESSAGE_LIMIT: usize = 4096;
const FRAME_VERSION: u8 = 1;

/// A command of a client, as JSON with a `type`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase", deny_unknown_fields)]
pub enum Command {
    /// A key of the hexadecimal keypad (0 to 15) was pressed or released.
    Key {
        /// The key, 0 to 15.
        key: u8,
        /// Whether it was pressed.
        down: bool,
    },
    /// Start this game.
    Choose {
        /// The game's id in [`State::games`].
        game: String,
    },
    /// Return to the menu.
    Menu,
    /// Restart the game.
    Reset,
    /// Save the game in a slot, 1 to 8.
    Save {
        /// The slot, 1 to 8.
        slot: u8,
    },
    /// Load the game from a slot.
    Load {
        /// The slot, 1 to 8.
        slot: u8,
    },
    /// The machine's speed in percent: 25 to 400.
    Speed {
        /// Per cent of the normal speed.
        percent: u16,
    },
    /// Pause or continue.
    Pause {
        /// Whether the game is to pause.
        on: bool,
    },
    /// Whether clients should sound the buzzer.
    Sound {
        /// Whether it sounds.
        on: bool,
    },
}

/// All that a page shows in addition to the screen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct State {
    /// Always `state`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// Name of the pod.
    pub pod: String,
    /// The menu.
    pub games: Vec<Listed>,
    /// Id of the running game; none: the menu.
    pub playing: Option<String>,
    /// Why the machine has halted.
    pub halted: Option<String>,
    /// Whether the game is paused.
    pub paused: bool,
    /// The speed in per cent of the normal one.
    pub speed_percent: u16,
    /// Whether clients sound the buzzer.
    pub sound: bool,
    /// Whether there is a data folder for saves.
    pub saving: bool,
    /// Number of slots for saved games.
    pub slots: u8,
    /// Used slots of the running game.
    pub saves: Vec<Save>,
    /// Sockets of the player's session.
    pub sockets: usize,
    /// The last notice for the player.
    pub notice: Option<Notice>,
}

/// A game in the menu.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Listed {
    /// What [`Command::Choose`] names.
    pub id: String,
    /// The game's name.
    pub title: String,
    /// One line on how it is played.
    pub about: String,
    /// Why it cannot be played.
    pub unusable: Option<String>,
}

/// A used slot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Save {
    /// The slot, 1 to 8.
    pub slot: u8,
    /// Milliseconds since 1970.
    pub saved_at_ms: u64,
}

/// A notice that is shown once; a new number is a new notice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Notice {
    /// Counts the notices.
    pub number: u64,
    /// The notice.
    pub text: String,
    /// Whether something has failed.
    pub bad: bool,
}

/// A picture for the clients.
#[derive(Clone, Debug, Default)]
pub(crate) struct Frame {
    pub(crate) number: u32,
    pub(crate) bytes: Bytes,
}

impl Frame {
    pub(crate) fn new(number: u32, screen: &Screen, sounds: bool) -> Frame {
        let mut bytes = BytesMut::with_capacity(6 + screen.width() * screen.height() / 8);
        bytes.put_u8(FRAME_VERSION);
        bytes.put_u8(u8::from(screen.is_large()) | u8::from(sounds) << 1);
        bytes.put_u32(number);
        bytes.extend(screen.packed());
        Frame { number, bytes: bytes.freeze() }
    }
}
