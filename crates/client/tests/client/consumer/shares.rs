//! RDY over several nsqds.

use std::time::Duration;

use client::{Consumer, Settled};
use serde_json::json;
use testkit::nsqd::{Act, Command, NsqdOptions, ScriptedNsqd};
use tokio::task::spawn_local;
use tokio::time::{Instant, sleep};

use super::rig::{MS, Rig, local, settings};

fn receivers(consumer: &Consumer, count: usize, work: Duration) {
    for _ in 0..count {
        let consumer = consumer.clone();
        spawn_local(async move {
            while let Some(delivery) = consumer.recv().await {
                sleep(work).await;
                let (Settled::Sent | Settled::TooLate(_)) = delivery.finish();
            }
        });
    }
}

fn sum(nsqds: &[ScriptedNsqd]) -> i64 {
    nsqds.iter().map(ScriptedNsqd::rdy_sum).sum()
}

async fn within(time: Duration, what: impl Fn() -> bool) -> Duration {
    let began = Instant::now();
    while !what() {
        assert!(began.elapsed() < time, "not within {time:?}");
        sleep(MS).await;
    }
    began.elapsed()
}

#[test]
fn the_busy_one_gets_the_share_of_the_idle_one() {
    local(async {
        let nsqds = [ScriptedNsqd::start(), ScriptedNsqd::start()];
        let rig = Rig::start(settings(&nsqds));
        rig.until(|counts| counts.connections == 2).await;
        receivers(&rig.consumer, 80, 20 * MS);
        nsqds[0].feed((0..20_000).map(|serial| testkit::body::body(serial, 100)));
        within(300 * MS, || nsqds[0].rdy_sum() == 79).await;
        assert_eq!(nsqds[1].rdy_sum(), 1, "it keeps one, so that a message there is seen");
        let written = rig.counts().rdy_written;
        sleep(1_000 * MS).await;
        assert_eq!(rig.counts().rdy_written, written, "and there it stands");
    });
}

#[test]
fn an_idle_one_that_wakes_gets_its_fair_share_and_gives_it_back() {
    local(async {
        let nsqds = [ScriptedNsqd::start(), ScriptedNsqd::start()];
        let rig = Rig::start(settings(&nsqds));
        rig.until(|counts| counts.connections == 2).await;
        receivers(&rig.consumer, 80, 5 * MS);
        nsqds[0].feed((0..60_000).map(|serial| testkit::body::body(serial, 100)));
        within(500 * MS, || nsqds[0].rdy_sum() == 79).await;
        nsqds[1].feed((0..6_000).map(|serial| testkit::body::body(serial, 100)));
        within(2_000 * MS, || nsqds[1].rdy_sum() >= 36 && nsqds[0].rdy_sum() >= 36).await;
        nsqds[1].until(|counts| counts.finished == 6_000).await;
        within(1_500 * MS, || nsqds[0].rdy_sum() >= 76).await;
        assert!(sum(&nsqds) <= 80);
        assert!(rig.counts().in_flight <= 80);
    });
}

#[test]
fn no_more_than_max_in_flight_is_ever_held() {
    local(async {
        let nsqds = [ScriptedNsqd::start(), ScriptedNsqd::start(), ScriptedNsqd::start()];
        let mut settings = settings(&nsqds);
        settings.max_in_flight = 20;
        let rig = Rig::start(settings);
        receivers(&rig.consumer, 20, 3 * MS);
        let began = Instant::now();
        let mut turn = 0;
        while began.elapsed() < 3_000 * MS {
            if turn % 200 == 0 {
                nsqds[turn / 200 % 3].feed((0..400).map(|serial| testkit::body::body(serial, 100)));
            }
            turn += 1;
            assert!(rig.counts().in_flight <= 20, "{:?}", rig.counts());
            sleep(MS).await;
        }
        assert!(rig.counts().finished > 1_000);
    });
}

#[test]
fn when_a_connection_is_lost_the_others_get_all_within_a_second() {
    local(async {
        let nsqds = [ScriptedNsqd::start(), ScriptedNsqd::start()];
        let rig = Rig::start(settings(&nsqds));
        rig.until(|counts| counts.connections == 2).await;
        receivers(&rig.consumer, 80, 5 * MS);
        for nsqd in &nsqds {
            nsqd.feed((0..40_000).map(|serial| testkit::body::body(serial, 100)));
        }
        within(2_000 * MS, || nsqds.iter().all(|nsqd| nsqd.rdy_sum() >= 36)).await;
        nsqds[1].down();
        nsqds[1].kill_connections(testkit::Kill::Drop);
        within(1_000 * MS, || nsqds[0].rdy_sum() == 80).await;
        nsqds[1].up();
        within(3_000 * MS, || nsqds[1].rdy_sum() >= 36).await;
    });
}

#[test]
fn no_rdy_is_above_the_connections_most() {
    local(async {
        let small = NsqdOptions { identify: json!({"max_rdy_count": 25}), ..Default::default() };
        let nsqds = [ScriptedNsqd::start(), ScriptedNsqd::start_with(small)];
        let mut settings = settings(&nsqds);
        settings.max_in_flight = 5_000;
        let rig = Rig::start(settings);
        receivers(&rig.consumer, 5_000, 5 * MS);
        for nsqd in &nsqds {
            nsqd.feed((0..30_000).map(|serial| testkit::body::body(serial, 100)));
        }
        within(5_000 * MS, || nsqds[0].rdy_sum() == 2_500 && nsqds[1].rdy_sum() == 25).await;
        assert_eq!(rig.counts().disconnects, 0, "E_INVALID would have ended one");
        let book = nsqds[1].connections().swap_remove(0);
        let most = book.commands.iter().filter_map(|(_, command)| match command {
            Command::Rdy(rdy) => Some(*rdy),
            _ => None,
        });
        assert_eq!(most.max(), Some(25));
    });
}

#[test]
fn more_nsqds_than_messages_to_hold_all_have_their_turn() {
    local(async {
        let nsqds: Vec<_> = (0..8).map(|_| ScriptedNsqd::start()).collect();
        let mut settings = settings(&nsqds);
        settings.max_in_flight = 2;
        let rig = Rig::start(settings);
        rig.until(|counts| counts.connections == 8).await;
        receivers(&rig.consumer, 2, MS);
        nsqds[0].feed((0..100_000).map(|serial| testkit::body::body(serial, 100)));
        for nsqd in &nsqds[1..] {
            nsqd.feed([testkit::body::body(0, 100)]);
        }
        let began = Instant::now();
        while !nsqds[1..].iter().all(|nsqd| nsqd.counts().finished == 1) {
            assert!(rig.counts().in_flight <= 2 && sum(&nsqds) <= 2, "{:?}", rig.counts());
            assert!(began.elapsed() < Duration::from_secs(10), "one starves");
            sleep(MS).await;
        }
    });
}

#[test]
fn a_message_on_an_idle_nsqd_is_seen_at_once() {
    local(async {
        let nsqds = [ScriptedNsqd::start(), ScriptedNsqd::start()];
        let rig = Rig::start(settings(&nsqds));
        rig.until(|counts| counts.connections == 2).await;
        receivers(&rig.consumer, 80, 20 * MS);
        nsqds[0].feed((0..20_000).map(|serial| testkit::body::body(serial, 100)));
        within(1_000 * MS, || nsqds[0].rdy_sum() == 79).await;
        let idle = nsqds[1].until_connection(0).await;
        for n in 1..=5 {
            idle.send([Act::message(testkit::nsqd::id(n), 1, "x")]);
            within(200 * MS, || nsqds[1].counts().finished == n).await;
            sleep(300 * MS).await;
        }
    });
}
