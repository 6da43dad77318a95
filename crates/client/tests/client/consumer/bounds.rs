//! Bytes and sizes.

use client::{Event, Settled};
use serde_json::json;
use testkit::nsqd::{Act, NsqdOptions, ScriptedNsqd, id};
use tokio::task::spawn_local;
use tokio::time::sleep;

use super::rig::{MS, Rig, local, settings};

const MIB: usize = 1 << 20;

#[test]
fn an_oversized_message_streams_by_and_comes_back_later() {
    local(async {
        let nsqd = ScriptedNsqd::start();
        let (rig, mut connection) = Rig::on(&nsqd, settings([&nsqd])).await;
        let large = vec![7_u8; 20 * MIB];
        connection.send([
            Act::message(id(1), 1, "before"),
            Act::message(id(2), 3, large),
            Act::message(id(3), 1, "behind"),
        ]);
        assert_eq!(connection.until_req(&id(2)).await, 4_000, "the third attempt");
        for body in ["before", "behind"] {
            let delivery = rig.recv().await;
            assert_eq!(delivery.body(), body);
            assert_eq!(delivery.finish(), Settled::Sent);
        }
        connection.until_fin(&id(3)).await;
        let told = rig
            .event(|event| match event {
                Event::Oversized { id, bytes, attempts, delay, .. } => {
                    Some((id.to_string(), *bytes, *attempts, *delay))
                }
                _ => None,
            })
            .await;
        assert_eq!(told, (id(2), 20 * MIB, 3, 4_000 * MS));
        let counts = rig.counts();
        assert_eq!((counts.received, counts.oversized, counts.requeued, counts.finished), (3, 1, 1, 2));
        assert_eq!(nsqd.counts().accepted, 1);
    });
}

#[test]
fn large_messages_up_to_the_limit_come_whole() {
    local(async {
        let nsqd = ScriptedNsqd::start();
        let rig = Rig::start(settings([&nsqd]));
        let sizes = [28, 65_000, 65_501, 65_502, 65_503, 70_000, MIB, 5 * MIB];
        nsqd.feed((0..).zip(sizes).map(|(serial, size)| testkit::body::body(serial, size)));
        for (serial, size) in (0..).zip(sizes) {
            let delivery = rig.recv().await;
            assert_eq!(delivery.body().len(), size);
            assert_eq!(testkit::body::judge(delivery.body()), testkit::body::Verdict::Whole(serial));
            assert_eq!(delivery.finish(), Settled::Sent);
        }
    });
}

/// With 32 MiB and messages of 1 MiB at most 32 are held, and hardly more at the start, when their size is
/// not known.
#[test]
fn bytes_in_flight_are_bounded_by_the_largest_message_lately() {
    local(async {
        let nsqd = ScriptedNsqd::start();
        let mut settings = settings([&nsqd]);
        settings.in_flight_bytes_max = 32 * MIB as u64;
        let rig = Rig::start(settings);
        nsqd.feed((0..100).map(|serial| testkit::body::body(serial, MIB)));
        for _ in 0..64 {
            let consumer = rig.consumer.clone();
            spawn_local(async move {
                while let Some(delivery) = consumer.recv().await {
                    sleep(50 * MS).await;
                    assert_eq!(delivery.finish(), Settled::Sent);
                }
            });
        }
        nsqd.until(|counts| counts.finished == 100).await;
        let most = nsqd.connections()[0].in_flight_max;
        assert!((16..=32).contains(&most), "{most} in flight");
    });
}

/// The work on them goes on, and with it their bodies stay: a new connection must not draw as many again.
#[test]
fn what_is_held_of_a_lost_connection_counts_until_it_is_let_go() {
    local(async {
        let nsqd = ScriptedNsqd::start();
        let mut settings = settings([&nsqd]);
        settings.in_flight_bytes_max = 32 * MIB as u64;
        let (rig, first) = Rig::on(&nsqd, settings).await;
        nsqd.feed((0..100).map(|serial| testkit::body::body(serial, MIB)));
        let mut held = Vec::new();
        while held.len() < 32 {
            held.push(rig.recv().await);
        }
        first.send([Act::Drop]);
        let mut second = nsqd.until_connection(1).await;
        assert_eq!(second.until_rdy().await, 1);
        sleep(600 * MS).await;
        assert_eq!((nsqd.rdy_sum(), rig.counts().in_flight), (1, 1));
        drop(held);
        assert!(second.until_rdy().await > 1);
    });
}

#[test]
fn what_is_held_past_its_deadline_counts_until_it_is_let_go() {
    local(async {
        let identify = json!({"msg_timeout": 1_000, "max_msg_timeout": 1_000});
        let nsqd = ScriptedNsqd::start_with(NsqdOptions { identify, ..Default::default() });
        let mut settings = settings([&nsqd]);
        settings.max_in_flight = 10;
        let (rig, mut connection) = Rig::on(&nsqd, settings).await;
        nsqd.feed((0..10).map(|serial| testkit::body::body(serial, 100)));
        let mut held = Vec::new();
        while held.len() < 10 {
            held.push(rig.recv().await);
        }
        assert_eq!(connection.until_rdy().await, 1, "before nsqd could send ten more");
        assert_eq!(rig.counts().expired, 10);
        drop(held);
        assert_eq!(connection.until_rdy().await, 10);
    });
}

#[test]
fn a_fresh_connection_starts_low_and_doubles() {
    local(async {
        let nsqd = ScriptedNsqd::start();
        let rig = Rig::start(settings([&nsqd]));
        let mut connection = nsqd.until_connection(0).await;
        let mut levels = vec![connection.until_rdy().await];
        nsqd.feed((0..200).map(|serial| testkit::body::body(serial, 1_000)));
        let mut held = Vec::new();
        while levels.last() != Some(&80) {
            held.push(rig.recv().await);
            for command in connection.commands() {
                match command {
                    testkit::nsqd::Command::Rdy(rdy) if !levels.contains(&rdy) => levels.push(rdy),
                    _ => {}
                }
            }
        }
        assert_eq!(levels, [12, 24, 48, 80], "64 MiB hold 12 messages of 5 MiB");
    });
}
