//! Which path is what, and what a path that is not quite one gets: as nsqd's router has it, a redirect where only case, slashes or dots are
//! wrong, 405 with the methods that there are, else 404.

use hyper::Method;

use super::query::decoded;

/// What a request asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Route {
    Ping,
    Info,
    Stats,
    Publish,
    PublishMany,
    Topic(Change),
    Channel(Change),
    /// The option's name.
    Config(String),
}

/// What is done to a topic or channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    Create,
    Delete,
    Empty,
    Pause,
    Unpause,
}

/// Where a request goes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Way {
    To(Route),
    /// The path as it should have been.
    Redirect(String),
    /// The methods that the path has, and OPTIONS, by the alphabet.
    OtherMethod(&'static str),
    Nowhere,
}

const GET: &str = "GET, OPTIONS";
const POST: &str = "OPTIONS, POST";
const GET_PUT: &str = "GET, OPTIONS, PUT";

/// Finds the way of a request. `path` is as it was sent.
pub(super) fn find(method: &Method, path: &str) -> Way {
    let Some(path) = decoded(path, false) else { return Way::Nowhere };
    match route(&path) {
        Some((route, methods)) if has(methods, method) => return Way::To(route),
        Some((_, methods)) => return Way::OtherMethod(methods),
        None => {}
    }
    let fixed = cleaned(&path);
    match route(&fixed) {
        Some((_, methods)) if has(methods, method) && *method != Method::OPTIONS => Way::Redirect(fixed),
        _ => Way::Nowhere,
    }
}

fn has(methods: &str, method: &Method) -> bool {
    *method != Method::OPTIONS && methods.split(", ").any(|known| known == method.as_str())
}

fn route(path: &str) -> Option<(Route, &'static str)> {
    Some(match path {
        "/ping" => (Route::Ping, GET),
        "/info" => (Route::Info, GET),
        "/stats" => (Route::Stats, GET),
        "/pub" => (Route::Publish, POST),
        "/mpub" => (Route::PublishMany, POST),
        _ => {
            let (first, last) = path.strip_prefix('/')?.split_once('/')?;
            match first {
                "topic" => (Route::Topic(change(last)?), POST),
                "channel" => (Route::Channel(change(last)?), POST),
                "config" if !last.is_empty() && !last.contains('/') => {
                    (Route::Config(last.to_owned()), GET_PUT)
                }
                _ => return None,
            }
        }
    })
}

fn change(word: &str) -> Option<Change> {
    Some(match word {
        "create" => Change::Create,
        "delete" => Change::Delete,
        "empty" => Change::Empty,
        "pause" => Change::Pause,
        "unpause" => Change::Unpause,
        _ => return None,
    })
}

/// Without doubled slashes, dots and a slash at the end, and in small letters but for an option's name.
fn cleaned(path: &str) -> String {
    let mut segments: Vec<String> = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => _ = segments.pop(),
            option if segments.len() == 1 && segments[0] == "config" => segments.push(option.to_owned()),
            other => segments.push(other.to_ascii_lowercase()),
        }
    }
    format!("/{}", segments.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_path_of_nsqd_leads_somewhere() {
        let to = |method, path| match find(&method, path) {
            Way::To(route) => route,
            other => panic!("{path}: {other:?}"),
        };
        assert_eq!(to(Method::GET, "/ping"), Route::Ping);
        assert_eq!(to(Method::GET, "/p%69ng"), Route::Ping);
        assert_eq!(to(Method::POST, "/pub"), Route::Publish);
        assert_eq!(to(Method::POST, "/topic/unpause"), Route::Topic(Change::Unpause));
        assert_eq!(to(Method::POST, "/channel/empty"), Route::Channel(Change::Empty));
        assert_eq!(to(Method::PUT, "/config/log_level"), Route::Config("log_level".into()));
    }

    #[test]
    fn a_wrong_method_is_told_the_right_ones() {
        assert_eq!(find(&Method::POST, "/ping"), Way::OtherMethod("GET, OPTIONS"));
        assert_eq!(find(&Method::HEAD, "/ping"), Way::OtherMethod("GET, OPTIONS"));
        assert_eq!(find(&Method::OPTIONS, "/mpub"), Way::OtherMethod("OPTIONS, POST"));
        assert_eq!(find(&Method::POST, "/config/x"), Way::OtherMethod("GET, OPTIONS, PUT"));
    }

    #[test]
    fn a_path_that_is_nearly_right_is_redirected() {
        for nearly in ["/ping/", "/PING", "//ping", "/./ping", "/x/../ping"] {
            assert_eq!(find(&Method::GET, nearly), Way::Redirect("/ping".into()), "{nearly}");
        }
        assert_eq!(find(&Method::POST, "/Topic/create/"), Way::Redirect("/topic/create".into()));
        assert_eq!(find(&Method::POST, "/ping/"), Way::Nowhere);
    }

    #[test]
    fn anything_else_is_nowhere() {
        for path in
            ["/", "/nope", "/config", "/config/", "/config/a/b", "/topic/x", "/topic", "/debug/pprof/"]
        {
            assert_eq!(find(&Method::GET, path), Way::Nowhere, "{path}");
        }
    }
}
