//! Prints what each entry did: runs the same state machine over the same entries.

use super::{Files, Moment, Shown, ToolError};
use slotkeeper_core::{Census, Fleet};
use std::io::Write;

pub(super) fn replay(
    files: &Files,
    checkpoint: Option<u64>,
    at: Option<u64>,
    out: &mut dyn Write,
) -> Result<bool, ToolError> {
    let account = files.account(checkpoint.unwrap_or(u64::MAX).min(at.unwrap_or(u64::MAX)))?;
    let (begin, end) = (account.checkpoint(), account.position());
    if let Some(at) = at.filter(|at| !(begin..=end).contains(at)) {
        let what = format!("entry {at} does not exist any more, or not yet: available are {begin} to {end}");
        return Err(ToolError::NotThere(what));
    }
    let mut fleet = account.state.map_or_else(Fleet::new, |fleet| *fleet);
    if at.is_none() && begin > 0 {
        writeln!(out, "from the checkpoint of entry {begin}: {} sessions", fleet.population())?;
    }
    let count = at.unwrap_or(end) - begin;
    for entry in account.entries.iter().take(usize::try_from(count).unwrap_or(usize::MAX)) {
        let effects = fleet.apply(entry);
        if at.is_some() {
            continue;
        }
        writeln!(out, "{}", Shown(fleet.applied(), entry))?;
        for (pool, effect) in effects {
            writeln!(out, "          -> {pool}  {effect:?}")?;
        }
    }
    print(&fleet, out)?;
    if let Some(damage) = &account.damage {
        writeln!(out, "reading stopped here: {damage}")?;
    }
    Ok(account.damage.is_none())
}

fn print(fleet: &Fleet, out: &mut dyn Write) -> Result<(), ToolError> {
    let quiet = if fleet.is_quiet() { "; no session is placed, because entries may be lost" } else { "" };
    writeln!(out, "after entry {}, {}{quiet}:", fleet.applied(), Moment(fleet.journal()))?;
    for pool in fleet.pools() {
        let Some(Census {
            queued,
            held,
            taken,
            ending,
            free_slots,
            busy_slots,
            pods,
            ready,
            needed,
            desired,
            frozen,
            ..
        }) = fleet.census(pool)
        else {
            continue;
        };
        let frozen = if frozen { "; FROZEN: an invariant was broken" } else { "" };
        writeln!(
            out,
            "  {pool}: sessions queued {queued}, held {held}, taken {taken}, ending {ending}; slots busy {busy_slots}, free {free_slots}; \
             pods {pods}, ready {ready}, needed {}, desired {}{frozen}",
            needed.len(),
            desired.len()
        )?;
    }
    Ok(())
}
