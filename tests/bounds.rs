//! What is too large or does not end stays within its bounds: of memory, whatever the queue or the endpoint sends, and of time.

use std::time::Duration;

use testkit::Gate;
use testkit::body::body;
use testkit::endpoint::{Answer, Endpoint, Script, Step};

use crate::rig::{self, CHANNEL, Run, TOPIC, number};

const MIB: u64 = 1 << 20;

/// nsqd hears nothing but the answers to its heartbeats for as long as the endpoint does not answer, and would close after two
/// intervals without them.
#[test]
fn large_messages_stay_within_the_bytes_that_may_be_held() {
    const MESSAGES: u64 = 300;
    const HELD_MAX: usize = 32;
    let _shared = testkit::shared();
    let nsqd = rig::nsqd(&[]);
    rig::publish(&nsqd, MESSAGES, MIB as usize);
    let gate = Gate::new();
    let endpoint = Endpoint::https(Answer::ok().at_gate(&gate));
    let run = Run::new([&nsqd], &endpoint.url("/")).trusting(&endpoint.ca_file()).with("--concurrency", 64);
    let run = run.with("--in-flight-bytes-max", HELD_MAX as u64 * MIB).with("--heartbeat-interval", "1s");
    let posthaste = run.start();
    gate.wait_arrived(HELD_MAX);
    std::thread::sleep(Duration::from_millis(3_500));
    assert_eq!(gate.arrived(), HELD_MAX, "messages at once");
    gate.open();
    rig::wait_finished(&nsqd, MESSAGES);
    let channel = nsqd.channel(TOPIC, CHANNEL);
    let (summary, exited) = rig::drain(&posthaste);

    endpoint.ledger().assert_exactly_once(0..MESSAGES);
    eprintln!("{} KiB at the peak", exited.peak_rss_bytes >> 10);
    assert!(exited.peak_rss_bytes <= 96 * MIB, "{} bytes at the peak", exited.peak_rss_bytes);
    assert!(endpoint.counts().busy_max <= HELD_MAX as u64, "{} requests at once", endpoint.counts().busy_max);
    assert_eq!((number(&summary, "nsq_connects"), number(&summary, "nsq_disconnects")), (1, 0));
    assert_eq!((channel.timeouts, channel.requeues), (0, 0));
}

#[test]
fn a_message_over_the_limit_is_put_away_and_hinders_no_other() {
    const SMALL: u64 = 2_000;
    let _shared = testkit::shared();
    let nsqd = rig::nsqd(&["--max-msg-size=33554432"]);
    let small = |serials: std::ops::Range<u64>| serials.map(|serial| body(serial, 1024));
    nsqd.publish_many(TOPIC, small(0..SMALL / 2));
    nsqd.publish(TOPIC, &body(SMALL, 20 * MIB as usize));
    nsqd.publish_many(TOPIC, small(SMALL / 2..SMALL));
    let endpoint = Endpoint::https(Answer::ok());
    let run = Run::new([&nsqd], &endpoint.url("/")).trusting(&endpoint.ca_file());
    let posthaste = run.start();
    nsqd.wait_channel(TOPIC, CHANNEL, |channel| channel.finished() == SMALL && channel.deferred == 1);
    // It comes again when its delay is over, and is put away for longer.
    for delay in ["1s", "2s"] {
        let line = format!("20971520 bytes is over message_bytes_max: requeued for {delay}");
        posthaste.process.wait_stderr(&line, Duration::from_secs(10));
    }
    let (summary, exited) = rig::drain(&posthaste);
    let channel = nsqd.channel(TOPIC, CHANNEL);

    endpoint.ledger().assert_exactly_once(0..SMALL);
    eprintln!("{} KiB at the peak", exited.peak_rss_bytes >> 10);
    assert!(exited.peak_rss_bytes < 20 * MIB, "{} bytes at the peak: it was read", exited.peak_rss_bytes);
    assert_eq!((number(&summary, "nsq_connects"), number(&summary, "nsq_disconnects")), (1, 0));
    let oversized = number(&summary, "oversized");
    assert!(oversized >= 2, "{summary:#}");
    assert_eq!((channel.requeues, number(&summary, "requeued")), (oversized, oversized));
    assert_eq!((channel.timeouts, number(&summary, "failed")), (0, 0));
}

#[test]
fn the_status_of_an_answer_without_end_decides() {
    const MESSAGES: u64 = 64;
    let refused = Answer::steps([
        Step::ReadBody,
        Step::Send("HTTP/1.1 503 Busy\r\nTransfer-Encoding: chunked\r\n\r\n".into()),
        Step::Repeat("5\r\nhello\r\n".repeat(1_000).into(), None),
    ]);
    let _shared = testkit::shared();
    let nsqd = rig::nsqd(&[]);
    rig::publish(&nsqd, MESSAGES, 1024);
    let endpoint = Endpoint::https(Script::every(4, refused, Answer::endless_chunks()));
    let run = Run::new([&nsqd], &endpoint.url("/")).trusting(&endpoint.ca_file());
    let posthaste = run.with("--concurrency", 16).with("--backoff-initial", "50ms").start();
    rig::wait_finished(&nsqd, MESSAGES);
    endpoint.wait(|counts| counts.busy == 0);
    let (summary, _) = rig::drain(&posthaste);

    endpoint.ledger().assert_all_delivered(0..MESSAGES);
    let refusals = endpoint.requests().iter().filter(|request| request.status == Some(503)).count() as u64;
    assert!(refusals >= MESSAGES / 4, "{refusals} refusals");
    assert_eq!((number(&summary, "failed"), number(&summary, "requeued")), (refusals, refusals));
    assert_eq!(number(&summary, "delivered"), MESSAGES);
    assert_eq!(number(&summary["closes"], "undrained"), MESSAGES + refusals, "{summary:#}");
}
