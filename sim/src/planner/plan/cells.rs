//! Formats the figures of a plan, for the terminal and for the page.

use super::figure::Figure;
use super::{Plan, Row};
use crate::planner::report::{hours, seconds};

/// One figure of one setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cell {
    pub(crate) median: String,
    /// From the 10th to the 90th percentile; `None` if there is only one seed.
    pub(crate) range: Option<String>,
    /// The difference from the configured settings is within the noise.
    pub(crate) is_noise: bool,
}

/// The names of the columns of [`cells`]: the group and the column.
pub(crate) const COLUMNS: [(&str, &str); 9] = [
    ("time to slot", "p50"),
    ("time to slot", "p95"),
    ("time to slot", "max"),
    ("visitors", "served at once"),
    ("visitors", "gave up"),
    ("pods", "most"),
    ("pods", "pod-hours"),
    ("pods", "used"),
    ("pods", "wasted"),
];

/// Returns one cell for each of [`COLUMNS`].
pub(crate) fn cells(plan: &Plan, row: &Row) -> [Cell; 9] {
    let several = plan.seeds > 1;
    let cell = |figure: Figure, text: fn(f64) -> String| Cell {
        median: text(figure.median),
        range: several.then(|| range(&text(figure.low), &text(figure.high))),
        is_noise: figure.is_noise(),
    };
    let nobody = || Cell { median: "-".to_owned(), range: several.then(String::new), is_noise: false };
    let [p50, p95, max] = match row.time_to_slot {
        Some(waits) => [waits.p50, waits.p95, waits.max].map(|figure| cell(figure, seconds)),
        None => [nobody(), nobody(), nobody()],
    };
    let percent = |share: f64| format!("{share:.0} %");
    let number = |n: f64| format!("{n:.0}");
    [
        p50,
        p95,
        max,
        cell(row.at_once, percent),
        cell(row.gave_up, number),
        cell(row.most_pods, number),
        cell(row.pod_hours, hours),
        cell(row.used, percent),
        cell(row.wasted_pod_hours, hours),
    ]
}

/// Explains the figures to a new reader.
pub(crate) fn legend(plan: &Plan) -> Vec<String> {
    let visitors = plan.rows.first().map_or(String::new(), |row| match plan.seeds {
        1 => format!("{:.0} visitors", row.visitors.median),
        _ => format!("{} visitors", range(&format!("{:.0}", row.visitors.low), &format!("{:.0}", row.visitors.high))),
    });
    let mut all = if plan.seeds > 1 {
        vec![
            format!(
                "Each figure is the median over {} seeds ({} to {}) with the 10th to 90th percentile below it. With each \
                 seed, every setting meets the same visitors ({visitors}).",
                plan.seeds,
                plan.seed,
                plan.seed.saturating_add(u64::from(plan.seeds) - 1)
            ),
            "~ marks a difference to the configured settings within the noise: compared seed by seed, the 99 % confidence \
             interval of the mean difference contains 0."
                .to_owned(),
        ]
    } else {
        vec![format!(
            "One seed ({}): every setting meets the same {visitors}; how much of a difference is noise is unknown \
             (--seeds N).",
            plan.seed
        )]
    };
    all.push(
        "Used: percent of all slots, from a pod's creation to its end, with a session; wasted: pod-hours without a session."
            .to_owned(),
    );
    if plan.left_out > 0 {
        all.push(format!(
            "{} neighbouring settings were played, {} more left out: --variants sets how many.",
            plan.rows.len().saturating_sub(1),
            plan.left_out
        ));
    }
    if let Some(row) = plan.rows.iter().find(|r| r.killed > 0) {
        all.push(format!("A BUG: with {:?} {} sessions lost their pod to a scaler.", row.name, row.killed));
    }
    all
}

/// Formats a range: "29-33 s" if both have the same unit, otherwise "950 ms - 1.2 s".
fn range(low: &str, high: &str) -> String {
    if low == high {
        return low.to_owned();
    }
    match (low.split_once(' '), high.split_once(' ')) {
        (Some((a, unit)), Some((b, other))) if unit == other => format!("{a}-{b} {unit}"),
        (None, None) => format!("{low}-{high}"),
        _ => format!("{low} - {high}"),
    }
}

#[cfg(test)]
mod tests {
    use super::range;

    #[test]
    fn a_unit_that_both_ends_have_is_written_once() {
        assert_eq!(range("29 s", "33 s"), "29-33 s");
        assert_eq!(range("950 ms", "1.2 s"), "950 ms - 1.2 s");
        assert_eq!(range("3 min 1 s", "4 min"), "3 min 1 s - 4 min");
        assert_eq!(range("380", "412"), "380-412");
        assert_eq!(range("5", "5"), "5");
    }
}
