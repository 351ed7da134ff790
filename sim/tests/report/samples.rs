//! Records to draw, from a miniature pool: one slot per pod, one second per step. It models nothing (`models` does):
//! it only has to look like a day in a pool.

use slotkeeper_sim::record::{Figures, Mark, MarkKind, PodEnd, PodLife, Quantiles, Record, Sample, SessionLife, Spell};
use std::sync::LazyLock;

/// The parameters of a record.
pub(crate) struct Setting {
    pub(crate) title: &'static str,
    pub(crate) story: &'static str,
    /// Wants as many pods as there are sessions, instead of all up to the highest busy ordinal.
    pub(crate) counts: bool,
    /// `delay`: seconds until the cluster knows the desired number; `cooldown`: seconds of lower demand before it is
    /// lowered; `cold`: seconds a pod takes to start.
    pub(crate) delay: usize,
    pub(crate) cooldown: u64,
    pub(crate) cold: u64,
    pub(crate) most: u32,
    pub(crate) length: u64,
    /// Seconds between two samples of the pool.
    pub(crate) step: usize,
    /// The second at which a node is lost, and its ordinals.
    pub(crate) lost: Option<(u64, std::ops::Range<u32>)>,
}

impl Default for Setting {
    fn default() -> Setting {
        Setting {
            title: "direct scaling",
            story: "",
            counts: false,
            delay: 1,
            cooldown: 60,
            cold: 20,
            most: 8,
            length: 1200,
            step: 1,
            lost: None,
        }
    }
}

/// The second of arrival, and the length of stay in seconds.
pub(crate) type Visitor = (u64, u64);

/// Pseudo-random numbers, always the same.
pub(crate) fn drawn(seed: u64) -> impl FnMut(u64) -> u64 {
    let mut state = seed;
    move |below| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    }
}

pub(crate) fn played(setting: &Setting, visitors: &[Visitor]) -> Record {
    let mut pool = Pool { setting, sessions: Vec::new(), pods: Vec::new(), line: Vec::new(), marks: Vec::new() };
    let mut samples: Vec<Sample> = Vec::new();
    let mut wishes: Vec<u32> = vec![0];
    let (mut desired, mut needed_at, mut told, mut writes) = (0, 0, 0, 0);
    let mut coming = visitors.iter().enumerate().peekable();
    for second in (0..=setting.length).step_by(setting.step) {
        let now = second * 1000;
        while let Some((number, _)) = coming.next_if(|(_, v)| v.0 <= second) {
            pool.sessions.push(SessionLife {
                visitor: number as u32 + 1,
                joined: now,
                spells: Vec::new(),
                end: None,
                why: None,
                killed: false,
            });
            pool.line.push(number);
        }
        pool.age(now, visitors);
        let needed = pool.needed();
        if needed >= desired {
            (desired, needed_at) = (needed, second);
        } else if second >= needed_at + setting.cooldown {
            desired = needed;
        }
        wishes.push(desired);
        let heard = wishes[wishes.len().saturating_sub(setting.delay + 1)];
        if heard != told {
            (told, writes) = (heard, writes + 1);
        }
        pool.execute(told, now);
        pool.seat(if setting.counts { u32::MAX } else { desired.min(told) }, now);
        let sample = pool.sample(now, desired, told);
        if samples.last().is_none_or(|last| Sample { at: 0, ..*last } != Sample { at: 0, ..sample }) {
            samples.push(sample);
        }
    }
    pool.record(samples, writes)
}

struct Pool<'a> {
    setting: &'a Setting,
    sessions: Vec<SessionLife>,
    pods: Vec<PodLife>,
    /// Indices of the waiting sessions.
    line: Vec<usize>,
    marks: Vec<Mark>,
}

impl Pool<'_> {
    /// Starts and removes pods, and ends sessions.
    fn age(&mut self, now: u64, visitors: &[Visitor]) {
        for (number, session) in self.sessions.iter_mut().enumerate() {
            let stay = visitors[number].1 * 1000;
            if session.end.is_none()
                && let Some(spell) = session.spells.last_mut().filter(|s| s.to.is_none() && s.from + stay <= now)
            {
                spell.to = Some(now);
                (session.end, session.why) = (Some(now), Some("left".to_owned()));
            }
        }
        for pod in &mut self.pods {
            if pod.ready.is_none() && pod.terminating.is_none() && pod.created + self.setting.cold * 1000 <= now {
                pod.ready = Some(now);
            }
            if pod.gone.is_none() && pod.terminating.is_some_and(|t| t + 15_000 <= now) {
                pod.gone = Some(now);
            }
        }
        if let Some((at, ordinals)) = self.setting.lost.clone().filter(|(at, _)| at * 1000 == now) {
            let text = format!("node lost with the pods {} to {}", ordinals.start, ordinals.end - 1);
            self.marks.push(Mark { at: at * 1000, until: Some(now + 90_000), kind: MarkKind::Fault, text });
            for pod in self.pods.iter_mut().filter(|p| p.gone.is_none() && ordinals.contains(&p.ordinal)) {
                (pod.gone, pod.end) = (Some(now), Some(PodEnd::NodeLost));
                for (number, session) in self.sessions.iter_mut().enumerate() {
                    if let Some(spell) = session.spells.last_mut().filter(|s| s.to.is_none() && s.uid == pod.uid) {
                        spell.to = Some(now);
                        self.line.insert(0, number);
                    }
                }
            }
        }
    }

    fn busy(&self) -> impl Iterator<Item = &Spell> {
        self.sessions.iter().flat_map(|s| s.spells.last()).filter(|s| s.to.is_none())
    }

    fn needed(&self) -> u32 {
        let count = (self.busy().count() + self.line.len()) as u32;
        let floor = self.busy().map(|s| s.ordinal + 1).max().unwrap_or_default();
        if self.setting.counts { count.min(self.setting.most) } else { count.max(floor).min(self.setting.most) }
    }

    /// The cluster executes the desired number, whether or not pods have sessions.
    fn execute(&mut self, told: u32, now: u64) {
        for ordinal in 0..told {
            if !self.pods.iter().any(|p| p.ordinal == ordinal && p.gone.is_none()) {
                let uid = format!("uid-{}", self.pods.len());
                self.pods.push(PodLife {
                    ordinal,
                    uid,
                    created: now,
                    ready: None,
                    terminating: None,
                    gone: None,
                    end: None,
                });
            }
        }
        for pod in self.pods.iter_mut().filter(|p| p.ordinal >= told && p.gone.is_none() && p.terminating.is_none()) {
            (pod.terminating, pod.end) = (Some(now), Some(PodEnd::ScaledDown));
            for session in &mut self.sessions {
                let Some(spell) = session.spells.last_mut().filter(|s| s.to.is_none() && s.uid == pod.uid) else {
                    continue;
                };
                spell.to = Some(now);
                (session.end, session.killed) = (Some(now), true);
                session.why = Some("killed by a scale-down".to_owned());
                let text = format!(
                    "visitor {} was in pod {}, which was removed by a scale-down",
                    session.visitor, pod.ordinal
                );
                self.marks.push(Mark { at: now, until: None, kind: MarkKind::Kill, text });
            }
        }
    }

    fn seat(&mut self, below: u32, now: u64) {
        while let Some(&number) = self.line.first() {
            let taken: Vec<&str> = self.busy().map(|s| s.uid.as_str()).collect();
            let free = self
                .pods
                .iter()
                .filter(|p| p.ready.is_some() && p.terminating.is_none() && p.gone.is_none() && p.ordinal < below)
                .filter(|p| !taken.contains(&p.uid.as_str()))
                .min_by_key(|p| p.ordinal);
            let Some(pod) = free else { return };
            let spell = Spell { ordinal: pod.ordinal, uid: pod.uid.clone(), from: now, to: None };
            self.sessions[number].spells.push(spell);
            self.line.remove(0);
        }
    }

    fn sample(&self, at: u64, desired: u32, replicas: u32) -> Sample {
        let alive = || self.pods.iter().filter(|p| p.gone.is_none());
        Sample {
            at,
            desired,
            replicas,
            pods: alive().count() as u32,
            ready: alive().filter(|p| p.ready.is_some() && p.terminating.is_none()).count() as u32,
            seated: self.busy().count() as u32,
            waiting: self.line.len() as u32,
        }
    }

    fn record(self, samples: Vec<Sample>, writes: u64) -> Record {
        let end = self.setting.length * 1000;
        let pod_ms: u64 = self.pods.iter().map(|p| p.gone.unwrap_or(end) - p.created).sum();
        let sat_ms: u64 =
            self.sessions.iter().flat_map(|s| &s.spells).map(|s| s.to.unwrap_or(end).saturating_sub(s.from)).sum();
        let mut times: Vec<u64> =
            self.sessions.iter().filter_map(|s| s.spells.first().map(|f| f.from - s.joined)).collect();
        Record {
            title: self.setting.title.to_owned(),
            story: self.setting.story.to_owned(),
            seed: Some(7),
            length: end,
            figures: Figures {
                visitors: self.sessions.len() as u64,
                killed: self.sessions.iter().filter(|s| s.killed).count() as u64,
                never_served: self.line.len() as u64,
                time_to_slot: Quantiles::of(&mut times),
                pod_hours: pod_ms as f64 / 3.6e6,
                wasted_pod_hours: pod_ms.saturating_sub(sat_ms) as f64 / 3.6e6,
                writes,
            },
            samples,
            pods: self.pods,
            sessions: self.sessions,
            marks: self.marks,
        }
    }
}

// ---- the pictures ----

/// Three visitors, the first leaves first: counting sessions kills the highest.
pub(crate) fn scale_down_that_kills() -> Record {
    let setting = Setting {
        title: "counting sessions: a scale-down kills one",
        story: "Three visitors arrive, the one in pod 0 leaves after four minutes. Two sessions are left, so a design that counts \
                sessions wants two pods; a StatefulSet removes the highest ordinal, which has visitor 3.",
        counts: true,
        delay: 4,
        length: 900,
        ..Setting::default()
    };
    played(&setting, &[(10, 240), (40, 700), (75, 800), (520, 200)])
}

pub(crate) fn node_lost() -> Record {
    let setting = Setting {
        title: "a node is lost",
        story: "Six visitors play; at ten minutes the node with pods 1 to 3 disappears. Their visitors go to the front of the \
                queue and sit down again as soon as new pods are ready.",
        lost: Some((600, 1..4)),
        length: 1500,
        ..Setting::default()
    };
    let mut record =
        played(&setting, &[(10, 300), (20, 900), (30, 1100), (45, 1000), (60, 200), (90, 1200), (700, 500)]);
    let mark = |at, until, kind, text: &str| Mark { at, until, kind, text: text.to_owned() };
    record.marks.push(mark(300_000, Some(420_000), MarkKind::Fault, "dispatcher 2 cut off from the journal"));
    record.marks.push(mark(1_000_000, None, MarkKind::Note, "template rolled out"));
    record.marks.push(mark(
        760_000,
        None,
        MarkKind::Violation,
        "visitor 3 waited 140 s although pod 2 was ready: <promised> within 60 s & fairly",
    ));
    record
}

pub(crate) fn queue() -> Record {
    let setting = Setting {
        title: "more visitors than pods",
        story: "Forty visitors in half an hour, at most five pods: the queue is served in order, and no visitor is turned away.",
        most: 5,
        cold: 45,
        length: 3600,
        ..Setting::default()
    };
    let mut draw = drawn(3);
    let mut visitors: Vec<Visitor> = (0..40).map(|_| (draw(1800), 120 + draw(400))).collect();
    visitors.sort_unstable();
    played(&setting, &visitors)
}

pub(crate) fn three_designs() -> Vec<Record> {
    let mut draw = drawn(11);
    let mut visitors: Vec<Visitor> = (0..30).map(|_| (draw(2400), 60 + draw(900))).collect();
    visitors.sort_unstable();
    let setting = |title, story, counts, delay, cooldown| Setting {
        title,
        story,
        counts,
        delay,
        cooldown,
        length: 3600,
        ..Setting::default()
    };
    [
        setting(
            "naive: count of sessions, Prometheus trigger",
            "KEDA queries Prometheus for the number of sessions and wants as many pods. It learns the number half a minute late, and a \
             StatefulSet removes from the top, whoever sits there.",
            true,
            35,
            60,
        ),
        setting(
            "KEDA push",
            "The dispatcher pushes KEDA the number that keeps the highest busy ordinal; the pods follow one sync of the HPA later.",
            false,
            12,
            120,
        ),
        setting(
            "direct scaling, fixed window",
            "The dispatcher writes the number of pods itself, at once when it rises and after a cooldown when it falls.",
            false,
            1,
            120,
        ),
    ]
    .iter()
    .map(|s| played(s, &visitors))
    .collect()
}

/// 200 pods from morning to night.
pub(crate) fn day() -> Record {
    static DAY: LazyLock<Record> = LazyLock::new(played_day);
    DAY.clone()
}

fn played_day() -> Record {
    let setting = Setting {
        title: "a day of 200 pods",
        story: "2600 visitors in a day, most of them between breakfast and midnight, on at most 200 pods.",
        most: 200,
        cooldown: 300,
        length: 86_400,
        step: 60,
        cold: 60,
        ..Setting::default()
    };
    let mut draw = drawn(5);
    let mut visitors: Vec<Visitor> =
        (0..2600).map(|_| (20_000 + (draw(20_000) + draw(20_000) + draw(24_000)), 300 + draw(5400))).collect();
    visitors.sort_unstable();
    played(&setting, &visitors)
}

/// Three pods with four slots each: more sessions than pods.
pub(crate) fn shared() -> Record {
    let mut draw = drawn(17);
    let pods: Vec<PodLife> = (0..3)
        .map(|ordinal| PodLife {
            ordinal,
            uid: format!("uid-{ordinal}"),
            created: u64::from(ordinal) * 40_000,
            ready: Some(u64::from(ordinal) * 40_000 + 20_000),
            terminating: None,
            gone: None,
            end: None,
        })
        .collect();
    let sessions: Vec<SessionLife> = (0..36)
        .map(|number| {
            let pod = &pods[number / 12];
            let from = 120_000 + (number as u64 % 3) * 240_000 + draw(30_000);
            let end = from + 60_000 + draw(130_000);
            let spell = Spell { ordinal: pod.ordinal, uid: pod.uid.clone(), from, to: Some(end) };
            SessionLife {
                visitor: number as u32 + 1,
                joined: from,
                spells: vec![spell],
                end: Some(end),
                why: Some("left".to_owned()),
                killed: false,
            }
        })
        .collect();
    let samples = (0..90)
        .map(|n| n * 10_000)
        .map(|at| Sample {
            at,
            desired: 3,
            replicas: 3,
            pods: pods.iter().filter(|p| p.created <= at).count() as u32,
            ready: pods.iter().filter(|p| p.ready <= Some(at)).count() as u32,
            seated: sessions.iter().filter(|s| s.joined <= at && s.end > Some(at)).count() as u32,
            waiting: 0,
        })
        .collect();
    Record {
        title: "a shared pool, four slots in each pod".to_owned(),
        length: 900_000,
        samples,
        pods,
        sessions,
        ..Record::default()
    }
}

/// A large pool whose design counts sessions: too many kills for one lane or badge each.
pub(crate) fn massacre() -> Record {
    let setting = Setting {
        title: "counting sessions with 100 pods",
        counts: true,
        most: 100,
        delay: 3,
        step: 10,
        length: 14_400,
        ..Setting::default()
    };
    let mut draw = drawn(23);
    let mut visitors: Vec<Visitor> = (0..900).map(|_| (draw(13_000), 120 + draw(2000))).collect();
    visitors.sort_unstable();
    played(&setting, &visitors)
}
