//! `Retry-After` (RFC 9110 section 10.2.3): seconds, or a date in one of three forms (section 5.6.7).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What is asked beyond a year counts as a year, so that adding it to a clock cannot overflow.
/// The limit that matters is the pipeline's.
const DELAY_MAX: Duration = Duration::from_secs(366 * 86_400);

/// How long the field asks to wait, counted from `now`. A date that has passed and anything unreadable is `None`.
pub fn delay(value: &[u8], now: SystemTime) -> Option<Duration> {
    let value = value.trim_ascii();
    if !value.is_empty() && value.iter().all(u8::is_ascii_digit) {
        return Some(seconds(value));
    }
    let now = now.duration_since(UNIX_EPOCH).ok()?;
    let date = date(std::str::from_utf8(value).ok()?, now.as_secs())?;
    let delay = Duration::from_secs(date).checked_sub(now)?;
    (!delay.is_zero()).then_some(delay.min(DELAY_MAX))
}

/// More digits than fit is a long time, not garbage.
fn seconds(digits: &[u8]) -> Duration {
    let seconds = digits
        .iter()
        .fold(0u64, |number, &digit| number.saturating_mul(10).saturating_add(u64::from(digit - b'0')));
    Duration::from_secs(seconds).min(DELAY_MAX)
}

/// Seconds since 1970 of a date; `now_s` settles the century of a two-digit year.
/// The day's name is skipped unread: it adds nothing, and some senders get it wrong.
fn date(text: &str, now_s: u64) -> Option<u64> {
    let mut words = text.split(' ').filter(|word| !word.is_empty());
    let (first, second) = (words.next()?, words.next()?);
    let (day, month, year, time) = if !first.ends_with(',') {
        // asctime: Sun Nov  6 08:49:37 1994
        let (day, time, year) = (words.next()?, words.next()?, words.next()?);
        return if words.next().is_none() { unix(day, second, four_digits(year)?, time) } else { None };
    } else if second.contains('-') {
        // RFC 850: Sunday, 06-Nov-94 08:49:37 GMT
        let mut parts = second.split('-');
        let (day, month, year) = (parts.next()?, parts.next()?, parts.next()?);
        if parts.next().is_some() || year.len() != 2 {
            return None;
        }
        (day, month, century(digits(year)?, now_s), words.next()?)
    } else {
        // IMF-fixdate: Sun, 06 Nov 1994 08:49:37 GMT
        let (month, year) = (words.next()?, words.next()?);
        (second, month, four_digits(year)?, words.next()?)
    };
    let zone = words.next()?;
    if zone == "GMT" && words.next().is_none() { unix(day, month, year, time) } else { None }
}

/// A year more than 50 years ahead is one of the century before.
fn century(two_digits: u64, now_s: u64) -> u64 {
    let this_year = 1970 + now_s / 31_556_952; // the mean Gregorian year, in seconds
    let year = this_year / 100 * 100 + two_digits;
    if year > this_year + 50 { year - 100 } else { year }
}

fn unix(day: &str, month: &str, year: u64, time: &str) -> Option<u64> {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    const DAYS: [u64; 12] = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let month = MONTHS.iter().position(|name| *name == month)?;
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let day = digits(day)?;
    let days_in_month = DAYS[month] + u64::from(leap && month == 1);
    if year < 1970 || !(1..=days_in_month).contains(&day) {
        return None;
    }
    let leap_days_before = |year: u64| (year - 1) / 4 - (year - 1) / 100 + (year - 1) / 400;
    let days = (year - 1970) * 365 + leap_days_before(year) - leap_days_before(1970)
        + DAYS[..month].iter().sum::<u64>()
        + u64::from(leap && month > 1)
        + day
        - 1;
    Some(days * 86_400 + second_of_day(time)?)
}

fn second_of_day(time: &str) -> Option<u64> {
    let mut parts = time.split(':').map(|part| if part.len() == 2 { digits(part) } else { None });
    let (hour, minute, second) = (parts.next()??, parts.next()??, parts.next()??);
    let fits = parts.next().is_none() && hour < 24 && minute < 60 && second <= 60; // 60: a leap second
    fits.then_some(hour * 3600 + minute * 60 + second)
}

fn four_digits(text: &str) -> Option<u64> {
    if text.len() == 4 { digits(text) } else { None }
}

fn digits(text: &str) -> Option<u64> {
    if text.len() > 4 || !text.bytes().all(|byte| byte.is_ascii_digit()) { None } else { text.parse().ok() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 1994-11-06 08:49:00 UTC, 37 s before the date of RFC 9110's examples.
    fn now() -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(784_111_740)
    }

    fn asked(value: &str) -> Option<u64> {
        delay(value.as_bytes(), now()).map(|delay| delay.as_secs())
    }

    #[test]
    fn seconds() {
        assert_eq!(asked("0"), Some(0));
        assert_eq!(asked("120"), Some(120));
        assert_eq!(asked(" 007 "), Some(7));
        assert_eq!(asked("99999999999999999999999999"), Some(366 * 86_400));
    }

    #[test]
    fn the_three_forms_of_a_date() {
        assert_eq!(asked("Sun, 06 Nov 1994 08:49:37 GMT"), Some(37));
        assert_eq!(asked("Sunday, 06-Nov-94 08:49:37 GMT"), Some(37));
        assert_eq!(asked("Sun Nov  6 08:49:37 1994"), Some(37));
    }

    #[test]
    fn calendar() {
        let at = |value: &str| date(value, 784_111_740);
        assert_eq!(at("Thu, 01 Jan 1970 00:00:00 GMT"), Some(0));
        assert_eq!(at("Tue, 29 Feb 2000 12:00:00 GMT"), Some(951_825_600));
        assert_eq!(at("Wed, 01 Mar 2000 00:00:00 GMT"), Some(951_868_800));
        assert_eq!(at("Sat, 31 Dec 2016 23:59:60 GMT"), Some(1_483_228_800));
        assert_eq!(at("Fri, 31 Dec 9999 23:59:59 GMT"), Some(253_402_300_799));
        assert_eq!(at("Mon, 29 Feb 2100 00:00:00 GMT"), None);
    }

    #[test]
    fn a_two_digit_year_is_never_50_years_ahead() {
        let year = |two_digits| century(two_digits, 1_790_000_000); // in 2026
        assert_eq!((year(26), year(76), year(77), year(94)), (2026, 2076, 1977, 1994));
    }

    #[test]
    fn past_dates_and_garbage_are_none() {
        for value in [
            "",
            "-1",
            "+1",
            "1.5",
            "soon",
            "0x10",
            "12 s",
            "Sun, 06 Nov 1994 08:49:00 GMT",
            "Sun, 06 Nov 1993 08:49:37 GMT",
            "Sun, 06 Nov 1994 08:49:37",
            "Sun, 06 Nov 1994 08:49:37 UTC",
            "Sun, 06 Nov 1994 08:49:37 GMT x",
            "Sun, 06 nov 1994 08:49:37 GMT",
            "Sun, 32 Dec 1994 08:49:37 GMT",
            "Sun, 00 Dec 1994 08:49:37 GMT",
            "Sun, 06 Dec 94 08:49:37 GMT",
            "Sun, 06 Dec 1994 24:00:00 GMT",
            "Sun, 06 Dec 1994 8:49:37 GMT",
            "Sunday, 06-Dec-1994 08:49:37 GMT",
            "Sun Dec  6 08:49:37 94",
            "Sun, 06 Dec 0000 08:49:37 GMT",
            ", 06 Dec",
            "Sun,",
        ] {
            assert_eq!(asked(value), None, "{value:?}");
        }
        assert_eq!(delay(b"\xff", now()), None);
    }
}
