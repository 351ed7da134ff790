//! Balancers, behind the tabletop's dispatcher interface: Slotkeeper's own core, driven as on the tabletop, or common
//! alternatives in front of a gateway (peers). A peer remembers nothing of a disconnected client.

use super::Balance;
use crate::chance::Chance;
use crate::planner::tabletop::dispatcher::{Dispatcher as _, News, Order, Phase};
use crate::planner::tabletop::ours::Ours;
use rand::Rng as _;
use rand_chacha::ChaCha8Rng;
use std::collections::BTreeMap;

pub(super) enum Balancer {
    Ours(Box<Ours>),
    Peer(Box<Peer>),
}

impl Balancer {
    pub(super) fn new(balance: &Balance, pods: u32, chance: Chance) -> Balancer {
        let rule = match balance {
            Balance::Slotkeeper(rules) => return Balancer::Ours(Box::new(Ours::new((**rules).clone(), pods))),
            Balance::Random => Rule::Random,
            Balance::RoundRobin => Rule::RoundRobin,
            Balance::LeastConnections { balancers } => Rule::Least { balancers: (*balancers).max(1) },
        };
        Balancer::Peer(Box::new(Peer {
            rule,
            ready: BTreeMap::new(),
            turn: 0,
            chosen: BTreeMap::new(),
            counts: BTreeMap::new(),
            chance: chance.stream("balancer"),
        }))
    }

    pub(super) fn hear(&mut self, now: u64, news: News<'_>) -> Vec<Order> {
        match self {
            Balancer::Ours(ours) => ours.hear(now, news),
            Balancer::Peer(peer) => peer.hear(news).into_iter().collect(),
        }
    }

    pub(super) fn alarm(&self, now: u64) -> Option<u64> {
        match self {
            Balancer::Ours(ours) => ours.alarm(now),
            Balancer::Peer(_) => None,
        }
    }
}

#[derive(Clone, Copy)]
enum Rule {
    Random,
    RoundRobin,
    Least { balancers: u32 },
}

pub(super) struct Peer {
    rule: Rule,
    /// The known endpoints: ordinal and incarnation.
    ready: BTreeMap<u32, u64>,
    turn: usize,
    /// For each client: the balancer it came through, and the incarnation it was sent to.
    chosen: BTreeMap<u32, (u32, u64)>,
    /// Connections by balancer and incarnation.
    counts: BTreeMap<(u32, u64), u32>,
    chance: ChaCha8Rng,
}

impl Peer {
    fn hear(&mut self, news: News<'_>) -> Option<Order> {
        match news {
            News::Visit { guest, .. } => Some(self.choose(guest)),
            News::Attach { guest } => {
                let chosen = self.chosen.get(&guest)?;
                *self.counts.entry(*chosen).or_default() += 1;
                None
            }
            News::Detach { guest } => {
                let chosen = self.chosen.remove(&guest)?;
                if let Some(count) = self.counts.get_mut(&chosen) {
                    *count = count.saturating_sub(1);
                }
                None
            }
            News::Pod { ordinal, uid, phase: Phase::Ready } => {
                self.ready.insert(ordinal, uid);
                None
            }
            News::Pod { ordinal, uid, .. } => {
                // A late event of the previous incarnation does not apply to this one.
                if self.ready.get(&ordinal) == Some(&uid) {
                    self.ready.remove(&ordinal);
                }
                None
            }
            // A peer does not decide the number of pods, and has no queue.
            News::Started
            | News::Close { .. }
            | News::Active { .. }
            | News::Scale { .. }
            | News::Served
            | News::Max { .. }
            | News::Spare { .. }
            | News::Restarted
            | News::Tick => None,
        }
    }

    fn choose(&mut self, guest: u32) -> Order {
        let number = self.ready.len();
        if number == 0 {
            return Order::Refuse { guest };
        }
        let through = match self.rule {
            Rule::Least { balancers } => self.chance.random_range(0..balancers),
            Rule::Random | Rule::RoundRobin => 0,
        };
        self.turn = (self.turn + 1) % number;
        let at = match self.rule {
            Rule::Random => self.chance.random_range(0..number),
            Rule::RoundRobin => self.turn,
            // In turn among equals, otherwise the lowest would always be chosen first.
            Rule::Least { .. } => {
                let count = |uid: &u64| self.counts.get(&(through, *uid)).copied().unwrap_or_default();
                let pods = self.ready.values().enumerate();
                let least = pods.min_by_key(|(at, uid)| (count(uid), (at + number - self.turn) % number));
                least.map_or(0, |(at, _)| at)
            }
        };
        match self.ready.iter().nth(at) {
            Some((ordinal, uid)) => {
                self.chosen.insert(guest, (through, *uid));
                Order::Seat { guest, ordinal: *ordinal, uid: *uid }
            }
            None => Order::Refuse { guest },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Balancer, News, Order, Phase};
    use crate::chance::Chance;
    use crate::planner::gateway::Balance;

    fn peer(balance: &Balance, pods: u32) -> Balancer {
        let mut peer = Balancer::new(balance, pods, Chance::new(1));
        for ordinal in 0..pods {
            peer.hear(0, News::Pod { ordinal, uid: u64::from(ordinal) + 1, phase: Phase::Ready });
        }
        peer
    }

    fn connect(peer: &mut Balancer, guest: u32) -> Option<u32> {
        let orders = peer.hear(0, News::Visit { guest, last: None });
        peer.hear(0, News::Attach { guest });
        let seated = |order| if let Order::Seat { ordinal, .. } = order { Some(ordinal) } else { None };
        orders.into_iter().find_map(seated)
    }

    #[test]
    fn a_peer_sends_clients_to_the_pods_it_knows() {
        let mut peer = peer(&Balance::RoundRobin, 3);
        let mut seen: Vec<_> = (0..3).map(|guest| connect(&mut peer, guest)).collect();
        seen.sort_unstable();
        assert_eq!(seen, [Some(0), Some(1), Some(2)]);
        peer.hear(0, News::Pod { ordinal: 1, uid: 7, phase: Phase::Gone });
        assert!((0..9).any(|guest| connect(&mut peer, guest) == Some(1)), "the event was of another incarnation");
        peer.hear(0, News::Pod { ordinal: 1, uid: 2, phase: Phase::Terminating });
        assert!((0..9).all(|guest| connect(&mut peer, guest) != Some(1)));
    }

    #[test]
    fn least_connections_fills_the_emptiest_pod() {
        let mut peer = peer(&Balance::LeastConnections { balancers: 1 }, 2);
        let first: Vec<_> = (0..4).filter_map(|guest| connect(&mut peer, guest)).collect();
        assert_eq!(first.iter().filter(|o| **o == 0).count(), 2);
        let leaves = first.iter().position(|o| *o == 1).expect("a client is connected to pod 1") as u32;
        peer.hear(0, News::Detach { guest: leaves });
        assert_eq!(connect(&mut peer, 9), Some(1));
        let none = Balancer::new(&Balance::Random, 0, Chance::new(1)).hear(0, News::Visit { guest: 1, last: None });
        assert_eq!(none, [Order::Refuse { guest: 1 }]);
    }
}
