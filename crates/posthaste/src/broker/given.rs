//! What was given for nsqd's flags, on the command line and in its file, brought into the draft by one set of rules.
//!
//! A flag may have one dash or two, its value behind `=` or as the next argument; a switch takes a value behind `=`
//! only. The last of two counts, lists grow. Every mistake is told at once.

use std::ffi::OsString;

use super::draft::Draft;
use super::flags::{Flag, Takes, Unused, named};
use super::go;
use crate::config::{Mistakes, Place, nearest};

/// A value as it was written: the command line has texts alone, the file has types.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    Text(String),
    Whole(i64),
    Switch(bool),
    Number(f64),
    List(Vec<Value>),
    /// A TOML type that no setting has.
    Odd(&'static str),
}

/// A flag that was given.
#[derive(Debug)]
pub(super) struct Given {
    pub(super) flag: &'static Flag,
    pub(super) place: Place,
    pub(super) value: Value,
}

/// Reads arguments, the program's name and the command taken off.
pub(super) fn read_line(arguments: &[OsString], mistakes: &mut Mistakes) -> Vec<Given> {
    let mut given: Vec<Given> = Vec::new();
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let text = argument.to_string_lossy();
        let Some((name, value)) = dashed(&text) else {
            let way_out = "posthaste broker --help lists every flag";
            mistakes.push(&Place::CommandLine, text.as_ref(), "stands where a flag is expected", way_out);
            continue;
        };
        let Some(flag) = named(name) else {
            refuse_unknown(name, mistakes);
            continue;
        };
        let value = match value {
            Some(value) => Some(value.to_owned()),
            None if flag.is_switch() => Some("true".to_owned()),
            None => rest.next().map(|value| value.to_string_lossy().into_owned()),
        };
        match value {
            Some(value) => put(&mut given, flag, value),
            None => mistakes.push(&Place::Flag(flag.name), "", "has no value", "give one after the flag"),
        }
    }
    given
}

/// Name and value of `-name`, `--name`, `-name=value`.
fn dashed(argument: &str) -> Option<(&str, Option<&str>)> {
    let rest = argument.strip_prefix("--").or(argument.strip_prefix('-')).filter(|rest| !rest.is_empty())?;
    Some(match rest.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (rest, None),
    })
}

fn put(given: &mut Vec<Given>, flag: &'static Flag, text: String) {
    let earlier = given.iter_mut().find(|earlier| earlier.flag.name == flag.name);
    match (earlier, &flag.takes) {
        (Some(Given { value: Value::List(texts), .. }), Takes::Texts(_)) => texts.push(Value::Text(text)),
        (Some(earlier), _) => earlier.value = Value::Text(text),
        (None, takes) => {
            let value = match takes {
                Takes::Texts(_) => Value::List(vec![Value::Text(text)]),
                _ => Value::Text(text),
            };
            given.push(Given { flag, place: Place::Flag(flag.name), value });
        }
    }
}

fn refuse_unknown(name: &str, mistakes: &mut Mistakes) {
    let known = super::flags::FLAGS.iter().map(|flag| &flag.name[2..]);
    let way_out = match nearest(name, known) {
        Some(nearest) => format!("did you mean --{nearest}?"),
        None => "posthaste broker --help lists every flag".to_owned(),
    };
    mistakes.push(&Place::CommandLine, format!("--{name}"), "is not a known flag", way_out);
}

impl Given {
    /// Brings it into the draft, or says what is wrong with it. What has no use here is a warning.
    pub(super) fn apply(&self, draft: &mut Draft, mistakes: &mut Mistakes, warnings: &mut Vec<String>) {
        let applied = match self.flag.takes {
            Takes::Text(set) => self.text().map(|text| set(draft, text)),
            Takes::Texts(set) => self.texts().map(|texts| set(draft, texts)),
            Takes::Word(set) => self.text().and_then(|word| set(draft, &word).map_err(str::to_owned)),
            Takes::WordSwitch(set) => self
                .text()
                .or(self.switch().map(|on| on.to_string()))
                .and_then(|word| set(draft, &word).map_err(str::to_owned)),
            Takes::Switch(set) => self.switch().map(|on| set(draft, on)),
            Takes::Whole { min, max, set } => self.whole(min, max).and_then(|whole| {
                set(draft, whole).map_err(|_| "it is larger than this machine can count".to_owned())
            }),
            Takes::Time(set) => self.time().map(|time| set(draft, time)),
            Takes::Unused { kind, why } => self.unused(kind).map(|()| {
                warnings.push(format!("{} changes nothing: {why}", self.flag.name));
            }),
            Takes::ConfigFile | Takes::Version => Ok(()),
        };
        if let Err(way_out) = applied {
            let what = self.place.shown(self.flag.key, &self.shown());
            mistakes.push(&self.place, what, "cannot be used", way_out);
        }
    }

    fn text(&self) -> Result<String, String> {
        match &self.value {
            Value::Text(text) => Ok(text.clone()),
            _ => Err("it takes a text".to_owned()),
        }
    }

    /// A list, or texts parted by commas in the file, which is what nsqd takes there besides.
    fn texts(&self) -> Result<Vec<String>, String> {
        let wrong = || "it takes a list of texts".to_owned();
        match &self.value {
            Value::List(items) => items
                .iter()
                .map(|item| match item {
                    Value::Text(text) => Ok(text.clone()),
                    _ => Err(wrong()),
                })
                .collect(),
            Value::Text(text) => Ok(text.split(',').map(str::to_owned).collect()),
            _ => Err(wrong()),
        }
    }

    fn switch(&self) -> Result<bool, String> {
        let on = match &self.value {
            Value::Switch(on) => Some(*on),
            Value::Text(text) => go::switch(text),
            _ => None,
        };
        on.ok_or_else(|| "it takes true or false".to_owned())
    }

    fn whole(&self, min: i64, max: i64) -> Result<i64, String> {
        let whole = match &self.value {
            Value::Whole(whole) => Some(*whole),
            Value::Text(text) => go::whole(text),
            _ => None,
        };
        let bounds = match max {
            i64::MAX => format!("it takes a whole number from {min}"),
            max => format!("it takes a whole number from {min} to {max}"),
        };
        whole.filter(|whole| (min..=max).contains(whole)).ok_or(bounds)
    }

    /// A number without a unit is milliseconds in the file, and nothing on the command line: so nsqd has it.
    fn time(&self) -> Result<std::time::Duration, String> {
        let time = match &self.value {
            Value::Text(text) => go::time(text),
            Value::Whole(ms) => u64::try_from(*ms).ok().map(std::time::Duration::from_millis),
            _ => None,
        };
        time.ok_or_else(|| "it takes a time with its unit, such as 250ms, 30s or 1h30m".to_owned())
    }

    fn unused(&self, kind: Unused) -> Result<(), String> {
        match kind {
            Unused::Text => self.text().map(drop),
            Unused::Switch => self.switch().map(drop),
            Unused::Whole => self.whole(i64::MIN, i64::MAX).map(drop),
            Unused::Time => self.time().map(drop),
            Unused::Numbers => match &self.value {
                Value::Text(text) if text.split(',').all(|one| one.trim().parse::<f64>().is_ok()) => Ok(()),
                Value::List(items) if items.iter().all(|item| matches!(item, Value::Number(_))) => Ok(()),
                _ => Err("it takes numbers".to_owned()),
            },
        }
    }

    fn shown(&self) -> String {
        match &self.value {
            Value::Text(text) => format!("{text:?}"),
            Value::Whole(whole) => whole.to_string(),
            Value::Switch(on) => on.to_string(),
            Value::Number(number) => number.to_string(),
            Value::List(_) => "[...]".to_owned(),
            Value::Odd(name) => format!("({name})"),
        }
    }
}
