//! `posthaste check`: what a configuration amounts to, in short, when nothing is wrong with it.

use std::fmt::Write;
use std::path::Path;

use pipeline::RouteSettings;
use pipeline::client::Source;

use crate::config::Settings;
use crate::figures::{bytes, count, counted, set_time};
use crate::open_files;

/// The resolved view.
pub(crate) fn view(path: &Path, settings: &Settings) -> String {
    let routes = &settings.pipeline.routes;
    let connections: usize = routes.iter().map(|route| route.concurrency).sum();
    let mut text = format!(
        "{} is right: {}, at most {}, {} open files\n",
        path.display(),
        counted(routes.len() as u64, "route"),
        counted(connections as u64, "connection"),
        count(open_files::needed(&settings.pipeline)),
    );
    for route in routes {
        write!(text, "\nroute {}\n{}", route.name, route_view(route)).expect("a string takes everything");
    }
    if let Some(broker) = &settings.broker {
        write!(text, "\nembedded queue\n{}", broker_view(broker)).expect("a string takes everything");
    }
    for warning in &settings.warnings {
        write!(text, "\nwarning: {warning}\n").expect("a string takes everything");
    }
    text
}

fn broker_view(broker: &broker::Settings) -> String {
    let bound = format!(
        "{} and {} at most; a publish beyond is refused",
        counted(broker.messages_max, "message"),
        bytes(broker.bytes_max)
    );
    let lines = [
        ("kept in", broker.data_path.display().to_string()),
        (
            "serves",
            format!(
                "NSQ's TCP protocol on {}, nsqd's HTTP API on {}",
                broker.tcp_address, broker.http_address
            ),
        ),
        ("holds", bound),
    ];
    lines.iter().map(|(about, says)| format!("  {about:<8} {says}\n")).collect()
}

fn route_view(route: &RouteSettings) -> String {
    let (consumer, endpoint) = (&route.consumer, &route.endpoint);
    let source = match &consumer.source {
        Source::Nsqds(addresses) => format!("nsqd {}", addresses.join(", ")),
        Source::Lookupds(addresses) => format!("nsqlookupd {}", addresses.join(", ")),
        Source::Memory(_) => "the embedded queue".to_owned(),
    };
    let mut names: Vec<_> = endpoint.headers.iter().map(|(name, _)| name).collect();
    if route.idempotency_key {
        names.push("Idempotency-Key");
    }
    let times = [
        ("request", endpoint.request_timeout),
        ("connect", endpoint.connect_timeout),
        ("idle", endpoint.idle_timeout),
        ("age", endpoint.age_max),
    ];
    let times: Vec<_> = times.into_iter().map(|(name, time)| format!("{name} {}", set_time(time))).collect();
    let lines = [
        ("from", format!("{}/{} at {source}", consumer.topic, consumer.channel)),
        ("to", endpoint.url.to_string()),
        (
            "at once",
            format!(
                "{} on {}; {} and {} held",
                counted(route.concurrency as u64, "request"),
                counted(route.lanes as u64, "lane"),
                counted(route.max_in_flight() as u64, "message"),
                bytes(consumer.in_flight_bytes_max),
            ),
        ),
        ("times", times.join(", ")),
        ("headers", format!("{}, X-NSQ-*", names.join(", "))),
    ];
    lines.iter().map(|(about, says)| format!("  {about:<8} {says}\n")).collect()
}
