//! The body of a watch: its lines, bookmarks and end, as modified by the faults.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::{Body, Server};
use crate::watching::Watching;

/// The timeout of a watch that requests none.
const LONGEST_SECONDS: u64 = 1800;
/// How long before the end the last bookmark is sent.
const FAREWELL: Duration = Duration::from_secs(2);

pub(super) struct Stream {
    server: Server,
    watching: Watching,
    changes: watch::Receiver<u64>,
    /// Pieces of the line that is being written.
    pieces: VecDeque<Bytes>,
    end: Instant,
    bookmark: Instant,
    broken: u64,
    ended: u64,
    failed: bool,
}

enum Next {
    Pieces(Vec<Bytes>, Duration),
    /// Until something changes, or until this time.
    Wait(Instant),
    /// Ends the body in order.
    End,
    /// Cuts the connection.
    Break,
}

impl Stream {
    pub(super) fn open(server: Server, watching: Watching) -> Stream {
        let now = Instant::now();
        let (broken, ended, every, changes) = {
            let mut state = server.lock();
            state.open_watches += 1;
            (state.watches_broken, state.watches_ended, state.bookmark_every, server.inner.changed.subscribe())
        };
        server.tell();
        let end = now + Duration::from_secs(watching.timeout_seconds.unwrap_or(LONGEST_SECONDS));
        let farewell = end.checked_sub(FAREWELL).unwrap_or(end).max(now);
        let bookmark = (now + every).min(farewell);
        Stream { server, watching, changes, pieces: VecDeque::new(), end, bookmark, broken, ended, failed: false }
    }

    pub(super) fn into_body(self) -> Body {
        let frames = stream::unfold(self, |mut stream| async {
            let next = stream.next().await?;
            Some((next.map(Frame::data), stream))
        });
        StreamBody::new(frames).boxed_unsync()
    }

    async fn next(&mut self) -> Option<std::io::Result<Bytes>> {
        if self.failed {
            return None;
        }
        loop {
            if let Some(piece) = self.pieces.pop_front() {
                if !self.pieces.is_empty() || self.server.lock().faults.split_lines.is_some() {
                    // Gives the connection time to write the previous piece.
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                return Some(Ok(piece));
            }
            match self.look() {
                Next::Pieces(pieces, delay) => {
                    self.pieces.extend(pieces);
                    if !delay.is_zero() && self.wait(Instant::now() + delay).await {
                        return Some(Err(self.fail()));
                    }
                }
                Next::Wait(wake) => {
                    tokio::select! {
                        biased;
                        changed = self.changes.changed() => changed.ok()?,
                        () = sleep_until(wake) => {}
                    }
                }
                Next::End => return None,
                Next::Break => return Some(Err(self.fail())),
            }
        }
    }

    fn look(&mut self) -> Next {
        let now = Instant::now();
        let state = self.server.lock();
        if state.watches_broken != self.broken {
            return Next::Break;
        }
        if state.watches_ended != self.ended || now >= self.end || self.watching.over() {
            return Next::End;
        }
        if state.faults.hang {
            return Next::Wait(self.end);
        }
        self.watching.read(&state.store, &state.faults.swallowed);
        if self.watching.bookmarks && self.watching.waits() && now >= self.bookmark {
            self.watching.bookmark();
            let farewell = self.end.checked_sub(FAREWELL).unwrap_or(self.end);
            let next = now + state.bookmark_every;
            self.bookmark = if now < farewell { next.min(farewell) } else { self.end };
        }
        let Some((line, of_object)) = self.watching.line() else {
            return Next::Wait(if self.watching.bookmarks { self.bookmark.min(self.end) } else { self.end });
        };
        let line = Bytes::from(line);
        let mut pieces = Vec::new();
        for _ in 0..=u8::from(state.faults.duplicate_events && of_object) {
            let mut rest = line.clone();
            if let Some(size) = state.faults.split_lines.filter(|size| *size > 0) {
                while rest.len() > size {
                    pieces.push(rest.split_to(size));
                }
            }
            pieces.push(rest);
        }
        Next::Pieces(pieces, if of_object { state.faults.delay_events } else { Duration::ZERO })
    }

    /// Waits until a time; returns true if the watch was broken meanwhile.
    async fn wait(&mut self, until: Instant) -> bool {
        loop {
            if self.server.lock().watches_broken != self.broken {
                return true;
            }
            tokio::select! {
                biased;
                changed = self.changes.changed() => if changed.is_err() { return true },
                () = sleep_until(until) => return false,
            }
        }
    }

    fn fail(&mut self) -> std::io::Error {
        self.failed = true;
        std::io::Error::new(std::io::ErrorKind::ConnectionAborted, "the watch was broken on purpose")
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.server.lock().open_watches -= 1;
        self.server.tell();
    }
}
