//! What a message costs: user CPU of the consumer's thread for receiving and finishing it.
//! `cargo run --release -p client --example consume_cost`

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use client::{Consumer, ConsumerCounters, ConsumerSettings, Settled, Source};
use wire::frame::{write_message, write_response};
use wire::{MessageHead, MessageId};

use tokio::task::LocalSet;

const MESSAGES: u64 = 2_000_000;
const IN_FLIGHT: u64 = 125;

/// As an nsqd at full speed: as many messages as RDY and the FINs so far allow, many in one write.
fn serve(mut tcp: TcpStream) {
    let mut input = vec![0; 1 << 16];
    let mut answer = Vec::new();
    write_response(&mut answer, br#"{"max_rdy_count":2500,"msg_timeout":60000}"#);
    for wanted in ["IDENTIFY", "SUB", "RDY"] {
        loop {
            let read = tcp.read(&mut input).expect("the client is there");
            assert!(read > 0);
            if String::from_utf8_lossy(&input[..read]).contains(wanted) {
                break;
            }
        }
        tcp.write_all(&answer).expect("the client is there");
        answer.clear();
        if wanted == "IDENTIFY" {
            write_response(&mut answer, b"OK");
        }
    }
    // Each FIN has one F: ids are lower case, and no other command that comes here has one.
    let (mut sent, mut finished, mut out) = (0_u64, 0_u64, Vec::new());
    while sent < MESSAGES {
        out.clear();
        // A start of 12, as the consumer begins: its RDYs are few and not counted here.
        let window = if finished < 1_000 { 10 } else { IN_FLIGHT };
        while sent < MESSAGES && sent < finished + window {
            let mut id = *b"0000000000000000";
            id[8..].copy_from_slice(format!("{:08x}", sent as u32).as_bytes());
            write_message(
                &mut out,
                &MessageHead { timestamp_ns: 1, attempts: 1, id: MessageId(id) },
                &[b'x'; 1024],
            );
            sent += 1;
        }
        if !out.is_empty() {
            tcp.write_all(&out).expect("the client is there");
        }
        let read = tcp.read(&mut input).expect("the client is there");
        finished += input[..read].iter().filter(|byte| **byte == b'F').count() as u64;
    }
    while tcp.read(&mut input).is_ok_and(|read| read > 0) {}
}

/// User and system CPU of this thread, in ticks of 10 ms.
fn ticks() -> (u64, u64) {
    let stat = std::fs::read_to_string("/proc/thread-self/stat").expect("Linux");
    let fields: Vec<u64> =
        stat.rsplit(')').next().expect("a name").split(' ').map(|f| f.parse().unwrap_or(0)).collect();
    (fields[12], fields[13])
}

fn main() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it is bound").to_string();
    std::thread::spawn(move || {
        let (tcp, _) = listener.accept().expect("the client comes");
        tcp.set_nodelay(true).expect("a TCP socket");
        serve(tcp);
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    LocalSet::new().block_on(&runtime, async move {
        let (topic, channel) = ("events".parse().expect("a name"), "cost".parse().expect("a name"));
        let mut settings = ConsumerSettings::new(topic, channel, Source::Nsqds(vec![address]));
        settings.max_in_flight = IN_FLIGHT as u32;
        let counters = Arc::new(ConsumerCounters::default());
        let consumer =
            Consumer::start(settings, Arc::clone(&counters), |event| println!("{event}")).expect("settings");
        let began = (ticks(), tokio::time::Instant::now());
        for _ in 0..MESSAGES {
            let delivery = consumer.recv().await.expect("it runs");
            assert_eq!(delivery.finish(), Settled::Sent);
        }
        let (ended, wall) = (ticks(), began.1.elapsed());
        let each = |ticks: u64| ticks as f64 * 10_000.0 / MESSAGES as f64;
        println!(
            "user {:.3} µs, system {:.3} µs a message; {:.0} messages a second; {:?}",
            each(ended.0 - began.0.0),
            each(ended.1 - began.0.1),
            MESSAGES as f64 / wall.as_secs_f64(),
            counters.snapshot()
        );
        consumer.stop(Duration::ZERO).await;
    });
}
