//! A mistake in what the user gave: where it is, what stands there, why that cannot be, and the way out.
//!
//! Mistakes are collected, not returned at the first one: whoever mends a configuration wants to mend it once.

use std::fmt;

use crate::config::keys::{BrokerKeys, Key, Keys, ProcessKeys};
use crate::config::place::Place;
use crate::config::raw::RawRoute;

/// One mistake. Never holds a secret: whoever makes one for a secret leaves its value out of `what`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Mistake {
    pub(crate) place: Place,
    /// What stands there, as the user wrote it: `topic = "a b"`. May be empty.
    pub(crate) what: String,
    /// Why that cannot be.
    pub(crate) reason: String,
    /// What can be done about it. May be empty where the reason says it.
    pub(crate) way_out: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.place)?;
        if !self.what.is_empty() {
            write!(f, ": {}", self.what)?;
        }
        write!(f, ": {}", self.reason)?;
        if !self.way_out.is_empty() {
            write!(f, "\n    {}", self.way_out)?;
        }
        Ok(())
    }
}

/// The mistakes found so far.
#[derive(Debug, Default)]
pub(crate) struct Mistakes(Vec<Mistake>);

impl Mistakes {
    pub(crate) fn push(
        &mut self,
        place: &Place,
        what: impl Into<String>,
        reason: impl Into<String>,
        way_out: impl Into<String>,
    ) {
        let in_its_words = |text: String| match place {
            Place::Flag(_) | Place::CommandLine => with_flags(&text),
            Place::File { .. } | Place::Default => text,
        };
        self.0.push(Mistake {
            place: place.clone(),
            // At a flag it is the value, and stays as it was given.
            what: if *place == Place::CommandLine { with_flags(&what.into()) } else { what.into() },
            reason: in_its_words(reason.into()),
            way_out: in_its_words(way_out.into()),
        });
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// In the order of their places, each once: a value that several routes inherit is wrong in one place only.
    pub(crate) fn sorted(mut self) -> Vec<Mistake> {
        self.0.sort();
        self.0.dedup();
        self.0
    }
}

/// The text with the names of keys replaced by their flags, for someone who gave flags. A key whose name is a plain word
/// counts only in backticks.
pub(crate) fn with_flags(text: &str) -> String {
    let mut text = text.to_owned();
    for key in RawRoute::keys().chain(ProcessKeys::KEYS).chain(BrokerKeys::KEYS) {
        let Key { name, flag, .. } = key;
        text = text.replace(&format!("`{name}`"), flag);
        if name.contains('_') {
            text = replace_word(&text, name, flag);
        }
    }
    text
}

fn replace_word(text: &str, word: &str, with: &str) -> String {
    let is_part = |letter: char| letter.is_alphanumeric() || letter == '_' || letter == '-';
    let mut replaced = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(word) {
        let (before, after) = (&rest[..at], &rest[at + word.len()..]);
        let whole = !before.ends_with(is_part) && !after.starts_with(is_part);
        replaced += before;
        replaced += if whole { with } else { word };
        rest = after;
    }
    replaced + rest
}

/// The mistakes as they are shown, with how many they are at the end.
pub(crate) fn render(mistakes: &[Mistake]) -> String {
    let mut text = String::new();
    for mistake in mistakes {
        text.push_str(&format!("{mistake}\n"));
    }
    match mistakes.len() {
        1 => text.push_str("\n1 mistake; nothing was started.\n"),
        n => text.push_str(&format!("\n{n} mistakes; nothing was started.\n")),
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_gave_flags_reads_of_flags() {
        assert_eq!(
            with_flags("not above `lanes`; set output_buffer_size = -1 too, and no my_key_file"),
            "not above --lanes; set --output-buffer-size = -1 too, and no my_key_file"
        );
    }
}
