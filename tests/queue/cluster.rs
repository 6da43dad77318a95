//! `posthaste broker` in a cluster whose names take their time.

use std::io::Write as _;
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use serde_json::Value;
use testkit::PATIENCE;
use testkit::namespace::Namespace;
use testkit::ports::Reserved;
use testkit::process::{Nsqd, Nsqlookupd, Posthaste};

use super::rig::{ask, wait_serving};

/// How long each question to the name server takes. Far less than the 5 s that a new topic has for its question, and far more than 40 topics need
/// to be made.
const LOOKUP: Duration = Duration::from_millis(500);

/// A name server on 127.0.0.53, as [`Namespace::set_resolver`] names it: every name is 127.0.0.1, after [`LOOKUP`], and has no other address.
/// It serves until its process ends.
fn slow_name_server() {
    let socket = UdpSocket::bind("127.0.0.53:53").expect("nobody else is in this namespace");
    std::thread::spawn(move || {
        let mut packet = [0; 512];
        while let Ok((len, from)) = socket.recv_from(&mut packet) {
            let answer = answer(&packet[..len]);
            let socket = socket.try_clone().expect("a descriptor is free");
            // Each on its own: a resolver asks for both kinds of address at once.
            std::thread::spawn(move || {
                std::thread::sleep(LOOKUP);
                // Who no longer waits for it is gone.
                socket.send_to(&answer, from).ok();
            });
        }
    });
}

/// RFC 1035: a header of 12 bytes, the name as labels up to an empty one, type and class; the answer points back to the name.
fn answer(question: &[u8]) -> Vec<u8> {
    const A: [u8; 2] = [0, 1];
    let name_len = question[12..].iter().position(|byte| *byte == 0).expect("a name ends") + 1;
    let asked = &question[..12 + name_len + 4];
    let is_ipv4 = asked[12 + name_len..][..2] == A;
    let mut answer = asked.to_vec();
    // A response, recursion asked for and available, no error; one question, no authority, nothing additional.
    answer[2..12].copy_from_slice(&[0x81, 0x80, 0, 1, 0, u8::from(is_ipv4), 0, 0, 0, 0]);
    if is_ipv4 {
        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4, 127, 0, 0, 1]);
    }
    answer
}

/// `depth` of the channel `b` of each topic that has one.
fn depths(http: SocketAddr) -> Vec<(String, u64)> {
    let (_, stats) = ask(http, "GET", "/stats?format=json&channel=b", b"").expect("an answer");
    let stats: Value = serde_json::from_str(&stats).expect("JSON");
    let topics = stats["topics"].as_array().expect("a list");
    let of_topic = |topic: &Value| {
        let depth = topic["channels"][0]["depth"].as_u64()?;
        Some((topic["topic_name"].as_str()?.to_owned(), depth))
    };
    let mut depths: Vec<_> = topics.iter().filter_map(of_topic).collect();
    depths.sort();
    depths
}

/// More than are looked up at once, and every one of their questions goes to the same name: nsqlookupd's broadcast address.
#[test]
fn many_topics_made_at_once_get_their_channels_though_a_lookup_takes_long() {
    const TOPICS: usize = 40;
    let Some(namespace) = Namespace::new() else {
        let name = "many_topics_made_at_once_get_their_channels_though_a_lookup_takes_long";
        return testkit::skip(name, "needs root and nft");
    };
    namespace.set_resolver("127.0.0.53");
    namespace.run(|| {
        slow_name_server();
        let lookupd = Nsqlookupd::start(&["--broadcast-address=nsqlookupd.test"]);
        let flag = format!("--lookupd-tcp-address={}", lookupd.tcp_address());
        let other = Nsqd::start(&[&flag]);
        let mut topics: Vec<String> = (0..TOPICS).map(|number| format!("t{number}")).collect();
        topics.sort();
        for topic in &topics {
            other.create_channel(topic, "b");
            lookupd.wait_producers(topic, 1);
        }

        let (data, tcp, http) = (tempfile::tempdir().expect("a folder"), Reserved::new(), Reserved::new());
        let arguments = [
            "broker".to_owned(),
            format!("--data-path={}", data.path().display()),
            format!("--tcp-address={}", tcp.address()),
            format!("--http-address={}", http.address()),
            "--broadcast-address=127.0.0.1".to_owned(),
            flag,
        ];
        let broker = Posthaste::run_with(arguments, |command| namespace.wrap(command));
        wait_serving(http.address(), &broker.process);
        // The first dial is over: what follows is the questions alone.
        ask(http.address(), "POST", "/topic/create?topic=first", b"");
        lookupd.wait_producers("first", 1);

        let publishes: String = topics.iter().map(|topic| format!("PUB {topic}\n\0\0\0\x01x")).collect();
        let mut client = TcpStream::connect(tcp.address()).expect("it listens");
        client.write_all(format!("  V2{publishes}").as_bytes()).expect("it reads");
        let begun = Instant::now();
        let whole: Vec<(String, u64)> = topics.iter().map(|topic| (topic.clone(), 1)).collect();
        while depths(http.address()) != whole {
            assert!(begun.elapsed() < PATIENCE, "{:?}{}", depths(http.address()), broker.process.output());
            std::thread::sleep(Duration::from_millis(10));
        }
        assert!(begun.elapsed() >= LOOKUP, "{:?}: nobody asked the name server", begun.elapsed());
    });
}
