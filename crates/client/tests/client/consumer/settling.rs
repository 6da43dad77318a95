//! Finish, requeue, redelivery, receivers.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use client::{DeliveryState, Event, Settled};
use testkit::nsqd::{Act, Command, ScriptedNsqd, id};
use tokio::task::spawn_local;
use tokio::time::{sleep, timeout};

use super::rig::{MS, Rig, local, settings};

#[test]
fn a_message_is_received_and_finished() {
    local(async {
        let nsqd = ScriptedNsqd::start();
        let (rig, mut connection) = Rig::on(&nsqd, settings([&nsqd])).await;
        connection.send([Act::message(id(1), 3, "hello")]);
        let delivery = rig.recv().await;
        assert_eq!((delivery.id().to_string(), delivery.attempts()), (id(1), 3));
        assert_eq!(delivery.timestamp_ns(), 1_700_000_000_000_000_000);
        assert_eq!((&delivery.body()[..], delivery.node()), (&b"hello"[..], &*nsqd.address().to_string()));
        assert_eq!((delivery.state(), rig.counts().in_flight), (DeliveryState::Live, 1));
        assert_eq!(delivery.finish(), Settled::Sent);
        connection.until_fin(&id(1)).await;
        let counts = rig.counts();
        assert_eq!((counts.finished, counts.in_flight, counts.bytes_received), (1, 0, 5));
        assert!(matches!(rig.events.borrow()[..], [Event::Connected { .. }]));
    });
}

#[test]
fn all_of_ten_thousand_are_finished_by_many_receivers() {
    local(async {
        let nsqd = ScriptedNsqd::start();
        let rig = Rig::start(settings([&nsqd]));
        for _ in 0..64 {
            let consumer = rig.consumer.clone();
            spawn_local(async move {
                while let Some(delivery) = consumer.recv().await {
                    assert!(matches!(
                        testkit::body::judge(delivery.body()),
                        testkit::body::Verdict::Whole(_)
                    ));
                    tokio::task::yield_now().await;
                    assert_eq!(delivery.finish(), Settled::Sent);
                }
            });
        }
        nsqd.feed((0..10_000).map(|serial| testkit::body::body(serial, 1_000)));
        let counts = nsqd.until(|counts| counts.finished == 10_000).await;
        assert_eq!((counts.messages, counts.fin_failed), (10_000, 0));
        let most = nsqd.connections().iter().map(|book| book.in_flight_max).max();
        assert!(most <= Some(80), "{most:?} in flight");
        assert_eq!(rig.counts().finished, 10_000);
        assert!(rig.counts().rdy_written < 20, "RDY is no credit: {:?}", rig.counts());
    });
}

#[test]
fn requeue_carries_its_delay_up_to_the_longest() {
    local(async {
        let nsqd = ScriptedNsqd::start();
        let (rig, mut connection) = Rig::on(&nsqd, settings([&nsqd])).await;
        connection.send([
            Act::message(id(1), 1, "a"),
            Act::message(id(2), 1, "b"),
            Act::message(id(3), 1, "c"),
        ]);
        assert_eq!(rig.recv().await.requeue(Duration::from_micros(90_999)), Settled::Sent);
        assert_eq!(connection.until_req(&id(1)).await, 90);
        assert_eq!(rig.recv().await.requeue(Duration::MAX), Settled::Sent);
        assert_eq!(connection.until_req(&id(2)).await, 3_600_000);
        drop(rig.recv().await);
        assert_eq!(connection.until_req(&id(3)).await, 0, "a delivery that is dropped goes back at once");
        assert_eq!(rig.counts().requeued, 3);
    });
}

#[test]
fn a_redelivery_while_held_is_adopted() {
    local(async {
        let nsqd = ScriptedNsqd::start();
        let (rig, mut connection) = Rig::on(&nsqd, settings([&nsqd])).await;
        connection.send([Act::message(id(1), 1, "a")]);
        let delivery = rig.recv().await;
        let first_deadline = delivery.deadline();
        connection.send([Act::TimeOut(id(1)), Act::message(id(1), 2, "a")]);
        rig.until(|counts| counts.adopted == 1).await;
        rig.nothing_for(50 * MS).await;
        assert_eq!((delivery.attempts(), delivery.state()), (2, DeliveryState::Live));
        assert!(delivery.deadline() > first_deadline);
        assert_eq!(delivery.finish(), Settled::Sent);
        connection.until_fin(&id(1)).await;
        connection.until_silent(50 * MS).await;
        let counts = rig.counts();
        assert_eq!((counts.received, counts.expired, counts.finished), (2, 1, 1));
        assert_eq!((nsqd.counts().finished, nsqd.counts().fin_failed), (1, 0));
    });
}

#[test]
fn a_redelivery_while_waiting_keeps_one_place() {
    local(async {
        let nsqd = ScriptedNsqd::start();
        let (rig, mut connection) = Rig::on(&nsqd, settings([&nsqd])).await;
        connection.send([
            Act::message(id(1), 1, "a"),
            Act::message(id(1), 2, "a"),
            Act::message(id(2), 1, "b"),
        ]);
        rig.until(|counts| counts.received == 3).await;
        let first = rig.recv().await;
        assert_eq!((first.id().to_string(), first.attempts()), (id(1), 2));
        assert_eq!(rig.recv().await.finish(), Settled::Sent);
        assert_eq!(first.finish(), Settled::Sent);
        connection.until_fin(&id(1)).await;
        assert_eq!(connection.count(|command| matches!(command, Command::Fin(_))), 2);
        rig.nothing_for(50 * MS).await;
    });
}

#[test]
fn equal_ids_of_two_nsqds_are_two_messages() {
    local(async {
        let nsqds = [ScriptedNsqd::start(), ScriptedNsqd::start()];
        let rig = Rig::start(settings(&nsqds));
        let mut connections = [nsqds[0].until_connection(0).await, nsqds[1].until_connection(0).await];
        for (connection, body) in connections.iter_mut().zip(["a", "b"]) {
            connection.until_rdy().await;
            connection.send([Act::message(id(1), 1, body)]);
        }
        let (one, other) = (rig.recv().await, rig.recv().await);
        assert_ne!((one.node(), one.body()), (other.node(), other.body()));
        assert_eq!((one.finish(), other.finish()), (Settled::Sent, Settled::Sent));
        for mut connection in connections {
            connection.until_fin(&id(1)).await;
            assert_eq!(connection.count(|command| matches!(command, Command::Fin(_))), 1);
        }
    });
}

#[test]
fn receivers_are_a_stack() {
    local(async {
        let nsqd = ScriptedNsqd::start();
        let (rig, connection) = Rig::on(&nsqd, settings([&nsqd])).await;
        let served: Rc<RefCell<Vec<usize>>> = Rc::default();
        for receiver in 0..4 {
            let (consumer, served) = (rig.consumer.clone(), Rc::clone(&served));
            spawn_local(async move {
                while let Some(delivery) = consumer.recv().await {
                    served.borrow_mut().push(receiver);
                    assert_eq!(delivery.finish(), Settled::Sent);
                }
            });
            tokio::task::yield_now().await;
        }
        for n in 1..=5 {
            connection.send([Act::message(id(n), 1, "x")]);
            rig.until(|counts| counts.finished == n).await;
        }
        assert_eq!(*served.borrow(), [3; 5], "the last to begin waiting does all the work");
    });
}

#[test]
fn receivers_that_give_up_leave_no_trace() {
    local(async {
        let nsqd = ScriptedNsqd::start();
        let (rig, connection) = Rig::on(&nsqd, settings([&nsqd])).await;
        let patient = spawn_local({
            let consumer = rig.consumer.clone();
            async move { consumer.recv().await.expect("a running consumer").finish() }
        });
        sleep(5 * MS).await;
        for n in 1..=20 {
            // It is on top of the stack, and gone when the message comes.
            drop(timeout(Duration::from_micros(50 * n), rig.consumer.recv()).await);
        }
        connection.send([Act::message(id(1), 1, "x")]);
        assert_eq!(timeout(5_000 * MS, patient).await.expect("in time").expect("no panic"), Settled::Sent);
    });
}

#[test]
fn pause_and_resume_are_rdy_0_and_back() {
    local(async {
        let nsqd = ScriptedNsqd::start();
        let (rig, mut connection) = Rig::on(&nsqd, settings([&nsqd])).await;
        rig.consumer.pause();
        connection.until("RDY 0", |command| (*command == Command::Rdy(0)).then_some(())).await;
        connection.send([Act::message(id(1), 1, "was on its way")]);
        assert_eq!(rig.recv().await.finish(), Settled::Sent);
        rig.consumer.pause();
        rig.consumer.resume();
        assert!(connection.until_rdy().await > 0);
    });
}
