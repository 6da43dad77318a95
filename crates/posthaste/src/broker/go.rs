//! Numbers, switches and times as Go writes them, since nsqd's flags are read by Go's library and existing unit files
//! were written for it.

use std::time::Duration;

/// A whole number: decimal, or `0x`, `0o`, `0b`, or octal behind a leading 0; digits may be parted by `_`.
pub(super) fn whole(text: &str) -> Option<i64> {
    let (negative, digits) = match text.strip_prefix(['-', '+']) {
        Some(digits) => (text.starts_with('-'), digits),
        None => (false, text),
    };
    let lower = digits.to_ascii_lowercase();
    let (radix, digits) = match lower.get(..2) {
        Some("0x") => (16, &lower[2..]),
        Some("0o") => (8, &lower[2..]),
        Some("0b") => (2, &lower[2..]),
        Some(_) if lower.starts_with('0') => (8, &lower[1..]),
        _ => (10, &lower[..]),
    };
    let prefixed = digits.len() < lower.len();
    let plain = digits.trim_start_matches(if prefixed { "_" } else { "" });
    if plain.starts_with(['-', '+', '_']) || plain.ends_with('_') || plain.contains("__") {
        return None;
    }
    let value = i128::from_str_radix(&plain.replace('_', ""), radix).ok()?;
    i64::try_from(if negative { -value } else { value }).ok()
}

/// Go's words for yes and no.
pub(super) fn switch(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// A time: numbers, each with its unit (`1h30m`, `1.5s`, `250ms`, `100us`), or a bare `0`. None is negative: no
/// setting of nsqd makes sense below zero.
pub(super) fn time(text: &str) -> Option<Duration> {
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest == "0" {
        return Some(Duration::ZERO);
    }
    let mut nanos: u128 = 0;
    while !rest.is_empty() {
        let number_end = rest.find(|letter: char| !letter.is_ascii_digit() && letter != '.')?;
        let (number, behind) = rest.split_at(number_end);
        let unit_end =
            behind.find(|letter: char| letter.is_ascii_digit() || letter == '.').unwrap_or(behind.len());
        let (unit, behind) = behind.split_at(unit_end);
        nanos = nanos.checked_add(part(number, nanos_of(unit)?)?)?;
        rest = behind;
    }
    // Go's durations are 63 bits of nanoseconds.
    let nanos = u64::try_from(nanos).ok().filter(|nanos| *nanos <= i64::MAX as u64)?;
    (!text.is_empty() && text != "+").then(|| Duration::from_nanos(nanos))
}

fn nanos_of(unit: &str) -> Option<u128> {
    Some(match unit {
        "ns" => 1,
        "us" | "\u{b5}s" | "\u{3bc}s" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        _ => return None,
    })
}

/// `number`, which may have a point, times `unit`.
fn part(number: &str, unit: u128) -> Option<u128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
        return None;
    }
    let digits = |text: &str| if text.is_empty() { Some(0) } else { text.parse::<u128>().ok() };
    // What is finer than a nanosecond of an hour says nothing.
    let fraction = &fraction[..fraction.len().min(15)];
    let scale = 10_u128.pow(u32::try_from(fraction.len()).ok()?);
    digits(whole)?.checked_mul(unit)?.checked_add(digits(fraction)?.checked_mul(unit)? / scale)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_go_reads_them() {
        let ms = |text: &str| time(text).map(|time| time.as_micros());
        for (text, micros) in [
            ("1m0s", 60_000_000),
            ("1h0m0s", 3_600_000_000),
            ("1.5s", 1_500_000),
            (".5s", 500_000),
            ("1.s", 1_000_000),
            ("250ms", 250_000),
            ("1us", 1),
            ("1\u{b5}s", 1),
            ("0", 0),
            ("+2s", 2_000_000),
            ("1h1m1s1ms1us", 3_661_001_001),
        ] {
            assert_eq!(ms(text), Some(micros), "{text}");
        }
        for wrong in ["", "+", "60", "s", ".s", "1", "-1s", "1 s", "1d", "1..5s", "9223372036854775808ns"] {
            assert_eq!(time(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn whole_numbers_have_gos_prefixes() {
        for (text, value) in [
            ("0", 0),
            ("2500", 2_500),
            ("-1", -1),
            ("+7", 7),
            ("0x10", 16),
            ("0X_1f", 31),
            ("017", 15),
            ("0o17", 15),
            ("0b101", 5),
            ("1_000", 1_000),
            ("-9223372036854775808", i64::MIN),
        ] {
            assert_eq!(whole(text), Some(value), "{text}");
        }
        for wrong in ["", "-", "1.5", "1e3", "0x", "09", "_1", "1_", "1__0", "--1", "9223372036854775808"] {
            assert_eq!(whole(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn switches_have_gos_words() {
        assert_eq!(
            ["1", "t", "TRUE", "0", "F", "False"].map(switch),
            [Some(true), Some(true), Some(true), Some(false), Some(false), Some(false)]
        );
        assert_eq!(["", "yes", "on", "tRUE"].map(switch), [None; 4]);
    }
}
