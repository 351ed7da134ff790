//! Writes checkpoints, each on a connection of its own, so that a large checkpoint does not hold up appends.

use super::RedisHandle;
use super::connection::{Connection, LONG_TIMEOUT};
use super::trouble::{Kind, Trouble};
use crate::io::BoxFuture;
use crate::journal::{JournalError, Keep};
use redis::Value;
use slotkeeper_core::Fleet;
use std::sync::Arc;
use tokio::runtime::{Handle, RuntimeFlavor};

const KEEP: &str = include_str!("keep.lua");

pub(super) struct Keeper {
    handle: RedisHandle,
}

impl Keeper {
    pub(super) fn new(handle: RedisHandle) -> Keeper {
        Keeper { handle }
    }
}

impl Keep for Keeper {
    fn keep(&mut self, fleet: Arc<Fleet>) -> BoxFuture<'_, Result<(), JournalError>> {
        Box::pin(async move {
            self.handle.keep(&fleet).await.map_err(|trouble| {
                self.handle.metrics.errors.with_label_values(&[trouble.kind.word()]).inc();
                let what = format!("keeping the state in Redis at {}", self.handle.endpoint.address.host_port());
                JournalError::Io { what, source: std::io::Error::other(trouble) }
            })
        })
    }
}

impl RedisHandle {
    async fn keep(&self, fleet: &Fleet) -> Result<(), Trouble> {
        let Some(life) = self.shared.lock().life.clone() else {
            return Err(Trouble::new(Kind::Lapsed, "nothing has been read yet"));
        };
        let state = json(fleet)
            .map_err(|error| Trouble::new(Kind::Refused, format!("the state cannot be written as JSON: {error}")))?;
        let mut keep = redis::cmd("EVAL");
        keep.arg(KEEP).arg(3).arg(&self.keys.entries).arg(&self.keys.life).arg(&self.keys.checkpoint);
        keep.arg(life).arg(fleet.applied()).arg(fleet.journal().0).arg(state);
        fault_point!(RedisBeforeKeep, dropped => return Err(Trouble::new(Kind::Closed, "the connection broke")));
        let answers = Connection::open(&self.endpoint).await?.ask(&[&keep], LONG_TIMEOUT).await?;
        if answers == [Value::Int(1)] {
            self.metrics.kept.set(fleet.applied().cast_signed());
        }
        Ok(())
    }
}

/// A million sessions take a second. Meanwhile the other tasks of this thread continue on another one, if there are several.
fn json(fleet: &Fleet) -> serde_json::Result<Vec<u8>> {
    let write = || serde_json::to_vec(fleet);
    if Handle::current().runtime_flavor() == RuntimeFlavor::MultiThread {
        tokio::task::block_in_place(write)
    } else {
        write()
    }
}
