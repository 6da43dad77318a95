//! A signal at every moment of the start of `posthaste run`: it ends with 0 and soon, and nothing is held, lost or left half made.

use std::path::Path;
use std::time::{Duration, Instant};

use testkit::endpoint::{Answer, Endpoint};
use testkit::process::{Posthaste, Signal};

use crate::rig::{self, CHANNEL, Run, TOPIC};

/// From before the first instruction of its own to when it delivers.
const DELAYS_MS: [u64; 12] = [0, 1, 2, 3, 5, 8, 12, 20, 35, 60, 100, 200];
const EXIT_MAX: Duration = Duration::from_secs(2);

/// Does the process take SIGTERM over from its default, which ends it at once? `SigCgt` is a mask with a bit for each signal, the first for 1.
fn takes_sigterm(posthaste: &Posthaste) -> bool {
    let status =
        std::fs::read_to_string(format!("/proc/{}/status", posthaste.process.pid())).unwrap_or_default();
    let mask =
        status.lines().find_map(|line| u64::from_str_radix(line.strip_prefix("SigCgt:")?.trim(), 16).ok());
    mask.is_some_and(|mask| mask & (1 << (Signal::TERM.as_raw() - 1)) != 0)
}

/// Sends SIGTERM so long after `begun`. Whether it was taken over by then, and so answered with a 0.
///
/// Before that nothing can answer: the kernel ends a process whose `main` has not run yet. It must not have begun anything either, and
/// `is_untouched` tells so.
#[track_caller]
fn end(posthaste: &Posthaste, begun: Instant, delay: Duration, is_untouched: impl Fn() -> bool) -> bool {
    std::thread::sleep((begun + delay).saturating_duration_since(Instant::now()));
    let taken = takes_sigterm(posthaste);
    let sent = Instant::now();
    posthaste.process.signal(Signal::TERM);
    let exited = posthaste.process.wait(testkit::PATIENCE);
    let took = sent.elapsed();
    assert!(took <= EXIT_MAX, "after {delay:?}: exit after {took:?}{}", posthaste.process.output());
    if !taken && exited.signal == Some(Signal::TERM.as_raw()) {
        assert!(is_untouched(), "after {delay:?}: it had begun{}", posthaste.process.output());
        return false;
    }
    assert_eq!(exited.code, Some(0), "after {delay:?}{}", posthaste.process.output());
    Posthaste::assert_balanced(&posthaste.summary());
    true
}

/// Ends a start so long after the spawn, and another so long after it has taken SIGTERM over: the second is always answered.
#[track_caller]
fn end_two(start: impl Fn() -> Posthaste, delay: Duration, is_untouched: impl Fn() -> bool) {
    let posthaste = start();
    end(&posthaste, Instant::now(), delay, is_untouched);
    let posthaste = start();
    let spawned = Instant::now();
    while !takes_sigterm(&posthaste) {
        assert!(spawned.elapsed() < testkit::PATIENCE, "{}", posthaste.process.output());
    }
    assert!(end(&posthaste, Instant::now(), delay, || false));
}

fn is_empty(folder: &Path) -> bool {
    std::fs::read_dir(folder).expect("it is there").next().is_none()
}

#[test]
fn a_signal_while_it_starts_with_a_queue_of_its_own_ends_it() {
    let endpoint = Endpoint::http(Answer::ok());
    let url = endpoint.url("/");
    let run = |data: &Path| {
        let data = data.to_str().expect("a plain path");
        let route = ["run", "--topic", TOPIC, "--to", &url, "--summary", "json", "--data-path", data];
        Posthaste::run([&route[..], &["--tcp-address=127.0.0.1:0", "--http-address=127.0.0.1:0"]].concat())
    };
    // A folder that starts find as the one before has left it, and for each delay one that is new.
    let kept = tempfile::tempdir().expect("a folder");
    for delay in DELAYS_MS.map(Duration::from_millis) {
        let fresh = tempfile::tempdir().expect("a folder");
        end_two(|| run(fresh.path()), delay, || is_empty(fresh.path()));
        end_two(|| run(kept.path()), delay, || true);
    }
    let posthaste = run(kept.path());
    posthaste.process.wait_stderr("connected (", testkit::PATIENCE);
    rig::drain(&posthaste);
}

#[test]
fn a_signal_while_it_starts_at_a_cluster_ends_it_and_holds_no_message() {
    // More than all the starts together can deliver, at 10 in 20 ms.
    const MESSAGES: u64 = 2_000;
    let endpoint = Endpoint::http(Answer::ok().after(Duration::from_millis(20)));
    let nsqd = rig::nsqd(&[]);
    rig::publish(&nsqd, MESSAGES, 200);
    let run = Run::new([&nsqd], &endpoint.url("/")).with("--concurrency", 10);
    for delay in DELAYS_MS.map(Duration::from_millis) {
        end_two(|| run.start(), delay, || nsqd.channel(TOPIC, CHANNEL).clients.is_empty());
        let channel = nsqd.channel(TOPIC, CHANNEL);
        assert_eq!(
            (channel.in_flight, channel.deferred, channel.timeouts),
            (0, 0, 0),
            "{delay:?}: {channel:#?}"
        );
    }
    assert!(nsqd.channel(TOPIC, CHANNEL).depth > 0, "the later starts had nothing to hold");
    let posthaste = run.start();
    rig::wait_finished(&nsqd, MESSAGES);
    rig::drain(&posthaste);
    endpoint.ledger().assert_exactly_once(0..MESSAGES);
}
