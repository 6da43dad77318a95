//! The one description of every key: its name, flag, kind, value by itself, and what it is for.
//!
//! The parser, the flags with their help, and `docs/configuration.md` are all made from it, so none of them can know a
//! key that the others do not. Each table of keys becomes a struct with a field for each, which is what the user typed
//! and no more: `config::resolve` takes the structs apart exhaustively, so a key that nothing reads does not compile.

mod broker;
mod endpoint;
mod process;
mod queue;
mod route;

pub(crate) use self::broker::BrokerKeys;
pub(crate) use endpoint::EndpointKeys;
pub(crate) use process::ProcessKeys;
pub(crate) use queue::QueueKeys;
pub(crate) use route::RouteKeys;

use crate::config::given::Given;
use crate::config::kind::Kind;
use crate::config::mistake::Mistakes;
use crate::config::place::{Place, Placed};

/// What a key is when nobody gives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Otherwise {
    /// This value, in TOML.
    Value(&'static str),
    /// Something that depends, in words.
    Words(&'static str),
}

/// One key.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Key {
    /// As the file has it, its unit at the end.
    pub(crate) name: &'static str,
    /// As the command line has it, with its dashes and without the unit.
    pub(crate) flag: &'static str,
    pub(crate) kind: Kind,
    pub(crate) otherwise: Otherwise,
    /// What it is for, in whole sentences.
    pub(crate) about: &'static str,
}

/// A table of keys.
pub(crate) trait Keys {
    /// What the keys of this table are about, as a heading.
    const TITLE: &'static str;
    /// The keys, in the order of the documentation.
    const KEYS: &'static [Key];

    /// Whether the key is one of this table.
    fn has(key: &Key) -> bool {
        Self::KEYS.iter().any(|own| own.name == key.name)
    }

    /// Sets the key to what was given, if that can be read.
    fn put(&mut self, key: &'static Key, given: &Placed<Given>, mistakes: &mut Mistakes);

    /// Where a key was given; `None` where it was not, or is what it is by itself.
    fn place_of(&self, name: &str) -> Option<&Place>;

    /// Fills what is not set from `below`.
    fn fill_from(&mut self, below: &Self);
}

/// Makes a struct with a field for each key, and its description.
macro_rules! keys {
    (
        $(#[$meta:meta])*
        $title:literal $name:ident {
            $($(#[doc = $about:literal])+ $key:ident: $type:ty = $flag:literal, $kind:expr, $otherwise:expr;)*
        }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Default)]
        pub(crate) struct $name {
            $(pub(crate) $key: Option<$crate::config::place::Placed<$type>>,)*
        }

        impl $crate::config::keys::Keys for $name {
            const TITLE: &'static str = $title;
            const KEYS: &'static [$crate::config::keys::Key] = &[$($crate::config::keys::Key {
                name: stringify!($key),
                flag: $flag,
                kind: $kind,
                otherwise: $otherwise,
                about: concat!($($about, "\n"),+),
            }),*];

            fn put(
                &mut self,
                key: &'static $crate::config::keys::Key,
                given: &$crate::config::place::Placed<$crate::config::given::Given>,
                mistakes: &mut $crate::config::mistake::Mistakes,
            ) {
                match key.name {
                    $(stringify!($key) => {
                        let read = $crate::config::read::Read::read(given, key, mistakes);
                        let place = || given.place.clone();
                        self.$key = read.map(|value| $crate::config::place::Placed::new(value, place()));
                    })*
                    _ => unreachable!("{} is not a key of {}", key.name, Self::TITLE),
                }
            }

            fn place_of(&self, name: &str) -> Option<&$crate::config::place::Place> {
                let place = match name {
                    $(stringify!($key) => self.$key.as_ref().map(|placed| &placed.place),)*
                    _ => None,
                };
                place.filter(|place| **place != $crate::config::place::Place::Default)
            }

            fn fill_from(&mut self, below: &Self) {
                $(if self.$key.is_none() {
                    self.$key.clone_from(&below.$key);
                })*
            }
        }
    };
}
use keys;
