//! Bugs planted on purpose, one at a time, so that the simulation can prove that it finds them. Without the feature
//! `planted`, which nothing that is shipped has, there are none.

/// The bugs, each a mistake that real dispatchers make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Bug {
    /// Bytes go to the pod before the attach has been read back (law 4).
    ForwardBeforeAttach = 1,
    /// A cookie that this replica does not know gets a new session (law 3).
    MintForUnknown,
    /// A terminating pod is good enough to be placed on.
    PlaceOnTerminating,
    /// A session is bound to a pod's name: the next incarnation of that name inherits it.
    BindToName,
    /// Fewer pods are wanted, and those outside are still placed on.
    LowerWithoutRetiring,
    /// As many pods as there are busy ones, instead of up to the highest busy one.
    CountSessions,
    /// A session's last detach is not written.
    DropLastDetach,
    /// The gauges say 0 before the journal has been read.
    ServeZero,
    /// An entry that was written twice counts twice.
    ActTwice,
    /// Deadlines run out by the replica's own clock: an entry is of the moment it was read.
    LocalDeadline,
    /// The doors open before the journal has been read.
    ServeUnread,
    /// A checkpoint is of a batch's beginning, and says that it is of its end.
    WrongPosition,
}

impl Bug {
    pub const ALL: [Bug; 12] = [
        Bug::ForwardBeforeAttach,
        Bug::MintForUnknown,
        Bug::PlaceOnTerminating,
        Bug::BindToName,
        Bug::LowerWithoutRetiring,
        Bug::CountSessions,
        Bug::DropLastDetach,
        Bug::ServeZero,
        Bug::ActTwice,
        Bug::LocalDeadline,
        Bug::ServeUnread,
        Bug::WrongPosition,
    ];

    /// As in commands.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Bug::ForwardBeforeAttach => "forward-before-attach",
            Bug::MintForUnknown => "mint-for-unknown",
            Bug::PlaceOnTerminating => "place-on-terminating",
            Bug::BindToName => "bind-to-name",
            Bug::LowerWithoutRetiring => "lower-without-retiring",
            Bug::CountSessions => "count-sessions",
            Bug::DropLastDetach => "drop-last-detach",
            Bug::ServeZero => "serve-zero",
            Bug::ActTwice => "act-twice",
            Bug::LocalDeadline => "local-deadline",
            Bug::ServeUnread => "serve-unread",
            Bug::WrongPosition => "wrong-position",
        }
    }
}

#[cfg(feature = "planted")]
static PLANTED: core::sync::atomic::AtomicU8 = core::sync::atomic::AtomicU8::new(0);

/// Plants a bug in the whole process.
#[cfg(feature = "planted")]
pub fn plant(bug: Bug) {
    PLANTED.store(bug as u8, core::sync::atomic::Ordering::Relaxed);
}

/// Whether this bug is planted.
#[must_use]
#[inline]
pub fn is(bug: Bug) -> bool {
    #[cfg(feature = "planted")]
    return PLANTED.load(core::sync::atomic::Ordering::Relaxed) == bug as u8;
    #[cfg(not(feature = "planted"))]
    {
        let _ = bug;
        false
    }
}
