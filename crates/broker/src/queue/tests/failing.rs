//! A disk that fails, and one that is full.

use journal::simulated::Fail;

use super::*;
use crate::queue::Bound;

#[test]
fn a_failed_sync_refuses_who_waits_delivery_goes_on_and_it_is_well_again_in_five_seconds() {
    simulate(async {
        let disk = Simulated::new(1);
        let open = Open::on(&disk);
        let mut a = open.subscribe("t", "a", 10);
        open.publish("t", "1").await;
        disk.fail_syncs(Fail::Always);
        let commit = open.queue.publish(&topic("t"), &[Bytes::from_static(b"2")], Duration::ZERO);
        let refused = open.queue.committed(commit.expect("it is appended")).await;
        assert!(matches!(refused, Err(Refused::NotStored(_))), "{refused:?}");
        assert!(open.queue.health().is_err());
        let refused = open.queue.publish(&topic("t"), &[Bytes::from_static(b"3")], Duration::ZERO);
        assert!(matches!(refused, Err(Refused::NotStored(_))), "{refused:?}");
        assert_eq!(take(&mut a).map(|it| text(&it)).as_deref(), Some("1"));
        pass(3_000).await;
        disk.fail_syncs(Fail::Never);
        pass(5_000).await;
        open.queue.health().expect("the disk is well");
        open.publish("t", "4").await;
        drop(a);
        let disk = disk.crash();
        open.forget().await;
        let open = Open::on(&disk);
        let mut a = open.subscribe("t", "a", 10);
        let bodies = drain(&mut a);
        assert!(bodies.contains(&"1".to_owned()) && bodies.contains(&"4".to_owned()), "{bodies:?}");
    });
}

#[test]
fn what_was_settled_and_created_under_a_failed_sync_is_kept_all_the_same() {
    simulate(async {
        let disk = Simulated::new(1);
        let open = Open::on(&disk);
        let mut a = open.subscribe("t", "a", 10);
        open.publish_all("t", (0..4).map(|at| at.to_string())).await;
        disk.fail_syncs(Fail::Nth(1));
        assert_eq!(drain(&mut a).len(), 4);
        // Refused or not: a subscriber was told that it has the channel.
        let b = open.subscribe("t", "b", 10);
        pass(5_000).await;
        open.publish("t", "4").await;
        drop((a, b));
        let disk = disk.crash();
        open.forget().await;
        let open = Open::on(&disk);
        assert_eq!((open.counts("t", "a"), open.counts("t", "b")), ((1, 0, 0), (1, 0, 0)));
    });
}

#[test]
fn a_full_disk_refuses_publishes_and_comes_back_by_consuming() {
    simulate(async {
        let disk = Simulated::new(1);
        disk.set_capacity(8 << 20);
        let settings = Settings { segment_bytes: Some(256 << 10), ..settings() };
        let open = Open::new(Arc::new(disk.clone()), &settings);
        let mut a = open.subscribe("t", "a", 100);
        let body = [Bytes::from(vec![b'x'; 10_000])];
        let mut stored = 0;
        let refused = loop {
            match open.queue.publish(&topic("t"), &body, Duration::ZERO) {
                Ok(commit) => open.queue.committed(commit).await.expect("it is stored"),
                Err(refused) => break refused,
            }
            stored += 1;
            assert!(stored < 2_000, "the disk never fills");
        };
        assert!(matches!(refused, Refused::Full { what: Bound::DiskReserve, .. }), "{refused:?}");
        assert!(open.queue.health().is_err());
        let mut came = 0;
        while let Some(handed) = take(&mut a) {
            a.finish(handed.head.id).expect("in flight");
            came += 1;
        }
        assert_eq!(came, stored);
        pass(5_000).await;
        open.queue.health().expect("there is space");
        open.stored(open.queue.publish(&topic("t"), &body, Duration::ZERO)).await;
        assert!(disk.used() < 2 << 20, "{} bytes are still used", disk.used());
    });
}

#[test]
fn one_unfinished_message_in_a_hundred_does_not_keep_the_disk() {
    simulate(async {
        let disk = Simulated::new(1);
        let open = Open::on(&disk);
        let mut a = open.subscribe("t", "a", 1_000);
        open.publish("idle", "alone").await;
        let mut held = 0;
        for round in 0..100 {
            open.publish_all("t", (0..100).map(|at| format!("{round}/{at}/{}", "x".repeat(1_000)))).await;
            while let Some(handed) = take(&mut a) {
                let body = text(&handed);
                if body.split('/').nth(1) == Some("50") {
                    held += 1;
                    if round % 2 == 0 {
                        a.requeue(handed.head.id, Duration::from_secs(3_000)).expect("in flight");
                    }
                } else {
                    a.finish(handed.head.id).expect("in flight");
                }
            }
            pass(50).await;
        }
        pass(5_000).await;
        assert_eq!(held, 100);
        let live = 101 * 1_100;
        assert!(disk.used() < 4 * live + 4 * 64 * 1024, "{} bytes for {live} live ones", disk.used());
        assert!(open.queue.counters().messages_moved > 0);
        assert_eq!(open.counts("t", "a"), (0, 50, 50));
        drop(a);
        let disk = disk.crash();
        open.forget().await;
        let open = Open::on(&disk);
        assert_eq!((open.counts("t", "a"), open.topic_stats("idle").depth), ((50, 0, 50), 1));
        let mut a = open.subscribe("t", "a", 1_000);
        assert_eq!(drain(&mut a).len(), 50);
        pass(3_001_000).await;
        assert_eq!(drain(&mut a).len(), 50);
        let mut idle = open.subscribe("idle", "a", 1);
        pass(100).await;
        assert_eq!(drain(&mut idle), ["alone"]);
        pass(5_000).await;
        assert!(disk.used() < 4 * 64 * 1024, "{} bytes for nothing", disk.used());
    });
}

#[test]
fn an_mpub_of_which_the_disk_takes_a_part_is_refused_whole() {
    simulate(async {
        let disk = Simulated::new(1);
        let open = Open::on(&disk);
        let mut a = open.subscribe("t", "a", 100);
        open.publish("t", "1").await;
        // The queue has asked how much there is; a moment later somebody else has taken most of it.
        pass(1_500).await;
        disk.set_capacity(disk.used() + (130 << 10));
        let bodies: Vec<Bytes> = (0..20).map(|_| Bytes::from(vec![b'x'; 30_000])).collect();
        let refused = open.queue.publish(&topic("t"), &bodies, Duration::ZERO);
        assert!(is_refused(refused), "there is no room for it");
        assert_eq!((open.counts("t", "a").0, open.queue.counters().messages), (1, 1));
        disk.set_capacity(1 << 30);
        pass(5_000).await;
        assert_eq!(drain(&mut a), ["1"]);
        open.publish("t", "2").await;
        pass(500).await;
        drop(a);
        let disk = open.kill(&disk).await;
        let open = Open::on(&disk);
        let mut a = open.subscribe("t", "a", 100);
        assert_eq!(drain(&mut a), ["2"]);
    });
}

/// Nobody has been given any of it: no channel's view of it says that it is done.
#[test]
fn an_mpub_that_was_refused_half_way_does_not_come_back_where_no_channel_has_it() {
    for (channels, paused) in [(0, false), (1, true)] {
        simulate(async {
            let disk = Simulated::new(1);
            let open = Open::on(&disk);
            open.stored(open.queue.create_topic(&topic("t"))).await;
            if channels > 0 {
                open.stored(open.queue.create_channel(&topic("t"), &channel("a"))).await;
            }
            open.stored(open.queue.pause_topic(&topic("t"), paused)).await;
            open.publish("t", "1").await;
            pass(1_500).await;
            disk.set_capacity(disk.used() + (130 << 10));
            let bodies: Vec<Bytes> = (0..20).map(|_| Bytes::from(vec![b'x'; 30_000])).collect();
            assert!(is_refused(open.queue.publish(&topic("t"), &bodies, Duration::ZERO)), "there is no room");
            disk.set_capacity(1 << 30);
            pass(100).await;
            let disk = open.kill(&disk).await;
            let open = Open::on(&disk);
            open.stored(open.queue.pause_topic(&topic("t"), false)).await;
            assert_eq!(drain(&mut open.subscribe("t", "a", 100)), ["1"], "{channels} channels, {paused}");
        });
    }
}

/// Publishes in rounds until some segments are sparse: one message of each round is left.
async fn make_sparse(open: &Open, consumer: &mut Subscription, rounds: usize) -> Vec<String> {
    let mut left = Vec::new();
    for round in 0..rounds {
        open.publish_all("t", (0..100).map(|at| format!("{round}/{at}/{}", "x".repeat(1_000)))).await;
        while let Some(handed) = take(consumer) {
            if text(&handed).split('/').nth(1) == Some("50") {
                left.push(text(&handed));
                consumer.requeue(handed.head.id, Duration::from_secs(3_000)).expect("in flight");
            } else {
                consumer.finish(handed.head.id).expect("in flight");
            }
        }
    }
    left
}

#[test]
fn a_move_that_is_lost_on_a_disk_that_stays_bad_stops_nothing_else() {
    simulate(async {
        let disk = Simulated::new(1);
        let open = Open::on(&disk);
        let mut a = open.subscribe("t", "a", 1_000);
        make_sparse(&open, &mut a, 4).await;
        open.publish_all("t", ["1".to_owned(), "2".to_owned()]).await;
        let (first, second) = (take(&mut a).expect("it is ready"), take(&mut a).expect("it is ready"));
        // Moved, and not synced yet.
        let moved = open.queue.counters().messages_moved;
        while open.queue.counters().messages_moved == moved {
            pass(1).await;
        }
        disk.fail_syncs(Fail::Always);
        disk.fail_writes(Fail::Always);
        a.finish(first.head.id).expect("in flight");
        pass(500).await;
        a.finish(second.head.id).expect("in flight");
        // Time goes on, which it would not in a loop that never waits.
        pass(5_000).await;
        let refused = open.queue.publish(&topic("t"), &[Bytes::from_static(b"2")], Duration::ZERO);
        assert!(matches!(refused, Err(Refused::NotStored(_))), "{refused:?}");
        disk.fail_syncs(Fail::Never);
        disk.fail_writes(Fail::Never);
        pass(5_000).await;
        open.publish("t", "3").await;
        assert_eq!(open.counts("t", "a"), (1, 0, 4));
        drop(a);
        let disk = disk.crash();
        open.forget().await;
        assert_eq!(Open::on(&disk).counts("t", "a"), (1, 0, 4));
    });
}

#[test]
fn a_message_that_the_disk_does_not_give_keeps_no_segment_but_its_own() {
    simulate(async {
        let disk = Simulated::new(1);
        let open = Open::on(&disk);
        let mut a = open.subscribe("t", "a", 1_000);
        // Several sparse segments, read from the disk: what was appended lately is in memory.
        open.stored(open.queue.pause_channel(&topic("t"), &channel("a"), false)).await;
        let left = make_sparse(&open, &mut a, 20).await;
        disk.break_blocks(std::path::Path::new("/queue/00000001.segment"), 0..1 << 20);
        pass(5_000).await;
        let live = left.len() as u64 * 1_100;
        assert!(disk.used() < 4 * live + 5 * 64 * 1024, "{} bytes for {live} live ones", disk.used());
    });
}

#[test]
fn a_stop_under_load_ends_well_and_nothing_that_was_finished_comes_again() {
    // In real time: syncs run on a thread of their own, so that something happens meanwhile.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    for seed in 0..20 {
        LocalSet::new().block_on(&runtime, async {
            let disk = Simulated::new(seed);
            let settings = Settings { sync_inline: false, ..settings() };
            let open = Open::new(Arc::new(disk.clone()), &settings);
            let mut a = open.subscribe("t", "a", 50);
            open.publish_all("t", (0..500).map(|at| at.to_string())).await;
            let consumer = tokio::task::spawn_local(async move {
                let (mut finished, mut held) = (Vec::new(), Vec::new());
                loop {
                    tokio::select! {
                        handed = std::future::poll_fn(|cx| a.poll_next(cx)) => match handed {
                            Some(handed) => held.push(handed),
                            None => return finished,
                        },
                        () = tokio::time::sleep(Duration::from_micros(300)), if !held.is_empty() => {
                            for handed in held.drain(..held.len().min(3)) {
                                a.finish(handed.head.id).expect("in flight");
                                finished.push(text(&handed));
                            }
                        }
                    }
                }
            });
            pass(1 + seed % 5).await;
            open.queue.close().await.expect("the disk is well");
            let finished = consumer.await.expect("it ends with the queue");
            let disk = disk.kill();
            open.forget().await;
            let open = Open::on(&disk);
            let again = drain(&mut open.subscribe("t", "a", 1_000));
            assert_eq!(again.len() + finished.len(), 500, "seed {seed}");
            assert!(!finished.iter().any(|body| again.contains(body)), "seed {seed}");
        });
    }
}

#[test]
fn a_damaged_record_of_a_channels_creation_does_not_cost_what_the_channel_was_given() {
    simulate(async {
        let disk = Simulated::new(1);
        let open = Open::on(&disk);
        let mut a = open.subscribe("t", "a", 1_000);
        let _damaged = open.subscribe("t", "damaged", 0);
        pass(3_000).await;
        open.publish_all("t", (0..9).map(|at| at.to_string())).await;
        assert_eq!(drain(&mut a).len(), 9);
        pass(200).await;
        drop((a, _damaged));
        let disk = open.kill(&disk).await;
        let path = std::path::Path::new("/queue/00000001.segment");
        let mut log = disk.read(path).expect("the log");
        let name = b"damaged";
        let at = log.windows(name.len()).position(|bytes| bytes == name).expect("its creation");
        log[at] ^= 1;
        disk.put(path, log);
        let open = Open::on(&disk);
        assert_eq!(drain(&mut open.subscribe("t", "damaged", 1_000)).len(), 9);
    });
}
