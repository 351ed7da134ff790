//! The protocol between the dispatcher and a pod's supervisor.
//!
//! Both directions consist of frames: a letter, the length of the content (4 bytes, big-endian), the content. The first frame is
//! the dispatcher's [`Spec`].

use crate::io::accounts::Account;
use crate::io::cgroup::Limits;
use serde::{Deserialize, Serialize};
use std::io::{self, Read, Write};
use std::path::PathBuf;

/// Maximum length of a frame's content, in bytes.
pub(crate) const MOST: usize = 4 * 1024 * 1024;

/// All that a supervisor needs to run its pod.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Spec {
    /// The incarnation.
    pub(crate) uid: String,
    pub(crate) program: String,
    pub(crate) arguments: Vec<String>,
    /// The whole environment.
    pub(crate) environment: Vec<(String, String)>,
    pub(crate) folder: Option<PathBuf>,
    /// Time from SIGTERM to SIGKILL.
    pub(crate) grace_ms: u64,
    pub(crate) account: Option<Account>,
    pub(crate) limits: Limits,
    /// The control group to create for the pod.
    pub(crate) cgroup: Option<PathBuf>,
    /// Set if the pod outlives the dispatcher, and can be adopted.
    pub(crate) adopt: Option<Adopt>,
    /// SIGTERM and SIGKILL go to the pod's own process only. Never outside of tests.
    pub(crate) leader_only: bool,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Adopt {
    /// Where the supervisor can be reached after a restart of the dispatcher.
    pub(crate) socket: PathBuf,
    /// How long the supervisor waits for another dispatcher before it ends the pod.
    pub(crate) within_ms: u64,
}

/// Frames from the dispatcher.
pub(crate) mod order {
    /// [`Spec`](super::Spec) follows.
    pub(crate) const START: u8 = b's';
    /// SIGTERM, and SIGKILL after the grace.
    pub(crate) const END: u8 = b't';
}

/// Frames from the supervisor.
pub(crate) mod report {
    /// The supervised incarnation: the first frame to a dispatcher that connects.
    pub(crate) const HELLO: u8 = b'h';
    /// The pod runs; [`Leader`](super::Leader) follows.
    pub(crate) const RUNNING: u8 = b'r';
    /// Nothing was started; [`Failure`](super::Failure) follows.
    pub(crate) const FAILED: u8 = b'f';
    /// Bytes of the pod's standard output.
    pub(crate) const OUTPUT: u8 = b'o';
    /// Bytes of the pod's standard error.
    pub(crate) const ERROR: u8 = b'e';
    /// The pod's own process and all descendants have ended; the wait status (4 bytes) follows. The last frame.
    pub(crate) const ENDED: u8 = b'z';
}

/// The pod's own process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Leader {
    pub(crate) pid: i32,
    pub(crate) started: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Failure {
    /// `errno`, if there is one.
    pub(crate) code: Option<i32>,
    pub(crate) text: String,
}

impl Failure {
    pub(crate) fn of(error: &io::Error) -> Failure {
        Failure { code: error.raw_os_error(), text: error.to_string() }
    }

    pub(crate) fn error(self) -> io::Error {
        self.code.map_or_else(|| io::Error::other(self.text), io::Error::from_raw_os_error)
    }
}

/// Returns a frame's first five bytes.
pub(crate) fn head(kind: u8, content: &[u8]) -> [u8; 5] {
    let length = (content.len() as u32).to_be_bytes();
    [kind, length[0], length[1], length[2], length[3]]
}

/// Returns kind and length of the content.
pub(crate) fn read_head(head: [u8; 5]) -> io::Result<(u8, usize)> {
    let [kind, length @ ..] = head;
    let length = u32::from_be_bytes(length) as usize;
    if length > MOST {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the frame is too long"));
    }
    Ok((kind, length))
}

pub(crate) fn send(mut to: impl Write, kind: u8, content: &[u8]) -> io::Result<()> {
    let mut frame = Vec::with_capacity(5 + content.len());
    frame.extend_from_slice(&head(kind, content));
    frame.extend_from_slice(content);
    to.write_all(&frame)
}

pub(crate) fn receive(mut from: impl Read) -> io::Result<(u8, Vec<u8>)> {
    let mut head = [0; 5];
    from.read_exact(&mut head)?;
    let (kind, length) = read_head(head)?;
    let mut content = vec![0; length];
    from.read_exact(&mut content)?;
    Ok((kind, content))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_arrive_as_sent_and_too_long_ones_are_refused() {
        let mut bytes = Vec::new();
        send(&mut bytes, report::OUTPUT, b"hello").unwrap();
        send(&mut bytes, order::END, b"").unwrap();
        let mut from = &bytes[..];
        assert_eq!(receive(&mut from).unwrap(), (report::OUTPUT, b"hello".to_vec()));
        assert_eq!(receive(&mut from).unwrap(), (order::END, Vec::new()));
        assert!(receive(&mut from).is_err());
        assert!(receive(&[b'o', 0xff, 0xff, 0xff, 0xff][..]).is_err());
    }

    #[test]
    fn an_error_of_the_operating_system_keeps_its_kind_and_text() {
        let error = Failure::of(&io::Error::from_raw_os_error(libc::ENOENT)).error();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert_eq!(Failure::of(&io::Error::other("so")).error().to_string(), "so");
    }
}
