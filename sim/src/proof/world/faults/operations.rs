//! Faults of what operators run and do.

use super::super::World;
use super::super::setting::Setting;
use super::{Family, Fault, is_rare};
use std::sync::atomic::Ordering;
use turmoil::Sim;

#[derive(Clone, Copy)]
pub(super) enum Operations {
    PrometheusOutage,
    PoolRemoval,
}

impl Family for Operations {
    fn shape(&self) -> (u32, u64) {
        match self {
            Operations::PrometheusOutage => (1, 25_000),
            Operations::PoolRemoval => (1, 6_000),
        }
    }

    fn applies(&self, setting: &Setting, asked: bool) -> bool {
        match self {
            Operations::PrometheusOutage => true,
            Operations::PoolRemoval => asked || is_rare(setting, "removed", 12),
        }
    }

    fn begin(&self, fault: Fault, _: &mut Sim<'_>, world: &World) {
        match self {
            Operations::PrometheusOutage => {
                world.begins(fault, "Prometheus is down".into());
                world.prometheus_down.store(true, Ordering::Relaxed);
            }
            Operations::PoolRemoval => {
                world.begins(fault, "the operator removes the pool".into());
                world.removal.store(true, Ordering::Relaxed);
            }
        }
    }

    fn end(&self, _: Fault, sim: &mut Sim<'_>, world: &World) {
        match self {
            Operations::PrometheusOutage => world.prometheus_down.store(false, Ordering::Relaxed),
            Operations::PoolRemoval => {
                world.removal.store(false, Ordering::Relaxed);
                for host in 0..world.controls.len() {
                    world.oracle.crashed(host);
                    sim.bounce(format!("d{host}"));
                }
            }
        }
    }
}

/// Ends all of these faults; a pool that was removed is created again by the next start.
pub(super) fn heal(world: &World) {
    world.prometheus_down.store(false, Ordering::Relaxed);
}
