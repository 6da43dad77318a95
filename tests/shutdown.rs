//! How it ends: the first signal drains, a second one does not wait, and nothing that cannot answer holds the exit up.

use std::time::{Duration, Instant};

use testkit::endpoint::{Answer, Endpoint};
use testkit::nsqd::ScriptedNsqd;
use testkit::ports::Blackhole;
use testkit::process::{ChannelStats, Exited, Nsqd, Posthaste, Signal};
use testkit::{Gate, PATIENCE};

use crate::rig::{self, CHANNEL, Run, TOPIC, number};

/// Sends a signal, and says how long the process still took and how it ended.
#[track_caller]
fn end(posthaste: &Posthaste, signal: Signal) -> (Exited, Duration) {
    let begun = Instant::now();
    posthaste.process.signal(signal);
    let exited = posthaste.process.wait(PATIENCE);
    (exited, begun.elapsed())
}

/// What nsqd has in flight the moment the process is gone: nobody may have to wait for a message timeout.
fn held_by_nobody(nsqd: &Nsqd) -> ChannelStats {
    let channel = nsqd.channel(TOPIC, CHANNEL);
    assert_eq!(channel.in_flight, 0, "{channel:#?}");
    assert_eq!(channel.timeouts, 0, "{channel:#?}");
    channel
}

const POSTED: u64 = 100;
const PREFETCHED: u64 = 100;
const MESSAGES: u64 = 300;

#[test]
fn a_signal_finishes_what_is_posted_and_gives_back_what_is_not() {
    let gate = Gate::new();
    let endpoint = Endpoint::https(Answer::ok().after(Duration::from_secs(1)).at_gate(&gate));
    let nsqd = rig::nsqd(&[]);
    rig::publish(&nsqd, MESSAGES, 256);
    let run = Run::new([&nsqd], &endpoint.url("/")).trusting(&endpoint.ca_file());
    let run = run.with("--concurrency", POSTED).with("--max-in-flight", POSTED + PREFETCHED);
    let posthaste = run.start();
    gate.wait_arrived(POSTED as usize);
    nsqd.wait_channel(TOPIC, CHANNEL, |channel| channel.in_flight == POSTED + PREFETCHED);

    // Every answer is a second away now.
    gate.open();
    let (exited, took) = end(&posthaste, Signal::TERM);
    let channel = held_by_nobody(&nsqd);
    println!("exit after {took:?}");
    assert_eq!(exited.code, Some(0), "{}", posthaste.process.output());
    assert!(took <= Duration::from_secs(2), "{took:?}{}", posthaste.process.output());
    assert_eq!(channel.depth, MESSAGES - POSTED, "{channel:#?}");
    assert_eq!((channel.deferred, channel.requeues), (0, PREFETCHED), "given back without a delay");
    let summary = posthaste.summary();
    Posthaste::assert_balanced(&summary);
    assert_eq!((number(&summary, "delivered"), number(&summary, "finished")), (POSTED, POSTED));
    assert_eq!(number(&summary, "requeued"), PREFETCHED);
    for none in ["failed", "expired", "connection_lost", "delivered_unfinished", "finishes_unsent", "left"] {
        assert_eq!(number(&summary, none), 0, "{none} in {summary:#}");
    }

    endpoint.set_script(Answer::ok());
    let restarted = run.start();
    rig::wait_finished(&nsqd, MESSAGES);
    rig::drain(&restarted);
    endpoint.ledger().assert_exactly_once(0..MESSAGES);
}

#[test]
fn a_second_signal_stops_at_once() {
    let endpoint = Endpoint::http(Answer::never());
    let nsqd = rig::nsqd(&["--msg-timeout=1s"]);
    rig::publish(&nsqd, 20, 100);
    let posthaste = Run::new([&nsqd], &endpoint.url("/")).with("--concurrency", 10).start();
    endpoint.wait(|counts| counts.busy == 10);

    posthaste.process.signal(Signal::INT);
    posthaste.process.wait_stderr("draining", Duration::from_secs(1));
    nsqd.wait_channel(TOPIC, CHANNEL, |channel| channel.in_flight == 10);
    let drains = posthaste.process.wait_within(Duration::from_millis(500));
    assert_eq!(drains, None, "it did not wait for the requests under way");
    let (exited, took) = end(&posthaste, Signal::TERM);
    println!("exit after {took:?}");
    assert!(took <= Duration::from_millis(500), "{took:?}{}", posthaste.process.output());
    assert_eq!(exited.code, Some(1), "{}", posthaste.process.output());
    let summary = posthaste.summary();
    Posthaste::assert_balanced(&summary);
    assert_eq!((number(&summary, "left"), number(&summary, "delivered")), (10, 0));
    // Lost is none of them: their time at nsqd passes.
    nsqd.wait_channel(TOPIC, CHANNEL, |channel| channel.depth == 20 && channel.in_flight == 0);
}

#[test]
fn what_is_not_answered_when_the_grace_ends_goes_back() {
    let endpoint = Endpoint::http(Answer::never());
    let nsqd = rig::nsqd(&[]);
    rig::publish(&nsqd, 20, 100);
    let run = Run::new([&nsqd], &endpoint.url("/")).with("--concurrency", 10).with("--drain-grace", "300ms");
    let posthaste = run.start();
    endpoint.wait(|counts| counts.busy == 10);

    let (exited, took) = end(&posthaste, Signal::TERM);
    let channel = held_by_nobody(&nsqd);
    println!("exit after {took:?}");
    assert_eq!(exited.code, Some(0), "{}", posthaste.process.output());
    assert!(took >= Duration::from_millis(300), "it did not wait: {took:?}");
    assert!(took <= Duration::from_millis(1300), "{took:?}{}", posthaste.process.output());
    assert_eq!((channel.depth, channel.deferred), (20, 0), "{channel:#?}");
    let summary = posthaste.summary();
    Posthaste::assert_balanced(&summary);
    assert_eq!((number(&summary, "left"), number(&summary, "finished")), (0, 0));
}

/// A message that waits for a dial is not posted yet: it goes back with those that nobody has taken, and at once.
#[test]
fn a_dial_that_hangs_does_not_hold_the_exit_up() {
    let hole = Blackhole::new();
    let nsqd = rig::nsqd(&[]);
    rig::publish(&nsqd, 20, 100);
    let run = Run::new([&nsqd], &format!("http://{}/", hole.address()));
    let posthaste = run.with("--concurrency", 10).with("--max-in-flight", 12).start();
    nsqd.wait_channel(TOPIC, CHANNEL, |channel| channel.in_flight == 12);

    let (exited, took) = end(&posthaste, Signal::TERM);
    let channel = held_by_nobody(&nsqd);
    println!("exit after {took:?}");
    assert_eq!(exited.code, Some(0), "{}", posthaste.process.output());
    assert!(took <= Duration::from_secs(1), "{took:?}{}", posthaste.process.output());
    assert_eq!((channel.depth, channel.deferred), (20, 0), "{channel:#?}");
    let summary = posthaste.summary();
    Posthaste::assert_balanced(&summary);
    assert_eq!((number(&summary, "failed"), number(&summary, "requests")), (0, 0), "{summary:#}");
}

#[test]
fn nsqds_that_hang_do_not_hold_the_exit_up() {
    let endpoint = Endpoint::http(Answer::ok());
    let frozen = rig::nsqd(&[]);
    let hole = Blackhole::new();
    let mute = ScriptedNsqd::start_with(testkit::nsqd::NsqdOptions {
        react: testkit::nsqd::React::new(|_| testkit::nsqd::Reaction::Ignore),
        ..Default::default()
    });
    let run = Run::new([&frozen], &endpoint.url("/"))
        .with("--nsqd-tcp-address", hole.address())
        .with("--nsqd-tcp-address", mute.address());
    let posthaste = run.start();
    rig::publish(&frozen, 10, 100);
    rig::wait_finished(&frozen, 10);
    mute.wait(|counts| counts.commands("IDENTIFY") == 1);
    frozen.daemon.freeze();

    let (exited, took) = end(&posthaste, Signal::TERM);
    println!("exit after {took:?}");
    assert_eq!(exited.code, Some(0), "{}", posthaste.process.output());
    // CLOSE_WAIT is waited for 1 s, and the end of the stream 1 s more.
    assert!(took <= Duration::from_millis(2500), "{took:?}{}", posthaste.process.output());
    assert!(posthaste.process.stderr().contains("did not confirm"), "{}", posthaste.process.output());
}
