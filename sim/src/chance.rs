//! All chance of a run: one seed, and a stream of random numbers for each thing that draws, by name. What one thing
//! draws does not move what another draws: the same visitors come whatever the pods do. How operators write
//! distributions is in `chance/draw.rs`, how they write arrivals in `chance/arrivals.rs`.

mod arrivals;
mod draw;
mod duration;

pub use arrivals::{Arrivals, Burst, Moments};
pub use draw::Draw;
pub use duration::{milliseconds, spoken};

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

/// A seed, from which every stream follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chance {
    pub seed: u64,
}

/// What somebody wrote, why it means nothing, and what would.
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

    /// The stream of this name: always the same numbers for the same seed and name.
    #[must_use]
    pub fn stream(self, name: &str) -> ChaCha8Rng {
        let mut stream = ChaCha8Rng::seed_from_u64(self.seed);
        // FNV-1a: ChaCha keeps streams apart by any number.
        let number = name
            .bytes()
            .fold(0xCBF2_9CE4_8422_2325u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3));
        stream.set_stream(number);
        stream
    }
}
