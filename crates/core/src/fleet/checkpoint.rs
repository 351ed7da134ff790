//! Reads a checkpoint: it is stored as the fleet's fields are, and those that are derived are rebuilt here.

use super::Fleet;
use crate::pool::Pool;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

impl Serialize for Fleet {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // The function that is derived from the fields.
        Fleet::serialize(self, serializer)
    }
}

impl<'de> Deserialize<'de> for Fleet {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Fleet, D::Error> {
        let mut fleet = Fleet::deserialize(deserializer)?;
        if fleet.format != Fleet::FORMAT {
            let message = alloc::format!("checkpoint format {} is not {}", fleet.format, Fleet::FORMAT);
            return Err(serde::de::Error::custom(message));
        }
        fleet.pools.values_mut().for_each(Pool::reindex);
        Ok(fleet.renewed())
    }
}
