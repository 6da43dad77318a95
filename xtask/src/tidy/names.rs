//! Words that say nothing about what a thing is, in the names of files, modules, types and functions.

use super::source::Source;

const EMPTY_WORDS: [&str; 10] =
    ["manager", "handler", "helper", "helpers", "util", "utils", "common", "info", "misc", "data"];

/// Terms of the field that hold such a word.
const TERMS: [&str; 4] = ["data_dir", "data_path", "signal_handler", "metadata"];

const DECLARATIONS: [&str; 8] = ["fn", "struct", "enum", "trait", "mod", "type", "const", "static"];

pub(super) fn broken(sources: &[Source<'_>]) -> Vec<String> {
    let mut broken = Vec::new();
    for source in sources {
        let stem = source.path.rsplit('/').next().unwrap_or_default().trim_end_matches(".rs");
        if let Some(word) = empty_word(stem) {
            broken.push(format!("{}: `{word}` says nothing about what is in the file", source.path));
        }
        for line in source.code() {
            if let Some((name, word)) = declared(line.text).and_then(|name| Some((name, empty_word(name)?))) {
                broken.push(format!("{}:{}: `{word}` in `{name}` says nothing", source.path, line.number));
            }
        }
    }
    broken
}

/// The name that a line declares.
fn declared(line: &str) -> Option<&str> {
    let mut words = line.split_whitespace().skip_while(|word| !DECLARATIONS.contains(word));
    let name = words.nth(1)?;
    let end = name.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(name.len());
    name.get(..end)
}

fn empty_word(name: &str) -> Option<String> {
    let snake = snake_case(name);
    if TERMS.iter().any(|term| snake.contains(term)) {
        return None;
    }
    snake.split('_').find(|word| EMPTY_WORDS.contains(word)).map(str::to_owned)
}

fn snake_case(name: &str) -> String {
    let mut snake = String::new();
    let mut after_lowercase = false;
    for c in name.chars() {
        if c.is_uppercase() && after_lowercase {
            snake.push('_');
        }
        after_lowercase = c.is_lowercase();
        snake.extend(c.to_lowercase());
    }
    snake
}

#[cfg(test)]
mod tests {
    use super::{broken, declared, empty_word};
    use crate::tidy::source::Source;

    #[test]
    fn finds_the_word_in_any_spelling() {
        for name in ["ConnectionManager", "http_util", "UTILS", "parse_info"] {
            assert!(empty_word(name).is_some(), "{name}");
        }
        for name in ["Informed", "data_dir", "utility", "commonwealth", "handle"] {
            assert_eq!(empty_word(name), None, "{name}");
        }
    }

    #[test]
    fn reads_declarations() {
        assert_eq!(declared("    pub(crate) async fn send_all<T>(value: T) {"), Some("send_all"));
        assert_eq!(declared("impl Drop for A {"), None);
    }

    #[test]
    fn a_file_is_named_too() {
        assert_eq!(broken(&[Source::new("crates/wire/src/util.rs", "fn handler() {}\n")]).len(), 2);
    }
}
