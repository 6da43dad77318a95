//! Text as Go writes it: JSON, durations, times, HTML. The API is compared byte for byte.

use std::fmt::Write as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Serialize;

/// JSON with what Go's encoder escapes besides: `<`, `>`, `&` and two line separators, for the sake of HTML. They stand in strings only, so
/// the finished text can be searched for them.
pub(crate) fn json(value: &impl Serialize) -> Vec<u8> {
    let plain = serde_json::to_vec(value).expect("strings, numbers and lists of them");
    let special = |byte: &u8| matches!(byte, b'<' | b'>' | b'&' | 0xe2);
    if !plain.iter().any(special) {
        return plain;
    }
    let text = String::from_utf8(plain).expect("serde_json writes UTF-8");
    let mut escaped = String::with_capacity(text.len() + 32);
    for character in text.chars() {
        match character {
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                write!(escaped, "\\u{:04x}", u32::from(character)).expect("a String takes everything");
            }
            other => escaped.push(other),
        }
    }
    escaped.into_bytes()
}

/// As Go's `time.Duration` prints itself: `1h0m3.5s`, `1.5ms`, `0s`.
pub(super) fn duration(duration: Duration) -> String {
    let nanos = duration.as_nanos();
    if nanos == 0 {
        return "0s".to_owned();
    }
    let fraction = |unit: u128, name: &str| {
        let digits = format!("{:09}", nanos % unit * (1_000_000_000 / unit));
        let digits = digits.trim_end_matches('0');
        let point = if digits.is_empty() { "" } else { "." };
        format!("{}{point}{digits}{name}", nanos / unit)
    };
    if nanos < 1_000 {
        return format!("{nanos}ns");
    }
    if nanos < 1_000_000 {
        return fraction(1_000, "µs");
    }
    if nanos < 1_000_000_000 {
        return fraction(1_000_000, "ms");
    }
    let minutes = duration.as_secs() / 60;
    let rest = Duration::new(duration.as_secs() % 60, duration.subsec_nanos());
    let digits = format!("{:09}", rest.subsec_nanos());
    let digits = digits.trim_end_matches('0');
    let point = if digits.is_empty() { "" } else { "." };
    let seconds = format!("{}{point}{digits}s", rest.as_secs());
    match (minutes / 60, minutes % 60) {
        (0, 0) => seconds,
        (0, minutes) => format!("{minutes}m{seconds}"),
        (hours, minutes) => format!("{hours}h{minutes}m{seconds}"),
    }
}

/// Seconds since 1970.
pub(super) fn unix(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    i64::try_from(since).unwrap_or(i64::MAX)
}

/// RFC 3339 in UTC: `2026-11-22T20:38:49Z`.
pub(super) fn rfc3339(unix: i64) -> String {
    let (day, second) = (unix.div_euclid(86_400), unix.rem_euclid(86_400));
    let (year, month, day) = civil(day);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// The date of a day counted from 1970-01-01. Years are counted from March, so that the day that leap years add is their last: then 400 years
/// have 146,097 days, and a month begins after `(153 m + 2) / 5` of them.
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (era * 400 + year_of_era + i64::from(month <= 2), month, day)
}

/// Text inside an attribute.
pub(super) fn html_escape(text: &str) -> String {
    let escaped = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    escaped.replace('"', "&#34;").replace('\'', "&#39;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_in_go() {
        for (nanos, text) in [
            (0, "0s"),
            (1, "1ns"),
            (1_100, "1.1µs"),
            (2_200_000, "2.2ms"),
            (999_999_999, "999.999999ms"),
            (1_000_000_000, "1s"),
            (116_069_069_633, "1m56.069069633s"),
            (60_000_000_000, "1m0s"),
            (3_600_000_000_000, "1h0m0s"),
            (90_061_500_000_000, "25h1m1.5s"),
        ] {
            assert_eq!(duration(Duration::from_nanos(nanos)), text);
        }
    }

    #[test]
    fn dates_are_right_around_leap_days() {
        for (unix, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (951_868_800, "2000-03-01T00:00:00Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
            (1_795_379_929, "2026-11-22T20:38:49Z"),
        ] {
            assert_eq!(rfc3339(unix), text);
        }
    }

    #[test]
    fn json_is_escaped_for_html_as_go_does() {
        let escaped = json(&["a<b>&\"\u{2028}é\u{7f}\n"]);
        assert_eq!(String::from_utf8(escaped).unwrap(), "[\"a\\u003cb\\u003e\\u0026\\\"\\u2028é\u{7f}\\n\"]");
        assert_eq!(json(&["plain"]), br#"["plain"]"#);
    }

    #[test]
    fn html_is_escaped() {
        assert_eq!(html_escape("/a?b=\"'<&>"), "/a?b=&#34;&#39;&lt;&amp;&gt;");
    }
}
