//! How busy the permits are kept, and how soon a message is on its way.

use std::time::{Duration, Instant};

use testkit::body::{self, Verdict, body};
use testkit::certs::Authority;
use testkit::endpoint::{Answer, Endpoint, EndpointOptions, RequestRecord, Script, TlsOptions};

use crate::rig::{self, CHANNEL, Run, TOPIC};

/// A permit whose connection comes free has its next message at hand. 100 permits can do 2,000 a second when an answer takes
/// 50 ms on average.
#[test]
fn permits_are_kept_busy_by_an_endpoint_of_uneven_pace() {
    let _alone = testkit::exclusive();
    let (busy, rate) = testkit::undisturbed(busy_permits_and_rate);
    assert!(busy >= 95.0, "{busy:.1} permits busy on average");
    assert!(rate >= 1_900.0, "{rate:.0} messages a second");
}

fn busy_permits_and_rate() -> (f64, f64) {
    const MESSAGES: u64 = 20_000;
    let nsqd = rig::nsqd(&["--mem-queue-size=20000"]);
    rig::publish(&nsqd, MESSAGES, 1024);
    let pace = Script::ok_between(Duration::from_millis(25), Duration::from_millis(75));
    let endpoint = Endpoint::start(EndpointOptions {
        requests_kept: MESSAGES as usize,
        ..EndpointOptions::new(pace).tls(TlsOptions::new(&Authority::new()))
    });
    let run = Run::new([&nsqd], &endpoint.url("/")).trusting(&endpoint.ca_file());
    let posthaste = run.with("--concurrency", 100).start();
    rig::wait_finished(&nsqd, MESSAGES);
    let (summary, _) = rig::drain(&posthaste);

    endpoint.ledger().assert_exactly_once(0..MESSAGES);
    let counts = endpoint.counts();
    assert_eq!((counts.fired("sleep"), counts.busy_max), (MESSAGES, 100));
    let busy = summary["permits_busy_mean"].as_f64().expect("a number");
    let rate = MESSAGES as f64 / served_within(&endpoint).as_secs_f64();
    eprintln!("{busy:.1} permits busy, {rate:.0} messages a second");
    (busy, rate)
}

/// From the first request to the last answer.
fn served_within(endpoint: &Endpoint) -> Duration {
    let requests = endpoint.requests();
    let begun = requests.iter().map(|request| request.arrived).min();
    let ended = requests.iter().filter_map(|request| request.answered).max();
    ended.expect("an answer") - begun.expect("a request")
}

/// An nsqd may hold a message in its output buffer for the buffer's timeout, 25 ms as asked for.
#[test]
fn a_message_through_an_idle_nsqd_is_posted_at_once() {
    let _alone = testkit::exclusive();
    let delays = testkit::undisturbed(delays_through_an_idle_nsqd);
    let (median, p99) = (delays[delays.len() / 2], delays[delays.len() - 2]);
    eprintln!("publish to POST: median {median:?}, p99 {p99:?}, most {:?}", delays[delays.len() - 1]);
    assert!(p99 <= Duration::from_millis(35), "p99 {p99:?} of {delays:?}");
}

/// In order.
fn delays_through_an_idle_nsqd() -> Vec<Duration> {
    const MESSAGES: u64 = 100;
    let nsqd = rig::nsqd(&[]);
    let endpoint = Endpoint::start(EndpointOptions {
        bodies_kept: 1024,
        ..EndpointOptions::new(Answer::ok()).tls(TlsOptions::new(&Authority::new()))
    });
    let run = Run::new([&nsqd], &endpoint.url("/")).trusting(&endpoint.ca_file());
    let posthaste = run.start();
    nsqd.wait_channel(TOPIC, CHANNEL, |channel| channel.rdy_sum() > 0);
    let mut published = Vec::new();
    for serial in 0..MESSAGES {
        std::thread::sleep(Duration::from_millis(100));
        published.push(Instant::now());
        nsqd.publish(TOPIC, &body(serial, 1024));
    }
    rig::wait_finished(&nsqd, MESSAGES);
    rig::drain(&posthaste);

    endpoint.ledger().assert_exactly_once(0..MESSAGES);
    let mut delays: Vec<Duration> = endpoint
        .requests()
        .iter()
        .map(|request| request.arrived.duration_since(published[serial(request) as usize]))
        .collect();
    delays.sort();
    delays
}

fn serial(request: &RequestRecord) -> u64 {
    match request.body.as_deref().map(body::judge) {
        Some(Verdict::Whole(serial)) => serial,
        other => panic!("a body of no serial: {other:?}"),
    }
}
