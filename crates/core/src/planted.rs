//! Bugs planted on purpose, one at a time, to measure what the tests find. Without the feature `planted`, which no shipped
//! build enables, this module only has a macro that expands to nothing.
//!
//! The unit is a whole function: `planted!(SomeBug => expression);` is its first statement (after names that the
//! expression needs), and while `SomeBug` is planted the function returns the expression instead of doing its work. Where
//! no function fits, extract one first; a hook never stands inside a condition, a loop or a match arm
//! (`sim/tests/planted.rs` checks that). A wrong version that needs more than a few words stands beside the right one, in a
//! function behind `#[cfg(feature = "planted")]`.
//!
//! To add a bug: one line in the list below (name, word, kind, finder, what it does), one hook, and
//! `tests/mutants WORD` (see sim/README.md).

/// Returns the expression from the present function while the bug is planted. The first statement of a function.
#[macro_export]
macro_rules! planted {
    ($bug:ident => $wrong:expr) => {
        #[cfg(feature = "planted")]
        if $crate::planted::is($crate::planted::Bug::$bug) {
            #[allow(clippy::needless_return, clippy::unused_unit, reason = "the same macro for every type")]
            return $wrong;
        }
    };
}

#[cfg(feature = "planted")]
pub use list::{Bug, Finder, Kind, is, plant};

#[cfg(feature = "planted")]
mod list {
    extern crate std;

    use core::sync::atomic::{AtomicU8, Ordering};

    macro_rules! words {
        ($(#[$doc:meta])* $name:ident: $($case:ident $word:literal,)*) => {
            $(#[$doc])*
            #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
            pub enum $name { $(#[doc = $word] $case,)* }

            impl $name {
                /// All of them.
                pub const ALL: &[$name] = &[$($name::$case,)*];

                /// Its name in tables.
                #[must_use]
                pub fn word(self) -> &'static str {
                    match self { $($name::$case => $word,)* }
                }
            }
        };
    }

    words! {
        /// The area that a bug breaks.
        Kind:
        Placing "placing",
        Queue "queue",
        Clocks "clocks",
        Scaling "scaling",
        Recycle "recycle",
        Replay "replay",
        Laws "laws 3-5",
        Driver "driver",
        Forwarding "forwarding",
        Tunnel "tunnel",
        Door "door",
        Cookie "cookie",
        WaitingRoom "waiting room",
        Actuator "actuator",
        Kubernetes "cluster adaptor",
        Processes "processes",
        Fixed "fixed pods",
        Keda "scaler",
        Metrics "metrics",
        Admin "admin",
        Measuring "measuring",
        FileJournal "file journal",
        RedisJournal "redis journal",
    }

    words! {
        /// Which check finds a bug, in the order of what they cost.
        Finder:
        Stories "stories",
        Swarm "swarm",
        Dispatcher "dispatcher",
        Worlds "worlds",
        EndToEnd "end to end",
    }

    macro_rules! bugs {
        ($($bug:ident $word:literal $kind:ident $finder:ident $what:literal,)*) => {
            /// A planted bug.
            #[derive(Clone, Copy, Debug, PartialEq, Eq)]
            #[repr(u8)]
            pub enum Bug { $(#[doc = $what] $bug,)* }

            impl Bug {
                /// All of them, in the order of this file.
                pub const ALL: &[Bug] = &[$(Bug::$bug,)*];

                /// The name used in commands.
                #[must_use]
                pub fn word(self) -> &'static str {
                    match self { $(Bug::$bug => $word,)* }
                }

                /// The area that the bug breaks.
                #[must_use]
                pub fn kind(self) -> Kind {
                    match self { $(Bug::$bug => Kind::$kind,)* }
                }

                /// The check that should find it.
                #[must_use]
                pub fn expected(self) -> Finder {
                    match self { $(Bug::$bug => Finder::$finder,)* }
                }

                /// The wrong behaviour while the bug is planted.
                #[must_use]
                pub fn what(self) -> &'static str {
                    match self { $(Bug::$bug => $what,)* }
                }

                /// The bug with this name.
                #[must_use]
                pub fn find(word: &str) -> Option<Bug> {
                    Bug::ALL.iter().copied().find(|bug| bug.word() == word)
                }
            }
        };
    }

    bugs! {
        // The core.
        PlaceOnTerminating "place-on-terminating" Placing Stories "places sessions on a terminating pod",
        PlaceOnCordoned "place-on-cordoned" Placing Stories "places sessions on a cordoned pod",
        PlaceOnReturning "place-on-returning" Placing Stories "places sessions on a pod that an older, lower size may still delete",
        BindToName "bind-to-name" Placing Worlds "binds a session to a pod's name, so the next incarnation inherits it",
        FreeWhileStreaming "free-while-streaming" Placing Worlds "frees the slot of an ended session although its streams still run",
        SpreadLikePack "spread-like-pack" Placing Stories "fills the lowest pod first in a pool that spreads",
        NoStickiness "no-stickiness" Placing Stories "ignores the pod that a returning session had before",
        OwnOrdinalForgotten "own-ordinal-forgotten" Placing Stories "gives sessions whose pods ended together each other's ordinals",
        StayOnDrainingPod "stay-on-draining-pod" Placing Stories "keeps sessions without streams on a terminating pod",
        LastComeFirstServed "last-come-first-served" Queue Stories "serves the last session in line first",
        LostPodGoesLast "lost-pod-goes-last" Queue Stories "puts a session that lost its pod at the end of the line",
        IgnorePriority "ignore-priority" Queue Stories "ignores priority classes",
        EstimateNotCountedDown "estimate-not-counted-down" Queue Stories "estimates a whole cold start however long it has taken already",
        EstimateFromOneRelease "estimate-from-one-release" Queue Stories "estimates waits from a single release",
        LeaseNotRenewed "lease-not-renewed" Clocks Stories "ignores the heartbeats of waiting sessions",
        ActivityIgnored "activity-ignored" Clocks Stories "ignores a client's activity: `idle` ends active sessions",
        ClaimNeverEnds "claim-never-ends" Clocks Stories "holds a slot without end for a visitor who never comes",
        TimeUpFromActivity "time-up-from-activity" Clocks Stories "counts `max_session` from the last activity",
        ExtendWhileOthersWait "extend-while-others-wait" Clocks Stories "extends a session although others wait",
        DetachForAll "detach-for-all" Clocks Stories "takes one replica's detach for the detach of all",
        GraceAfterSilence "grace-after-silence" Clocks Stories "starts `grace` again when a silent replica is given up",
        LowerWithoutRetiring "lower-without-retiring" Scaling Worlds "lowers the size without closing the pods outside it",
        CountSessions "count-sessions" Scaling Stories "wants as many pods as are busy, instead of up to the highest busy one",
        ShrinkAtOnce "shrink-at-once" Scaling Stories "lowers the size without waiting for `cooldown`",
        CooldownNotScheduled "cooldown-not-scheduled" Scaling Stories "does not wake up at the end of `cooldown`",
        CertainUnseen "certain-unseen" Scaling Stories "relies on a raised size before the cluster is seen to have it",
        SettleIgnored "settle-ignored" Scaling Stories "relies on a raised size before KEDA had the time to act on it",
        PauseForEver "pause-for-ever" Scaling Stories "trusts an observation of KEDA's pause however old it is",
        SuccessorAtOnce "successor-at-once" Scaling Stories "uses a pod that is created again although KEDA may still act on a lower number",
        PauseForgotten "pause-forgotten" Scaling Stories "lets KEDA's pause end before the raised number has settled",
        LaterDecisionWins "later-decision-wins" Scaling Stories "accepts a size that a lost journal decided",
        OldNewsCounts "old-news-counts" Scaling Swarm "accepts observations of pods that are older than what is known",
        GonePodReturns "gone-pod-returns" Scaling Swarm "takes a late observation of a deleted incarnation for a new one",
        ListKeepsAbsent "list-keeps-absent" Scaling Stories "keeps pods that a complete list does not name",
        PlaceOnDirty "place-on-dirty" Recycle Stories "places a second session in a pod that is to be recycled",
        NeverDirty "never-dirty" Recycle Stories "does not recycle a pod after a session",
        HistoryPresumedClean "history-presumed-clean" Recycle Stories "takes pods that ran before the journal for unused",
        CondemnedReused "condemned-reused" Recycle Swarm "uses a pod again although its deletion has been ordered",
        NoShowRecycles "no-show-recycles" Recycle Stories "recycles a pod for a session that never came",
        ActTwice "act-twice" Replay Stories "applies an entry again that was written twice",
        EntryGapAccepted "entry-gap-accepted" Replay Stories "accepts an entry although earlier ones of its replica are missing",
        GapCounts "gap-counts" Replay Stories "lets sessions expire for time in which the journal took no entries",
        LapseTooShort "lapse-too-short" Replay Stories "trusts the slots again before every replica has closed its streams",
        TrustedAfterLapse "trusted-after-lapse" Replay Stories "places sessions after a lapse where an order of lost entries may still delete the pod",
        TimelinesIgnored "timelines-ignored" Replay Stories "compares positions of different timelines",
        CheckpointForgetsTimers "checkpoint-forgets-timers" Replay Stories "forgets the sessions' deadlines when it reads a checkpoint",
        GivenUpEarly "given-up-early" Laws Stories "gives a silent replica up before it has certainly closed its streams",
        GaugeAddedUp "gauge-added-up" Measuring Stories "adds up the gauge that every replica reads of the same pods",

        // The dispatcher: laws, driver, visitors.
        ForwardBeforeAttach "forward-before-attach" Laws Worlds "sends bytes to a pod before its attach has been read back (law 4)",
        MintForUnknown "mint-for-unknown" Laws Worlds "gives a new session to a cookie that this replica does not know (law 3)",
        SilenceKeepsStreams "silence-keeps-streams" Laws Worlds "keeps its streams open when it is cut off from the journal (law 5)",
        TrustTooLong "trust-too-long" Laws Worlds "relies on its seats for longer than the fleet does (law 5)",
        NewLifeKeepsStreams "new-life-keeps-streams" Laws Worlds "keeps its streams after the fleet has given this replica up",
        RequeueKeepsStreams "requeue-keeps-streams" Laws Worlds "keeps streams open when a session is requeued",
        ReleaseKeepsStreams "release-keeps-streams" Laws Worlds "keeps streams open when a session has ended",
        DropLastDetach "drop-last-detach" Driver Worlds "does not write a session's last detach",
        AbandonAttach "abandon-attach" Driver Worlds "does not undo an attach whose visitor has left meanwhile",
        LingerWithoutEnd "linger-without-end" Driver Worlds "never detaches a session that only makes requests",
        SignsNotSent "signs-not-sent" Driver Worlds "sends no heartbeats for waiting sessions",
        LocalDeadline "local-deadline" Driver Worlds "dates entries by its own clock when it reads them",
        ServeUnread "serve-unread" Driver Worlds "serves before it has read the journal",
        WrongPosition "wrong-position" Driver Worlds "keeps a checkpoint under a later position than its state's",
        PendingForgotten "pending-forgotten" Driver Dispatcher "does not repeat what an ended life had not got through",
        ScheduleNotPosted "schedule-not-posted" Driver Worlds "does not apply the weekly schedule",
        NewsNotRetold "news-not-retold" Driver Worlds "does not repeat observations after entries are lost",

        // From the listener to the pod and back.
        HopByHopKept "hop-by-hop-kept" Forwarding EndToEnd "passes hop-by-hop fields on",
        ForwardedBelieved "forwarded-believed" Forwarding EndToEnd "passes a visitor's own forwarding headers on",
        ForwardedForReplaced "forwarded-for-replaced" Forwarding EndToEnd "drops the proxies before it from X-Forwarded-For",
        CookieReachesPod "cookie-reaches-pod" Forwarding EndToEnd "passes the session cookie to pods",
        UploadUnlimited "upload-unlimited" Forwarding EndToEnd "does not count a streamed body against its limit",
        ContinueNotAwaited "continue-not-awaited" Forwarding EndToEnd "reads a body before the pod has asked for it",
        BodyNotCut "body-not-cut" Forwarding EndToEnd "does not cut a body that is not being read when its session ends",
        TrailersLost "trailers-lost" Forwarding EndToEnd "does not announce to pods that trailers are accepted",
        HeldBytesLost "held-bytes-lost" Tunnel Dispatcher "loses bytes that are held back when a stream ends",
        OwnPongPassed "own-pong-passed" Tunnel Dispatcher "passes the pong to its own ping on to the pod",
        PingInsideFrame "ping-inside-frame" Tunnel Dispatcher "puts a ping into the middle of a frame",
        EarlyBytesLost "early-bytes-lost" Tunnel EndToEnd "loses what a side sent in the same packet as its handshake",
        IdleFromPod "idle-from-pod" Tunnel EndToEnd "counts what the pod sends as the client's activity",
        TunnelActivityLost "tunnel-activity-lost" Tunnel EndToEnd "does not notice what a client sends through a WebSocket",
        HalfOpenUnnoticed "half-open-unnoticed" Tunnel EndToEnd "never asks whether a silent client is still there",
        NoCloseFrame "no-close-frame" Tunnel EndToEnd "cuts WebSockets without a close frame",
        DrainNotSpread "drain-not-spread" Tunnel Dispatcher "closes all streams of a draining pod at once",
        GuardOff "guard-off" Door Dispatcher "lets requests through whose end is ambiguous",
        HeadTimeOff "head-time-off" Door EndToEnd "waits without limit for a request's head",
        UpgradeRefusedStaysOpen "upgrade-refused-stays-open" Door EndToEnd "reads on as HTTP after an upgrade was refused",
        ForeignOriginAllowed "foreign-origin-allowed" Door EndToEnd "accepts upgrades from foreign origins",
        StreamsUnlimited "streams-unlimited" Door EndToEnd "does not limit the streams of a session",
        MintUnlimited "mint-unlimited" Door EndToEnd "does not limit new sessions per second",
        CookieOfAnyPool "cookie-of-any-pool" Cookie Dispatcher "accepts another pool's cookie",
        CookieNeverExpires "cookie-never-expires" Cookie EndToEnd "accepts cookies of any age",
        CookieNotRenewed "cookie-not-renewed" Cookie EndToEnd "does not renew the cookie with the pod and the time",
        CookieInsecure "cookie-insecure" Cookie EndToEnd "leaves out `Secure` for visitors who came by TLS",
        PublicNameIsId "public-name-is-id" Cookie Dispatcher "shows session ids to pods, logs and operators",

        // The waiting room.
        ReasonForgotten "reason-forgotten" WaitingRoom EndToEnd "does not show visitors why their session ended",
        PositionFromZero "position-from-zero" WaitingRoom EndToEnd "counts places in line from 0",
        ProgressFrozen "progress-frozen" WaitingRoom EndToEnd "shows the first progress that it has seen for good",
        OpenRedirect "open-redirect" WaitingRoom Dispatcher "redirects to other sites",
        RoomWakesPods "room-wakes-pods" WaitingRoom Worlds "asks for a slot before the cookie has come back",

        // Towards clusters.
        NothingRetried "nothing-retried" Actuator Worlds "does not retry effects that are still owed",
        StaleActs "stale-acts" Actuator Worlds "acts on the cluster while the journal does not answer",
        GuardOnlyWhileQueued "guard-only-while-queued" Kubernetes Dispatcher "guards against KEDA only while a session queues",
        DeleteByName "delete-by-name" Kubernetes Dispatcher "deletes a pod by its name, whichever incarnation has it",
        PatchUnguarded "patch-unguarded" Kubernetes Dispatcher "writes the size without the version as precondition",
        UndoLaterDecision "undo-later-decision" Kubernetes Dispatcher "overwrites a size that was decided later",
        MarksStay "marks-stay" Kubernetes Dispatcher "leaves annotations on pods that are not used any more",
        GuardStolen "guard-stolen" Kubernetes Dispatcher "removes an operator's own pause of KEDA",
        DeletionCostEqual "deletion-cost-equal" Kubernetes Dispatcher "gives a Deployment's busy pods no higher deletion cost",
        ReadyUnprobed "ready-unprobed" Kubernetes Dispatcher "believes a pod's readiness before it has answered",
        FirstPageOnly "first-page-only" Kubernetes Dispatcher "reads only the first page of a list",
        ForgottenNotListed "forgotten-not-listed" Kubernetes Dispatcher "does not list again when a watch is too old",
        ConfirmSkipped "confirm-skipped" Kubernetes Worlds "relies on pods that a lower size may have deleted meanwhile",
        ForeignPodsTaken "foreign-pods-taken" Kubernetes Dispatcher "takes pods of other owners for the workload's",
        CertainAtOnce "certain-at-once" Kubernetes Dispatcher "takes a size for certain before its controller has caught up",
        RestartAtOnce "restart-at-once" Processes Dispatcher "starts a crashed process again without a pause",
        OlderScaleWins "older-scale-wins" Processes Dispatcher "obeys a size that was decided earlier than the present one",
        RecycleAnyLife "recycle-any-life" Processes Dispatcher "ends a process by its number, whichever life it is",
        TerminatingUntold "terminating-untold" Processes Dispatcher "does not report that it is stopping a process",
        DescendantsLeft "descendants-left" Processes Dispatcher "leaves a process's descendants running",
        UnreadyAtOnce "unready-at-once" Fixed Dispatcher "takes a pod out after a single failed check",
        NeverUnready "never-unready" Fixed Dispatcher "keeps a pod that does not answer any more",
        AnyStatusHealthy "any-status-healthy" Fixed Dispatcher "takes a pod for healthy whatever its check answers",

        // Towards scalers and operators.
        ServeZero "serve-zero" Keda Dispatcher "reports 0 before the journal has been read",
        ServedNotWritten "served-not-written" Keda Worlds "does not record which size scalers were served",
        InactiveWhileWanted "inactive-while-wanted" Keda Dispatcher "reports an idle pool as inactive before its cooldown is over",
        AnswersWhenLate "answers-when-late" Keda Dispatcher "answers KEDA by a state that may be outdated",
        PushedOnce "pushed-once" Keda Dispatcher "does not repeat to KEDA that a pool is active",
        TunnelCountLeaks "tunnel-count-leaks" Metrics EndToEnd "counts closed tunnels as open",
        ReleasesUncounted "releases-uncounted" Metrics EndToEnd "does not count why sessions end",
        AdminTokenIgnored "admin-token-ignored" Admin EndToEnd "accepts operators without their token",
        AdminFromPage "admin-from-page" Admin EndToEnd "accepts requests of web pages to the operators' listener",
        ReadyUnlisted "ready-unlisted" Admin Dispatcher "is ready before the pods have been listed",
        MeasuredTwice "measured-twice" Measuring EndToEnd "reports the same messages again and again",
        SilentPodsBearNothing "silent-pods-bear-nothing" Measuring EndToEnd "counts pods that do not report their gauge as 0",

        // Journals.
        SyncSkipped "sync-skipped" FileJournal Dispatcher "acknowledges entries that are not on the disk",
        RaggedTailKept "ragged-tail-kept" FileJournal Dispatcher "does not cut off what a failed write left behind",
        CheckpointInPlace "checkpoint-in-place" FileJournal Dispatcher "writes checkpoints under their final name",
        ForgetTooMuch "forget-too-much" FileJournal Dispatcher "removes the second newest checkpoint",
        ChecksumIgnored "checksum-ignored" FileJournal Dispatcher "does not compare checksums",
        LockIgnored "lock-ignored" FileJournal Dispatcher "opens a journal that another process writes to",
        TimeGoesBack "time-goes-back" FileJournal Dispatcher "lets the journal's time go back with the clock",
        UnreadNotRepeated "unread-not-repeated" RedisJournal Dispatcher "does not write again what a restarted Redis may have lost",
        LossNotNoticed "loss-not-noticed" RedisJournal Dispatcher "does not compare what it read last with what is there",
        HoleNotNoticed "hole-not-noticed" RedisJournal Dispatcher "reads on over a hole in the entries",
        LifeNotChecked "life-not-checked" RedisJournal Dispatcher "keeps its connection although its life may have ended",
    }

    /// 0: none; otherwise the bug's number plus 1.
    static PLANTED: AtomicU8 = AtomicU8::new(UNREAD);
    /// The environment has not been read yet.
    const UNREAD: u8 = u8::MAX;
    /// The environment variable with the bug that a program plants when it starts.
    const VARIABLE: &str = "SLOTKEEPER_PLANT";

    /// Plants a bug in the whole process.
    pub fn plant(bug: Bug) {
        PLANTED.store(bug as u8 + 1, Ordering::Relaxed);
    }

    /// Whether this bug is planted: by [`plant`], or by its word in the environment variable `SLOTKEEPER_PLANT`.
    ///
    /// # Panics
    /// If the variable names no bug: a run that measures nothing must not look like one that found nothing.
    #[must_use]
    #[inline]
    pub fn is(bug: Bug) -> bool {
        let planted = match PLANTED.load(Ordering::Relaxed) {
            UNREAD => read(),
            known => known,
        };
        planted == bug as u8 + 1
    }

    #[cold]
    fn read() -> u8 {
        let planted = match std::env::var(VARIABLE) {
            Ok(word) if !word.is_empty() => match Bug::find(&word) {
                Some(bug) => bug as u8 + 1,
                None => panic!("{VARIABLE}: {word:?} is not the name of a planted bug"),
            },
            Ok(_) | Err(_) => 0,
        };
        PLANTED.store(planted, Ordering::Relaxed);
        planted
    }
}
