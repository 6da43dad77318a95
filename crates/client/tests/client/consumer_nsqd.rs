//! The consumer against the real nsqd and nsqlookupd: what only they can show, and what a scripted one could be
//! wrong about. The rig is the same, so here too every message received is accounted for at every millisecond.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use client::{Compression, ConsumerSettings, Delivery, Event, Settled, Source};
use testkit::body::{Verdict, body, judge};
use testkit::process::{Nsqd, Nsqlookupd};
use tokio::task::spawn_local;
use tokio::time::{Instant, sleep};

use crate::consumer::rig::{MS, Rig, local, settings};

const TOPIC: &str = "events";
const CHANNEL: &str = "tests";

/// How often each serial was finished.
type Finished = Rc<RefCell<HashMap<u64, u32>>>;

fn on<'a>(nsqds: impl IntoIterator<Item = &'a Nsqd>) -> ConsumerSettings {
    let nsqds = nsqds.into_iter().map(|nsqd| nsqd.tcp_address().to_string()).collect();
    ConsumerSettings { source: Source::Nsqds(nsqds), ..settings([]) }
}

fn nsqd(flags: &[&str]) -> Nsqd {
    let nsqd = Nsqd::start(flags);
    nsqd.create_channel(TOPIC, CHANNEL);
    nsqd
}

fn serial(delivery: &Delivery) -> u64 {
    match judge(delivery.body()) {
        Verdict::Whole(serial) => serial,
        damaged => panic!("{damaged:?}"),
    }
}

/// Receivers that work for so long on each message, and finish it.
fn receivers(rig: &Rig, count: usize, work: Duration) -> Finished {
    let finished = Finished::default();
    for _ in 0..count {
        let (consumer, finished) = (rig.consumer.clone(), Rc::clone(&finished));
        spawn_local(async move {
            while let Some(delivery) = consumer.recv().await {
                let serial = serial(&delivery);
                if !work.is_zero() {
                    sleep(work).await;
                }
                if delivery.finish() == Settled::Sent {
                    *finished.borrow_mut().entry(serial).or_default() += 1;
                }
            }
        });
    }
    finished
}

fn assert_each_once(finished: &Finished, count: u64) {
    let finished = finished.borrow();
    assert_eq!(finished.len() as u64, count);
    assert!(finished.values().all(|times| *times == 1));
}

fn bodies(count: u64, len: usize) -> impl Iterator<Item = bytes::Bytes> {
    (0..count).map(move |serial| body(serial, len))
}

async fn within(time: Duration, what: impl AsyncFn() -> bool) -> Duration {
    let began = Instant::now();
    while !what().await {
        assert!(began.elapsed() < time, "not within {time:?}");
        sleep(5 * MS).await;
    }
    began.elapsed()
}

#[test]
fn twenty_thousand_messages_over_every_compression() {
    for compression in [Compression::None, Compression::Snappy, Compression::Deflate { level: 1 }] {
        let nsqd = nsqd(&[]);
        nsqd.publish_many(TOPIC, bodies(20_000, 1_024));
        local(async {
            let mut settings = on([&nsqd]);
            settings.connection.compression = compression;
            let rig = Rig::start(settings);
            let finished = receivers(&rig, 64, Duration::ZERO);
            rig.until(|counts| counts.finished == 20_000).await;
            assert_each_once(&finished, 20_000);
            rig.consumer.stop(Duration::from_secs(5)).await;
            let channel = nsqd.channel(TOPIC, CHANNEL);
            assert_eq!((channel.finished(), channel.timeouts, channel.requeues), (20_000, 0, 0));
            assert_eq!((rig.counts().fin_failed, rig.counts().connects), (0, 1));
        });
    }
}

#[test]
fn work_longer_than_msg_timeout_is_touched() {
    let nsqd = nsqd(&["--msg-timeout=1s"]);
    nsqd.publish_many(TOPIC, bodies(100, 100));
    local(async {
        let rig = Rig::start(on([&nsqd]));
        // 64 are held and 16 wait, for 2.6 s each: the last ones are over four seconds old when they are finished.
        let finished = receivers(&rig, 64, 2_600 * MS);
        rig.until(|counts| counts.finished == 100).await;
        rig.consumer.stop(Duration::from_secs(5)).await;
        assert_each_once(&finished, 100);
        let channel = nsqd.channel(TOPIC, CHANNEL);
        assert_eq!((channel.finished(), channel.timeouts, channel.requeues), (100, 0, 0));
        let counts = rig.counts();
        assert_eq!((counts.fin_failed, counts.touch_failed, counts.expired), (0, 0, 0));
    });
}

#[test]
fn work_of_nine_tenths_of_msg_timeout_never_finishes_late() {
    let nsqd = nsqd(&["--msg-timeout=1s"]);
    local(async {
        let rig = Rig::start(on([&nsqd]));
        let finished = receivers(&rig, 80, 900 * MS);
        for serial in 0..400 {
            nsqd.publish(TOPIC, &body(serial, 100));
            sleep(5 * MS).await;
        }
        rig.until(|counts| counts.finished == 400).await;
        rig.consumer.stop(Duration::from_secs(5)).await;
        assert_each_once(&finished, 400);
        assert_eq!((rig.counts().fin_failed, nsqd.channel(TOPIC, CHANNEL).timeouts), (0, 0));
    });
}

#[test]
fn nothing_is_sent_after_the_ceiling() {
    let nsqd = nsqd(&["--msg-timeout=1s", "--max-msg-timeout=3s"]);
    nsqd.publish_many(TOPIC, bodies(10, 100));
    local(async {
        let rig = Rig::start(on([&nsqd]));
        let finished = receivers(&rig, 20, 5_000 * MS);
        // The work goes on past the ceiling, and the redelivery is adopted by it: its time begins anew. (An nsqd
        // looks at a new channel's timeouts 5 s late; the first work may be over by then, and the message comes
        // to another receiver.)
        rig.until(|counts| counts.finished == 10).await;
        assert_each_once(&finished, 10);
        let counts = rig.counts();
        assert_eq!((counts.fin_failed, counts.touch_failed, counts.requeued), (0, 0, 0));
        assert!(counts.expired >= 10 && counts.adopted >= 10, "{counts:?}");
        rig.consumer.stop(Duration::ZERO).await;
        assert_eq!(nsqd.channel(TOPIC, CHANNEL).finished(), 10);
    });
}

#[test]
fn a_stop_leaves_nothing_in_flight() {
    let nsqd = nsqd(&[]);
    nsqd.publish_many(TOPIC, bodies(10_000, 1_024));
    local(async {
        for round in 0..20 {
            let mut settings = on([&nsqd]);
            settings.max_in_flight = 200;
            let rig = Rig::start(settings);
            receivers(&rig, 100, 50 * MS);
            rig.until(|counts| counts.in_flight >= 150).await;
            let began = Instant::now();
            rig.consumer.stop(Duration::from_secs(10)).await;
            assert!(began.elapsed() < 1_500 * MS, "{:?}", began.elapsed());
            let counts = rig.counts();
            assert_eq!((counts.connection_lost, counts.expired, counts.fin_failed), (0, 0, 0), "{round}");
            assert_eq!(nsqd.channel(TOPIC, CHANNEL).in_flight, 0, "round {round}");
        }
        assert_eq!(nsqd.channel(TOPIC, CHANNEL).timeouts, 0);
    });
}

#[test]
fn five_thousand_at_once_stay_within_max_rdy_count() {
    let nsqd = nsqd(&[]);
    nsqd.publish_many(TOPIC, bodies(20_000, 100));
    local(async {
        let mut settings = on([&nsqd]);
        settings.max_in_flight = 5_000;
        let rig = Rig::start(settings);
        let finished = receivers(&rig, 5_000, 100 * MS);
        rig.until(|counts| counts.in_flight == 2_500).await;
        rig.until(|counts| counts.finished == 20_000).await;
        assert_each_once(&finished, 20_000);
        assert_eq!((rig.counts().disconnects, rig.counts().fin_failed), (0, 0));
    });
}

#[test]
fn an_oversized_message_does_not_hinder_the_others() {
    let nsqd = nsqd(&["--max-msg-size=30000000", "--max-body-size=31000000"]);
    nsqd.publish(TOPIC, &body(500, 20 << 20));
    nsqd.publish_many(TOPIC, bodies(500, 1_024));
    local(async {
        let rig = Rig::start(on([&nsqd]));
        let finished = receivers(&rig, 64, MS);
        rig.until(|counts| counts.finished == 500 && counts.oversized >= 2).await;
        assert_each_once(&finished, 500);
        let delays: Vec<u64> = rig
            .events
            .borrow()
            .iter()
            .filter_map(|event| match event {
                Event::Oversized { bytes, delay, .. } => {
                    assert_eq!(*bytes, 20 << 20);
                    Some(delay.as_secs())
                }
                _ => None,
            })
            .collect();
        assert_eq!(delays[..2], [1, 2], "each time longer");
        assert_eq!((rig.counts().disconnects, rig.counts().connects), (0, 1));
    });
}

/// Two nsqds under load, of which the second goes away by `fail` and comes back by `mend`.
fn one_of_two(fail: impl Fn(&mut Nsqd), mend: impl Fn(&mut Nsqd), noticed: Duration) {
    let (stays, mut goes) = (nsqd(&["--msg-timeout=2s"]), nsqd(&["--msg-timeout=2s"]));
    stays.publish_many(TOPIC, bodies(40_000, 100));
    goes.publish_many(TOPIC, bodies(4_000, 100));
    local(async {
        let rig = Rig::start(on([&stays, &goes]));
        receivers(&rig, 80, 40 * MS);
        let shared = async |nsqd: &Nsqd| nsqd.channel(TOPIC, CHANNEL).rdy_sum() >= 30;
        within(5_000 * MS, async || shared(&stays).await && shared(&goes).await).await;
        fail(&mut goes);
        within(noticed, async || stays.channel(TOPIC, CHANNEL).rdy_sum() == 80).await;
        assert_eq!(rig.counts().connections, 1);
        sleep(1_000 * MS).await;
        mend(&mut goes);
        goes.publish_many(TOPIC, bodies(1_000, 100));
        let finished = goes.channel(TOPIC, CHANNEL).finished();
        within(6_000 * MS, async || goes.channel(TOPIC, CHANNEL).finished() > finished + 500).await;
        assert_eq!(rig.counts().fin_failed, 0);
        rig.consumer.stop(Duration::from_secs(5)).await;
    });
}

#[test]
fn one_of_two_nsqds_is_killed_and_comes_back() {
    one_of_two(|nsqd| nsqd.daemon.kill9(), |nsqd| nsqd.daemon.start(), 1_000 * MS);
}

#[test]
fn one_of_two_nsqds_freezes_and_thaws() {
    // Two heartbeats of 1 s, and a second.
    one_of_two(|nsqd| nsqd.daemon.freeze(), |nsqd| nsqd.daemon.thaw(), 3_000 * MS);
}

#[test]
fn an_nsqlookupd_that_comes_late_and_is_killed_closes_no_connection() {
    let mut lookupd = Nsqlookupd::stopped(&[]);
    let to = format!("--lookupd-tcp-address={}", lookupd.tcp_address());
    let name = "--broadcast-address=127.0.0.1";
    let nsqd = nsqd(&[&to, name]);
    nsqd.publish_many(TOPIC, bodies(1_000, 100));
    local(async {
        let lookupds = vec![lookupd.http_address().to_string()];
        let lookup_interval = 200 * MS;
        let rig = Rig::start(ConsumerSettings {
            source: Source::Lookupds(lookupds),
            lookup_interval,
            ..settings([])
        });
        let finished = receivers(&rig, 8, MS);
        rig.until(|counts| counts.lookup_failures >= 2).await;
        lookupd.daemon.start();
        // nsqd looks for it every 15 s, and is consumed from as soon as it is listed.
        let began = Instant::now();
        while rig.counts().finished < 1_000 {
            assert!(began.elapsed() < Duration::from_secs(40), "{:?}", rig.events.borrow());
            sleep(5 * MS).await;
        }
        assert_each_once(&finished, 1_000);
        lookupd.daemon.kill9();
        lookupd.daemon.start();
        rig.event(|event| matches!(event, Event::Delisted { .. }).then_some(())).await;
        let began = Instant::now();
        for serial in 1_000..1_100 {
            nsqd.publish(TOPIC, &body(serial, 100));
        }
        rig.until(|counts| counts.finished == 1_100).await;
        assert!(began.elapsed() < Duration::from_secs(2));
        assert_eq!((rig.counts().disconnects, rig.counts().connects), (0, 1));
    });
}
