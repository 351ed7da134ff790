//! Prefix sums over ordinals that can change one at a time (a Fenwick tree): "how many free slots are there below n",
//! and "what is the least n with this many", both in O(log n).

use alloc::vec;
use alloc::vec::Vec;

#[derive(Clone, Debug, Default)]
pub(crate) struct Prefix {
    value: Vec<u32>,
    tree: Vec<u64>,
}

impl Prefix {
    /// `len` ordinals with `each` apiece.
    pub(crate) fn new(len: u32, each: u32) -> Prefix {
        let mut tree = vec![0u64; len as usize + 1];
        for i in 1..tree.len() {
            tree[i] += u64::from(each);
            let parent = i + (i & i.wrapping_neg());
            if parent < tree.len() {
                tree[parent] += tree[i];
            }
        }
        Prefix { value: vec![each; len as usize], tree }
    }

    pub(crate) fn len(&self) -> u32 {
        self.value.len() as u32
    }

    pub(crate) fn get(&self, ordinal: u32) -> u32 {
        self.value.get(ordinal as usize).copied().unwrap_or(0)
    }

    /// Ordinals outside the range hold nothing and cannot be set.
    pub(crate) fn set(&mut self, ordinal: u32, to: u32) {
        let Some(value) = self.value.get_mut(ordinal as usize) else { return };
        let (old, new) = (u64::from(*value), u64::from(to));
        *value = to;
        let mut i = ordinal as usize + 1;
        while i < self.tree.len() {
            self.tree[i] = self.tree[i] + new - old;
            i += i & i.wrapping_neg();
        }
    }

    /// The sum over the ordinals below `end`.
    pub(crate) fn below(&self, end: u32) -> u64 {
        let mut i = end.min(self.len()) as usize;
        let mut sum = 0;
        while i > 0 {
            sum += self.tree[i];
            i &= i - 1;
        }
        sum
    }

    /// The least `n` with `below(n) >= want`, or the length if there is none.
    pub(crate) fn least(&self, want: u64) -> u32 {
        if want == 0 {
            return 0;
        }
        let (mut at, mut left) = (0usize, want);
        let mut step = self.tree.len().next_power_of_two();
        while step > 0 {
            if at + step < self.tree.len() && self.tree[at + step] < left {
                at += step;
                left -= self.tree[at];
            }
            step /= 2;
        }
        (at as u32 + 1).min(self.len())
    }
}

#[cfg(test)]
mod tests {
    use super::Prefix;

    #[test]
    fn sums_and_searches_agree_with_counting() {
        for len in [0, 1, 2, 3, 7, 8, 9, 100] {
            let mut p = Prefix::new(len, 2);
            for i in 0..len {
                p.set(i, (i * 7) % 3);
            }
            let mut sum = 0;
            for end in 0..=len {
                assert_eq!(p.below(end), sum);
                sum += u64::from(p.get(end));
            }
            for want in 0..=p.below(len) {
                let by_hand = (0..=len).find(|&n| p.below(n) >= want);
                assert_eq!(Some(p.least(want)), by_hand, "len {len} want {want}");
            }
            assert_eq!(p.least(u64::MAX), len);
        }
    }
}
