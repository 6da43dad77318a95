//! The configuration as the user typed it: values that have the right type, each with its place, and nothing resolved.

use crate::config::given::Given;
use crate::config::keys::{
    BrokerKeys, EndpointKeys, Key, Keys, Otherwise, ProcessKeys, QueueKeys, RouteKeys,
};
use crate::config::kind::Kind;
use crate::config::mistake::Mistakes;
use crate::config::place::{Place, Placed};

/// A whole configuration.
#[derive(Debug, Clone, Default)]
pub(crate) struct Raw {
    pub(crate) process: ProcessKeys,
    pub(crate) broker: BrokerKeys,
    pub(crate) routes: Vec<RawRoute>,
}

/// One route.
#[derive(Debug, Clone)]
pub(crate) struct RawRoute {
    /// Where it begins, for what is missing in it.
    pub(crate) place: Place,
    /// Keys that were given and could not be read: they are wrong, but not missing.
    pub(crate) unread: Vec<&'static str>,
    pub(crate) route: RouteKeys,
    pub(crate) queue: QueueKeys,
    pub(crate) endpoint: EndpointKeys,
}

impl RawRoute {
    pub(crate) fn new(place: Place) -> RawRoute {
        let (route, queue, endpoint) = Default::default();
        RawRoute { place, unread: Vec::new(), route, queue, endpoint }
    }

    /// Every key of a route.
    pub(crate) fn keys() -> impl Iterator<Item = &'static Key> {
        RouteKeys::KEYS.iter().chain(QueueKeys::KEYS).chain(EndpointKeys::KEYS)
    }

    /// A route in which every key is what it is by itself.
    pub(crate) fn defaults() -> RawRoute {
        let mut route = RawRoute::new(Place::Default);
        let mut mistakes = Mistakes::default();
        for key in RawRoute::keys() {
            if let Some(given) = default_value(key) {
                route.put(key, &given, &mut mistakes);
            }
        }
        debug_assert!(mistakes.is_empty(), "a default is right: {mistakes:?}");
        route
    }

    pub(crate) fn put(&mut self, key: &'static Key, given: &Placed<Given>, mistakes: &mut Mistakes) {
        let mistakes_before = mistakes.len();
        if RouteKeys::has(key) {
            self.route.put(key, given, mistakes);
        } else if QueueKeys::has(key) {
            self.queue.put(key, given, mistakes);
        } else {
            self.endpoint.put(key, given, mistakes);
        }
        if mistakes.len() > mistakes_before {
            self.unread.push(key.name);
        }
    }

    /// Where a key was given, or where the route begins when nobody gave it.
    pub(crate) fn place_of(&self, name: &str) -> &Place {
        let given = self.route.place_of(name).or_else(|| self.queue.place_of(name));
        given.or_else(|| self.endpoint.place_of(name)).unwrap_or(&self.place)
    }

    pub(crate) fn fill_from(&mut self, below: &RawRoute) {
        self.unread.extend(&below.unread);
        self.route.fill_from(&below.route);
        self.queue.fill_from(&below.queue);
        self.endpoint.fill_from(&below.endpoint);
    }
}

/// A table in which every key is what it is by itself.
pub(crate) fn defaults<K: Keys + Default>() -> K {
    let mut keys = K::default();
    let mut mistakes = Mistakes::default();
    for key in K::KEYS {
        if let Some(given) = default_value(key) {
            keys.put(key, &given, &mut mistakes);
        }
    }
    debug_assert!(mistakes.is_empty(), "a default is right: {mistakes:?}");
    keys
}

/// What a key is by itself, where that is a value. Defaults are texts, integers and booleans; no list has one.
fn default_value(key: &Key) -> Option<Placed<Given>> {
    let Otherwise::Value(value) = key.otherwise else { return None };
    let given = match key.kind {
        Kind::Count { .. } | Kind::Time { .. } => value.replace('_', "").parse().map(Given::Integer).ok(),
        Kind::Switch => value.parse().map(Given::Switch).ok(),
        _ => value
            .strip_prefix('"')
            .and_then(|rest| rest.strip_suffix('"'))
            .map(|text| Given::Text(text.to_owned())),
    };
    given.map(|given| Placed::new(given, Place::Default))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn every_key() -> impl Iterator<Item = &'static Key> {
        RawRoute::keys().chain(ProcessKeys::KEYS).chain(BrokerKeys::KEYS)
    }

    #[test]
    fn every_default_can_be_read() {
        for key in every_key() {
            if matches!(key.otherwise, Otherwise::Value(_)) {
                assert!(default_value(key).is_some(), "{}", key.name);
            }
        }
        RawRoute::defaults();
        defaults::<ProcessKeys>();
        defaults::<BrokerKeys>();
    }

    #[test]
    fn no_two_keys_share_a_name_or_a_flag() {
        let keys: Vec<_> = every_key().collect();
        for (number, key) in keys.iter().enumerate() {
            for other in &keys[..number] {
                assert_ne!(key.name, other.name);
                assert_ne!(key.flag, other.flag);
            }
        }
    }

    #[test]
    fn a_flag_is_the_name_of_its_key_without_the_unit() {
        for key in every_key() {
            let name = key.name.strip_suffix("_ms").unwrap_or(key.name);
            let name =
                if key.kind.repeats() { name.trim_end_matches('s').trim_end_matches("se") } else { name };
            let flag = key.flag.trim_start_matches("--").replace('-', "_");
            assert!(flag.starts_with(name), "{} for {}", key.flag, key.name);
        }
    }
}
