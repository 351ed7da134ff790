//! One probe of one pod, and the health that follows from successive results. The pool decides when to probe.

use crate::config::{Probe, ProbeKind};
use crate::io::proxy::announce_self;
use crate::io::{Net, Socket};
use slotkeeper_core::planted;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Maximum of bytes that are read to find the status line (interim responses may precede it).
const MOST_BYTES: usize = 16 * 1024;

/// Why a pod does not count as healthy; the waiting room shows it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProbeError {
    #[error("{0} refuses connections")]
    Refused(SocketAddr),
    #[error("{at} has not answered within {}", in_words(*.timeout))]
    Silent { at: SocketAddr, timeout: Duration },
    #[error("{0} cannot be reached: {1}")]
    Unreachable(SocketAddr, #[source] io::Error),
    #[error("{0} accepts connections and closes them at once")]
    Closed(SocketAddr),
    #[error("{0} answers its health check with {1}")]
    Answered(SocketAddr, u16),
    #[error("{0} does not answer its health check in HTTP")]
    NotHttp(SocketAddr),
    #[error("the path of the health check is not a valid one")]
    Path,
}

impl ProbeError {
    fn dialling(at: SocketAddr, error: io::Error) -> ProbeError {
        if error.kind() == io::ErrorKind::ConnectionRefused {
            ProbeError::Refused(at)
        } else {
            ProbeError::Unreachable(at, error)
        }
    }
}

/// Probes once, within `probe.timeout`.
///
/// # Errors
/// When the pod is not healthy, and why.
pub(crate) async fn ask(net: &dyn Net, at: SocketAddr, probe: &Probe) -> Result<(), ProbeError> {
    let asked = async {
        let stream = dial(net, at, probe).await?;
        match &probe.kind {
            ProbeKind::Tcp => Ok(()),
            ProbeKind::Http { path } => get(stream, at, path).await,
        }
    };
    match tokio::time::timeout(probe.timeout, asked).await {
        Ok(result) => result,
        Err(_) => Err(ProbeError::Silent { at, timeout: probe.timeout }),
    }
}

/// As [`ask`], but a TCP probe also fails if the connection is closed at once: a proxy in front of the server (Docker's, a load
/// balancer) accepts connections even without a server, and then closes them.
pub(crate) async fn ask_closely(net: &dyn Net, at: SocketAddr, probe: &Probe) -> Result<(), ProbeError> {
    if probe.kind != ProbeKind::Tcp {
        return ask(net, at, probe).await;
    }
    let asked = async {
        let mut stream = dial(net, at, probe).await?;
        match tokio::time::timeout(AT_ONCE, stream.read(&mut [0])).await {
            Ok(Ok(0) | Err(_)) => Err(ProbeError::Closed(at)),
            Ok(Ok(_)) | Err(_) => Ok(()),
        }
    };
    match tokio::time::timeout(probe.timeout, asked).await {
        Ok(result) => result,
        Err(_) => Err(ProbeError::Silent { at, timeout: probe.timeout }),
    }
}

async fn dial(net: &dyn Net, at: SocketAddr, probe: &Probe) -> Result<Socket, ProbeError> {
    let mut stream = net.dial(at).await.map_err(|e| ProbeError::dialling(at, e))?;
    announce_self(&mut stream, probe.proxy).await.map_err(|e| ProbeError::Unreachable(at, e))?;
    Ok(stream)
}

/// How soon a proxy closes a connection if there is no server behind it.
const AT_ONCE: Duration = Duration::from_millis(20);

async fn get(mut stream: Socket, at: SocketAddr, path: &str) -> Result<(), ProbeError> {
    if !path.starts_with('/') || !path.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(ProbeError::Path);
    }
    let lost = |e| ProbeError::Unreachable(at, e);
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {at}\r\nUser-Agent: slotkeeper-probe\r\nAccept: */*\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.map_err(lost)?;
    let mut head = Vec::new();
    while head.len() < MOST_BYTES {
        if stream.read_buf(&mut head).await.map_err(lost)? == 0 {
            break;
        }
        match status(&head) {
            Status::Incomplete => {}
            Status::Is(code) if is_good(code) => return Ok(()),
            Status::Is(code) => return Err(ProbeError::Answered(at, code)),
            Status::NotHttp => break,
        }
    }
    Err(ProbeError::NotHttp(at))
}

fn is_good(code: u16) -> bool {
    planted!(AnyStatusHealthy => true);
    (200..=399).contains(&code)
}

#[derive(Debug, PartialEq, Eq)]
enum Status {
    Incomplete,
    Is(u16),
    NotHttp,
}

/// The final status in the first bytes of a response; interim responses (RFC 9110 section 15.2) are skipped.
fn status(mut head: &[u8]) -> Status {
    loop {
        let Some(end) = head.iter().position(|b| *b == b'\n') else { return Status::Incomplete };
        let code = head[..end]
            .strip_prefix(b"HTTP/1.")
            .and_then(|rest| rest.get(2..5))
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| digits.parse::<u16>().ok());
        match code {
            None => return Status::NotHttp,
            Some(100 | 102..=199) => match head.windows(4).position(|w| w == b"\r\n\r\n") {
                Some(next) => head = &head[next + 4..],
                None => return Status::Incomplete,
            },
            Some(code) => return Status::Is(code),
        }
    }
}

/// A pod's health: ready after one good result, not ready after several bad ones in a row.
#[derive(Debug, Default)]
pub(crate) struct Health {
    pub(crate) ready: bool,
    bad: u32,
}

impl Health {
    /// Records the next result. True if `ready` has changed.
    pub(crate) fn take(&mut self, good: bool, failures: u32) -> bool {
        self.bad = if good { 0 } else { self.bad.saturating_add(1) };
        let ready = good || self.ready && self.is_borne(failures);
        std::mem::replace(&mut self.ready, ready) != ready
    }

    /// Whether the bad results in a row are still too few to make the pod unready.
    fn is_borne(&self, failures: u32) -> bool {
        planted!(UnreadyAtOnce => false);
        planted!(NeverUnready => true);
        self.bad < failures.max(1)
    }
}

/// "8 s", "500 ms": a duration as the waiting room shows it.
pub(crate) fn in_words(time: Duration) -> String {
    match time.as_millis() {
        ms if ms % 1000 == 0 || ms >= 10_000 => format!("{} s", (ms + 500) / 1000),
        ms => format!("{ms} ms"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_is_found_behind_interim_answers() {
        assert_eq!(status(b"HTTP/1.1 200 OK\r\n"), Status::Is(200));
        assert_eq!(status(b"HTTP/1.0 503\r\n"), Status::Is(503));
        assert_eq!(status(b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 204 No Content\r\n"), Status::Is(204));
        assert_eq!(status(b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n"), Status::Incomplete);
        assert_eq!(status(b"HTTP/1.1 20"), Status::Incomplete);
        assert_eq!(status(b"SSH-2.0-OpenSSH_9.9\r\n"), Status::NotHttp);
        assert_eq!(status(b"HTTP/1.\n"), Status::NotHttp);
    }

    #[test]
    fn one_good_answer_makes_ready_and_only_several_bad_ones_in_a_row_unready() {
        let mut health = Health::default();
        let mut after = |good| health.take(good, 2).then_some(health.ready);
        assert_eq!(after(false), None);
        assert_eq!(after(true), Some(true));
        assert_eq!(after(false), None);
        assert_eq!(after(true), None);
        assert_eq!(after(false), None);
        assert_eq!(after(false), Some(false));
        assert_eq!(after(false), None);
        assert_eq!(after(true), Some(true));
    }

    #[test]
    fn durations_are_formatted_for_the_waiting_room() {
        assert_eq!(in_words(Duration::from_secs(8)), "8 s");
        assert_eq!(in_words(Duration::from_millis(500)), "500 ms");
        assert_eq!(in_words(Duration::from_millis(12_300)), "12 s");
    }
}
