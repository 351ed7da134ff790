//! The console's machine: a CHIP-8 with the SUPER-CHIP additions (128x64 screen, scrolling, 16x16 sprites). Pure and
//! deterministic: no clock (a frame is one call), no randomness except from a seed, no I/O, and no panic whatever the ROM
//! does: an invalid ROM halts the machine, with a reason for the player.
//!
//! The instructions follow Cowgod's "Chip-8 Technical Reference". Where machines differ, [`Quirks`] selects the behaviour,
//! by the names in Timendus' "CHIP-8 test suite" (its quirks ROM).

mod instructions;
pub mod screen;
pub mod snapshot;
#[cfg(test)]
mod tests;

use screen::Screen;

/// Bytes of memory.
pub const MEMORY: usize = 4096;
/// Where a ROM is loaded and started.
pub const START: u16 = 0x200;
/// The largest ROM, in bytes.
pub const ROM_LIMIT: usize = MEMORY - START as usize;
const STACK: usize = 16;
const FONT_AT: usize = 0x50;
const BIG_FONT_AT: usize = 0xA0;

/// Differences between CHIP-8 machines. "Clipping" is not one here: sprites are always clipped at the edges, as on both
/// machines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quirks {
    /// "vF reset": 8XY1, 8XY2 and 8XY3 set VF to 0.
    pub logic_clears_flag: bool,
    /// "Memory": FX55 and FX65 leave I after the last byte.
    pub memory_moves_index: bool,
    /// "Shifting": 8XY6 and 8XYE shift VY into VX, rather than VX in place.
    pub shift_reads_y: bool,
    /// "Jumping": BXNN adds VX, rather than V0.
    pub jump_adds_x: bool,
    /// "Display wait": a sprite in low resolution ends the frame, as if waiting for the vertical blank.
    pub draw_waits: bool,
}

impl Quirks {
    /// The COSMAC VIP of 1977, for which files named `.ch8` are written.
    pub const VIP: Quirks = Quirks {
        logic_clears_flag: true,
        memory_moves_index: true,
        shift_reads_y: true,
        jump_adds_x: false,
        draw_waits: true,
    };
    /// SUPER-CHIP 1.1, for which the built-in games and files named `.sc8` are written.
    pub const SUPER: Quirks = Quirks {
        logic_clears_flag: false,
        memory_moves_index: false,
        shift_reads_y: false,
        jump_adds_x: true,
        draw_waits: false,
    };
}

/// Why a ROM cannot be loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RomError {
    /// There is nothing to run.
    #[error("the file is empty")]
    Empty,
    /// The ROM has this many bytes, and does not fit into the memory.
    #[error("too large: {0} bytes, the limit is {ROM_LIMIT}")]
    TooLarge(usize),
}

/// Why a machine has stopped until it is reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Halt {
    /// The game has ended itself (SCHIP's `exit`).
    #[error("the game ended")]
    Exit,
    /// There is no such instruction.
    #[error("invalid instruction {opcode:#06x} at {at:#05x}")]
    Invalid {
        /// The 16 bits of the instruction.
        opcode: u16,
        /// Its address.
        at: u16,
    },
    /// A call while the stack is full.
    #[error("more than {STACK} nested calls at {at:#05x}")]
    StackOverflow {
        /// The address of the call.
        at: u16,
    },
    /// A return while the stack is empty.
    #[error("return without a call at {at:#05x}")]
    StackUnderflow {
        /// The address of the return.
        at: u16,
    },
    /// The next instruction is outside of the memory.
    #[error("the program ran out of memory at {at:#05x}")]
    OutsideMemory {
        /// The address of that instruction.
        at: u16,
    },
}

/// One machine. Time passes only by [`Machine::frame`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    quirks: Quirks,
    memory: Box<[u8; MEMORY]>,
    v: [u8; 16],
    index: u16,
    counter: u16,
    stack: [u16; STACK],
    depth: usize,
    delay: u8,
    sound: u8,
    /// SUPER-CHIP's "RPL user flags" (FX75, FX85).
    flags: [u8; 16],
    /// One bit per key of the hexadecimal keypad.
    keys: u16,
    /// FX0A: the key that was pressed while waiting; the instruction ends when it is released, as on the VIP.
    pressed: Option<u8>,
    random: u64,
    halt: Option<Halt>,
    screen: Screen,
}

impl Machine {
    /// Loads `rom` into a new machine. The same seed gives the same random numbers.
    ///
    /// # Errors
    /// If the ROM is empty or too large.
    pub fn new(rom: &[u8], quirks: Quirks, seed: u64) -> Result<Machine, RomError> {
        if rom.is_empty() {
            return Err(RomError::Empty);
        }
        if rom.len() > ROM_LIMIT {
            return Err(RomError::TooLarge(rom.len()));
        }
        let mut memory = Box::new([0; MEMORY]);
        memory[FONT_AT..FONT_AT + FONT.len()].copy_from_slice(&FONT);
        memory[BIG_FONT_AT..BIG_FONT_AT + BIG_FONT.len()].copy_from_slice(&BIG_FONT);
        memory[START as usize..START as usize + rom.len()].copy_from_slice(rom);
        Ok(Machine {
            quirks,
            memory,
            v: [0; 16],
            index: 0,
            counter: START,
            stack: [0; STACK],
            depth: 0,
            delay: 0,
            sound: 0,
            flags: [0; 16],
            keys: 0,
            pressed: None,
            random: seed,
            halt: None,
            screen: Screen::default(),
        })
    }

    /// Runs a sixtieth of a second: timers count down once, then at most `instructions` are executed. Returns how many were.
    pub fn frame(&mut self, instructions: u32) -> u32 {
        if self.halt.is_some() {
            return 0;
        }
        self.delay = self.delay.saturating_sub(1);
        self.sound = self.sound.saturating_sub(1);
        for done in 1..=instructions {
            match self.step() {
                Ok(instructions::Next::Go) => {}
                Ok(instructions::Next::EndFrame) => return done,
                Err(halt) => {
                    self.halt = Some(halt);
                    self.sound = 0;
                    return done;
                }
            }
        }
        instructions
    }

    /// Sets which keys are down: bit `n` is key `n`.
    pub fn press(&mut self, keys: u16) {
        self.keys = keys;
    }

    /// Returns the screen as it is now.
    pub fn screen(&self) -> &Screen {
        &self.screen
    }

    /// Whether the buzzer sounds.
    pub fn sounds(&self) -> bool {
        self.sound > 0
    }

    /// Returns why the machine has stopped. `None` while it runs.
    pub fn halt(&self) -> Option<Halt> {
        self.halt
    }

    /// The next random number from the seed (SplitMix64, Steele, Lea and Flood 2014).
    fn next_random(&mut self) -> u8 {
        self.random = self.random.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed >> 56) as u8
    }
}

/// The digits 0 to F, 4x5, as in Cowgod's reference (§2.4).
#[rustfmt::skip]
pub(super) const FONT: [u8; 80] = [
    0xF0, 0x90, 0x90, 0x90, 0xF0,  0x20, 0x60, 0x20, 0x20, 0x70,  0xF0, 0x10, 0xF0, 0x80, 0xF0,  0xF0, 0x10, 0xF0, 0x10, 0xF0,
    0x90, 0x90, 0xF0, 0x10, 0x10,  0xF0, 0x80, 0xF0, 0x10, 0xF0,  0xF0, 0x80, 0xF0, 0x90, 0xF0,  0xF0, 0x10, 0x20, 0x40, 0x40,
    0xF0, 0x90, 0xF0, 0x90, 0xF0,  0xF0, 0x90, 0xF0, 0x10, 0xF0,  0xF0, 0x90, 0xF0, 0x90, 0x90,  0xE0, 0x90, 0xE0, 0x90, 0xE0,
    0xF0, 0x80, 0x80, 0x80, 0xF0,  0xE0, 0x90, 0x90, 0x90, 0xE0,  0xF0, 0x80, 0xF0, 0x80, 0xF0,  0xF0, 0x80, 0xF0, 0x80, 0x80,
];

/// SUPER-CHIP's large digits 0 to 9, 8x10 (drawn for this machine; A to F did not exist on the original).
#[rustfmt::skip]
const BIG_FONT: [u8; 100] = [
    0x3C, 0x7E, 0xE7, 0xC3, 0xC3, 0xC3, 0xC3, 0xE7, 0x7E, 0x3C,  0x18, 0x38, 0x58, 0x18, 0x18, 0x18, 0x18, 0x18, 0x18, 0x3C,
    0x3E, 0x7F, 0xC3, 0x06, 0x0C, 0x18, 0x30, 0x60, 0xFF, 0xFF,  0x3C, 0x7E, 0xC3, 0x03, 0x0E, 0x0E, 0x03, 0xC3, 0x7E, 0x3C,
    0x06, 0x0E, 0x1E, 0x36, 0x66, 0xC6, 0xFF, 0xFF, 0x06, 0x06,  0xFF, 0xFF, 0xC0, 0xC0, 0xFC, 0xFE, 0x03, 0xC3, 0x7E, 0x3C,
    0x3E, 0x7C, 0xE0, 0xC0, 0xFC, 0xFE, 0xC3, 0xC3, 0x7E, 0x3C,  0xFF, 0xFF, 0x03, 0x06, 0x0C, 0x18, 0x30, 0x60, 0x60, 0x60,
    0x3C, 0x7E, 0xC3, 0xC3, 0x7E, 0x7E, 0xC3, 0xC3, 0x7E, 0x3C,  0x3C, 0x7E, 0xC3, 0xC3, 0x7F, 0x3F, 0x03, 0x03, 0x3E, 0x7C,
];
