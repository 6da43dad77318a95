//! From what was typed to what is run: keys that belong together are put together, and the crates that own the settings
//! check them. Whatever can be wrong without a connection is found here, all of it.

mod broker;
mod endpoint;
mod files;
mod headers;
mod queue;
mod route;

use std::path::PathBuf;

use pipeline::PipelineSettings;
use pipeline::client::Source;
use tracing::level_filters::LevelFilter;

use crate::config::keys::{BrokerKeys, Keys, ProcessKeys};
use crate::config::mistake::Mistakes;
use crate::config::place::{Place, Placed};
use crate::config::raw::{Raw, RawRoute, defaults};
use crate::log::{LogFormat, LogSettings};
use crate::summary::SummaryForm;

pub(crate) use self::broker::refuse_nsqds;

/// What the process runs with.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) pipeline: PipelineSettings,
    /// The embedded queue, where a route takes its messages from it.
    pub(crate) broker: Option<::broker::Settings>,
    pub(crate) log: LogSettings,
    pub(crate) summary: SummaryForm,
    /// What is allowed but better known, for the log.
    pub(crate) warnings: Vec<String>,
}

/// Resolves a whole configuration; what comes back is of use only if no mistake was found.
pub(crate) fn resolve(raw: Raw, mistakes: &mut Mistakes) -> Settings {
    let mut warnings = Vec::new();
    let route_defaults = RawRoute::defaults();
    let mut routes = Vec::new();
    for mut raw in raw.routes {
        raw.fill_from(&route_defaults);
        let mistakes_before = mistakes.len();
        let route = route::resolve(&raw, mistakes, &mut warnings);
        if mistakes.len() == mistakes_before {
            files::check(&raw, &route, mistakes);
        }
        routes.push((raw, route));
    }
    refuse_shared_names(&routes, mistakes);

    let embedded = routes.iter().any(|(_, route)| matches!(route.consumer.source, Source::Memory(_)));
    let broker = broker(raw.broker, embedded, mistakes, &mut warnings);
    let mut process = raw.process;
    process.fill_from(&defaults());
    let ProcessKeys { threads, dials_max, log_level, log_format, summary } = process;
    Settings {
        pipeline: PipelineSettings {
            routes: routes.into_iter().map(|(_, route)| route).collect(),
            threads: threads.map(|threads| endpoint::whole(threads.value)),
            dials_max: endpoint::whole(set(&dials_max)),
        },
        broker,
        log: LogSettings {
            level: match set(&log_level).as_str() {
                "error" => LevelFilter::ERROR,
                "warn" => LevelFilter::WARN,
                "debug" => LevelFilter::DEBUG,
                "trace" => LevelFilter::TRACE,
                _ => LevelFilter::INFO,
            },
            format: log_format.map(|format| match format.value.as_str() {
                "json" => LogFormat::Json,
                _ => LogFormat::Human,
            }),
        },
        summary: match set(&summary).as_str() {
            "json" => SummaryForm::Json,
            "none" => SummaryForm::None,
            _ => SummaryForm::Human,
        },
        warnings,
    }
}

/// The queue's settings, if there is one; keys of one that nobody uses are better known.
fn broker(
    mut raw: BrokerKeys,
    embedded: bool,
    mistakes: &mut Mistakes,
    warnings: &mut Vec<String>,
) -> Option<::broker::Settings> {
    if embedded {
        raw.fill_from(&defaults());
        return Some(self::broker::resolve(&raw, mistakes));
    }
    if let Some(key) = BrokerKeys::KEYS.iter().find(|key| raw.place_of(key.name).is_some()) {
        warnings.push(format!(
            "{} is set for the embedded queue, and every route takes its messages from NSQ: there is none",
            key.name
        ));
    }
    None
}

/// Two routes of one name could not be told apart in the log and the summary.
fn refuse_shared_names(routes: &[(RawRoute, pipeline::RouteSettings)], mistakes: &mut Mistakes) {
    for (number, (raw, route)) in routes.iter().enumerate() {
        if let Some((first, _)) = routes[..number].iter().find(|(_, earlier)| earlier.name == route.name) {
            let reason = format!("is the name of the route at {}, too", first.place);
            let place = raw.place_of("name");
            let what = place.shown("name", &format!("{:?}", route.name));
            mistakes.push(place, what, reason, "give each route a `name` of its own");
        }
    }
}

/// The value of a key that is something by itself.
fn set<T: Clone>(key: &Option<Placed<T>>) -> T {
    key.as_ref()
        .expect("a key with a value by itself is never empty: `RawRoute::defaults` has filled it")
        .value
        .clone()
}

/// A certificate and its key.
struct Pair {
    certificate: PathBuf,
    key: PathBuf,
}

/// Both files or none.
fn pair(
    certificate: Option<Placed<PathBuf>>,
    key: Option<Placed<PathBuf>>,
    names: [&str; 2],
    mistakes: &mut Mistakes,
) -> Option<Pair> {
    let mut lonely = |place: &Place, given: &str, missing: &str| {
        mistakes.push(
            place,
            place.shown(given, ""),
            format!("is of no use without `{missing}`"),
            "set both, or none",
        );
    };
    match (certificate, key) {
        (Some(certificate), Some(key)) => {
            return Some(Pair { certificate: certificate.value, key: key.value });
        }
        (Some(certificate), None) => lonely(&certificate.place, names[0], names[1]),
        (None, Some(key)) => lonely(&key.place, names[1], names[0]),
        (None, None) => {}
    }
    None
}

#[cfg(test)]
mod tests {
    use pipeline::client::{ConsumerSettings, Source};
    use pipeline::delivery::{DIALS_MAX_DEFAULT, EndpointSettings};

    use super::*;
    use crate::config::file;

    fn settings(source: &str) -> Settings {
        let mut mistakes = Mistakes::default();
        let raw = file::parse("p.toml", source, &mut mistakes);
        let settings = resolve(raw, &mut mistakes);
        assert!(mistakes.is_empty(), "{mistakes:?}");
        settings
    }

    const LEAST: &str =
        "[[route]]\ntopic = 'a'\nto = 'https://127.0.0.1/'\nnsqd_tcp_addresses = ['127.0.0.1:4150']\n";

    /// The configuration page promises these, and the crates have defaults of their own for other callers.
    #[test]
    fn what_a_key_is_by_itself_is_what_its_crate_has() {
        let settings = settings(LEAST);
        assert_eq!(settings.pipeline.dials_max, DIALS_MAX_DEFAULT);
        let route = &settings.pipeline.routes[0];
        assert_eq!((route.lanes, route.concurrency, route.max_in_flight), (1, 64, None));
        assert_eq!(route.backoff, pipeline::BackoffSettings::default());
        assert_eq!(route.drain_grace, route.endpoint.request_timeout);
        assert_eq!(route.name, "a/posthaste");

        let source = Source::Nsqds(vec!["127.0.0.1:4150".to_owned()]);
        let mut consumer =
            ConsumerSettings::new(route.consumer.topic.clone(), route.consumer.channel.clone(), source);
        // The pipeline sets each lane's share.
        consumer.max_in_flight = route.consumer.max_in_flight;
        assert_eq!(route.consumer, consumer);

        let mut endpoint = EndpointSettings::new(route.endpoint.url.clone());
        endpoint.headers.add("Content-Type", "application/octet-stream").expect("it may be sent");
        endpoint
            .headers
            .add("User-Agent", concat!("posthaste/", env!("CARGO_PKG_VERSION")))
            .expect("it may be sent");
        assert_eq!(format!("{:?}", route.endpoint), format!("{endpoint:?}"));
        assert_eq!(route.endpoint.headers, endpoint.headers);
    }

    #[test]
    fn a_shorter_request_shortens_its_dial_unless_that_was_set() {
        let seconds = |source: &str| settings(source).pipeline.routes[0].endpoint.connect_timeout.as_secs();
        assert_eq!(seconds(&format!("{LEAST}request_timeout_ms = 2_000")), 2);
        assert_eq!(seconds(&format!("{LEAST}request_timeout_ms = 2_000\nconnect_timeout_ms = 1_000")), 1);
        assert_eq!(seconds(&format!("{LEAST}request_timeout_ms = 9_000")), 5);
    }

    #[test]
    fn a_header_line_takes_the_place_of_what_is_sent_by_itself() {
        let line = "headers = { content-type = 'text/plain', User-Agent = 'me', Idempotency-Key = 'x' }\n";
        let settings = settings(&format!("{LEAST}{line}idempotency_key = false"));
        let route = &settings.pipeline.routes[0];
        assert_eq!(route.endpoint.headers.iter().count(), 3);
        assert!(!route.idempotency_key && !route.endpoint.idempotent);
    }

    #[test]
    fn no_secret_is_in_what_can_be_printed() {
        let more = "auth_secret = 'hush'\nheaders = { Authorization = 'hush', X-A = 'hush' }\n";
        let mut mistakes = Mistakes::default();
        let raw = file::parse("p.toml", &format!("{LEAST}{more}"), &mut mistakes);
        assert!(!format!("{raw:?}").contains("hush"));
        let settings = resolve(raw, &mut mistakes);
        assert!(mistakes.is_empty() && !format!("{settings:?}").contains("hush"));
        assert_eq!(
            settings.pipeline.routes[0].endpoint.headers.iter().filter(|(_, value)| *value == "hush").count(),
            2
        );
    }

    #[test]
    fn two_routes_of_one_name_are_refused() {
        let mut mistakes = Mistakes::default();
        let raw = file::parse("p.toml", &format!("{LEAST}{LEAST}"), &mut mistakes);
        resolve(raw, &mut mistakes);
        let found = mistakes.sorted();
        assert_eq!(found.len(), 1);
        assert!(
            found[0]
                .to_string()
                .starts_with("p.toml:5:1: name = \"a/posthaste\": is the name of the route at p.toml:1:1")
        );
    }
}
