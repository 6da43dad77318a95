//! From what was typed to what is run: keys that belong together are put together, and the crates that own the settings
//! check them. Whatever can be wrong without a connection is found here, all of it.

mod endpoint;
mod files;
mod headers;
mod queue;
mod route;

use std::path::PathBuf;

use pipeline::PipelineSettings;
use tracing::level_filters::LevelFilter;

use crate::config::keys::{Keys, ProcessKeys};
use crate::config::mistake::Mistakes;
use crate::config::place::{Place, Placed};
use crate::config::raw::{Raw, RawRoute};
use crate::log::{LogFormat, LogSettings};
use crate::summary::SummaryForm;

/// What the process runs with.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) pipeline: PipelineSettings,
    pub(crate) log: LogSettings,
    pub(crate) summary: SummaryForm,
    /// What is allowed but better known, for the log.
    pub(crate) warnings: Vec<String>,
}

/// Resolves a whole configuration; what comes back is of use only if no mistake was found.
pub(crate) fn resolve(raw: Raw, mistakes: &mut Mistakes) -> Settings {
    let mut warnings = Vec::new();
    let defaults = RawRoute::defaults();
    let mut routes = Vec::new();
    for mut raw in raw.routes {
        raw.fill_from(&defaults);
        let mistakes_before = mistakes.len();
        let route = route::resolve(&raw, mistakes, &mut warnings);
        if mistakes.len() == mistakes_before {
            files::check(&raw, &route, mistakes);
        }
        routes.push((raw, route));
    }
    refuse_shared_names(&routes, mistakes);

    let mut process = raw.process;
    process.fill_from(&ProcessKeys::defaults());
    let ProcessKeys { threads, dials_max, log_level, log_format, summary } = process;
    Settings {
        pipeline: PipelineSettings {
            routes: routes.into_iter().map(|(_, route)| route).collect(),
            threads: threads.map(|threads| endpoint::whole(threads.value)),
            dials_max: endpoint::whole(set(&dials_max)),
        },
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
