//! Many messages deferred by DPUB and REQ, and many large ones in flight, through a kill.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use wire::TopicName;

use super::{Part, in_processes, is_full, subscribe, take};

const HOUR: Duration = Duration::from_secs(3_600);
const MEMORY_MAX: u64 = 128 << 20;
/// Of those whose time is waited for.
const SOON: Duration = Duration::from_secs(8);
const ALLOWED_MS: u64 = 1_000;

fn deferred() -> u64 {
    if is_full() { 1_000_000 } else { 100_000 }
}

/// Consumers that hold 2,500 messages of 64 KiB each.
fn holders() -> u64 {
    if is_full() { 10 } else { 2 }
}

fn now_ms() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis())
        .expect("for long")
}

async fn publish(part: &Part, topic: &str, count: u64, body: Vec<u8>, defer: Duration) {
    let topic = TopicName::new(topic).expect("valid");
    let body = Bytes::from(body);
    let mut left = count;
    while left > 0 {
        let some = left.min(if body.len() > 1_000 { 50 } else { 1_000 });
        left -= some;
        let bodies = vec![body.clone(); usize::try_from(some).expect("a few")];
        let commit = part.queue.publish(&topic, &bodies, defer).expect("there is room");
        part.queue.committed(commit).await.expect("it is stored");
    }
}

async fn fill(part: &Part) {
    let mut a = subscribe(&part.queue, "a", 0);
    publish(part, "t", deferred() / 2, b"dpub".to_vec(), HOUR).await;
    publish(part, "t", deferred() / 2, b"req".to_vec(), Duration::ZERO).await;
    let mut requeued = 0;
    while let Some(handed) = take(&mut a) {
        a.requeue(handed.head.id, HOUR).expect("in flight");
        requeued += 1;
    }
    assert_eq!(requeued, deferred() / 2);
    println!("memory, deferred: {} MiB", part.grown() >> 20);
    a.set_ready(0);
    publish(part, "t", holders() * 2_500, vec![b'x'; 64 << 10], Duration::ZERO).await;
    let mut subscriptions: Vec<_> = (1..=holders()).map(|id| subscribe(&part.queue, "a", id)).collect();
    for subscription in &mut subscriptions {
        assert_eq!(std::iter::from_fn(|| take(subscription)).count(), 2_500);
    }
    println!("memory, deferred and in flight: {} MiB", part.grown() >> 20);
    assert!(part.grown() <= MEMORY_MAX, "{} MiB", part.grown() >> 20);
    let due_ms = now_ms() + u64::try_from(SOON.as_millis()).expect("small");
    publish(part, "t", 100, format!("due {due_ms}").into_bytes(), SOON).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    part.die();
}

async fn wait(part: &Part) {
    let stats = part.queue.stats(None, None);
    let channel = &stats[0].channels[0];
    println!("memory behind a start: {} MiB", part.grown() >> 20);
    assert!(part.grown() <= MEMORY_MAX, "{} MiB", part.grown() >> 20);
    assert_eq!((channel.depth, channel.deferred_count), (holders() * 2_500, deferred() + 100));
    let mut a = subscribe(&part.queue, "a", 0);
    let mut soon = 0;
    while soon < 100 {
        tokio::time::sleep(Duration::from_millis(20)).await;
        while let Some(handed) = take(&mut a) {
            let body = std::str::from_utf8(&handed.body).expect("text");
            if let Some(due_ms) = body.strip_prefix("due ") {
                let late = now_ms().abs_diff(due_ms.parse().expect("a number"));
                assert!(late <= ALLOWED_MS, "{late} ms off");
                soon += 1;
            }
            a.finish(handed.head.id).expect("in flight");
        }
    }
    assert_eq!(part.queue.stats(None, None)[0].channels[0].deferred_count, deferred());
}

#[test]
fn deferred_messages_cost_little_and_keep_their_time() {
    let test = "deferred::deferred_messages_cost_little_and_keep_their_time";
    in_processes(test, &["fill", "wait"], async |part| {
        if part.is("fill") { fill(&part).await } else { wait(&part).await }
    });
}
