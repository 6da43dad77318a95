//! nsqadmin and nsq_stat against the broker.

use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use testkit::ports::Reserved;
use testkit::process::{Nsqd, Nsqlookupd, Process, nsq_program};

use crate::raw::{do_post, exchange, get, request};
use crate::served::{Served, settings};

/// A running nsqadmin.
struct Nsqadmin {
    port: Reserved,
    _process: Process,
}

impl Nsqadmin {
    fn start(flags: &[String]) -> Self {
        let port = Reserved::new();
        let mut command = Command::new(nsq_program("nsqadmin"));
        command.arg(format!("--http-address={}", port.address())).args(flags);
        let process = Process::spawn("nsqadmin", &mut command);
        let begun = Instant::now();
        while std::net::TcpStream::connect(port.address()).is_err() {
            assert!(begun.elapsed() < testkit::PATIENCE, "{process} does not serve{}", process.output());
            std::thread::sleep(Duration::from_millis(10));
        }
        Self { port, _process: process }
    }

    /// Its own API, which its pages are made of.
    fn ask(&self, method: &str, target: &str, body: &Value) -> (u16, Value) {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let answer = exchange(self.port.address(), &request(method, target, body.as_bytes()));
        (answer.code(), serde_json::from_str(&answer.body).unwrap_or_default())
    }
}

/// Leaves out what is each side's own.
fn compared(value: &Value, own: &[&str]) -> Value {
    match value {
        Value::Object(fields) => {
            let kept = fields.iter().filter(|(name, _)| !own.contains(&name.as_str()));
            Value::Object(kept.map(|(name, value)| (name.clone(), compared(value, own))).collect())
        }
        Value::Array(values) => values.iter().map(|value| compared(value, own)).collect(),
        other => other.clone(),
    }
}

const OWN: [&str; 10] = [
    "node",
    "nodes",
    "remote_address",
    "remote_addresses",
    "tcp_port",
    "http_port",
    "hostname",
    "connect_ts",
    "memory_depth",
    "backend_depth",
];

/// Does all that its pages offer, and gives what they showed after each step.
fn tour(http: std::net::SocketAddr, flags: &[String]) -> Vec<(String, u16, Value)> {
    let admin = Nsqadmin::start(flags);
    let ask = |method: &str, target: &str, body: &Value| {
        let (status, answer) = admin.ask(method, target, body);
        // The address stands in keys, too.
        let text = answer.to_string().replace(&http.to_string(), "NODE");
        (status, compared(&serde_json::from_str(&text).expect("it was JSON"), &OWN))
    };
    let mut seen = Vec::new();
    let action = |action: &str| json!({ "action": action });
    let topic_and_channel = json!({ "topic": "t", "channel": "c" });
    let steps: [(&str, &str, Value); 12] = [
        ("POST", "/api/topics", topic_and_channel),
        ("POST", "/api/topics/t", action("pause")),
        ("POST", "/api/topics/t", action("unpause")),
        ("POST", "/api/topics/t/c", action("pause")),
        ("POST", "/api/topics/t/c", action("unpause")),
        ("POST", "/api/topics/t/c", action("empty")),
        ("POST", "/api/topics/t", action("pause")),
        ("POST", "/api/topics/t", action("empty")),
        ("DELETE", "/api/topics/t/c", Value::Null),
        ("DELETE", "/api/topics/t", Value::Null),
        ("POST", "/api/topics/absent", action("pause")),
        ("DELETE", "/api/topics/absent/absent", Value::Null),
    ];
    do_post(http, "/topic/create?topic=t", b"");
    do_post(http, "/channel/create?topic=t&channel=c", b"");
    do_post(http, "/mpub?topic=t", b"one\ntwo\nthree");
    for (method, target, body) in steps {
        let (status, answer) = ask(method, target, &body);
        seen.push((format!("{method} {target} {body}"), status, answer));
        for page in ["/api/topics", "/api/topics/t", "/api/topics/t/c", "/api/nodes", "/api/counter"] {
            let (status, answer) = ask("GET", page, &Value::Null);
            seen.push((format!("{page} after {method} {target} {body}"), status, answer));
        }
        let (status, answer) = ask("GET", &format!("/api/nodes/{http}"), &Value::Null);
        seen.push((format!("the node after {method} {target} {body}"), status, answer));
        if method == "POST" && body["action"] == "pause" && target == "/api/topics/t" {
            do_post(http, "/pub?topic=t", b"while paused");
        }
    }
    for page in ["/", "/topics/t", "/topics/t/c", "/nodes", "/lookup", "/counter"] {
        assert_eq!(get(admin.port.address(), page).code(), 200, "{page}");
    }
    seen
}

#[track_caller]
fn same_tour(ours: Vec<(String, u16, Value)>, theirs: Vec<(String, u16, Value)>) {
    assert_eq!(ours.len(), theirs.len());
    for (ours, theirs) in ours.into_iter().zip(theirs) {
        // What failed names addresses.
        let message = |(step, status, value): (String, u16, Value)| {
            (step, status, if status == 200 { value } else { Value::Null })
        };
        pretty_assert(&message(ours), &message(theirs));
    }
}

#[track_caller]
fn pretty_assert(ours: &(String, u16, Value), theirs: &(String, u16, Value)) {
    assert_eq!((ours.1, &ours.0), (theirs.1, &theirs.0));
    assert_eq!(ours.2, theirs.2, "{}\nbroker: {:#}\nnsqd: {:#}", ours.0, ours.2, theirs.2);
}

#[test]
fn nsqadmin_shows_and_does_the_same_with_a_single_node() {
    let nsqd = Nsqd::start(&[]);
    let broker = Served::start(settings());
    let flag = |address: std::net::SocketAddr| vec![format!("--nsqd-http-address={address}")];
    let ours = tour(broker.http(), &flag(broker.http()));
    same_tour(ours, tour(nsqd.http_address(), &flag(nsqd.http_address())));
}

#[test]
fn nsqadmin_shows_and_does_the_same_in_a_cluster() {
    let lookupds = [Nsqlookupd::start(&[]), Nsqlookupd::start(&[])];
    let flag = |lookupd: &Nsqlookupd| vec![format!("--lookupd-http-address={}", lookupd.http_address())];
    let register = lookupds[0].tcp_address().to_string();
    let broker = Served::start(broker::Settings { lookupd_tcp_addresses: vec![register], ..settings() });
    let nsqd = Nsqd::start(&[&format!("--lookupd-tcp-address={}", lookupds[1].tcp_address())]);
    for (lookupd, http) in [(&lookupds[0], broker.http()), (&lookupds[1], nsqd.http_address())] {
        do_post(http, "/topic/create?topic=t", b"");
        lookupd.wait_producers("t", 1);
    }
    let ours = tour(broker.http(), &flag(&lookupds[0]));
    same_tour(ours, tour(nsqd.http_address(), &flag(&lookupds[1])));
}

#[test]
fn nsq_stat_prints_what_it_prints_of_nsqd() {
    let nsqd = Nsqd::start(&["--mem-queue-size=0"]);
    let broker = Served::start(settings());
    let [ours, theirs] = [broker.http(), nsqd.http_address()].map(|http| {
        do_post(http, "/topic/create?topic=t", b"");
        do_post(http, "/channel/create?topic=t&channel=c", b"");
        do_post(http, "/mpub?topic=t", b"one\ntwo\nthree");
        let begun = Instant::now();
        while !get(http, "/stats?format=json&topic=t&channel=c")
            .body
            .contains(r#""channel_name":"c","depth":3"#)
        {
            assert!(begun.elapsed() < testkit::PATIENCE, "the messages do not reach the channel");
            std::thread::sleep(Duration::from_millis(10));
        }
        let address = format!("--nsqd-http-address={http}");
        let mut command = Command::new(nsq_program("nsq_stat"));
        command.args(["--topic=t", "--channel=c", "--interval=100ms", "--count=2", &address]);
        let process = Process::spawn("nsq_stat", &mut command);
        assert_eq!(process.wait(testkit::PATIENCE).code, Some(0), "{}", process.output());
        process.stdout()
    });
    assert_eq!(ours, theirs);
    assert!(
        ours.contains("      3       0       3     0     0 |       0       0            3       0"),
        "{ours}"
    );
}
