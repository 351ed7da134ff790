//! Cookie keys, the operators' token and passwords: from a file or the environment, never from the configuration itself.

use super::permissions;
use super::table::Table;
use crate::io::key_lines;
use std::fmt;
use std::io::Read;
use std::path::Path;

/// Bytes that are never logged.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub Vec<u8>);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

/// The minimum length of a token: long enough not to be guessed.
const TOKEN_CHARACTERS: usize = 16;
/// The maximum size of a file with secrets: if the path is wrong, a large file is not read to its end.
const FILE_BYTES: u64 = 64 * 1024;

pub(super) fn cookie_keys(table: &Table<'_>) -> Vec<Secret> {
    let Some((key, text)) = text(table, "cookie_keys_file", "cookie_keys_env") else { return Vec::new() };
    match key_lines::read(&text) {
        Ok(keys) => keys.into_iter().map(Secret).collect(),
        Err(problems) => {
            for problem in problems {
                table.wrong(key, problem);
            }
            Vec::new()
        }
    }
}

pub(super) fn token(table: &Table<'_>) -> Option<Secret> {
    let (key, text) = text(table, "token_file", "token_env")?;
    let token = text.trim();
    if token.len() < TOKEN_CHARACTERS || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        let allowed = format!("at least {TOKEN_CHARACTERS} visible ASCII characters, without spaces");
        table.wrong(key, format_args!("this is not a valid token ({} bytes); allowed: {allowed}", token.len()));
        return None;
    }
    Some(Secret(token.as_bytes().to_vec()))
}

/// The password of a Redis: any text, without the line break at its end.
pub(super) fn password(table: &Table<'_>) -> Option<Secret> {
    let (key, text) = text(table, "password_file", "password_env")?;
    let password = text.trim_end_matches(['\r', '\n']);
    if password.is_empty() {
        table.wrong(key, "the password is empty; allowed: at least one character");
        return None;
    }
    Some(Secret(password.as_bytes().to_vec()))
}

/// The secret's text, and which of the two keys it came from.
fn text(table: &Table<'_>, file: &'static str, env: &'static str) -> Option<(&'static str, String)> {
    let path = table.path(file);
    let name = table.string(env);
    if table.has(file) && table.has(env) {
        table.wrong(env, format_args!("contradicts `{file}`; allowed: one of the two"));
    }
    table.source.secrets.borrow_mut().extend(name.map(str::to_owned));
    if let Some(path) = path {
        match read(&path) {
            Ok(text) => {
                if let Some(what) = permissions::of_secret(&path) {
                    table.doubt(file, what);
                }
                return Some((file, text));
            }
            Err(error) => table.wrong(file, format_args!("{} cannot be read: {error}", path.display())),
        }
    } else if let Some(name) = name {
        let valid = !name.is_empty() && !name.contains(['=', '\0']);
        match valid.then(|| std::env::var(name)) {
            Some(Ok(text)) => return Some((env, text)),
            Some(Err(std::env::VarError::NotUnicode(_))) => {
                table.wrong(env, format_args!("the environment variable {name} is not UTF-8"));
            }
            _ => table.wrong(env, format_args!("the environment has no variable {name:?}; allowed: the name of one")),
        }
    }
    None
}

fn read(path: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    std::fs::File::open(path)?.take(FILE_BYTES + 1).read_to_string(&mut text)?;
    if text.len() as u64 > FILE_BYTES {
        return Err(std::io::Error::other(format!("it is longer than {FILE_BYTES} bytes")));
    }
    Ok(text)
}
