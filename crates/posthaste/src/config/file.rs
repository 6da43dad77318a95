//! The configuration file: TOML tables walked with their places, so that every mistake is found at once.
//!
//! ```toml
//! threads = 2                 # keys of the process
//!
//! [broker]                    # keys of the embedded queue
//! data_path = "/var/lib/posthaste"
//!
//! [defaults]                  # keys of every route that does not set them
//! lookupd_http_addresses = ["127.0.0.1:4161"]
//!
//! [[route]]                   # one for each route
//! topic = "events"
//! to = "https://127.0.0.1:8443/events"
//! ```

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::config::given;
use crate::config::keys::{BrokerKeys, Keys, ProcessKeys};
use crate::config::mistake::Mistakes;
use crate::config::nearest::nearest;
use crate::config::place::{Lines, Place};
use crate::config::raw::{Raw, RawRoute};

const BROKER: &str = "broker";
const DEFAULTS: &str = "defaults";
const ROUTE: &str = "route";

/// Reads what is right in `source` and collects what is not. `path` names the file in messages.
pub(crate) fn parse(path: &str, source: &str, mistakes: &mut Mistakes) -> Raw {
    let lines = Lines::new(path, source);
    let (document, errors) = DeTable::parse_recoverable(source);
    let is_toml = errors.is_empty();
    for error in errors {
        let place = lines.place(error.span().map_or(0, |span| span.start));
        mistakes.push(&place, "", format!("not TOML: {}", error.message().replace('\n', ", ")), "");
    }
    let mut walk = Walk { lines, mistakes, raw: Raw::default(), defaults: RawRoute::new(Place::Default) };
    for (key, value) in document.get_ref() {
        walk.top(key, value);
    }
    let Walk { mut raw, defaults, .. } = walk;
    raw.routes.iter_mut().for_each(|route| route.fill_from(&defaults));
    // A route may be missing only because its line could not be read.
    if raw.routes.is_empty() && is_toml {
        let place = Lines::new(path, source).place(source.len());
        mistakes.push(
            &place,
            "",
            "there is no route",
            "begin one with [[route]] and give it a topic and a `to`",
        );
    }
    raw
}

struct Walk<'a> {
    lines: Lines<'a>,
    mistakes: &'a mut Mistakes,
    raw: Raw,
    /// What the file sets for every route.
    defaults: RawRoute,
}

impl Walk<'_> {
    fn place(&self, of: &Spanned<impl Sized>) -> Place {
        self.lines.place(of.span().start)
    }

    fn top(&mut self, key: &Spanned<impl AsRef<str>>, value: &Spanned<DeValue<'_>>) {
        let name = key.get_ref().as_ref();
        match (name, value.get_ref()) {
            (DEFAULTS, DeValue::Table(table)) => {
                let mut defaults = std::mem::replace(&mut self.defaults, RawRoute::new(Place::Default));
                self.route(&mut defaults, table);
                self.defaults = defaults;
            }
            (DEFAULTS, _) => self.refuse(key, "is a table", "write it as [defaults]"),
            (BROKER, DeValue::Table(table)) => self.broker(table),
            (BROKER, _) => self.refuse(key, "is a table", "write it as [broker]"),
            (ROUTE, DeValue::Array(routes)) => routes.iter().for_each(|route| self.one_route(route)),
            (ROUTE, _) => self.refuse(key, "is a list of tables", "write [[route]], with two brackets"),
            _ => match ProcessKeys::KEYS.iter().find(|known| known.name == name) {
                Some(known) => {
                    let given = given::from_file(value, &self.lines);
                    self.raw.process.put(known, &given, self.mistakes);
                }
                None => self.unknown_at_top(key),
            },
        }
    }

    fn broker(&mut self, table: &DeTable<'_>) {
        for (key, value) in table {
            let name = key.get_ref().as_ref();
            match BrokerKeys::KEYS.iter().find(|known| known.name == name) {
                Some(known) => {
                    let given = given::from_file(value, &self.lines);
                    self.raw.broker.put(known, &given, self.mistakes);
                }
                None => self.unknown(key, nearest(name, BrokerKeys::KEYS.iter().map(|key| key.name))),
            }
        }
    }

    fn one_route(&mut self, route: &Spanned<DeValue<'_>>) {
        let place = self.place(route);
        match route.get_ref() {
            DeValue::Table(table) => {
                let mut raw = RawRoute::new(place);
                self.route(&mut raw, table);
                self.raw.routes.push(raw);
            }
            _ => self.mistakes.push(&place, "", "a route is a table", "begin it with [[route]]"),
        }
    }

    fn route(&mut self, route: &mut RawRoute, table: &DeTable<'_>) {
        for (key, value) in table {
            match RawRoute::keys().find(|known| known.name == key.get_ref().as_ref()) {
                Some(known) => {
                    let given = given::from_file(value, &self.lines);
                    route.put(known, &given, self.mistakes);
                }
                None => self.unknown_in_route(key),
            }
        }
    }

    fn unknown_at_top(&mut self, key: &Spanned<impl AsRef<str>>) {
        let name = key.get_ref().as_ref();
        if RawRoute::keys().any(|known| known.name == name) {
            let way_out = format!("move it under [[{ROUTE}]], or under [{DEFAULTS}] for all routes");
            return self.refuse(key, "belongs to a route", &way_out);
        }
        if BrokerKeys::KEYS.iter().any(|known| known.name == name) {
            return self.refuse(key, "belongs to the embedded queue", &format!("move it under [{BROKER}]"));
        }
        let known = ProcessKeys::KEYS.iter().map(|key| key.name).chain([BROKER, DEFAULTS, ROUTE]);
        self.unknown(key, nearest(name, known));
    }

    fn unknown_in_route(&mut self, key: &Spanned<impl AsRef<str>>) {
        let name = key.get_ref().as_ref();
        if ProcessKeys::KEYS.iter().any(|known| known.name == name) {
            return self.refuse(
                key,
                "belongs to the process",
                "move it to the top of the file, above the first [",
            );
        }
        self.unknown(key, nearest(name, RawRoute::keys().map(|key| key.name)));
    }

    fn unknown(&mut self, key: &Spanned<impl AsRef<str>>, nearest: Option<&str>) {
        let way_out = match nearest {
            Some(nearest) => format!("did you mean `{nearest}`?"),
            None => "docs/configuration.md lists every key".to_owned(),
        };
        self.refuse(key, "is not a known key", &way_out);
    }

    fn refuse(&mut self, key: &Spanned<impl AsRef<str>>, reason: &str, way_out: &str) {
        let place = self.place(key);
        self.mistakes.push(&place, key.get_ref().as_ref(), reason, way_out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mistakes(source: &str) -> Vec<String> {
        let mut mistakes = Mistakes::default();
        parse("p.toml", source, &mut mistakes);
        mistakes.sorted().iter().map(|mistake| mistake.to_string().replace("\n    ", " | ")).collect()
    }

    #[test]
    fn a_right_file_is_read_with_places() {
        let source = "threads = 2\n[defaults]\nlanes = 2\n[[route]]\ntopic = 'a'\nheaders = { X-A = '$B' }\n[[route]]\nlanes = 4\n";
        let mut mistakes = Mistakes::default();
        let raw = parse("p.toml", source, &mut mistakes);
        assert!(mistakes.is_empty(), "{mistakes:?}");
        let lanes: Vec<_> =
            raw.routes.iter().map(|route| route.route.lanes.as_ref().map(|lanes| lanes.value)).collect();
        assert_eq!(lanes, [Some(2), Some(4)]);
        let topic = raw.routes[0].route.topic.as_ref().expect("the topic is there");
        assert_eq!((topic.value.as_str(), topic.place.to_string()), ("a", "p.toml:5:9".to_owned()));
        assert_eq!(raw.routes[1].place.to_string(), "p.toml:7:1");
    }

    #[test]
    fn every_mistake_is_found_at_once_with_its_place() {
        let source = "thread = 2\ntopic = 'a'\nlog_level = 'loud'\n[[route]]\nconcurency = 1\nlanes = 0\nthreads = 1\n\
                      request_timeout_ms = '30s'\nnsqd_tcp_addresses = ['a:1', 2]\ncolour = 1\nidle_timeout_ms = 1.5\n";
        assert_eq!(
            mistakes(source),
            [
                "p.toml:1:1: thread: is not a known key | did you mean `threads`?",
                "p.toml:2:1: topic: belongs to a route | move it under [[route]], or under [defaults] for all routes",
                "p.toml:3:13: log_level = \"loud\": is not one of its values | it takes: \"error\" or \"warn\" or \"info\" or \"debug\" or \"trace\"",
                "p.toml:5:1: concurency: is not a known key | did you mean `concurrency`?",
                "p.toml:6:9: lanes = 0: is out of its bounds | it takes 1 to 4096 lanes",
                "p.toml:7:1: threads: belongs to the process | move it to the top of the file, above the first [",
                "p.toml:8:22: request_timeout_ms = \"30s\": has the wrong type | it takes: integer 1 to 3600000",
                "p.toml:9:30: nsqd_tcp_addresses = 2: has the wrong type | it takes: list of texts",
                "p.toml:10:1: colour: is not a known key | docs/configuration.md lists every key",
                "p.toml:11:19: idle_timeout_ms = (a number with a point): has the wrong type | it takes: integer 1 to 86400000",
            ]
        );
    }

    #[test]
    fn the_embedded_queue_has_a_table_of_its_own() {
        let route = "[[route]]\ntopic = 'a'\n";
        let source = format!("[broker]\ndata_path = '/d'\nbytes_max = 5\n{route}");
        let mut read = Mistakes::default();
        let raw = parse("p.toml", &source, &mut read);
        assert!(read.is_empty(), "{read:?}");
        assert_eq!(raw.broker.bytes_max.map(|bytes| bytes.value), Some(5));
        assert_eq!(
            mistakes(&format!("data_path = '/d'\n[broker]\nbytes_mux = 5\n{route}")),
            [
                "p.toml:1:1: data_path: belongs to the embedded queue | move it under [broker]",
                "p.toml:3:1: bytes_mux: is not a known key | did you mean `bytes_max`?",
            ]
        );
    }

    #[test]
    fn what_is_not_toml_is_told_with_its_line_and_the_rest_is_still_checked() {
        let found = mistakes("threads = = 2\n[[route]]\ntopic = \"a\nlanez = 1\n");
        assert!(found.len() >= 3, "{found:?}");
        assert!(found[0].starts_with("p.toml:1:"), "{found:?}");
        assert!(found.iter().any(|mistake| mistake.contains("did you mean `lanes`?")), "{found:?}");
    }

    #[test]
    fn a_file_without_a_route_says_so() {
        assert_eq!(
            mistakes(""),
            ["p.toml:1:1: there is no route | begin one with [[route]] and give it a topic and a `to`"]
        );
        assert!(mistakes("[route]\ntopic = 'a'")[0].contains("two brackets"));
        assert!(mistakes("route = 1").len() == 2);
    }

    #[test]
    fn a_secret_of_the_wrong_type_is_not_shown() {
        let found = mistakes("[[route]]\nauth_secret = 12345\nheaders = { X-A = 777 }\n");
        assert_eq!(found.len(), 2);
        assert!(found.iter().all(|text| !text.contains("12345") && !text.contains("777")), "{found:?}");
    }
}
