//! Named points in the code at which a simulation may delay an operation, drop it, or swap it with the next one: the effects
//! of a slow scheduler, a slow API server, a cancelled future or a broken connection. This file lists all points. Without
//! the feature `faultpoints`, which no release has, they compile to nothing.

/// Passes a fault point of an async function. With `dropped => EXPRESSION`, the expression is evaluated if the operation is
/// dropped here.
macro_rules! fault_point {
    ($point:ident) => {
        #[cfg(feature = "faultpoints")]
        let _ = $crate::faultpoints::pass($crate::faultpoints::Point::$point).await;
    };
    ($point:ident, dropped => $dropped:expr) => {
        #[cfg(feature = "faultpoints")]
        if $crate::faultpoints::pass($crate::faultpoints::Point::$point).await == $crate::faultpoints::Act::Drop {
            $dropped
        }
    };
}

#[cfg(feature = "faultpoints")]
pub use points::{Act, Installed, Point, install, pass, swaps};

#[cfg(feature = "faultpoints")]
mod points {
    use std::cell::RefCell;
    use std::time::Duration;

    macro_rules! points {
        ($($(#[$doc:meta])* $point:ident = $word:literal, longest $longest:literal ms $(, $extra:ident)?;)*) => {
            /// A point in the code. Its comment names what may happen there in reality.
            #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
            pub enum Point {
                $($(#[$doc])* $point,)*
            }

            impl Point {
                /// All points, in the order of the code's list.
                pub const ALL: &[Point] = &[$(Point::$point),*];

                /// Its name in commands and tables.
                #[must_use]
                pub fn word(self) -> &'static str {
                    match self {
                        $(Point::$point => $word,)*
                    }
                }

                /// The longest delay in milliseconds.
                #[must_use]
                pub fn longest(self) -> u64 {
                    match self {
                        $(Point::$point => $longest,)*
                    }
                }

                /// Returns a possible event here in addition to a delay.
                #[must_use]
                pub fn extra(self) -> Option<Act> {
                    match self {
                        $(Point::$point => points!(@extra $($extra)?),)*
                    }
                }
            }
        };
        (@extra) => { None };
        (@extra drops) => { Some(Act::Drop) };
        (@extra swaps) => { Some(Act::Swap) };
    }

    points! {
        /// An effect has arrived: two calls of one client may reach the API server in the opposite order.
        ActuatorOrder = "actuator.order", longest 1_000 ms, swaps;
        /// Before an effect is executed; dropped: the call was not sent.
        ActuatorBeforeCall = "actuator.before-call", longest 3_000 ms, drops;
        /// The call is done; dropped: its response was lost, so the caller does not know that it is done.
        ActuatorAfterCall = "actuator.after-call", longest 1_000 ms, drops;
        /// Between reading the workload and the patch that depends on it.
        OrdersBeforePatch = "orders.before-patch", longest 1_500 ms;
        /// Another client has written the workload meanwhile.
        OrdersAfterConflict = "orders.after-conflict", longest 1_000 ms;
        /// Between the decision that an incarnation ends and the call that deletes it.
        OrdersBeforeDelete = "orders.before-delete", longest 1_500 ms;
        /// The attach has been read back, and the place is not looked up yet; dropped: the visitor has left.
        VisitAfterAttach = "visit.after-attach", longest 500 ms, drops;
        /// A tunnel has ended, and its stream is not released yet.
        VisitBeforeDetach = "visit.before-detach", longest 1_000 ms;
        /// Both ends are upgraded, and nothing is forwarded yet.
        TunnelBeforeStart = "tunnel.before-start", longest 300 ms;
        /// A tunnel has been ordered to close, and has not begun to close.
        TunnelBeforeClose = "tunnel.before-close", longest 200 ms;
        /// Both directions have ended, and the sockets are still open.
        TunnelEnd = "tunnel.end-of-stream", longest 300 ms;
        /// Entries have been numbered, and are not written yet.
        DriverBeforeAppend = "driver.before-append", longest 400 ms;
        /// Entries are written, and the next ones wait.
        DriverAfterAppend = "driver.after-append", longest 400 ms;
        /// Entries have been read, and are not applied yet.
        DriverBeforeApply = "driver.before-apply", longest 300 ms;
        /// A checkpoint is due; dropped: it is not stored.
        DriverBeforeCheckpoint = "driver.before-checkpoint", longest 3_000 ms, drops;
        /// Entries have been sent to Redis; dropped: the connection breaks before the response.
        RedisAfterSend = "journal-redis.after-send", longest 400 ms, drops;
        /// A checkpoint is on its way to Redis; dropped: the connection breaks.
        RedisBeforeKeep = "journal-redis.before-keep", longest 1_000 ms, drops;
        /// Entries are to be written to the file, and are not written yet.
        FileBeforeSync = "journal-file.before-sync", longest 400 ms;
        /// Entries are durable, and are not read back yet.
        FileAfterSync = "journal-file.after-sync", longest 400 ms;
    }

    /// What happens at a point.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum Act {
        /// Nothing: the task continues.
        Pass,
        /// Other tasks run first.
        Yield,
        /// The task sleeps for this long first.
        Delay(Duration),
        /// The operation is dropped; only at points that allow it.
        Drop,
        /// The next operation comes first; only at points that allow it.
        Swap,
    }

    type Source = Box<dyn FnMut(Point) -> Act>;

    thread_local! {
        static SOURCE: RefCell<Option<Source>> = const { RefCell::new(None) };
    }

    /// While this value exists, the installed source decides this thread's fault points.
    #[must_use]
    pub struct Installed(());

    /// Installs the source that decides what happens at the fault points that this thread passes.
    pub fn install(source: impl FnMut(Point) -> Act + 'static) -> Installed {
        SOURCE.with_borrow_mut(|slot| *slot = Some(Box::new(source)));
        Installed(())
    }

    impl Drop for Installed {
        fn drop(&mut self) {
            SOURCE.with_borrow_mut(Option::take);
        }
    }

    fn decide(point: Point) -> Act {
        SOURCE.with_borrow_mut(|source| source.as_mut().map_or(Act::Pass, |decide| decide(point)))
    }

    /// Passes a point. Delays happen here; the caller must handle everything else.
    pub async fn pass(point: Point) -> Act {
        let act = decide(point);
        match act {
            Act::Yield => tokio::task::yield_now().await,
            Act::Delay(time) => tokio::time::sleep(time).await,
            Act::Pass | Act::Drop | Act::Swap => {}
        }
        act
    }

    /// Whether the operation that has arrived at this point is swapped with the next one.
    pub async fn swaps(point: Point) -> bool {
        pass(point).await == Act::Swap
    }
}
