//! One process at a time writes to a folder. The operating system releases the lock when its process ends, however it ends.

use super::OpenError;
use slotkeeper_core::planted;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read as _, Seek as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::Duration;

/// Held until it is dropped.
pub(super) struct Lock {
    _file: File,
}

const NAME: &str = "lock";

/// A process that only checks whether a folder is in use holds the lock for a moment: not a reason to give up.
const ATTEMPTS: u32 = 5;
const PAUSE: Duration = Duration::from_millis(20);

pub(super) fn take(folder: &Path) -> Result<Lock, OpenError> {
    let path = folder.join(NAME);
    let io = |source| OpenError::Io { what: "lock", path: path.clone(), source };
    let mut options = OpenOptions::new();
    let mut file = options.read(true).write(true).create(true).truncate(false).mode(0o600).open(&path).map_err(io)?;
    for attempt in 1.. {
        match lock(&file) {
            Ok(()) => break,
            Err(TryLockError::WouldBlock) if attempt < ATTEMPTS => std::thread::sleep(PAUSE),
            Err(TryLockError::WouldBlock) => {
                return Err(OpenError::InUse { folder: folder.to_owned(), process: process(&mut file) });
            }
            Err(TryLockError::Error(source)) => return Err(io(source)),
        }
    }
    // The process id, for error messages only.
    let _ = file.set_len(0).and_then(|()| file.rewind());
    let _ = writeln!(file, "{}", std::process::id());
    Ok(Lock { _file: file })
}

fn lock(file: &File) -> Result<(), TryLockError> {
    planted!(LockIgnored => Ok(()));
    file.try_lock()
}

/// The id of the process that uses the folder now.
pub(super) fn holder(folder: &Path) -> Option<String> {
    let mut file = File::open(folder.join(NAME)).ok()?;
    match file.try_lock_shared() {
        Err(TryLockError::WouldBlock) => Some(process(&mut file)),
        Ok(()) | Err(TryLockError::Error(_)) => None,
    }
}

fn process(file: &mut File) -> String {
    let mut text = String::new();
    // Without a process id, the message is only less specific.
    let _ = file.take(20).read_to_string(&mut text);
    let digits = text.trim();
    if digits.is_empty() { "(unknown)".to_owned() } else { digits.to_owned() }
}
