//! KEDA and the HPA on the stage: the timing of their polls, syncs, scrapes and pushes, and the resulting writes.

use super::{CALL, Event, Stage};
use crate::models::hpa::Scale;
use crate::planner::tabletop::agenda::Rank;
use crate::planner::tabletop::dispatcher::{Gauge, News};
use crate::planner::tabletop::scaler::{Path, Scaler, Step};
use slotkeeper_core::Decision;

impl Stage<'_> {
    pub(super) fn scale(&self) -> Scale {
        let (_, spec) = self.cluster.scale();
        Scale { spec, status: self.cluster.pods(), ready: self.cluster.ready() }
    }

    /// Schedules the scaler's next events; earlier scheduled events that are obsolete are ignored.
    pub(super) fn note_scaler(&mut self, now: u64) {
        let Some(scaler) = &self.scaler else { return };
        if let Some(at) = scaler.next_poll() {
            self.agenda.note(at.max(now), Rank::Keda, Event::Begin(Path::Poll));
        }
        if let Some(at) = scaler.next_sync() {
            self.agenda.note(at.max(now), Rank::Hpa, Event::Begin(Path::Hpa));
        }
        self.note_scrape();
    }

    pub(super) fn note_scrape(&mut self) {
        if let Some(at) = self.scaler.as_ref().and_then(Scaler::next_scrape) {
            self.agenda.note(at, Rank::Scrape, Event::Scrape);
        }
    }

    pub(super) fn begin(&mut self, path: Path, now: u64) {
        let (gauge, scale) = (self.gauge(), self.scale());
        let Some(scaler) = &mut self.scaler else { return };
        let due = match path {
            Path::Poll => scaler.next_poll(),
            Path::Hpa => scaler.next_sync(),
        };
        if due.is_some_and(|at| at <= now) {
            let step = scaler.begin(path, gauge, scale, now);
            self.follow(path, step, now);
        }
    }

    pub(super) fn hear(&mut self, path: Path, now: u64) {
        let (gauge, scale) = (self.gauge(), self.scale());
        let Some(scaler) = &mut self.scaler else { return };
        let step = scaler.hear(path, gauge, scale, now);
        self.follow(path, step, now);
    }

    pub(super) fn follow(&mut self, path: Path, step: Step, now: u64) {
        let rank = match path {
            Path::Poll => Rank::Keda,
            Path::Hpa => Rank::Hpa,
        };
        match step {
            Step::Later(at) => self.agenda.note(at, rank, Event::Hear(path)),
            Step::Over(write) => {
                if let Some(scaler) = &self.scaler {
                    let next = match path {
                        Path::Poll => scaler.next_poll(),
                        Path::Hpa => scaler.next_sync(),
                    };
                    if let Some(at) = next {
                        self.agenda.note(at.max(now), rank, Event::Begin(path));
                    }
                    if scaler.is_external() {
                        self.tell(News::Served, now);
                    }
                }
                self.scaler_writes(write, now);
            }
        }
    }

    pub(super) fn scaler_writes(&mut self, write: Option<u32>, now: u64) {
        if let Some(replicas) = write {
            let (start, _) = self.cluster.scale();
            self.write(start, replicas, Decision::default(), now);
        }
    }

    pub(super) fn gauge(&self) -> Option<Gauge> {
        (!self.down).then(|| self.dispatcher.gauge())
    }

    /// Schedules a push to KEDA, if it accepts pushes.
    pub(super) fn want_push(&mut self, now: u64) {
        if !self.push_noted && self.scaler.as_ref().is_some_and(Scaler::takes_pushes) {
            self.push_noted = true;
            self.agenda.note(now + CALL, Rank::Push, Event::Push);
        }
    }

    pub(super) fn push(&mut self, now: u64) {
        self.push_noted = false;
        let (gauge, scale) = (self.gauge(), self.scale());
        if let Some(scaler) = &mut self.scaler
            && gauge.is_some_and(|g| g.active)
        {
            let write = scaler.push(scale.spec, now);
            self.scaler_writes(write, now);
        }
    }

    pub(super) fn scrape(&mut self, now: u64) {
        let gauge = self.gauge();
        let Some(scaler) = &mut self.scaler else { return };
        if scaler.next_scrape() != Some(now) {
            return;
        }
        scaler.scrape(gauge, now);
        self.note_scrape();
        self.tell(News::Served, now);
    }
}
