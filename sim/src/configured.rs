//! An operator's configuration, as the planner needs it: the only place where one of the planner's inputs comes from
//! the dispatcher's crate.

use crate::planner::plan::{Options, Pool};
use slotkeeper::config::schedule::{Days, Minute, Schedule, Window};
use slotkeeper::config::{ClusterConfig, Config, PoolConfig, Trigger};
use slotkeeper_core::{Spare, Time};

/// A Saturday: 2026-01-03, 00:00 UTC.
const SATURDAY: Time = Time(1_767_398_400_000);

/// Returns the pools of this configuration.
#[must_use]
pub fn pools(config: &Config) -> Vec<Pool> {
    let length = u64::from(*Options::DAYS.end()) * 86_400_000;
    let pool = |pool: &PoolConfig| Pool {
        name: pool.id.to_string(),
        rules: pool.rules.clone(),
        is_pushed: pool.trigger == Trigger::Push,
        is_kubernetes: matches!(pool.cluster, ClusterConfig::Kubernetes(_)),
        spare: changes(pool, length),
    };
    config.pools.iter().map(pool).collect()
}

/// Returns when the number of spare slots changes by the pool's weekly schedule, and the new number, on the clock of a
/// run: it begins on a Monday at midnight in the schedule's time zone, so that the hours of arrivals and of the schedule
/// match.
fn changes(pool: &PoolConfig, length: u64) -> Vec<(u64, Spare)> {
    let Some(schedule) = &pool.schedule else { return Vec::new() };
    let Some(begin) = next_monday(schedule.zone()) else { return Vec::new() };
    let mut changes = vec![(0, schedule.now(begin))];
    let mut at = begin;
    while let Some(next) = schedule.next_change(at).filter(|t| t.since(begin).0 < length) {
        changes.push((next.since(begin).0, schedule.now(next)));
        at = next;
    }
    changes
}

/// Returns the beginning of the next Monday, from a schedule that begins on Mondays.
fn next_monday(zone: &str) -> Option<Time> {
    let monday =
        Window { days: Days::parse("mon")?, from: Minute::MIDNIGHT, to: Minute::END_OF_DAY, spare: Spare::Slots(1) };
    Schedule::new(zone, Spare::Slots(0), vec![monday]).ok()?.next_change(SATURDAY)
}

#[cfg(test)]
mod tests {
    use super::changes;
    use slotkeeper_core::Spare;
    use std::path::Path;

    #[test]
    fn a_week_begins_on_monday_at_midnight_where_the_pool_is() {
        let text = "[pools.a]\nmax_pods = 9\ntime_zone = 'America/New_York'\n[[pools.a.schedule]]\ndays = ['mon', 'wed']\n\
                    from = '18:00'\nto = '23:00'\nspare = 3\n[pools.a.processes]\ncommand = ['x']\ndata_folder = 'y'\n";
        let config = slotkeeper::config::parse(text, "test.toml", Path::new("/")).expect("this is a configuration");
        let hour = 3_600_000;
        let none = Spare::Slots(0);
        let evening = [(0, none), (18 * hour, Spare::Slots(3)), (23 * hour, none)];
        assert_eq!(changes(&config.pools[0], 48 * hour), evening);
        assert_eq!(changes(&config.pools[0], 7 * 24 * hour)[3], (66 * hour, Spare::Slots(3)));
    }
}
