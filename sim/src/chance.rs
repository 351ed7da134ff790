//! Randomness of a run: one seed, and one named stream of random numbers for each consumer. Consumers do not
//! influence each other: the same visitors arrive whatever the pods do. `chance/draw.rs` parses distributions,
//! `chance/arrivals.rs` parses arrival rates.

mod arrivals;
mod draw;
mod duration;

pub use arrivals::{Arrivals, Burst, Moments};
pub use draw::Draw;
pub use duration::{milliseconds, spoken};

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

/// The seed of all streams of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chance {
    pub seed: u64,
}

/// An argument that cannot be parsed: its text, the problem, and the allowed form.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} {problem}; allowed: {allowed}")]
pub struct Unreadable {
    pub text: String,
    pub problem: &'static str,
    pub allowed: &'static str,
}

impl Chance {
    #[must_use]
    pub fn new(seed: u64) -> Chance {
        Chance { seed }
    }

    /// Returns the stream with this name: the same numbers for the same seed and name.
    #[must_use]
    pub fn stream(self, name: &str) -> ChaCha8Rng {
        let mut stream = ChaCha8Rng::seed_from_u64(self.seed);
        // FNV-1a of the name: a ChaCha stream is selected by a number.
        let number = name
            .bytes()
            .fold(0xCBF2_9CE4_8422_2325u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3));
        stream.set_stream(number);
        stream
    }
}
