//! A hash map that cannot be iterated in hash order, so that order can never show in the state. The hash is fixed:
//! session ids are minted and signed, so a client can neither choose them nor make them collide.

use crate::ids::SessionId;
use alloc::vec::Vec;
use core::fmt;
use core::hash::{BuildHasherDefault, Hash, Hasher};
use hashbrown::HashMap;

#[derive(Clone, Default)]
pub(crate) struct Mix(u64);

impl Hasher for Mix {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        for &b in bytes {
            self.write_u64(u64::from(b));
        }
    }
    fn write_u64(&mut self, n: u64) {
        self.0 = (self.0.rotate_left(26) ^ n).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        self.0 ^= self.0 >> 32;
    }
    fn write_u128(&mut self, n: u128) {
        self.write_u64(n as u64);
        self.write_u64((n >> 64) as u64);
    }
}

#[derive(Clone)]
pub(crate) struct Lookup<K, V>(HashMap<K, V, BuildHasherDefault<Mix>>);

impl<K: Hash + Eq + Ord + Copy + fmt::Debug, V: fmt::Debug> fmt::Debug for Lookup<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.sorted()).finish()
    }
}

impl<K, V> Default for Lookup<K, V> {
    fn default() -> Self {
        Lookup(HashMap::default())
    }
}

impl<K: Hash + Eq + Ord + Copy, V> Lookup<K, V> {
    pub(crate) fn get(&self, key: K) -> Option<&V> {
        self.0.get(&key)
    }
    pub(crate) fn get_mut(&mut self, key: K) -> Option<&mut V> {
        self.0.get_mut(&key)
    }
    pub(crate) fn insert(&mut self, key: K, value: V) -> Option<V> {
        self.0.insert(key, value)
    }
    pub(crate) fn remove(&mut self, key: K) -> Option<V> {
        self.0.remove(&key)
    }
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
    /// All entries in order of their keys. O(n log n): for listings, checkpoints and changes of the rules.
    pub(crate) fn sorted(&self) -> Vec<(K, &V)> {
        let mut all: Vec<_> = self.0.iter().map(|(k, v)| (*k, v)).collect();
        all.sort_unstable_by_key(|(k, _)| *k);
        all
    }
}

impl<V: serde::Serialize> serde::Serialize for Lookup<SessionId, V> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.sorted())
    }
}

impl<'de, V: serde::Deserialize<'de>> serde::Deserialize<'de> for Lookup<SessionId, V> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let all: Vec<(SessionId, V)> = serde::Deserialize::deserialize(deserializer)?;
        Ok(Lookup(all.into_iter().collect()))
    }
}
