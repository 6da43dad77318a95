//! A producer against the real nsqd, frozen and restarted under it.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::cell::RefCell;
use std::collections::HashSet;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use client::{
    Compression, ConnectionSettings, Dialer, NotSent, OutcomeUnknown, Producer, ProducerCounters,
    ProducerSettings, PublishError,
};
use testkit::process::Nsqd;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::{LocalSet, spawn_local};
use tokio::time::{Instant, sleep, timeout};
use wire::{Command, ErrorCode, Frame, TopicName};

const LONG: Duration = Duration::from_secs(20);

async fn local<F: Future>(test: F) -> F::Output {
    LocalSet::new().run_until(test).await
}

fn topic() -> TopicName {
    TopicName::new("t").unwrap()
}

fn producer(nsqd: &Nsqd, connection: ConnectionSettings) -> (Producer, Arc<ProducerCounters>) {
    let counters = Arc::new(ProducerCounters::default());
    let settings = ProducerSettings::new(nsqd.tcp_address().to_string(), connection);
    (Producer::start(&settings, Arc::clone(&counters), |_| ()).unwrap(), counters)
}

/// Every body that the channel gives out: `least` of them, and more until none has come for a second.
async fn consume_all(nsqd: &Nsqd, least: usize) -> Vec<Vec<u8>> {
    let dialer = Dialer::new(&ConnectionSettings::default()).unwrap();
    let mut stream = dialer.dial(&nsqd.tcp_address().to_string()).await.unwrap().stream;
    let mut out = Vec::new();
    Command::Sub { topic: "t", channel: "c" }.write(&mut out);
    Command::Rdy(2_500).write(&mut out);
    stream.write_all(&out).await.unwrap();
    let (mut received, mut bodies) = (Vec::new(), Vec::new());
    loop {
        // nsqd looks for due messages of a new channel after up to 5 s only.
        let patience = Duration::from_secs(if bodies.len() < least { 10 } else { 1 });
        let Ok(read) = timeout(patience, stream.read_buf(&mut received)).await else { return bodies };
        assert!(read.unwrap() > 0);
        while let Some((frame, len)) = Frame::parse(&received).unwrap() {
            if let Frame::Message { body, .. } = frame {
                bodies.push(body.to_vec());
            }
            received.drain(..len);
        }
    }
}

async fn every_kind_of_publish_arrives(compression: Compression) {
    local(async {
        let nsqd = Nsqd::start(&[]);
        nsqd.create_channel("t", "c");
        let (producer, counters) = producer(&nsqd, ConnectionSettings { compression, ..Default::default() });
        producer.publish(&topic(), b"one", LONG).await.unwrap();
        producer.publish_many(&topic(), &["two", "three"], LONG).await.unwrap();
        let large = testkit::body::body(1, 1_000_000);
        producer.publish(&topic(), &large, LONG).await.unwrap();
        producer.publish_deferred(&topic(), Duration::from_millis(700), b"later", LONG).await.unwrap();
        nsqd.wait_channel("t", "c", |channel| channel.deferred == 1);
        let mut bodies = consume_all(&nsqd, 5).await;
        bodies.sort();
        let mut expected =
            [b"one".to_vec(), b"two".to_vec(), b"three".to_vec(), b"later".to_vec(), large.to_vec()];
        expected.sort();
        assert!(bodies == expected);
        assert_eq!(counters.published.get(), 4);
        producer.stop(LONG).await;
    })
    .await;
}

#[tokio::test]
async fn every_kind_of_publish_arrives_in_clear() {
    every_kind_of_publish_arrives(Compression::None).await;
}

#[tokio::test]
async fn every_kind_of_publish_arrives_through_snappy() {
    every_kind_of_publish_arrives(Compression::Snappy).await;
}

#[tokio::test]
async fn every_kind_of_publish_arrives_through_deflate() {
    every_kind_of_publish_arrives(Compression::Deflate { level: 6 }).await;
}

#[tokio::test]
async fn many_at_once_over_one_connection() {
    local(async {
        let nsqd = Nsqd::start(&[]);
        nsqd.create_channel("t", "c");
        let (producer, counters) = producer(&nsqd, ConnectionSettings::default());
        let publish = |task: u32| {
            let producer = producer.clone();
            spawn_local(async move {
                for i in 0..1_000_u32 {
                    let body = format!("{task} {i}");
                    producer.publish(&topic(), body.as_bytes(), LONG).await.unwrap();
                }
            })
        };
        for task in (0..20).map(publish).collect::<Vec<_>>() {
            task.await.unwrap();
        }
        assert_eq!((counters.published.get(), counters.connects.get()), (20_000, 1));
        nsqd.wait_channel("t", "c", |channel| channel.messages == 20_000);
    })
    .await;
}

#[tokio::test]
async fn a_refusal_is_its_own_requests_alone() {
    local(async {
        let nsqd = Nsqd::start(&["--max-msg-size=1000"]);
        nsqd.create_channel("t", "c");
        let (producer, counters) = producer(&nsqd, ConnectionSettings::default());
        let publish = |i: usize| {
            let producer = producer.clone();
            // Every tenth is too large.
            let body = vec![b'x'; if i % 10 == 5 { 1_001 } else { 1_000 }];
            spawn_local(async move { producer.publish(&topic(), &body, LONG).await })
        };
        let published: Vec<_> = (0..100).map(publish).collect();
        for (i, task) in published.into_iter().enumerate() {
            match (i % 10, task.await.unwrap()) {
                (5, Err(PublishError::Refused(error))) => assert_eq!(error.code, ErrorCode::BadMessage),
                (5, other) => panic!("{other:?}"),
                (_, result) => result.unwrap(),
            }
        }
        assert_eq!(
            (counters.published.get(), counters.refused.get(), counters.outcome_unknown.get()),
            (90, 10, 0)
        );
        // Sent again, and yet none is there twice.
        nsqd.wait_channel("t", "c", |channel| channel.messages >= 90);
        sleep(Duration::from_millis(200)).await;
        assert_eq!(nsqd.channel("t", "c").messages, 90);
        assert!(counters.resent.get() > 0);
    })
    .await;
}

#[tokio::test]
async fn an_nsqd_that_stands_still_gets_no_ok_credited_to_another_request() {
    local(async {
        let nsqd = Nsqd::start(&[]);
        nsqd.create_channel("t", "c");
        let (producer, counters) = producer(&nsqd, ConnectionSettings::default());
        producer.publish(&topic(), b"before", LONG).await.unwrap();
        nsqd.daemon.freeze();
        let begun = Instant::now();
        let accepted = Rc::new(RefCell::new(HashSet::new()));
        let publish = |body: String, deadline| {
            let (producer, accepted) = (producer.clone(), Rc::clone(&accepted));
            spawn_local(async move {
                let published = producer.publish(&topic(), body.as_bytes(), deadline).await;
                if published.is_ok() {
                    assert!(accepted.borrow_mut().insert(body.into_bytes()));
                }
                published
            })
        };
        let out: Vec<_> = (0..100).map(|i| publish(format!("frozen {i}"), Duration::from_secs(1))).collect();
        for one in out {
            let error = one.await.unwrap().unwrap_err();
            let unknown = matches!(error, PublishError::OutcomeUnknown(OutcomeUnknown::Deadline));
            assert!(unknown, "{error}");
        }
        let ended = begun.elapsed();
        assert!((1_000..1_500).contains(&ended.as_millis()), "{ended:?}");
        // These wait for a connection that IDENTIFY does not get through; half of them give up before nsqd goes on.
        let short: Vec<_> =
            (0..50).map(|i| publish(format!("short {i}"), Duration::from_millis(500))).collect();
        let patient: Vec<_> = (0..50).map(|i| publish(format!("patient {i}"), LONG)).collect();
        sleep(Duration::from_secs(3).saturating_sub(begun.elapsed())).await;
        nsqd.daemon.thaw();
        for one in short {
            let error = one.await.unwrap().unwrap_err();
            assert!(matches!(error, PublishError::NotSent(NotSent::NotConnected)), "{error}");
        }
        for one in patient {
            one.await.unwrap().unwrap();
        }
        for i in 0..100 {
            publish(format!("after {i}"), LONG).await.unwrap().unwrap();
        }
        accepted.borrow_mut().insert(b"before".to_vec());
        let bodies: HashSet<_> = {
            let least = accepted.borrow().len();
            consume_all(&nsqd, least).await.into_iter().collect()
        };
        assert!(accepted.borrow().is_subset(&bodies), "an OK whose message is not there");
        assert!(
            !bodies.iter().any(|body| body.starts_with(b"short")),
            "a message that was not sent is there"
        );
        assert_eq!((counters.published.get(), counters.outcome_unknown.get()), (151, 100));
    })
    .await;
}

#[tokio::test]
async fn an_nsqd_that_is_killed_and_comes_back() {
    local(async {
        let mut nsqd = Nsqd::start(&["--mem-queue-size=0", "--sync-every=1"]);
        nsqd.create_channel("t", "c");
        let (producer, counters) = producer(&nsqd, ConnectionSettings::default());
        producer.publish(&topic(), b"before", LONG).await.unwrap();
        // On its way from topic to channel nsqd holds a message in memory only.
        nsqd.wait_channel("t", "c", |channel| channel.depth == 1);
        nsqd.daemon.kill9();
        // Until the producer knows: before that it would send, and not know the outcome.
        sleep(Duration::from_millis(100)).await;
        let waiting = {
            let producer = producer.clone();
            spawn_local(async move { producer.publish(&topic(), b"waiting", LONG).await })
        };
        sleep(Duration::from_millis(500)).await;
        nsqd.daemon.start();
        waiting.await.unwrap().unwrap();
        assert_eq!((counters.connects.get(), counters.published.get()), (2, 2));
        let mut bodies = consume_all(&nsqd, 2).await;
        bodies.sort();
        assert_eq!(bodies, [b"before".to_vec(), b"waiting".to_vec()]);
    })
    .await;
}
