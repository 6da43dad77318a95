//! What is published in every state of topic and channel, and then emptied: the same numbers as nsqd's.

use testkit::process::Nsqd;

use crate::nsq::NsqClient;
use crate::raw::{do_post, get};
use crate::served::{Served, settings};

/// Depth of the topic, and depth and messages of its channels by name.
fn numbers(address: std::net::SocketAddr) -> Vec<(String, u64, u64)> {
    let stats = get(address, "/stats?format=json&include_mem=false&topic=t").body;
    let stats: serde_json::Value = serde_json::from_str(&stats).expect("JSON");
    let topic = &stats["topics"][0];
    let number = |of: &serde_json::Value, name: &str| of[name].as_u64().unwrap_or(u64::MAX);
    let mut all = vec![("topic".to_owned(), number(topic, "depth"), number(topic, "message_count"))];
    for channel in topic["channels"].as_array().into_iter().flatten() {
        let name = channel["channel_name"].as_str().unwrap_or_default().to_owned();
        all.push((name, number(channel, "depth"), number(channel, "message_count")));
    }
    all
}

/// Does the same to both, and waits after each step until the numbers are the same.
fn same(steps: &[&str]) {
    let nsqd = Nsqd::start(&[]);
    let broker = Served::start(settings());
    for step in steps {
        let both = [broker.http(), nsqd.http_address()];
        both.iter().for_each(|address| do_post(*address, step, b"m"));
        let begun = std::time::Instant::now();
        loop {
            let [ours, theirs] = both.map(numbers);
            if ours == theirs {
                break;
            }
            if begun.elapsed() > testkit::PATIENCE {
                assert_eq!(ours, theirs, "after {step} of {steps:?}");
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    }
}

#[test]
fn published_before_any_channel() {
    same(&[
        "/pub?topic=t",
        "/pub?topic=t",
        "/channel/create?topic=t&channel=a",
        "/channel/create?topic=t&channel=b",
        "/pub?topic=t",
        "/topic/empty?topic=t",
        "/channel/empty?topic=t&channel=a",
        "/pub?topic=t",
    ]);
}

#[test]
fn published_during_a_pause_of_the_topic() {
    same(&[
        "/topic/create?topic=t",
        "/topic/pause?topic=t",
        "/pub?topic=t",
        "/pub?topic=t",
        "/channel/create?topic=t&channel=a",
        "/channel/create?topic=t&channel=b",
        "/pub?topic=t",
        "/topic/unpause?topic=t",
        "/pub?topic=t",
        "/topic/pause?topic=t",
        "/pub?topic=t",
        "/topic/empty?topic=t",
        "/pub?topic=t",
        "/topic/unpause?topic=t",
        "/channel/empty?topic=t&channel=b",
    ]);
}

#[test]
fn the_last_channel_goes_and_another_comes() {
    same(&[
        "/pub?topic=t",
        "/channel/create?topic=t&channel=a",
        "/channel/delete?topic=t&channel=a",
        "/pub?topic=t",
        "/pub?topic=t",
        "/topic/pause?topic=t",
        "/channel/create?topic=t&channel=b",
        "/topic/unpause?topic=t",
        "/topic/delete?topic=t",
        "/topic/create?topic=t",
        "/pub?topic=t",
    ]);
}

/// What was in flight is gone with the rest, and finishing it is an error.
#[test]
fn emptied_with_messages_in_flight() {
    let nsqd = Nsqd::start(&[]);
    let broker = Served::start(settings());
    let seen =
        [(nsqd.tcp_address(), nsqd.http_address()), (broker.tcp(), broker.http())].map(|(tcp, http)| {
            let mut consumer = NsqClient::connect(tcp, "consumer");
            consumer.subscribe("t", "c");
            consumer.send(b"RDY 2\n");
            (0..5).for_each(|_| do_post(http, "/pub?topic=t", b"m"));
            let first = consumer.message();
            let _second = consumer.message();
            let counts = || {
                let stats = get(http, "/stats?format=json&include_mem=false&topic=t&channel=c").body;
                let stats: serde_json::Value = serde_json::from_str(&stats).expect("JSON");
                let channel = &stats["topics"][0]["channels"][0];
                ["depth", "in_flight_count", "deferred_count", "message_count"]
                    .map(|name| channel[name].as_u64())
            };
            // nsqd's topic passes them on in its own time.
            let begun = std::time::Instant::now();
            while counts() != [3, 2, 0, 5].map(Some) {
                assert!(begun.elapsed() < testkit::PATIENCE, "{:?}", counts());
            }
            do_post(http, "/channel/empty?topic=t&channel=c", b"");
            let emptied = counts();
            consumer.finish(&first);
            let id = String::from_utf8(first.id.to_vec()).expect("hex digits");
            let error = consumer.error().replace(&id, "ID");
            // Its places are free again.
            do_post(http, "/pub?topic=t", b"next");
            (emptied, error, consumer.message().body)
        });
    assert_eq!(seen[1], seen[0]);
    assert_eq!(seen[0].0, [0, 0, 0, 5].map(Some));
}

/// nsqd creates the topic before it looks at the body.
#[test]
fn an_mpub_of_no_use_makes_its_topic() {
    let nsqd = Nsqd::start(&[]);
    let broker = Served::start(settings());
    for (name, body) in [("bad", &b"\0\0\0\0"[..]), ("count", b"\0\0\0\x05\0\0\0\0x"), ("cut", b"\0\0")] {
        for (tcp, http) in [(nsqd.tcp_address(), nsqd.http_address()), (broker.tcp(), broker.http())] {
            let mut producer = NsqClient::connect(tcp, "producer");
            producer.send(&[format!("MPUB {name}\n").as_bytes(), body].concat());
            producer.end_half();
            assert!(producer.error().starts_with("E_BAD_"), "{name}");
            let stats = get(http, "/stats?format=json&include_mem=false").body;
            assert!(stats.contains(&format!(r#""topic_name":"{name}""#)), "{stats}");
        }
    }
}
