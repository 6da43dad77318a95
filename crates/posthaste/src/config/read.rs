//! From what was given to a value of the key's type: the validation that the file and the flags share.

use std::path::PathBuf;
use std::time::Duration;

use crate::config::given::Given;
use crate::config::keys::Key;
use crate::config::kind::Kind;
use crate::config::mistake::Mistakes;
use crate::config::place::{Place, Placed};
use crate::config::secret::SecretSource;

/// A header line that the user adds, its value a secret.
#[derive(Debug, Clone)]
pub(crate) struct HeaderLine {
    pub(crate) name: Placed<String>,
    pub(crate) value: Placed<SecretSource>,
}

/// A type that a key's value can have.
pub(crate) trait Read: Sized {
    /// The value, or `None` and at least one mistake.
    fn read(given: &Placed<Given>, key: &Key, mistakes: &mut Mistakes) -> Option<Self>;
}

/// Refuses `given`, without showing it where it is a secret.
pub(crate) fn refuse(given: &Placed<Given>, key: &Key, mistakes: &mut Mistakes, reason: &str, way_out: &str) {
    let what =
        if key.kind.is_secret() { String::new() } else { given.place.shown(key.name, &given.value.shown()) };
    mistakes.push(&given.place, what, reason, way_out);
}

fn refuse_type(given: &Placed<Given>, key: &Key, mistakes: &mut Mistakes) {
    let (reason, way_out) = match (&given.value, &given.place) {
        (Given::List(items), Place::Flag(_)) if items.is_empty() => {
            ("has no value", "give one after the flag")
        }
        (Given::List(_), Place::Flag(_)) if !key.kind.repeats() => {
            ("was given more than once", "give it once")
        }
        _ => ("has the wrong type", ""),
    };
    let expected = match (key.kind, &given.place) {
        (Kind::Time { .. }, Place::Flag(_)) => {
            "it takes a whole number with its unit: 250ms, 30s, 5m or 1h".to_owned()
        }
        (kind, _) if way_out.is_empty() => format!("it takes: {}", kind.label()),
        _ => way_out.to_owned(),
    };
    refuse(given, key, mistakes, reason, &expected);
}

impl Read for String {
    fn read(given: &Placed<Given>, key: &Key, mistakes: &mut Mistakes) -> Option<String> {
        let Given::Text(text) = &given.value else {
            refuse_type(given, key, mistakes);
            return None;
        };
        if let Kind::Choice(words) = key.kind
            && !words.contains(&text.as_str())
        {
            refuse(
                given,
                key,
                mistakes,
                "is not one of its values",
                &format!("it takes: {}", key.kind.label()),
            );
            return None;
        }
        if text.is_empty() {
            refuse(given, key, mistakes, "is empty", "leave it out, or give it a value");
            return None;
        }
        Some(text.clone())
    }
}

impl Read for PathBuf {
    fn read(given: &Placed<Given>, key: &Key, mistakes: &mut Mistakes) -> Option<PathBuf> {
        String::read(given, key, mistakes).map(PathBuf::from)
    }
}

impl Read for i64 {
    fn read(given: &Placed<Given>, key: &Key, mistakes: &mut Mistakes) -> Option<i64> {
        let Given::Integer(number) = given.value else {
            refuse_type(given, key, mistakes);
            return None;
        };
        let (Kind::Count { min, max, .. } | Kind::Time { min_ms: min, max_ms: max }) = key.kind else {
            unreachable!("a key of an integer type has a kind with bounds: {}", key.name);
        };
        if !(min..=max).contains(&number) {
            let unit =
                if key.kind.unit().is_empty() { String::new() } else { format!(" {}", key.kind.unit()) };
            let way_out = format!("it takes {}{unit}", key.kind.label().replace("integer ", ""));
            refuse(given, key, mistakes, "is out of its bounds", &way_out);
            return None;
        }
        Some(number)
    }
}

impl Read for u64 {
    fn read(given: &Placed<Given>, key: &Key, mistakes: &mut Mistakes) -> Option<u64> {
        i64::read(given, key, mistakes).and_then(|number| number.try_into().ok())
    }
}

impl Read for Duration {
    fn read(given: &Placed<Given>, key: &Key, mistakes: &mut Mistakes) -> Option<Duration> {
        u64::read(given, key, mistakes).map(Duration::from_millis)
    }
}

impl Read for bool {
    fn read(given: &Placed<Given>, key: &Key, mistakes: &mut Mistakes) -> Option<bool> {
        let Given::Switch(on) = given.value else {
            refuse_type(given, key, mistakes);
            return None;
        };
        Some(on)
    }
}

impl<T: Read> Read for Vec<Placed<T>> {
    fn read(given: &Placed<Given>, key: &Key, mistakes: &mut Mistakes) -> Option<Vec<Placed<T>>> {
        let Given::List(items) = &given.value else {
            refuse_type(given, key, mistakes);
            return None;
        };
        // What is right is kept, so that the checks to come see it, too.
        let mut read = |item: &Placed<Given>| {
            T::read(item, key, mistakes).map(|value| Placed::new(value, item.place.clone()))
        };
        Some(items.iter().filter_map(&mut read).collect())
    }
}

impl Read for SecretSource {
    fn read(given: &Placed<Given>, key: &Key, mistakes: &mut Mistakes) -> Option<SecretSource> {
        String::read(given, key, mistakes).map(|text| SecretSource::parse(&text))
    }
}

impl Read for Vec<HeaderLine> {
    fn read(given: &Placed<Given>, key: &Key, mistakes: &mut Mistakes) -> Option<Vec<HeaderLine>> {
        match &given.value {
            Given::Table(lines) => {
                Some(lines.iter().filter_map(|(name, value)| header(name, value, key, mistakes)).collect())
            }
            Given::List(items) => {
                Some(items.iter().filter_map(|item| header_text(item, key, mistakes)).collect())
            }
            _ => {
                refuse_type(given, key, mistakes);
                None
            }
        }
    }
}

fn header(
    name: &Placed<String>,
    value: &Placed<Given>,
    key: &Key,
    mistakes: &mut Mistakes,
) -> Option<HeaderLine> {
    let Given::Text(text) = &value.value else {
        refuse_type(value, key, mistakes);
        return None;
    };
    let value = Placed::new(SecretSource::parse(text), value.place.clone());
    Some(HeaderLine { name: name.clone(), value })
}

/// A header as its flag has it, `Name: value`.
fn header_text(item: &Placed<Given>, key: &Key, mistakes: &mut Mistakes) -> Option<HeaderLine> {
    let name_and_value = match &item.value {
        Given::Text(text) => text.split_once(':'),
        _ => None,
    };
    let Some((name, value)) = name_and_value else {
        refuse(item, key, mistakes, "a header has no colon", "write it as \"Name: value\"");
        return None;
    };
    Some(HeaderLine {
        name: Placed::new(name.to_owned(), item.place.clone()),
        value: Placed::new(SecretSource::parse(value.trim_matches([' ', '\t'])), item.place.clone()),
    })
}
