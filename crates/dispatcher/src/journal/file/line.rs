//! One line of a file: a head that says what the file is, then lines that can be told to be whole. JSON has no line
//! breaks of its own, so a line that was cut off is one that does not end.
//!
//! ```text
//! slotkeeper-entries 1 4097                    what it is, the format's version, its position
//! 5c1f09ab 4097 [{"at":...},{"at":...}]        CRC-32 of all that follows, the first entry's position, a batch
//! ```

use super::damage::Flaw;
use super::name::Name;

/// The version of this format. Readers refuse newer ones.
pub const VERSION: u32 = 1;

/// The first line of a file.
#[must_use]
pub fn head(name: Name) -> Vec<u8> {
    format!("slotkeeper-{} {VERSION} {}\n", name.kind(), name.position()).into_bytes()
}

pub(super) fn check_head(name: Name, line: &[u8]) -> Result<(), Flaw> {
    if line == head(name) {
        return Ok(());
    }
    let text = std::str::from_utf8(line).map_err(|_| Flaw::Foreign)?;
    let words: Vec<&str> = text.trim_end().split(' ').collect();
    let [kind, version, position] = words[..] else { return Err(Flaw::Foreign) };
    if kind.strip_prefix("slotkeeper-") != Some(name.kind()) {
        return Err(Flaw::Foreign);
    }
    match (version.parse::<u32>(), position.parse::<u64>()) {
        (Ok(version), _) if version > VERSION => Err(Flaw::Newer(version)),
        (Ok(VERSION), Ok(position)) if position != name.position() => Err(Flaw::Misnamed(position)),
        _ => Err(Flaw::Foreign),
    }
}

/// A line with a checksum.
#[must_use]
pub fn sealed(position: u64, json: &[u8]) -> Vec<u8> {
    let mut line = format!("{:08x} {position} ", 0).into_bytes();
    line.extend_from_slice(json);
    let sum = crc32fast::hash(&line[SUM..]);
    line[..SUM - 1].copy_from_slice(format!("{sum:08x}").as_bytes());
    line.push(b'\n');
    line
}

/// The checksum's digits, and the space behind them.
const SUM: usize = 9;

/// The position and the JSON of a line.
pub(super) fn opened(line: &[u8]) -> Result<(u64, &[u8]), Flaw> {
    let Some(line) = line.strip_suffix(b"\n") else { return Err(Flaw::Incomplete) };
    let Some((sum, content)) = line.split_at_checked(SUM) else { return Err(Flaw::Checksum) };
    if sum != format!("{:08x} ", crc32fast::hash(content)).as_bytes() {
        return Err(Flaw::Checksum);
    }
    let mut parts = content.splitn(2, |byte| *byte == b' ');
    let position = parts.next().and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
    position.zip(parts.next()).ok_or_else(|| Flaw::Unreadable("it has no position".to_owned()))
}

/// Each line of a file with where it starts, its line break included.
pub(super) fn lines(bytes: &[u8]) -> impl Iterator<Item = (u64, &[u8])> {
    bytes.split_inclusive(|byte| *byte == b'\n').scan(0, |offset, line| {
        let start = *offset;
        *offset += line.len() as u64;
        Some((start, line))
    })
}
