//! Faults of the journal on the network.

use super::super::World;
use super::super::setting::Setting;
use super::{Family, Fault, is_rare};
use turmoil::Sim;

#[derive(Clone, Copy)]
#[expect(clippy::enum_variant_names, reason = "the names in `FaultKind`")]
pub(super) enum SharedJournal {
    JournalCrash,
    JournalLoss,
    JournalFailover,
    JournalFlush,
    JournalFull,
    JournalSlow,
    JournalClock,
}

impl Family for SharedJournal {
    fn shape(&self) -> (u32, u64) {
        match self {
            SharedJournal::JournalCrash => (1, 15_000),
            SharedJournal::JournalLoss => (1, 6_000),
            SharedJournal::JournalFailover | SharedJournal::JournalFlush => (1, 1_000),
            SharedJournal::JournalFull | SharedJournal::JournalSlow | SharedJournal::JournalClock => (1, 20_000),
        }
    }

    fn applies(&self, setting: &Setting, asked: bool) -> bool {
        setting.shared_journal
            && match self {
                SharedJournal::JournalLoss | SharedJournal::JournalFailover => setting.lag > 0,
                SharedJournal::JournalFlush => asked || is_rare(setting, "flushed", 8),
                SharedJournal::JournalCrash
                | SharedJournal::JournalFull
                | SharedJournal::JournalSlow
                | SharedJournal::JournalClock => true,
            }
    }

    fn begin(&self, fault: Fault, sim: &mut Sim<'_>, world: &World) {
        match self {
            SharedJournal::JournalCrash => {
                world.begins(fault, "the journal is down".into());
                sim.crash("journal");
                world.redis.restarts(0);
            }
            SharedJournal::JournalLoss => {
                world.begins(fault, "the journal is down".into());
                sim.crash("journal");
                world.redis.restarts(lag(fault, world));
            }
            SharedJournal::JournalFailover => {
                if fault.target.is_multiple_of(4) {
                    world.begins(fault, "another server was the journal for a moment".into());
                    world.redis.returns(lag(fault, world));
                } else {
                    world.begins(fault, "another server is the journal now".into());
                    world.redis.restarts(lag(fault, world));
                }
            }
            SharedJournal::JournalFlush => {
                world.begins(fault, "everything in the journal is deleted".into());
                world.redis.flush();
            }
            SharedJournal::JournalFull => {
                world.begins(fault, "the journal has no memory left".into());
                world.redis.fill(true);
            }
            SharedJournal::JournalSlow => {
                let most = 50 + u64::from(fault.target) % 600;
                world.begins(fault, format!("the journal takes up to {most} ms for everything"));
                world.redis.slow_down(most);
            }
            SharedJournal::JournalClock => {
                // Small steps look like elapsed time; large ones do not.
                let step = match fault.target % 2 {
                    0 => i64::from(fault.target % 5_000),
                    _ => i64::from(fault.target % 90_000) - 30_000,
                };
                world.begins(fault, format!("the journal's clock jumps by {step} ms"));
                world.redis.step_clock(step);
            }
        }
    }

    fn end(&self, _: Fault, sim: &mut Sim<'_>, world: &World) {
        match self {
            SharedJournal::JournalCrash | SharedJournal::JournalLoss => sim.bounce("journal"),
            SharedJournal::JournalFailover | SharedJournal::JournalFlush => {}
            SharedJournal::JournalFull => world.redis.fill(false),
            SharedJournal::JournalSlow => world.redis.slow_down(0),
            SharedJournal::JournalClock => world.redis.step_clock(0),
        }
    }
}

/// Returns how many milliseconds of entries are lost.
fn lag(fault: Fault, world: &World) -> u64 {
    u64::from(fault.target / 11) % (world.setting.lag + 1)
}

/// Ends all of these faults, except that the server is down.
pub(super) fn heal(world: &World) {
    world.redis.step_clock(0);
    world.redis.fill(false);
    world.redis.slow_down(0);
}
