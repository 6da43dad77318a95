//! What was given for a key, before it is known to be right: the one form in which values from the file and from flags
//! meet, so that both go through the same validation.

use toml::Spanned;
use toml::de::DeValue;

use crate::config::kind::Kind;
use crate::config::place::{Lines, Place, Placed};

/// A list longer than this is not shown in a message.
const SHOWN_MAX: usize = 4;

/// A value as it was written.
#[derive(Debug, Clone)]
pub(crate) enum Given {
    Text(String),
    Integer(i64),
    Switch(bool),
    List(Vec<Placed<Given>>),
    Table(Vec<(Placed<String>, Placed<Given>)>),
    /// A TOML type that no key takes.
    Odd(&'static str),
}

impl Given {
    /// The value as the user wrote it, for a message; what it holds is left out where it is long.
    pub(crate) fn shown(&self) -> String {
        match self {
            Given::Text(text) => format!("{text:?}"),
            Given::Integer(number) => number.to_string(),
            Given::Switch(on) => on.to_string(),
            Given::List(items) if items.len() <= SHOWN_MAX => {
                let items: Vec<_> = items.iter().map(|item| item.value.shown()).collect();
                format!("[{}]", items.join(", "))
            }
            Given::List(_) => "[...]".to_owned(),
            Given::Table(_) => "{...}".to_owned(),
            Given::Odd(name) => format!("({name})"),
        }
    }
}

/// Takes a value out of the file.
pub(crate) fn from_file(value: &Spanned<DeValue<'_>>, lines: &Lines<'_>) -> Placed<Given> {
    let given = match value.get_ref() {
        DeValue::String(text) => Given::Text(text.to_string()),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
            .map_or(Given::Odd("an integer beyond 64 bits"), Given::Integer),
        DeValue::Boolean(on) => Given::Switch(*on),
        DeValue::Array(items) => Given::List(items.iter().map(|item| from_file(item, lines)).collect()),
        DeValue::Table(table) => Given::Table(
            table
                .iter()
                .map(|(key, value)| {
                    let name = Placed::new(key.get_ref().to_string(), lines.place(key.span().start));
                    (name, from_file(value, lines))
                })
                .collect(),
        ),
        DeValue::Float(_) => Given::Odd("a number with a point"),
        DeValue::Datetime(_) => Given::Odd("a date or time"),
    };
    Placed::new(given, lines.place(value.span().start))
}

/// Takes a value from its flag. What does not fit the kind stays text, and is refused where the file's would be.
pub(crate) fn from_flag(flag: &'static str, kind: Kind, mut texts: Vec<String>) -> Placed<Given> {
    let place = Place::Flag(flag);
    let one = |text: String| match kind {
        Kind::Count { .. } => text.replace('_', "").parse().map_or(Given::Text(text), Given::Integer),
        Kind::Time { .. } => time_ms(&text).map_or(Given::Text(text), Given::Integer),
        Kind::Switch => text.parse().map_or(Given::Text(text), Given::Switch),
        _ => Given::Text(text),
    };
    let given = if kind.repeats() || texts.len() != 1 {
        Given::List(texts.into_iter().map(|text| Placed::new(Given::Text(text), place.clone())).collect())
    } else {
        one(texts.remove(0))
    };
    Placed::new(given, place)
}

/// Milliseconds of `250ms`, `30s`, `5m`, `1h`, `-1` (which some keys take for "off"). A bare number has no unit and is none.
fn time_ms(text: &str) -> Option<i64> {
    if text == "-1" {
        return Some(-1);
    }
    let digits = text.find(|letter: char| !letter.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let factor = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    number.parse::<i64>().ok()?.checked_mul(factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_need_their_unit() {
        let found =
            ["250ms", "30s", "5m", "1h", "-1", "30", "s", "1.5s", "9223372036854775807h"].map(time_ms);
        let expected =
            [Some(250), Some(30_000), Some(300_000), Some(3_600_000), Some(-1), None, None, None, None];
        assert_eq!(found, expected);
    }
}
