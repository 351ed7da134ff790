//! The running pods on disk: one record for each pod, in a folder that only the dispatcher's user can access. The next
//! dispatcher uses them to adopt or end the pods of a former one.

use super::family;
use super::wire::Leader;
use serde::{Deserialize, Serialize};
use std::fs::{self, DirBuilder, File, TryLockError};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// Folder of the records in the pool's data folder. (A pod's folder is named by its ordinal.)
pub(crate) const FOLDER: &str = ".slotkeeper";

/// One pod that was started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) uid: String,
    pub(super) ordinal: u32,
    pub(super) address: SocketAddr,
    /// The digest of the settings with which it was started.
    pub(super) settings: String,
    /// The boot of the machine in which the pids are valid.
    pub(super) boot: String,
    pub(super) supervisor: Leader,
    /// The pod's own process, once it runs.
    pub(super) leader: Option<Leader>,
    pub(super) cgroup: Option<PathBuf>,
    /// Set if it outlives the dispatcher.
    pub(super) adopt: bool,
}

impl Record {
    /// Reports whether its supervisor still runs.
    pub(super) fn is_supervised(&self) -> bool {
        self.boot == family::boot() && family::is_alive(self.supervisor.pid, self.supervisor.started)
    }
}

/// The records of one pool, locked against other dispatchers.
pub(super) struct Records {
    folder: PathBuf,
    _lock: File,
    writing: Mutex<()>,
}

impl Records {
    /// Opens the records in the pool's data folder; creates and locks their folder.
    ///
    /// # Errors
    /// Why they cannot be used, in words.
    pub(super) fn open(data_folder: &Path) -> Result<Records, String> {
        let folder = data_folder.join(FOLDER);
        let problem = |e: io::Error| format!("{} cannot be used: {e}", folder.display());
        let folder = std::path::absolute(&folder).map_err(problem)?;
        fs::create_dir_all(data_folder).map_err(problem)?;
        match DirBuilder::new().mode(0o700).create(&folder) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(problem(e)),
            _ => {}
        }
        let found = fs::symlink_metadata(&folder).map_err(problem)?;
        if !found.is_dir() || found.uid() != rustix::process::geteuid().as_raw() {
            return Err(format!("{} is not a folder of this user: remove it", folder.display()));
        }
        let lock = options().write(true).create(true).truncate(false).open(folder.join("lock")).map_err(problem)?;
        match lock.try_lock() {
            Ok(()) => Ok(Records { folder, _lock: lock, writing: Mutex::default() }),
            Err(TryLockError::WouldBlock) => Err(format!(
                "another dispatcher uses the data folder {}; allowed: another folder",
                data_folder.display()
            )),
            Err(TryLockError::Error(e)) => Err(problem(e)),
        }
    }

    /// Returns every readable record.
    pub(super) fn all(&self) -> Vec<Record> {
        let files = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        let records = files.filter(|file| file.path().extension().is_some_and(|e| e == "json"));
        records.filter_map(|file| read(&file.path())).collect()
    }

    pub(super) fn get(&self, ordinal: u32) -> Option<Record> {
        read(&self.file(ordinal))
    }

    /// Writes a record atomically.
    pub(super) fn put(&self, record: &Record) -> io::Result<()> {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let new = self.folder.join(format!("{}.new", record.ordinal));
        match fs::remove_file(&new) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        let mut file = options().write(true).create_new(true).open(&new)?;
        file.write_all(&serde_json::to_vec(record)?)?;
        fs::rename(&new, self.file(record.ordinal))
    }

    /// Removes the record of this incarnation; that of a later one stays.
    pub(super) fn remove(&self, ordinal: u32, uid: &str) {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        if self.get(ordinal).is_some_and(|record| record.uid == uid) {
            let _ = fs::remove_file(self.file(ordinal));
        }
    }

    /// Returns the socket at which the supervisor of this ordinal listens.
    pub(super) fn socket(&self, ordinal: u32) -> PathBuf {
        self.folder.join(format!("{ordinal}.sock"))
    }

    /// Returns where a folder is moved before it is deleted.
    pub(super) fn rubbish(&self, uid: &str) -> PathBuf {
        self.folder.join(format!("deleted-{uid}"))
    }

    /// Deletes the moved folders that former dispatchers have not deleted.
    pub(super) fn delete_rubbish(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with("deleted-") {
                super::folders::delete(&entry.path())?;
            }
        }
        Ok(())
    }

    fn file(&self, ordinal: u32) -> PathBuf {
        self.folder.join(format!("{ordinal}.json"))
    }
}

/// Follows no symbolic link; new files are accessible only to this user.
fn options() -> fs::OpenOptions {
    let mut options = File::options();
    options.mode(0o600).custom_flags(libc::O_NOFOLLOW);
    options
}

fn read(file: &Path) -> Option<Record> {
    let mut text = String::new();
    io::Read::read_to_string(&mut options().read(true).open(file).ok()?, &mut text).ok()?;
    serde_json::from_str(&text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(ordinal: u32) -> Record {
        let leader = Leader { pid: 1, started: 2 };
        Record {
            uid: "u".into(),
            ordinal,
            address: "127.0.0.1:1".parse().unwrap(),
            settings: "s".into(),
            boot: family::boot(),
            supervisor: leader,
            leader: None,
            cgroup: None,
            adopt: true,
        }
    }

    #[test]
    fn records_are_stored_replaced_and_removed() {
        let folder = tempfile::tempdir().unwrap();
        let records = Records::open(folder.path()).unwrap();
        records.put(&record(3)).unwrap();
        let changed = Record { leader: Some(Leader { pid: 7, started: 8 }), ..record(3) };
        records.put(&changed).unwrap();
        assert_eq!(records.get(3), Some(changed.clone()));
        fs::write(folder.path().join(FOLDER).join("4.json"), "{").unwrap();
        assert_eq!(records.all(), [changed], "unreadable records are skipped");
        records.remove(3, "another");
        assert!(records.get(3).is_some());
        records.remove(3, "u");
        assert_eq!(records.get(3), None);
        assert!(!record(1).is_supervised(), "process 1 did not start at 2");
    }

    #[test]
    fn only_one_dispatcher_can_open_them_and_a_link_in_their_place_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let first = Records::open(folder.path()).unwrap();
        let said = Records::open(folder.path()).err().unwrap();
        assert!(said.starts_with("another dispatcher uses the data folder "), "{said}");
        drop(first);
        let other = tempfile::tempdir().unwrap();
        fs::remove_dir_all(folder.path().join(FOLDER)).unwrap();
        std::os::unix::fs::symlink(other.path(), folder.path().join(FOLDER)).unwrap();
        let said = Records::open(folder.path()).err().unwrap();
        assert!(said.contains("is not a folder of this user"), "{said}");
        assert_eq!(fs::read_dir(other.path()).unwrap().count(), 0, "nothing was written there");
    }

    #[test]
    fn a_link_in_place_of_a_record_is_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let records = Records::open(folder.path()).unwrap();
        let precious = folder.path().join("precious");
        fs::write(&precious, "precious").unwrap();
        for name in ["0.json", "0.new"] {
            std::os::unix::fs::symlink(&precious, folder.path().join(FOLDER).join(name)).unwrap();
        }
        assert_eq!(records.get(0), None);
        records.put(&record(0)).unwrap();
        assert_eq!(fs::read_to_string(&precious).unwrap(), "precious");
    }
}
