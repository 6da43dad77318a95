//! A large backlog on three channels: memory, disk, and the time of a start, on the real disk.
//!
//! Three processes, so that each one's memory is its own: one fills the queue and is killed, one starts and consumes,
//! one starts with what is left. `POSTHASTE_FULL=1` asks for 5,000,000 messages; the figures are printed.

use std::process::Command;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use broker::queue::Subscription;
use broker::{Client, Disk, Queue, Settings};
use bytes::Bytes;
use tokio::task::LocalSet;
use tokio::time::Instant;
use wire::{ChannelName, TopicName};

const PHASE: &str = "BACKLOG_PHASE";
const DIRECTORY: &str = "BACKLOG_DIRECTORY";
const CHANNELS: [&str; 3] = ["a", "b", "c"];
const BODY_BYTES: usize = 1024;
const MEMORY_MAX: u64 = 64 << 20;
const START_MAX: Duration = Duration::from_secs(5);

fn messages() -> u64 {
    if std::env::var_os("POSTHASTE_FULL").is_some_and(|value| value != "0") { 5_000_000 } else { 300_000 }
}

fn settings(directory: &str) -> Settings {
    Settings {
        data_path: directory.into(),
        max_msg_timeout: Duration::from_secs(36_000),
        ..Settings::default()
    }
}

/// Resident memory of this process, bytes.
fn memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux has it");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("Linux has it");
    let kib: u64 = line.split_whitespace().nth(1).and_then(|text| text.parse().ok()).expect("a number");
    kib * 1024
}

/// What files in a directory take on disk.
fn disk_used(directory: &str) -> u64 {
    let entries = std::fs::read_dir(directory).expect("it is there");
    entries.map(|entry| entry.expect("it is there").metadata().expect("it is there").len()).sum()
}

fn subscribe(queue: &Queue, name: &str, id: u64) -> Subscription {
    let client = Client::new(id, "127.0.0.1:1".to_owned(), 0, Duration::from_secs(3_600));
    let (topic, channel) = (TopicName::new("t").expect("valid"), ChannelName::new(name).expect("valid"));
    let mut subscription = queue.subscribe(&topic, &channel, Rc::new(client)).expect("there is room");
    subscription.set_ready(2_500);
    subscription
}

fn take(subscription: &mut Subscription) -> Option<broker::queue::Handed> {
    match subscription.poll_next(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(handed) => handed,
        Poll::Pending => None,
    }
}

async fn fill(queue: Queue, empty: u64, directory: &str) {
    let topic = TopicName::new("t").expect("valid");
    let mut subscriptions: Vec<_> =
        (0..).zip(CHANNELS).map(|(id, name)| subscribe(&queue, name, id)).collect();
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
    println!("memory, untouched backlog: {} MiB", (memory().saturating_sub(empty)) >> 20);
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
    let grown = memory().saturating_sub(empty);
    let ratio = disk_used(directory) as f64 / (messages() * BODY_BYTES as u64) as f64;
    println!("memory, a tenth finished: {} MiB; disk {ratio:.3} x payload", grown >> 20);
    assert!(grown <= MEMORY_MAX, "{} MiB", grown >> 20);
    assert!(ratio <= 1.1, "{ratio:.3} x payload on disk");
    std::process::abort();
}

async fn consume(queue: Queue, directory: &str) {
    let mut left: Vec<_> = (0..).zip(CHANNELS).map(|(id, name)| subscribe(&queue, name, id)).collect();
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

/// One process's part.
fn act(phase: &str, directory: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    LocalSet::new().block_on(&runtime, async {
        let empty = memory();
        let began = Instant::now();
        let (queue, recovery) = Queue::open(Arc::new(Disk), &settings(directory)).expect("it opens");
        let took = began.elapsed();
        println!(
            "{phase}: started in {took:.2?}, {} messages, {} records",
            recovery.messages, recovery.journal.records
        );
        assert!(took < START_MAX, "a start took {took:.2?}");
        tokio::task::spawn_local(queue.clone().run());
        match phase {
            "fill" => fill(queue, empty, directory).await,
            "consume" => {
                tokio::time::sleep(Duration::from_millis(500)).await;
                let grown = memory().saturating_sub(empty);
                println!("memory behind a start: {} MiB", grown >> 20);
                assert!(grown <= MEMORY_MAX, "{} MiB", grown >> 20);
                consume(queue, directory).await;
            }
            _ => assert_eq!((recovery.messages, recovery.channels), (0, 3)),
        }
    });
}

#[test]
fn a_backlog_costs_little_memory_and_a_start_little_time() {
    if let (Ok(phase), Ok(directory)) = (std::env::var(PHASE), std::env::var(DIRECTORY)) {
        return act(&phase, &directory);
    }
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    for phase in ["fill", "consume", "empty"] {
        let mut command = Command::new(std::env::current_exe().expect("this test"));
        command.args(["--exact", "a_backlog_costs_little_memory_and_a_start_little_time", "--nocapture"]);
        let output = command.env(PHASE, phase).env(DIRECTORY, directory.path()).output().expect("it runs");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let said = text + &String::from_utf8_lossy(&output.stderr);
        print!("{said}");
        // Who fills ends by a kill, with the last thing that it does.
        let ended_well = if phase == "fill" {
            said.contains("x payload") && !said.contains("panicked")
        } else {
            output.status.success()
        };
        assert!(ended_well, "{phase}: {said}");
    }
}
