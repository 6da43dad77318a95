//! The broker and real nsqlookupds.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::Value;
use testkit::ports::Blackhole;
use testkit::process::{Nsqd, Nsqlookupd};

use crate::nsq::NsqClient;
use crate::raw::{do_post, exchange, get, request};
use crate::served::{Served, settings};

fn clustered(lookupds: &[&Nsqlookupd]) -> broker::Settings {
    let addresses = lookupds.iter().map(|lookupd| lookupd.tcp_address().to_string()).collect();
    broker::Settings { lookupd_tcp_addresses: addresses, ..settings() }
}

/// What an nsqlookupd lists under `key` at `target`, in order.
fn listed(lookupd: &Nsqlookupd, target: &str, key: &str) -> Vec<String> {
    let answer: Value = serde_json::from_str(&get(lookupd.http_address(), target).body).unwrap_or_default();
    let values = answer[key].as_array().cloned().unwrap_or_default();
    let mut names: Vec<String> = values.iter().filter_map(|name| name.as_str().map(str::to_owned)).collect();
    names.sort();
    names
}

#[track_caller]
fn until(what: &str, limit: Duration, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < limit, "not within {limit:?}: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

const SOON: Duration = Duration::from_secs(20);

fn depth(address: SocketAddr, topic: &str, channel: &str) -> Option<u64> {
    let target = format!("/stats?format=json&topic={topic}&channel={channel}");
    let stats: Value = serde_json::from_str(&get(address, &target).body).expect("JSON");
    stats["topics"][0]["channels"][0]["depth"].as_u64()
}

#[test]
fn it_registers_what_it_has_and_takes_it_back() {
    let lookupds = [Nsqlookupd::start(&[]), Nsqlookupd::start(&[])];
    let broker = Served::start(clustered(&[&lookupds[0], &lookupds[1]]));
    do_post(broker.http(), "/pub?topic=t", b"m");
    do_post(broker.http(), "/channel/create?topic=t&channel=c", b"");
    do_post(broker.http(), "/channel/create?topic=t&channel=d", b"");
    for lookupd in &lookupds {
        until("both channels", SOON, || listed(lookupd, "/channels?topic=t", "channels") == ["c", "d"]);
        lookupd.wait_producers("t", 1);
        let nodes: Value = serde_json::from_str(&get(lookupd.http_address(), "/nodes").body).unwrap();
        let node = &nodes["producers"][0];
        assert_eq!(node["broadcast_address"], "127.0.0.1");
        assert_eq!(node["tcp_port"], broker.tcp().port());
        assert_eq!(node["http_port"], broker.http().port());
        assert_eq!(node["version"], "1.3.0");
    }
    do_post(broker.http(), "/channel/delete?topic=t&channel=c", b"");
    do_post(broker.http(), "/topic/create?topic=u", b"");
    do_post(broker.http(), "/topic/delete?topic=t", b"");
    for lookupd in &lookupds {
        lookupd.wait_producers("u", 1);
        lookupd.wait_producers("t", 0);
    }
    drop(broker.stop());
    for lookupd in &lookupds {
        lookupd.wait_producers("u", 0);
    }
}

#[test]
fn everything_is_said_again_to_one_that_comes_back() {
    let mut lookupd = Nsqlookupd::start(&[]);
    let broker = Served::start(clustered(&[&lookupd]));
    do_post(broker.http(), "/topic/create?topic=t", b"");
    do_post(broker.http(), "/channel/create?topic=t&channel=c", b"");
    lookupd.wait_producers("t", 1);
    lookupd.daemon.kill9();
    do_post(broker.http(), "/topic/create?topic=made-meanwhile", b"");
    do_post(broker.http(), "/channel/delete?topic=t&channel=c", b"");
    lookupd.daemon.start();
    lookupd.wait_producers("t", 1);
    lookupd.wait_producers("made-meanwhile", 1);
    assert_eq!(listed(&lookupd, "/channels?topic=t", "channels"), Vec::<String>::new());
}

#[test]
fn a_restarted_broker_registers_what_it_kept() {
    let lookupd = Nsqlookupd::start(&[]);
    let first = Served::start(clustered(&[&lookupd]));
    do_post(first.http(), "/topic/create?topic=t", b"");
    do_post(first.http(), "/channel/create?topic=t&channel=c", b"");
    lookupd.wait_producers("t", 1);
    let files = first.stop();
    lookupd.wait_producers("t", 0);
    let _second = Served::in_directory(clustered(&[&lookupd]), files);
    lookupd.wait_producers("t", 1);
    until("its channel", SOON, || listed(&lookupd, "/channels?topic=t", "channels") == ["c"]);
}

#[test]
fn a_first_publish_reaches_the_channels_that_others_made() {
    let lookupd = Nsqlookupd::start(&[]);
    let flag = format!("--lookupd-tcp-address={}", lookupd.tcp_address());
    let other = Nsqd::start(&[&flag]);
    other.create_channel("t", "a");
    other.create_channel("t", "b");
    do_post(other.http_address(), "/channel/create?topic=t&channel=gone%23ephemeral", b"");
    until("the other node's channels", SOON, || listed(&lookupd, "/channels?topic=t", "channels").len() == 3);

    // At once, before the broker can have dialled nsqlookupd.
    let broker = Served::start(clustered(&[&lookupd]));
    let mut first = NsqClient::connect(broker.tcp(), "first");
    first.subscribe("t", "a");
    first.send(b"RDY 10\n");
    for body in ["1", "2", "3"] {
        do_post(broker.http(), "/pub?topic=t", body.as_bytes());
    }
    for body in ["1", "2", "3"] {
        let message = first.message();
        assert_eq!(message.body, body.as_bytes());
        first.finish(&message);
    }
    until("all of it in the other channel", SOON, || depth(broker.http(), "t", "b") == Some(3));
    let stats = get(broker.http(), "/stats?format=json").body;
    assert!(!stats.contains("gone#ephemeral"), "{stats}");
}

#[test]
fn an_nsqlookupd_that_hangs_holds_up_neither_a_publish_nor_the_fan_out_for_ever() {
    let hole = Blackhole::new();
    let addresses = vec![hole.address().to_string()];
    let broker = Served::start(broker::Settings { lookupd_tcp_addresses: addresses, ..settings() });
    let begun = Instant::now();
    do_post(broker.http(), "/pub?topic=t", b"m");
    assert!(begun.elapsed() < Duration::from_secs(1), "the publish waited: {:?}", begun.elapsed());
    do_post(broker.http(), "/channel/create?topic=t&channel=c", b"");
    until("the message in the channel", SOON, || depth(broker.http(), "t", "c") == Some(1));
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}

#[test]
fn nsqlookupds_can_be_put() {
    let lookupds = [Nsqlookupd::start(&[]), Nsqlookupd::start(&[])];
    let broker = Served::start(settings());
    do_post(broker.http(), "/topic/create?topic=t", b"");
    let put = |lookupd: &Nsqlookupd| {
        let body = format!(r#"["{}"]"#, lookupd.tcp_address());
        let answer =
            exchange(broker.http(), &request("PUT", "/config/nsqlookupd_tcp_addresses", body.as_bytes()));
        assert_eq!((answer.code(), answer.body), (200, body));
    };
    put(&lookupds[0]);
    lookupds[0].wait_producers("t", 1);
    put(&lookupds[1]);
    lookupds[1].wait_producers("t", 1);
    lookupds[0].wait_producers("t", 0);
}

#[test]
fn channels_are_taken_over_also_from_one_that_was_put() {
    let lookupd = Nsqlookupd::start(&[]);
    let flag = format!("--lookupd-tcp-address={}", lookupd.tcp_address());
    let other = Nsqd::start(&[&flag]);
    other.create_channel("u", "b");
    until("the other node's channel", SOON, || listed(&lookupd, "/channels?topic=u", "channels") == ["b"]);
    let broker = Served::start(settings());
    let body = format!(r#"["{}"]"#, lookupd.tcp_address());
    exchange(broker.http(), &request("PUT", "/config/nsqlookupd_tcp_addresses", body.as_bytes()));
    let mut first = NsqClient::connect(broker.tcp(), "first");
    first.subscribe("u", "a");
    do_post(broker.http(), "/pub?topic=u", b"m");
    until("the message in the other channel", SOON, || depth(broker.http(), "u", "b") == Some(1));
}

#[test]
fn a_gate_that_a_crash_left_closed_is_opened_by_the_next_start() {
    let hole = Blackhole::new();
    let addresses = vec![hole.address().to_string()];
    let broker = Served::start(broker::Settings { lookupd_tcp_addresses: addresses, ..settings() });
    do_post(broker.http(), "/pub?topic=t", b"m");
    do_post(broker.http(), "/channel/create?topic=t&channel=c", b"");
    assert_eq!(depth(broker.http(), "t", "c"), Some(0), "it waits for the nsqlookupd that hangs");
    let again = Served::in_directory(settings(), broker.crash());
    until("the message in the channel", SOON, || depth(again.http(), "t", "c") == Some(1));
}

#[test]
fn one_that_hangs_is_told_everything_when_it_goes_on() {
    let lookupd = Nsqlookupd::start(&[]);
    let broker = Served::start(clustered(&[&lookupd]));
    do_post(broker.http(), "/topic/create?topic=before", b"");
    lookupd.wait_producers("before", 1);
    lookupd.daemon.freeze();
    do_post(broker.http(), "/topic/create?topic=meanwhile", b"");
    do_post(broker.http(), "/topic/delete?topic=before", b"");
    // Its time for an answer passes.
    std::thread::sleep(Duration::from_millis(1_500));
    lookupd.daemon.thaw();
    lookupd.wait_producers("meanwhile", 1);
    lookupd.wait_producers("before", 0);
}

/// Its default broadcast address is its host's name, so that is what the questions of many new topics go to at once.
/// That they get them also when looking that name up takes long is a test of the whole program: `queue::cluster`.
#[test]
fn many_topics_made_at_once_get_their_channels_from_an_nsqlookupd_with_a_name() {
    const TOPICS: usize = 40;
    let lookupd = Nsqlookupd::start(&["--broadcast-address=localhost"]);
    let flag = format!("--lookupd-tcp-address={}", lookupd.tcp_address());
    let other = Nsqd::start(&[&flag]);
    let topics: Vec<String> = (0..TOPICS).map(|number| format!("t{number}")).collect();
    topics.iter().for_each(|topic| other.create_channel(topic, "b"));
    until("the other node's topics", SOON, || listed(&lookupd, "/topics", "topics").len() == TOPICS);

    let broker = Served::start(clustered(&[&lookupd]));
    // The first dial is over: what follows is the questions alone.
    do_post(broker.http(), "/topic/create?topic=first", b"");
    lookupd.wait_producers("first", 1);
    let mut client = NsqClient::connect(broker.tcp(), "client");
    let publishes = topics.iter().map(|topic| format!("PUB {topic}\n\0\0\0\x01x"));
    client.send(publishes.collect::<String>().as_bytes());
    for topic in &topics {
        until("the message in the channel", SOON, || depth(broker.http(), topic, "b") == Some(1));
    }
}

/// Answers every command, and says when each PING came.
#[test]
fn it_pings_every_15_seconds() {
    use std::io::{BufRead as _, Read as _, Write as _};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let addresses = vec![listener.local_addr().expect("it is bound").to_string()];
    let _broker = Served::start(broker::Settings { lookupd_tcp_addresses: addresses, ..settings() });
    let (mut peer, _) = listener.accept().expect("it dials");
    peer.set_read_timeout(Some(Duration::from_secs(20))).expect("a socket option");
    let mut reader = std::io::BufReader::new(peer.try_clone().expect("a second handle"));
    let mut answer = |answer: &[u8]| {
        let framed = [&(answer.len() as u32).to_be_bytes(), answer].concat();
        peer.write_all(&framed).expect("it reads");
    };
    let mut line = String::new();
    reader.read_line(&mut line).expect("IDENTIFY");
    assert_eq!(line, "  V1IDENTIFY\n");
    let mut len = [0; 4];
    reader.read_exact(&mut len).expect("a length");
    reader.read_exact(&mut vec![0; u32::from_be_bytes(len) as usize]).expect("a body");
    answer(b"{}");
    let mut pings = Vec::new();
    while pings.len() < 2 {
        line.clear();
        reader.read_line(&mut line).expect("a PING in time");
        assert_eq!(line, "PING\n", "there is nothing else to say");
        pings.push(Instant::now());
        answer(b"OK");
    }
    let apart = (pings[1] - pings[0]).as_millis();
    assert!((14_500..17_000).contains(&apart), "{apart} ms");
}
