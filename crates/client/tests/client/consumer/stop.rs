//! The stop: CLS first and once, everything answered, the end of the stream as confirmation.

use std::time::Duration;

use client::{DisconnectReason, Event, Lost, Settled};
use testkit::nsqd::{Act, Command, NsqdConnection, NsqdEnd, NsqdOptions, React, Reaction, ScriptedNsqd, id};
use tokio::task::spawn_local;
use tokio::time::{Instant, sleep, timeout};

use super::rig::{MS, Rig, local, settings};

const LONG: Duration = Duration::from_secs(30);

/// The commands from CLS on.
fn since_cls(connection: &NsqdConnection) -> Vec<Command> {
    let commands = connection.commands();
    let cls = commands.iter().position(|command| *command == Command::Cls).expect("CLS was sent");
    assert_eq!(
        commands.iter().filter(|command| **command == Command::Cls).count(),
        1,
        "a second one is fatal"
    );
    commands[cls..].to_vec()
}

fn stop(rig: &Rig, grace: Duration) -> tokio::task::JoinHandle<Duration> {
    let consumer = rig.consumer.clone();
    spawn_local(async move {
        let began = Instant::now();
        consumer.stop(grace).await;
        began.elapsed()
    })
}

#[test]
fn a_stop_may_have_all_the_time_there_is() {
    local(async {
        let nsqd = ScriptedNsqd::start();
        let mut settings = settings([&nsqd]);
        (settings.connection.connect_timeout, settings.connection.write_timeout) =
            (Duration::MAX, Duration::MAX);
        let (rig, mut connection) = Rig::on(&nsqd, settings).await;
        connection.send([Act::message(id(1), 1, "held")]);
        let held = rig.recv().await;
        let stopped = stop(&rig, Duration::MAX);
        connection.until("CLS", |command| (*command == Command::Cls).then_some(())).await;
        assert_eq!(held.finish(), Settled::Sent);
        assert!(stopped.await.expect("no panic") < LONG);
    });
}

#[test]
fn an_idle_consumer_stops_at_once() {
    local(async {
        let nsqds = [ScriptedNsqd::start(), ScriptedNsqd::start()];
        let rig = Rig::start(settings(&nsqds));
        rig.until(|counts| counts.connections == 2).await;
        assert!(stop(&rig, LONG).await.expect("no panic") < 500 * MS);
        assert!(rig.consumer.recv().await.is_none());
        for nsqd in &nsqds {
            let connection = nsqd.until_connection(0).await;
            assert_eq!(connection.until_ended().await, NsqdEnd::ClientFin);
            assert_eq!(since_cls(&connection), [Command::Cls]);
        }
        let stopped =
            |event: &Event| matches!(event, Event::Disconnected { reason: DisconnectReason::Stopped, .. });
        assert_eq!(
            rig.events.borrow().iter().filter(|event| stopped(event)).count(),
            2,
            "{:?}",
            rig.events.borrow()
        );
        assert_eq!((rig.counts().connections, rig.counts().disconnects), (0, 0));
    });
}

#[test]
fn what_waits_goes_back_and_what_is_held_may_finish() {
    local(async {
        let nsqd = ScriptedNsqd::start();
        let (rig, connection) = Rig::on(&nsqd, settings([&nsqd])).await;
        connection.send((1..=10).map(|n| Act::message(id(n), 1, "x")));
        let (first, second) = (rig.recv().await, rig.recv().await);
        rig.until(|counts| counts.received == 10).await;
        let waiting = spawn_local({
            let consumer = rig.consumer.clone();
            async move {
                while let Some(delivery) = consumer.recv().await {
                    drop(delivery);
                }
            }
        });
        let stopped = stop(&rig, LONG);
        nsqd.until(|counts| counts.requeued == 8).await;
        timeout(1_000 * MS, waiting).await.expect("receivers are told").expect("no panic");
        sleep(200 * MS).await;
        assert!(!stopped.is_finished(), "it waits for what is held");
        assert_eq!(first.finish(), Settled::Sent);
        assert_eq!(second.requeue(7 * MS), Settled::Sent);
        assert!(stopped.await.expect("no panic") < 1_000 * MS);
        let commands = since_cls(&connection);
        assert_eq!(commands[0], Command::Cls, "before all others");
        assert_eq!(
            commands.iter().filter(|command| matches!(command, Command::Req { delay_ms: 0, .. })).count(),
            8
        );
        assert!(
            commands.contains(&Command::Fin(id(1)))
                && commands.contains(&Command::Req { id: id(2), delay_ms: 7 })
        );
        let counts = nsqd.counts();
        assert_eq!((counts.finished, counts.requeued, counts.fin_failed, counts.req_failed), (1, 9, 0, 0));
        assert!(connection.book().in_flight.is_empty());
    });
}

#[test]
fn what_comes_late_goes_back_even_after_close_wait() {
    local(async {
        let late = React::new(|arrived| match arrived.command {
            Command::Cls => Reaction::Acts(vec![
                Act::message(id(1), 1, "before"),
                Act::Usual,
                Act::message(id(2), 1, "behind"),
                Act::Sleep(20 * MS),
                Act::message(id(3), 1, "later still"),
            ]),
            _ => Reaction::Usual,
        });
        let nsqd = ScriptedNsqd::start_with(NsqdOptions { react: late, ..Default::default() });
        let (rig, connection) = Rig::on(&nsqd, settings([&nsqd])).await;
        stop(&rig, LONG).await.expect("no panic");
        assert_eq!(connection.until_ended().await, NsqdEnd::ClientFin);
        let counts = rig.counts();
        assert_eq!((counts.received, counts.requeued, nsqd.counts().requeued), (3, 3, 3));
        assert!(connection.book().in_flight.is_empty());
    });
}

#[test]
fn the_graces_end_requeues_what_is_held() {
    local(async {
        let nsqd = ScriptedNsqd::start();
        let (rig, connection) = Rig::on(&nsqd, settings([&nsqd])).await;
        connection.send([Act::message(id(1), 1, "x"), Act::message(id(2), 1, "x")]);
        let (held, other) = (rig.recv().await, rig.recv().await);
        let stopped = stop(&rig, 300 * MS);
        assert_eq!(held.lost().await, Lost::Stopped);
        assert_eq!(held.finish(), Settled::TooLate(Lost::Stopped));
        let took = stopped.await.expect("no panic");
        assert!((300 * MS..600 * MS).contains(&took), "{took:?}");
        assert_eq!(other.requeue(Duration::ZERO), Settled::TooLate(Lost::Stopped));
        assert_eq!((rig.counts().requeued, nsqd.counts().requeued, nsqd.counts().req_failed), (2, 2, 0));
    });
}

#[test]
fn a_second_stop_cuts_the_grace_short() {
    local(async {
        let nsqd = ScriptedNsqd::start();
        let (rig, connection) = Rig::on(&nsqd, settings([&nsqd])).await;
        connection.send([Act::message(id(1), 1, "x")]);
        let _held = rig.recv().await;
        let first = stop(&rig, LONG);
        sleep(100 * MS).await;
        assert!(!first.is_finished());
        assert!(stop(&rig, Duration::ZERO).await.expect("no panic") < 500 * MS);
        first.await.expect("no panic");
        assert_eq!(nsqd.counts().requeued, 1);
        since_cls(&connection);
    });
}

#[test]
fn a_dial_or_a_sub_under_way_does_not_hold_a_stop_up() {
    local(async {
        let deaf = React::new(|arrived| match arrived.command {
            Command::Sub { .. } | Command::Identify(_) if arrived.connection == 0 => Reaction::Usual,
            Command::Identify(_) => Reaction::Ignore,
            _ => Reaction::Usual,
        });
        let mute = NsqdOptions { react: deaf, ..Default::default() };
        let no_sub = React::new(|arrived| match arrived.command {
            Command::Sub { .. } => Reaction::Ignore,
            _ => Reaction::Usual,
        });
        let no_identify = ScriptedNsqd::start_with(mute);
        let no_sub = ScriptedNsqd::start_with(NsqdOptions { react: no_sub, ..Default::default() });
        let gone = ScriptedNsqd::start();
        gone.down();
        let rig = Rig::start(settings([&no_identify, &no_sub, &gone]));
        no_sub.until(|counts| counts.commands("SUB") == 1).await;
        assert!(stop(&rig, LONG).await.expect("no panic") < 500 * MS);
        assert_eq!(no_sub.counts().commands("CLS"), 0, "CLS before SUB's OK is fatal");
    });
}

#[test]
fn an_nsqd_that_does_not_answer_holds_a_stop_up_for_two_seconds_at_most() {
    local(async {
        let mute = React::new(|arrived| match arrived.command {
            Command::Cls => Reaction::Ignore,
            _ => Reaction::Usual,
        });
        let nsqd = ScriptedNsqd::start_with(NsqdOptions { react: mute, ..Default::default() });
        let (rig, connection) = Rig::on(&nsqd, settings([&nsqd])).await;
        connection.send([Act::StopReading]);
        sleep(50 * MS).await;
        let took = stop(&rig, 100 * MS).await.expect("no panic");
        assert!((1_000 * MS..2_300 * MS).contains(&took), "{took:?}");
        let unconfirmed = |event: &Event| {
            matches!(event, Event::Disconnected { reason: DisconnectReason::StopUnconfirmed, .. })
        };
        assert!(rig.events.borrow().iter().any(unconfirmed), "{:?}", rig.events.borrow());
    });
}

#[test]
fn many_in_flight_and_as_many_waiting_leave_nothing_behind() {
    local(async {
        let nsqd = ScriptedNsqd::start();
        let mut settings = settings([&nsqd]);
        settings.max_in_flight = 200;
        let rig = Rig::start(settings);
        for _ in 0..100 {
            let consumer = rig.consumer.clone();
            spawn_local(async move {
                while let Some(delivery) = consumer.recv().await {
                    sleep(300 * MS).await;
                    assert_eq!(delivery.finish(), Settled::Sent);
                }
            });
        }
        nsqd.feed((0..1_000).map(|serial| testkit::body::body(serial, 1_000)));
        rig.until(|counts| counts.in_flight >= 200).await;
        assert!(stop(&rig, LONG).await.expect("no panic") < 1_000 * MS);
        let counts = rig.counts();
        assert_eq!((counts.in_flight, counts.connection_lost, counts.expired), (0, 0, 0));
        let theirs = nsqd.counts();
        assert_eq!((theirs.fin_failed, theirs.req_failed), (0, 0));
        assert_eq!(theirs.finished + nsqd.depth() as u64, 1_000);
        assert!(nsqd.connections().iter().all(|book| book.in_flight.is_empty()));
    });
}
