//! How long a token is to be valid, as people say it.

use time::Duration;

const EXPECTED: &str = "expected a whole number and a unit, such as 12h, 90d, 8w or 1y (at most 100y)";
const LONGEST: Duration = Duration::days(36_500);

/// Reads `90d`, `12h`, `30m`, `8w` or `1y`.
pub fn parse_lifetime(text: &str) -> Result<Duration, &'static str> {
    let split = text.find(|c: char| !c.is_ascii_digit()).ok_or(EXPECTED)?;
    let (number, unit) = text.split_at(split);
    let unit = match unit {
        "m" => Duration::MINUTE,
        "h" => Duration::HOUR,
        "d" => Duration::DAY,
        "w" => Duration::WEEK,
        "y" => Duration::days(365),
        _ => return Err(EXPECTED),
    };
    let lifetime = number.parse().ok().and_then(|number: i32| unit.checked_mul(number)).ok_or(EXPECTED)?;
    if lifetime.is_zero() || lifetime > LONGEST { Err(EXPECTED) } else { Ok(lifetime) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lifetime_is_a_number_and_a_unit() {
        assert_eq!(parse_lifetime("90d"), Ok(Duration::days(90)));
        assert_eq!(parse_lifetime("1y"), Ok(Duration::days(365)));
        assert_eq!(parse_lifetime("30m"), Ok(Duration::minutes(30)));
        for text in
            ["", "d", "90", "90 d", "-1d", "1.5h", "0d", "101y", "99999999999y", "2147483647w", "5x", "1д"]
        {
            assert!(parse_lifetime(text).is_err(), "{text:?}");
        }
    }
}
