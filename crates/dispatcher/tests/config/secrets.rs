//! Keys and tokens: read from files, refused when they are too weak, never shown.

use super::PROCESSES;
use slotkeeper::config::{Config, ConfigError, Secret, describe, parse};

fn with_file(line: &str, content: &str) -> Result<Config, ConfigError> {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("secret"), content).unwrap();
    parse(&format!("{line}\n{PROCESSES}"), "file", folder.path())
}

const KEYS: &str = "cookie_keys_file = 'secret'";
const ALLOWED: &str = "allowed: base64 or hex of at least 32 random bytes, one key per line";

#[test]
fn keys_are_hex_or_base64_and_keep_their_order() {
    let hex = "00".repeat(31) + "ff";
    let padded = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    let url = "__79_Pv6-fj39vX08_Lx8O_u7ezr6uno5-bl5OPi4eA";
    let config = with_file(KEYS, &format!("# the new one\n{hex}\n\n  {padded}\n{url}\n")).unwrap();
    let mut last = vec![0; 31];
    last.push(0xff);
    let expected = [last, (0..32).collect(), (0xe0..=0xff).rev().collect()];
    assert_eq!(config.cookie_keys, expected.map(Secret));
}

#[test]
fn weak_and_broken_keys_are_refused_line_by_line() {
    let good = "ab".repeat(32);
    let error = with_file(KEYS, &format!("abcd\n{good}\nnot a key!\n{good}\nAAAA=\n")).unwrap_err();
    assert_eq!(
        error.problems,
        [
            format!("file:1: key `cookie_keys_file`: line 3 is neither base64 nor hex; {ALLOWED}"),
            format!("file:1: key `cookie_keys_file`: line 5 is neither base64 nor hex; {ALLOWED}"),
            format!("file:1: key `cookie_keys_file`: the key in line 1 has only 2 bytes; {ALLOWED}"),
            "file:1: key `cookie_keys_file`: the key in line 4 is there twice; allowed: once".to_owned(),
        ]
    );
    let error = with_file(KEYS, "# none\n\n").unwrap_err();
    assert_eq!(
        error.problems,
        ["file:1: key `cookie_keys_file`: it contains no key; allowed: at least one line with a key"]
    );
}

#[test]
fn an_endless_file_is_read_up_to_a_limit_only() {
    let error = parse(&format!("cookie_keys_file = '/dev/zero'\n{PROCESSES}"), "file", "/".as_ref()).unwrap_err();
    assert_eq!(
        error.problems,
        ["file:1: key `cookie_keys_file`: /dev/zero cannot be read: it is longer than 65536 bytes"]
    );
}

#[test]
fn a_token_is_one_line_of_visible_characters() {
    let line = "[admin]\nlisten = '0.0.0.0:9090'\ntoken_file = 'secret'";
    let config = with_file(line, "correct-horse-battery\n").unwrap();
    assert_eq!(config.admin.token, Some(Secret(b"correct-horse-battery".to_vec())));
    for (content, length) in [("short", 5), ("two words are too many", 22), ("", 0)] {
        let allowed = "at least 16 visible ASCII characters, without spaces";
        assert_eq!(
            with_file(line, content).unwrap_err().problems,
            [format!("file:3: key `admin.token_file`: this is not a valid token ({length} bytes); allowed: {allowed}")]
        );
    }
}

#[test]
fn secrets_are_never_shown() {
    let key = "0123456789abcdef".repeat(4);
    let config = with_file(KEYS, &key).unwrap();
    for shown in [describe(&config), format!("{config:?}")] {
        assert!(!shown.contains("0123456789"), "{shown}");
    }
    let error = with_file(KEYS, "0123456789abcdef").unwrap_err().to_string();
    assert!(!error.contains("0123456789"), "{error}");
}
