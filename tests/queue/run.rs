//! `posthaste run` without a word about NSQ: the queue is its own.

use std::process::Command;
use std::time::Duration;

use testkit::Gate;
use testkit::endpoint::{Answer, Endpoint};
use testkit::process::{Nsqd, Posthaste, Signal};

use super::rig::{Addresses, ask, publish};
use crate::rig::{self, TOPIC, number};

#[test]
fn what_is_published_over_http_reaches_the_endpoint_through_a_crash() {
    let endpoint = Endpoint::https(Answer::ok());
    endpoint.down();
    let (data, addresses) = (tempfile::tempdir().expect("a folder"), Addresses::new());
    let ca_file = endpoint.ca_file();
    let trust = ["--ca-file", ca_file.to_str().expect("a plain path"), "--backoff-initial", "100ms"];
    let posthaste = addresses.run(data.path(), &endpoint.url_by_name("/hook"), &trust);
    for serial in 0..200 {
        assert!(publish(addresses.http(), &testkit::body::body(serial, 100)), "{serial}");
    }
    posthaste.process.kill9();
    endpoint.up();
    let posthaste = addresses.run(data.path(), &endpoint.url_by_name("/hook"), &trust);
    for serial in 200..300 {
        assert!(publish(addresses.http(), &testkit::body::body(serial, 100)), "{serial}");
    }
    endpoint.wait(|counts| counts.requests >= 300);
    let (summary, _) = rig::drain(&posthaste);
    endpoint.ledger().assert_all_delivered(0..300);
    assert_eq!(number(&summary, "finished"), number(&summary, "delivered"));
    // Its own lanes come through a pipe, under a name that stays the same.
    let node = endpoint.requests()[0].head.field("X-NSQ-Node").expect("a node").to_owned();
    assert!(endpoint.requests().iter().all(|request| request.head.field("X-NSQ-Node") == Some(&*node)));
}

/// First the lanes give back or finish what they hold, and publishes are still taken; then publishes are refused and the
/// last sync is made. What was acknowledged meanwhile is there at the next start.
#[test]
fn a_drain_ends_the_lanes_before_the_queue() {
    let endpoint = Endpoint::http(Answer::ok().after(Duration::from_secs(1)));
    let (data, addresses) = (tempfile::tempdir().expect("a folder"), Addresses::new());
    let posthaste = addresses.run(data.path(), &endpoint.url("/"), &[]);
    assert!(publish(addresses.http(), &testkit::body::body(0, 100)));
    endpoint.wait(|counts| counts.busy == 1);
    posthaste.process.signal(Signal::TERM);
    posthaste.process.wait_stderr("draining", testkit::PATIENCE);
    assert!(publish(addresses.http(), &testkit::body::body(1, 100)), "the lanes are still draining");
    let exited = posthaste.process.wait(Duration::from_secs(10));
    assert_eq!(exited.code, Some(0), "{}", posthaste.process.output());
    assert!(posthaste.process.stderr().contains("the lanes are done"), "{}", posthaste.process.output());
    assert_eq!(number(&posthaste.summary(), "finished"), 1);
    assert!(!publish(addresses.http(), b"late"));

    let posthaste = addresses.run(data.path(), &endpoint.url("/"), &[]);
    endpoint.wait(|counts| counts.requests == 2);
    let (summary, _) = rig::drain(&posthaste);
    assert_eq!(number(&summary, "finished"), 1);
    endpoint.ledger().assert_exactly_once(0..2);
}

/// The lanes have finished what they had, and only the queue's end is bad: the figures are as true as ever.
#[test]
fn the_summary_is_told_though_the_last_sync_fails() {
    let gate = Gate::new();
    let endpoint = Endpoint::http(Answer::ok().at_gate(&gate));
    let (data, addresses) = (tempfile::tempdir().expect("a folder"), Addresses::new());
    let url = endpoint.url("/");
    let posthaste = addresses.run_with(data.path(), &url, &[], testkit::process::with_failing_writes);
    assert!(publish(addresses.http(), &testkit::body::body(0, 100)));
    gate.wait_arrived(1);
    let pid = posthaste.process.pid().to_string();
    let limited = Command::new("prlimit").args(["--pid", &pid, "--fsize=0:"]).status();
    assert!(limited.expect("prlimit runs").success());
    gate.open();
    posthaste.process.signal(Signal::TERM);
    let exited = posthaste.process.wait(Duration::from_secs(10));
    assert_eq!(exited.code, Some(1), "{}", posthaste.process.output());
    assert!(posthaste.process.stderr().contains("the last sync failed"), "{}", posthaste.process.output());
    let summary = posthaste.summary();
    Posthaste::assert_balanced(&summary);
    assert_eq!((number(&summary, "delivered"), number(&summary, "finished")), (1, 1), "{summary:#}");

    // Its FIN may be lost, the message not.
    let posthaste = addresses.run(data.path(), &url, &[]);
    rig::drain(&posthaste);
    endpoint.ledger().assert_all_delivered(0..1);
}

#[test]
fn any_nsq_library_finds_the_queue_on_its_ports_while_it_runs() {
    let endpoint = Endpoint::http(Answer::ok());
    let (data, addresses) = (tempfile::tempdir().expect("a folder"), Addresses::new());
    let posthaste = addresses.run(data.path(), &endpoint.url("/"), &["--lanes", "2", "--threads", "2"]);
    let begun = std::time::Instant::now();
    while posthaste.process.stderr().matches("connected (").count() < 2 {
        assert!(begun.elapsed() < testkit::PATIENCE, "{}", posthaste.process.output());
        std::thread::sleep(Duration::from_millis(5));
    }
    let (status, stats) = ask(addresses.http(), "GET", "/stats?format=json", b"").expect("an answer");
    let stats: serde_json::Value = serde_json::from_str(&stats).expect("nsqd's JSON");
    assert_eq!((status, &stats["topics"][0]["topic_name"]), (200, &TOPIC.into()), "{stats:#}");
    let clients = stats["topics"][0]["channels"][0]["clients"].as_array().map(Vec::len);
    assert_eq!(clients, Some(2), "a connection a lane: {stats:#}");
    rig::drain(&posthaste);
}

#[test]
fn two_processes_do_not_share_a_data_path() {
    let endpoint = Endpoint::http(Answer::ok());
    let (data, addresses) = (tempfile::tempdir().expect("a folder"), Addresses::new());
    let posthaste = addresses.run(data.path(), &endpoint.url("/"), &[]);
    let path = data.path().to_str().expect("a plain path");
    let other = ["broker", "--data-path", path, "--tcp-address=127.0.0.1:0", "--http-address=127.0.0.1:0"];
    let second = Posthaste::run(other);
    assert_eq!(second.process.wait(testkit::PATIENCE).code, Some(1));
    assert!(second.process.stderr().contains("in use by another process"), "{}", second.process.output());
    rig::drain(&posthaste);
}

#[test]
fn a_folder_of_nsqds_own_files_is_refused_with_their_names() {
    let mut nsqd = Nsqd::start(&[]);
    nsqd.create_channel(TOPIC, "a");
    nsqd.daemon.stop();
    let path = nsqd.data_path().to_str().expect("a plain path");
    let run = ["run", "--topic", TOPIC, "--to", "http://127.0.0.1:1/", "--data-path", path];
    for line in [&run[..], &["broker", "--data-path", path]] {
        let refused = Posthaste::run(line);
        assert_eq!(refused.process.wait(testkit::PATIENCE).code, Some(64));
        let text = refused.process.stderr();
        assert!(text.contains("nsqd.dat") && text.contains("--import-nsqd"), "{text}");
    }
}
