//! Named gateway scenarios, each with the designs it compares: least effort first, ours last. They are written for 50
//! 000 clients; with fewer, every number that counts clients is scaled down.

use super::queues::{self, Policy};
use super::{Balance, Design, Farewell, Happening, Limits, Outcome, Reconnect, Setting, run};
use crate::chance::{Chance, Draw};
use slotkeeper_core::{Millis, Placement, Rules, Scaling, Shrink, Targets, Window};

const SECOND: u64 = 1000;
const PODS: u32 = 10;
/// Time before the event. All clients have arrived after half of it.
const WARM_UP: u64 = 120 * SECOND;
/// `drain_seconds` of the dispatcher, and the drain time of a careful server.
const DRAIN: u64 = 20 * SECOND;
/// `preStop`: until no balancer sends new clients.
const PRE_STOP: Farewell = Farewell::Notice { wait: 5 * SECOND, over: DRAIN };
const DRAINED: Farewell = Farewell::Dispatcher { over: DRAIN };

/// A named gateway scenario.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    /// `g1-surge`.
    pub name: &'static str,
    /// What happens and what to look at, understandable without further context.
    pub story: &'static str,
    play: fn(&Scene) -> Vec<Outcome>,
}

impl Scenario {
    /// The default number of clients.
    pub const CLIENTS: u32 = 50_000;

    /// Plays each design with this many clients and this seed.
    #[must_use]
    pub fn play(&self, clients: u32, seed: u64) -> Vec<Outcome> {
        (self.play)(&Scene { story: self.story, clients: clients.max(PODS), chance: Chance::new(seed) })
    }
}

/// Returns the scenario with this name.
#[must_use]
pub fn scenario(name: &str) -> Option<Scenario> {
    scenarios().into_iter().find(|s| s.name == name)
}

/// Returns all scenarios.
#[must_use]
pub fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario {
            name: "g1-surge",
            story: "Everybody connects within a minute. Six pods are ready, four are still starting: a balancer that \
                    counts nothing leaves those half empty, and connected clients do not move.",
            play: surge,
        },
        Scenario {
            name: "g2-rolling-restart",
            story: "All pods are restarted, one at a time, with all clients connected. A client that loses its \
                    connection should reconnect soon, and not all clients at once.",
            play: rolling_restart,
        },
        Scenario {
            name: "g3-scale-down",
            story: "One pod fewer is needed. A tenth of all connections are on the pod that is removed.",
            play: scale_down,
        },
        Scenario {
            name: "g4-slow-consumer",
            story: "One pod sends 50 messages of 1 KiB a second to all its clients. One client in a hundred reads only \
                    5 to 25 a second; 64 messages may wait for each, where there is a limit; the pod has 256 MiB for \
                    queues.",
            play: slow_consumer,
        },
        Scenario {
            name: "g5-herd",
            story: "A node is lost, and a pod with a tenth of all connections: all of these clients want to reconnect \
                    at once. A pod accepts 2000 connections a second, and 128 may wait in its backlog.",
            play: herd,
        },
    ]
}

/// The parameters of a scenario's run.
struct Scene {
    story: &'static str,
    clients: u32,
    chance: Chance,
}

impl Scene {
    /// Scales a number that applies to 50 000 clients.
    fn part(&self, number: u32) -> u32 {
        let part = u64::from(number) * u64::from(self.clients) / u64::from(Scenario::CLIENTS);
        u32::try_from(part).unwrap_or(u32::MAX).max(1)
    }

    fn setting(&self, length: u64, happenings: Vec<(u64, Happening)>) -> Setting {
        Setting {
            story: self.story.to_owned(),
            chance: self.chance,
            length,
            clients: self.clients,
            arrival: WARM_UP / 2,
            pods: PODS,
            ready: PODS,
            cold_start: Draw::Between(5 * SECOND, 10 * SECOND),
            limits: Limits { connections: self.part(8000), accepts: self.part(2000), backlog: self.part(128) },
            connect: Draw::Between(5, 60),
            kill_after: 60 * SECOND,
            min_ready: 5 * SECOND,
            happenings,
            from: WARM_UP,
        }
    }

    fn rules(&self) -> Rules {
        Rules {
            slots_per_pod: self.part(8000),
            max: PODS,
            placement: Placement::Spread,
            sticky_storage: false,
            scaling: Scaling::None,
            queue_limit: self.clients,
            grace: Millis::secs(30),
            ..Rules::default()
        }
    }

    fn slotkeeper(&self) -> Balance {
        Balance::Slotkeeper(Box::new(self.rules()))
    }

    /// Slotkeeper with direct scaling: one pod fewer than ten for 50 000 clients, at the time when another scaler
    /// would remove it.
    fn shrinking(&self, shrink: Shrink) -> Balance {
        let rules = Rules {
            scaling: Scaling::Direct { window: Window::Fixed },
            cooldown: Millis(WARM_UP),
            shrink,
            targets: Targets { sessions: Some(self.part(6400)), ..Targets::default() },
            ..self.rules()
        };
        Balance::Slotkeeper(Box::new(rules))
    }
}

fn design(title: &str, balance: Balance, farewell: Farewell, reconnect: Reconnect) -> Design {
    Design { title: title.to_owned(), balance, farewell, reconnect }
}

/// Three proxies that count separately.
const LEAST: Balance = Balance::LeastConnections { balancers: 3 };

fn each(setting: &Setting, designs: &[Design]) -> Vec<Outcome> {
    designs.iter().map(|design| run(setting, design)).collect()
}

fn surge(scene: &Scene) -> Vec<Outcome> {
    let setting = Setting {
        ready: 6,
        cold_start: Draw::Between(15 * SECOND, 30 * SECOND),
        from: 0,
        ..scene.setting(90 * SECOND, Vec::new())
    };
    let js = Reconnect::CLIENT_JS;
    let designs = [
        design("kube-proxy: any of them", Balance::Random, Farewell::Cut, js),
        design("round robin", Balance::RoundRobin, Farewell::Cut, js),
        design("least connections, three balancers", LEAST, PRE_STOP, js),
        design("Slotkeeper, spread", scene.slotkeeper(), DRAINED, js),
    ];
    each(&setting, &designs)
}

fn rolling_restart(scene: &Scene) -> Vec<Outcome> {
    let setting = scene.setting(540 * SECOND, vec![(WARM_UP, Happening::RollingRestart)]);
    let js = Reconnect::CLIENT_JS;
    let designs = [
        design("round robin, cut, back at once", Balance::RoundRobin, Farewell::Cut, Reconnect::AtOnce),
        design("round robin, cut, client.js", Balance::RoundRobin, Farewell::Cut, js),
        design("least connections, preStop and drain, client.js", LEAST, PRE_STOP, js),
        design("Slotkeeper, drain, client.js", scene.slotkeeper(), DRAINED, js),
    ];
    each(&setting, &designs)
}

fn scale_down(scene: &Scene) -> Vec<Outcome> {
    let setting = scene.setting(240 * SECOND, vec![(WARM_UP, Happening::ScaleDown)]);
    let js = Reconnect::CLIENT_JS;
    let everybody = Farewell::Notice { wait: 5 * SECOND, over: 0 };
    let designs = [
        design("round robin, cut, back at once", Balance::RoundRobin, Farewell::Cut, Reconnect::AtOnce),
        design("round robin, notice to all at once, client.js", Balance::RoundRobin, everybody, js),
        design("least connections, preStop and drain, client.js", LEAST, PRE_STOP, js),
        design("Slotkeeper, another scaler deletes, drain", scene.slotkeeper(), DRAINED, js),
        design("Slotkeeper, shrink = wait", scene.shrinking(Shrink::Wait), DRAINED, js),
        design("Slotkeeper, shrink = move", scene.shrinking(Shrink::Move), DRAINED, js),
    ];
    each(&setting, &designs)
}

fn herd(scene: &Scene) -> Vec<Outcome> {
    // Short, so that single seconds are visible in the picture.
    let lost = 20 * SECOND;
    let setting = Setting {
        arrival: 15 * SECOND,
        from: lost,
        ..scene.setting(60 * SECOND, vec![(lost, Happening::Loss { ordinal: PODS - 1 })])
    };
    let (peer, ours) = (|| Balance::RoundRobin, || scene.slotkeeper());
    let designs = [
        design("round robin, back at once", peer(), Farewell::Cut, Reconnect::AtOnce),
        design("round robin, backoff without jitter", peer(), Farewell::Cut, Reconnect::BACKOFF),
        design("Slotkeeper, back at once", ours(), DRAINED, Reconnect::AtOnce),
        design("Slotkeeper, backoff without jitter", ours(), DRAINED, Reconnect::BACKOFF),
        design("Slotkeeper, client.js: full jitter", ours(), DRAINED, Reconnect::CLIENT_JS),
    ];
    each(&setting, &designs)
}

fn slow_consumer(scene: &Scene) -> Vec<Outcome> {
    let clients = scene.clients / PODS;
    let setting = queues::Setting {
        story: scene.story.to_owned(),
        chance: scene.chance,
        length: 300 * SECOND,
        clients,
        // At least one slow reader, even with few clients.
        one_in: clients.clamp(1, 100),
        reads: Draw::Between(40, 200),
        rate: 50,
        bytes: 1024,
        limit: 64,
        memory: u64::from(scene.part(256 * 1024)) * 1024,
        reconnect: Reconnect::CLIENT_JS,
    };
    Policy::ALL.iter().map(|policy| queues::run(&setting, *policy)).collect()
}
