//! Reads a checkpoint. (It is written as the fleet's fields are; those that are derived are rebuilt here.)

use super::{Fleet, Longest, Replica};
use crate::ids::{PoolId, ReplicaId, Timeline};
use crate::lapse::Lapse;
use crate::pool::Pool;
use crate::time::Time;
use alloc::collections::BTreeMap;
use alloc::string::String;
use serde::Deserialize;

/// The checkpoint as it is stored: derived fields are rebuilt when it is read.
#[derive(Deserialize)]
struct Checkpoint {
    format: u32,
    pools: BTreeMap<PoolId, Pool>,
    replicas: BTreeMap<ReplicaId, Replica>,
    now: Time,
    journal: Time,
    applied: u64,
    alive: Time,
    lapse: Option<Lapse>,
    semantics: u32,
    #[serde(default)]
    timeline: Timeline,
    #[serde(default)]
    stalled: Time,
}

impl<'de> Deserialize<'de> for Fleet {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Fleet, D::Error> {
        let c = Checkpoint::deserialize(deserializer)?;
        if c.format != Fleet::FORMAT {
            let message: String = alloc::format!("checkpoint format {} is not {}", c.format, Fleet::FORMAT);
            return Err(serde::de::Error::custom(message));
        }
        let Checkpoint {
            format,
            mut pools,
            replicas,
            now,
            journal,
            applied,
            alive,
            lapse,
            semantics,
            timeline,
            stalled,
        } = c;
        pools.values_mut().for_each(Pool::reindex);
        let longest = Longest::default();
        let fleet = Fleet {
            format,
            pools,
            replicas,
            now,
            journal,
            applied,
            alive,
            lapse,
            semantics,
            timeline,
            stalled,
            longest,
        };
        Ok(fleet.renewed())
    }
}
