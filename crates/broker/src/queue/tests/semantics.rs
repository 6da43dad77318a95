//! nsqd's semantics, one by one.

use super::*;
use crate::queue::{AdminError, Bound, Change, SettleError, SubscribeError};

#[test]
fn what_is_published_before_any_channel_goes_whole_to_the_first() {
    simulate(async {
        let open = Open::on(&Simulated::new(1));
        open.publish_all("t", ["1".to_owned(), "2".to_owned()]).await;
        assert_eq!(open.topic_stats("t").depth, 2);
        let mut a = open.subscribe("t", "a", 10);
        let mut b = open.subscribe("t", "b", 10);
        open.publish("t", "3").await;
        assert_eq!(open.topic_stats("t").depth, 0);
        assert_eq!(drain(&mut a), ["1", "2", "3"]);
        assert_eq!(drain(&mut b), ["3"]);
        assert_eq!((open.channel_stats("t", "a").message_count, open.topic_stats("t").message_count), (3, 3));
    });
}

#[test]
fn while_a_topic_is_paused_messages_wait_and_new_channels_get_them_too() {
    simulate(async {
        let open = Open::on(&Simulated::new(1));
        let mut a = open.subscribe("t", "a", 10);
        open.stored(open.queue.pause_topic(&topic("t"), true)).await;
        open.publish("t", "1").await;
        let mut b = open.subscribe("t", "b", 10);
        assert!(take(&mut a).is_none() && open.topic_stats("t").depth == 1);
        open.stored(open.queue.pause_topic(&topic("t"), false)).await;
        assert_eq!((drain(&mut a), drain(&mut b)), (vec!["1".to_owned()], vec!["1".to_owned()]));
    });
}

#[test]
fn emptying_a_topic_takes_only_what_no_channel_has() {
    simulate(async {
        let open = Open::on(&Simulated::new(1));
        let mut a = open.subscribe("t", "a", 10);
        open.publish("t", "1").await;
        open.stored(open.queue.pause_topic(&topic("t"), true)).await;
        open.publish_all("t", ["2".to_owned(), "3".to_owned()]).await;
        open.stored(open.queue.empty_topic(&topic("t"))).await;
        assert_eq!(open.topic_stats("t").depth, 0);
        open.stored(open.queue.pause_topic(&topic("t"), false)).await;
        open.publish("t", "4").await;
        assert_eq!(drain(&mut a), ["1", "4"]);
        assert_eq!(open.queue.counters().messages, 0);
    });
}

#[test]
fn emptying_a_channel_takes_everything_and_a_finish_fails_then() {
    simulate(async {
        let open = Open::on(&Simulated::new(1));
        let mut a = open.subscribe("t", "a", 2);
        let mut b = open.subscribe("t", "b", 10);
        open.publish_all("t", (0..5).map(|at| at.to_string())).await;
        let out = take(&mut a).expect("it is ready");
        let deferred = take(&mut a).expect("it is ready");
        a.requeue(deferred.head.id, Duration::from_secs(9)).expect("in flight");
        assert_eq!(open.counts("t", "a"), (3, 1, 1));
        open.stored(open.queue.empty_channel(&topic("t"), &channel("a"))).await;
        assert_eq!(open.counts("t", "a"), (0, 0, 0));
        assert_eq!(a.finish(out.head.id), Err(SettleError::NotInFlight));
        assert_eq!(drain(&mut b).len(), 5);
        open.publish("t", "5").await;
        assert_eq!(drain(&mut a), ["5"]);
        assert_eq!(open.queue.counters().messages, 1);
    });
}

#[test]
fn ready_is_a_ceiling() {
    simulate(async {
        let open = Open::on(&Simulated::new(1));
        let mut a = open.subscribe("t", "a", 0);
        open.publish_all("t", (0..5).map(|at| at.to_string())).await;
        assert!(take(&mut a).is_none());
        a.set_ready(2);
        let (one, two) = (take(&mut a).expect("one"), take(&mut a).expect("two"));
        assert!(take(&mut a).is_none());
        a.finish(one.head.id).expect("in flight");
        assert!(take(&mut a).is_some() && take(&mut a).is_none());
        a.start_closing();
        a.set_ready(10);
        a.finish(two.head.id).expect("settling goes on");
        assert!(take(&mut a).is_none());
    });
}

#[test]
fn attempts_count_deliveries_and_what_comes_back_is_behind_the_others() {
    simulate(async {
        let open = Open::on(&Simulated::new(1));
        let mut a = open.subscribe("t", "a", 10);
        open.publish_all("t", ["1".to_owned(), "2".to_owned(), "3".to_owned()]).await;
        let first = take(&mut a).expect("it is ready");
        assert_eq!((text(&first).as_str(), first.head.attempts), ("1", 1));
        a.requeue(first.head.id, Duration::ZERO).expect("in flight");
        let rest: Vec<(String, u16)> =
            std::iter::from_fn(|| take(&mut a)).map(|it| (text(&it), it.head.attempts)).collect();
        assert_eq!(rest.len(), 3);
        assert!(rest.contains(&("1".to_owned(), 2)) && rest[0].1 == 1);
        assert_eq!(open.channel_stats("t", "a").requeue_count, 1);
    });
}

#[test]
fn a_settle_is_owned_and_happens_once() {
    simulate(async {
        let open = Open::on(&Simulated::new(1));
        let mut a = open.subscribe("t", "a", 10);
        let mut other = open.subscribe("t", "a", 10);
        open.publish("t", "1").await;
        let id = take(&mut a).expect("it is ready").head.id;
        assert_eq!(other.finish(id), Err(SettleError::NotOwner));
        assert_eq!(other.touch(id), Err(SettleError::NotOwner));
        a.finish(id).expect("in flight");
        assert_eq!(a.finish(id), Err(SettleError::NotInFlight));
        assert_eq!(a.requeue(id, Duration::ZERO), Err(SettleError::NotInFlight));
        assert_eq!(a.finish(wire::MessageId(*b"no such id as it")), Err(SettleError::NotInFlight));
    });
}

#[test]
fn a_delivery_times_out_and_touch_puts_that_off_up_to_a_ceiling() {
    simulate(async {
        let settings = Settings { max_msg_timeout: Duration::from_secs(3), ..settings() };
        let open = Open::new(Arc::new(Simulated::new(1)), &settings);
        let mut a = open.subscribe_with("t", "a", 1, Duration::from_secs(1));
        open.publish("t", "1").await;
        let id = take(&mut a).expect("it is ready").head.id;
        for _ in 0..9 {
            pass(300).await;
            a.touch(id).expect("in flight");
        }
        assert_eq!(open.counts("t", "a"), (0, 1, 0));
        pass(500).await;
        assert_eq!(open.counts("t", "a"), (1, 0, 0));
        assert_eq!(a.touch(id), Err(SettleError::NotInFlight));
        assert_eq!(open.channel_stats("t", "a").timeout_count, 1);
        assert_eq!(take(&mut a).map(|it| it.head.attempts), Some(2));
    });
}

#[test]
fn a_delay_is_kept_and_clamped_and_survives_a_kill() {
    simulate(async {
        let disk = Simulated::new(1);
        let open = Open::on(&disk);
        let mut a = open.subscribe("t", "a", 10);
        open.publish_all("t", ["1".to_owned(), "2".to_owned()]).await;
        open.stored(open.queue.publish(&topic("t"), &[Bytes::from_static(b"3")], Duration::from_secs(10)))
            .await;
        let (one, two) = (take(&mut a).expect("one"), take(&mut a).expect("two"));
        assert!(take(&mut a).is_none());
        a.requeue(one.head.id, Duration::from_secs(5)).expect("in flight");
        a.requeue(two.head.id, Duration::from_secs(1 << 40)).expect("in flight");
        assert_eq!(open.counts("t", "a"), (0, 0, 3));
        pass(200).await;
        drop(a);
        let disk = open.kill(&disk).await;
        let open = Open::on(&disk);
        assert_eq!(open.counts("t", "a"), (0, 0, 3));
        let mut a = open.subscribe("t", "a", 10);
        pass(5_000).await;
        assert_eq!(drain(&mut a), ["1"]);
        pass(5_500).await;
        assert_eq!(drain(&mut a), ["3"]);
        pass(3_590_000).await;
        assert_eq!(drain(&mut a), ["2"]);
    });
}

#[test]
fn a_delay_of_dpub_begins_with_the_fan_out() {
    simulate(async {
        let open = Open::on(&Simulated::new(1));
        open.stored(open.queue.publish(&topic("t"), &[Bytes::from_static(b"1")], Duration::from_secs(10)))
            .await;
        pass(60_000).await;
        let mut a = open.subscribe("t", "a", 10);
        assert_eq!(open.counts("t", "a"), (0, 0, 1));
        pass(9_000).await;
        assert!(take(&mut a).is_none());
        pass(1_500).await;
        assert_eq!(drain(&mut a), ["1"]);
    });
}

#[test]
fn what_is_in_flight_to_a_client_that_goes_is_ready_at_once() {
    simulate(async {
        let open = Open::on(&Simulated::new(1));
        let mut a = open.subscribe("t", "a", 10);
        open.publish_all("t", (0..4).map(|at| at.to_string())).await;
        std::iter::from_fn(|| take(&mut a)).for_each(drop);
        assert_eq!(open.counts("t", "a"), (0, 4, 0));
        drop(a);
        assert_eq!(open.counts("t", "a"), (4, 0, 0));
        let mut again = open.subscribe("t", "a", 10);
        assert_eq!(take(&mut again).map(|it| it.head.attempts), Some(2));
    });
}

#[test]
fn a_paused_channel_hands_nothing_out_and_survives_a_kill() {
    simulate(async {
        let disk = Simulated::new(1);
        let open = Open::on(&disk);
        let mut a = open.subscribe("t", "a", 10);
        open.stored(open.queue.pause_channel(&topic("t"), &channel("a"), true)).await;
        open.publish("t", "1").await;
        assert!(take(&mut a).is_none());
        drop(a);
        let disk = open.kill(&disk).await;
        let open = Open::on(&disk);
        assert!(open.channel_stats("t", "a").paused);
        let mut a = open.subscribe("t", "a", 10);
        assert!(take(&mut a).is_none());
        open.stored(open.queue.pause_channel(&topic("t"), &channel("a"), false)).await;
        assert_eq!(drain(&mut a), ["1"]);
    });
}

#[test]
fn who_sleeps_is_woken_by_a_message() {
    simulate(async {
        let open = Open::on(&Simulated::new(1));
        let mut a = open.subscribe("t", "a", 1);
        let waiter = tokio::task::spawn_local(async move {
            let handed = std::future::poll_fn(|cx| a.poll_next(cx)).await.expect("a message");
            let text = text(&handed);
            a.requeue(handed.head.id, Duration::from_secs(2)).expect("in flight");
            let again = std::future::poll_fn(|cx| a.poll_next(cx)).await.expect("it is due");
            (text, again.head.attempts, std::future::poll_fn(|cx| a.poll_next(cx)).await.is_none())
        });
        pass(10).await;
        open.publish("t", "1").await;
        pass(5_000).await;
        open.stored(open.queue.delete_channel(&topic("t"), &channel("a"))).await;
        assert_eq!(waiter.await.expect("it ends"), ("1".to_owned(), 2, true));
    });
}

#[test]
fn an_ephemeral_channel_goes_with_its_last_client_and_drops_beyond_its_bound() {
    simulate(async {
        let settings = Settings { mem_queue_size: 3, ..settings() };
        let disk = Simulated::new(1);
        let open = Open::new(Arc::new(disk.clone()), &settings);
        let mut a = open.subscribe("t", "a#ephemeral", 10);
        open.publish_all("t", (0..5).map(|at| at.to_string())).await;
        assert_eq!(open.counts("t", "a#ephemeral"), (3, 0, 0));
        assert_eq!(open.queue.counters().messages, 0);
        assert_eq!(drain(&mut a), ["0", "1", "2"]);
        drop(a);
        assert!(open.topic_stats("t").channels.is_empty());
        open.publish("t", "5").await;
        let disk = open.kill(&disk).await;
        let open = Open::new(Arc::new(disk), &settings);
        assert_eq!((open.topic_stats("t").depth, open.topic_stats("t").channels.len()), (1, 0));
    });
}

#[test]
fn what_an_ephemeral_channel_had_does_not_come_back_with_a_kill() {
    simulate(async {
        let disk = Simulated::new(1);
        let open = Open::on(&disk);
        let a = open.subscribe("t", "a#ephemeral", 10);
        open.publish("t", "1").await;
        let disk = disk.kill();
        std::mem::forget(a);
        open.forget().await;
        let open = Open::on(&disk);
        assert_eq!((open.topic_stats("t").depth, open.topic_stats("t").channels.len()), (0, 0));
        open.publish("t", "2").await;
        assert_eq!(open.topic_stats("t").depth, 1);
    });
}

#[test]
fn an_ephemeral_topic_is_in_memory_and_goes_with_its_last_channel() {
    simulate(async {
        let disk = Simulated::new(1);
        let open = Open::on(&disk);
        open.publish("t#ephemeral", "1").await;
        let mut a = open.subscribe("t#ephemeral", "a#ephemeral", 10);
        open.publish("t#ephemeral", "2").await;
        assert_eq!(drain(&mut a), ["1", "2"]);
        drop(a);
        assert!(open.queue.topics().is_empty());
        open.publish("t#ephemeral", "3").await;
        let disk = open.kill(&disk).await;
        assert!(Open::on(&disk).queue.topics().is_empty());
    });
}

#[test]
fn a_held_topic_fans_out_nothing_before_its_gate_opens() {
    simulate(async {
        let settings = Settings { hold_new_topics: true, ..settings() };
        let disk = Simulated::new(1);
        let open = Open::new(Arc::new(disk.clone()), &settings);
        let mut changes = open.queue.changes();
        open.publish("t", "1").await;
        let mut a = open.subscribe("t", "a", 10);
        pass(1).await;
        assert!(take(&mut a).is_none());
        drop(a);
        let disk = open.kill(&disk).await;
        let open = Open::new(Arc::new(disk), &settings);
        assert_eq!(open.queue.gated_topics(), [topic("t")]);
        let mut a = open.subscribe("t", "a", 10);
        let mut b = open.subscribe("t", "b", 10);
        open.queue.open_gate(&topic("t"));
        pass(1).await;
        assert_eq!((drain(&mut a), drain(&mut b)), (vec!["1".to_owned()], vec!["1".to_owned()]));
        assert!(open.queue.gated_topics().is_empty());
        assert_eq!(changes.try_recv(), Ok(Change::TopicCreated(topic("t"))));
        assert_eq!(changes.try_recv(), Ok(Change::ChannelCreated(topic("t"), channel("a"))));
    });
}

#[test]
fn what_is_not_there_is_not_found() {
    simulate(async {
        let open = Open::on(&Simulated::new(1));
        assert_eq!(open.queue.delete_topic(&topic("t")), Err(AdminError::TopicNotFound));
        assert_eq!(open.queue.create_channel(&topic("t"), &channel("a")), Err(AdminError::TopicNotFound));
        open.stored(open.queue.create_topic(&topic("t"))).await;
        let paused = open.queue.pause_channel(&topic("t"), &channel("a"), true);
        assert_eq!(paused, Err(AdminError::ChannelNotFound));
        open.stored(open.queue.create_channel(&topic("t"), &channel("a"))).await;
        assert_eq!(open.queue.channels(&topic("t")), Some(vec![channel("a")]));
        open.stored(open.queue.delete_topic(&topic("t"))).await;
        assert_eq!(open.queue.channels(&topic("t")), None);
    });
}

#[test]
fn bounds_refuse_whole_publishes_and_nothing_else() {
    simulate(async {
        let settings = Settings { topic_messages_max: 3, topics_max: 2, topic_channels_max: 1, ..settings() };
        let settings = Settings { max_channel_consumers: 1, max_msg_size: 100, ..settings };
        let open = Open::new(Arc::new(Simulated::new(1)), &settings);
        let mut a = open.subscribe("t", "a", 10);
        let many = |count: usize| vec![Bytes::from_static(b"x"); count];
        let refused = open.queue.publish(&topic("t"), &many(4), Duration::ZERO);
        assert_eq!(refused, Err(Refused::Full { what: Bound::TopicMessages, limit: 3 }));
        assert_eq!(open.counts("t", "a"), (0, 0, 0));
        open.stored(open.queue.publish(&topic("t"), &many(3), Duration::ZERO)).await;
        assert!(is_refused(open.queue.publish(&topic("t"), &many(1), Duration::ZERO)));
        let out = take(&mut a).expect("it is ready");
        a.finish(out.head.id).expect("in flight");
        open.stored(open.queue.publish(&topic("t"), &many(1), Duration::ZERO)).await;
        let large = [Bytes::from(vec![0; 101])];
        let refused = open.queue.publish(&topic("t"), &large, Duration::ZERO);
        assert_eq!(refused, Err(Refused::TooLarge { bytes: 101, limit: 100 }));
        open.stored(open.queue.create_topic(&topic("u"))).await;
        assert!(open.queue.create_topic(&topic("v")).is_err());
        assert!(open.queue.create_channel(&topic("t"), &channel("b")).is_err());
        let client = Rc::new(Client::new(9, "127.0.0.1:2".to_owned(), 0, Duration::from_secs(1)));
        let refused = open.queue.subscribe(&topic("t"), &channel("a"), client).map(drop);
        assert!(matches!(refused, Err(SubscribeError::TooManyConsumers { limit: 1, .. })));
    });
}

#[test]
fn closing_is_durable_and_ends_everything() {
    simulate(async {
        let disk = Simulated::new(1);
        let open = Open::on(&disk);
        let mut a = open.subscribe("t", "a", 1);
        open.publish_all("t", ["1".to_owned(), "2".to_owned()]).await;
        assert_eq!(drain(&mut a).len(), 2);
        open.queue.refuse_publishes();
        let refused = open.queue.publish(&topic("t"), &[Bytes::from_static(b"3")], Duration::ZERO);
        assert_eq!(refused, Err(Refused::Exiting));
        open.queue.close().await.expect("the disk is well");
        assert!(matches!(a.poll_next(&mut Context::from_waker(Waker::noop())), Poll::Ready(None)));
        open.driver.await.expect("it ends");
        let disk = disk.crash();
        let open = Open::on(&disk);
        assert_eq!((open.counts("t", "a"), open.recovery.journal.records), ((0, 0, 0), 0));
    });
}

#[test]
fn no_id_is_issued_twice_though_messages_of_ephemeral_topics_are_not_logged() {
    simulate(async {
        let mut disk = Simulated::new(1);
        let mut seen = std::collections::BTreeSet::new();
        for round in 0..6 {
            let open = Open::on(&disk);
            let mut client = open.subscribe("t#ephemeral", "a", 10);
            // More than are reserved at once: the disk gets the time to keep up, or does not.
            let mut refused = 0;
            for at in 0..200 {
                let body = [Bytes::from_static(b"m")];
                let taken = open.queue.publish(&topic("t#ephemeral"), &body, Duration::ZERO);
                if at < 100 {
                    taken.clone().expect("it is taken");
                    pass(1).await;
                }
                refused += u32::from(taken.is_err());
                let Some(handed) = take(&mut client) else { continue };
                client.finish(handed.head.id).expect("in flight");
                assert!(seen.insert(handed.head.id), "an id was issued again in round {round}");
            }
            assert!((1..100).contains(&refused), "{refused} refused");
            // The next start reads a checkpoint that was written in between, or only the log.
            if round % 2 == 0 {
                open.publish("t", "logged").await;
                open.queue.close().await.expect("the last sync");
            }
            drop(client);
            let crashed = disk.crash();
            open.forget().await;
            disk = crashed;
        }
    });
}

#[test]
fn who_sleeps_is_woken_when_an_ephemeral_topic_goes_on() {
    simulate(async {
        let open = Open::on(&Simulated::new(1));
        let name = topic("t#ephemeral");
        let mut a = open.subscribe("t#ephemeral", "a", 1);
        let waiter = tokio::task::spawn_local(async move {
            std::future::poll_fn(|cx| a.poll_next(cx)).await.map(|handed| text(&handed))
        });
        pass(10).await;
        open.stored(open.queue.pause_topic(&name, true)).await;
        open.queue.publish(&name, &[Bytes::from_static(b"1")], Duration::ZERO).expect("it is taken");
        pass(10).await;
        open.stored(open.queue.pause_topic(&name, false)).await;
        let came = tokio::time::timeout(Duration::from_secs(5), waiter).await.expect("it is woken");
        assert_eq!(came.expect("no panic").as_deref(), Some("1"));
    });
}

#[test]
fn a_time_of_the_far_future_is_not_taken_over() {
    simulate(async {
        let open = Open::on(&Simulated::new(1));
        open.stored(open.queue.create_topic(&topic("t"))).await;
        let far = crate::queue::ImportedMessage {
            timestamp_ns: i64::MAX as u64,
            attempts: 0,
            body: Bytes::from_static(b"far"),
        };
        open.stored(open.queue.import(&topic("t"), None, &[far])).await;
        let mut a = open.subscribe("t", "a", 2);
        let commit = open.queue.publish(&topic("t"), &[Bytes::from_static(b"due")], Duration::from_secs(1));
        open.stored(commit).await;
        pass(2_000).await;
        let mut came = drain(&mut a);
        came.sort();
        assert_eq!(came, ["due", "far"]);
    });
}
