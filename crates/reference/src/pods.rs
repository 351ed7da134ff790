//! Pods as the API server knows them. Decides whether a visitor could surely be placed in one.

use crate::observation::{PodId, PodState, Remover, Scaling, Settings, VisitorId};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Debug)]
pub(crate) struct Pod {
    pub(crate) ordinal: u32,
    state: PodState,
    /// It has been observed from its first moment.
    born: bool,
    /// The most slots it has had.
    pub(crate) slots: u32,
    /// All visitors that have had a stream here.
    pub(crate) guests: BTreeSet<VisitorId>,
    /// When a guest first left.
    pub(crate) traces: Option<u64>,
    /// An order excludes it, or may exclude it: it may be deleted at any moment.
    doubted: bool,
    /// It cannot be observed whether it may still be deleted.
    unknown: bool,
    /// Since when it has been `doubted` or not ready without interruption.
    late_since: Option<u64>,
    /// When the dispatcher or the scaler removed it.
    pub(crate) removed: Option<u64>,
    /// Since when it has been terminating.
    pub(crate) going: Option<u64>,
    /// Since when it has surely been free.
    pub(crate) free_since: Option<u64>,
}

impl Pod {
    pub(crate) fn is_going(&self) -> bool {
        matches!(self.state, PodState::Terminating { .. } | PodState::Gone)
    }

    /// Whether it is unknown, and cannot be observed, that it stays.
    pub(crate) fn is_unknown(&self) -> bool {
        self.unknown
    }

    pub(crate) fn is_gone(&self) -> bool {
        self.state == PodState::Gone
    }
}

/// A size, and the position of the decision it carries out.
#[derive(Clone, Copy, Debug)]
struct Size {
    start: u32,
    end: u32,
    position: u64,
}

impl Size {
    fn contains(self, ordinal: u32) -> bool {
        (self.start..self.end).contains(&ordinal)
    }
}

#[derive(Clone, Copy, Debug, Default)]
enum Order {
    /// The dispatcher has not ordered anything: the stored size counts.
    #[default]
    None,
    /// It may have ordered a size that is forgotten now.
    Unknown,
    Newest(Size),
}

#[derive(Debug, Default)]
pub(crate) struct Pods {
    all: BTreeMap<PodId, Pod>,
    order: Order,
    stored: Option<Size>,
    caught_up: bool,
    cordoned: BTreeSet<u32>,
    /// After a journal loss cordons may be forgotten or not: only these ordinals are surely open.
    surely_open: Option<BTreeSet<u32>>,
    emptied: BTreeSet<u32>,
}

impl Pods {
    pub(crate) fn get(&self, pod: &PodId) -> Option<&Pod> {
        self.all.get(pod)
    }

    pub(crate) fn get_mut(&mut self, pod: &PodId) -> Option<&mut Pod> {
        self.all.get_mut(pod)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&PodId, &Pod)> {
        self.all.iter()
    }

    /// Records a state of a pod. `judged`: a removal by the dispatcher's side is recorded too.
    pub(crate) fn saw(
        &mut self,
        id: &PodId,
        ordinal: u32,
        state: PodState,
        settings: &Settings,
        at: u64,
        judged: bool,
    ) {
        self.caught_up = false;
        if state == PodState::Gone && !self.all.contains_key(id) {
            return;
        }
        let covered = match (self.order, self.stored) {
            (Order::Newest(size), _) => size.contains(ordinal),
            (Order::None | Order::Unknown, _) => false,
        };
        let pod = self.all.entry(id.clone()).or_insert_with(|| Pod {
            ordinal,
            state,
            born: state == PodState::Starting,
            slots: settings.slots_per_pod,
            guests: BTreeSet::new(),
            traces: None,
            doubted: settings.scaling == Scaling::Own,
            unknown: match settings.scaling {
                Scaling::Own => false,
                Scaling::Keda => !covered,
                Scaling::Fixed => ordinal >= settings.max,
            },
            late_since: Some(at),
            removed: None,
            going: None,
            free_since: None,
        });
        pod.state = state;
        if pod.is_going() {
            pod.going.get_or_insert(at);
        }
        match state {
            PodState::Ready if !pod.doubted => pod.late_since = None,
            PodState::Terminating { by: Remover::ScaleDown | Remover::Recycle } if judged => {
                pod.removed.get_or_insert(at);
            }
            PodState::Starting
            | PodState::Ready
            | PodState::Unready
            | PodState::Terminating { .. }
            | PodState::Gone => {
                pod.late_since.get_or_insert(at);
            }
        }
        if state == PodState::Gone && self.all.len() > 200 {
            // Its streams and seats were judged long ago.
            let oldest = self.all.iter().find(|(_, pod)| pod.is_gone()).map(|(id, _)| id.clone());
            oldest.map(|id| self.all.remove(&id));
        }
    }

    pub(crate) fn ordered(&mut self, start: u32, end: u32, position: u64, settings: &Settings, at: u64) {
        let size = Size { start, end, position };
        self.order = Order::Newest(size);
        for pod in self.all.values_mut().filter(|p| !p.is_gone()) {
            // One step may have lowered the number and raised it again; only the last order can be observed. So after every
            // new order of the dispatcher, pods are not certain to stay until that order is stored.
            let outside = !size.contains(pod.ordinal);
            if outside || settings.scaling == Scaling::Own {
                pod.doubted = true;
                pod.unknown |= settings.scaling == Scaling::Keda;
                pod.late_since.get_or_insert(at);
            }
        }
    }

    pub(crate) fn stored(&mut self, start: u32, end: u32, position: u64) {
        self.caught_up = false;
        self.stored = Some(Size { start, end, position });
    }

    pub(crate) fn catch_up(&mut self) {
        self.caught_up = true;
    }

    /// Whether the newest order, if there is one, excludes this ordinal.
    pub(crate) fn order_excludes(&self, ordinal: u32) -> bool {
        matches!(self.order, Order::Newest(size) if !size.contains(ordinal))
    }

    pub(crate) fn cordon(&mut self, ordinal: u32, closed: bool) {
        if closed {
            self.cordoned.insert(ordinal);
        } else {
            self.cordoned.remove(&ordinal);
            self.emptied.remove(&ordinal);
        }
        if let Some(open) = &mut self.surely_open {
            if closed {
                open.remove(&ordinal);
            } else {
                open.insert(ordinal);
            }
        }
    }

    pub(crate) fn empty(&mut self, ordinal: u32) {
        self.cordon(ordinal, true);
        self.emptied.insert(ordinal);
    }

    pub(crate) fn is_emptied(&self, ordinal: u32) -> bool {
        self.emptied.contains(&ordinal)
    }

    /// The settings have changed: what was decided by the old ones about existing pods is unknown.
    pub(crate) fn settings_changed(&mut self, settings: &Settings) {
        if settings.scaling == Scaling::Fixed {
            // Orders are not carried out any more.
            self.order = Order::Unknown;
        }
        for pod in self.all.values_mut() {
            pod.slots = pod.slots.max(settings.slots_per_pod);
            pod.unknown = true;
        }
    }

    /// Orders, cordons and the use of pods may be forgotten.
    pub(crate) fn journal_lost(&mut self, settings: Option<&Settings>, at: u64) {
        self.order = Order::Unknown;
        self.surely_open = Some(BTreeSet::new());
        for pod in self.all.values_mut() {
            pod.doubted = true;
            pod.born = false;
            // The use of pods is forgotten, too. A pool that recycles replaces its pods because of that; one that starts to
            // recycle later cannot know.
            if settings.is_none_or(|s| !s.recycle) {
                pod.traces = None;
                pod.guests.clear();
            }
            pod.unknown |= settings.is_none_or(|s| s.scaling != Scaling::Own);
            pod.late_since.get_or_insert(at);
        }
    }

    /// The use, until now, of pods that have been ready may be forgotten.
    pub(crate) fn journal_settled(&mut self) {
        for pod in self.all.values_mut().filter(|p| p.state != PodState::Starting) {
            pod.born = false;
        }
    }

    /// Clears `doubted` for pods that certainly stay, by the observations so far.
    pub(crate) fn judge(&mut self, settings: &Settings, at: u64) {
        if !self.caught_up || settings.scaling != Scaling::Own {
            return;
        }
        let (Some(stored), order) = (self.stored, self.order) else { return };
        let certain = |ordinal: u32| match order {
            Order::None => stored.contains(ordinal),
            Order::Unknown => false,
            Order::Newest(size) => {
                size.contains(ordinal) && stored.contains(ordinal) && stored.position >= size.position
            }
        };
        for pod in self.all.values_mut().filter(|p| p.doubted && !p.unknown && certain(p.ordinal)) {
            // After `stuck_after` it may owe a recycle.
            if pod.late_since.is_some_and(|since| at.saturating_sub(since) >= settings.stuck_after) {
                pod.unknown = true;
                continue;
            }
            pod.doubted = false;
            if pod.state == PodState::Ready {
                pod.late_since = None;
            }
        }
    }

    /// Whether a visitor may surely be placed in this pod if it has a free slot. `exact`: at exactly this moment.
    pub(crate) fn is_surely_placeable(&self, pod: &Pod, settings: &Settings, exact: bool) -> bool {
        // A number that is lowered and raised again between two queries of KEDA cannot be observed.
        if exact && settings.scaling == Scaling::Keda {
            return false;
        }
        let cordoned = self.cordoned.contains(&pod.ordinal)
            || self.surely_open.as_ref().is_some_and(|open| !open.contains(&pod.ordinal));
        let stranger = settings.recycle && (!pod.born || pod.traces.is_some() || !pod.guests.is_empty());
        // Where sessions are moved, the highest pod may be the one that is being emptied.
        let highest = settings.moves && !matches!(self.order, Order::Newest(size) if pod.ordinal + 1 < size.end);
        pod.state == PodState::Ready
            && self.caught_up
            && !pod.doubted
            && !pod.unknown
            && !cordoned
            && !stranger
            && !highest
    }
}
