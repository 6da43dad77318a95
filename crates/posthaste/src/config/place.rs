//! Where a value was given, so that a mistake can say where to mend it.

use std::fmt;
use std::sync::Arc;

/// Ordered as mistakes are listed: the command line first, then the file from top to bottom.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Place {
    /// A flag, written as the user writes it: `--topic`.
    Flag(&'static str),
    /// The command line as a whole: something is missing, or what stands there is no flag.
    CommandLine,
    /// A file, with line and column counted from 1; columns count characters.
    File { path: Arc<str>, line: usize, column: usize },
    /// Nobody gave it: it is the value that a key has by itself.
    Default,
}

impl Place {
    /// A key and its value as they stand at this place: the flag that a place names is not said twice.
    pub(crate) fn shown(&self, key: &str, value: &str) -> String {
        match self {
            Place::Flag(_) => value.to_owned(),
            _ if value.is_empty() => key.to_owned(),
            _ => format!("{key} = {value}"),
        }
    }

    /// Whether the value can be read by everyone who lists the processes of the machine.
    pub(crate) fn is_flag(&self) -> bool {
        matches!(self, Place::Flag(_))
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Flag(flag) => f.write_str(flag),
            Place::CommandLine => f.write_str("command line"),
            Place::File { path, line, column } => write!(f, "{path}:{line}:{column}"),
            Place::Default => f.write_str("default"),
        }
    }
}

/// A value and where it was given.
#[derive(Debug, Clone)]
pub(crate) struct Placed<T> {
    pub(crate) value: T,
    pub(crate) place: Place,
}

impl<T> Placed<T> {
    pub(crate) fn new(value: T, place: Place) -> Placed<T> {
        Placed { value, place }
    }
}

/// Finds line and column of a byte offset.
#[derive(Debug)]
pub(crate) struct Lines<'a> {
    path: Arc<str>,
    source: &'a str,
}

impl<'a> Lines<'a> {
    pub(crate) fn new(path: &str, source: &'a str) -> Lines<'a> {
        Lines { path: path.into(), source }
    }

    /// The place of the byte at `offset`; an offset past the end is the end.
    pub(crate) fn place(&self, offset: usize) -> Place {
        let before = self.source.get(..offset).unwrap_or(self.source);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Place::File {
            path: Arc::clone(&self.path),
            line: 1 + before.matches('\n').count(),
            column: 1 + before[line_start..].chars().count(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_count_characters_from_one() {
        let lines = Lines::new("a.toml", "ab\nüx = 1\n");
        assert_eq!(lines.place(0).to_string(), "a.toml:1:1");
        assert_eq!(lines.place(3).to_string(), "a.toml:2:1");
        assert_eq!(lines.place(5).to_string(), "a.toml:2:2");
        assert_eq!(lines.place(999).to_string(), "a.toml:3:1");
    }
}
