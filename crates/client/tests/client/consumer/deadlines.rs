//! Expiry, TOUCH, and what is never sent.

use std::time::Duration;

use client::{DeliveryState, Event, Lost, Settled};
use serde_json::json;
use testkit::nsqd::{Act, Command, NsqdOptions, ScriptedNsqd, id};
use tokio::time::{Instant, sleep, timeout};
use wire::ErrorCode;

use super::rig::{MS, Rig, local, settings};

/// An nsqd whose messages are over after 1 s, and after 3 s for good.
fn short() -> ScriptedNsqd {
    let identify = json!({"msg_timeout": 1_000, "max_msg_timeout": 3_000});
    ScriptedNsqd::start_with(NsqdOptions { identify, ..Default::default() })
}

/// An nsqd whose messages are over after 1 s, touched or not.
fn untouchable() -> ScriptedNsqd {
    let identify = json!({"msg_timeout": 1_000, "max_msg_timeout": 1_000});
    ScriptedNsqd::start_with(NsqdOptions { identify, ..Default::default() })
}

fn is_answer(command: &Command) -> bool {
    matches!(command, Command::Fin(_) | Command::Req { .. } | Command::Touch(_))
}

#[test]
fn held_and_waiting_messages_are_touched_at_half_until_the_ceiling() {
    local(async {
        let nsqd = short();
        let (rig, mut connection) = Rig::on(&nsqd, settings([&nsqd])).await;
        connection.send([Act::message(id(1), 1, "held"), Act::message(id(2), 1, "waits")]);
        let held = rig.recv().await;
        let began = Instant::now();
        for n in 1..=4 {
            connection.until_touch(&id(1)).await;
            let half = began.elapsed() / n;
            assert!((495 * MS..650 * MS).contains(&half), "touch {n} after {:?}", began.elapsed());
        }
        let lost = timeout(5_000 * MS, held.lost()).await.expect("it expires");
        let lived = began.elapsed();
        assert_eq!((lost, held.state()), (Lost::Expired, DeliveryState::Expired));
        assert!((2_800 * MS..3_000 * MS).contains(&lived), "3 s less the margin, not {lived:?}");
        assert_eq!(held.finish(), Settled::TooLate(Lost::Expired));
        let counts = rig.until(|counts| counts.expired == 2).await;
        assert_eq!((counts.finished, counts.requeued, counts.in_flight), (0, 0, 0));
        rig.nothing_for(300 * MS).await;
        let touched = connection.count(|command| matches!(command, Command::Touch(_))) as u64;
        assert_eq!((touched, connection.count(is_answer) as u64), (counts.touched, counts.touched));
        assert!(touched <= 10, "{touched} touches");
    });
}

#[test]
fn a_message_that_expires_in_the_queue_is_not_handed_out() {
    local(async {
        let nsqd = untouchable();
        let (rig, connection) = Rig::on(&nsqd, settings([&nsqd])).await;
        connection.send([Act::message(id(1), 1, "a"), Act::message(id(2), 1, "b")]);
        rig.until(|counts| counts.expired == 2).await;
        rig.nothing_for(50 * MS).await;
        assert_eq!(connection.count(is_answer), 0, "nothing is sent for them");
        connection.send([Act::message(id(1), 2, "a")]);
        let again = rig.recv().await;
        assert_eq!((again.attempts(), again.finish()), (2, Settled::Sent));
    });
}

#[test]
fn a_redelivery_after_expiry_revives_the_held_one() {
    local(async {
        let nsqd = untouchable();
        let (rig, mut connection) = Rig::on(&nsqd, settings([&nsqd])).await;
        connection.send([Act::message(id(1), 1, "a")]);
        let delivery = rig.recv().await;
        assert_eq!(delivery.lost().await, Lost::Expired);
        assert_eq!(rig.counts().in_flight, 0);
        connection.send([Act::TimeOut(id(1)), Act::message(id(1), 2, "a")]);
        rig.until(|counts| counts.adopted == 1).await;
        assert_eq!((delivery.state(), delivery.attempts()), (DeliveryState::Live, 2));
        assert_eq!(delivery.finish(), Settled::Sent);
        connection.until_fin(&id(1)).await;
        let counts = rig.counts();
        assert_eq!((counts.received, counts.expired, counts.finished), (2, 1, 1));
        assert_eq!(nsqd.counts().fin_failed, 0);
    });
}

#[test]
#[expect(clippy::disallowed_methods, reason = "the point is that the thread is held up")]
fn an_expired_one_that_is_dropped_writes_nothing() {
    local(async {
        let nsqd = untouchable();
        let (rig, connection) = Rig::on(&nsqd, settings([&nsqd])).await;
        connection.send([Act::message(id(1), 1, "a"), Act::message(id(2), 1, "b")]);
        let (dropped, requeued) = (rig.recv().await, rig.recv().await);
        // Past the deadline (875 ms), with no turn of the runtime in between: no sweep has seen it.
        std::thread::sleep(950 * MS);
        assert_eq!(requeued.requeue(Duration::ZERO), Settled::TooLate(Lost::Expired));
        drop(dropped);
        assert_eq!(rig.counts().expired, 2);
        connection.until_silent(100 * MS).await;
    });
}

#[test]
fn a_refused_touch_expires_its_delivery() {
    local(async {
        let nsqd = short();
        let (rig, mut connection) = Rig::on(&nsqd, settings([&nsqd])).await;
        connection.send([Act::message(id(1), 1, "a"), Act::TimeOut(id(1)), Act::message(id(2), 1, "b")]);
        let (delivery, other) = (rig.recv().await, rig.recv().await);
        let began = Instant::now();
        assert_eq!(delivery.lost().await, Lost::Expired);
        assert!(began.elapsed() < 700 * MS, "by the refusal, not by its deadline");
        let refused = rig
            .event(|event| match event {
                Event::ServerError { error, .. } => Some((error.code, error.id)),
                _ => None,
            })
            .await;
        assert_eq!(refused, (ErrorCode::TouchFailed, Some(delivery.id())));
        assert_eq!(delivery.finish(), Settled::TooLate(Lost::Expired));
        assert_eq!(other.finish(), Settled::Sent, "the connection lives, and so do the others");
        connection.until_fin(&id(2)).await;
        let counts = rig.counts();
        assert_eq!((counts.touch_failed, counts.expired, counts.finished), (1, 1, 1));
    });
}

#[test]
fn a_refusal_that_belongs_to_an_older_delivery_harms_no_newer_one() {
    local(async {
        let nsqd = short();
        let (rig, mut connection) = Rig::on(&nsqd, settings([&nsqd])).await;
        connection.send([Act::message(id(1), 1, "a")]);
        let delivery = rig.recv().await;
        connection.until_touch(&id(1)).await;
        // The redelivery and the refusal of the older TOUCH cross on their way out of nsqd.
        let refusal = format!("E_TOUCH_FAILED TOUCH {} failed ID not in flight", id(1));
        connection.send([Act::message(id(1), 2, "a"), Act::Error(refusal)]);
        rig.until(|counts| counts.touch_failed == 1).await;
        assert_eq!((delivery.attempts(), delivery.state()), (2, DeliveryState::Live));
        assert_eq!(delivery.finish(), Settled::Sent);
        connection.until_fin(&id(1)).await;
    });
}

#[test]
fn a_touch_by_hand_is_written_once_in_a_while() {
    local(async {
        let nsqd = short();
        let (rig, mut connection) = Rig::on(&nsqd, settings([&nsqd])).await;
        connection.send([Act::message(id(1), 1, "a")]);
        let delivery = rig.recv().await;
        let before = delivery.deadline();
        sleep(100 * MS).await;
        (0..1_000).for_each(|_| delivery.touch());
        assert!(delivery.deadline() >= before + 100 * MS);
        connection.until_touch(&id(1)).await;
        assert_eq!(rig.counts().touched, 1);
        assert_eq!(delivery.finish(), Settled::Sent);
    });
}

#[test]
fn refused_finishes_and_requeues_are_told_and_the_connection_lives() {
    local(async {
        let nsqd = ScriptedNsqd::start();
        let (rig, connection) = Rig::on(&nsqd, settings([&nsqd])).await;
        connection.send([Act::message(id(1), 1, "a"), Act::TimeOut(id(1))]);
        connection.send([Act::message(id(2), 1, "b"), Act::TimeOut(id(2)), Act::message(id(3), 1, "c")]);
        assert_eq!(rig.recv().await.finish(), Settled::Sent);
        assert_eq!(rig.recv().await.requeue(MS), Settled::Sent);
        assert_eq!(rig.recv().await.finish(), Settled::Sent);
        let counts = rig.until(|counts| counts.req_failed == 1).await;
        assert_eq!((counts.fin_failed, counts.disconnects), (1, 0));
        nsqd.until(|counts| counts.finished == 1).await;
        let ids: Vec<_> = rig
            .events
            .borrow()
            .iter()
            .filter_map(|event| match event {
                Event::ServerError { error, .. } => Some((error.code, error.id.map(|id| id.to_string()))),
                _ => None,
            })
            .collect();
        assert_eq!(ids, [(ErrorCode::FinFailed, Some(id(1))), (ErrorCode::ReqFailed, Some(id(2)))]);
        assert_eq!(nsqd.counts().accepted, 1);
    });
}
