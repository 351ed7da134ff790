//! Resolves users and groups by name or number, from `/etc/passwd` and `/etc/group`.

use serde::{Deserialize, Serialize};
use std::fs;

/// The user and groups that a pod runs as.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Account {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) groups: Vec<u32>,
}

/// The user that pods run as, and the values of its environment variables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct User {
    pub(crate) account: Account,
    pub(crate) name: String,
    pub(crate) home: String,
    pub(crate) shell: String,
}

/// Returns the configured user; `None` if pods run as this process's user.
///
/// # Errors
/// If there is no such user or group, or this process may not change to it.
pub(crate) fn find(user: Option<&str>, group: Option<&str>) -> Result<Option<User>, String> {
    if user.is_none() && group.is_none() {
        return Ok(None);
    }
    let own = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let found = resolve(user, group, own, &read("/etc/passwd")?, &read("/etc/group")?)?;
    let is_other = (found.account.uid, found.account.gid) != own;
    if own.0 != 0 && is_other {
        return Err("only a dispatcher that runs as root can start pods as another user or group".into());
    }
    // Only root can set groups at all.
    Ok((own.0 == 0).then_some(found))
}

/// The numbers of a user and a group.
///
/// # Errors
/// If there is no such user or group.
pub(crate) fn ids(user: Option<&str>, group: Option<&str>) -> Result<(Option<u32>, Option<u32>), String> {
    let number = |name: Option<&str>, path: &str, what: &str, fields: usize| {
        let Some(name) = name else { return Ok(None) };
        let found = entry(&read(path)?, name, fields).map(|entry| entry[2].parse());
        let number = found.unwrap_or_else(|| name.parse());
        number.map(Some).map_err(|_| format!("there is no {what} {name:?} in {path}"))
    };
    Ok((number(user, "/etc/passwd", "user", USER)?, number(group, "/etc/group", "group", GROUP)?))
}

/// The number of fields of a line of `/etc/passwd`, and of `/etc/group`.
const USER: usize = 7;
const GROUP: usize = 4;

fn read(path: &str) -> Result<String, String> {
    fs::read_to_string(path).map_err(|e| format!("{path} cannot be read: {e}"))
}

/// The line with this name or number.
fn entry<'t>(text: &'t str, wanted: &str, fields: usize) -> Option<Vec<&'t str>> {
    let lines = text.lines().map(|line| line.split(':').collect::<Vec<_>>());
    lines.filter(|f| f.len() >= fields).find(|f| f[0] == wanted || f[2] == wanted)
}

fn resolve(
    user: Option<&str>,
    group: Option<&str>,
    own: (u32, u32),
    passwd: &str,
    groups: &str,
) -> Result<User, String> {
    let number = own.0.to_string();
    let wanted = user.unwrap_or(&number);
    let (name, uid, gid, home, shell) = match &entry(passwd, wanted, USER) {
        Some(fields) => {
            let id = |index: usize| fields[index].parse::<u32>().ok();
            let (Some(uid), Some(gid)) = (id(2), id(3)) else {
                return Err(format!("the entry of user {wanted:?} in /etc/passwd is damaged"));
            };
            (fields[0].to_owned(), uid, gid, fields[5].to_owned(), fields[6].to_owned())
        }
        // A numeric id needs no entry.
        None => match wanted.parse::<u32>() {
            Ok(uid) => (wanted.to_owned(), uid, uid, "/".to_owned(), "/bin/sh".to_owned()),
            Err(_) => return Err(format!("there is no user {wanted:?} in /etc/passwd")),
        },
    };
    let known = |wanted: &str| {
        let found = entry(groups, wanted, GROUP);
        found.and_then(|fields| fields[2].parse::<u32>().ok()).or_else(|| wanted.parse().ok())
    };
    let gid = match group {
        Some(group) => known(group).ok_or_else(|| format!("there is no group {group:?} in /etc/group"))?,
        None => gid,
    };
    let member = |line: &str| {
        let fields: Vec<&str> = line.split(':').collect();
        let is = fields.len() >= 4 && fields[3].split(',').any(|member| member == name);
        is.then(|| fields[2].parse().ok()).flatten()
    };
    let mut all: Vec<u32> = groups.lines().filter_map(member).chain([gid]).collect();
    all.sort_unstable();
    all.dedup();
    Ok(User { account: Account { uid, gid, groups: all }, name, home, shell })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/bash\nann:x:1000:1001:Ann:/home/ann:/bin/zsh\n";
    const GROUPS: &str = "root:x:0:\nann:x:1001:\nvideo:x:44:ann,ben\nrender:x:45:ann\ngames:x:60:\n";

    #[test]
    fn a_user_has_a_group_and_the_groups_that_name_it() {
        let ann = resolve(Some("ann"), None, (0, 0), PASSWD, GROUPS).unwrap();
        assert_eq!(ann.account, Account { uid: 1000, gid: 1001, groups: vec![44, 45, 1001] });
        assert_eq!((&*ann.home, &*ann.shell), ("/home/ann", "/bin/zsh"));
        assert_eq!(resolve(Some("1000"), None, (0, 0), PASSWD, GROUPS).unwrap(), ann);
        let other = resolve(Some("ann"), Some("games"), (0, 0), PASSWD, GROUPS).unwrap();
        assert_eq!(other.account, Account { uid: 1000, gid: 60, groups: vec![44, 45, 60] });
    }

    #[test]
    fn a_number_needs_no_entry_and_a_name_does() {
        let nobody = resolve(Some("4000"), Some("4001"), (0, 0), PASSWD, GROUPS).unwrap();
        assert_eq!(nobody.account, Account { uid: 4000, gid: 4001, groups: vec![4001] });
        let said = resolve(Some("ben"), None, (0, 0), PASSWD, GROUPS).unwrap_err();
        assert_eq!(said, r#"there is no user "ben" in /etc/passwd"#);
        let said = resolve(None, Some("nothing"), (0, 0), PASSWD, GROUPS).unwrap_err();
        assert_eq!(said, r#"there is no group "nothing" in /etc/group"#);
        assert_eq!(find(None, None), Ok(None));
    }
}
