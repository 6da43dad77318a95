//! kill -9 under load, again and again: what was acknowledged is delivered, and little of it twice.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use testkit::body::{Verdict, body, judge};
use testkit::process::Nsqd;

use super::talk::Talk;
use crate::rig;

const TOPIC: &str = "events";
const CHANNELS: [&str; 2] = ["a", "b"];
const PUBLISHERS: u64 = 4;
/// Of the one consumer of each channel.
const RDY: u32 = 50;

/// What publishers were promised, and what consumers got.
#[derive(Default)]
struct Books {
    /// Serials with an OK.
    acknowledged: Mutex<Vec<u64>>,
    /// How often each serial came, by channel.
    came: [Mutex<HashMap<u64, u32>>; 2],
    next_serial: AtomicU64,
    published: AtomicBool,
    consumed: AtomicBool,
}

/// Runs `work` with connection after connection until it comes to its own end: a kill ends it with an error each time.
fn again_and_again(work: impl Fn() -> io::Result<()> + Send + 'static) -> JoinHandle<()> {
    std::thread::spawn(move || {
        let begun = Instant::now();
        while work().is_err() {
            assert!(begun.elapsed() < Duration::from_secs(600), "no end");
            std::thread::sleep(Duration::from_millis(2));
        }
    })
}

fn publish(books: &Books, address: SocketAddr) -> io::Result<()> {
    let mut talk = Talk::to(address)?;
    while !books.published.load(Ordering::Relaxed) {
        let serial = books.next_serial.fetch_add(1, Ordering::Relaxed);
        talk.publish(TOPIC, &body(serial, 200))?;
        books.acknowledged.lock().expect("no panic").push(serial);
    }
    Ok(())
}

fn consume(books: &Books, address: SocketAddr, channel: usize) -> io::Result<()> {
    let mut talk = Talk::subscribed(address, TOPIC, CHANNELS[channel], RDY)?;
    talk.patience(Duration::from_millis(100));
    while !books.consumed.load(Ordering::Relaxed) {
        let (head, bytes) = match talk.message() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            message => message?,
        };
        let verdict = judge(&bytes);
        let Verdict::Whole(serial) = verdict else { panic!("a wrong body: {verdict:?}") };
        *books.came[channel].lock().expect("no panic").entry(serial).or_default() += 1;
        talk.finish(head.id);
        talk.send()?;
    }
    Ok(())
}

#[test]
fn what_was_acknowledged_survives_kill_9() {
    let kills: u32 = if rig::is_full() { 1_000 } else { 50 };
    let mut broker = Nsqd::posthaste(&[]);
    CHANNELS.iter().for_each(|channel| broker.create_channel(TOPIC, channel));
    let books = Arc::<Books>::default();
    let address = broker.tcp_address();
    let publishers: Vec<_> = (0..PUBLISHERS)
        .map(|_| Arc::clone(&books))
        .map(|books| again_and_again(move || publish(&books, address)))
        .collect();
    let consumers: Vec<_> = (0..CHANNELS.len())
        .map(|channel| (channel, Arc::clone(&books)))
        .map(|(channel, books)| again_and_again(move || consume(&books, address, channel)))
        .collect();

    let slowest = kill_again_and_again(&mut broker, kills);
    books.published.store(true, Ordering::Relaxed);
    publishers.into_iter().for_each(|thread| thread.join().expect("no panic"));
    let acknowledged = std::mem::take(&mut *books.acknowledged.lock().expect("no panic"));
    assert!(acknowledged.len() > 10 * kills as usize, "only {} were acknowledged", acknowledged.len());
    let stopped = Instant::now();
    while !missing(&books, &acknowledged).is_empty() && stopped.elapsed() < Duration::from_secs(20) {
        std::thread::sleep(Duration::from_millis(20));
    }
    books.consumed.store(true, Ordering::Relaxed);
    consumers.into_iter().for_each(|thread| thread.join().expect("no panic"));

    let lost = missing(&books, &acknowledged);
    assert!(lost.is_empty(), "{} of {} are lost: {lost:?}", lost.len(), acknowledged.len());
    for came in &books.came {
        let twice: u64 = came.lock().expect("no panic").values().map(|times| u64::from(times - 1)).sum();
        let allowed = u64::from(kills * RDY);
        eprintln!("{} acknowledged, {twice} duplicates of {allowed} allowed", acknowledged.len());
        assert!(twice <= allowed, "{twice} duplicates on one channel after {kills} kills");
    }
    eprintln!("serving again after {slowest:?} at most");
    assert!(slowest <= Duration::from_secs(1), "serving again after {slowest:?}");
}

/// How long it took at most from a kill to an answer.
fn kill_again_and_again(broker: &mut Nsqd, kills: u32) -> Duration {
    let mut slowest = Duration::ZERO;
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    for _ in 0..kills {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        std::thread::sleep(Duration::from_millis(20 + random % 150));
        broker.daemon.kill9();
        let killed = Instant::now();
        broker.daemon.start();
        slowest = slowest.max(killed.elapsed());
    }
    slowest
}

/// What was acknowledged and has not come, by channel.
fn missing(books: &Books, acknowledged: &[u64]) -> Vec<(usize, u64)> {
    let mut missing = Vec::new();
    for (channel, came) in books.came.iter().enumerate() {
        let came = came.lock().expect("no panic");
        missing.extend(
            acknowledged.iter().filter(|serial| !came.contains_key(serial)).map(|serial| (channel, *serial)),
        );
    }
    missing
}
