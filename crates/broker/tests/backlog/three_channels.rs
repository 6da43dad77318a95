//! A backlog on three channels, a tenth of it finished at random, and a kill.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;
use wire::TopicName;

use super::{Part, in_processes, is_full, subscribe, take};

const CHANNELS: [&str; 3] = ["a", "b", "c"];
const BODY_BYTES: usize = 1024;
const MEMORY_MAX: u64 = 64 << 20;

fn messages() -> u64 {
    if is_full() { 5_000_000 } else { 300_000 }
}

/// What files in a directory take on disk.
fn disk_used(directory: &str) -> u64 {
    let entries = std::fs::read_dir(directory).expect("it is there");
    entries.map(|entry| entry.expect("it is there").metadata().expect("it is there").len()).sum()
}

async fn fill(part: &Part) {
    let queue = &part.queue;
    let topic = TopicName::new("t").expect("valid");
    let mut subscriptions: Vec<_> =
        (0..).zip(CHANNELS).map(|(id, name)| subscribe(queue, name, id)).collect();
    let began = Instant::now();
    for batch in 0..messages() / 200 {
        let body = |at: u64| {
            let mut body = vec![b'x'; BODY_BYTES];
            body[..8].copy_from_slice(&(batch * 200 + at).to_le_bytes());
            Bytes::from(body)
        };
        let bodies: Vec<Bytes> = (0..200).map(body).collect();
        let commit = queue.publish(&topic, &bodies, Duration::ZERO).expect("there is room");
        queue.committed(commit).await.expect("it is stored");
    }
    println!("published: {:.0}/s", messages() as f64 / began.elapsed().as_secs_f64());
    println!("memory, untouched backlog: {} MiB", part.grown() >> 20);
    let began = Instant::now();
    for (channel, subscription) in subscriptions.iter_mut().enumerate() {
        for at in 0..messages() {
            let Some(handed) = take(subscription) else { break };
            // A number that looks random, and is the same in every run.
            if (at + channel as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32 & 0xff < 26 {
                subscription.finish(handed.head.id).expect("in flight");
            } else {
                subscription.requeue(handed.head.id, Duration::ZERO).expect("in flight");
            }
            if at % 1_000 == 0 {
                tokio::task::yield_now().await;
            }
        }
    }
    println!("handed out and settled: {:.0}/s", 3.0 * messages() as f64 / began.elapsed().as_secs_f64());
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    let grown = part.grown();
    let ratio = disk_used(&part.directory) as f64 / (messages() * BODY_BYTES as u64) as f64;
    println!("memory, a tenth finished: {} MiB; disk {ratio:.3} x payload", grown >> 20);
    assert!(grown <= MEMORY_MAX, "{} MiB", grown >> 20);
    assert!(ratio <= 1.1, "{ratio:.3} x payload on disk");
    part.die();
}

async fn consume(part: &Part) {
    let (queue, directory) = (&part.queue, &part.directory);
    let mut left: Vec<_> = (0..).zip(CHANNELS).map(|(id, name)| subscribe(queue, name, id)).collect();
    let began = Instant::now();
    let mut came = 0_u64;
    for subscription in &mut left {
        while let Some(handed) = take(subscription) {
            assert_eq!(handed.body.len(), BODY_BYTES);
            subscription.finish(handed.head.id).expect("in flight");
            came += 1;
            if came.is_multiple_of(1_000) {
                tokio::task::yield_now().await;
            }
        }
    }
    println!("consumed {came}: {:.0}/s", came as f64 / began.elapsed().as_secs_f64());
    assert!(came >= messages() * 3 * 8 / 10 && came <= messages() * 3 * 95 / 100, "{came} came");
    assert_eq!(queue.counters().messages, 0);
    for _ in 0..100 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        if disk_used(directory) < 64 << 20 {
            break;
        }
    }
    println!("disk when all is consumed: {} MiB", disk_used(directory) >> 20);
    assert!(disk_used(directory) < 64 << 20);
    queue.close().await.expect("the disk is well");
}

#[test]
fn a_backlog_costs_little_memory_and_a_start_little_time() {
    let test = "three_channels::a_backlog_costs_little_memory_and_a_start_little_time";
    in_processes(test, &["fill", "consume", "empty"], async |part| {
        if part.is("fill") {
            fill(&part).await;
        } else if part.is("consume") {
            tokio::time::sleep(Duration::from_millis(500)).await;
            println!("memory behind a start: {} MiB", part.grown() >> 20);
            assert!(part.grown() <= MEMORY_MAX, "{} MiB", part.grown() >> 20);
            consume(&part).await;
        } else {
            assert_eq!((part.recovery.messages, part.recovery.channels), (0, 3));
        }
    });
}
