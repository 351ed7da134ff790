//! Creates the hosts of a world on the simulated network.

use super::World;
use super::api::Api;
use super::dispatcher::Dispatcher;
use super::keda::Asker;
use super::node::{self, Pods};
use super::operator::{self, Orders};
use super::pools::{self, ANNEX, Grounds};
use super::scaler::Scaler;
use super::visitor::{self, Scene, Visitor, WAY, Way};
use crate::chance::Chance;
use slotkeeper::config::Admission;
use slotkeeper_core::AfterSession;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};

impl World {
    /// Creates all hosts.
    pub(super) fn people(&self, sim: &mut turmoil::Sim<'_>) {
        let chance = Chance::new(self.setting.seed);
        let redis = self.redis.clone();
        let journal_at = self.setting.shared_journal.then(|| {
            sim.host("journal", move || {
                let redis = redis.clone();
                async move { Ok(redis.serve().await?) }
            });
            sim.lookup("journal")
        });
        let api = Api {
            server: self.kube.server(),
            oracle: self.oracle.clone(),
            dice: Arc::new(Mutex::new(chance.stream("api"))),
            overload_dice: Arc::new(Mutex::new(chance.stream("overload"))),
            shaky: self.shaky.clone(),
            overload: self.overload.clone(),
        };
        sim.host("api", move || {
            let api = api.clone();
            async move { Ok(api.serve().await?) }
        });
        let api_at = sim.lookup("api");
        let pods = Pods {
            kube: self.kube.clone(),
            oracle: self.oracle.clone(),
            recycled: self.setting.rules.after_session == AfterSession::Recycle,
            chance,
            conduct: self.setting.conduct,
            windows: self.windows.clone(),
        };
        for node in 0..self.setting.nodes as usize {
            let name = format!("node{node}");
            let (pods, crashes) = (pods.clone(), self.crashes.clone());
            sim.host(name.clone(), move || {
                let (pods, crashes) = (pods.clone(), crashes.clone());
                async move { Ok(node::run(node, pods, crashes).await?) }
            });
            self.kube.add_node(sim.lookup(name));
        }
        let grounds = self.annex(sim, chance);
        let mut dispatchers = Vec::new();
        for (host, controls) in self.controls.iter().enumerate() {
            let name = format!("d{host}");
            let place = Dispatcher {
                host,
                setting: self.setting.clone(),
                oracle: self.oracle.clone(),
                disk: self.disks[host].clone(),
                gate: self.gates[host].clone(),
                kube: self.kube.clone(),
                journal_at,
                api_at,
                controls: controls.clone(),
                connections: self.connections.clone(),
                grounds: grounds.clone(),
            };
            sim.host(name.clone(), move || {
                let place = place.clone();
                async move {
                    place.dispatch().await;
                    Ok(())
                }
            });
            self.redis.knows(sim.lookup(name.as_str()), host);
            dispatchers.push(sim.lookup(name));
        }
        self.scalers(sim, &dispatchers, chance);
        self.homes(sim, dispatchers, chance);
    }

    /// Creates the second pool's host, and what its clusters need.
    fn annex(&self, sim: &mut turmoil::Sim<'_>, chance: Chance) -> Option<Grounds> {
        let (annex, oracle) = (self.setting.annex.clone()?, self.annex.clone()?);
        let (conduct, windows, calm) = (self.setting.conduct, self.windows.clone(), self.calm.clone());
        let (troubled, cold_start) = (!self.setting.faults.is_empty(), self.setting.cold_start);
        let processes = Arc::default();
        let ground = move |host| Grounds {
            annex: annex.clone(),
            oracle: oracle.clone(),
            host,
            chance,
            conduct,
            windows: windows.clone(),
            calm: calm.clone(),
            troubled,
            processes: Arc::clone(&processes),
            cold_start,
        };
        // The address is known only after the host exists; it is not needed before.
        let on_host = ground.clone();
        sim.host(ANNEX, move || {
            let grounds = on_host(turmoil::lookup(ANNEX));
            async move {
                grounds.serve().await;
                Ok(())
            }
        });
        Some(ground(sim.lookup(ANNEX)))
    }

    fn scalers(&self, sim: &mut turmoil::Sim<'_>, dispatchers: &[IpAddr], chance: Chance) {
        let scaler = Scaler {
            oracle: self.oracle.clone(),
            kube: self.kube.clone(),
            dispatchers: dispatchers.to_vec(),
            down: self.prometheus_down.clone(),
        };
        let setting = self.setting.clone();
        sim.host("prometheus", move || {
            let (scaler, setting) = (scaler.clone(), setting.clone());
            async move {
                scaler.run(setting).await;
                Ok(())
            }
        });
        if self.setting.is_pushed() {
            let (oracle, kube, connections) = (self.oracle.clone(), self.kube.clone(), self.connections.clone());
            let (dispatchers, setting) = (dispatchers.to_vec(), self.setting.clone());
            sim.host("keda", move || {
                let (oracle, kube, connections) = (oracle.clone(), kube.clone(), connections.clone());
                let (dispatchers, setting) = (dispatchers.clone(), setting.clone());
                async move {
                    Asker::new(oracle, kube, dispatchers, connections, &setting).run(setting).await;
                    Ok(())
                }
            });
        }
        let (oracle, max) = (self.oracle.clone(), self.setting.rules.max);
        let orders = Orders { calm: self.calm.clone(), removal: self.removal.clone() };
        let dispatchers = dispatchers.to_vec();
        sim.host("operator", move || {
            let (oracle, orders, dispatchers) = (oracle.clone(), orders.clone(), dispatchers.clone());
            async move {
                operator::work(oracle, dispatchers, orders, max, chance.stream("operator")).await;
                Ok(())
            }
        });
    }

    fn homes(&self, sim: &mut turmoil::Sim<'_>, dispatchers: Vec<IpAddr>, chance: Chance) {
        let scene = Scene {
            oracle: self.oracle.clone(),
            dispatchers,
            habits: self.setting.habits,
            calm: self.calm.clone(),
            guests: self.guests.clone(),
            bots_are_placed: self.setting.admission == Admission::Immediate,
            alone: self.setting.rules.slots_per_pod == 1,
            chance,
            conduct: self.setting.conduct,
            windows: self.windows.clone(),
            way: WAY,
        };
        let annex = self.setting.annex.as_ref().zip(self.annex.clone()).map(|(annex, oracle)| {
            let way = Way { pool: ANNEX, base: pools::PATH, cookie: pools::COOKIE };
            let alone = annex.rules.slots_per_pod == 1;
            let numbers = self.setting.visitors..self.setting.visitors + annex.visitors;
            let scene = Scene { oracle, alone, way, bots_are_placed: false, ..scene.clone() };
            (numbers.map(|number| number as usize).collect::<Vec<_>>(), scene)
        });
        let (homes, bots) = (self.setting.homes as usize, self.setting.bots as usize);
        for home in 0..homes {
            let (scene, annex) = (scene.clone(), annex.clone());
            let visitors = self.setting.comers().map(|number| number as usize);
            let visitors: Vec<usize> = visitors.filter(|number| number % homes == home).collect();
            sim.host(format!("home{home}"), move || {
                let (scene, annex, visitors) = (scene.clone(), annex.clone(), visitors.clone());
                async move {
                    for number in visitors {
                        let dice = chance.stream(&format!("visitor {number}"));
                        tokio::spawn(Visitor::new(number, scene.clone(), dice).live());
                    }
                    if let Some((more, scene)) = annex {
                        for number in more.into_iter().filter(|number| number % homes == home) {
                            let dice = chance.stream(&format!("visitor {number} of the second pool"));
                            tokio::spawn(Visitor::new(number, scene.clone(), dice).live());
                        }
                    }
                    for number in (home..bots).step_by(homes) {
                        tokio::spawn(visitor::bot(scene.clone(), chance.stream(&format!("bot {number}"))));
                    }
                    std::future::pending::<()>().await;
                    Ok(())
                }
            });
        }
    }
}
