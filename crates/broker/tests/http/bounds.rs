//! What is bounded, and what one is told beyond it.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::raw::{do_post, get, post, read_answer};
use crate::served::{Served, settings};

#[test]
fn a_full_queue_says_so_and_takes_publishes_again_when_there_is_room() {
    let broker = Served::start(broker::Settings { messages_max: 3, ..settings() });
    let http = broker.http();
    do_post(http, "/pub?topic=t", b"one");
    do_post(http, "/channel/create?topic=t&channel=c", b"");
    for (target, body) in [("/mpub?topic=t", &b"two\nthree\nfour"[..]), ("/mpub?topic=new", b"a\nb\nc")] {
        let answer = post(http, target, body);
        assert_eq!((answer.code(), &*answer.body), (503, r#"{"message":"QUEUE_FULL"}"#), "refused whole");
    }
    do_post(http, "/mpub?topic=t", b"two\nthree");
    assert_eq!(post(http, "/pub?topic=t", b"four").code(), 503);
    let ping = get(http, "/ping");
    assert_eq!(ping.code(), 500);
    assert!(ping.body.starts_with("NOK - "), "{}", ping.body);
    assert!(get(http, "/stats?format=json").body.contains(r#""health":"NOK - "#));
    do_post(http, "/channel/empty?topic=t&channel=c", b"");
    do_post(http, "/pub?topic=t", b"four");
    assert_eq!(get(http, "/ping").body, "OK");
}

#[test]
fn connections_beyond_the_bound_are_closed_at_once() {
    let broker = Served::start(broker::Settings { connections_max: 2, ..settings() });
    let mut kept: Vec<TcpStream> = Vec::new();
    for address in [broker.http(), broker.tcp()] {
        kept.push(TcpStream::connect(address).expect("it listens"));
    }
    let begun = Instant::now();
    while broker.connections().open < 2 {
        assert!(begun.elapsed() < testkit::PATIENCE);
    }
    let mut third = TcpStream::connect(broker.http()).expect("the kernel takes it");
    third.set_read_timeout(Some(Duration::from_secs(10))).expect("a socket option");
    assert_eq!(third.read(&mut [0]).unwrap_or(0), 0);
    assert_eq!(broker.connections().refused, 1);
    drop(kept.pop());
    while broker.connections().open > 1 {
        assert!(begun.elapsed() < testkit::PATIENCE);
    }
    kept[0].write_all(b"GET /ping HTTP/1.1\r\nHost: x\r\n\r\n").expect("it reads");
    assert_eq!(read_answer(&mut kept[0], false).body, "OK");
    assert_eq!(get(broker.http(), "/ping").code(), 200);
}

#[test]
fn a_body_that_stands_still_does_not_hold_up_others() {
    let broker = Served::start(settings());
    let mut slow = TcpStream::connect(broker.http()).expect("it listens");
    slow.write_all(b"POST /pub?topic=t HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nhalf")
        .expect("it reads");
    do_post(broker.http(), "/pub?topic=t", b"whole");
    drop(slow);
    do_post(broker.http(), "/pub?topic=t", b"whole");
    assert!(get(broker.http(), "/stats?format=json").body.contains(r#""message_count":2"#));
}

#[test]
fn one_connection_carries_many_requests_and_waits_for_a_100() {
    let broker = Served::start(settings());
    let mut stream = TcpStream::connect(broker.http()).expect("it listens");
    stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a socket option");
    for _ in 0..3 {
        stream
            .write_all(b"GET /ping HTTP/1.1\r\nHost: x\r\n\r\nGET /ping HTTP/1.1\r\nHost: x\r\n\r\n")
            .expect("it reads");
        assert_eq!(read_answer_exactly(&mut stream), "OK");
        assert_eq!(read_answer_exactly(&mut stream), "OK");
    }
    let head = b"POST /pub?topic=t HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n";
    stream.write_all(head).expect("it reads");
    let mut goes_on = [0; 25];
    stream.read_exact(&mut goes_on).expect("it asks for the body");
    assert_eq!(&goes_on, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(b"x").expect("it reads");
    assert_eq!(read_answer_exactly(&mut stream), "OK");
}

/// Byte by byte, so that nothing of the next answer is taken.
fn read_answer_exactly(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("an answer");
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).expect("ASCII");
    let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: ")).expect("a length");
    let mut body = vec![0; length.parse().expect("a number")];
    stream.read_exact(&mut body).expect("a body");
    String::from_utf8(body).expect("text")
}

/// A body in chunks does not say how long it is, so there must be room for the longest.
#[test]
fn bodies_that_trickle_do_not_hold_up_a_short_one() {
    let broker = Served::start(settings());
    let chunk = [b"10000\r\n".as_slice(), &[b'x'; 0x10000], b"\r\n"].concat();
    let mut slow = Vec::new();
    for _ in 0..14 {
        let mut stream = TcpStream::connect(broker.http()).expect("it listens");
        stream
            .write_all(
                b"POST /mpub?topic=t HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n",
            )
            .expect("it reads");
        slow.push(stream);
    }
    let in_time = || {
        let begun = Instant::now();
        do_post(broker.http(), "/pub?topic=t", b"ten bytes.");
        assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    };
    in_time();
    // Now they have shown that they are long.
    slow.iter_mut().for_each(|stream| stream.write_all(&chunk).expect("it reads"));
    in_time();
}
