//! One connection for one request at a time, whatever the answers look like and whatever happens while it is idle.

use std::time::Duration;

use testkit::certs::Authority;
use testkit::endpoint::{Answer, Endpoint, EndpointOptions, Script, Step, TlsOptions};
use testkit::process::{Nginx, NginxOptions, Nsqd, Posthaste};

use crate::rig::{self, Run, TOPIC, number};

/// One request at a time to this endpoint.
fn run(nsqd: &Nsqd, endpoint: &Endpoint) -> Run {
    Run::new([nsqd], &endpoint.url("/")).trusting(&endpoint.ca_file()).with("--concurrency", 1)
}

/// 1,000 messages, one at a time, on one connection, each delivered once.
fn thousand_on_one_connection(answer: Answer) {
    let endpoint = Endpoint::https(answer);
    let nsqd = rig::nsqd(&[]);
    rig::publish(&nsqd, 1_000, 1024);
    let posthaste = run(&nsqd, &endpoint).start();
    rig::wait_finished(&nsqd, 1_000);
    let (summary, _) = rig::drain(&posthaste);
    let counts = endpoint.counts();
    assert_eq!((counts.accepted, counts.requests), (1, 1_000));
    assert_eq!((number(&summary, "dials"), number(&summary, "requests")), (1, 1_000));
    assert_eq!(number(&summary, "failed"), 0);
    endpoint.ledger().assert_exactly_once(0..1_000);
}

#[test]
fn an_answer_in_one_packet_keeps_the_connection() {
    thousand_on_one_connection(Answer::ok());
}

#[test]
fn four_chunks_in_one_packet_keep_the_connection() {
    thousand_on_one_connection(Answer::chunked(4));
}

#[test]
fn a_head_and_a_body_5_ms_apart_keep_the_connection() {
    thousand_on_one_connection(Answer::split(Duration::from_millis(5)));
}

#[test]
fn a_body_of_32_kib_keeps_the_connection() {
    thousand_on_one_connection(Answer::with_body(32 * 1024));
}

#[test]
fn trailers_keep_the_connection() {
    thousand_on_one_connection(Answer::trailers());
}

#[test]
fn an_answer_without_a_body_keeps_the_connection() {
    thousand_on_one_connection(Answer::no_content());
}

#[test]
fn interim_answers_keep_the_connection() {
    thousand_on_one_connection(Answer::after_1xx());
}

#[test]
fn a_peer_that_closes_every_tenth_time_costs_a_dial_each_and_no_resend() {
    let endpoint = Endpoint::https(Script::every(10, Answer::ok().closing(), Answer::ok()));
    let nsqd = rig::nsqd(&[]);
    rig::publish(&nsqd, 1_000, 1024);
    let posthaste = run(&nsqd, &endpoint).start();
    rig::wait_finished(&nsqd, 1_000);
    let (summary, _) = rig::drain(&posthaste);
    assert_eq!(endpoint.counts().accepted, 100);
    assert_eq!(number(&summary, "dials"), 100);
    assert_eq!(number(&summary, "unsent_resends") + number(&summary, "stale_resends"), 0);
    assert_eq!(summary["closes"]["answer_close"], 100, "{summary:#}");
    endpoint.ledger().assert_exactly_once(0..1_000);
}

/// The kernel takes a body of this size in many turns, and the answer is there after the first.
fn answered_before_the_body(len: usize) {
    let nginx = Nginx::start(NginxOptions { keepalive_requests: Some(1_000_000), ..NginxOptions::tls() });
    let nsqd = rig::nsqd(&[]);
    rig::publish(&nsqd, 200, len);
    let posthaste = Run::new([&nsqd], &nginx.url("/"))
        .trusting(&nginx.ca_file())
        .with("--concurrency", 1)
        .with("--send-buffer-bytes", 43_520)
        .start();
    rig::wait_finished(&nsqd, 200);
    let (summary, _) = rig::drain(&posthaste);
    let counts = nginx.counts();
    assert_eq!((counts.accepted, counts.requests), (1, 200), "{summary:#}");
    assert_eq!(number(&summary, "failed"), 0, "{summary:#}");
}

#[test]
fn an_answer_before_a_body_of_256_kib_keeps_the_connection() {
    answered_before_the_body(256 * 1024);
}

#[test]
fn an_answer_before_a_body_of_1_mib_keeps_the_connection() {
    answered_before_the_body(1024 * 1024);
}

#[test]
fn every_body_is_whole_although_the_answer_came_first() {
    let endpoint = Endpoint::https(Answer::ok().before_body());
    let nsqd = rig::nsqd(&[]);
    rig::publish(&nsqd, 100, 256 * 1024);
    let posthaste = run(&nsqd, &endpoint).with("--send-buffer-bytes", 43_520).start();
    rig::wait_finished(&nsqd, 100);
    rig::drain(&posthaste);
    let counts = endpoint.wait(|counts| counts.bodies == 100);
    assert_eq!((counts.accepted, counts.bodies_broken), (1, 0));
    endpoint.ledger().assert_exactly_once(0..100);
}

#[test]
fn tickets_and_key_updates_on_an_idle_connection_leave_it_in_use() {
    let authority = Authority::new();
    let tls = TlsOptions { tickets_after: Some(Duration::from_millis(50)), ..TlsOptions::new(&authority) };
    let endpoint = Endpoint::start(EndpointOptions::new(Answer::ok()).tls(tls));
    let nsqd = rig::nsqd(&[]);
    let posthaste = run(&nsqd, &endpoint).start();
    for round in 0..10 {
        nsqd.publish_many(
            TOPIC,
            (round * 100..round * 100 + 100).map(|serial| testkit::body::body(serial, 1024)),
        );
        rig::wait_finished(&nsqd, round * 100 + 100);
        assert_eq!(endpoint.on_idle([Step::Tickets(2), Step::KeyUpdate(true)]), 1);
    }
    // rustls answers a KeyUpdate together with the next request, so the last answer needs one more.
    nsqd.publish(TOPIC, &testkit::body::body(1_000, 1024));
    rig::wait_finished(&nsqd, 1_001);
    let counts = endpoint.wait(|counts| counts.key_updates_received == 10);
    assert_eq!((counts.accepted, counts.requests, counts.fired("tickets")), (1, 1_001, 10));
    let (summary, _) = rig::drain(&posthaste);
    assert_eq!(summary["closes"], serde_json::json!({ "shutdown": 1 }));
}

/// A warm pool of 100 connections to this endpoint, all idle.
fn hundred_idle(nsqd: &Nsqd, endpoint: &Endpoint, more: &[(&str, &str)]) -> Posthaste {
    let run = Run::new([nsqd], &endpoint.url("/")).trusting(&endpoint.ca_file());
    let run = run.with("--concurrency", 100).with("--warm", 100);
    let posthaste = more.iter().fold(run, |run, (name, value)| run.with(name, value)).start();
    endpoint.wait(|counts| counts.handshakes() == 100);
    posthaste
}

#[test]
fn connections_that_the_server_closes_while_idle_do_not_linger() {
    let endpoint = Endpoint::https(Answer::ok());
    let nsqd = rig::nsqd(&[]);
    let posthaste = hundred_idle(&nsqd, &endpoint, &[]);
    endpoint.down();
    assert_eq!(endpoint.on_idle([Step::Fin]), 100);
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(close_wait(endpoint.port()), 0);
    endpoint.up();
    let (summary, _) = rig::drain(&posthaste);
    assert_eq!(summary["closes"]["peer_fin_unannounced"], 100, "{summary:#}");
}

/// Sockets towards this port in CLOSE_WAIT: the peer has closed, and we have not noticed.
fn close_wait(port: u16) -> usize {
    let table = std::fs::read_to_string("/proc/net/tcp").expect("Linux");
    let (remote, state) = (format!(":{port:04X}"), "08");
    table
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .filter(|words| words.len() > 3 && words[2].ends_with(&remote) && words[3] == state)
        .count()
}

/// nginx closes what is idle for 1 s, so the 100 of a burst go; the few of a trickle must stay, because the newest is
/// always taken first.
#[test]
fn a_trickle_after_a_burst_stays_on_the_newest_connections() {
    let seconds = if rig::is_full() { 20 } else { 6 };
    let nginx = Nginx::start(NginxOptions {
        keepalive_requests: Some(1_000_000),
        keepalive_timeout: Some("1s".into()),
        ..NginxOptions::tls()
    });
    let nsqd = rig::nsqd(&[]);
    rig::publish(&nsqd, 5_000, 1024);
    let posthaste =
        Run::new([&nsqd], &nginx.url("/")).trusting(&nginx.ca_file()).with("--concurrency", 100).start();
    rig::wait_finished(&nsqd, 5_000);
    let warmed = nginx.counts().accepted;
    assert!(warmed > 50, "{warmed} connections are no burst");
    for serial in 0..seconds * 50 {
        nsqd.publish(TOPIC, &testkit::body::body(5_000 + serial, 1024));
        std::thread::sleep(Duration::from_millis(20));
    }
    rig::wait_finished(&nsqd, 5_000 + seconds * 50);
    let dials = nginx.counts().accepted - warmed;
    assert!(dials <= 2, "{dials} dials in {seconds} s");
    rig::drain(&posthaste);
}

#[test]
fn a_server_that_restarted_costs_at_most_a_resend_each() {
    let endpoint = Endpoint::https(Answer::ok());
    let nsqd = rig::nsqd(&[]);
    let posthaste = hundred_idle(&nsqd, &endpoint, &[]);
    // An answer on each, so that its end means that the server closed it while it was idle.
    rig::publish(&nsqd, 2_000, 1024);
    rig::wait_finished(&nsqd, 2_000);
    let stale = endpoint.reset_on_next_use() as u64;
    assert!(stale > 50, "{stale} connections");
    nsqd.publish_many(TOPIC, (2_000..3_000).map(|serial| testkit::body::body(serial, 1024)));
    rig::wait_finished(&nsqd, 3_000);
    let (summary, _) = rig::drain(&posthaste);
    let resets = endpoint.counts().fired("reset_on_next_use");
    assert!(resets > 0, "no connection was reset");
    assert_eq!(number(&summary, "requeued"), 0, "{summary:#}");
    let resends = number(&summary, "stale_resends") + number(&summary, "unsent_resends");
    assert!(resends <= resets, "{resends} resends for {resets} resets");
    endpoint.ledger().assert_all_delivered(0..3_000);
}
