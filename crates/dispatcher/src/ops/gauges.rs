//! The gauges of the fleet's state, computed at each scrape.

use crate::config::PoolConfig;
use crate::metrics::{Metrics, PoolMetrics};
use slotkeeper_core::{Census, Fleet, PoolId, Scaling, Targets, planted};

/// The text format, with the current state; without any state if it is not reliable: a scaler must never read an outdated
/// number, or a 0, when nothing is known.
///
/// # Errors
/// Only if the registry itself is broken.
pub(crate) fn text<'a>(
    metrics: &Metrics,
    fleet: Option<&Fleet>,
    pools: impl Iterator<Item = (&'a PoolConfig, &'a PoolMetrics)>,
) -> Result<String, prometheus::Error> {
    let _alone = metrics.scrape();
    metrics.state.reset();
    if let Some(fleet) = fleet {
        metrics.replica.journal_position.set(fleet.applied() as i64);
    }
    for (config, own) in pools {
        if let Some(gauge) = &own.own_gauge {
            gauge.reset();
        }
        let fleet = fleet.filter(|f| knows(f, &config.id));
        if let Some(fleet) = fleet {
            size(metrics, fleet, &config.id);
        }
        let census = fleet.and_then(|f| f.census(&config.id));
        if let Some((rules, census)) = fleet.and_then(|f| f.rules(&config.id)).zip(census.as_ref()) {
            load(metrics, &config.id.0, &rules.targets, census);
        }
        known_state(metrics, &config.id.0, census.as_ref(), own);
    }
    metrics.text()
}

/// The pool's maximum, and the size that was last written to its cluster.
fn size(metrics: &Metrics, fleet: &Fleet, pool: &PoolId) {
    if let Some(rules) = fleet.rules(pool) {
        metrics.state.max_pods.with_label_values(&[&pool.0]).set(i64::from(rules.max));
    }
    if let Some(seen) = fleet.scale_seen(pool) {
        metrics.state.pods.with_label_values(&[&*pool.0, "told"]).set(i64::from(seen.span.len()));
    }
}

/// The pods that each target of the pool asks for, and the measured load.
fn load(metrics: &Metrics, pool: &str, targets: &Targets, c: &Census) {
    let asked = [
        ("slots", Some(c.asked.slots)),
        ("sessions", targets.sessions.map(|_| c.asked.sessions)),
        ("messages", targets.messages.map(|_| c.asked.messages)),
        ("gauge", targets.gauge.map(|_| c.asked.gauge)),
    ];
    for (target, n) in asked.into_iter().filter_map(|(target, n)| Some((target, n?))) {
        metrics.state.asked.with_label_values(&[pool, target]).set(i64::from(n));
    }
    if targets.messages.is_some() {
        metrics.state.message_rate.with_label_values(&[pool]).set(c.messages_per_second as i64);
    }
    if let Some(milli) = c.gauge.filter(|_| targets.gauge.is_some()) {
        metrics.state.pod_gauge.with_label_values(&[pool]).set(milli as f64 / 1000.0);
    }
}

/// Sets no gauge if nothing is known.
fn known_state(metrics: &Metrics, pool: &str, census: Option<&Census>, own: &PoolMetrics) {
    planted!(ServeZero => state(metrics, pool, &census.cloned().unwrap_or_default(), own));
    if let Some(census) = census {
        state(metrics, pool, census, own);
    }
}

fn state(metrics: &Metrics, pool: &str, c: &Census, own: &PoolMetrics) {
    let sessions = [("queued", c.queued), ("held", c.held), ("taken", c.taken), ("ending", c.ending)];
    for (state, n) in sessions {
        metrics.state.sessions.with_label_values(&[pool, state]).set(n as i64);
    }
    metrics.state.queue.with_label_values(&[pool]).set(c.queued as i64);
    for (state, n) in [("busy", c.busy_slots), ("free", c.free_slots)] {
        metrics.state.slots.with_label_values(&[pool, state]).set(n as i64);
    }
    let pods = [
        ("needed", c.needed.len()),
        ("desired", c.desired.len()),
        ("existing", c.pods),
        ("ready", c.ready),
        ("leaving", c.leaving),
        ("retiring", c.retiring),
        ("terminating", c.terminating),
        ("unusable", c.unusable),
        ("failing", c.failing),
    ];
    for (state, n) in pods {
        metrics.state.pods.with_label_values(&[pool, state]).set(i64::from(n));
    }
    metrics.state.active.with_label_values(&[pool]).set(i64::from(c.is_active()));
    metrics.state.frozen.with_label_values(&[pool]).set(i64::from(c.frozen));
    if let Some(gauge) = &own.own_gauge {
        gauge.with_label_values::<&str>(&[]).set((c.queued + c.busy_slots) as i64);
    }
}

/// Whether the fleet knows enough of this pool to report it: before its pods have been listed and its size has been read, the 0
/// pods of a new journal only mean that nothing is known.
#[must_use]
pub(crate) fn knows(fleet: &Fleet, pool: &PoolId) -> bool {
    let sized = match fleet.rules(pool).map(|r| r.scaling) {
        Some(Scaling::Direct { .. } | Scaling::Keda { .. }) => fleet.scale_seen(pool).is_some(),
        Some(Scaling::None) | None => true,
    };
    sized && fleet.is_listed(pool)
}

#[cfg(test)]
mod tests {
    use super::text;
    use crate::config::{PoolConfig, parse};
    use crate::metrics::{Metrics, PoolMetrics};
    use slotkeeper_core::{Command, Entry, Fleet, Millis, ReplicaId, Rules, Scaling, Time};
    use std::path::Path;

    const POOL: &str = "[pools.gamecube]\nactive_sessions_gauge = \"gamecube_active_sessions\"\n\
                        [pools.gamecube.fixed]\npods = [\"127.0.0.1:1\"]\n";

    struct Scrape {
        metrics: Metrics,
        config: PoolConfig,
        own: PoolMetrics,
        fleet: Fleet,
        number: u64,
    }

    impl Scrape {
        fn of(text: &str) -> Scrape {
            let config = parse(text, "test", Path::new("/")).unwrap().pools.remove(0);
            let metrics = Metrics::new().unwrap();
            let own = metrics.pool(&config).unwrap();
            Scrape { metrics, config, own, fleet: Fleet::new(), number: 0 }
        }

        fn after(&mut self, command: Command) {
            self.number += 1;
            let (at, from, pool) = (Time(self.number), ReplicaId(1), self.config.id.clone());
            let _ = self.fleet.apply(&Entry { at, from, number: self.number, pool, command });
        }

        fn text(&self) -> String {
            text(&self.metrics, Some(&self.fleet), [(&self.config, &self.own)].into_iter()).unwrap()
        }
    }

    #[test]
    fn no_gauges_of_a_pool_before_its_pods_and_its_size_are_known() {
        let mut scrape = Scrape::of(POOL);
        let by_state =
            ["slotkeeper_pods{", "slotkeeper_active{", "slotkeeper_queue_length{", "gamecube_active_sessions "];
        let told = |text: &str| by_state.map(|name| text.lines().any(|line| line.starts_with(name)));
        assert_eq!(told(&scrape.text()), [false; 4]);
        scrape.after(Command::Rules(Rules {
            scaling: Scaling::Keda { settle: Millis(1) },
            max: 5,
            ..Rules::default()
        }));
        assert_eq!(told(&scrape.text()), [false; 4], "a new journal knows of no pods");
        scrape.after(Command::PodsListed { pods: vec![], version: 1 });
        assert_eq!(told(&scrape.text()), [false; 4], "nor of the size of the workload");
        scrape.after(Command::ScaleSeen {
            start: 0,
            replicas: 3,
            decided: 0,
            timeline: slotkeeper_core::Timeline::FIRST,
            version: 2,
        });
        let text = scrape.text();
        assert_eq!(told(&text), [true; 4]);
        for line in [
            "slotkeeper_pods{pool=\"gamecube\",state=\"desired\"} 3",
            "slotkeeper_pods{pool=\"gamecube\",state=\"told\"} 3",
            "slotkeeper_max_pods{pool=\"gamecube\"} 5",
            "gamecube_active_sessions 0",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} in\n{text}");
        }
        let nothing = super::text(&scrape.metrics, None, [(&scrape.config, &scrape.own)].into_iter()).unwrap();
        assert_eq!(told(&nothing), [false; 4], "an unreliable state does not repeat earlier values");
    }
}
