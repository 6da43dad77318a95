//! The kinds of value that a key can take, each with how it is written in the file, on the command line, and in the
//! documentation.

/// What a key takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Any text; the help of its flag calls it this.
    Text(&'static str),
    /// One of a few words.
    Choice(&'static [&'static str]),
    /// A whole number from `min` to `max`, of `unit` (empty: a bare number).
    Count { min: i64, max: i64, unit: &'static str },
    /// A time in whole milliseconds, from `min_ms` to `max_ms`. A flag takes it with its unit: `30s`, `250ms`.
    Time { min_ms: i64, max_ms: i64 },
    /// Yes or no.
    Switch,
    /// Several texts, called this; their flag is given once for each.
    Texts(&'static str),
    /// A text that is never shown: in clear, `@FILE`, or `$NAME`.
    Secret,
    /// Header lines by name, their values secrets. A flag takes `Name: value`, once for each.
    Headers,
}

impl Kind {
    /// What it takes, for the documentation and for mistakes.
    pub(crate) fn label(&self) -> String {
        match self {
            Kind::Text(_) => "text".to_owned(),
            Kind::Choice(words) => {
                words.iter().map(|word| format!("\"{word}\"")).collect::<Vec<_>>().join(" or ")
            }
            Kind::Count { min, max: i64::MAX, .. } => format!("integer from {min}"),
            Kind::Count { min, max, .. } | Kind::Time { min_ms: min, max_ms: max } => {
                format!("integer {min} to {max}")
            }
            Kind::Switch => "true or false".to_owned(),
            Kind::Texts(_) => "list of texts".to_owned(),
            Kind::Secret => "secret".to_owned(),
            Kind::Headers => "table of secrets".to_owned(),
        }
    }

    /// The unit of its numbers; empty where it has none.
    pub(crate) fn unit(&self) -> &'static str {
        match self {
            Kind::Count { unit, .. } => unit,
            Kind::Time { .. } => "ms",
            _ => "",
        }
    }

    /// What stands for the value in the help of its flag.
    pub(crate) fn placeholder(&self) -> &'static str {
        match self {
            Kind::Text(name) | Kind::Texts(name) => name,
            Kind::Choice(_) => "WORD",
            Kind::Count { .. } => "N",
            Kind::Time { .. } => "TIME",
            Kind::Switch => "true|false",
            Kind::Secret => "SECRET",
            Kind::Headers => "NAME: VALUE",
        }
    }

    /// Whether its flag may be given more than once.
    pub(crate) fn repeats(&self) -> bool {
        matches!(self, Kind::Texts(_) | Kind::Headers)
    }

    /// Whether what was given must not be shown.
    pub(crate) fn is_secret(&self) -> bool {
        matches!(self, Kind::Secret | Kind::Headers)
    }
}
