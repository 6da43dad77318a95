//! Topic and channel names.
//!
//! nsqd's rule, for both: 1 to 64 of `.a-zA-Z0-9_-`, then perhaps `#ephemeral`, which counts towards the 64. An
//! ephemeral topic or channel never touches nsqd's disk and ends with its last client.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// Longest name that nsqd takes, in bytes, `#ephemeral` included.
pub const NAME_BYTES_MAX: usize = 64;

const EPHEMERAL: &str = "#ephemeral";

/// Why text is not a topic or channel name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// There is no name, or nothing before `#ephemeral`.
    #[error("a name needs at least one character{}", if *.before_ephemeral { " before #ephemeral" } else { "" })]
    Empty {
        /// Whether `#ephemeral` stands there alone.
        before_ephemeral: bool,
    },
    /// The name is over [`NAME_BYTES_MAX`].
    #[error("the name has {bytes} bytes, at most {NAME_BYTES_MAX} are allowed")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// A character that names cannot have.
    #[error(
        "character {character:?} at byte {at} is not allowed: use letters, digits, '.', '_', '-', and #ephemeral only at the end"
    )]
    Character {
        /// The first one of them; U+FFFD stands for bytes that are no text.
        character: char,
        /// Where it stands, in bytes from the front.
        at: usize,
    },
}

/// Holds `bytes` against the rule and gives them back as text.
///
/// # Errors
/// The first thing that is wrong with them.
pub fn check(bytes: &[u8]) -> Result<&str, NameError> {
    if bytes.len() > NAME_BYTES_MAX {
        return Err(NameError::TooLong { bytes: bytes.len() });
    }
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => return Err(first_bad(bytes, error.valid_up_to())),
    };
    let stem = text.strip_suffix(EPHEMERAL).unwrap_or(text);
    if stem.is_empty() {
        return Err(NameError::Empty { before_ephemeral: !text.is_empty() });
    }
    match stem.bytes().position(|byte| !is_allowed(byte)) {
        None => Ok(text),
        Some(at) => Err(first_bad(bytes, at)),
    }
}

fn is_allowed(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-')
}

/// The error for bytes that are bad at `known` or before.
fn first_bad(bytes: &[u8], known: usize) -> NameError {
    let at = bytes.iter().position(|byte| !is_allowed(*byte)).unwrap_or(known).min(known);
    let tail = bytes.get(at..).unwrap_or_default();
    let character = tail.utf8_chunks().next().and_then(|chunk| chunk.valid().chars().next());
    NameError::Character { character: character.unwrap_or(char::REPLACEMENT_CHARACTER), at }
}

macro_rules! name_type {
    ($name:ident, $what:literal) => {
        #[doc = concat!("The name of a ", $what, ", checked. Cloning shares the text.")]
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks `text` and keeps a copy of it.
            ///
            /// # Errors
            /// What nsqd would refuse in it, by the rule at the top of [`name`](crate::name).
            pub fn new(text: &str) -> Result<Self, NameError> {
                check(text.as_bytes()).map(|text| Self(text.into()))
            }

            /// The name as it goes over the wire.
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// Whether it ends in `#ephemeral`.
            pub fn is_ephemeral(&self) -> bool {
                self.0.ends_with(EPHEMERAL)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                self.as_str()
            }
        }

        impl FromStr for $name {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, NameError> {
                Self::new(text)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(self.as_str(), f)
            }
        }
    };
}

name_type!(TopicName, "topic");
name_type!(ChannelName, "channel");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nsqd_takes_is_taken() {
        for good in ["a", "events", "Events_2.v-1", "a#ephemeral", ".", "-", &"x".repeat(64)] {
            assert_eq!(TopicName::new(good).map(|name| name.to_string()), Ok(good.to_owned()));
        }
        assert!(ChannelName::new("c#ephemeral").expect("valid").is_ephemeral());
        assert!(!ChannelName::new("c").expect("valid").is_ephemeral());
    }

    #[test]
    fn what_nsqd_refuses_is_refused_with_the_reason() {
        let character = |character, at| NameError::Character { character, at };
        for (bad, reason) in [
            ("", NameError::Empty { before_ephemeral: false }),
            ("#ephemeral", NameError::Empty { before_ephemeral: true }),
            ("a b", character(' ', 1)),
            ("a\nFIN", character('\n', 1)),
            ("orders/eu", character('/', 6)),
            ("tür", character('ü', 1)),
            ("a#ephemera", character('#', 1)),
            ("a#ephemeral#ephemeral", character('#', 1)),
            ("a#ephemeralx", character('#', 1)),
        ] {
            assert_eq!(TopicName::new(bad), Err(reason), "{bad:?}");
        }
        let long = "x".repeat(55) + EPHEMERAL;
        assert_eq!(TopicName::new(&long), Err(NameError::TooLong { bytes: 65 }));
        assert_eq!(check(b"ab\xff"), Err(character(char::REPLACEMENT_CHARACTER, 2)));
        assert_eq!(check(b"a \xff"), Err(character(' ', 1)));
    }
}
