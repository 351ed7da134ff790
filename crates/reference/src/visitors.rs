//! Stores what is known about each visitor, and judges its next answer: where it is, why its session ended, whether it was
//! notified.

use crate::observation::{Answer, PodId, Reason, Scaling, VisitorId};
use crate::reference::{Reference, Rule};
use std::collections::{BTreeMap, BTreeSet};

/// Where the visitor is, by its last answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum State {
    #[default]
    Nowhere,
    Waiting,
    /// A slot is promised; its pod has not been observed.
    Ready,
    Seat(PodId),
    /// Its session ended in that pod.
    Over(Option<PodId>),
}

/// One wait, from the first answer of the waiting room on.
#[derive(Clone, Debug)]
pub(crate) struct Wait {
    pub(crate) episode: u64,
    /// When it was first shown the waiting room, and the earliest moment at which that may have been true.
    pub(crate) since: u64,
    pub(crate) earliest: u64,
    /// 0 if it lost its pod, otherwise 1 + its class. `None`: unknown.
    pub(crate) lane: Option<u16>,
    pub(crate) ahead: Option<u64>,
    pub(crate) home: Home,
}

/// The pod that a waiting visitor has lost: it may go before others if that ordinal has a pod again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Home {
    Nowhere,
    At(u32),
    Unknown,
}

/// How a visitor got its last slot.
#[derive(Clone, Debug)]
pub(crate) struct Placed {
    pub(crate) at: u64,
    /// It got the slot after the last snapshot.
    pub(crate) is_new: bool,
    /// The wait that it ended, if it waited.
    pub(crate) episode: Option<u64>,
    pub(crate) lane: Option<u16>,
    pub(crate) home: Home,
    /// The first request of this visit.
    pub(crate) asked: u64,
}

#[derive(Clone, Debug)]
pub(crate) struct Stream {
    pub(crate) pod: PodId,
    pub(crate) opened: u64,
    /// The last moment at which it was surely open.
    pub(crate) last: u64,
    pub(crate) open: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Visitor {
    pub(crate) state: State,
    pub(crate) told_at: u64,
    /// The earliest moment of its newest request, heartbeat or message.
    pub(crate) sign: u64,
    /// The first request or heartbeat since it had no session.
    pub(crate) asked: Option<u64>,
    pub(crate) class: u8,
    pub(crate) streams: BTreeMap<u64, Stream>,
    pub(crate) first_stream: Option<u64>,
    /// When its last stream was closed.
    parted: Option<u64>,
    /// It has had a stream since it got this slot.
    came: bool,
    /// The earliest moment at which it may have got its slot.
    seated: u64,
    pub(crate) left: bool,
    pub(crate) kicked: Option<u64>,
    /// A dispatcher may still give the reason of an earlier end.
    pub(crate) ever_left: bool,
    pub(crate) ever_kicked: bool,
    pub(crate) notified: BTreeSet<PodId>,
    pub(crate) wait: Option<Wait>,
    pub(crate) placed: Option<Placed>,
    /// The pod that answered it last, and the earliest moment of that.
    pub(crate) contact: Option<(PodId, u64)>,
    /// Its session may be forgotten: the next answer is accepted as it is.
    pub(crate) amnesty: bool,
    /// Its session may be older than what was observed of it (a journal loss, a long absence), so its deadlines are unknown. Until a
    /// response reports the end of that session, or that there is none.
    pub(crate) past_unknown: bool,
}

impl Visitor {
    /// The journal may have forgotten anything about it. Its streams are still known.
    pub(crate) fn forget(&mut self) {
        let streams = std::mem::take(&mut self.streams);
        let (ever_left, ever_kicked) = (self.ever_left, self.ever_kicked);
        *self = Visitor {
            streams,
            class: self.class,
            amnesty: true,
            past_unknown: true,
            ever_left,
            ever_kicked,
            ..Visitor::default()
        };
    }

    pub(crate) fn has_stream_in(&self, pod: &PodId) -> bool {
        self.streams.values().any(|s| s.open && s.pod == *pod)
    }

    /// The time of its session began at this moment, or with an earlier request whose answer was never observed.
    fn may_have_begun(&mut self, at: u64) {
        self.first_stream.get_or_insert(self.asked.unwrap_or(at).min(at));
    }

    /// Resets what belongs to the previous session.
    fn begin(&mut self) {
        (self.left, self.kicked, self.first_stream, self.parted) = (false, None, None, None);
        self.notified.clear();
    }
}

impl Reference {
    pub(crate) fn sign(&mut self, id: &VisitorId, class: u8, earliest: u64) {
        let lease = self.shortest.as_ref().map_or(0, |s| s.queue_lease);
        let events = !self.snapshots();
        let visitor = self.visitor(id);
        if matches!(visitor.state, State::Nowhere | State::Over(_)) {
            visitor.class = class;
            visitor.asked.get_or_insert(earliest);
        }
        if events && earliest.saturating_sub(visitor.sign) >= lease {
            // It may have left the queue and joined it again meanwhile.
            visitor.wait = None;
        }
        visitor.sign = visitor.sign.max(earliest);
    }

    pub(crate) fn connected(&mut self, id: &VisitorId, since: u64, until: u64) {
        let lease = self.shortest.as_ref().map_or(0, |s| s.queue_lease);
        let visitor = self.visitor(id);
        if since.saturating_sub(visitor.sign) >= lease {
            visitor.wait = None;
        }
        visitor.sign = visitor.sign.max(until);
    }

    pub(crate) fn told(&mut self, id: &VisitorId, answer: &Answer, at: u64, earliest: u64) {
        if self.lost || self.settings.is_none() || earliest < self.settled_at {
            return;
        }
        let events = !self.snapshots();
        let visitor = self.visitor(id);
        let was = visitor.state.clone();
        if events && matches!((&was, answer), (State::Over(_), Answer::Seat { .. })) && earliest <= visitor.told_at {
            // The request was sent before the end of its session was reported: it begins no session.
            return;
        }
        let pardoned = std::mem::take(&mut visitor.amnesty);
        match answer {
            Answer::Waiting { ahead } => self.told_to_wait(id, &was, *ahead, (at, earliest), pardoned),
            // The waiting room of a session that has a slot shows that.
            Answer::Ready if matches!(was, State::Seat(_)) => {}
            Answer::Ready => self.told_a_slot(id, State::Ready, &was, (at, earliest), pardoned),
            Answer::Seat { pod } => {
                if let State::Seat(from) = &was
                    && from != pod
                {
                    self.judge_move(id, from, Some(pod), at, earliest);
                }
                self.told_a_slot(id, State::Seat(pod.clone()), &was, (at, earliest), pardoned);
                self.meets_no_traces(id, pod, &was, at);
                if !self.snapshots() {
                    self.answered(id, pod, at, earliest);
                }
            }
            Answer::Ended { reason } => {
                if matches!(was, State::Over(_)) {
                    return;
                }
                if !pardoned {
                    self.judge_end(id, &was, *reason, at, earliest);
                }
                let pod = if let State::Seat(pod) = &was { Some(pod.clone()) } else { None };
                self.visitor(id).past_unknown = false;
                self.leave(id, State::Over(pod), &was, at);
            }
            Answer::Full | Answer::Unknown => {
                if *answer == Answer::Full {
                    self.turned_away.push(id.clone());
                }
                self.judge_silent_end(id, &was, answer, at, earliest);
                self.visitor(id).past_unknown = false;
                self.leave(id, State::Nowhere, &was, at);
            }
        }
    }

    fn told_to_wait(
        &mut self,
        id: &VisitorId,
        was: &State,
        ahead: Option<u64>,
        (at, earliest): (u64, u64),
        pardoned: bool,
    ) {
        if *was == State::Waiting && self.visitor(id).wait.is_some() {
            self.position_holds(id, ahead, at, earliest);
            let visitor = self.visitor(id);
            visitor.told_at = at;
            if let Some(wait) = &mut visitor.wait {
                wait.ahead = ahead;
            }
            return;
        }
        if let State::Seat(from) = was {
            self.judge_move(id, from, None, at, earliest);
        }
        self.traces(id, was, at);
        let home = match was {
            _ if pardoned => Home::Unknown,
            State::Seat(pod) => self.pods.get(pod).map_or(Home::Unknown, |pod| Home::At(pod.ordinal)),
            State::Ready | State::Waiting => Home::Unknown,
            State::Nowhere | State::Over(_) => Home::Nowhere,
        };
        self.episodes += 1;
        let (episode, snapshots) = (self.episodes, self.snapshots());
        let visitor = self.visitor(id);
        let lane = match was {
            _ if pardoned => None,
            State::Seat(_) => Some(0),
            State::Ready if snapshots => Some(0),
            State::Ready | State::Waiting => None,
            State::Nowhere | State::Over(_) => {
                visitor.begin();
                Some(u16::from(visitor.class) + 1)
            }
        };
        visitor.wait = Some(Wait { episode, since: at, earliest, lane, ahead, home });
        visitor.state = State::Waiting;
        visitor.told_at = at;
        visitor.came = false;
        visitor.contact = None;
    }

    /// Records that it is shown a slot, whether or not its pod is known yet.
    fn told_a_slot(&mut self, id: &VisitorId, state: State, was: &State, (at, earliest): (u64, u64), pardoned: bool) {
        self.traces(id, if state == *was { &State::Nowhere } else { was }, at);
        let events = !self.snapshots();
        let visitor = self.visitor(id);
        if matches!(was, State::Nowhere | State::Over(_)) && !pardoned {
            visitor.begin();
        }
        if events {
            visitor.may_have_begun(earliest);
        }
        if *was != state && *was != State::Ready {
            let wait = visitor.wait.take();
            let lane = match (was, &wait) {
                _ if pardoned => None,
                (State::Nowhere | State::Over(_), _) => Some(u16::from(visitor.class) + 1),
                (_, Some(wait)) => wait.lane,
                (_, None) => None,
            };
            let asked = visitor.asked.take().unwrap_or_default();
            let home = wait.as_ref().map_or(Home::Nowhere, |w| w.home);
            let episode = wait.map(|w| w.episode);
            visitor.placed = Some(Placed { at, is_new: true, episode, lane, home, asked });
            visitor.came = false;
            visitor.seated = earliest;
            visitor.notified.clear();
        }
        visitor.state = state;
        visitor.told_at = at;
    }

    /// Records that its session has ended.
    fn leave(&mut self, id: &VisitorId, state: State, was: &State, at: u64) {
        if !matches!(state, State::Over(Some(_))) {
            self.traces(id, was, at);
        }
        let visitor = self.visitor(id);
        visitor.wait = None;
        visitor.asked = None;
        visitor.contact = None;
        visitor.state = state;
        visitor.told_at = at;
    }

    /// It has left its pod: from now on, that holds data of a session.
    fn traces(&mut self, id: &VisitorId, was: &State, at: u64) {
        if let State::Seat(pod) | State::Over(Some(pod)) = was
            && let Some(pod) = self.pods.get_mut(pod).filter(|pod| pod.guests.contains(id))
        {
            pod.traces.get_or_insert(at);
        }
    }

    pub(crate) fn stream(&mut self, id: &VisitorId, pod: &PodId, number: u64, at: u64, earliest: u64) {
        let events = !self.snapshots();
        if events {
            self.streams_overlap(id, pod, number, earliest);
            self.is_notified_of_a_kick(id, number, at, earliest);
        }
        if let Some(pod) = self.pods.get_mut(pod) {
            pod.guests.insert(id.clone());
        }
        let visitor = self.visitor(id);
        if events {
            visitor.may_have_begun(earliest);
        } else {
            visitor.first_stream.get_or_insert(earliest);
        }
        visitor.sign = visitor.sign.max(earliest);
        visitor.came = true;
        let stream = visitor.streams.entry(number).or_insert_with(|| Stream {
            pod: pod.clone(),
            opened: at,
            last: at,
            open: true,
        });
        stream.last = stream.last.max(earliest);
        if events {
            self.answered(id, pod, at, earliest);
        }
    }

    pub(crate) fn closed(&mut self, id: &VisitorId, number: u64, quiet_since: u64, at: u64) {
        let snapshots = self.snapshots();
        if !snapshots && !self.lost {
            self.is_notified_of_its_pods_end(id, number, at);
        }
        let visitor = self.visitor(id);
        if let Some(stream) = visitor.streams.get_mut(&number) {
            stream.open = false;
        }
        if snapshots {
            visitor.streams.remove(&number);
        }
        visitor.parted = visitor.parted.max(Some(quiet_since));
    }

    // ---- judgements ----

    /// Judges that it no longer has the slot in `from` although its session continues.
    fn judge_move(&mut self, id: &VisitorId, from: &PodId, to: Option<&PodId>, at: u64, earliest: u64) {
        self.moved_at = at;
        let now = to.map_or("waits again".to_owned(), |to| format!("is now at {to}"));
        let Some(settings) = self.settings.clone() else { return };
        let Some(pod) = self.pods.get(from) else { return };
        let (gone, going, emptied) = (pod.is_gone(), pod.is_going(), self.pods.is_emptied(pod.ordinal));
        // Until it is certain that KEDA does not act on a lower number any more, the waiting room is shown; if that takes too
        // long, the session loses the slot.
        if to.is_none() && (settings.scaling == Scaling::Keda || pod.is_unknown()) {
            return;
        }
        let pod_stays = !going && !emptied && !settings.moves && !self.removed;
        if !self.snapshots() {
            // Its session may have ended and begun again meanwhile.
            let cut_off = to.is_none() && self.is_disturbed(at);
            let news = self.visitor(id).told_at < earliest;
            if pod_stays && news && self.is_surely_in(id, from, at) && !cut_off {
                self.report(Rule::Moved, at, format!("{id} had a slot in {from}, which stays, and {now}"));
            }
            return;
        }
        if pod_stays {
            self.report(Rule::Moved, at, format!("{id} had a slot in {from}, which stays, and {now}"));
        }
        let visitor = self.visitor(id);
        if visitor.has_stream_in(from) && !visitor.notified.contains(from) && !gone {
            self.report(Rule::Notice, at, format!("{id} had a stream to {from}, was not notified, and {now}"));
        }
    }

    /// Its session was reported as ended: the reason must be true.
    fn judge_end(&mut self, id: &VisitorId, was: &State, reason: Reason, at: u64, earliest: u64) {
        if !self.snapshots() {
            return self.judge_end_by_events(id, was, reason, at, earliest);
        }

        let Some(clocks) = self.shortest.clone() else { return };
        let removed = self.removed;
        let visitor = self.visitor(id);
        let no_clock = clocks.clocks_jump || visitor.past_unknown;
        let passed = |since: u64, clock: u64| no_clock || at.saturating_sub(since) >= clock;
        let waited = visitor.wait.as_ref().map_or(0, |w| w.earliest).max(visitor.sign);
        let parted = visitor.parted.unwrap_or_default();
        let streams = visitor.streams.values().any(|s| s.open);
        let seated = matches!(was, State::Seat(_) | State::Ready);
        let sound = match reason {
            Reason::LeftQueue | Reason::PodLost => *was == State::Waiting && passed(waited, clocks.queue_lease),
            Reason::NoShow => {
                let absent = !visitor.came || visitor.past_unknown;
                seated && absent && passed(visitor.seated, clocks.claim)
            }
            Reason::Disconnected => (visitor.came || visitor.past_unknown) && !streams && passed(parted, clocks.grace),
            Reason::Idle => clocks.idle.is_some_and(|idle| passed(visitor.sign, idle)),
            Reason::TimeUp => clocks
                .max_session
                .is_some_and(|max| no_clock || visitor.first_stream.is_some_and(|first| passed(first, max))),
            Reason::Left => visitor.left,
            Reason::Kicked => visitor.kicked.is_some(),
            Reason::PoolRemoved => removed,
        };
        if !sound {
            let rule = match reason {
                Reason::LeftQueue | Reason::PodLost => Rule::Position,
                Reason::NoShow
                | Reason::Disconnected
                | Reason::Idle
                | Reason::TimeUp
                | Reason::Left
                | Reason::Kicked
                | Reason::PoolRemoved => Rule::Killed,
            };
            let text = format!("the session of {id} ended with {reason:?}, which is not so: {:?}", self.visitor(id));
            self.report(rule, at, text);
        }
    }

    /// As `judge_end`, for [`Watch::Events`](crate::Watch): it is unknown when the session ended, and whether it was this one.
    fn judge_end_by_events(&mut self, id: &VisitorId, was: &State, reason: Reason, at: u64, earliest: u64) {
        let Some(clocks) = self.shortest.clone() else { return };
        let removed = self.removed;
        let visitor = self.visitor(id);
        let (kept, since) = match &visitor.wait {
            Some(wait) if *was == State::Waiting => (visitor.told_at < earliest, wait.earliest),
            _ => (false, at),
        };
        let sound = match reason {
            Reason::LeftQueue | Reason::PodLost => !kept || clocks.clocks_jump || self.is_disturbed(since),
            Reason::NoShow | Reason::Disconnected => true,
            Reason::Idle => clocks.idle.is_some(),
            Reason::TimeUp => clocks.max_session.is_some(),
            Reason::Left => visitor.ever_left,
            Reason::Kicked => visitor.ever_kicked,
            Reason::PoolRemoved => removed,
        };
        if !sound {
            let rule =
                if matches!(reason, Reason::LeftQueue | Reason::PodLost) { Rule::Position } else { Rule::Killed };
            let text = format!("the session of {id} ended with {reason:?}, which is not so: {:?}", self.visitor(id));
            self.report(rule, at, text);
        }
    }

    /// Judges that its session has disappeared without a reason.
    fn judge_silent_end(&mut self, id: &VisitorId, was: &State, answer: &Answer, at: u64, earliest: u64) {
        let rule = match was {
            State::Nowhere | State::Over(_) => return,
            State::Waiting => Rule::Position,
            State::Ready | State::Seat(_) => Rule::Notice,
        };
        if !self.snapshots() {
            let lease = self.shortest.as_ref().map_or(0, |s| s.queue_lease);
            let visitor = self.visitor(id);
            let waits = visitor.wait.as_ref().map(|w| w.since);
            let gap = at.saturating_sub(visitor.sign.max(visitor.told_at)) >= lease / 2 || visitor.told_at >= earliest;
            let ended = visitor.left || visitor.kicked.is_some();
            if *was != State::Waiting || gap || ended || waits.is_none_or(|since| self.is_disturbed(since)) {
                return;
            }
        }
        if !self.removed || self.snapshots() {
            self.report(rule, at, format!("{id} was {was:?}, is shown {answer:?}, and was not notified that it ended"));
        }
    }
}
