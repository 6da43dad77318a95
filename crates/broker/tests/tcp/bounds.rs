//! What a connection may hold, and what becomes of it when it ends: where the broker does more than nsqd.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use broker::Settings;
use wire::{Command, Frame};

use crate::script::{Act, Both, alone, converse, mpub, publish, say};
use crate::served::{Served, settings};

fn pipelined(count: usize, body: &[u8]) -> Vec<u8> {
    let mut bytes = b"  V2".to_vec();
    (0..count).for_each(|_| Command::Pub { topic: "t", body }.write(&mut bytes));
    bytes
}

fn oks(stream: &mut impl Read, count: usize) {
    let mut received = Vec::new();
    for _ in 0..count {
        loop {
            if let Some((frame, used)) = Frame::parse(&received).expect("frames") {
                assert_eq!(frame, Frame::Response(b"OK"));
                received.drain(..used);
                break;
            }
            let mut more = [0; 65_536];
            let read = stream.read(&mut more).expect("an answer in time");
            assert_ne!(read, 0, "it closed");
            received.extend_from_slice(&more[..read]);
        }
    }
    assert_eq!(received, b"");
}

fn connect(broker: &Served) -> TcpStream {
    let stream = TcpStream::connect(broker.tcp()).expect("it listens");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a socket option");
    stream
}

/// More than may wait in a connection, sent without reading a single answer.
#[test]
fn publishes_that_nobody_waits_for_are_all_answered_in_the_end() {
    let set =
        Settings { connection_pending_replies_max: 10, connection_pending_bytes_max: 5_000, ..settings() };
    let broker = Served::start(set);
    for (count, body) in [(5_000, &[7; 10][..]), (300, &[7; 4_000]), (40, &[7; 200_000])] {
        let mut stream = connect(&broker);
        let mut writer = stream.try_clone().expect("a second handle");
        let bytes = pipelined(count, body);
        let writing = std::thread::spawn(move || writer.write_all(&bytes));
        oks(&mut stream, count);
        writing.join().expect("no panic").expect("it reads");
    }
}

/// Its half ended, a client still gets all the answers, and then the end.
#[test]
fn an_end_behind_publishes_confirms_them() {
    let broker = Served::start(settings());
    let mut stream = connect(&broker);
    stream.write_all(&pipelined(3_000, b"x")).expect("it reads");
    stream.shutdown(std::net::Shutdown::Write).expect("it is open");
    oks(&mut stream, 3_000);
    assert_eq!(stream.read(&mut [0]).expect("an end"), 0);
}

/// nsqd lets such a message wait until its time is up.
#[test]
fn what_was_in_flight_to_a_connection_that_ends_is_ready_at_once() {
    let broker = Served::start(settings());
    let begun = Instant::now();
    let transcript = converse(
        broker.tcp(),
        &[
            (0, say("SUB t c\nRDY 1\nPUB t\n\0\0\0\x01x")),
            (0, Act::Hear(3)),
            (1, say("SUB t c\nRDY 1\n")),
            (1, Act::Hear(1)),
            (0, Act::Half),
            (0, Act::End),
            (1, Act::Hear(1)),
        ],
    );
    assert!(transcript.ends_with("1 message #0 attempt 2 x\n"), "{transcript}");
    assert!(begun.elapsed() < Duration::from_secs(10), "not after its time-out");
}

/// nsqd closes its socket over the client's unread bytes, and the reset may overtake the error.
#[test]
fn a_refused_client_reads_why_whatever_it_still_sends() {
    let broker = Served::start(settings());
    for _ in 0..20 {
        let mut stream = connect(&broker);
        stream
            .write_all(&[b"  V2PUB t\n\0\x20\0\0".as_slice(), &[7; 500_000]].concat())
            .expect("it reads on");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).expect("no reset");
        let frame = Frame::parse(&answer).expect("a frame").expect("a whole one").0;
        assert_eq!(frame, Frame::Error(b"E_BAD_MESSAGE PUB message too big 2097152 > 1048576"));
    }
}

#[test]
fn a_client_that_says_nothing_for_two_heartbeats_is_closed() {
    let broker = Served::start(settings());
    let begun = Instant::now();
    let identify = Command::Identify { body: br#"{"heartbeat_interval":1000}"# };
    let mut bytes = Vec::new();
    identify.write(&mut bytes);
    let transcript = converse(broker.tcp(), &alone([say(bytes), Act::End]));
    assert!(transcript.starts_with("0 response OK\n0 response _heartbeat_\n"), "{transcript}");
    let lasted = begun.elapsed();
    assert!((1_900..3_500).contains(&lasted.as_millis()), "{lasted:?}");
}

/// What it began to say is answered, as by nsqd. Whether a last heartbeat comes before that is a race there.
#[test]
fn a_client_that_falls_silent_within_a_command_is_told_what_is_missing() {
    let both = Both::plain();
    let mut bytes = Vec::new();
    Command::Identify { body: br#"{"heartbeat_interval":1000}"# }.write(&mut bytes);
    for cut in [&b"PUB t\n\0\0\0\x05ab"[..], b"PUB t\n\0", b"MPUB t\n\0\0\0\x09\0\0\0\x01"] {
        let steps = alone([say([&bytes, cut].concat()), Act::End]);
        let told = |address| {
            let transcript = converse(address, &steps);
            transcript.lines().filter(|line| !line.contains("_heartbeat_")).map(str::to_owned).collect()
        };
        let (ours, theirs): (Vec<_>, Vec<_>) = (told(both.broker.tcp()), told(both.nsqd.tcp_address()));
        assert_eq!(ours, theirs);
        assert!(ours[1].starts_with("0 error E_BAD_"), "{ours:?}");
    }
}

/// A client that takes nothing: its messages must not be held for ever.
#[test]
fn a_client_that_does_not_read_is_closed_after_a_heartbeat() {
    let broker = Served::start(settings());
    let mut producer = connect(&broker);
    producer.write_all(&pipelined(200, &[7; 100_000])).expect("it reads");
    oks(&mut producer, 200);
    let mut deaf = connect(&broker);
    let mut bytes = b"  V2".to_vec();
    Command::Identify { body: br#"{"heartbeat_interval":1000}"# }.write(&mut bytes);
    bytes.extend_from_slice(b"SUB t c\nRDY 2500\n");
    deaf.write_all(&bytes).expect("it reads");
    let begun = Instant::now();
    // It goes on saying that it is there, without ever reading.
    while deaf.write_all(b"NOP\n").is_ok() {
        assert!(begun.elapsed() < Duration::from_secs(20), "it is still served");
        std::thread::sleep(Duration::from_millis(100));
    }
    let transcript = converse(broker.tcp(), &alone([say("SUB t c\nRDY 1\n"), Act::Hear(2)]));
    assert!(transcript.contains("attempt"), "{transcript}");
}

#[test]
fn a_sampled_client_gets_about_as_many_as_it_asked_for() {
    let broker = Served::start(settings());
    let mut stream = connect(&broker);
    stream.write_all(&pipelined(2_000, b"x")).expect("it reads");
    oks(&mut stream, 2_000);
    let mut consumer = connect(&broker);
    let mut bytes = b"  V2".to_vec();
    Command::Identify { body: br#"{"sample_rate":25,"feature_negotiation":false}"# }.write(&mut bytes);
    bytes.extend_from_slice(b"SUB t c\nRDY 2500\n");
    consumer.write_all(&bytes).expect("it reads");
    let (mut received, mut messages) = (Vec::new(), 0);
    while messages < 400 {
        let mut more = [0; 65_536];
        let read = consumer.read(&mut more).expect("messages in time");
        received.extend_from_slice(&more[..read]);
        while let Some((frame, used)) = Frame::parse(&received).expect("frames") {
            messages += usize::from(matches!(frame, Frame::Message { .. }));
            received.drain(..used);
        }
    }
    consumer.set_read_timeout(Some(Duration::from_millis(500))).expect("a socket option");
    while let Ok(read @ 1..) = consumer.read(&mut [0; 65_536]) {
        messages += read / 35;
    }
    assert!((400..600).contains(&messages), "{messages} of 2,000 at 25 %");
}

/// Every bound, and every command that publishes: refused whole, told under the command's own code, and the connection closes.
#[test]
fn beyond_a_bound_every_publish_is_refused_under_its_own_code() {
    let bounded = |set: fn(&mut Settings)| {
        let mut bounded = settings();
        set(&mut bounded);
        bounded
    };
    for (set, what) in [
        (bounded(|set| set.messages_max = 2), "2 messages"),
        (bounded(|set| set.topic_messages_max = 2), "2 messages of the topic"),
        (bounded(|set| set.bytes_max = 20), "20 bytes"),
        (bounded(|set| set.topic_bytes_max = 20), "20 bytes of the topic"),
    ] {
        let of_topic = what.ends_with("of the topic");
        let broker = Served::start(set);
        let ten = "0123456789";
        let beyond = |act: Act, code: &str, command: &str| {
            let told = format!("0 error {code} {command} failed the queue is full: {what}\n0 end\n");
            assert_eq!(converse(broker.tcp(), &alone([act, Act::End])), told);
        };
        beyond(mpub("t", &[ten, ten, ten]), "E_MPUB_FAILED", "MPUB");
        let fits = converse(broker.tcp(), &alone([mpub("t", &[ten, ten]), Act::Hear(1)]));
        assert_eq!(fits, "0 response OK\n", "nothing of the refused one was kept");
        beyond(publish("t", ten), "E_PUB_FAILED", "PUB");
        beyond(say(format!("DPUB t 5\n\0\0\0\x0a{ten}")), "E_DPUB_FAILED", "DPUB");
        if of_topic {
            let other = converse(broker.tcp(), &alone([publish("other", ten), Act::Hear(1)]));
            assert_eq!(other, "0 response OK\n");
        } else {
            beyond(publish("other", ten), "E_PUB_FAILED", "PUB");
        }
    }
}
