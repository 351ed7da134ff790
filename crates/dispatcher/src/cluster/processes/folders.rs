//! The pods' data folders: creates and checks them, and empties them between two lives if configured. Nothing here follows
//! a symbolic link that a pod may have put in the place of its folder or into it.

use super::records::Records;
use crate::io::accounts::Account;
use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// Creates the folder if it is missing, owned by `account` if there is one, and checks that it is writable.
///
/// # Errors
/// Why the folder cannot be used, in words.
pub(super) fn prepare(folder: &Path, uid: &str, account: Option<&Account>) -> Result<(), String> {
    let problem = |e: io::Error| format!("cannot write in the data folder {}: {e}", folder.display());
    if let Some(parent) = folder.parent() {
        fs::create_dir_all(parent).map_err(problem)?;
    }
    match fs::create_dir(folder) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(problem(e)),
        _ => {}
    }
    let found = fs::symlink_metadata(folder).map_err(problem)?;
    if found.is_symlink() {
        let what = "is a symbolic link; allowed: a folder, or a file system that is mounted there";
        return Err(format!("the data folder {} {what}", folder.display()));
    }
    if let Some(account) = account {
        // The owner can write there; this process may not be allowed to.
        std::os::unix::fs::lchown(folder, Some(account.uid), Some(account.gid)).map_err(problem)?;
        return Ok(());
    }
    // The uid is random, so no pod can have created this name before; and no link is followed.
    let trial = folder.join(format!(".slotkeeper-{uid}"));
    let mut options = File::options();
    options.write(true).create_new(true).mode(0o600).custom_flags(libc::O_NOFOLLOW).open(&trial).map_err(problem)?;
    fs::remove_file(&trial).map_err(problem)
}

/// Creates the folders in a pod's folder that programs find through environment variables.
pub(super) fn make_private(folder: &Path, names: &[&str], account: Option<&Account>) -> Result<(), String> {
    for name in names {
        let path = folder.join(name);
        let problem = |e: io::Error| format!("cannot create {}: {e}", path.display());
        match fs::create_dir(&path) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => continue,
            made => made.map_err(problem)?,
        }
        fs::set_permissions(&path, Permissions::from_mode(0o700)).map_err(problem)?;
        if let Some(account) = account {
            std::os::unix::fs::lchown(&path, Some(account.uid), Some(account.gid)).map_err(problem)?;
        }
    }
    Ok(())
}

/// Moves all files of a former pod away, then deletes them. After success the old place is empty.
///
/// # Errors
/// If some files remain, at the old place or elsewhere.
pub(super) fn wipe(folder: &Path, uid: &str, records: &Records) -> io::Result<()> {
    let rubbish = records.rubbish(uid);
    match fs::rename(folder, &rubbish) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        // A file system is mounted there: its content can be deleted, the folder cannot.
        Err(e) if matches!(e.kind(), io::ErrorKind::ResourceBusy | io::ErrorKind::CrossesDevices) => {
            for entry in fs::read_dir(folder)? {
                delete(&entry?.path())?;
            }
            Ok(())
        }
        Err(e) => Err(e),
        Ok(()) => delete(&rubbish),
    }
}

/// Deletes a file, a link (not its target), or a folder with all its content.
pub(super) fn delete(path: &Path) -> io::Result<()> {
    if !fs::symlink_metadata(path)?.is_dir() {
        return fs::remove_file(path);
    }
    fs::remove_dir_all(path).or_else(|_| {
        open_up(path)?;
        fs::remove_dir_all(path)
    })
}

/// Makes folders accessible again that their owner has closed (`chmod 000`), which an ordinary user cannot empty. All are
/// below a folder that no pod can reach any more, and the pod's processes have ended, so nothing changes meanwhile.
fn open_up(folder: &Path) -> io::Result<()> {
    fs::set_permissions(folder, Permissions::from_mode(0o700))?;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            open_up(&entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_in_place_of_a_pods_folder_is_refused_and_wiped_without_its_target() {
        let place = tempfile::tempdir().unwrap();
        let (data, precious) = (place.path().join("data"), place.path().join("precious"));
        fs::create_dir_all(&precious).unwrap();
        fs::write(precious.join("file"), "precious").unwrap();
        let records = Records::open(&data).unwrap();
        let folder = data.join("0");
        std::os::unix::fs::symlink(&precious, &folder).unwrap();
        let said = prepare(&folder, "u", None).unwrap_err();
        assert!(said.contains("is a symbolic link"), "{said}");
        wipe(&folder, "u", &records).unwrap();
        assert!(fs::symlink_metadata(&folder).is_err());
        prepare(&folder, "u", None).unwrap();
        std::os::unix::fs::symlink(&precious, folder.join("inside")).unwrap();
        fs::create_dir(folder.join("closed")).unwrap();
        fs::write(folder.join("closed").join("secret"), "x").unwrap();
        fs::set_permissions(folder.join("closed"), Permissions::from_mode(0o000)).unwrap();
        wipe(&folder, "v", &records).unwrap();
        assert!(fs::symlink_metadata(&folder).is_err());
        assert!(fs::symlink_metadata(records.rubbish("v")).is_err());
        assert_eq!(fs::read_to_string(precious.join("file")).unwrap(), "precious");
    }

    #[test]
    fn the_file_that_checks_the_folder_is_not_written_through_a_link() {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("0");
        fs::create_dir(&folder).unwrap();
        let precious = place.path().join("precious");
        fs::write(&precious, "precious").unwrap();
        std::os::unix::fs::symlink(&precious, folder.join(".slotkeeper-u")).unwrap();
        assert!(prepare(&folder, "u", None).is_err());
        assert_eq!(fs::read_to_string(&precious).unwrap(), "precious");
    }

    #[test]
    fn files_that_a_former_dispatcher_has_not_deleted_are_deleted_by_the_next() {
        let place = tempfile::tempdir().unwrap();
        let records = Records::open(place.path()).unwrap();
        fs::create_dir(records.rubbish("old")).unwrap();
        fs::write(records.rubbish("old").join("file"), "x").unwrap();
        records.delete_rubbish().unwrap();
        assert!(!records.rubbish("old").exists());
        wipe(&place.path().join("7"), "new", &records).unwrap();
    }
}
