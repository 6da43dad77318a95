//! What is published in every state of topic and channel, and then emptied: the same numbers as nsqd's.

use testkit::process::Nsqd;

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
