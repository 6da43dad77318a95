//! What arrives at the endpoint, and what becomes of a message that is not delivered.

use std::time::{Duration, Instant};

use testkit::endpoint::{Answer, Endpoint, Script};
use testkit::process::Posthaste;

use crate::rig::{self, CHANNEL, Run, TOPIC, number};

#[test]
fn the_head_tells_message_attempt_and_node() {
    let endpoint = Endpoint::http(Answer::ok());
    let nsqd = rig::nsqd(&[]);
    nsqd.publish(TOPIC, &testkit::body::body(0, 100));
    let run = Run::new([&nsqd], &format!("{}?a=1&b=%20", endpoint.url("/hook")));
    let posthaste = run.with("--header", "X-Team: deliveries").start();
    rig::wait_finished(&nsqd, 1);
    rig::drain(&posthaste);
    let requests = endpoint.requests();
    let head = &requests[0].head;
    assert_eq!((&*head.method, &*head.target, &*head.version), ("POST", "/hook?a=1&b=%20", "HTTP/1.1"));
    let node = nsqd.tcp_address().to_string();
    let id = head.field("X-NSQ-Message-ID").expect("an id").to_owned();
    let expected = [
        ("Host", endpoint.address().to_string()),
        ("Content-Type", "application/octet-stream".into()),
        ("Content-Length", "100".into()),
        ("User-Agent", format!("posthaste/{}", env!("CARGO_PKG_VERSION"))),
        ("X-Team", "deliveries".into()),
        ("X-NSQ-Topic", TOPIC.into()),
        ("X-NSQ-Channel", CHANNEL.into()),
        ("X-NSQ-Node", node.clone()),
        ("X-NSQ-Attempts", "1".into()),
        ("Idempotency-Key", format!("\"{node}/{TOPIC}/{CHANNEL}/{id}\"")),
    ];
    for (name, value) in expected {
        assert_eq!((head.field(name), head.fields_named(name)), (Some(&*value), 1), "{name}");
    }
    let timestamp: u128 = head.field("X-NSQ-Timestamp").expect("a timestamp").parse().expect("nanoseconds");
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().expect("after 1970").as_nanos();
    assert!(now - timestamp < 60_000_000_000, "{timestamp} ns");
    for never in ["Accept-Encoding", "Expect", "Transfer-Encoding"] {
        assert_eq!(head.field(never), None);
    }
}

#[test]
fn the_idempotency_key_can_be_switched_off() {
    let endpoint = Endpoint::http(Answer::ok());
    let nsqd = rig::nsqd(&[]);
    rig::publish(&nsqd, 1, 100);
    let run = Run::new([&nsqd], &endpoint.url("/"));
    let posthaste = run.switch("--idempotency-key=false").start();
    rig::wait_finished(&nsqd, 1);
    rig::drain(&posthaste);
    assert_eq!(endpoint.requests()[0].head.field("Idempotency-Key"), None);
}

/// Every third answer to a first attempt is none of a success: the message comes again, alone, and the others are not
/// slowed.
#[test]
fn what_fails_comes_again_with_the_next_attempt() {
    for status in [301, 404, 429, 500, 503] {
        let endpoint = Endpoint::http(Script::by_body(move |head, body| {
            let first = head.field("X-NSQ-Attempts") == Some("1");
            let testkit::body::Verdict::Whole(serial) = testkit::body::judge(body) else {
                return Answer::ok();
            };
            if first && serial % 3 == 0 { Answer::status(status) } else { Answer::ok() }
        }));
        let nsqd = rig::nsqd(&[]);
        rig::publish(&nsqd, 300, 100);
        let posthaste = Run::new([&nsqd], &endpoint.url("/")).with("--backoff-initial", "200ms").start();
        rig::wait_finished(&nsqd, 300);
        let (summary, _) = rig::drain(&posthaste);
        assert_eq!((number(&summary, "received"), number(&summary, "requeued")), (400, 100), "{status}");
        assert_eq!((number(&summary, "delivered"), number(&summary, "failed")), (300, 100), "{status}");
        assert_eq!(nsqd.channel(TOPIC, CHANNEL).requeues, 100, "{status}");
        // A redirect is never followed: exactly the attempts arrived.
        assert_eq!(endpoint.counts().requests, 400, "{status}");
    }
}

#[test]
fn an_endpoint_that_is_down_costs_no_message_and_is_found_again() {
    let endpoint = Endpoint::http(Answer::ok());
    endpoint.down();
    let nsqd = rig::nsqd(&[]);
    rig::publish(&nsqd, 200, 100);
    let run = Run::new([&nsqd], &endpoint.url("/"));
    let posthaste = run.with("--backoff-initial", "100ms").with("--backoff-max", "500ms").start();
    nsqd.wait_channel(TOPIC, CHANNEL, |channel| channel.requeues >= 200);
    endpoint.up();
    rig::wait_finished(&nsqd, 200);
    let (summary, _) = rig::drain(&posthaste);
    assert!(number(&summary, "dial_failures") > 0);
    assert!(posthaste.process.stderr().contains("refused"), "{}", posthaste.process.stderr());
    endpoint.ledger().assert_exactly_once(0..200);
}

/// Many routes in one process; one endpoint that never answers does not slow the other.
#[test]
fn one_failing_endpoint_does_not_slow_the_other_route() {
    let (healthy, dead) = (Endpoint::http(Answer::ok()), Endpoint::http(Answer::never()));
    let nsqd = rig::nsqd(&[]);
    nsqd.create_topic("dead");
    nsqd.create_channel("dead", CHANNEL);
    rig::publish(&nsqd, 5_000, 100);
    nsqd.publish_many("dead", (0..200).map(|serial| testkit::body::body(serial, 100)));
    let file = tempfile::Builder::new().suffix(".toml").tempfile().expect("a temporary file");
    let text = format!(
        "summary = \"json\"\nthreads = 1\n[defaults]\nnsqd_tcp_addresses = [\"{}\"]\ndrain_grace_ms = 200\n\
         [[route]]\ntopic = \"{TOPIC}\"\nto = \"{}\"\n[[route]]\ntopic = \"dead\"\nto = \"{}\"\n",
        nsqd.tcp_address(),
        healthy.url("/"),
        dead.url("/"),
    );
    std::fs::write(file.path(), text).expect("our own file");
    let started = Instant::now();
    let posthaste = Posthaste::run(["run".as_ref(), "--config".as_ref(), file.path().as_os_str()]);
    rig::wait_finished(&nsqd, 5_000);
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    dead.wait(|counts| counts.busy == 64);
    let (summary, _) = rig::drain(&posthaste);
    assert_eq!(number(&summary["routes"][0], "delivered"), 5_000);
    assert_eq!(number(&summary["routes"][1], "delivered"), 0);
    nsqd.wait_channel("dead", CHANNEL, |channel| channel.depth + channel.in_flight == 200);
}
