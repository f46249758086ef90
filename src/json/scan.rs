//! The scanner.

use super::SyntaxError;
use super::text::unicode_escape;

pub(super) const UTF_8: &str = "UTF-8";

/// What a string token needs before it is text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Text {
    /// Nothing: no escapes.
    Plain,
    Escaped,
    /// It has `\u0000` or half a surrogate pair, which most databases and languages cannot hold.
    Irregular,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    ObjectStart,
    ObjectEnd,
    ArrayStart,
    ArrayEnd,
    /// The name of a member, with its quotes.
    Key(Text),
    String(Text),
    Number,
    True,
    False,
    Null,
}

/// A token and its bytes `start..end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token {
    pub kind: Kind,
    pub start: usize,
    pub end: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Expect {
    Value,
    ValueOrEnd,
    Key,
    KeyOrEnd,
    CommaOrEnd,
    Nothing,
}

/// Reads one document token by token.
pub struct Scanner<'a> {
    text: &'a str,
    at: usize,
    expect: Expect,
    /// The open containers; true for objects.
    open: Vec<bool>,
    spaced: bool,
}

impl<'a> Scanner<'a> {
    /// Fails on input that is not UTF-8, before any token.
    pub fn new(bytes: &'a [u8]) -> Result<Self, SyntaxError> {
        let text = std::str::from_utf8(bytes)
            .map_err(|error| SyntaxError::new(bytes, error.valid_up_to(), UTF_8))?;
        Ok(Self { text, at: 0, expect: Expect::Value, open: Vec::new(), spaced: false })
    }

    /// Whether `bytes` are one JSON document.
    pub fn check(bytes: &'a [u8]) -> Result<(), SyntaxError> {
        let mut scanner = Self::new(bytes)?;
        while scanner.next_token()?.is_some() {}
        Ok(())
    }

    /// The next token; `None` after the document and nothing but white space.
    pub fn next_token(&mut self) -> Result<Option<Token>, SyntaxError> {
        loop {
            self.skip_space();
            let Some(&byte) = self.bytes().get(self.at) else {
                return if self.expect == Expect::Nothing { Ok(None) } else { self.fail() };
            };
            match (self.expect, byte) {
                (Expect::CommaOrEnd, b',') => {
                    self.at += 1;
                    self.expect = if self.in_object() { Expect::Key } else { Expect::Value };
                }
                (Expect::CommaOrEnd | Expect::KeyOrEnd, b'}') if self.in_object() => {
                    return Ok(Some(self.close(Kind::ObjectEnd)));
                }
                (Expect::CommaOrEnd | Expect::ValueOrEnd, b']') if !self.in_object() => {
                    return Ok(Some(self.close(Kind::ArrayEnd)));
                }
                (Expect::Key | Expect::KeyOrEnd, b'"') => return self.key().map(Some),
                (Expect::Value | Expect::ValueOrEnd, _) => return self.value(byte).map(Some),
                _ => return self.fail(),
            }
        }
    }

    /// Having read the first token of a value, reads the rest of it; returns where it ends.
    pub fn finish_value(&mut self, first: Token) -> Result<usize, SyntaxError> {
        if !matches!(first.kind, Kind::ObjectStart | Kind::ArrayStart) {
            return Ok(first.end);
        }
        let outside = self.depth() - 1;
        while self.depth() > outside {
            self.next_token()?;
        }
        Ok(self.at)
    }

    /// Containers open at this point.
    pub fn depth(&self) -> usize {
        self.open.len()
    }

    /// Whether there was white space between the tokens so far.
    pub fn spaced(&self) -> bool {
        self.spaced
    }

    /// The whole input.
    pub fn text(&self) -> &'a str {
        self.text
    }

    pub fn raw(&self, token: Token) -> &'a str {
        &self.text[token.start..token.end]
    }

    pub(super) fn error(&self, offset: usize, expected: &'static str) -> SyntaxError {
        SyntaxError::new(self.bytes(), offset, expected)
    }

    fn bytes(&self) -> &'a [u8] {
        self.text.as_bytes()
    }

    fn in_object(&self) -> bool {
        self.open.last() == Some(&true)
    }

    fn skip_space(&mut self) {
        let start = self.at;
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.bytes().get(self.at) {
            self.at += 1;
        }
        self.spaced |= self.at != start;
    }

    fn value(&mut self, first: u8) -> Result<Token, SyntaxError> {
        let start = self.at;
        let kind = match first {
            b'{' => return Ok(self.open(Kind::ObjectStart)),
            b'[' => return Ok(self.open(Kind::ArrayStart)),
            b'"' => Kind::String(self.string()?),
            b'-' | b'0'..=b'9' => self.number()?,
            _ => self.literal()?,
        };
        self.after_value();
        Ok(Token { kind, start, end: self.at })
    }

    fn open(&mut self, kind: Kind) -> Token {
        self.expect = if kind == Kind::ObjectStart { Expect::KeyOrEnd } else { Expect::ValueOrEnd };
        self.open.push(kind == Kind::ObjectStart);
        self.at += 1;
        Token { kind, start: self.at - 1, end: self.at }
    }

    fn close(&mut self, kind: Kind) -> Token {
        self.open.pop();
        self.after_value();
        self.at += 1;
        Token { kind, start: self.at - 1, end: self.at }
    }

    fn after_value(&mut self) {
        self.expect = if self.open.is_empty() { Expect::Nothing } else { Expect::CommaOrEnd };
    }

    /// The name and its colon.
    fn key(&mut self) -> Result<Token, SyntaxError> {
        let start = self.at;
        let kind = Kind::Key(self.string()?);
        let end = self.at;
        self.skip_space();
        if self.bytes().get(self.at) != Some(&b':') {
            return Err(self.error(self.at, "`:` after the name"));
        }
        self.at += 1;
        self.expect = Expect::Value;
        Ok(Token { kind, start, end })
    }

    fn literal(&mut self) -> Result<Kind, SyntaxError> {
        let rest = &self.bytes()[self.at..];
        let literals: [(&[u8], Kind); 3] =
            [(b"true", Kind::True), (b"false", Kind::False), (b"null", Kind::Null)];
        let Some((word, kind)) = literals.into_iter().find(|(word, _)| rest.starts_with(word)) else {
            return self.fail();
        };
        self.at += word.len();
        Ok(kind)
    }

    fn number(&mut self) -> Result<Kind, SyntaxError> {
        self.skip_if(b"-");
        if self.skip_if(b"0") {
            if self.bytes().get(self.at).is_some_and(u8::is_ascii_digit) {
                return Err(self.error(self.at, "a number without leading zeros"));
            }
        } else {
            self.digits("a digit")?;
        }
        if self.skip_if(b".") {
            self.digits("a digit after the decimal point")?;
        }
        if self.skip_if(b"eE") {
            self.skip_if(b"+-");
            self.digits("a digit of the exponent")?;
        }
        Ok(Kind::Number)
    }

    fn skip_if(&mut self, set: &[u8]) -> bool {
        let found = self.bytes().get(self.at).is_some_and(|byte| set.contains(byte));
        self.at += usize::from(found);
        found
    }

    fn digits(&mut self, expected: &'static str) -> Result<(), SyntaxError> {
        let length = self.bytes()[self.at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        self.at += length;
        if length == 0 { Err(self.error(self.at, expected)) } else { Ok(()) }
    }

    fn string(&mut self) -> Result<Text, SyntaxError> {
        let mut text = Text::Plain;
        self.at += 1;
        loop {
            self.at += plain_length(&self.bytes()[self.at..]);
            match self.bytes().get(self.at) {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(text);
                }
                Some(b'\\') if self.escape()? => text = Text::Irregular,
                Some(b'\\') if text == Text::Plain => text = Text::Escaped,
                Some(b'\\') => {}
                Some(_) => return Err(self.error(self.at, r"control characters as escapes, such as \n")),
                None => return Err(self.error(self.at, "the closing `\"` of the string")),
            }
        }
    }

    /// Passes one escape, or two that are a surrogate pair; returns whether it is irregular.
    fn escape(&mut self) -> Result<bool, SyntaxError> {
        match self.bytes().get(self.at + 1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => {
                self.at += 2;
                Ok(false)
            }
            Some(b'u') => {
                let (character, length) = unicode_escape(&self.bytes()[self.at + 2..])
                    .ok_or_else(|| self.error(self.at, r"four hexadecimal digits after \u"))?;
                self.at += 2 + length;
                Ok(character.is_none())
            }
            _ => Err(self.error(self.at, r#"one of the escapes \" \\ \/ \b \f \n \r \t \uXXXX"#)),
        }
    }

    fn fail<T>(&self) -> Result<T, SyntaxError> {
        let expected = match (self.expect, self.in_object()) {
            (Expect::Value, _) => "a value",
            (Expect::ValueOrEnd, _) => "a value or `]`",
            (Expect::Key, _) => "a name in double quotes",
            (Expect::KeyOrEnd, _) => "a name in double quotes or `}`",
            (Expect::CommaOrEnd, true) => "`,` or `}`",
            (Expect::CommaOrEnd, false) => "`,` or `]`",
            (Expect::Nothing, _) => "nothing after the document",
        };
        Err(self.error(self.at, expected))
    }
}

/// How many bytes stand before the next quote, backslash or control character: eight at a time, as most of
/// what is scanned is text.
fn plain_length(bytes: &[u8]) -> usize {
    const ONES: u64 = u64::from_le_bytes([1; 8]);
    const HIGH_BITS: u64 = ONES << 7;
    // The lowest byte marked is right; those above it need not be (borrows).
    let below = |word: u64, limit: u64| word.wrapping_sub(ONES * limit) & !word & HIGH_BITS;
    let equal = |word: u64, byte: u8| below(word ^ (ONES * u64::from(byte)), 1);
    let (words, tail) = bytes.as_chunks();
    for (i, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        let marked = below(word, 0x20) | equal(word, b'"') | equal(word, b'\\');
        if marked != 0 {
            return i * 8 + marked.trailing_zeros() as usize / 8;
        }
    }
    let special = |byte: &u8| matches!(byte, ..0x20 | b'"' | b'\\');
    words.len() * 8 + tail.iter().position(special).unwrap_or(tail.len())
}
