//! Numbers as a tired reader takes them in: thousands apart, times and sizes in the unit that suits them.

use std::time::Duration;

/// `1234567` as `1,234,567`.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `count` and its noun, in the plural where it is one.
pub(crate) fn counted(number: u64, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {noun}{plural}", count(number))
}

/// A time with two or three figures: `870 us`, `12.3 ms`, `4.56 s`, `3 min 20 s`.
pub(crate) fn time(duration: Duration) -> String {
    let micros = duration.as_micros();
    match micros {
        0..1_000 => format!("{micros} us"),
        1_000..100_000 => format!("{:.1} ms", micros as f64 / 1e3),
        100_000..1_000_000 => format!("{} ms", micros / 1_000),
        1_000_000..60_000_000 => format!("{:.2} s", micros as f64 / 1e6),
        _ => format!("{} min {} s", duration.as_secs() / 60, duration.as_secs() % 60),
    }
}

/// A time that someone set, without figures after the point that say nothing: `30 s`, `250 ms`, `10 min`.
pub(crate) fn set_time(duration: Duration) -> String {
    let ms = duration.as_millis();
    match ms {
        _ if ms > 0 && ms.is_multiple_of(60_000) => format!("{} min", ms / 60_000),
        _ if ms > 0 && ms.is_multiple_of(1_000) => format!("{} s", ms / 1_000),
        _ => format!("{ms} ms"),
    }
}

/// Bytes in powers of 1,024: `512 B`, `1.5 KiB`, `64 MiB`.
pub(crate) fn bytes(number: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if number < 1_024 {
        return format!("{number} B");
    }
    let power = ((number.ilog2() / 10) as usize).min(UNITS.len());
    let value = number as f64 / 1_024f64.powi(power as i32);
    let text = format!("{value:.1}");
    format!("{} {}", text.strip_suffix(".0").unwrap_or(&text), UNITS[power - 1])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        assert_eq!([0, 999, 1_000, 1_234_567].map(count), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([1, 2].map(|n| counted(n, "dial")), ["1 dial", "2 dials"]);
        let micros = [870, 12_345, 870_400, 4_560_000, 200_000_000].map(|us| time(Duration::from_micros(us)));
        assert_eq!(micros, ["870 us", "12.3 ms", "870 ms", "4.56 s", "3 min 20 s"]);
        let set = [0, 250, 1_500, 30_000, 600_000].map(|ms| set_time(Duration::from_millis(ms)));
        assert_eq!(set, ["0 ms", "250 ms", "1500 ms", "30 s", "10 min"]);
        assert_eq!([512, 1_536, 64 << 20, 1 << 30].map(bytes), ["512 B", "1.5 KiB", "64 MiB", "1 GiB"]);
    }
}
