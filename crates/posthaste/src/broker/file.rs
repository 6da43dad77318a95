//! nsqd's configuration file: TOML, one key a flag, no tables.
//!
//! nsqd passes over keys that it does not know. Here they are warned about: a key that was mistyped would else be a
//! setting that nobody notices is missing.

use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::flags::{Takes, keyed};
use super::given::{Given, Value};
use crate::config::{Lines, Mistakes, Place, nearest};

/// A file larger than this is the wrong file.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// What the file gives.
pub(super) fn read(path: &Path, mistakes: &mut Mistakes, warnings: &mut Vec<String>) -> Vec<Given> {
    let shown = path.display().to_string();
    let source = match std::fs::metadata(path).map(|metadata| metadata.len()) {
        Ok(bytes) if bytes > FILE_BYTES_MAX => Err(format!("has {bytes} bytes, more than any configuration")),
        Ok(_) => std::fs::read_to_string(path).map_err(|error| format!("cannot be read: {error}")),
        Err(error) => Err(format!("cannot be read: {error}")),
    };
    match source {
        Ok(source) => parse(&shown, &source, mistakes, warnings),
        Err(reason) => {
            mistakes.push(&Place::Flag("--config"), shown, reason, "name nsqd's TOML file");
            Vec::new()
        }
    }
}

fn parse(path: &str, source: &str, mistakes: &mut Mistakes, warnings: &mut Vec<String>) -> Vec<Given> {
    let lines = Lines::new(path, source);
    let (document, errors) = DeTable::parse_recoverable(source);
    for error in errors {
        let place = lines.place(error.span().map_or(0, |span| span.start));
        mistakes.push(&place, "", format!("not TOML: {}", error.message().replace('\n', ", ")), "");
    }
    let mut given = Vec::new();
    for (key, value) in document.get_ref() {
        let name = key.get_ref().as_ref();
        match keyed(name) {
            Some(flag) => {
                given.push(Given { flag, place: lines.place(value.span().start), value: typed(value) });
            }
            None => warnings.push(unknown(&lines.place(key.span().start), name)),
        }
    }
    given
}

fn unknown(place: &Place, name: &str) -> String {
    let known = super::flags::FLAGS.iter().filter(|flag| !matches!(flag.takes, Takes::ConfigFile));
    let meant = match nearest(name, known.map(|flag| flag.key).filter(|key| !key.is_empty())) {
        Some(nearest) => format!("; did you mean {nearest}?"),
        None => String::new(),
    };
    format!("{place}: {name} is not a known key and changes nothing{meant}")
}

fn typed(value: &Spanned<DeValue<'_>>) -> Value {
    match value.get_ref() {
        DeValue::String(text) => Value::Text(text.to_string()),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
            .map_or(Value::Odd("an integer beyond 64 bits"), Value::Whole),
        DeValue::Boolean(on) => Value::Switch(*on),
        DeValue::Float(number) => {
            number.as_str().parse().map_or(Value::Odd("a number with a point"), Value::Number)
        }
        DeValue::Array(items) => Value::List(items.iter().map(typed).collect()),
        DeValue::Table(_) => Value::Odd("a table"),
        DeValue::Datetime(_) => Value::Odd("a date or time"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_nsqd_is_read_with_its_types() {
        let source = "tcp_address = '0.0.0.0:4150'\nnsqlookupd_tcp_addresses = ['a:4160', 'b:4160']\nmsg_timeout = '2m'\n\
                      max_msg_timeout = 60000\nsnappy = false\ne2e_processing_latency_percentiles = [1.0, 0.99]\n";
        let (mut mistakes, mut warnings) = (Mistakes::default(), Vec::new());
        let given = parse("nsqd.cfg", source, &mut mistakes, &mut warnings);
        assert!(mistakes.is_empty() && warnings.is_empty(), "{mistakes:?} {warnings:?}");
        let values: Vec<_> = given.iter().map(|given| (given.flag.name, given.place.to_string())).collect();
        assert_eq!(values[0], ("--e2e-processing-latency-percentile", "nsqd.cfg:6:38".to_owned()));
        assert_eq!(values.len(), 6);
    }

    #[test]
    fn an_unknown_key_is_warned_about_with_the_nearest() {
        let (mut mistakes, mut warnings) = (Mistakes::default(), Vec::new());
        let given = parse("n.cfg", "tcp_adress = 'a:1'\ncolour = 1\n[table]\n", &mut mistakes, &mut warnings);
        assert!(given.is_empty() && mistakes.is_empty());
        assert_eq!(
            warnings,
            [
                "n.cfg:2:1: colour is not a known key and changes nothing",
                "n.cfg:3:2: table is not a known key and changes nothing",
                "n.cfg:1:1: tcp_adress is not a known key and changes nothing; did you mean tcp_address?",
            ]
        );
    }
}
