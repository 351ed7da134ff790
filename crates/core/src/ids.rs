//! Identifiers. They are created outside (except a timeline that its entry does not name); the core only compares them.

use alloc::sync::Arc;
use core::fmt;
use core::net::SocketAddr;
use serde::{Deserialize, Serialize};

/// A pool's name, as in the configuration. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PoolId(pub Arc<str>);

/// The id in one signed cookie: 128 random bits from the operating system. Never logged.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SessionId(pub u128);

/// A pod's stable index in its pool (the number in a StatefulSet pod's name).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Ordinal(pub u32);

/// One life of a dispatcher process, which ends when the fleet gives it up: random, never used twice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ReplicaId(pub u64);

/// One continuous history of the journal. A loss of entries ends it, and another one begins. The number is random, so that
/// no two histories share one; 0: the history of entries that were written before timelines existed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Timeline(pub u64);

/// One life of a pod, as the cluster names it (Kubernetes: `metadata.uid`). Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Uid(pub Arc<str>);

/// A session is bound to this: one life of a pod and the address of that life. Never to a name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Incarnation {
    /// The life of the pod.
    pub uid: Uid,
    /// Where its requests go.
    pub address: SocketAddr,
}

impl From<&str> for PoolId {
    fn from(name: &str) -> PoolId {
        PoolId(name.into())
    }
}

impl From<&str> for Uid {
    fn from(uid: &str) -> Uid {
        Uid(uid.into())
    }
}

impl fmt::Debug for PoolId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for PoolId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for SessionId {
    /// Six hex digits of a mix of the id: enough to follow a session through a log, useless for forging one.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let folded = (self.0 as u64) ^ ((self.0 >> 64) as u64).rotate_left(29);
        write!(f, "s:{:06x}", folded.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40)
    }
}

impl fmt::Debug for ReplicaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "r:{:06x}", self.0 & 0xff_ffff)
    }
}

impl Timeline {
    /// The timeline of entries that were written before timelines existed.
    pub const FIRST: Timeline = Timeline(0);

    /// For `serde`.
    pub(crate) fn is_first(&self) -> bool {
        *self == Timeline::FIRST
    }
}

impl fmt::Debug for Timeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "t:{:06x}", self.0 & 0xff_ffff)
    }
}

/// As it is written in annotations: 16 hex digits.
impl fmt::Display for Timeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl core::str::FromStr for Timeline {
    type Err = core::num::ParseIntError;

    /// # Errors
    /// If it is not a hexadecimal number of at most 64 bits.
    fn from_str(text: &str) -> Result<Timeline, Self::Err> {
        u64::from_str_radix(text, 16).map(Timeline)
    }
}

impl fmt::Debug for Ordinal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

impl fmt::Display for Ordinal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl fmt::Debug for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
