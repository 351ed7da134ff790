//! Faults of the API server.

use super::super::World;
use super::super::overload::{LATE, Refused};
use super::{Family, Fault};
use std::sync::atomic::Ordering;
use turmoil::Sim;

#[derive(Clone, Copy)]
pub(super) enum ApiServer {
    ApiCrash,
    ShakyWatch,
    ApiOverload,
    ApiSlow,
    ApiLateWrites,
}

impl Family for ApiServer {
    fn shape(&self) -> (u32, u64) {
        match self {
            ApiServer::ApiCrash | ApiServer::ApiSlow | ApiServer::ApiLateWrites => (1, 15_000),
            ApiServer::ShakyWatch => (1, 25_000),
            ApiServer::ApiOverload => (1, 20_000),
        }
    }

    fn begin(&self, fault: Fault, sim: &mut Sim<'_>, world: &World) {
        let number = fault.target as usize / 5;
        match self {
            ApiServer::ApiCrash => {
                world.begins(fault, "the API server is down".into());
                sim.crash("api");
            }
            ApiServer::ShakyWatch => {
                world.begins(fault, "watches are slow, stutter and break".into());
                world.shaky.store(true, Ordering::Relaxed);
            }
            ApiServer::ApiOverload => {
                let refused = Refused::ALL[number % Refused::ALL.len()];
                world.begins(fault, format!("the API server is overloaded and refuses {} with 429", refused.word()));
                world.overload.refuse(Some(refused));
            }
            ApiServer::ApiSlow => {
                world.begins(fault, "the API server answers up to 3 s late".into());
                world.overload.slow_down(true);
            }
            ApiServer::ApiLateWrites => {
                let most = LATE[number % LATE.len()];
                world.begins(fault, format!("the API server carries out writes up to {} s late", most / 1000));
                world.overload.delay_writes(most);
            }
        }
    }

    fn end(&self, _: Fault, sim: &mut Sim<'_>, world: &World) {
        match self {
            ApiServer::ApiCrash => sim.bounce("api"),
            ApiServer::ShakyWatch => world.shaky.store(false, Ordering::Relaxed),
            ApiServer::ApiOverload => world.overload.refuse(None),
            ApiServer::ApiSlow => world.overload.slow_down(false),
            ApiServer::ApiLateWrites => world.overload.delay_writes(0),
        }
    }
}

/// Ends all of these faults, except that the server is down.
pub(super) fn heal(world: &World) {
    world.overload.end();
    world.shaky.store(false, Ordering::Relaxed);
}
