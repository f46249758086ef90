//! Follows the requests of an HTTP/1 connection: where each head begins, whether it is well-formed, and
//! where its body ends. Decides; moves no bytes.

use super::Refusal;
use super::chunks::{Chunks, Progress};
use super::head::{self, Content, HEAD_MAX_BYTES};

/// How every HTTP/2 connection begins.
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

#[derive(Debug)]
pub(super) struct Framing {
    state: State,
    /// How much of the head at hand has been searched for its end.
    searched: usize,
    /// How many heads were let through.
    heads: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nothing has been let through yet: it may be HTTP/2.
    Start,
    /// Before or within a head.
    Head,
    Body(u64),
    Chunked(Chunks),
    /// Not ours to read: HTTP/2, or what follows an upgrade.
    Opaque,
    /// A chunked body that is none. Nothing after it can be trusted.
    Broken,
}

/// What to do with the bytes at hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Let the first so many through.
    Pass(usize),
    /// Drop the first so many: empty lines before a head.
    Skip(usize),
    /// They are not enough to tell.
    More,
    Refuse(Refusal),
    /// The connection cannot go on.
    Broken,
}

/// What may be read without looking at it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unseen {
    All,
    Bytes(u64),
}

impl Framing {
    pub(super) fn new() -> Self {
        Self { state: State::Start, searched: 0, heads: 0 }
    }

    pub(super) fn heads(&self) -> u64 {
        self.heads
    }

    /// Whether the next byte to come belongs to a head.
    pub(super) fn is_at_head(&self) -> bool {
        matches!(self.state, State::Start | State::Head)
    }

    /// From here on the connection is no longer HTTP/1.
    pub(super) fn give_up_reading(&mut self) {
        self.state = State::Opaque;
    }

    /// What of the bytes to come nobody has to look at. Only to be asked when none are at hand.
    pub(super) fn unseen(&self) -> Option<Unseen> {
        match self.state {
            State::Opaque => Some(Unseen::All),
            State::Body(left) => Some(Unseen::Bytes(left)),
            State::Start | State::Head | State::Chunked(_) | State::Broken => None,
        }
    }

    /// So many bytes that nobody looked at went through.
    pub(super) fn passed_unseen(&mut self, bytes: u64) {
        if let State::Body(left) = &mut self.state {
            *left -= bytes;
            if *left == 0 {
                self.state = State::Head;
            }
        }
    }

    /// `bytes` are all those that came and were not let through yet.
    pub(super) fn next(&mut self, bytes: &[u8]) -> Next {
        if bytes.is_empty() {
            return if self.state == State::Broken { Next::Broken } else { Next::More };
        }
        match self.state {
            State::Start if HTTP2_PREFACE.starts_with(bytes) && bytes.len() < HTTP2_PREFACE.len() => {
                Next::More
            }
            State::Start if bytes.starts_with(HTTP2_PREFACE) => {
                self.state = State::Opaque;
                Next::Pass(bytes.len())
            }
            State::Start | State::Head => self.head(bytes),
            State::Body(left) => {
                let here = left.min(bytes.len() as u64);
                self.passed_unseen(here);
                // At most the length of the slice.
                Next::Pass(here as usize)
            }
            State::Chunked(chunks) => self.chunks(chunks, bytes),
            State::Opaque => Next::Pass(bytes.len()),
            State::Broken => Next::Broken,
        }
    }

    fn head(&mut self, bytes: &[u8]) -> Next {
        let empty = bytes.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
        if empty > 0 {
            self.searched = 0;
            return Next::Skip(empty);
        }
        let Some(end) = self.end_of_head(bytes) else {
            return if bytes.len() > HEAD_MAX_BYTES {
                Next::Refuse(Refusal::HeadTooLarge)
            } else {
                Next::More
            };
        };
        if end > HEAD_MAX_BYTES {
            return Next::Refuse(Refusal::HeadTooLarge);
        }
        match head::check(&bytes[..end]) {
            Err(refusal) => Next::Refuse(refusal),
            Ok(content) => {
                self.state = match content {
                    Content::Length(0) => State::Head,
                    Content::Length(length) => State::Body(length),
                    Content::Chunked => State::Chunked(Chunks::new()),
                };
                self.searched = 0;
                self.heads += 1;
                Next::Pass(end)
            }
        }
    }

    /// Where the first empty line ends. Each byte is searched once, however slowly they drip in.
    fn end_of_head(&mut self, bytes: &[u8]) -> Option<usize> {
        for at in memchr::memchr_iter(b'\n', &bytes[self.searched..]).map(|at| self.searched + at) {
            match bytes[at + 1..] {
                [b'\n', ..] => return Some(at + 2),
                [b'\r', b'\n', ..] => return Some(at + 3),
                _ => {}
            }
        }
        // A line feed among the last two may yet turn out to be the one before the empty line.
        self.searched = bytes.len().saturating_sub(2);
        None
    }

    fn chunks(&mut self, mut chunks: Chunks, bytes: &[u8]) -> Next {
        let progress = chunks.follow(bytes);
        self.state = match progress {
            Progress::All => State::Chunked(chunks),
            Progress::Ended(_) => State::Head,
            Progress::Broken(_) => State::Broken,
        };
        match progress {
            Progress::All => Next::Pass(bytes.len()),
            Progress::Ended(length) => Next::Pass(length),
            Progress::Broken(0) => Next::Broken,
            Progress::Broken(length) => Next::Pass(length),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is let through of a stream that arrives in pieces of this size.
    fn through(stream: &[u8], piece: usize) -> (Vec<u8>, u64, Option<Next>) {
        let mut framing = Framing::new();
        let (mut held, mut passed) = (Vec::new(), Vec::new());
        for piece in stream.chunks(piece) {
            held.extend_from_slice(piece);
            loop {
                match framing.next(&held) {
                    Next::Pass(length) => passed.extend(held.drain(..length)),
                    Next::Skip(length) => drop(held.drain(..length)),
                    Next::More => break,
                    end => return (passed, framing.heads(), Some(end)),
                }
            }
        }
        (passed, framing.heads(), None)
    }

    const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    const POST: &str = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nGET /";
    const CHUNKED: &str =
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nGET /\r\n0\r\n\r\n";

    #[test]
    fn requests_one_after_the_other_are_told_apart_however_they_arrive() {
        let stream = [GET, POST, CHUNKED, POST, GET, GET].concat();
        for piece in 1..stream.len() {
            let (passed, heads, end) = through(stream.as_bytes(), piece);
            assert_eq!((passed == stream.as_bytes(), heads, end), (true, 6, None), "{piece}");
        }
        assert_eq!(through(format!("\r\n\r\n{GET}\r\n{GET}").as_bytes(), 3).1, 2);
    }

    #[test]
    fn nothing_passes_from_a_refused_head_on() {
        let smuggled =
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
        let stream = [GET, smuggled, GET].concat();
        for piece in 1..stream.len() {
            let (passed, heads, end) = through(stream.as_bytes(), piece);
            assert_eq!((passed == GET.as_bytes(), heads), (true, 1), "{piece}");
            assert!(matches!(end, Some(Next::Refuse(Refusal::Framing(_)))), "{piece}: {end:?}");
        }
    }

    #[test]
    fn a_head_without_end_is_refused_when_it_is_too_long() {
        let endless = format!("GET / HTTP/1.1\r\n{}", "x: y\r\n".repeat(20_000));
        for piece in [1, 100, 1 << 20] {
            let (passed, _, end) = through(endless.as_bytes(), piece);
            assert_eq!((passed.len(), end), (0, Some(Next::Refuse(Refusal::HeadTooLarge))));
        }
    }

    #[test]
    fn http_2_is_left_to_itself() {
        let stream = [HTTP2_PREFACE, b"\0\0\0\x04\0\0\0\0\0 GET \r\n\r\n"].concat();
        for piece in 1..stream.len() {
            assert_eq!(through(&stream, piece), (stream.clone(), 0, None), "{piece}");
        }
        let almost = b"PRI * HTTP/2.0\r\n\r\nXX";
        assert!(matches!(through(almost, 1).2, Some(Next::Refuse(_))));
    }

    #[test]
    fn a_chunked_body_that_is_none_ends_the_connection() {
        let broken = CHUNKED.replace("5\r\nGET", "5\nGET");
        let (passed, heads, end) = through([broken.as_str(), GET].concat().as_bytes(), 7);
        assert_eq!((heads, end), (1, Some(Next::Broken)));
        assert!(broken.as_bytes().starts_with(&passed));
    }
}
