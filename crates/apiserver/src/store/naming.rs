//! Uids and generated names: from a counter and a seed, mixed to look random.

#[derive(Debug)]
pub(super) struct Names {
    seed: u64,
    born: u64,
}

impl Names {
    pub(super) fn new(seed: u64) -> Names {
        Names { seed, born: 0 }
    }

    pub(super) fn uid(&mut self) -> String {
        self.born += 1;
        let (high, low) = (mix(self.seed ^ (self.born << 1)), mix(!self.seed ^ (self.born << 1 | 1)));
        format!(
            "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
            high >> 32,
            high >> 16 & 0xffff,
            high & 0xfff,
            low >> 48 & 0x3fff | 0x8000,
            low & 0xffff_ffff_ffff,
        )
    }

    /// The suffix of a generated name.
    pub(super) fn suffix(&mut self) -> String {
        self.born += 1;
        letters(mix(self.seed ^ self.born.wrapping_mul(31)), 5)
    }
}

/// splitmix64: mixes a counter so that it looks random.
pub(crate) fn mix(counter: u64) -> u64 {
    let mut x = counter.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ x >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ x >> 31
}

/// The letters of Kubernetes' generated names, which cannot spell a word.
pub(crate) fn letters(mut number: u64, count: usize) -> String {
    const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    let base = LETTERS.len() as u64;
    (0..count)
        .map(|_| {
            let letter = LETTERS[usize::try_from(number % base).unwrap_or(0)];
            number /= base;
            char::from(letter)
        })
        .collect()
}
