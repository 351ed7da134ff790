//! Where the journal is: `[journal]` of a file, `--journal` of the command line, or this user's state folder.

use super::redis::{RedisJournal, Trust};
use super::secrets;
use super::setting::{Access, Kind, Row, Shown};
use super::table::{Table, quoted};
use super::{Config, JournalConfig};
use std::path::{Path, PathBuf};

pub(super) const ROWS: &[Row<Config>] = &[
    Row::new(
        "at",
        Kind::Text("the location of a journal"),
        Access::shown(|_, config: &Config| Some(Shown::text(shown_at(config)))),
    )
    .help(
        "where session state is stored",
        ". In memory: sessions end with the process. In a folder: for one dispatcher; sessions survive its \
         restart. In Redis 7 or Valkey: shared by several dispatchers",
    )
    .default(
        "without this table: `\"file:\"` and `$STATE_DIRECTORY` (systemd), else \
         `$XDG_STATE_HOME/slotkeeper`, else `~/.local/state/slotkeeper`, else `/var/lib/slotkeeper`; required in it",
    )
    .range(
        "`\"memory\"`, `\"file:FOLDER\"`, `\"redis://[user[:password]@]host[:port][/db]\"`, `rediss://` \
         for TLS",
    )
    .restart()
    .means(means),
    Row::new("name", Kind::Text("1 to 63 characters"), Access::NONE)
        .help("Redis", ": prefix of the journal's keys; dispatchers with the same name share the journal")
        .default("`\"slotkeeper\"`")
        .range("1 to 63 of `a-z`, `A-Z`, digits, `-`, `_`, `.`, `:`")
        .restart(),
    Row::new("password_file", Kind::Path, Access::NONE)
        .help("Redis", ": the password, if it is not in `at`")
        .default("none")
        .restart(),
    Row::new("password_env", Kind::Variable, Access::NONE)
        .help("the password, from the environment", "; not together with `journal.password_file`")
        .default("none")
        .restart(),
    Row::new("ca_file", Kind::Path, Access::NONE)
        .help("`rediss://`", ": CA certificates (PEM) that the server's certificate is verified against")
        .default("the system's")
        .restart(),
];

/// Not the path of the default folder, which depends on the user.
fn shown_at(config: &Config) -> String {
    if config.journal == JournalConfig::usual() { "a folder".to_owned() } else { config.journal.shown() }
}

fn means(config: &Config) -> &'static str {
    match config.journal {
        JournalConfig::File(_) if config.journal == JournalConfig::usual() => {
            "session state is stored in this user's state folder, for one dispatcher"
        }
        JournalConfig::Memory => "session state is stored in memory: sessions end with this process",
        JournalConfig::File(_) => "session state is stored in this folder, for one dispatcher",
        JournalConfig::Redis(_) => "session state is stored there, for several dispatchers",
    }
}

const ALLOWED: &str =
    "\"memory\", \"file:FOLDER\", or \"redis://[user[:password]@]host[:port][/db]\" (rediss:// for TLS)";

/// Parses the location of a journal. Relative folders are relative to `folder`.
fn place(text: &str, folder: &Path) -> Result<JournalConfig, String> {
    if text == "memory" {
        return Ok(JournalConfig::Memory);
    }
    if let Some(path) = text.strip_prefix("file:") {
        if path.is_empty() {
            return Err(format!("there is no folder after \"file:\"; allowed: {ALLOWED}"));
        }
        return Ok(JournalConfig::File(folder.join(path)));
    }
    if text.starts_with("redis:") || text.starts_with("rediss:") {
        return text.parse().map(JournalConfig::Redis).map_err(|error| format!("{error}"));
    }
    Err(format!("{} is not the location of a journal; allowed: {ALLOWED}", quoted(text)))
}

/// Applies `--journal`. If the file and the argument both name a Redis, the file's key prefix and CA certificates stay, and its
/// password unless the argument has one.
///
/// # Errors
/// What is wrong with it, and what is allowed.
pub fn from_arg(config: &mut Config, text: &str) -> Result<(), String> {
    let here = std::env::current_dir().unwrap_or_default();
    let mut journal = place(text, &here).map_err(|what| format!("--journal: {what}"))?;
    if let (JournalConfig::Redis(new), JournalConfig::Redis(old)) = (&mut journal, &config.journal) {
        new.name.clone_from(&old.name);
        new.password = new.password.take().or_else(|| old.password.clone());
        new.tls = new.tls.take().map(|trust| old.tls.clone().unwrap_or(trust));
    }
    if let JournalConfig::Redis(redis) = &journal {
        redis.clone().complete().map_err(|what| format!("--journal: {what}"))?;
    }
    if needs_keys(&journal, config) {
        return Err(format!("--journal: {NEEDS_KEYS}"));
    }
    config.journal = journal;
    Ok(())
}

const NEEDS_KEYS: &str = "dispatchers that share a journal need the same cookie keys; allowed: with \
                          `cookie_keys_file` or `cookie_keys_env` in the configuration";

fn needs_keys(journal: &JournalConfig, config: &Config) -> bool {
    matches!(journal, JournalConfig::Redis(_)) && config.cookie_keys.is_empty()
}

/// Reads `[journal]`. The cookie keys of `config` must have been read before.
pub(super) fn journal(top: &Table<'_>, config: &Config) -> JournalConfig {
    let Some(table) = top.table("journal") else { return JournalConfig::usual() };
    if !table.has("at") {
        table.missing("at", format_args!("allowed: {ALLOWED}"));
    }
    let at = table.string("at").and_then(|text| table.accept("at", place(text, table.folder())));
    let name = table.string("name").and_then(|text| table.accept("name", journal_name(text)));
    let password = secrets::password(&table);
    let ca = table.path("ca_file");
    let mut journal = at.unwrap_or(JournalConfig::Memory);
    if let JournalConfig::Redis(redis) = &mut journal {
        if let Some(name) = name {
            redis.name = name;
        }
        if password.is_some() && redis.password.is_some() {
            table.wrong("at", "has a password, and so does the file or variable; allowed: one of the two");
        }
        redis.password = redis.password.take().or(password);
        let given = ["password_file", "password_env"].iter().any(|key| table.has(key));
        if let Some(Err(error)) = (!given).then(|| redis.clone().complete()) {
            table.wrong("at", error);
        }
        match (ca, &mut redis.tls) {
            (Some(ca), Some(trust)) => *trust = Trust::File(ca),
            (Some(_), None) => table.wrong("ca_file", "redis:// is not encrypted; allowed: with rediss://"),
            (None, _) => {}
        }
    } else {
        for key in ["name", "password_file", "password_env", "ca_file"] {
            if table.has(key) && table.has("at") {
                table.wrong(key, "there is no Redis to use it for; allowed: with at = \"redis://...\"");
            }
        }
    }
    if needs_keys(&journal, config) && !top.has("cookie_keys_file") && !top.has("cookie_keys_env") {
        table.wrong("at", NEEDS_KEYS);
    }
    table.finish();
    journal
}

/// The prefix of keys in a Redis.
fn journal_name(text: &str) -> Result<String, String> {
    let good = (1..=63).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b':'));
    let allowed = "1 to 63 of the letters a-z and A-Z, digits, -, _, . and :";
    if good { Ok(text.to_owned()) } else { Err(format!("{} is not a name; allowed: {allowed}", quoted(text))) }
}

impl JournalConfig {
    /// The default: the folder that systemd sets (`STATE_DIRECTORY`), else `slotkeeper` in the user's state folder (XDG Base
    /// Directory Specification), else `/var/lib/slotkeeper`.
    #[must_use]
    pub fn usual() -> JournalConfig {
        let named = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let given = std::env::var("STATE_DIRECTORY").ok().and_then(|all| all.split(':').next().map(PathBuf::from));
        let folder = given
            .filter(|path| path.is_absolute())
            .or_else(|| named("XDG_STATE_HOME").map(|home| home.join("slotkeeper")))
            .or_else(|| named("HOME").map(|home| home.join(".local/state/slotkeeper")));
        JournalConfig::File(folder.unwrap_or_else(|| "/var/lib/slotkeeper".into()))
    }

    /// The location as an operator would write it; never with a password.
    #[must_use]
    pub fn shown(&self) -> String {
        match self {
            JournalConfig::Memory => "memory".to_owned(),
            JournalConfig::File(folder) => format!("file:{}", folder.display()),
            JournalConfig::Redis(redis) => redis.shown(),
        }
    }
}

impl RedisJournal {
    fn shown(&self) -> String {
        let scheme = if self.tls.is_some() { "rediss" } else { "redis" };
        let user = self.username.as_ref().map(|user| format!("{user}@")).unwrap_or_default();
        format!("{scheme}://{user}{}/{} ({})", self.host_port(), self.database, self.name)
    }
}
