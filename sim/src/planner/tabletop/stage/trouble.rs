//! Applies the script's faults.

use super::{Event, NEVER, Stage};
use crate::models::pod::Pod;
use crate::planner::tabletop::agenda::Rank;
use crate::planner::tabletop::dispatcher::News;
use crate::planner::tabletop::fault::Fault;
use crate::record::{MarkKind, PodEnd};

impl Stage<'_> {
    pub(super) fn fail(&mut self, fault: Fault, now: u64) {
        self.tally.mark(now, fault.until(now), MarkKind::Fault, fault.to_string());
        match fault {
            Fault::Restart { down } => {
                self.down = true;
                self.agenda.note(now + down, Rank::Faults, Event::Back);
            }
            Fault::PrometheusDown { lasts, keeps } => {
                if let Some(scaler) = &mut self.scaler {
                    scaler.stop_prometheus();
                }
                self.agenda.note(now + lasts, Rank::Faults, Event::PrometheusBack { keep: keeps });
            }
            Fault::TriggerHangs { lasts } => {
                if let Some(scaler) = &mut self.scaler {
                    scaler.hang(now + lasts);
                }
            }
            Fault::ScalerUnreachable { lasts } => {
                if let Some(scaler) = &mut self.scaler {
                    scaler.cut_off(now + lasts);
                }
            }
            Fault::CrashLoop { ordinal } => {
                self.broken.insert(ordinal);
                let uid = self.cluster.touch(ordinal, |pod| {
                    pod.times.start = NEVER;
                    pod.crash(now);
                });
                if let Some(uid) = uid {
                    self.advance(ordinal, uid, now);
                }
            }
            Fault::Evicted { ordinal } => {
                if let Some(uid) = self.cluster.touch(ordinal, Pod::fail) {
                    self.advance(ordinal, uid, now);
                }
                self.want_sync(now);
            }
            Fault::NodeDrained { ordinal } => {
                let uid = self.cluster.present().find(|p| p.ordinal == ordinal).map(|p| p.uid);
                if let Some(uid) = uid.filter(|_| !self.design.holds_nodes) {
                    self.delete(ordinal, uid, PodEnd::NodeLost, now);
                }
            }
            Fault::RollOut => {
                self.cluster.roll_out();
                self.want_sync(now);
            }
            Fault::MaxPods { pods } => {
                if let Some(scaler) = &mut self.scaler {
                    scaler.set_max(pods, now);
                }
                self.tell(News::Max { pods }, now);
                self.note_scaler(now);
            }
            Fault::ScaledObjectDeleted { original } => {
                if self.scaler.take().is_some() {
                    self.scaler_writes(Some(original), now);
                }
            }
            Fault::TargetLost => {
                if let Some(scaler) = &mut self.scaler {
                    scaler.lose_target();
                }
            }
            Fault::ScaledObjectRecreated => {
                if let Some(scaler) = &mut self.scaler {
                    scaler.recreate(now);
                }
                self.note_scaler(now);
            }
        }
    }

    /// The dispatcher's new process is up.
    pub(super) fn come_back(&mut self, now: u64) {
        self.down = false;
        if let Some(scaler) = &mut self.scaler {
            scaler.replace_targets(now);
        }
        self.note_scrape();
        self.tell(News::Restarted, now);
        self.reconnect(now);
    }
}
