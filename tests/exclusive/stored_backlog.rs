//! What a backlog costs: memory, disk, the time of a start. And that the disk comes back.

use std::collections::HashMap;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use testkit::body::body;
use testkit::process::Nsqd;
use wire::{Command, MessageId};

use crate::rig;
use crate::stored::talk::Talk;

const MIB: u64 = 1 << 20;
const BODY_BYTES: usize = 1024;
const BATCH: u64 = 500;

/// Bytes that the files of a directory take on disk.
pub(crate) fn bytes_on_disk(dir: &Path) -> u64 {
    let entries = fs::read_dir(dir).expect("a directory").filter_map(Result::ok);
    entries
        .filter_map(|entry| entry.metadata().ok().map(|metadata| (entry, metadata)))
        .map(|(entry, metadata)| match metadata.is_dir() {
            true => bytes_on_disk(&entry.path()),
            // Blocks are of 512 bytes, whatever the file system's own are.
            false => metadata.blocks() * 512,
        })
        .sum()
}

fn rss(broker: &Nsqd) -> u64 {
    broker.daemon.process().usage().rss_bytes
}

fn publish(address: SocketAddr, topic: &str, count: u64, bytes: usize) {
    let mut talk = Talk::to(address).expect("it listens");
    let mut serial = 0;
    while serial < count {
        let upto = (serial + BATCH).min(count);
        let bodies: Vec<_> = (serial..upto).map(|serial| body(serial, bytes)).collect();
        talk.say_mpub(topic, &bodies);
        talk.expect_ok().expect("an OK");
        serial = upto;
    }
}

/// Takes every message of a channel once. `keep` says which are finished; the others are requeued.
fn take_all(
    address: SocketAddr,
    topic: &str,
    channel: &str,
    count: u64,
    finish: impl Fn(u64) -> bool,
) -> u64 {
    let mut talk = Talk::subscribed(address, topic, channel, 2_500).expect("a consumer");
    let (mut seen, mut finished) = (HashMap::<MessageId, ()>::new(), 0);
    while (seen.len() as u64) < count {
        let (head, _body) = talk.message().expect("a message");
        if seen.insert(head.id, ()).is_none() && finish(seen.len() as u64) {
            talk.finish(head.id);
            finished += 1;
        } else {
            talk.say(&Command::Req { id: head.id, delay_ms: 0 });
        }
        if !talk.has_more() {
            talk.send().expect("it reads");
        }
    }
    talk.send().expect("it reads");
    finished
}

/// Has the kernel forget what it has read: a start must do with the disk.
fn drop_page_cache() {
    // Without the right to, the start is only faster.
    fs::write("/proc/sys/vm/drop_caches", "1").ok();
}

#[test]
fn a_backlog_costs_little_memory_and_its_disk_comes_back() {
    const TOPIC: &str = "events";
    const CHANNELS: [&str; 3] = ["a", "b", "c"];
    let _alone = testkit::exclusive();
    let count: u64 = if rig::is_full() { 5_000_000 } else { 300_000 };
    let mut broker = Nsqd::posthaste(&[]);
    let empty = rss(&broker);
    CHANNELS.iter().for_each(|channel| broker.create_channel(TOPIC, channel));
    publish(broker.tcp_address(), TOPIC, count, BODY_BYTES);
    let mut left = HashMap::new();
    for (n, channel) in CHANNELS.iter().enumerate() {
        // A tenth, spread by a hash so that no two channels finish the same ones.
        let is_tenth = |at: u64| (at.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 33) % 10 == n as u64;
        let finished = take_all(broker.tcp_address(), TOPIC, channel, count, is_tenth);
        assert!(finished > count / 12 && finished < count / 8, "{finished} of {count}");
        left.insert(*channel, count - finished);
    }
    let memory = rss(&broker).saturating_sub(empty);
    let share = bytes_on_disk(broker.data_path()) as f64 / (count * BODY_BYTES as u64) as f64;

    broker.daemon.kill9();
    drop_page_cache();
    let begun = Instant::now();
    broker.daemon.start();
    let started_in = begun.elapsed();
    for (channel, left) in &left {
        let depth = broker.channel(TOPIC, channel).depth;
        // What was finished in the last moments may come again.
        assert!(depth >= *left && depth <= left + 2_500, "{channel}: {depth}, not {left}");
    }
    let memory_after = rss(&broker).saturating_sub(empty);
    eprintln!(
        "{count} messages: {} MiB of memory, {} MiB after a start of {started_in:?}, {share:.3} x payload on disk",
        memory / MIB,
        memory_after / MIB
    );
    assert!(memory <= 64 * MIB, "{} MiB", memory / MIB);
    assert!(memory_after <= 64 * MIB, "{} MiB after the start", memory_after / MIB);
    assert!(started_in <= Duration::from_secs(5), "a start of {started_in:?}");
    assert!(share <= 1.1, "{share:.3} x payload on disk");

    for channel in CHANNELS {
        let depth = broker.channel(TOPIC, channel).depth;
        take_all(broker.tcp_address(), TOPIC, channel, depth, |_| true);
    }
    wait_for_disk(&broker, 4 * SEGMENT_BYTES);
}

#[track_caller]
fn wait_for_disk(broker: &Nsqd, bytes: u64) {
    let begun = Instant::now();
    while bytes_on_disk(broker.data_path()) > bytes {
        let now = bytes_on_disk(broker.data_path()) / MIB;
        assert!(
            begun.elapsed() < Duration::from_secs(30),
            "{now} MiB are still on disk, {} allowed",
            bytes / MIB
        );
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Size of a segment, for what is bounded by so many of them.
const SEGMENT_BYTES: u64 = 8 * MIB;

#[test]
fn a_few_unfinished_messages_keep_no_segments() {
    const TOPIC: &str = "events";
    let _alone = testkit::exclusive();
    let count: u64 = if rig::is_full() { 5_000_000 } else { 300_000 };
    let broker = Nsqd::posthaste(&["--msg-timeout=10m"]);
    broker.create_channel(TOPIC, "a");
    let address = broker.tcp_address();
    let publisher = std::thread::spawn(move || publish(address, TOPIC, count, BODY_BYTES));
    // 1 in 1,000 is held, so the window must be larger than all of them together.
    let held = count / 1_000;
    let mut holders: Vec<Talk> = Vec::new();
    let mut talk = Talk::subscribed(address, TOPIC, "a", 2_500).expect("a consumer");
    let (mut held_here, mut seen) = (0, 0);
    while seen < count {
        let (head, _body) = talk.message().expect("a message");
        seen += 1;
        if seen % 1_000 == 0 {
            held_here += 1;
        } else {
            talk.finish(head.id);
        }
        if held_here == 1_250 {
            talk.send().expect("it reads");
            talk.say(&Command::Rdy(1_250));
            talk.send().expect("it reads");
            let next = Talk::subscribed(address, TOPIC, "a", 2_500).expect("a consumer");
            holders.push(std::mem::replace(&mut talk, next));
            held_here = 0;
        } else if !talk.has_more() {
            talk.send().expect("it reads");
        }
    }
    talk.send().expect("it reads");
    publisher.join().expect("no panic");
    broker.wait_channel(TOPIC, "a", |channel| channel.in_flight + channel.depth == held);
    let live = held * BODY_BYTES as u64;
    wait_for_disk(&broker, 4 * live + 4 * SEGMENT_BYTES);
}

#[test]
fn an_idle_topic_keeps_no_segments_of_busy_ones() {
    let _alone = testkit::exclusive();
    let broker = Nsqd::posthaste(&[]);
    broker.create_channel("idle", "a");
    publish(broker.tcp_address(), "idle", 1, BODY_BYTES);
    for n in 0..100 {
        let topic = format!("busy-{n}");
        broker.create_channel(&topic, "a");
        publish(broker.tcp_address(), &topic, 1_000, BODY_BYTES);
        take_all(broker.tcp_address(), &topic, "a", 1_000, |_| true);
    }
    wait_for_disk(&broker, 4 * BODY_BYTES as u64 + 4 * SEGMENT_BYTES);
    assert_eq!(broker.channel("idle", "a").depth, 1);
}

#[test]
fn deferred_and_held_messages_cost_little_memory_and_keep_their_times() {
    const TOPIC: &str = "later";
    let _alone = testkit::exclusive();
    let count: u64 = if rig::is_full() { 1_000_000 } else { 100_000 };
    let mut broker = Nsqd::posthaste(&[]);
    let empty = rss(&broker);
    broker.create_channel(TOPIC, "a");
    // Half by DPUB, half by REQ, an hour each.
    let mut talk = Talk::to(broker.tcp_address()).expect("it listens");
    let (mut sent, mut answered) = (0, 0);
    while answered < count / 2 {
        while sent < count / 2 && sent - answered < 500 {
            talk.say(&Command::Dpub { topic: TOPIC, delay_ms: 3_600_000, body: &body(sent, 100) });
            sent += 1;
        }
        talk.expect_ok().expect("an OK");
        answered += 1;
    }
    publish(broker.tcp_address(), TOPIC, count / 2, 100);
    let mut talk = Talk::subscribed(broker.tcp_address(), TOPIC, "a", 2_500).expect("a consumer");
    for _ in 0..count / 2 {
        let (head, _body) = talk.message().expect("a message");
        talk.say(&Command::Req { id: head.id, delay_ms: 3_600_000 });
        if !talk.has_more() {
            talk.send().expect("it reads");
        }
    }
    talk.send().expect("it reads");
    broker.wait_channel(TOPIC, "a", |channel| channel.deferred == count);

    // 10 consumers that hold 64 KiB messages: 1.6 GiB of them in the long variant.
    let large = if rig::is_full() { 25_000 } else { 2_500 };
    broker.create_channel("large", "a");
    let publisher = {
        let address = broker.tcp_address();
        std::thread::spawn(move || publish_large(address, large))
    };
    let holders: Vec<_> = (0..10)
        .map(|_| Talk::subscribed(broker.tcp_address(), "large", "a", 2_500).expect("a consumer"))
        .map(|mut talk| {
            std::thread::spawn(move || {
                talk.patience(Duration::from_millis(500));
                let mut held = 0;
                while talk.message().is_ok() {
                    held += 1;
                }
                (talk, held)
            })
        })
        .collect();
    publisher.join().expect("no panic");
    let holders: Vec<(Talk, u32)> =
        holders.into_iter().map(|holder| holder.join().expect("no panic")).collect();
    let held: u32 = holders.iter().map(|(_, held)| held).sum();
    let memory = rss(&broker).saturating_sub(empty);
    eprintln!("{count} deferred and {held} held: {} MiB", memory / MIB);
    assert_eq!(u64::from(held), large);
    assert!(memory <= 128 * MIB, "{} MiB", memory / MIB);
    drop(holders);

    // Times outlive a kill: one that is due soon comes when it is due.
    broker.create_channel("soon", "a");
    let mut talk = Talk::to(broker.tcp_address()).expect("it listens");
    let published = Instant::now();
    talk.say(&Command::Dpub { topic: "soon", delay_ms: 4_000, body: &body(1, 100) });
    talk.expect_ok().expect("an OK");
    broker.daemon.kill9();
    broker.daemon.start();
    let channel = broker.channel(TOPIC, "a");
    assert_eq!((channel.deferred, channel.depth), (count, 0));
    let mut talk = Talk::subscribed(broker.tcp_address(), "soon", "a", 1).expect("a consumer");
    talk.message().expect("it comes");
    let after = published.elapsed();
    assert!(
        after.abs_diff(Duration::from_secs(4)) <= Duration::from_secs(1),
        "due after 4 s, came after {after:?}"
    );
}

fn publish_large(address: SocketAddr, count: u64) {
    let mut talk = Talk::to(address).expect("it listens");
    for serial in 0..count / 50 {
        let bodies: Vec<_> = (0..50).map(|n| body(serial * 50 + n, 64 << 10)).collect();
        talk.say_mpub("large", &bodies);
        talk.expect_ok().expect("an OK");
    }
}
