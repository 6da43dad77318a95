//! A route: what it must have, and the settings that its keys make.

use std::fmt::Display;

use pipeline::client::{ChannelName, InProcess, Source, TopicName};
use pipeline::delivery::{EndpointUrl, UrlError};
use pipeline::{BackoffSettings, RouteSettings};

use crate::config::keys::RouteKeys;
use crate::config::mistake::Mistakes;
use crate::config::place::{Place, Placed};
use crate::config::raw::RawRoute;
use crate::config::resolve::endpoint::whole;
use crate::config::resolve::queue::Subscription;
use crate::config::resolve::{endpoint, queue, set};

/// The settings of a route. They are of use only if no mistake was found.
pub(super) fn resolve(raw: &RawRoute, mistakes: &mut Mistakes, warnings: &mut Vec<String>) -> RouteSettings {
    // Taken apart whole: a key that is not used here does not compile.
    let RouteKeys {
        name,
        topic,
        channel,
        nsqd_tcp_addresses,
        lookupd_http_addresses,
        to,
        concurrency,
        max_in_flight,
        lanes,
        idempotency_key,
        backoff_initial_ms,
        backoff_max_ms,
        drain_grace_ms,
    } = &raw.route;
    let nowhere = Placed::new(Vec::new(), raw.place.clone());
    let nsqds = nsqd_tcp_addresses.as_ref().unwrap_or(&nowhere);
    let lookupds = lookupd_http_addresses.as_ref().unwrap_or(&nowhere);

    // What is missing or wrong is replaced by anything that is right, so that the rest is checked all the same.
    let topic = required(raw, topic, "topic", "name the topic to take messages from", mistakes)
        .and_then(|topic| checked(topic, "topic", TopicName::new(&topic.value), mistakes));
    let channel = channel
        .as_ref()
        .and_then(|channel| checked(channel, "channel", ChannelName::new(&channel.value), mistakes));
    let url = required(raw, to, "to", "give the URL to POST to, as https://api.example.com/path", mistakes)
        .and_then(|to| url(to, mistakes));
    let route_name = match (name, &topic, &channel) {
        (Some(name), _, _) => name.value.clone(),
        (None, Some(topic), Some(channel)) => format!("{topic}/{channel}"),
        (None, _, _) => raw.place.to_string(),
    };
    let subscription = Subscription {
        topic: topic.unwrap_or_else(|| TopicName::new("topic").expect("this is a name")),
        channel: channel.unwrap_or_else(|| ChannelName::new("channel").expect("this is a name")),
        source: source(raw, nsqds, lookupds, mistakes),
    };
    let url = url.unwrap_or_else(|| EndpointUrl::parse("https://localhost/").expect("this is a URL"));
    let consumer = queue::resolve(raw, subscription, mistakes, warnings);
    let endpoint = endpoint::resolve(raw, url, mistakes, warnings);
    let route = RouteSettings {
        name: route_name,
        consumer,
        endpoint,
        lanes: whole(set(lanes)),
        concurrency: whole(set(concurrency)),
        max_in_flight: max_in_flight.as_ref().map(|most| u32::try_from(most.value).unwrap_or(u32::MAX)),
        idempotency_key: set(idempotency_key),
        backoff: BackoffSettings { initial: set(backoff_initial_ms), max: set(backoff_max_ms) },
        drain_grace: set(drain_grace_ms),
    };
    for error in route.check() {
        let backoff = ["backoff_max_ms", "backoff_initial_ms"];
        let keys = if error.field == "backoff" { backoff } else { [error.field; 2] };
        // Of two keys that do not fit together the one is at fault that was given.
        let place = keys.map(|key| raw.place_of(key)).into_iter().find(|place| **place != raw.place);
        let place = place.unwrap_or(&raw.place);
        mistakes.push(place, place.shown(error.field, &error.value), error.reason, "");
    }
    route
}

fn required<'a>(
    raw: &RawRoute,
    key: &'a Option<Placed<String>>,
    name: &str,
    way_out: &str,
    mistakes: &mut Mistakes,
) -> Option<&'a Placed<String>> {
    // One that could not be read has its mistake already, and so is not missing.
    if key.is_none() && !raw.unread.contains(&name) {
        let dashes = if raw.place == Place::CommandLine { "--" } else { "" };
        mistakes.push(&raw.place, format!("{dashes}{name}"), "is missing", way_out);
    }
    key.as_ref()
}

fn checked<T>(
    given: &Placed<String>,
    key: &str,
    name: Result<T, impl Display>,
    mistakes: &mut Mistakes,
) -> Option<T> {
    name.map_err(|error| {
        let what = given.place.shown(key, &format!("{:?}", given.value));
        mistakes.push(&given.place, what, error.to_string(), "");
    })
    .ok()
}

/// The URL is not shown when it is wrong: it may hold a password.
fn url(to: &Placed<String>, mistakes: &mut Mistakes) -> Option<EndpointUrl> {
    let refuse = |error: UrlError| mistakes.push(&to.place, to.place.shown("to", ""), error.to_string(), "");
    EndpointUrl::parse(&to.value).map_err(refuse).ok()
}

/// Where messages come from: nsqds, or nsqlookupds, or, where neither is named, the embedded queue.
fn source(
    raw: &RawRoute,
    nsqds: &Placed<Vec<Placed<String>>>,
    lookupds: &Placed<Vec<Placed<String>>>,
    mistakes: &mut Mistakes,
) -> Source {
    let names = match raw.place {
        Place::CommandLine => ["--nsqd-tcp-address HOST:PORT", "--lookupd-http-address HOST:PORT"],
        _ => ["nsqd_tcp_addresses", "lookupd_http_addresses"],
    };
    let plain = |addresses: &Placed<Vec<Placed<String>>>| {
        addresses.value.iter().map(|address| address.value.clone()).collect::<Vec<_>>()
    };
    let unread = raw.unread.iter().any(|key| ["nsqd_tcp_addresses", "lookupd_http_addresses"].contains(key));
    match (nsqds.value.is_empty(), lookupds.value.is_empty()) {
        (false, true) => return Source::Nsqds(plain(nsqds)),
        (true, false) => return Source::Lookupds(plain(lookupds)),
        (false, false) => {
            let way_out = "keep the nsqlookupds if there are any, else the nsqds";
            mistakes.push(
                &lookupds.place,
                "",
                format!("{} and {} cannot both be given", names[0], names[1]),
                way_out,
            );
        }
        (true, true) if unread => {}
        // It serves once it is started, and is put here then.
        (true, true) => return Source::Memory(InProcess::unserved("embedded")),
    }
    Source::Nsqds(vec!["localhost:4150".to_owned()])
}
