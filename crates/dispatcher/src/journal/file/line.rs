//! The lines of a file: a head that identifies the file, then lines with checksums. Serialized JSON contains no line
//! breaks, so a line that was cut off is one without a line break at its end.
//!
//! ```text
//! slotkeeper-entries 1 4097                    the kind of file, the format's version, its position
//! 5c1f09ab 4097 [{"at":...},{"at":...}]        CRC-32 of the rest of the line, the first entry's position, a batch
//! ```

use super::damage::Flaw;
use super::name::Name;
use slotkeeper_core::planted;

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

/// The length of the checksum's digits and the space after them.
const SUM: usize = 9;

/// The position and the JSON of a line.
pub(super) fn opened(line: &[u8]) -> Result<(u64, &[u8]), Flaw> {
    let (line, flaw) = match line.strip_suffix(b"\n") {
        Some(line) => (line, Flaw::Checksum),
        None => (line, Flaw::Incomplete),
    };
    let Some((sum, content)) = line.split_at_checked(SUM) else { return Err(flaw) };
    if flaw == Flaw::Incomplete || !adds_up(sum, content) {
        return Err(if begins_whole(sum, content) { Flaw::Merged } else { flaw });
    }
    let mut parts = content.splitn(2, |byte| *byte == b' ');
    let position = parts.next().and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
    position.zip(parts.next()).ok_or_else(|| Flaw::Unreadable("it has no position".to_owned()))
}

fn adds_up(sum: &[u8], content: &[u8]) -> bool {
    planted!(ChecksumIgnored => true);
    sum == sum_of(crc32fast::hash(content)).as_bytes()
}

fn sum_of(sum: u32) -> String {
    format!("{sum:08x} ")
}

/// True if the line begins with a complete record and continues with more than a line break that did not reach the disk: no crash
/// leaves that, and the record had been acknowledged.
fn begins_whole(sum: &[u8], content: &[u8]) -> bool {
    let mut hasher = crc32fast::Hasher::new();
    let mut hashed = 0;
    content.iter().enumerate().take(content.len().saturating_sub(2)).filter(|(_, byte)| **byte == b']').any(
        |(at, _)| {
            hasher.update(&content[hashed..=at]);
            hashed = at + 1;
            sum == sum_of(hasher.clone().finalize()).as_bytes()
        },
    )
}

/// Each line of a file with its offset, its line break included.
pub(super) fn lines(bytes: &[u8]) -> impl Iterator<Item = (u64, &[u8])> {
    bytes.split_inclusive(|byte| *byte == b'\n').scan(0, |offset, line| {
        let start = *offset;
        *offset += line.len() as u64;
        Some((start, line))
    })
}
