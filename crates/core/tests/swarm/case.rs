//! A case of the swarm: one pool's rules and a few hundred steps, drawn from a seed.

use super::world::{self, Act};
use proptest::prelude::*;
use slotkeeper_core::{
    AfterSession, Command, Entry, Millis, Ordinal, Phase, Placement, Rules, Scaling, SessionId, Shrink, Sighting,
    Spare, Targets, Time, Timeline, Uid, Window,
};

pub(super) const SESSIONS: u8 = 7;

#[derive(Clone, Debug)]
pub(super) enum Step {
    /// The clock advances (rarely by an hour) without an entry meanwhile. `Back`: it steps back.
    Pass(u64),
    Back(u64),
    /// Passes half of `silence`, one millisecond less (0) or one more (2): the longest gap that still counts.
    Half(u64),
    /// Passes until the next deadline, or until one millisecond before it.
    Due(bool),
    Visitor(u8, Command),
    /// A visitor visits, and then the first session that holds a slot (of this visitor or another) attaches to it.
    Come(u8, SessionId),
    /// The cluster does everything it has to do, and all observations arrive.
    Cluster,
    /// An entry whose number is not the next one.
    OutOfTurn(u8, u64, Command),
    Operator(Command),
    World(Act),
    /// An observation arrives: which of those in flight, and whether it will arrive again.
    News(u8, bool),
    /// An observation that the cluster did not make.
    Garbage(Command),
    Farewell(u8),
    /// A process dies without an entry, and another starts.
    Crash(u8),
    /// The fleet is written to a checkpoint and read back.
    Checkpoint,
    /// The newest entries are lost: how many, and (as bits) which replicas had read them.
    Lose(u8, u8),
    /// A replica reports that it has missed nothing, if the fleet asks for that and it is true.
    Whole(u8),
}

fn session() -> impl Strategy<Value = SessionId> {
    (0..SESSIONS).prop_map(|n| SessionId(u128::from(n)))
}

fn visitor() -> impl Strategy<Value = Command> {
    let hint = prop::option::of((0..5u32).prop_map(Ordinal));
    prop_oneof![
        6 => (session(), hint, 0..3u8).prop_map(|(session, hint, class)| Command::Visit { session, hint, class }),
        6 => session().prop_map(|session| Command::Attach { session }),
        4 => session().prop_map(|session| Command::Detach { session }),
        3 => prop::collection::vec(session(), 0..4).prop_map(|sessions| Command::Active { sessions }),
        1 => session().prop_map(|session| Command::Leave { session }),
        1 => session().prop_map(|session| Command::Extend { session }),
        2 => Just(Command::Tick),
        2 => (0..400u64, 0..4000u64, prop::option::of(0..4000u64))
            .prop_map(|(messages, over, gauge)| Command::Load { messages, over: Millis(over), gauge }),
    ]
}

fn operator() -> impl Strategy<Value = Command> {
    prop_oneof![
        4 => session().prop_map(|session| Command::Kick { session }),
        3 => (0..5u32).prop_map(|o| Command::Cordon { pod: Ordinal(o) }),
        4 => (0..5u32).prop_map(|o| Command::Uncordon { pod: Ordinal(o) }),
        2 => (0..5u32).prop_map(|o| Command::Empty { pod: Ordinal(o) }),
        2 => spare().prop_map(Command::Schedule),
        1 => rules().prop_map(Command::Rules),
        1 => Just(Command::Remove),
    ]
}

fn phase() -> impl Strategy<Value = Phase> {
    prop_oneof![
        Just(Phase::Pending { why: "no node".into() }),
        Just(Phase::Starting),
        (1..4u16).prop_map(|port| Phase::Ready { address: ([10, 0, 0, 1], port).into() }),
        Just(Phase::Unready),
        Just(Phase::Terminating),
        Just(Phase::Failed { why: "it crashes".into() }),
    ]
}

fn garbage() -> impl Strategy<Value = Command> {
    let pod = || prop_oneof![9 => 0..6u32, 1 => Just(u32::MAX)].prop_map(Ordinal);
    let uid = || (0..4u32).prop_map(|n| Uid::from(format!("garbage/{n}").as_str()));
    let number = || prop_oneof![9 => 0..60u64, 1 => Just(u64::MAX)];
    let size = || prop_oneof![9 => 0..7u32, 1 => Just(u32::MAX)];
    let sighting = (pod(), uid(), phase()).prop_map(|(pod, uid, phase)| Sighting { pod, uid, phase });
    prop_oneof![
        6 => (pod(), uid(), phase(), number())
            .prop_map(|(pod, uid, phase, version)| Command::PodSeen { pod, uid, phase, version }),
        2 => (pod(), uid(), number()).prop_map(|(pod, uid, version)| Command::PodGone { pod, uid, version }),
        1 => (prop::collection::vec(sighting, 0..4), number())
            .prop_map(|(pods, version)| Command::PodsListed { pods, version }),
        3 => (size(), size(), number(), number()).prop_map(|(start, replicas, decided, version)| Command::ScaleSeen {
            start,
            replicas,
            decided,
            timeline: Timeline::FIRST,
            version
        }),
        2 => size().prop_map(|replicas| Command::Served { replicas }),
        1 => number().prop_map(|at| Command::ScaleInPaused { at: Time(at.saturating_add(1_000_000)), timeline: Timeline::FIRST }),
    ]
}

fn spare() -> impl Strategy<Value = Spare> {
    prop_oneof![3 => Just(Spare::Slots(0)), 2 => (0..3u32).prop_map(Spare::Slots), 1 => (0..200u32).prop_map(Spare::Percent)]
}

fn scaling() -> impl Strategy<Value = Scaling> {
    prop_oneof![
        4 => Just(Scaling::Direct { window: Window::Fixed }),
        3 => Just(Scaling::Direct { window: Window::Sliding }),
        2 => (0..4000u64).prop_map(|ms| Scaling::Keda { settle: Millis(ms) }),
        1 => Just(Scaling::None),
    ]
}

fn targets() -> impl Strategy<Value = Targets> {
    let each = || prop::option::weighted(0.3, 0..4u32);
    (each(), prop::option::weighted(0.2, 0..60u32), prop::option::weighted(0.3, 0..3000u64), 0..4000u64, 0..100u32)
        .prop_map(|(sessions, messages, gauge, window, slack)| Targets {
            sessions,
            messages,
            gauge,
            window: Millis(window),
            slack,
        })
}

fn rules() -> impl Strategy<Value = Rules> {
    prop_oneof![3 => any_rules(), 1 => any_rules().prop_map(moving)]
}

/// A shared pool that may move its sessions, with rules that make it do so.
fn moving(rules: Rules) -> Rules {
    let scaling = match rules.scaling {
        Scaling::Direct { .. } | Scaling::None => Scaling::Direct { window: Window::Fixed },
        keda @ Scaling::Keda { .. } => keda,
    };
    Rules {
        slots_per_pod: 2,
        min: 0,
        max: rules.max.max(4),
        placement: Placement::Spread,
        after_session: AfterSession::Keep,
        scaling,
        shrink: Shrink::Move,
        targets: Targets { sessions: Some(1), slack: 0, ..rules.targets },
        cooldown: Millis(rules.cooldown.0 / 8),
        grace: rules.grace + Millis(3000),
        claim: rules.claim + Millis(3000),
        queue_lease: rules.queue_lease + Millis(3000),
        ..rules
    }
}

fn any_rules() -> impl Strategy<Value = Rules> {
    let clock = || (0..6000u64).prop_map(Millis);
    let sizes = (1..4u32, 0..3u32, 0..5u32, 0..6u32);
    let ways = (any::<bool>(), any::<bool>(), any::<bool>(), scaling(), spare(), any::<bool>(), targets());
    let clocks = (clock(), clock(), clock(), prop::option::of(clock()), prop::option::of(clock()));
    let more = (clock(), clock(), 1000..6000u64, clock(), 1..20_000u64);
    (sizes, ways, clocks, more).prop_map(|(sizes, ways, clocks, more)| Rules {
        slots_per_pod: sizes.0.saturating_sub(1).max(1),
        min: sizes.1.saturating_sub(1),
        max: sizes.2,
        queue_limit: sizes.3,
        placement: if ways.0 { Placement::Pack } else { Placement::Spread },
        sticky_storage: ways.1,
        after_session: if ways.2 { AfterSession::Keep } else { AfterSession::Recycle },
        scaling: ways.3,
        spare: ways.4,
        shrink: if ways.5 { Shrink::Move } else { Shrink::Wait },
        targets: ways.6,
        queue_lease: clocks.0,
        claim: clocks.1,
        grace: clocks.2,
        idle: clocks.3,
        max_session: clocks.4,
        warn_before: more.0,
        extend_limit: more.1,
        silence: Millis(more.2),
        cooldown: more.3,
        stuck_after: Millis(more.4),
    })
}

fn step() -> impl Strategy<Value = Step> {
    let pass = prop_oneof![8 => 0..900u64, 2 => 0..3000u64, 1 => Just(3_600_000u64)];
    prop_oneof![
        20 => pass.prop_map(Step::Pass),
        1 => (0..5000u64).prop_map(Step::Back),
        1 => (0..3u64).prop_map(Step::Half),
        5 => any::<bool>().prop_map(Step::Due),
        30 => (0..3u8, visitor()).prop_map(|(r, c)| Step::Visitor(r, c)),
        10 => (0..3u8, session()).prop_map(|(r, s)| Step::Come(r, s)),
        6 => Just(Step::Cluster),
        2 => (0..3u8, 0..4u64, prop_oneof![visitor(), operator()]).prop_map(|(r, n, c)| Step::OutOfTurn(r, n, c)),
        3 => operator().prop_map(Step::Operator),
        24 => world::act().prop_map(Step::World),
        24 => (0..4u8, prop::bool::weighted(0.1)).prop_map(|(n, again)| Step::News(n, again)),
        4 => garbage().prop_map(Step::Garbage),
        1 => (0..3u8).prop_map(Step::Farewell),
        1 => (0..3u8).prop_map(Step::Crash),
        1 => Just(Step::Checkpoint),
        1 => (0..12u8, 0..8u8).prop_map(|(n, r)| Step::Lose(n, r)),
        3 => (0..3u8).prop_map(Step::Whole),
    ]
}

#[derive(Clone, Debug)]
pub(super) struct Case {
    pub(super) rules: Rules,
    /// Pods that already run when the journal begins.
    pub(super) running: u32,
    /// False observations are sent, too.
    pub(super) rude: bool,
    /// The semantics that every dispatcher knows.
    pub(super) speaks: u32,
    /// Observations arrive in order, and the rules do not change: then more is promised and checked.
    pub(super) orderly: bool,
    /// KEDA reads gauges that may be late, from any dispatcher, instead of asking one that is up to date.
    pub(super) prometheus: bool,
    pub(super) steps: Vec<Step>,
}

pub(super) fn case() -> impl Strategy<Value = Case> {
    let manners = prop_oneof![2 => Just((false, true)), 1 => Just((false, false)), 1 => Just((true, false))];
    let speaks = prop_oneof![1 => Just(1), 3 => Just(Entry::SEMANTICS)];
    (rules(), 0..4u32, manners, speaks, any::<bool>(), prop::collection::vec(step(), 100..400)).prop_map(
        |(rules, running, (rude, orderly), speaks, prometheus, steps)| Case {
            rules,
            running,
            rude,
            speaks,
            orderly,
            prometheus,
            steps,
        },
    )
}
