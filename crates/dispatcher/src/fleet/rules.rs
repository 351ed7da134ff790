//! The pools' rules in the journal: written at the start and at a reload, so that all replicas act on the same ones.

use crate::config::PoolConfig;
use crate::engine::Ended;
use crate::shell::Shell;
use slotkeeper_core::{Command, PoolId, SessionId, State, planted};

/// Writes the pools' settings, and returns when they have been read back.
pub(crate) async fn introduce(shell: &Shell) -> Result<(), Ended> {
    read_rules(shell).await?;
    for pool in &shell.config.pools {
        begin_idle_clocks(shell, pool);
        write_rules(shell, &pool.id, Command::Rules(pool.rules.clone())).await?;
    }
    Ok(())
}

/// Returns when this replica has read an entry of its own back, so that it knows which rules are in force. Needed only if a
/// pool has `idle`.
async fn read_rules(shell: &Shell) -> Result<(), Ended> {
    planted!(ServeUnread => Ok(()));
    if shell.config.pools.iter().all(|pool| pool.rules.idle.is_none()) {
        return Ok(());
    }
    shell.driver.write(&"".into(), Command::Tick).await
}

/// If these rules turn `idle` on: no replica has reported activity so far, so every session in use counts as active from
/// this moment. Otherwise the fleet would end all sessions that were attached longer than `idle` ago.
pub(crate) fn begin_idle_clocks(shell: &Shell, pool: &PoolConfig) {
    let view = shell.view.borrow();
    let is_off = view.fleet.rules(&pool.id).is_some_and(|rules| rules.idle.is_none());
    if pool.rules.idle.is_none() || !is_off {
        return;
    }
    let in_use = view.fleet.sessions(&pool.id).into_iter().filter(|(_, s)| matches!(s.state, State::Taken { .. }));
    let sessions: Vec<SessionId> = in_use.map(|(id, _)| id).collect();
    if !sessions.is_empty() {
        shell.driver.post(&pool.id, Command::Active { sessions });
    }
}

/// Returns when the rules have been read back.
pub(crate) async fn write_rules(shell: &Shell, pool: &PoolId, rules: Command) -> Result<(), Ended> {
    planted!(ServeUnread => {
        shell.driver.post(pool, rules);
        Ok(())
    });
    shell.driver.write(pool, rules).await
}
