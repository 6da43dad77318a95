//! Connections that end, are silent, or talk nonsense.

use std::time::Duration;

use bytes::Bytes;
use client::{DeliveryState, DisconnectReason, Event, Lost, Settled};
use testkit::nsqd::{Act, Command, NsqdEnd, NsqdOptions, React, Reaction, ScriptedNsqd, id};
use tokio::time::{Instant, sleep, timeout};
use wire::{ErrorCode, FrameError};

use super::rig::{MS, Rig, local, settings};

/// What the first connection's end was put down to.
async fn reason<R>(rig: &Rig, which: impl Fn(&DisconnectReason) -> Option<R>) -> R {
    rig.event(|event| match event {
        Event::Disconnected { reason, .. } => Some(which(reason).unwrap_or_else(|| panic!("{event}"))),
        _ => None,
    })
    .await
}

#[test]
fn a_lost_connection_is_dialled_again_and_its_messages_are_lost_once() {
    local(async {
        let nsqd = ScriptedNsqd::start();
        let (rig, connection) = Rig::on(&nsqd, settings([&nsqd])).await;
        connection.send([
            Act::message(id(1), 1, "held"),
            Act::message(id(2), 1, "waits"),
            Act::message(id(3), 1, "waits"),
        ]);
        let held = rig.recv().await;
        rig.until(|counts| counts.received == 3).await;
        connection.send([Act::Drop]);
        assert_eq!(timeout(1_000 * MS, held.lost()).await, Ok(Lost::ConnectionLost));
        assert_eq!(held.state(), DeliveryState::ConnectionLost);
        let counts = rig.counts();
        assert_eq!((counts.connection_lost, counts.in_flight, counts.disconnects), (3, 0, 1));
        assert_eq!(reason(&rig, |reason| matches!(reason, DisconnectReason::Closed).then_some(())).await, ());
        let mut again = nsqd.until_connection(1).await;
        again.until_rdy().await;
        assert_eq!(held.finish(), Settled::TooLate(Lost::ConnectionLost));
        again.send([Act::message(id(1), 2, "held")]);
        let newer = rig.recv().await;
        assert_eq!((newer.attempts(), newer.finish()), (2, Settled::Sent));
        again.until_fin(&id(1)).await;
        assert_eq!(
            again.count(|command| matches!(command, Command::Fin(_))),
            1,
            "nothing of the old connection"
        );
    });
}

#[test]
fn a_connection_is_dialled_for_ever() {
    local(async {
        let nsqd = ScriptedNsqd::start();
        nsqd.down();
        let rig = Rig::start(settings([&nsqd]));
        rig.until(|counts| counts.connect_failures >= 5).await;
        nsqd.up();
        nsqd.until_connection(0).await.until_rdy().await;
        assert!(
            rig.events
                .borrow()
                .iter()
                .any(|event| matches!(event, Event::ConnectFailed { retry_in: Some(_), .. }))
        );
    });
}

#[test]
fn a_fatal_error_ends_the_connection_and_is_told() {
    local(async {
        let nsqd = ScriptedNsqd::start();
        let (rig, connection) = Rig::on(&nsqd, settings([&nsqd])).await;
        connection.send([Act::Error("E_INVALID something".into()), Act::Sleep(Duration::from_secs(9))]);
        let code = reason(&rig, |reason| match reason {
            DisconnectReason::Server(error) => Some(error.code),
            _ => None,
        });
        assert_eq!(code.await, ErrorCode::Invalid);
        nsqd.until_connection(1).await.until_rdy().await;
    });
}

#[test]
fn a_refused_sub_is_tried_again_without_a_tight_loop() {
    local(async {
        let refuse = React::new(|arrived| match arrived.command {
            Command::Sub { .. } => {
                Reaction::Acts(vec![Act::Error("E_SUB_FAILED no more".into()), Act::Close])
            }
            _ => Reaction::Usual,
        });
        let nsqd = ScriptedNsqd::start_with(NsqdOptions { react: refuse, ..Default::default() });
        let rig = Rig::start(settings([&nsqd]));
        sleep(500 * MS).await;
        let counts = rig.counts();
        assert!((3..=25).contains(&counts.connect_failures), "{counts:?}");
        assert_eq!((counts.connects, counts.disconnects), (0, 0));
        nsqd.set_react(React::usual());
        rig.until(|counts| counts.connects == 1).await;
    });
}

#[test]
fn impossible_frames_close_their_connection_and_no_other() {
    local(async {
        let (bad, good) = (ScriptedNsqd::start(), ScriptedNsqd::start());
        type Expected = fn(&FrameError) -> bool;
        let frames: [(Bytes, Expected); 5] = [
            (Bytes::from_static(b"\xff\xff\xff\xff\0\0\0\0"), |error| {
                matches!(error, FrameError::NegativeSize { .. })
            }),
            (Bytes::from_static(b"\x7f\xff\xff\xff\0\0\0\x02"), |error| {
                matches!(error, FrameError::TooLong { .. })
            }),
            (Bytes::from_static(b"\0\0\0\x08\0\0\0\x09wxyz"), |error| {
                matches!(error, FrameError::UnknownKind { .. })
            }),
            (Bytes::from_static(b"\0\0\0\x10\0\0\0\x02"), |error| {
                matches!(error, FrameError::MessageTooShort { .. })
            }),
            (Bytes::from_static(b"HTTP/1.1 400 Bad Request\r\n"), |error| matches!(error, FrameError::Http)),
        ];
        let rig = Rig::start(settings([&bad, &good]));
        let mut unharmed = good.until_connection(0).await;
        unharmed.until_rdy().await;
        for (n, (bytes, expected)) in (0..).zip(frames) {
            let mut connection = bad.until_connection(n).await;
            connection.until_rdy().await;
            connection.send([Act::Raw(bytes), Act::Sleep(Duration::from_secs(9))]);
            let found = reason(&rig, |reason| match reason {
                DisconnectReason::Frame(error) => Some(expected(error)),
                _ => None,
            });
            assert!(found.await, "{:?}", rig.events.borrow());
            rig.events.borrow_mut().clear();
        }
        unharmed.send([Act::message(id(1), 1, "a")]);
        assert_eq!(rig.recv().await.finish(), Settled::Sent);
        assert_eq!(good.counts().accepted, 1);
    });
}

#[test]
fn an_id_that_cannot_be_answered_closes_the_connection() {
    local(async {
        let nsqd = ScriptedNsqd::start();
        let (rig, connection) = Rig::on(&nsqd, settings([&nsqd])).await;
        connection.send([Act::message("0000\n00000000000", 1, "a")]);
        reason(&rig, |reason| matches!(reason, DisconnectReason::ImpossibleId(_)).then_some(())).await;
    });
}

#[test]
fn heartbeats_are_answered_while_nobody_receives() {
    local(async {
        let nsqd = ScriptedNsqd::start();
        let (rig, connection) = Rig::on(&nsqd, settings([&nsqd])).await;
        nsqd.feed((0..200).map(|serial| testkit::body::body(serial, 1_000)));
        let _held = rig.recv().await;
        sleep(3_500 * MS).await;
        let nops = connection.count(|command| *command == Command::Nop);
        assert!((3..=4).contains(&nops), "{nops} NOPs");
        assert_eq!((rig.counts().heartbeats, nsqd.counts().accepted), (nops as u64, 1));
    });
}

#[test]
fn a_peer_that_is_silent_for_two_heartbeats_is_given_up() {
    local(async {
        let nsqd = ScriptedNsqd::start();
        let (rig, connection) = Rig::on(&nsqd, settings([&nsqd])).await;
        connection.send([Act::Heartbeats(false)]);
        let began = Instant::now();
        reason(&rig, |reason| matches!(reason, DisconnectReason::Silent(_)).then_some(())).await;
        assert!((1_000 * MS..2_300 * MS).contains(&began.elapsed()), "{:?}", began.elapsed());
        nsqd.until_connection(1).await.until_rdy().await;
        assert_eq!(nsqd.connections()[0].ended.map(|(_, end)| end), Some(NsqdEnd::ClientFin));
    });
}

#[test]
fn a_peer_that_does_not_answer_sub_is_given_up() {
    local(async {
        let deaf = React::new(|arrived| match (arrived.command, arrived.nth) {
            (Command::Sub { .. }, 0) => Reaction::Ignore,
            _ => Reaction::Usual,
        });
        let nsqd = ScriptedNsqd::start_with(NsqdOptions { react: deaf, ..Default::default() });
        let mut settings = settings([&nsqd]);
        settings.connection.connect_timeout = 300 * MS;
        let rig = Rig::start(settings);
        reason(&rig, |reason| matches!(reason, DisconnectReason::SubscribeTimeout(_)).then_some(())).await;
        nsqd.until_connection(1).await.until_rdy().await;
    });
}

/// nsqd reads nothing and times everything out again and again: what is written must not gather.
#[test]
fn a_peer_that_takes_nothing_is_given_up_within_bounds() {
    local(async {
        let nsqd = ScriptedNsqd::start();
        let mut settings = settings([&nsqd]);
        settings.connection.write_timeout = 1_500 * MS;
        let (rig, connection) = Rig::on(&nsqd, settings).await;
        connection.send([Act::StopReading]);
        let began = Instant::now();
        let mut n = 0;
        // What fills the sockets' buffers: many megabytes of FINs, drawn by messages that nsqd should not be
        // sending.
        while rig.counts().disconnects == 0 {
            assert!(began.elapsed() < Duration::from_secs(15), "{:?}", rig.counts());
            connection.send((0..2_000).map(|_| {
                n += 1;
                Act::message(id(n), 1, "x")
            }));
            while let Ok(Some(delivery)) = timeout(20 * MS, rig.consumer.recv()).await {
                let (Settled::Sent | Settled::TooLate(_)) = delivery.finish();
            }
        }
        reason(&rig, |reason| matches!(reason, DisconnectReason::WriteStalled(_)).then_some(())).await;
        let unsent = rig
            .event(|event| match event {
                Event::Disconnected { finishes_unsent, .. } => Some(*finishes_unsent),
                _ => None,
            })
            .await;
        assert!(unsent > 0 && unsent == rig.counts().finishes_unsent, "{unsent}");
    });
}

#[test]
fn a_consumer_that_is_dropped_stops_by_itself() {
    local(async {
        let nsqd = ScriptedNsqd::start();
        let (rig, mut connection) = Rig::on(&nsqd, settings([&nsqd])).await;
        connection.send([Act::message(id(1), 1, "held"), Act::message(id(2), 1, "waits")]);
        let held = rig.recv().await;
        let counters = std::sync::Arc::clone(&rig.counters);
        drop(rig);
        connection.until("CLS", |command| (*command == Command::Cls).then_some(())).await;
        assert_eq!(connection.until_ended().await, NsqdEnd::ClientFin);
        assert_eq!(held.finish(), Settled::TooLate(Lost::Stopped));
        assert_eq!((nsqd.counts().requeued, counters.snapshot().in_flight), (2, 0));
    });
}

#[test]
fn a_runtime_that_is_dropped_leaves_no_live_delivery() {
    let nsqd = ScriptedNsqd::start();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let tasks = tokio::task::LocalSet::new();
    let (rig, held) = tasks.block_on(&runtime, async {
        let (rig, connection) = Rig::on(&nsqd, settings([&nsqd])).await;
        connection.send([Act::message(id(1), 1, "a")]);
        let held = rig.recv().await;
        (rig, held)
    });
    drop((tasks, runtime));
    assert_eq!(held.finish(), Settled::TooLate(Lost::ConnectionLost));
    assert_eq!((rig.counts().connection_lost, rig.counts().in_flight), (1, 0));
    std::mem::forget(rig);
}
