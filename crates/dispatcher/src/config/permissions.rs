//! Warns of secrets and folders that other users can read or write.

use std::fs::Metadata;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

const OTHERS_READ: u32 = 0o004;
const OTHERS_WRITE: u32 = 0o022;
/// In a folder with this bit, users cannot replace files of other users.
const STICKY: u32 = 0o1000;

/// What is wrong with the permissions of a file that holds a secret; `None` if nothing is, or the file is not found.
pub(crate) fn of_secret(file: &Path) -> Option<String> {
    let found = std::fs::metadata(file).ok()?;
    let shown = file.display();
    let mode = mode(&found);
    if mode & OTHERS_WRITE != 0 {
        return Some(format!("{shown} can be written by other users (mode {mode:04o}); wanted: 0600 or 0640"));
    }
    if mode & OTHERS_READ != 0 {
        return Some(format!("{shown} can be read by every user (mode {mode:04o}); wanted: 0600 or 0640"));
    }
    of_parent(file)
}

/// What is wrong with the permissions of a folder that no other user should be able to write to.
pub(crate) fn of_folder(folder: &Path) -> Option<String> {
    let found = std::fs::metadata(folder).ok()?;
    let mode = mode(&found);
    let is_open = mode & OTHERS_WRITE != 0;
    is_open.then(|| format!("{} can be written by other users (mode {mode:04o}); wanted: 0700", folder.display()))
}

/// Warns if other users can write to the file's folder, so that they can replace the file.
fn of_parent(file: &Path) -> Option<String> {
    // Symbolic links are followed: a mounted Kubernetes secret is one.
    let real = std::fs::canonicalize(file).ok()?;
    let folder = real.parent()?;
    let found = std::fs::metadata(folder).ok()?;
    let mode = mode(&found);
    let is_open = mode & OTHERS_WRITE != 0 && mode & STICKY == 0 && !is_private_group(&found);
    is_open.then(|| format!("other users can replace {}: {} has mode {mode:04o}", file.display(), folder.display()))
}

/// True if the folder is writable for the owner's private group only, as many systems create folders.
fn is_private_group(found: &Metadata) -> bool {
    mode(found) & 0o002 == 0 && found.uid() == found.gid()
}

fn mode(found: &Metadata) -> u32 {
    found.permissions().mode() & 0o7777
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, Permissions};

    #[test]
    fn a_file_that_others_can_read_write_or_replace_is_reported() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("keys");
        fs::write(&file, "x").unwrap();
        let with = |file_mode, folder_mode| {
            fs::set_permissions(&file, Permissions::from_mode(file_mode)).unwrap();
            fs::set_permissions(folder.path(), Permissions::from_mode(folder_mode)).unwrap();
            of_secret(&file).unwrap_or_default()
        };
        assert_eq!(with(0o600, 0o700), "");
        assert_eq!(with(0o640, 0o755), "");
        assert!(with(0o644, 0o700).contains("can be read by every user (mode 0644)"));
        assert!(with(0o660, 0o700).contains("can be written by other users (mode 0660)"));
        assert!(with(0o600, 0o777).contains("other users can replace"));
        assert_eq!(with(0o600, 0o1777), "");
        assert_eq!(of_secret(&folder.path().join("none")), None);
        fs::set_permissions(folder.path(), Permissions::from_mode(0o777)).unwrap();
        assert!(of_folder(folder.path()).unwrap().contains("can be written by other users (mode 0777)"));
        fs::set_permissions(folder.path(), Permissions::from_mode(0o750)).unwrap();
        assert_eq!(of_folder(folder.path()), None);
    }
}
