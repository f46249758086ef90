//! Points in time: microseconds, years 0001 to 9999, always written in one form.

use std::fmt;

use time::{Date, Month, OffsetDateTime, Time, UtcOffset};

const MICROS_PER_SECOND: i64 = 1_000_000;
/// 0001-01-01T00:00:00.000000Z and 9999-12-31T23:59:59.999999Z.
const MIN_MICROS: i64 = -62_135_596_800 * MICROS_PER_SECOND;
const MAX_MICROS: i64 = 253_402_300_800 * MICROS_PER_SECOND - 1;

const EXPECTED: &str = "an RFC 3339 time such as 2026-11-21T08:30:00Z";

/// Microseconds since 1970-01-01T00:00:00Z. `Display` gives `YYYY-MM-DDTHH:MM:SS.ffffffZ`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    pub const MIN: Self = Self(MIN_MICROS);
    pub const MAX: Self = Self(MAX_MICROS);

    pub fn from_micros(micros: i64) -> Option<Self> {
        (MIN_MICROS..=MAX_MICROS).contains(&micros).then_some(Self(micros))
    }

    pub fn as_micros(self) -> i64 {
        self.0
    }

    /// Parses RFC 3339: no zone means UTC, digits past the microsecond are dropped, second 60 becomes
    /// 59.999999. The error says what was expected.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut input = Input(text.as_bytes());
        let date = input.date().ok_or_else(|| format!("expected {EXPECTED}"))?;
        if input.0.is_empty() {
            return Err(format!("expected a time of day after the date, such as {text}T00:00:00Z"));
        }
        let micros = input.time_of_day().ok_or_else(|| format!("expected {EXPECTED}"))?;
        let offset_minutes = input
            .offset_minutes()
            .ok_or("expected nothing, Z or an offset such as +01:00 after the time of day")?;
        let days = i64::from(date.to_julian_day() - UNIX_EPOCH_JULIAN_DAY);
        let local = days * 86_400 * MICROS_PER_SECOND + micros;
        Self::from_micros(local - offset_minutes * 60 * MICROS_PER_SECOND)
            .ok_or_else(|| "expected a year between 0001 and 9999 in UTC".to_owned())
    }
}

const UNIX_EPOCH_JULIAN_DAY: i32 = 2_440_588;

/// What is left to parse. Each method consumes what it returns.
struct Input<'a>(&'a [u8]);

impl Input<'_> {
    fn digits(&mut self, count: usize) -> Option<u32> {
        let (digits, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        digits
            .iter()
            .try_fold(0, |number, byte| byte.is_ascii_digit().then(|| number * 10 + u32::from(byte - b'0')))
    }

    fn one_of(&mut self, set: &[u8]) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        set.contains(first).then(|| {
            self.0 = rest;
            *first
        })
    }

    fn date(&mut self) -> Option<Date> {
        let year = self.digits(4)?;
        self.one_of(b"-")?;
        let month = self.digits(2)?;
        self.one_of(b"-")?;
        let day = self.digits(2)?;
        let month = Month::try_from(u8::try_from(month).ok()?).ok()?;
        Date::from_calendar_date(year as i32, month, day as u8).ok()
    }

    /// Microseconds since midnight.
    fn time_of_day(&mut self) -> Option<i64> {
        self.one_of(b"Tt ")?;
        let hour = self.digits(2).filter(|hour| *hour < 24)?;
        self.one_of(b":")?;
        let minute = self.digits(2).filter(|minute| *minute < 60)?;
        self.one_of(b":")?;
        let second = self.digits(2).filter(|second| *second <= 60)?;
        let micros = match self.one_of(b".") {
            Some(_) => self.fraction()?,
            None => 0,
        };
        // PostgreSQL and most clients have no leap second; this keeps order and the minute.
        let (second, micros) = if second == 60 { (59, 999_999) } else { (second, micros) };
        Some(i64::from((hour * 60 + minute) * 60 + second) * MICROS_PER_SECOND + i64::from(micros))
    }

    fn fraction(&mut self) -> Option<u32> {
        let length = self.0.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let (digits, rest) = self.0.split_at_checked(length).filter(|(digits, _)| !digits.is_empty())?;
        self.0 = rest;
        let padded = digits.iter().chain(std::iter::repeat(&b'0')).take(6);
        Some(padded.fold(0, |number, byte| number * 10 + u32::from(byte - b'0')))
    }

    /// Minutes east of UTC; must be the last thing.
    fn offset_minutes(&mut self) -> Option<i64> {
        let sign = match self.one_of(b"Zz+-") {
            None | Some(b'Z' | b'z') => return self.0.is_empty().then_some(0),
            Some(b'-') => -1,
            Some(_) => 1,
        };
        let hours = self.digits(2).filter(|hours| *hours < 24)?;
        self.one_of(b":")?;
        let minutes = self.digits(2).filter(|minutes| *minutes < 60)?;
        self.0.is_empty().then_some(sign * i64::from(hours * 60 + minutes))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = OffsetDateTime::from(*self);
        let (year, month, day) = (at.year(), u8::from(at.month()), at.day());
        let (hour, minute, second, micro) = at.time().as_hms_micro();
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micro:06}Z")
    }
}

impl From<Timestamp> for OffsetDateTime {
    fn from(at: Timestamp) -> Self {
        let second = at.0.div_euclid(MICROS_PER_SECOND);
        let (day, second) = (second.div_euclid(86_400) as i32, second.rem_euclid(86_400) as u32);
        let micro = at.0.rem_euclid(MICROS_PER_SECOND) as u32;
        // Both conversions hold for every value that `from_micros` lets through.
        let date = Date::from_julian_day(UNIX_EPOCH_JULIAN_DAY + day).unwrap_or(Date::MIN);
        let (hour, minute, second) = ((second / 3600) as u8, (second / 60 % 60) as u8, (second % 60) as u8);
        let time = Time::from_hms_micro(hour, minute, second, micro).unwrap_or(Time::MIDNIGHT);
        date.with_time(time).assume_offset(UtcOffset::UTC)
    }
}

/// The time lies outside the years 0001 to 9999.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the time is not in the years 0001 to 9999")]
pub struct OutOfRange;

impl TryFrom<OffsetDateTime> for Timestamp {
    type Error = OutOfRange;

    fn try_from(at: OffsetDateTime) -> Result<Self, OutOfRange> {
        let micros = at.unix_timestamp() * MICROS_PER_SECOND + i64::from(at.microsecond());
        Self::from_micros(micros).ok_or(OutOfRange)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shown(text: &str) -> String {
        Timestamp::parse(text).map_or_else(|expected| expected, |at| at.to_string())
    }

    #[test]
    fn every_spelling_of_a_time_is_written_in_one_form() {
        for (text, expected) in [
            ("2026-11-21T08:30:00Z", "2026-11-21T08:30:00.000000Z"),
            ("2026-11-21t08:30:00z", "2026-11-21T08:30:00.000000Z"),
            ("2026-11-21 08:30:00", "2026-11-21T08:30:00.000000Z"),
            ("2026-11-21T08:30:00.1", "2026-11-21T08:30:00.100000Z"),
            ("2026-11-21T08:30:00.123456999Z", "2026-11-21T08:30:00.123456Z"),
            ("1969-12-31T23:59:59.9999999Z", "1969-12-31T23:59:59.999999Z"),
            ("2026-11-21T08:30:00+05:30", "2026-11-21T03:00:00.000000Z"),
            ("2026-11-21T23:30:00-01:00", "2026-11-22T00:30:00.000000Z"),
            ("2026-11-21T08:30:00-00:00", "2026-11-21T08:30:00.000000Z"),
            ("2016-12-31T23:59:60Z", "2016-12-31T23:59:59.999999Z"),
            ("2016-12-31T23:59:60.25Z", "2016-12-31T23:59:59.999999Z"),
            ("2024-02-29T00:00:00Z", "2024-02-29T00:00:00.000000Z"),
            ("0000-12-31T23:30:00-01:00", "0001-01-01T00:30:00.000000Z"),
            ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00.000000Z"),
            ("9999-12-31T23:59:59.999999Z", "9999-12-31T23:59:59.999999Z"),
        ] {
            assert_eq!(shown(text), expected, "{text}");
        }
    }

    #[test]
    fn a_time_that_is_none_is_refused_with_what_was_expected() {
        for (text, expected) in [
            ("", "expected an RFC 3339 time"),
            ("yesterday", "expected an RFC 3339 time"),
            ("1795132800", "expected an RFC 3339 time"),
            ("2026-11-21", "such as 2026-11-21T00:00:00Z"),
            ("2026-11-21T08:30Z", "expected an RFC 3339 time"),
            ("2026-11-21T08:30:00.Z", "expected an RFC 3339 time"),
            ("2026-11-21T24:00:00Z", "expected an RFC 3339 time"),
            ("2026-11-21T08:60:00Z", "expected an RFC 3339 time"),
            ("2026-11-21T08:30:61Z", "expected an RFC 3339 time"),
            ("2025-02-29T00:00:00Z", "expected an RFC 3339 time"),
            ("2026-00-10T00:00:00Z", "expected an RFC 3339 time"),
            ("2026-01-00T00:00:00Z", "expected an RFC 3339 time"),
            ("2026-01-32T00:00:00Z", "expected an RFC 3339 time"),
            ("２０26-01-01T00:00:00Z", "expected an RFC 3339 time"),
            ("+2026-01-01T00:00:00Z", "expected an RFC 3339 time"),
            ("2026-11-21T08:30:00 Z", "an offset such as +01:00"),
            ("2026-11-21T08:30:00+0100", "an offset such as +01:00"),
            ("2026-11-21T08:30:00+24:00", "an offset such as +01:00"),
            ("2026-11-21T08:30:00Zulu", "an offset such as +01:00"),
            ("2026-11-21T08:30:00Z\0", "an offset such as +01:00"),
            ("0001-01-01T00:00:00+00:01", "between 0001 and 9999"),
            ("9999-12-31T23:59:59-00:01", "between 0001 and 9999"),
        ] {
            assert!(shown(text).contains(expected), "{text}: {}", shown(text));
        }
    }

    #[test]
    fn the_range_ends_at_the_first_and_last_microsecond() {
        assert_eq!(Timestamp::MIN.to_string(), "0001-01-01T00:00:00.000000Z");
        assert_eq!(Timestamp::MAX.to_string(), "9999-12-31T23:59:59.999999Z");
        assert_eq!(Timestamp::from_micros(MIN_MICROS - 1), None);
        assert_eq!(Timestamp::from_micros(MAX_MICROS + 1), None);
    }

    proptest! {
        #[test]
        fn what_is_written_parses_back_and_converts_both_ways(micros in MIN_MICROS..=MAX_MICROS) {
            let at = Timestamp::from_micros(micros).unwrap();
            prop_assert_eq!(Timestamp::parse(&at.to_string()), Ok(at));
            let converted = OffsetDateTime::from(at);
            prop_assert_eq!(converted.unix_timestamp_nanos(), i128::from(micros) * 1000);
            prop_assert_eq!(Timestamp::try_from(converted), Ok(at));
        }
    }
}
