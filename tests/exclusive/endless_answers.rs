//! Answers that do not end are left in time, and cost no memory.

use std::time::Duration;

use serde_json::Value;
use testkit::endpoint::{Answer, Endpoint};

use crate::rig::{self, Run, number};

const MIB: u64 = 1 << 20;

/// Messages of one run with an answer, and how many of them at once.
const ANSWERED: u64 = 64;
const AT_ONCE: u64 = 16;

/// Delivers messages to an endpoint that answers so, and returns it with the summary and the peak of memory.
fn deliver(answer: Answer) -> (Endpoint, Value, u64) {
    let nsqd = rig::nsqd(&[]);
    rig::publish(&nsqd, ANSWERED, 1024);
    let endpoint = Endpoint::https(answer);
    let run = Run::new([&nsqd], &endpoint.url("/")).trusting(&endpoint.ca_file());
    let posthaste = run.with("--concurrency", AT_ONCE).start();
    rig::wait_finished(&nsqd, ANSWERED);
    // A message is finished when its status is known; a drain does not wait for what follows.
    endpoint.wait(|counts| counts.busy == 0);
    let (summary, exited) = rig::drain(&posthaste);
    endpoint.wait(|counts| counts.open == 0);
    endpoint.ledger().assert_exactly_once(0..ANSWERED);
    (endpoint, summary, exited.peak_rss_bytes)
}

/// How long the slowest connection was open after the head of its one request: the answer's head went out right behind it.
fn slowest_end(endpoint: &Endpoint) -> Duration {
    let connections = endpoint.connections();
    let ends = endpoint.requests().into_iter().map(|request| {
        let (ended, _) = connections[request.head.connection as usize].ended.expect("no connection is open");
        ended - request.arrived
    });
    ends.max().expect("there were requests")
}

/// What follows a head costs its connection when it does not end, and nothing else.
#[test]
fn answers_without_end_are_left_within_a_second_and_cost_no_memory() {
    let _alone = testkit::exclusive();
    let (_, plain, usual_peak) = deliver(Answer::ok());
    assert_eq!(plain["closes"]["undrained"], Value::Null);
    for (what, answer) in [
        ("1 GiB", Answer::huge(1 << 30)),
        ("endless chunks", Answer::endless_chunks()),
        ("endless until the close", Answer::endless_body()),
        ("silence before the end", Answer::no_end()),
    ] {
        let (endpoint, summary, peak) = deliver(answer);
        let slowest = slowest_end(&endpoint);
        let more = peak.saturating_sub(usual_peak);
        eprintln!("{what}: {slowest:?} after the head at most, {} KiB more", more >> 10);
        let counts = endpoint.counts();
        assert_eq!((counts.answers, counts.answers_broken), (0, ANSWERED), "{what}: none came to its end");
        assert_eq!((counts.requests, counts.accepted), (ANSWERED, ANSWERED), "{what}: a connection each");
        assert_eq!(number(&summary["closes"], "undrained"), ANSWERED, "{what}: {summary:#}");
        assert_eq!(number(&summary, "delivered"), ANSWERED, "{what}: the status decides");
        assert_eq!((number(&summary, "failed"), number(&summary, "stale_resends")), (0, 0), "{what}");
        assert!(slowest <= Duration::from_millis(1_100), "{what}: {slowest:?} after the head");
        assert!(more <= 2 * MIB, "{what}: {more} bytes more than the {usual_peak} of a usual run");
    }
}
