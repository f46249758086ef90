//! Number literals, kept as text: through an f64, 9007199254740993 would match …992.

use std::fmt;

/// PostgreSQL's numeric takes more; these are the limits within which a projection keeps numbers.
const MAX_DIGITS: usize = 400;
const MAX_EXPONENT: u32 = 308;

/// A JSON number within the limits, as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Number(String);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotANumber {
    /// Such as `00123` or `+1`: an untyped value like this is text.
    Syntax,
    /// Written as a number, but beyond what can be compared.
    TooLarge,
}

impl Number {
    pub(super) fn parse(text: &str) -> Result<Self, NotANumber> {
        let (mantissa, exponent) = match text.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, Some(exponent)),
            None => (text, None),
        };
        let unsigned = mantissa.strip_prefix('-').unwrap_or(mantissa);
        let (whole, fraction) = match unsigned.split_once('.') {
            Some((whole, fraction)) => (whole, Some(fraction)),
            None => (unsigned, None),
        };
        let canonical = digits(whole) && (whole == "0" || !whole.starts_with('0'));
        if !canonical || !fraction.is_none_or(digits) {
            return Err(NotANumber::Syntax);
        }
        if let Some(exponent) = exponent {
            check_exponent(exponent)?;
        }
        if whole.len() + fraction.map_or(0, str::len) > MAX_DIGITS {
            return Err(NotANumber::TooLarge);
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn check_exponent(exponent: &str) -> Result<(), NotANumber> {
    let magnitude = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
    if !digits(magnitude) {
        return Err(NotANumber::Syntax);
    }
    match magnitude.parse::<u32>() {
        Ok(n) if n <= MAX_EXPONENT => Ok(()),
        _ => Err(NotANumber::TooLarge),
    }
}

fn digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_numbers_keep_their_text() {
        for text in ["0", "-0", "1346", "-1.50", "9007199254740993", "1e5", "1E+308", "2.5e-308"] {
            assert_eq!(Number::parse(text).map(|n| n.to_string()), Ok(text.to_owned()));
        }
    }

    #[test]
    fn what_json_does_not_write_as_a_number_is_no_number() {
        for text in
            ["", "-", "00123", "+1", ".5", "1.", "1e", "1e+", "0x10", "1_000", "NaN", "١٢", "1e1e1", "--1"]
        {
            assert_eq!(Number::parse(text), Err(NotANumber::Syntax), "{text}");
        }
    }

    #[test]
    fn numbers_beyond_the_limits_are_told_apart() {
        for text in ["1e309", "-1e-309", "1e99999999999999999999", &"9".repeat(401)] {
            assert_eq!(Number::parse(text), Err(NotANumber::TooLarge), "{text}");
        }
        assert!(Number::parse(&"9".repeat(400)).is_ok());
    }
}
