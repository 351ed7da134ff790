//! Parses and formats times: `250ms`, `40s`, `20m`, `1.5h`, `2d`.

use super::Unreadable;

const UNITS: [(&str, f64); 5] = [("ms", 1.0), ("s", 1e3), ("m", 60e3), ("h", 3600e3), ("d", 86_400e3)];
/// One year: longer than any simulation.
const LONGEST: f64 = 365.0 * 86_400e3;
const ALLOWED: &str = "a number and a unit of ms, s, m, h or d, such as 40s or 1.5h, up to 365d";

/// Parses a time into milliseconds.
///
/// # Errors
/// If the text is not a number with a unit, or longer than a year.
pub fn milliseconds(text: &str) -> Result<u64, Unreadable> {
    let problem = |problem| Unreadable { text: text.to_owned(), problem, allowed: ALLOWED };
    let unit_at = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(unit_at);
    let number: f64 = number.parse().map_err(|_| problem("is not a time"))?;
    let Some((_, factor)) = UNITS.iter().find(|(name, _)| *name == unit) else {
        return Err(problem(if unit.is_empty() { "is a time without a unit" } else { "is not a time" }));
    };
    let milliseconds = (number * factor).round();
    if milliseconds <= LONGEST { Ok(milliseconds as u64) } else { Err(problem("is too long")) }
}

/// Formats milliseconds in the shortest exact form.
#[must_use]
pub fn spoken(milliseconds: u64) -> String {
    let units = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000)];
    let unit = units.into_iter().find(|(_, factor)| milliseconds != 0 && milliseconds.is_multiple_of(*factor));
    match unit {
        Some((name, factor)) => format!("{}{name}", milliseconds / factor),
        None if milliseconds > 1000 => format!("{}s", milliseconds as f64 / 1000.0),
        None => format!("{milliseconds}ms"),
    }
}

#[cfg(test)]
mod tests {
    use super::{milliseconds, spoken};

    #[test]
    fn times_are_parsed_and_formatted_alike() {
        for (text, ms) in [("250ms", 250), ("40s", 40_000), ("20m", 1_200_000), ("2h", 7_200_000), ("1d", 86_400_000)] {
            assert_eq!(milliseconds(text), Ok(ms));
            assert_eq!(spoken(ms), text);
        }
        assert_eq!(milliseconds("1.5h"), Ok(5_400_000));
        assert_eq!((spoken(1500), spoken(0)), ("1.5s".to_owned(), "0ms".to_owned()));
    }
}
