//! Formats a plan as text.

use super::Plan;
use super::cells::{COLUMNS, cells, legend};
use crate::planner::report::{aligned, still};
use std::io::{self, Write};

/// Writes one row per setting, with the intervals below it.
///
/// # Errors
/// If writing fails.
pub fn table(out: &mut dyn Write, plan: &Plan) -> io::Result<()> {
    writeln!(out, "Pool {}: {}", still(&plan.pool), plan.story)?;
    writeln!(out)?;
    let mut group = "";
    let groups =
        COLUMNS.map(|(of, _)| if std::mem::replace(&mut group, of) == of { String::new() } else { of.to_owned() });
    let names = COLUMNS.map(|(_, column)| column.to_owned());
    let mut rows = vec![row("", groups), row("setting", names)];
    for setting in &plan.rows {
        let cells = cells(plan, setting);
        let medians = cells.clone().map(|cell| if cell.is_noise { format!("~{}", cell.median) } else { cell.median });
        rows.push(row(&setting.name, medians));
        let ranges = cells.map(|cell| cell.range.unwrap_or_default());
        if ranges.iter().any(|range| !range.is_empty()) {
            rows.push(row("", ranges));
        }
    }
    aligned(&rows, out)?;
    writeln!(out)?;
    for line in legend(plan) {
        writeln!(out, "{line}")?;
    }
    Ok(())
}

fn row(name: &str, cells: [String; COLUMNS.len()]) -> Vec<String> {
    std::iter::once(name.to_owned()).chain(cells).collect()
}
