//! What the tests of the embedded queue stand on: HTTP by hand, and a `posthaste run` with a queue of its own.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use testkit::PATIENCE;
use testkit::ports::Reserved;
use testkit::process::Posthaste;

use crate::rig::TOPIC;

/// Status and body of one HTTP request; `None` where nobody answers.
pub(crate) fn ask(address: SocketAddr, method: &str, target: &str, body: &[u8]) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    let head = format!(
        "{method} {target} HTTP/1.1\r\nHost: {address}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(&[head.as_bytes(), body].concat()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let status = answer.split(' ').nth(1)?.parse().ok()?;
    Some((status, answer.split_once("\r\n\r\n")?.1.to_owned()))
}

/// Publishes one message; whether it was acknowledged.
pub(crate) fn publish(address: SocketAddr, body: &[u8]) -> bool {
    ask(address, "POST", &format!("/pub?topic={TOPIC}"), body) == Some((200, "OK".to_owned()))
}

/// Waits until someone answers there.
#[track_caller]
pub(crate) fn wait_serving(address: SocketAddr, process: &testkit::process::Process) {
    let begun = Instant::now();
    while ask(address, "GET", "/ping", b"") != Some((200, "OK".to_owned())) {
        assert!(process.is_running() && begun.elapsed() < PATIENCE, "{process}{}", process.output());
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Addresses of a `posthaste run` with a queue of its own, kept over its lives.
pub(crate) struct Addresses {
    tcp: Reserved,
    http: Reserved,
}

impl Addresses {
    pub(crate) fn new() -> Addresses {
        Addresses { tcp: Reserved::new(), http: Reserved::new() }
    }

    pub(crate) fn http(&self) -> SocketAddr {
        self.http.address()
    }

    /// Starts it, from the queue in `data` to this URL, and waits until the queue serves.
    #[track_caller]
    pub(crate) fn run(&self, data: &Path, to: &str, more: &[&str]) -> Posthaste {
        self.run_with(data, to, more, |_| {})
    }

    /// As [`Addresses::run`], after `change` had its way with the command.
    #[track_caller]
    pub(crate) fn run_with(
        &self,
        data: &Path,
        to: &str,
        more: &[&str],
        change: impl FnOnce(&mut Command),
    ) -> Posthaste {
        let (tcp, http) = (self.tcp.address().to_string(), self.http.address().to_string());
        let data = data.to_str().expect("a plain path");
        let route = ["run", "--topic", TOPIC, "--to", to, "--summary", "json"];
        let queue = ["--data-path", data, "--tcp-address", &tcp, "--http-address", &http];
        let posthaste = Posthaste::run_with([&route[..], &queue, more].concat(), change);
        wait_serving(self.http(), &posthaste.process);
        posthaste
    }
}
