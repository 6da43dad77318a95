//! From a publish to its POST through the embedded queue, one message at a time: a sync of the disk, and hardly more.

use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::time::{Duration, Instant};

use testkit::body::{Verdict, body, judge};
use testkit::certs::Authority;
use testkit::endpoint::{Answer, Endpoint, EndpointOptions, TlsOptions};
use testkit::process::Nsqd;

use crate::rig::{self, CHANNEL, Run, TOPIC};
use crate::stored::talk::Talk;

/// A 99th percentile of some hundred would be its third worst, and say more about one stray second of the disk than
/// about the queue: of 300, with a disk whose own was 2 ms, it came out between 3 and 7.
const MESSAGES: u64 = 3000;

#[test]
fn a_message_is_posted_a_sync_after_it_is_published() {
    let _alone = testkit::exclusive();
    let (delay, sync) = testkit::undisturbed(delay_and_sync);
    assert!(delay <= sync + Duration::from_millis(2), "p99 {delay:?}, a sync takes {sync:?}");
}

/// The 99th percentiles.
fn delay_and_sync() -> (Duration, Duration) {
    let broker = Nsqd::posthaste(&[]);
    broker.create_channel(TOPIC, CHANNEL);
    let endpoint = Endpoint::start(EndpointOptions {
        bodies_kept: 4096,
        ..EndpointOptions::new(Answer::ok()).tls(TlsOptions::new(&Authority::new()))
    });
    let posthaste = Run::new([&broker], &endpoint.url("/")).trusting(&endpoint.ca_file()).start();
    broker.wait_channel(TOPIC, CHANNEL, |channel| channel.rdy_sum() > 0);
    let file = File::create(broker.data_path().join("sync-time")).expect("a file");
    (&file).write_all(&vec![0; 1 << 20]).and_then(|()| file.sync_all()).expect("it is written");

    let mut talk = Talk::to(broker.tcp_address()).expect("it listens");
    let (mut published, mut syncs) = (Vec::new(), Vec::new());
    for serial in 0..MESSAGES {
        // The disk's own time, measured in turn with the messages: what else uses the disk slows both.
        let begun = Instant::now();
        file.write_all_at(&[1; 2048], serial * 2048).and_then(|()| file.sync_data()).expect("it is synced");
        syncs.push(begun.elapsed());
        published.push(Instant::now());
        talk.publish(TOPIC, &body(serial, 1024)).expect("an OK");
        endpoint.wait(|counts| counts.requests == serial + 1);
    }
    rig::wait_finished(&broker, MESSAGES);
    rig::drain(&posthaste);

    let requests = endpoint.requests();
    let mut delays: Vec<Duration> = requests
        .iter()
        .map(|request| match request.body.as_deref().map(judge) {
            Some(Verdict::Whole(serial)) => request.arrived.duration_since(published[serial as usize]),
            other => panic!("{other:?}"),
        })
        .collect();
    delays.sort();
    syncs.sort();
    let of = |times: &[Duration], percent: usize| times[times.len() * percent / 100];
    let (delay, sync) = (of(&delays, 99), of(&syncs, 99));
    eprintln!(
        "publish to POST: median {:?}, p99 {delay:?}; a sync: median {:?}, p99 {sync:?}",
        of(&delays, 50),
        of(&syncs, 50)
    );
    (delay, sync)
}
