//! Writes lines to the standard output or to a file, in a thread of its own: a slow disk or a full pipe delays no request.
//! The queue is bounded, and lines that do not fit are dropped and counted. A file can be opened again by its path, after a
//! log rotation has renamed it.

use crate::io::throttle::Throttle;
use prometheus::IntCounter;
use rustix::fs::OFlags;
use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;
use std::{fmt, thread};
use tokio::sync::oneshot;

/// Lines that wait to be written at most.
pub const QUEUE: usize = 4096;

/// Where lines are written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// The standard output.
    Stdout,
    /// Appended to this file.
    File(PathBuf),
}

impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Output::Stdout => f.write_str("stdout"),
            Output::File(path) => path.display().fmt(f),
        }
    }
}

impl Output {
    fn open(&self) -> io::Result<Box<dyn Write + Send>> {
        Ok(match self {
            Output::Stdout => Box::new(io::stdout()),
            Output::File(path) => Box::new(open(path)?),
        })
    }
}

/// Not readable for other users: the lines contain addresses and paths.
fn open(path: &PathBuf) -> io::Result<File> {
    // To open a named pipe without a reader would block this thread: it fails instead.
    let waits = OFlags::NONBLOCK.bits().cast_signed();
    let file = OpenOptions::new().append(true).create(true).mode(0o640).custom_flags(waits).open(path)?;
    rustix::fs::fcntl_setfl(&file, OFlags::APPEND)?;
    Ok(file)
}

enum Message {
    Line(String),
    /// There is another output in `next`.
    Reopen,
    Flush(oneshot::Sender<()>),
}

/// Counts lines by their fate.
#[derive(Clone, Debug)]
pub struct Fates {
    /// Lines that were written.
    pub written: IntCounter,
    /// Lines that were not.
    pub dropped: IntCounter,
}

/// The queue to the writing thread, which starts with the first output.
pub struct Lines {
    queue: OnceLock<SyncSender<Message>>,
    /// The output to use from now on, if it has been opened (again) and the thread has not taken it yet.
    next: std::sync::Arc<Mutex<Option<Box<dyn Write + Send>>>>,
    fates: Fates,
}

impl Lines {
    /// A queue without an output.
    #[must_use]
    pub fn new(fates: Fates) -> Lines {
        Lines { queue: OnceLock::new(), next: std::sync::Arc::default(), fates }
    }

    /// Opens an output, and uses it for all lines that are written from now on.
    ///
    /// # Errors
    /// If it cannot be opened: the former output stays in use.
    pub fn open(&self, output: &Output) -> io::Result<()> {
        let opened = output.open()?;
        *self.next.lock().unwrap_or_else(PoisonError::into_inner) = Some(opened);
        let mut failed = None;
        let queue = self.queue.get_or_init(|| {
            let (sender, receiver) = sync_channel(QUEUE);
            let writer =
                Writer { next: self.next.clone(), output: None, fates: self.fates.clone(), trouble: Throttle::new() };
            failed = thread::Builder::new().name("access-log".into()).spawn(move || writer.run(&receiver)).err();
            sender
        });
        // If the queue is full, the thread is awake and looks by itself.
        let _ = queue.try_send(Message::Reopen);
        failed.map_or(Ok(()), Err)
    }

    /// Queues a line, or drops it if the queue is full.
    pub fn write(&self, line: String) {
        let sent = self.queue.get().is_some_and(|queue| queue.try_send(Message::Line(line)).is_ok());
        if !sent {
            self.fates.dropped.inc();
        }
    }

    /// Waits until the queued lines are written, but at most for this time.
    pub async fn flush(&self, within: Duration) {
        let Some(queue) = self.queue.get() else { return };
        let (done, flushed) = oneshot::channel();
        let mut message = Message::Flush(done);
        let end = crate::io::now() + within;
        while let Err(std::sync::mpsc::TrySendError::Full(again)) = queue.try_send(message) {
            message = again;
            if crate::io::now() >= end {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let _ = tokio::time::timeout_at(end, flushed).await;
    }
}

struct Writer {
    next: std::sync::Arc<Mutex<Option<Box<dyn Write + Send>>>>,
    output: Option<BufWriter<Box<dyn Write + Send>>>,
    fates: Fates,
    trouble: Throttle,
}

impl Writer {
    fn run(mut self, queue: &Receiver<Message>) {
        while let Ok(first) = queue.recv() {
            let mut flushed = Vec::new();
            let mut lines = 0;
            // Lines that have queued up meanwhile are written together.
            for message in std::iter::once(first).chain(std::iter::from_fn(|| queue.try_recv().ok())).take(QUEUE) {
                self.take_next();
                match message {
                    Message::Line(line) => lines += self.put(&line),
                    Message::Reopen => {}
                    Message::Flush(done) => flushed.push(done),
                }
            }
            match self.output.as_mut().map(Write::flush) {
                Some(Err(error)) => self.failed(lines, &error),
                Some(Ok(())) | None => self.fates.written.inc_by(lines),
            }
            for done in flushed {
                let _ = done.send(());
            }
        }
    }

    fn take_next(&mut self) {
        let next = self.next.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(next) = next {
            if let Some(Err(error)) = self.output.as_mut().map(Write::flush) {
                self.failed(0, &error);
            }
            self.output = Some(BufWriter::new(next));
        }
    }

    /// Returns the number of lines that were written to the buffer.
    fn put(&mut self, line: &str) -> u64 {
        let Some(output) = &mut self.output else { return 0 };
        match output.write_all(line.as_bytes()).and_then(|()| output.write_all(b"\n")) {
            Ok(()) => 1,
            Err(error) => {
                self.failed(1, &error);
                0
            }
        }
    }

    fn failed(&mut self, lines: u64, error: &io::Error) {
        self.fates.dropped.inc_by(lines);
        if let Some(times) = self.trouble.note() {
            tracing::warn!(times, "access log cannot be written: lines dropped: {error}");
        }
        // A `BufWriter` would write the rest of its buffer again and again.
        if let Some(output) = self.output.take() {
            let (inner, _lost) = output.into_parts();
            self.output = Some(BufWriter::new(inner));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    fn lines() -> Lines {
        let counter = |name: &str| IntCounter::new(name, name).unwrap();
        Lines::new(Fates { written: counter("written"), dropped: counter("dropped") })
    }

    #[tokio::test]
    async fn a_file_that_was_renamed_gets_no_more_lines_after_it_has_been_opened_again() {
        let folder = tempfile::tempdir().unwrap();
        let (path, rotated) = (folder.path().join("access.log"), folder.path().join("access.log.1"));
        let lines = lines();
        lines.open(&Output::File(path.clone())).unwrap();
        lines.write("one".into());
        lines.flush(Duration::from_secs(10)).await;
        std::fs::rename(&path, &rotated).unwrap();
        lines.write("two".into());
        lines.flush(Duration::from_secs(10)).await;
        lines.open(&Output::File(path.clone())).unwrap();
        lines.write("three".into());
        lines.flush(Duration::from_secs(10)).await;
        assert_eq!(std::fs::read_to_string(rotated).unwrap(), "one\ntwo\n");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "three\n");
        assert_eq!((lines.fates.written.get(), lines.fates.dropped.get()), (3, 0));
        assert!(lines.open(&Output::File(folder.path().join("none/access.log"))).is_err());
        lines.write("four".into());
        lines.flush(Duration::from_secs(10)).await;
        assert_eq!(std::fs::read_to_string(path).unwrap(), "three\nfour\n", "the former file stays in use");
    }

    /// Accepts nothing until it is released.
    struct Stuck(Arc<AtomicBool>);

    impl Write for Stuck {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            while !self.0.load(Ordering::Acquire) {
                thread::yield_now();
            }
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn lines_that_do_not_fit_into_the_queue_are_dropped_and_counted() {
        let lines = lines();
        let released = Arc::new(AtomicBool::new(false));
        lines.open(&Output::Stdout).unwrap();
        *lines.next.lock().unwrap() = Some(Box::new(Stuck(released.clone())));
        let many = 4 * QUEUE as u64;
        for _ in 0..many {
            // Longer than the buffer: the thread writes it at once.
            lines.write("x".repeat(10_000));
        }
        assert!(lines.fates.dropped.get() >= many - 2 * QUEUE as u64 - 1, "none of the writes has waited");
        released.store(true, Ordering::Release);
        lines.flush(Duration::from_secs(60)).await;
        assert_eq!(lines.fates.written.get() + lines.fates.dropped.get(), many);
    }

    #[tokio::test]
    async fn a_full_disk_costs_lines_and_nothing_else() {
        let lines = lines();
        lines.open(&Output::File("/dev/full".into())).unwrap();
        lines.write("lost".into());
        lines.flush(Duration::from_secs(10)).await;
        assert_eq!((lines.fates.written.get(), lines.fates.dropped.get()), (0, 1));
    }
}
