//! Durations as texts with units: `"500ms"`, `"10m"`, `"1h30m"`, `"30d"`.

use jiff::{Span, SpanRelativeTo};

/// The seconds that a text stands for: numbers with units, a day of 24 hours. (Months and years have no fixed length.)
#[must_use]
pub fn seconds(text: &str) -> Option<f64> {
    let span: Span = text.parse().ok()?;
    let duration = span.to_duration(SpanRelativeTo::days_are_24_hours()).ok()?;
    Some(duration.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::seconds;

    #[test]
    fn numbers_with_units_are_durations() {
        for (text, expected) in [
            ("500ms", 0.5),
            ("90s", 90.0),
            ("10m", 600.0),
            ("10 minutes", 600.0),
            ("1h30m", 5400.0),
            ("1h 30m", 5400.0),
            ("1.5h", 5400.0),
            ("30d", 2_592_000.0),
            ("2w", 1_209_600.0),
            ("1d12h", 129_600.0),
            ("0s", 0.0),
        ] {
            assert_eq!(seconds(text), Some(expected), "{text}");
        }
    }

    #[test]
    fn other_texts_are_not_durations() {
        for text in ["", " ", "10", "1.5", "m", "soon", "10x", "1mo", "1y", "off", "1h30", "10m!", "NaN s", "1e3s"] {
            assert_eq!(seconds(text), None, "{text:?}");
        }
        assert!(seconds("-10m").is_none_or(|seconds| seconds < 0.0), "no range allows it");
        assert_eq!(seconds(&"9".repeat(400)), None);
        assert_eq!(seconds(&format!("{}h", "9".repeat(400))), None);
    }
}
