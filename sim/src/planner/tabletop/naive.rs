//! The least-effort dispatcher: counts sessions in memory, gives the first free ready pod to the first session in the
//! queue, identifies pods only by name, and exports the number of active or waiting sessions. It can be written in an
//! afternoon; the scenarios of `crate::planner::compare` show the consequences. It is not a caricature: sessions are sticky,
//! the queue is ordered, and a lost connection has a grace period.

use super::dispatcher::{Dispatcher, Gauge, News, Order, Phase};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// The variations between the known failures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Habit {
    /// Dispatcher replicas that share their memory.
    pub replicas: u32,
    /// Each replica exports the number of its own sessions, not the total.
    pub shares: bool,
    /// The count survives a restart.
    pub remembers: bool,
    /// The definition of activity.
    pub active_is: ActiveIs,
    /// The slot is kept this long after the connection is lost.
    pub grace: u64,
    pub slots_per_pod: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ActiveIs {
    Anybody,
    /// Only waiting sessions: if all sessions have a slot, the pool is inactive.
    WhoWaits,
}

impl Habit {
    #[must_use]
    pub fn usual(slots_per_pod: u32) -> Habit {
        Habit {
            replicas: 1,
            shares: false,
            remembers: false,
            active_is: ActiveIs::Anybody,
            grace: 30_000,
            slots_per_pod,
        }
    }
}

/// The least-effort dispatcher.
pub(super) struct Naive {
    habit: Habit,
    line: VecDeque<u32>,
    /// Ready pods, by the number in their name, with their current uid.
    ready: BTreeMap<u32, u64>,
    /// Each session's pod, and until when a slot without a connection is kept.
    seats: BTreeMap<u32, (u32, Option<u64>)>,
    taken: BTreeMap<u32, u32>,
    /// Pods with free slots.
    open: BTreeSet<u32>,
    leaving: BTreeSet<(u64, u32)>,
}

impl Naive {
    pub(super) fn new(habit: Habit) -> Naive {
        Naive {
            habit,
            line: VecDeque::new(),
            ready: BTreeMap::new(),
            seats: BTreeMap::new(),
            taken: BTreeMap::new(),
            open: BTreeSet::new(),
            leaving: BTreeSet::new(),
        }
    }

    fn renew(&mut self, pod: u32) {
        let room = self.taken.get(&pod).copied().unwrap_or(0) < self.habit.slots_per_pod;
        if room && self.ready.contains_key(&pod) {
            self.open.insert(pod);
        } else {
            self.open.remove(&pod);
        }
    }

    fn keep_until(&mut self, guest: u32, until: Option<u64>) {
        if let Some((_, kept)) = self.seats.get_mut(&guest) {
            if let Some(before) = std::mem::replace(kept, until) {
                self.leaving.remove(&(before, guest));
            }
            self.leaving.extend(until.map(|at| (at, guest)));
        }
    }

    fn free(&mut self, guest: u32) {
        self.keep_until(guest, None);
        if let Some((pod, _)) = self.seats.remove(&guest) {
            if let Some(taken) = self.taken.get_mut(&pod) {
                *taken -= 1;
            }
            self.renew(pod);
        }
    }

    fn seat(&mut self, orders: &mut Vec<Order>) {
        while let (Some(&guest), Some(&ordinal)) = (self.line.front(), self.open.first()) {
            let Some(&uid) = self.ready.get(&ordinal) else { break };
            self.line.pop_front();
            self.seats.insert(guest, (ordinal, None));
            *self.taken.entry(ordinal).or_default() += 1;
            self.renew(ordinal);
            orders.push(Order::Seat { guest, ordinal, uid });
        }
    }
}

impl Dispatcher for Naive {
    fn hear(&mut self, now: u64, news: News<'_>) -> Vec<Order> {
        let mut orders = Vec::new();
        while let Some((at, guest)) = self.leaving.first().copied()
            && at <= now
        {
            self.free(guest);
            orders.push(Order::Release { guest, why: "disconnected" });
        }
        match news {
            News::Visit { guest, .. } => {
                if !self.seats.contains_key(&guest) && !self.line.contains(&guest) {
                    self.line.push_back(guest);
                }
            }
            News::Attach { guest } => self.keep_until(guest, None),
            News::Detach { guest } => self.keep_until(guest, Some(now + self.habit.grace)),
            News::Close { guest } => self.line.retain(|g| *g != guest),
            News::Pod { ordinal, uid, phase } => {
                match phase {
                    Phase::Ready => {
                        self.ready.insert(ordinal, uid);
                    }
                    Phase::Starting | Phase::Unready | Phase::Failed | Phase::Gone => {
                        self.ready.remove(&ordinal);
                    }
                    // Its Ready condition remains true until the end.
                    Phase::Terminating => {}
                }
                self.renew(ordinal);
            }
            News::Restarted => {
                // Visitors with a slot continue with their cookie, which names the pod; these sessions are not
                // counted.
                if !self.habit.remembers {
                    let ready = std::mem::take(&mut self.ready);
                    *self = Naive { ready, ..Naive::new(self.habit) };
                    self.open = self.ready.keys().copied().collect();
                }
            }
            News::Started
            | News::Active { .. }
            | News::Scale { .. }
            | News::Served
            | News::Max { .. }
            | News::Spare { .. }
            | News::Tick => {}
        }
        self.seat(&mut orders);
        orders
    }

    fn alarm(&self, _now: u64) -> Option<u64> {
        self.leaving.first().map(|(at, _)| *at)
    }

    fn gauge(&self) -> Gauge {
        let (seated, waiting) = (self.seats.len(), self.line.len());
        let active = match self.habit.active_is {
            ActiveIs::Anybody => seated + waiting > 0,
            ActiveIs::WhoWaits => waiting > 0,
        };
        let of = if self.habit.shares { self.habit.replicas.max(1) } else { 1 };
        Gauge { metric: (seated + waiting) as f64 / f64::from(of), active }
    }

    fn desired(&self) -> u32 {
        (self.seats.len() + self.line.len()).div_ceil(self.habit.slots_per_pod.max(1) as usize) as u32
    }

    fn moves_guests(&self) -> bool {
        false
    }
}
