//! Where a chunked body ends. Only its framing is looked at; hyper reads the content.

/// With its extension, which nobody needs.
const SIZE_LINE_MAX_BYTES: usize = 256;
const TRAILERS_MAX_BYTES: usize = 8 << 10;

/// How far a chunked body has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Chunks {
    state: State,
    size: u64,
    /// Bytes of the current size line, or of the trailers.
    line: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// No digit of the size yet.
    Start,
    Size,
    Extension,
    /// The line feed after a size line.
    SizeEnd,
    Data,
    /// CR and LF after the data.
    DataCr,
    DataLf,
    /// At the start of a line after the last chunk.
    Trailer,
    /// Within a trailer field.
    Field,
    FieldEnd,
    /// The last line feed.
    End,
}

/// What came of some bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// All of them belong to the body, which goes on.
    All,
    /// The body ended with so many of them.
    Ended(usize),
    /// It is not a chunked body. So many were still well-formed.
    Broken(usize),
}

impl Chunks {
    pub(super) fn new() -> Self {
        Self { state: State::Start, size: 0, line: 0 }
    }

    pub(super) fn follow(&mut self, bytes: &[u8]) -> Progress {
        let mut at = 0;
        while let Some(&byte) = bytes.get(at) {
            if self.state == State::Data {
                let here = self.size.min((bytes.len() - at) as u64);
                self.size -= here;
                // At most the length of the slice.
                at += here as usize;
                if self.size == 0 {
                    self.state = State::DataCr;
                }
                continue;
            }
            match self.next(byte) {
                None => return Progress::Broken(at),
                Some(State::End) if self.state == State::End => return Progress::Ended(at + 1),
                Some(next) => self.state = next,
            }
            at += 1;
        }
        Progress::All
    }

    /// The state after a byte of framing.
    fn next(&mut self, byte: u8) -> Option<State> {
        self.line += 1;
        let in_trailers = matches!(self.state, State::Trailer | State::Field | State::FieldEnd | State::End);
        if self.line > if in_trailers { TRAILERS_MAX_BYTES } else { SIZE_LINE_MAX_BYTES } {
            return None;
        }
        match (self.state, byte) {
            (State::Start | State::Size, digit) if digit.is_ascii_hexdigit() => {
                let value = char::from(digit).to_digit(16)?;
                self.size = self.size.checked_mul(16)?.checked_add(value.into())?;
                Some(State::Size)
            }
            (State::Size | State::Extension, b'\r') => Some(State::SizeEnd),
            (State::Size, b';' | b' ' | b'\t') => Some(State::Extension),
            (State::Extension, byte) if byte != b'\n' => Some(State::Extension),
            (State::SizeEnd, b'\n') => {
                self.line = 0;
                Some(if self.size == 0 { State::Trailer } else { State::Data })
            }
            (State::DataCr, b'\r') => Some(State::DataLf),
            (State::DataLf, b'\n') => {
                *self = Self::new();
                Some(State::Start)
            }
            (State::Trailer, b'\r') => Some(State::End),
            (State::Trailer | State::Field, byte) if byte != b'\r' && byte != b'\n' => Some(State::Field),
            (State::Field, b'\r') => Some(State::FieldEnd),
            (State::FieldEnd, b'\n') => Some(State::Trailer),
            (State::End, b'\n') => Some(State::End),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn follow(body: &str) -> Progress {
        Chunks::new().follow(body.as_bytes())
    }

    #[test]
    fn a_body_ends_after_its_last_chunk_and_trailers() {
        assert_eq!(follow("0\r\n\r\nGET"), Progress::Ended(5));
        assert_eq!(follow("3\r\nabc\r\nA;x=\"y\"\r\n0123456789\r\n0\r\n\r\n"), Progress::Ended(34));
        assert_eq!(follow("0\r\na: b\r\nc: d\r\n\r\nrest"), Progress::Ended(17));
        assert_eq!(follow("5\r\nab"), Progress::All);
    }

    #[test]
    fn it_does_not_matter_how_the_bytes_arrive() {
        let body = b"3\r\nabc\r\n1f ;x\r\n0123456789012345678901234567890\r\n0\r\na: b\r\n\r\n";
        for cut in 1..body.len() {
            let mut chunks = Chunks::new();
            assert_eq!(chunks.follow(&body[..cut]), Progress::All, "{cut}");
            assert_eq!(chunks.follow(&body[cut..]), Progress::Ended(body.len() - cut), "{cut}");
        }
    }

    #[test]
    fn what_is_no_chunk_is_noticed() {
        for (body, well_formed) in [
            ("\r\n", 0),
            ("g\r\n", 0),
            ("3\nabc", 1),
            ("3;x\nabc", 3),
            ("3\r\nabcd\r\n", 6),
            ("3\r\nabc\n", 6),
            ("0\r\n\n", 3),
            ("0\r\na\n", 4),
            ("10000000000000000\r\n", 16),
            ("-1\r\n", 0),
        ] {
            assert_eq!(follow(body), Progress::Broken(well_formed), "{body:?}");
        }
        assert!(matches!(follow(&format!("1;{}", "x".repeat(300))), Progress::Broken(_)));
        assert!(matches!(follow(&format!("0\r\n{}", "a: b\r\n".repeat(2_000))), Progress::Broken(_)));
    }
}
