//! Follows where a visitor's requests begin and end (RFC 9112 §§2.2, 5.1, 5.2, 6.3), and removes the end of a very long
//! target, because the HTTP library accepts targets of 64 KiB at most.

use slotkeeper_core::planted;

/// Follows where requests begin and end.
pub(super) struct Framing {
    state: State,
    /// The limit for a line of a head, in bytes.
    longest_line: usize,
    /// The current line, as far as received in earlier reads.
    line: Vec<u8>,
    /// Lines of the current head so far.
    lines: usize,
    length: Option<u64>,
    /// Requests that have ended.
    heads: u64,
    chunked: bool,
    upgrade: bool,
    host: bool,
    /// Request heads that have ended: the number of the current request.
    requests: u64,
    /// The end of the current request's target, as far as received.
    overflow: Option<Vec<u8>>,
    /// The ends of targets whose request line is complete, with the numbers of their requests.
    overflows: Vec<(u64, Vec<u8>)>,
}

/// How many bytes of a request line the library gets; the rest of the target is the overflow.
pub(super) const LONGEST_TARGET: usize = 32 * 1024;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Head,
    /// Remaining bytes of a body.
    Length(u64),
    ChunkSize,
    Chunk(u64),
    /// The line end after a chunk.
    ChunkEnd,
    Trailers,
    /// After a request to switch protocols: the following bytes are not parsed. (If the response is not `101`, `front/request.rs` closes
    /// the connection.)
    Other,
    Refused,
}

/// The end of a request is ambiguous.
struct Ambiguous;

impl Framing {
    pub(super) fn new(longest_line: usize) -> Framing {
        Framing {
            state: State::default(),
            longest_line,
            line: Vec::new(),
            lines: 0,
            length: None,
            heads: 0,
            chunked: false,
            upgrade: false,
            host: false,
            requests: 0,
            overflow: None,
            overflows: Vec::new(),
        }
    }

    /// Whether no request is partly received.
    pub(super) fn is_idle(&self) -> bool {
        self.state == State::Head && self.lines == 0 && self.line.is_empty()
    }

    /// Whether a head has begun and is not complete.
    pub(super) fn is_in_head(&self) -> bool {
        self.state == State::Head && !self.is_idle()
    }

    pub(super) fn is_refused(&self) -> bool {
        self.state == State::Refused
    }

    /// Whether the last request has been received completely, or the protocol is switched.
    pub(super) fn is_whole(&self) -> bool {
        self.is_idle() || self.state == State::Other
    }

    /// Changes whenever a head begins or ends.
    pub(super) fn mark(&self) -> (u64, bool) {
        (self.heads, self.is_idle())
    }

    /// Takes the ends of long targets, with the numbers of their requests.
    pub(super) fn overflows(&mut self) -> Vec<(u64, Vec<u8>)> {
        std::mem::take(&mut self.overflows)
    }

    /// Follows bytes that were just read, and removes overflows from them. Returns how many bytes remain; an error is the
    /// number of bytes before the ambiguity.
    pub(super) fn follow(&mut self, bytes: &mut [u8]) -> Result<usize, usize> {
        planted!(GuardOff => self.ignore(bytes));
        // Read position `at`, write position `to`.
        let (mut at, mut to) = (0, 0);
        while at < bytes.len() {
            let left = bytes.len() - at;
            match &mut self.state {
                State::Other => {
                    bytes.copy_within(at.., to);
                    return Ok(to + left);
                }
                State::Refused => return Err(to),
                State::Length(rest) | State::Chunk(rest) => {
                    let n = (*rest).min(left as u64);
                    *rest -= n;
                    let n = n as usize;
                    keep(bytes, &mut at, &mut to, n);
                    if matches!(self.state, State::Length(0)) {
                        self.state = State::Head;
                    } else if matches!(self.state, State::Chunk(0)) {
                        self.state = State::ChunkEnd;
                    }
                }
                State::Head | State::ChunkSize | State::ChunkEnd | State::Trailers => {
                    let end = memchr::memchr(b'\n', &bytes[at..]);
                    let piece = end.map_or(left, |end| end + 1);
                    let is_first = self.state == State::Head && self.lines == 0;
                    if is_first && (self.overflow.is_some() || self.line.len() + piece > LONGEST_TARGET) {
                        let allowed = LONGEST_TARGET.saturating_sub(self.line.len());
                        let passed = if self.overflow.is_some() { 0 } else { allowed.min(piece) };
                        let Ok(taken) = self.take_overflow(&bytes[at + passed..at + piece]) else {
                            return self.refuse(to);
                        };
                        if taken > 0 {
                            // Continue with the remaining bytes.
                            bytes.copy_within(at..at + passed, to);
                            self.line.extend_from_slice(&bytes[to..to + passed]);
                            to += passed;
                            at += passed + taken;
                            continue;
                        }
                    }
                    let Some(end) = end else {
                        let bad = self.line.len() + left > self.longest_line || self.has_bare_cr(&bytes[at..]);
                        if bad {
                            return self.refuse(to);
                        }
                        self.line.extend_from_slice(&bytes[at..]);
                        keep(bytes, &mut at, &mut to, left);
                        return Ok(to);
                    };
                    let done = if self.line.is_empty() {
                        self.line_ends(&bytes[at..at + end])
                    } else {
                        self.line.extend_from_slice(&bytes[at..at + end]);
                        let line = std::mem::take(&mut self.line);
                        self.line_ends(&line)
                    };
                    if done.is_err() {
                        return self.refuse(to);
                    }
                    keep(bytes, &mut at, &mut to, piece);
                }
            }
        }
        Ok(to)
    }

    /// Takes the part of a target that the library cannot hold, up to the following space. Returns its length in bytes.
    fn take_overflow(&mut self, bytes: &[u8]) -> Result<usize, Ambiguous> {
        if self.overflow.as_ref().is_some_and(|o| o.ends_with(b" ")) {
            return Ok(0); // complete
        }
        let end = bytes.iter().position(|b| *b == b' ' || *b == b'\n');
        let piece = &bytes[..end.unwrap_or(bytes.len())];
        let overflow = self.overflow.get_or_insert_default();
        let is_text = piece.iter().all(|b| b.is_ascii_graphic() && *b != b'#');
        if !is_text || overflow.len() + piece.len() + LONGEST_TARGET > self.longest_line {
            return Err(Ambiguous);
        }
        overflow.extend_from_slice(piece);
        match end.map(|end| bytes[end]) {
            Some(b' ') => overflow.push(b' '), // marks that the overflow is complete; the space itself passes
            Some(_) => return Err(Ambiguous),
            None => {}
        }
        Ok(piece.len())
    }

    #[cfg(feature = "planted")]
    fn ignore(&mut self, bytes: &[u8]) -> Result<usize, usize> {
        self.lines += bytes.len();
        Ok(bytes.len())
    }

    fn refuse(&mut self, at: usize) -> Result<usize, usize> {
        self.state = State::Refused;
        Err(at)
    }

    /// Whether the line, continued by these bytes, has a CR without LF; the very last byte may still be followed by one.
    fn has_bare_cr(&self, more: &[u8]) -> bool {
        self.line.ends_with(b"\r") || more.strip_suffix(b"\r").unwrap_or(more).contains(&b'\r')
    }

    /// Handles a complete line, without its LF.
    fn line_ends(&mut self, line: &[u8]) -> Result<(), Ambiguous> {
        let line = line.strip_suffix(b"\r").ok_or(Ambiguous)?;
        if memchr::memchr(b'\r', line).is_some() {
            return Err(Ambiguous);
        }
        match self.state {
            State::Head => self.head_line(line),
            State::ChunkSize => self.chunk_size(line),
            State::ChunkEnd if line.is_empty() => {
                self.state = State::ChunkSize;
                Ok(())
            }
            State::ChunkEnd => Err(Ambiguous),
            State::Trailers => {
                if line.is_empty() {
                    self.next_request();
                }
                Ok(())
            }
            State::Length(_) | State::Chunk(_) | State::Other | State::Refused => Ok(()),
        }
    }

    fn next_request(&mut self) {
        *self = Framing {
            heads: self.heads + 1,
            requests: self.requests,
            overflows: std::mem::take(&mut self.overflows),
            ..Framing::new(self.longest_line)
        };
    }

    fn head_line(&mut self, line: &[u8]) -> Result<(), Ambiguous> {
        if line.is_empty() {
            if self.lines > 0 {
                self.head_ends();
            }
            return Ok(()); // empty lines before a request are allowed (RFC 9112 §2.2)
        }
        self.lines += 1;
        if self.lines == 1 {
            if let Some(mut overflow) = self.overflow.take() {
                if overflow.pop() != Some(b' ') {
                    return Err(Ambiguous);
                }
                let seen = line.get(..LONGEST_TARGET).unwrap_or_default();
                if seen.iter().filter(|b| **b == b' ').count() != 1 {
                    return Err(Ambiguous);
                }
                self.overflows.push((self.requests, overflow));
            }
            // A target has no fragment (RFC 9112 §3.2), but the library drops one and accepts the rest.
            if memchr::memchr(b'#', line).is_some() {
                return Err(Ambiguous);
            }
            return Ok(()); // the library parses the rest of the request line
        }
        if line[0] == b' ' || line[0] == b'\t' {
            return Err(Ambiguous);
        }
        let colon = memchr::memchr(b':', line).ok_or(Ambiguous)?;
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        if name.last().is_none_or(u8::is_ascii_whitespace) {
            return Err(Ambiguous);
        }
        if name.eq_ignore_ascii_case(b"content-length") {
            let digits = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
            let length =
                std::str::from_utf8(value).ok().filter(|_| digits).and_then(|v| v.parse().ok()).ok_or(Ambiguous)?;
            if self.length.replace(length).is_some() {
                return Err(Ambiguous);
            }
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            if self.chunked || !value.eq_ignore_ascii_case(b"chunked") {
                return Err(Ambiguous);
            }
            self.chunked = true;
        } else if name.eq_ignore_ascii_case(b"upgrade") {
            self.upgrade = true;
        } else if name.eq_ignore_ascii_case(b"host") && std::mem::replace(&mut self.host, true) {
            return Err(Ambiguous);
        }
        if self.chunked && self.length.is_some() {
            return Err(Ambiguous);
        }
        Ok(())
    }

    fn head_ends(&mut self) {
        let (upgrade, chunked, length) = (self.upgrade, self.chunked, self.length.unwrap_or(0));
        self.next_request();
        self.requests += 1;
        if upgrade {
            self.state = State::Other;
        } else if chunked {
            self.state = State::ChunkSize;
        } else if length > 0 {
            self.state = State::Length(length);
        }
    }

    fn chunk_size(&mut self, line: &[u8]) -> Result<(), Ambiguous> {
        let digits = line.split(|b| *b == b';').next().unwrap_or_default().trim_ascii_end();
        let hex = !digits.is_empty() && digits.iter().all(u8::is_ascii_hexdigit);
        let text = std::str::from_utf8(digits).map_err(|_| Ambiguous)?;
        let size = u64::from_str_radix(text, 16).ok().filter(|_| hex).ok_or(Ambiguous)?;
        self.state = if size == 0 { State::Trailers } else { State::Chunk(size) };
        Ok(())
    }
}

/// Moves `n` bytes from the read to the write position, and advances both.
fn keep(bytes: &mut [u8], at: &mut usize, to: &mut usize, n: usize) {
    if *at != *to {
        bytes.copy_within(*at..*at + n, *to);
    }
    *at += n;
    *to += n;
}

#[cfg(test)]
mod tests {
    use super::{Framing, LONGEST_TARGET};

    /// The number of bytes that pass, fed in pieces of `cut`; `None` if all do.
    fn stops_at(request: &str, cut: usize) -> Option<usize> {
        let mut framing = Framing::new(1 << 20);
        let mut passed = 0;
        for piece in request.as_bytes().to_vec().chunks_mut(cut) {
            match framing.follow(piece) {
                Ok(kept) => {
                    assert_eq!(kept, piece.len());
                    passed += kept;
                }
                Err(at) => return Some(passed + at),
            }
        }
        None
    }

    #[test]
    fn unambiguous_requests_pass_however_they_are_cut() {
        let requests = [
            "GET / HTTP/1.1\r\nHost: a\r\n\r\nGET /b HTTP/1.1\r\nHost: a\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n\n\r\n\rxGET / HTTP/1.1\r\nA: b\r\n\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\n\n\n\n\r\nA\r\n0123456789\r\n0\r\nT: 1\r\n\r\nGET / HTTP/1.1\r\n\r\n",
            "\r\n\r\nGET / HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\nanything \n\r at all",
        ];
        for request in requests {
            for cut in [1, 2, 3, 7, 1000] {
                assert_eq!(stops_at(request, cut), None, "{request:?} in pieces of {cut}");
            }
        }
    }

    #[test]
    fn ambiguous_requests_do_not_pass() {
        let heads = [
            "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
            "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n",
            "Content-Length: 5\r\nContent-Length: 5\r\n\r\n",
            "Content-Length: +5\r\n\r\n",
            "Content-Length: 5, 5\r\n\r\n",
            "Content-Length: 0x5\r\n\r\n",
            "Content-Length:\r\n\r\n",
            "Content-Length: 99999999999999999999\r\n\r\n",
            "Content-Length : 5\r\n\r\n",
            "Transfer-Encoding: gzip, chunked\r\n\r\n",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
            "Transfer-Encoding: xchunked\r\n\r\n",
            "Host: b\r\n\r\n",
            "A: b\n\r\n",
            "A: b\r\n c\r\n\r\n",
            "A: b\rContent-Length: 3\r\n\r\n",
            "A\r\n\r\n",
            ": b\r\n\r\n",
            "Transfer-Encoding: chunked\r\n\r\n5x\r\n",
            "Transfer-Encoding: chunked\r\n\r\n\r\n",
            "Transfer-Encoding: chunked\r\n\r\n-1\r\n",
            "Transfer-Encoding: chunked\r\n\r\n1\r\nab\r\n",
            "Transfer-Encoding: chunked\r\n\r\n1\na",
        ];
        for head in heads {
            for cut in [1, 2, 5, 1000] {
                let request = format!("POST / HTTP/1.1\r\nHost: a\r\n{head}GET /smuggled HTTP/1.1\r\n\r\n");
                let smuggled = request.find("GET /smuggled").unwrap();
                let stop = stops_at(&request, cut);
                assert!(stop.is_some_and(|at| at < smuggled + 4), "{head:?} in pieces of {cut}: {stop:?}");
            }
        }
    }

    #[test]
    fn a_target_with_a_fragment_is_refused() {
        for request in ["GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n", "GET http://a/# HTTP/1.1\r\nHost: a\r\n\r\n"] {
            for cut in [1, 3, 1000] {
                let stop = stops_at(request, cut);
                assert!(stop.is_some_and(|at| at <= request.find("Host").unwrap()), "{request:?} in pieces of {cut}");
            }
        }
    }

    #[test]
    fn the_end_of_a_long_target_is_removed_however_it_is_cut() {
        let target = |n: usize| format!("/{}", "abcdefghij".repeat(n));
        let rest = " HTTP/1.1\r\nHost: a\r\n\r\n";
        let all = format!("GET /{rest}POST {}{rest}GET {}{rest}GET /x{rest}", target(5000), target(20_000));
        for cut in [1, 7, 1000, LONGEST_TARGET, LONGEST_TARGET + 1, 1 << 20] {
            let mut framing = Framing::new(1 << 20);
            let mut passed = Vec::new();
            for piece in all.as_bytes().to_vec().chunks_mut(cut) {
                let kept = framing.follow(piece).unwrap_or_else(|at| panic!("refused at {at}, cut {cut}"));
                passed.extend_from_slice(&piece[..kept]);
            }
            let overflows = framing.overflows();
            assert_eq!(overflows.iter().map(|(n, _)| *n).collect::<Vec<_>>(), [1, 2], "cut {cut}");
            let passed = String::from_utf8(passed).unwrap();
            let lines: Vec<&str> = passed.lines().filter(|l| l.contains(" /")).collect();
            assert_eq!((lines.len(), lines[0], lines[3]), (4, "GET / HTTP/1.1", "GET /x HTTP/1.1"));
            for (line, (overflow, whole)) in lines[1..].iter().zip(overflows.iter().zip([target(5000), target(20_000)]))
            {
                let seen = line.split(' ').nth(1).unwrap();
                assert_eq!(format!("{seen}{}", String::from_utf8_lossy(&overflow.1)), whole, "cut {cut}");
                assert!(line.len() <= LONGEST_TARGET + " HTTP/1.1".len());
            }
        }
    }

    #[test]
    fn a_long_target_with_an_invalid_byte_in_its_end_is_refused() {
        for odd in ["#", "\r", "\n", "\t", "\u{e9}", "\0"] {
            let request = format!("GET /{}{odd}x HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(LONGEST_TARGET + 10));
            for cut in [1, 1000, 1 << 20] {
                let mut framing = Framing::new(1 << 20);
                let refused = request.as_bytes().to_vec().chunks_mut(cut).any(|piece| framing.follow(piece).is_err());
                assert!(refused, "{odd:?} in pieces of {cut}");
            }
        }
        let mut framing = Framing::new(100_000);
        let mut long = format!("GET /{}", "x".repeat(100_001)).into_bytes();
        assert!(framing.follow(&mut long).is_err());
    }
}
