//! A plan as text.

use super::Plan;
use crate::report::quantiles;
use std::io::{self, Write};

/// One line per setting.
///
/// # Errors
/// What writing fails with.
pub fn table(out: &mut dyn Write, plan: &Plan) -> io::Result<()> {
    writeln!(out, "Pool {}: {}", plan.pool, plan.story)?;
    writeln!(out)?;
    let widest = plan.rows.iter().map(|r| r.name.chars().count()).max().unwrap_or(0);
    writeln!(
        out,
        "{:widest$}  {:>12} {:>12} {:>13}  {:>7}  {:>7}  {:>6}  {:>9}  {:>5}  {:>8}",
        "", "time to", "slot", "", "served", "gave", "most", "", "", ""
    )?;
    writeln!(
        out,
        "{:widest$}  {:>12} {:>12} {:>13}  {:>7}  {:>7}  {:>6}  {:>9}  {:>5}  {:>8}",
        "setting", "p50", "p95", "max", "at once", "up", "pods", "pod-hours", "used", "wasted"
    )?;
    for row in &plan.rows {
        let [p50, p95, max] = quantiles(row.time_to_slot);
        let share = |part: f64, whole: f64| if whole > 0.0 { 100.0 * part / whole } else { 0.0 };
        writeln!(
            out,
            "{:widest$}  {:>12} {:>12} {:>13}  {:>6.1}%  {:>7}  {:>6}  {:>9.1}  {:>4.0}%  {:>8.1}",
            row.name,
            p50,
            p95,
            max,
            share(row.at_once as f64, row.visitors as f64),
            row.gave_up,
            row.most_pods,
            row.pod_hours,
            100.0 * row.used,
            row.wasted_pod_hours,
        )?;
    }
    writeln!(out)?;
    let visitors = plan.rows.first().map_or(0, |r| r.visitors);
    writeln!(
        out,
        "{visitors} visitors, the same for every setting. Used: of all slots, from a pod's creation to\n\
         its end; wasted: pod-hours in which nobody sat there."
    )?;
    if plan.left_out > 0 {
        let (played, left_out) = (plan.rows.len() - 1, plan.left_out);
        writeln!(
            out,
            "{played} neighbouring settings were played, {left_out} more left out: --variants says how many."
        )?;
    }
    if let Some(row) = plan.rows.iter().find(|r| r.killed > 0) {
        writeln!(out, "A BUG: with {:?} {} sessions lost their pod to a scaler.", row.name, row.killed)?;
    }
    Ok(())
}
