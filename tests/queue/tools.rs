//! NSQ's own tools, unchanged, on `posthaste broker`. `nsqadmin` and `nsq_stat` are held against it in the broker's crate.

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use testkit::endpoint::{Answer, Endpoint};
use testkit::process::{Nsqd, Process, Signal, nsq_program};

use crate::rig::TOPIC;

const COUNT: usize = 300;

fn lines() -> Vec<String> {
    (0..COUNT).map(|serial| format!("line {serial}")).collect()
}

fn publish_lines(broker: &Nsqd) {
    broker.publish_many(TOPIC, lines().into_iter().map(Into::into));
}

/// Starts a tool on the broker's topic.
fn tool(name: &str, broker: &Nsqd, more: &[&str]) -> Process {
    let address = format!("--nsqd-tcp-address={}", broker.tcp_address());
    let mut command = Command::new(nsq_program(name));
    command.args([address.as_str(), &format!("--topic={TOPIC}")]).args(more);
    Process::spawn(name, &mut command)
}

fn sorted(text: &str) -> Vec<String> {
    let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

fn expected() -> Vec<String> {
    let mut lines = lines();
    lines.sort();
    lines
}

fn finished(broker: &Nsqd, channel: &str) {
    let stats = broker.wait_channel(TOPIC, channel, |stats| {
        stats.messages == COUNT as u64 && stats.finished() == COUNT as u64
    });
    assert_eq!((stats.requeues, stats.timeouts), (0, 0), "{stats:?}");
}

#[test]
fn nsq_tail_shows_every_message() {
    let broker = Nsqd::posthaste(&[]);
    broker.create_channel(TOPIC, "tail");
    publish_lines(&broker);
    let count = format!("-n={COUNT}");
    let tail = tool("nsq_tail", &broker, &["--channel=tail", &count]);
    assert_eq!(tail.wait(testkit::PATIENCE).code, Some(0), "{}", tail.output());
    assert_eq!(sorted(&tail.stdout()), expected());
    // Having shown what it was asked for, it ends without having written its last FINs (one or two, on nsqd as here).
    let stats = broker.wait_channel(TOPIC, "tail", |stats| stats.in_flight == 0);
    assert!(stats.depth < 200 && stats.timeouts == 0, "its max-in-flight is 200: {stats:?}");
}

#[test]
fn to_nsq_publishes_every_line() {
    let broker = Nsqd::posthaste(&[]);
    broker.create_channel(TOPIC, "tail");
    let mut to_nsq = Command::new(nsq_program("to_nsq"));
    to_nsq.arg(format!("--nsqd-tcp-address={}", broker.tcp_address())).arg(format!("--topic={TOPIC}"));
    let mut child = to_nsq.stdin(Stdio::piped()).stderr(Stdio::null()).spawn().expect("to_nsq starts");
    let mut stdin = child.stdin.take().expect("a pipe");
    stdin.write_all((lines().join("\n") + "\n").as_bytes()).expect("it reads");
    drop(stdin);
    broker.wait_channel(TOPIC, "tail", |stats| stats.depth == COUNT as u64);
    assert!(child.wait().expect("it ends").success());
    let count = format!("-n={COUNT}");
    let tail = tool("nsq_tail", &broker, &["--channel=tail", &count]);
    assert_eq!(tail.wait(testkit::PATIENCE).code, Some(0), "{}", tail.output());
    assert_eq!(sorted(&tail.stdout()), expected());
}

#[test]
fn nsq_to_file_writes_every_message() {
    let broker = Nsqd::posthaste(&[]);
    broker.create_channel(TOPIC, "file");
    publish_lines(&broker);
    let folder = tempfile::tempdir().expect("a folder");
    let dir = format!("--output-dir={}", folder.path().display());
    let to_file = tool("nsq_to_file", &broker, &["--channel=file", &dir, "--sync-interval=100ms"]);
    finished(&broker, "file");
    to_file.signal(Signal::TERM);
    assert_eq!(to_file.wait(testkit::PATIENCE).code, Some(0), "{}", to_file.output());
    let files = std::fs::read_dir(folder.path()).expect("the folder");
    let text: String = files
        .map(|file| std::fs::read_to_string(file.expect("an entry").path()).expect("what it wrote"))
        .collect();
    assert_eq!(sorted(&text), expected());
}

#[test]
fn nsq_to_nsq_carries_every_message_to_another_broker() {
    let (from, to) = (Nsqd::posthaste(&[]), Nsqd::posthaste(&[]));
    from.create_channel(TOPIC, "nsq");
    to.create_channel("copied", "tail");
    publish_lines(&from);
    let destination = format!("--destination-nsqd-tcp-address={}", to.tcp_address());
    let _to_nsq = tool("nsq_to_nsq", &from, &["--channel=nsq", &destination, "--destination-topic=copied"]);
    finished(&from, "nsq");
    let stats = to.wait_channel("copied", "tail", |stats| stats.depth == COUNT as u64);
    assert_eq!(stats.messages, COUNT as u64);
}

#[test]
fn nsq_to_http_posts_every_message() {
    let broker = Nsqd::posthaste(&[]);
    broker.create_channel(TOPIC, "http");
    broker.publish_many(TOPIC, (0..COUNT as u64).map(|serial| testkit::body::body(serial, 100)));
    let endpoint = Endpoint::http(Answer::ok());
    let post = format!("--post={}", endpoint.url("/"));
    let _to_http = tool("nsq_to_http", &broker, &["--channel=http", &post]);
    finished(&broker, "http");
    endpoint.ledger().assert_exactly_once(0..COUNT as u64);
}

/// A consumer that goes away with messages in flight: they come to the next one at once, not after their timeout.
#[test]
fn what_a_tool_held_comes_to_the_next_one_at_once() {
    let broker = Nsqd::posthaste(&[]);
    broker.create_channel(TOPIC, "tail");
    publish_lines(&broker);
    let first = tool("nsq_tail", &broker, &["--channel=tail", "-n=50", "--consumer-opt=max_in_flight,100"]);
    first.wait(testkit::PATIENCE);
    let begun = std::time::Instant::now();
    let rest = broker.channel(TOPIC, "tail").depth;
    let count = format!("-n={}", rest.max(1));
    let second = tool("nsq_tail", &broker, &["--channel=tail", &count]);
    assert_eq!(second.wait(testkit::PATIENCE).code, Some(0), "{}", second.output());
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    let seen = sorted(&(first.stdout() + &second.stdout()));
    assert!(expected().iter().all(|line| seen.binary_search(line).is_ok()), "{} lines", seen.len());
}
