//! Counts the events of a run, and writes them to a `Record`. Long runs are thinned out: samples to a number that can
//! be drawn, and of pods and sessions only the first ones are listed; the others are only counted.

use crate::record::{Figures, Mark, MarkKind, PodEnd, PodLife, Quantiles, Record, Sample, SessionLife, Spell};
use serde::Serialize;
use std::collections::BTreeMap;

/// A run and its results.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    pub record: Record,
    /// Visitors who found a free slot at once.
    pub at_once: u64,
    /// Visitors who left because the wait was too long.
    pub gave_up: u64,
    /// Visitors who still waited for their first slot at the end.
    pub waiting: u64,
    /// Visitors with a slot at the end, connected or temporarily disconnected.
    pub there: u64,
    /// Visitors who have left, served or not.
    pub gone: u64,
    /// Maximum number of pods at once.
    pub most_pods: u32,
    /// Total time of taken slots, in hours: more than pod-hours if pods have several slots.
    pub seat_hours: f64,
    /// Pods and sessions that are counted in the figures but not listed in the record.
    pub pods_left_out: u64,
    pub sessions_left_out: u64,
}

/// How much of a run is recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Detail {
    pub samples: usize,
    /// Maximum number of pods, and of sessions.
    pub lives: usize,
}

impl Default for Detail {
    fn default() -> Detail {
        Detail { samples: 2000, lives: 1000 }
    }
}

/// A pod that exists.
#[derive(Clone, Copy, Debug, Default)]
struct Span {
    created: u64,
    sitting: u32,
    /// Since when the pod has had a session, and the total time with one before that.
    busy_since: u64,
    busy: u64,
    listed: Option<usize>,
}

/// The counters of a run.
pub(super) struct Tally {
    detail: Detail,
    record: Record,
    /// Samples within one step of time overwrite each other.
    step: u64,
    pods: BTreeMap<u64, Span>,
    pods_left_out: u64,
    sessions: BTreeMap<u32, usize>,
    sessions_left_out: u64,
    waits: Vec<u64>,
    at_once: u64,
    gave_up: u64,
    gone: u64,
    most_pods: u32,
    pod_time: u64,
    busy_time: u64,
    /// The total time of taken slots if all current visitors stayed: for every slot, the time when it was taken is
    /// subtracted, and the time when it was left is added.
    seat_time: i128,
}

impl Tally {
    pub(super) fn new(detail: Detail) -> Tally {
        Tally {
            detail,
            record: Record::default(),
            step: 1,
            pods: BTreeMap::new(),
            pods_left_out: 0,
            sessions: BTreeMap::new(),
            sessions_left_out: 0,
            waits: Vec::new(),
            at_once: 0,
            gave_up: 0,
            gone: 0,
            most_pods: 0,
            pod_time: 0,
            busy_time: 0,
            seat_time: 0,
        }
    }

    pub(super) fn sample(&mut self, sample: Sample) {
        self.most_pods = self.most_pods.max(sample.pods);
        let samples = &mut self.record.samples;
        if let Some(last) = samples.last_mut() {
            if (Sample { at: sample.at, ..*last }) == sample {
                return;
            }
            if last.at / self.step == sample.at / self.step {
                *last = Sample { at: last.at, ..sample };
                return;
            }
        }
        samples.push(sample);
        if samples.len() > self.detail.samples {
            self.step *= 2;
            let step = self.step;
            // Each step keeps its last sample, with the time of its first.
            let mut thinned: Vec<Sample> = Vec::with_capacity(samples.len());
            for sample in samples.drain(..) {
                match thinned.last_mut().filter(|last| last.at / step == sample.at / step) {
                    Some(last) => *last = Sample { at: last.at, ..sample },
                    None => thinned.push(sample),
                }
            }
            *samples = thinned;
        }
    }

    pub(super) fn mark(&mut self, at: u64, until: Option<u64>, kind: MarkKind, text: String) {
        if self.record.marks.len() < self.detail.lives {
            self.record.marks.push(Mark { at, until, kind, text });
        }
    }

    pub(super) fn write(&mut self) {
        self.record.figures.writes += 1;
    }

    // ---- pods ----

    pub(super) fn pod_created(&mut self, ordinal: u32, uid: u64, now: u64) {
        let listed = (self.record.pods.len() < self.detail.lives).then_some(self.record.pods.len());
        if listed.is_some() {
            let uid = uid.to_string();
            let life = PodLife { ordinal, uid, created: now, ready: None, terminating: None, gone: None, end: None };
            self.record.pods.push(life);
        } else {
            self.pods_left_out += 1;
        }
        self.pods.insert(uid, Span { created: now, listed, ..Span::default() });
    }

    fn life(&mut self, uid: u64) -> Option<&mut PodLife> {
        let listed = self.pods.get(&uid)?.listed?;
        self.record.pods.get_mut(listed)
    }

    pub(super) fn pod_ready(&mut self, uid: u64, now: u64) {
        if let Some(life) = self.life(uid) {
            life.ready.get_or_insert(now);
        }
    }

    pub(super) fn pod_terminating(&mut self, uid: u64, end: Option<PodEnd>, now: u64) {
        if let Some(life) = self.life(uid) {
            life.terminating.get_or_insert(now);
            life.end = end;
        }
    }

    pub(super) fn pod_gone(&mut self, uid: u64, end: Option<PodEnd>, now: u64) {
        if let Some(life) = self.life(uid) {
            life.gone = Some(now);
            life.end = end;
        }
        if let Some(span) = self.pods.remove(&uid) {
            self.settle(span, now);
        }
    }

    fn settle(&mut self, span: Span, now: u64) {
        self.pod_time += now - span.created;
        self.busy_time += span.busy + if span.sitting > 0 { now - span.busy_since } else { 0 };
    }

    // ---- visitors ----

    pub(super) fn arrived(&mut self, guest: u32, now: u64) {
        self.record.figures.visitors += 1;
        if self.record.sessions.len() < self.detail.lives {
            self.sessions.insert(guest, self.record.sessions.len());
            let spells = Vec::new();
            let life = SessionLife { visitor: guest, joined: now, spells, end: None, why: None, killed: false };
            self.record.sessions.push(life);
        } else {
            self.sessions_left_out += 1;
        }
    }

    fn session(&mut self, guest: u32) -> Option<&mut SessionLife> {
        let at = *self.sessions.get(&guest)?;
        self.record.sessions.get_mut(at)
    }

    /// `waited`: the wait for the visitor's first slot.
    pub(super) fn seated(&mut self, guest: u32, ordinal: u32, uid: u64, waited: Option<u64>, now: u64) {
        self.waits.extend(waited);
        self.at_once += u64::from(waited == Some(0));
        self.seat_time -= i128::from(now);
        if let Some(span) = self.pods.get_mut(&uid) {
            if span.sitting == 0 {
                span.busy_since = now;
            }
            span.sitting += 1;
        }
        if let Some(session) = self.session(guest) {
            session.spells.push(Spell { ordinal, uid: uid.to_string(), from: now, to: None });
        }
    }

    pub(super) fn unseated(&mut self, guest: u32, uid: u64, now: u64) {
        self.seat_time += i128::from(now);
        if let Some(span) = self.pods.get_mut(&uid) {
            span.sitting -= 1;
            if span.sitting == 0 {
                span.busy += now - span.busy_since;
            }
        }
        if let Some(spell) = self.session(guest).and_then(|s| s.spells.last_mut()) {
            spell.to = Some(now);
        }
    }

    pub(super) fn killed(&mut self, guest: u32, ordinal: u32, how: &str, now: u64) {
        self.record.figures.killed += 1;
        if let Some(session) = self.session(guest) {
            session.killed = true;
        }
        self.mark(now, None, MarkKind::Kill, format!("visitor {guest} was at pod {ordinal}, which was {how}"));
    }

    /// `served`: the visitor has had a slot.
    pub(super) fn gone(&mut self, guest: u32, served: bool, why: &str, now: u64) {
        self.gone += 1;
        self.gave_up += u64::from(!served);
        if let Some(session) = self.session(guest) {
            (session.end, session.why) = (Some(now), Some(why.to_owned()));
        }
        self.sessions.remove(&guest);
    }

    // ---- the end ----

    /// `waiting`: the number of visitors waiting for their first slot; `seated`: the number with a slot.
    pub(super) fn outcome(mut self, waiting: u64, there: u64, seated: u32, now: u64) -> Outcome {
        let seat_time = self.seat_time + i128::from(seated) * i128::from(now);
        for span in std::mem::take(&mut self.pods).into_values() {
            self.settle(span, now);
        }
        let hours = |ms: u64| ms as f64 / 3_600_000.0;
        let mut record = self.record;
        record.length = now;
        record.figures = Figures {
            never_served: self.gave_up + waiting,
            time_to_slot: Quantiles::of(&mut self.waits),
            pod_hours: hours(self.pod_time),
            wasted_pod_hours: hours(self.pod_time - self.busy_time),
            ..record.figures
        };
        Outcome {
            record,
            at_once: self.at_once,
            gave_up: self.gave_up,
            waiting,
            there,
            gone: self.gone,
            most_pods: self.most_pods,
            seat_hours: seat_time as f64 / 3_600_000.0,
            pods_left_out: self.pods_left_out,
            sessions_left_out: self.sessions_left_out,
        }
    }
}
