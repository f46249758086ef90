//! Number literals, kept as text: through an f64, 9007199254740993 would match …992.

use std::cmp::Ordering;
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

/// Compares two JSON numbers by their values, whatever their size.
pub(super) fn compare(one: &str, other: &str) -> Ordering {
    let (one, other) = (Decimal::of(one), Decimal::of(other));
    match (one.sign(), other.sign()) {
        (1, 1) => one.compare_magnitude(&other),
        (-1, -1) => other.compare_magnitude(&one),
        (one, other) => one.cmp(&other),
    }
}

/// A number as 0.DIGITS × 10^exponent, without zeros at either end of the digits.
struct Decimal {
    is_negative: bool,
    digits: Vec<u8>,
    exponent: i64,
}

impl Decimal {
    fn of(text: &str) -> Self {
        let (is_negative, text) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let digits: Vec<u8> = whole.bytes().chain(fraction.bytes()).collect();
        let leading = digits.iter().take_while(|&&digit| digit == b'0').count();
        let kept = digits.iter().rposition(|&digit| digit != b'0').map_or(leading, |last| last + 1);
        // What is read here is within the limits, so nothing of it overflows.
        let exponent = exponent.parse::<i64>().unwrap_or(0) + whole.len() as i64 - leading as i64;
        Self { is_negative, digits: digits[leading..kept].to_vec(), exponent }
    }

    fn sign(&self) -> i8 {
        match (self.digits.is_empty(), self.is_negative) {
            (true, _) => 0,
            (false, true) => -1,
            (false, false) => 1,
        }
    }

    fn compare_magnitude(&self, other: &Self) -> Ordering {
        self.exponent.cmp(&other.exponent).then_with(|| self.digits.cmp(&other.digits))
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
    fn numbers_are_compared_by_value() {
        let rising = [
            "-1e308",
            "-10",
            "-9.5",
            "-1",
            "-1e-308",
            "0",
            "1e-308",
            "0.1",
            "0.11",
            "1",
            "9007199254740992",
            "9007199254740993",
            "1e20",
            "123456789012345678901",
        ];
        for (i, one) in rising.iter().enumerate() {
            for (j, other) in rising.iter().enumerate() {
                assert_eq!(compare(one, other), i.cmp(&j), "{one} {other}");
            }
        }
        for (one, same) in [
            ("0", "-0.00"),
            ("1", "1.0"),
            ("100", "1E+2"),
            ("0.001e3", "1"),
            ("0e5", "0"),
            ("-1.50", "-15e-1"),
        ] {
            assert_eq!(compare(one, same), Ordering::Equal, "{one} {same}");
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
