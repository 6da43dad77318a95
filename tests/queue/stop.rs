//! Signals: while the queue serves, and while it starts.

use std::path::Path;
use std::time::{Duration, Instant};

use testkit::ports::Reserved;
use testkit::process::{Posthaste, Signal};

use super::rig::{ask, wait_serving};

const FREE: [&str; 2] = ["--tcp-address=127.0.0.1:0", "--http-address=127.0.0.1:0"];

fn broker(data: &Path, more: &[&str]) -> Posthaste {
    let data = format!("--data-path={}", data.display());
    Posthaste::run([&["broker", &data], &FREE[..], more].concat())
}

#[test]
fn a_signal_ends_the_broker_with_0_and_keeps_everything() {
    let data = tempfile::tempdir().expect("a folder");
    let http = Reserved::new();
    let address = format!("--http-address={}", http.address());
    for (signal, name) in [(Signal::TERM, "SIGTERM"), (Signal::INT, "SIGINT")] {
        let broker = broker(data.path(), &[&address]);
        wait_serving(http.address(), &broker.process);
        let published = ask(http.address(), "POST", "/pub?topic=t", b"kept");
        assert_eq!(published.map(|(status, _)| status), Some(200));
        broker.process.signal(signal);
        assert_eq!(broker.process.wait(testkit::PATIENCE).code, Some(0), "{}", broker.process.output());
        assert!(broker.process.stderr().contains(name), "{}", broker.process.output());
    }
    let broker = broker(data.path(), &[&address]);
    wait_serving(http.address(), &broker.process);
    let stats = ask(http.address(), "GET", "/stats?format=json&include_mem=false", b"").expect("stats").1;
    assert!(stats.contains(r#""topic_name":"t","channels":[],"depth":2,"#), "{stats}");
}

/// What holds the start up is a pipe in the place of one of nsqd's files, which nobody writes to.
#[test]
fn a_signal_ends_a_start_that_takes_long() {
    let data = tempfile::tempdir().expect("a folder");
    let pipe = data.path().join("events.diskqueue.000000.dat");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status().expect("mkfifo runs");
    assert!(made.success());
    let broker = broker(data.path(), &["--import-nsqd"]);
    // It is on its way: it holds nsqd's folder, or will before it comes to the pipe.
    std::thread::sleep(Duration::from_millis(500));
    assert!(broker.process.is_running(), "{}", broker.process.output());
    let begun = Instant::now();
    broker.process.signal(Signal::TERM);
    assert_eq!(broker.process.wait(testkit::PATIENCE).code, Some(0), "{}", broker.process.output());
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    assert!(broker.process.stderr().contains("SIGTERM: stopping before the queue serves"));
}
