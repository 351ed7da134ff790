//! Files with secret keys: one key per line, in hex or base64.

use base64::alphabet;
use base64::engine::{DecodePaddingMode, Engine, GeneralPurpose, GeneralPurposeConfig};

/// A key for HMAC-SHA-256 has at least as many bytes as its output (RFC 2104, section 3).
const KEY_BYTES: usize = 32;

/// The keys in a text; empty lines and those that begin with `#` are skipped.
///
/// # Errors
/// Everything that is wrong with the lines.
pub(crate) fn read(text: &str) -> Result<Vec<Vec<u8>>, Vec<String>> {
    let (mut keys, mut problems) = (Vec::new(), Vec::new());
    let lines = text.lines().enumerate().map(|(n, line)| (n + 1, line.trim()));
    for (line, text) in lines.filter(|(_, text)| !text.is_empty() && !text.starts_with('#')) {
        let allowed = format!("base64 or hex of at least {KEY_BYTES} random bytes, one key per line");
        match decode(text) {
            None => problems.push(format!("line {line} is neither base64 nor hex; allowed: {allowed}")),
            Some(bytes) if bytes.len() < KEY_BYTES => {
                let length = bytes.len();
                problems.push(format!("the key in line {line} has only {length} bytes; allowed: {allowed}"));
            }
            Some(bytes) if keys.contains(&bytes) => {
                problems.push(format!("the key in line {line} is there twice; allowed: once"));
            }
            Some(bytes) => keys.push(bytes),
        }
    }
    if keys.is_empty() && problems.is_empty() {
        problems.push("it contains no key; allowed: at least one line with a key".to_owned());
    }
    if problems.is_empty() { Ok(keys) } else { Err(problems) }
}

/// Hex, or base64 with either alphabet, with or without padding (RFC 4648).
fn decode(text: &str) -> Option<Vec<u8>> {
    let bytes = text.as_bytes();
    if bytes.len().is_multiple_of(2) && bytes.iter().all(u8::is_ascii_hexdigit) {
        let digit = |byte: u8| (byte as char).to_digit(16).map(|digit| digit as u8);
        return bytes.chunks(2).map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?)).collect();
    }
    let standard = text.replace('-', "+").replace('_', "/");
    let either = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    GeneralPurpose::new(&alphabet::STANDARD, either).decode(standard).ok()
}
