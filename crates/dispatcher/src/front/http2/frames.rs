//! Follows the frames of one direction of an HTTP/2 connection by their heads (RFC 9113 §4.1), without changing anything.

/// The client's connection preface, up to its SETTINGS frame (RFC 9113 §3.4).
const PREFACE: usize = 24;
/// The bytes of a frame's head.
const HEAD: usize = 9;

pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const CONTINUATION: u8 = 9;

/// Of DATA and HEADERS.
const END_STREAM: u8 = 1;
/// Of HEADERS and CONTINUATION.
const END_HEADERS: u8 = 4;

/// A frame that has passed completely.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) kind: u8,
    flags: u8,
    /// Bytes after the head.
    pub(super) length: usize,
}

impl Frame {
    pub(super) fn ends_stream(self) -> bool {
        matches!(self.kind, DATA | HEADERS) && self.flags & END_STREAM != 0
    }
}

pub(super) struct Frames {
    /// Bytes of the preface that are still to come.
    preface: usize,
    head: [u8; HEAD],
    /// How many bytes of the current frame's head have passed.
    known: usize,
    /// Bytes of the current frame that are still to come after its head.
    left: usize,
    /// Only CONTINUATION may follow (RFC 9113 §6.10).
    in_block: bool,
}

impl Frames {
    /// The frames of a client.
    pub(super) fn of_client() -> Frames {
        Frames { preface: PREFACE, ..Frames::of_server() }
    }

    pub(super) fn of_server() -> Frames {
        Frames { preface: 0, head: [0; HEAD], known: 0, left: 0, in_block: false }
    }

    /// Whether the preface, or the head of a request, is incomplete.
    pub(super) fn is_in_head(&self) -> bool {
        let kind = self.head[3];
        self.preface > 0 || self.in_block || self.known == HEAD && matches!(kind, HEADERS | CONTINUATION)
    }

    /// Takes bytes up to the end of the current frame at most: returns their number, and the frame that ends with them.
    pub(super) fn step(&mut self, bytes: &[u8]) -> (usize, Option<Frame>) {
        if self.preface > 0 {
            let taken = self.preface.min(bytes.len());
            self.preface -= taken;
            return (taken, None);
        }
        let taken = if self.known < HEAD {
            let taken = (HEAD - self.known).min(bytes.len());
            for (to, from) in self.head.iter_mut().skip(self.known).zip(bytes) {
                *to = *from;
            }
            self.known += taken;
            if self.known < HEAD {
                return (taken, None);
            }
            let [high, middle, low, ..] = self.head;
            self.left = usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low);
            taken
        } else {
            let taken = self.left.min(bytes.len());
            self.left -= taken;
            taken
        };
        if self.left > 0 {
            return (taken, None);
        }
        self.known = 0;
        let [high, middle, low, kind, flags, ..] = self.head;
        if matches!(kind, HEADERS | CONTINUATION) {
            self.in_block = flags & END_HEADERS == 0;
        }
        let length = usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low);
        (taken, Some(Frame { kind, flags, length }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, length: usize) -> Vec<u8> {
        let mut frame = (length as u32).to_be_bytes()[1..].to_vec();
        frame.extend([kind, flags, 0, 0, 0, 1]);
        frame.resize(HEAD + length, 0);
        frame
    }

    #[test]
    fn frames_are_found_however_the_bytes_are_cut() {
        let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        let expected = [(4, 0, 0), (HEADERS, 1, 5), (CONTINUATION, END_HEADERS, 300), (DATA, 1, 0), (DATA, 0, 70_000)];
        bytes.extend(expected.iter().flat_map(|(kind, flags, length)| frame(*kind, *flags, *length)));
        for size in [1, 2, 7, 9, 10, 100, 1_000_000] {
            let mut frames = Frames::of_client();
            let (mut found, mut heads) = (Vec::new(), 0);
            for part in bytes.chunks(size) {
                let mut rest = part;
                while !rest.is_empty() {
                    let (taken, ended) = frames.step(rest);
                    assert!(taken > 0);
                    rest = &rest[taken..];
                    found.extend(ended);
                    heads += usize::from(frames.is_in_head());
                }
            }
            let expected = expected.map(|(kind, flags, length)| Frame { kind, flags, length });
            assert_eq!(found, expected, "{size}");
            assert!(!frames.is_in_head() && heads > 0, "{size}");
            assert_eq!(found.iter().filter(|frame| frame.ends_stream()).count(), 2);
        }
    }

    #[test]
    fn a_head_lasts_from_the_preface_or_headers_to_the_end_of_its_last_frame() {
        let mut frames = Frames::of_client();
        assert!(frames.is_in_head(), "the preface");
        frames.step(&[0; PREFACE]);
        assert!(!frames.is_in_head());
        frames.step(&frame(HEADERS, 0, 0));
        assert!(frames.is_in_head(), "the block is not complete");
        frames.step(&frame(CONTINUATION, 0, 0));
        assert!(frames.is_in_head());
        let last = frame(CONTINUATION, END_HEADERS, 2);
        frames.step(&last[..HEAD]);
        frames.step(&last[HEAD..=HEAD]);
        assert!(frames.is_in_head(), "the last frame is not complete");
        frames.step(&last[HEAD + 1..]);
        assert!(!frames.is_in_head());
        frames.step(&frame(DATA, 0, 100)[..50]);
        assert!(!frames.is_in_head(), "a body may take its time");
    }
}
