//! A broker that runs out of descriptors: who comes then waits, and is served when there are some again.

use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

use testkit::process::{Nsqd, Process};

use super::rig::ask;

/// Bounds the descriptors of a running process; the hard limit stays, so that it can be raised again.
fn bound(process: &Process, most: usize) {
    let (pid, limit) = (process.pid().to_string(), format!("--nofile={most}:"));
    let bounded = Command::new("prlimit").args(["--pid", &pid, &limit]).status().expect("prlimit runs");
    assert!(bounded.success());
}

/// The number that the next descriptor would get.
fn free(process: &Process) -> usize {
    let open = format!("/proc/{}/fd", process.pid());
    let open: Vec<_> =
        std::fs::read_dir(open).expect("it runs").flatten().map(|entry| entry.file_name()).collect();
    (0..).find(|number: &usize| !open.iter().any(|name| *name == *number.to_string())).expect("some are free")
}

#[test]
fn out_of_descriptors_it_waits_for_some_without_burning_cpu() {
    let broker = Nsqd::posthaste(&[]);
    let process = broker.daemon.process();
    bound(process, free(process));
    let http = broker.http_address();
    // Whatever it closes meanwhile goes to the first of these.
    let _held: Vec<_> = (0..8).map(|_| TcpStream::connect(http).expect("the kernel takes it")).collect();
    let asked = std::thread::spawn(move || ask(http, "GET", "/ping", b""));
    process.wait_stderr("a connection was not accepted", testkit::PATIENCE);
    let cpu = process.usage().cpu;
    let begun = Instant::now();
    std::thread::sleep(Duration::from_secs(1));
    let (cpu, lasted) = (process.usage().cpu - cpu, begun.elapsed());
    assert!(cpu < lasted / 5, "{cpu:?} of CPU in {lasted:?}");
    assert!(!asked.is_finished(), "there is no descriptor for it");
    bound(process, 1_000);
    assert_eq!(asked.join().expect("no panic"), Some((200, "OK".to_owned())));
}
