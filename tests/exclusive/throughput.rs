//! The main job: exactly as many connections as requests at once, and nothing that nsqd could complain of.

use testkit::process::{Nginx, NginxOptions};

use crate::rig::{self, CHANNEL, Run, TOPIC, number};

const MESSAGES: u64 = 100_000;

/// nginx that keeps a connection for as long as it is used.
fn patient_nginx() -> Nginx {
    Nginx::start(NginxOptions {
        keepalive_requests: Some(1_000_000),
        keepalive_timeout: Some("3600s".into()),
        ..NginxOptions::tls()
    })
}

/// Delivers the messages with these arguments and holds our counts against nginx's and nsqd's. Returns connections and peak
/// memory.
fn deliver(nginx: &Nginx, more: &[(&str, &str)]) -> (u64, u64) {
    let _alone = testkit::exclusive();
    let nsqd = rig::nsqd(&["--mem-queue-size=200000"]);
    rig::publish(&nsqd, MESSAGES, 1024);
    let run = Run::new([&nsqd], &nginx.url("/")).trusting(&nginx.ca_file()).with("--concurrency", 100);
    let posthaste = more.iter().fold(run, |run, (name, value)| run.with(name, value)).start();
    rig::wait_finished(&nsqd, MESSAGES);
    let channel = nsqd.channel(TOPIC, CHANNEL);
    let (summary, exited) = rig::drain(&posthaste);

    let counts = nginx.counts();
    assert_eq!(counts.requests, MESSAGES, "nginx served");
    assert_eq!(number(&summary, "requests"), counts.requests);
    assert_eq!(number(&summary, "dials"), counts.accepted, "{summary:#}");
    assert_eq!(number(&summary, "handshakes_full") + number(&summary, "handshakes_resumed"), counts.accepted);
    assert_eq!((number(&summary, "delivered"), number(&summary, "finished")), (MESSAGES, MESSAGES));
    for none in ["failed", "requeued", "expired", "fin_failed", "unsent_resends", "stale_resends", "left"] {
        assert_eq!(number(&summary, none), 0, "{none} in {summary:#}");
    }
    assert_eq!((channel.requeues, channel.timeouts), (0, 0));
    assert!(!nsqd.daemon.log().contains("E_FIN_FAILED"), "{}", nsqd.daemon.log());
    (counts.accepted, exited.peak_rss_bytes)
}

#[test]
fn as_many_connections_as_requests_at_once() {
    let (connections, peak_rss_bytes) = deliver(&patient_nginx(), &[]);
    assert!((95..=100).contains(&connections), "{connections} connections");
    assert!(peak_rss_bytes <= 16 << 20, "{peak_rss_bytes} bytes at the peak");
}

#[test]
fn the_same_over_four_lanes_on_two_threads() {
    let (connections, _) = deliver(&patient_nginx(), &[("--lanes", "4"), ("--threads", "2")]);
    assert!((95..=100).contains(&connections), "{connections} connections");
}

/// nginx closes each connection after 1,000 requests, and says so in the last answer.
#[test]
fn a_server_that_ends_its_connections_costs_no_delivery() {
    let (connections, _) = deliver(&Nginx::start(NginxOptions::tls()), &[]);
    assert!(connections <= 100 + MESSAGES / 1_000, "{connections} connections");
}
