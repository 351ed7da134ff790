//! A value that can be replaced while others read it. A read costs one atomic load; replaced versions are kept until the
//! `Live` is dropped, so that references to them stay valid. (A configuration has some kilobytes, and reloads are rare.)

use std::ops::Deref;
use std::sync::atomic::{AtomicUsize, Ordering};

pub struct Live<T> {
    first: T,
    later: boxcar::Vec<T>,
    /// 0: `first`; n: the nth element of `later`.
    current: AtomicUsize,
}

impl<T> Live<T> {
    pub fn new(first: T) -> Live<T> {
        Live { first, later: boxcar::Vec::new(), current: AtomicUsize::new(0) }
    }

    /// Replaces the value for later reads.
    pub fn replace(&self, next: T) {
        let at = self.later.push(next);
        self.current.store(at + 1, Ordering::Release);
    }
}

impl<T> Deref for Live<T> {
    type Target = T;

    fn deref(&self) -> &T {
        let current = self.current.load(Ordering::Acquire);
        current.checked_sub(1).and_then(|at| self.later.get(at)).unwrap_or(&self.first)
    }
}

#[cfg(test)]
mod tests {
    use super::Live;

    #[test]
    fn readers_get_the_newest_version_and_references_to_older_ones_stay() {
        let live = Live::new("one".to_owned());
        let one: &str = &live;
        for n in 2..100 {
            live.replace(n.to_string());
            assert_eq!(*live, n.to_string());
        }
        assert_eq!(one, "one");
    }
}
