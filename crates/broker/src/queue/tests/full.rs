//! A disk without a free byte: others have taken what was left, reserve and all, and give nothing back. What is consumed must
//! make room alone.

use std::path::Path;

use super::*;

const MIB: u64 = 1 << 20;

/// A disk of `capacity` bytes, and the queue on it with the default bounds.
fn small(capacity: u64) -> (Simulated, Open) {
    let disk = Simulated::new(1);
    disk.set_capacity(capacity);
    let settings = Settings { data_path: "/queue".into(), sync_inline: true, ..Settings::default() };
    let open = Open::new(Arc::new(disk.clone()), &settings);
    (disk, open)
}

fn spare() -> &'static Path {
    Path::new("/queue/journal.spare")
}

/// Publishes until it is refused, or so often.
async fn fill(open: &Open, bodies: &[Bytes], at_most: u64) {
    for _ in 0..at_most {
        match open.queue.publish(&topic("t"), bodies, Duration::ZERO) {
            Ok(commit) => open.queue.committed(commit).await.expect("it is stored"),
            Err(refused) => {
                assert!(matches!(refused, Refused::Full { .. }), "{refused:?}");
                return;
            }
        }
    }
}

/// Within five seconds publishes are taken, and what was finished is gone for good.
async fn is_well_again(disk: &Simulated, open: Open, full: u64, channels: &[&str]) {
    pass(5_000).await;
    open.queue.health().unwrap_or_else(|reason| panic!("{reason}: {} of {full} bytes are used", disk.used()));
    open.publish("t", "resumed").await;
    assert!(disk.used() < full / 4, "{} of {full} bytes are still used", disk.used());
    let disk = disk.crash();
    open.forget().await;
    let open = Open::on(&disk);
    for channel in channels {
        assert_eq!(drain(&mut open.subscribe("t", channel, 10)), ["resumed"]);
    }
}

#[test]
fn one_that_the_log_itself_fills_within_a_second_comes_back_by_consuming() {
    simulate(async {
        let (disk, open) = small(64 * MIB);
        let mut a = open.subscribe("t", "a", 100);
        // No time passes: nothing that is done once a second is done.
        fill(&open, &[Bytes::from(vec![b'x'; 10_000])], u64::MAX).await;
        let full = disk.used();
        assert!(full > 50 * MIB, "only {full} bytes were taken");
        assert!(disk.read(spare()).is_some(), "nothing is kept for checkpoints");
        disk.set_capacity(full);
        drain(&mut a);
        assert!(disk.fired().out_of_space == 0 && disk.used() == full);
        drop(a);
        is_well_again(&disk, open, full, &["a"]).await;
        assert!(disk.fired().out_of_space > 0, "a checkpoint met it");
    });
}

#[test]
fn what_is_kept_for_checkpoints_is_there_when_others_fill_the_disk_within_the_same_second() {
    simulate(async {
        let (disk, open) = small(64 * MIB);
        let _a = open.subscribe("t", "a", 100);
        disk.set_capacity(24 * MIB);
        fill(&open, &[Bytes::from(vec![b'x'; 10_000])], u64::MAX).await;
        assert!(disk.read(spare()).is_some(), "nothing is kept for checkpoints");
        assert!(disk.used() < 17 * MIB, "{} bytes are used, and the reserve is 8 MiB", disk.used());
    });
}

#[test]
fn one_that_others_fill_at_once_has_what_the_log_has_allocated_ahead() {
    simulate(async {
        let (disk, open) = small(64 * MIB);
        let mut a = open.subscribe("t", "a", 100);
        fill(&open, &[Bytes::from(vec![b'x'; 10_000])], 2_500).await;
        let full = disk.used();
        assert_eq!(disk.read(spare()), None, "there was room enough");
        disk.set_capacity(full);
        for _ in 0..50 {
            for handed in (0..50).filter_map(|_| take(&mut a)).collect::<Vec<_>>() {
                a.finish(handed.head.id).expect("it is in flight");
            }
            pass(20).await;
        }
        drop(a);
        is_well_again(&disk, open, full, &["a"]).await;
    });
}

/// What says that small messages are finished is soon more than may wait for space, again and again.
#[test]
fn one_that_cannot_even_take_what_was_finished_comes_back_by_consuming() {
    simulate(async {
        let (disk, open) = small(16 * MIB);
        let names = ["a", "b", "c"];
        let mut consumers = names.map(|name| open.subscribe("t", name, 100));
        let bodies = vec![Bytes::from_static(b"twenty bytes of body"); 1_000];
        for _ in 0..3 {
            fill(&open, &bodies, u64::MAX).await;
            // What it has left is asked once a second.
            pass(1_500).await;
        }
        let full = disk.used();
        disk.set_capacity(full);
        let mut came = 0_u32;
        while let Some((at, handed)) =
            consumers.iter_mut().enumerate().find_map(|(at, it)| Some((at, take(it)?)))
        {
            consumers[at].finish(handed.head.id).expect("it is in flight");
            came += 1;
            if came.is_multiple_of(200) {
                pass(20).await;
            }
        }
        assert!(open.queue.counters().commits_failed > 0, "more waited than may");
        drop(consumers);
        is_well_again(&disk, open, full, &names).await;
    });
}

/// Else consumers that go on finishing would keep a full disk full: each of their messages is a new doubt.
#[test]
fn a_checkpoint_frees_what_it_does_without_though_the_queue_is_in_doubt_again() {
    simulate(async {
        let open = Open::on(&Simulated::new(1));
        let mut a = open.subscribe("t", "a", 100);
        open.publish_all("t", (0..30).map(|at| format!("{at}{}", "x".repeat(10_000)))).await;
        assert_eq!(drain(&mut a).len(), 30);
        let mut core = open.queue.0.borrow_mut();
        let (job, begun) = core.begin_checkpoint().expect("the disk is well");
        core.commit_now();
        core.fall_in_doubt("what was finished meanwhile could not be logged");
        core.end_checkpoint(&begun, job.run()).expect("the disk is well");
        assert!(core.doubt.is_some(), "the checkpoint does not know of it");
        assert!(core.journal.segments().any(|segment| segment.retired));
    });
}
