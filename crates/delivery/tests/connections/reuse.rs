//! One connection for as many requests as the answers allow.

use std::time::Duration;

use bytes::Bytes;
use delivery::{CloseReason, Request, Target};
use testkit::body::body;
use testkit::endpoint::{Answer, Endpoint, EndpointOptions, Script, Step, TlsOptions};

use crate::support::{
    MS, assert_delivered, close_and_balance, lane, on_idle, pair, post, post_head, post_many, post_serial,
    settings_for, start,
};

/// 1,000 posts one after the other on one connection.
fn on_one_connection(answer: Answer, count: u64) {
    for peer in [Endpoint::http(answer.clone()), Endpoint::https(answer)] {
        lane(async {
            let endpoint = pair(&peer);
            post_many(&endpoint, count, 1).await;
            let counts = endpoint.counters().snapshot();
            assert_eq!((counts.dials, counts.open, counts.idle, counts.requests), (1, 1, 1, count));
            close_and_balance(&endpoint).await;
            assert_eq!(
                endpoint.counters().snapshot().requests_per_connection.min_max(),
                Some((count, count))
            );
        });
        let counts = peer.counts();
        assert_eq!((counts.accepted, counts.requests, counts.pipelined), (1, count, 0));
        peer.ledger().assert_exactly_once(0..count);
    }
}

#[test]
fn an_answer_in_one_packet() {
    on_one_connection(Answer::ok(), 1_000);
}

#[test]
fn four_chunks_in_one_packet() {
    on_one_connection(Answer::chunked(4), 1_000);
}

#[test]
fn head_and_body_apart() {
    on_one_connection(Answer::split(5 * MS), 100);
}

#[test]
fn an_answer_of_32_kib() {
    on_one_connection(Answer::with_body(32 * 1024), 1_000);
}

#[test]
fn trailers() {
    on_one_connection(Answer::trailers(), 1_000);
}

#[test]
fn no_content() {
    on_one_connection(Answer::no_content(), 1_000);
}

#[test]
fn interim_answers_before_the_final_one() {
    on_one_connection(Answer::after_1xx(), 100);
}

#[test]
fn an_answer_that_drips_in() {
    let bytes = "Transfer-Encoding: chunked\r\n\r\n2;x=y\r\nok\r\n0\r\nA: b\r\n\r\n";
    let start = Step::Send("HTTP/1.1 200 OK\r\n".into());
    on_one_connection(Answer::steps([Step::ReadBody, start, Step::Drip(bytes.into(), Duration::ZERO)]), 20);
}

#[test]
fn connection_close_on_every_tenth_answer() {
    let peer = Endpoint::http(Script::every(10, Answer::ok().closing(), Answer::ok()));
    lane(async {
        let endpoint = pair(&peer);
        post_many(&endpoint, 1_000, 1).await;
        let counts = endpoint.counters().snapshot();
        assert_eq!((counts.dials, counts.unsent_resends, counts.stale_resends), (100, 0, 0));
        assert_eq!(counts.closed(CloseReason::AnswerClose), 100);
        close_and_balance(&endpoint).await;
    });
    assert_eq!((peer.counts().accepted, peer.counts().requests), (100, 1_000));
}

#[test]
fn every_way_in_which_an_answer_ends_its_connection() {
    let raw = |head: &str| Answer::raw(format!("{head}\r\n\r\nok")).then(Step::Close);
    let cases = [
        (raw("HTTP/1.1 200 OK\r\nConnection: x, Close\r\nContent-Length: 2"), CloseReason::AnswerClose),
        (raw("HTTP/1.1 200 OK"), CloseReason::AnswerFraming),
        (raw("HTTP/1.0 200 OK\r\nContent-Length: 2"), CloseReason::Http10),
        (raw("HTTP/1.1 200 OK\r\nContent-Length: 1"), CloseReason::StrayBytes),
        (raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked"), CloseReason::BadBody),
    ];
    for (answer, reason) in cases {
        let peer = Endpoint::https(answer);
        lane(async {
            let endpoint = pair(&peer);
            post_many(&endpoint, 3, 1).await;
            let counts = endpoint.counters().snapshot();
            assert_eq!((counts.dials, counts.closed(reason)), (3, 3), "{reason:?}: {counts:#?}");
            close_and_balance(&endpoint).await;
        });
    }
}

#[test]
fn http_1_0_with_keep_alive_is_reused() {
    on_one_connection(
        Answer::raw("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok"),
        10,
    );
}

#[test]
fn bad_answers_are_retried_and_cost_the_connection() {
    for bytes in ["HTTP/1.1 200 OK\r\nContent-Length: 1, 2\r\n\r\n", "<html>", "HTTP/1.1 101 X\r\n\r\n"] {
        let peer = Endpoint::http(Answer::raw(bytes).then(Step::Hang));
        lane(async {
            let endpoint = pair(&peer);
            let outcome = post_serial(&endpoint, 1).await;
            assert!(matches!(outcome.cause, Some(delivery::Cause::BadAnswer(_))), "{bytes}: {outcome:?}");
            assert!(outcome.bytes_taken);
            assert_eq!(endpoint.counters().closed(CloseReason::BadAnswer), 1);
            close_and_balance(&endpoint).await;
        });
    }
}

#[test]
fn as_many_connections_as_requests_at_once() {
    let peer = Endpoint::https(Script::ok_between(Duration::ZERO, 3 * MS));
    lane(async {
        let mut settings = settings_for(&peer);
        settings.concurrency = 100;
        let endpoint = start(&settings);
        post_many(&endpoint, 10_000, 100).await;
        close_and_balance(&endpoint).await;
        let (ours, theirs) = (endpoint.counters().snapshot(), peer.counts());
        assert!(theirs.accepted <= 100, "{theirs:?}");
        assert_eq!(
            (ours.dials, ours.connects, ours.opened),
            (theirs.accepted, theirs.accepted, theirs.accepted)
        );
        assert_eq!(ours.handshakes_full + ours.handshakes_resumed, theirs.handshakes());
        assert_eq!(ours.handshakes_resumed, theirs.handshakes_resumed);
        assert_eq!((ours.requests, theirs.requests), (10_000, 10_000));
        assert!(
            ours.handshake_wall_us > 0 && ours.handshake_cpu_us > 0 && ours.dial_us.count() == ours.opened
        );
    });
    peer.ledger().assert_exactly_once(0..10_000);
}

#[test]
fn more_requests_than_connections_share_them_in_order() {
    let peer = Endpoint::http(Script::ok_between(Duration::ZERO, MS));
    lane(async {
        let mut settings = settings_for(&peer);
        settings.concurrency = 3;
        let endpoint = start(&settings);
        post_many(&endpoint, 2_000, 40).await;
        close_and_balance(&endpoint).await;
    });
    assert_eq!(peer.counts().accepted, 3);
    peer.ledger().assert_exactly_once(0..2_000);
}

#[test]
fn large_bodies_to_a_server_that_answers_first() {
    for https in [false, true] {
        let answer = Answer::ok().before_body();
        let peer = if https { Endpoint::https(answer) } else { Endpoint::http(answer) };
        lane(async {
            let mut settings = settings_for(&peer);
            settings.socket.send_buffer_bytes = Some(43_520);
            let endpoint = start(&settings);
            for serial in 0..200 {
                let len = if serial % 2 == 0 { 256 << 10 } else { 1 << 20 };
                assert_delivered(&post(&endpoint, &body(serial, len)).await);
            }
            close_and_balance(&endpoint).await;
            assert_eq!(endpoint.counters().snapshot().opened, 1, "{:#?}", endpoint.counters().snapshot());
        });
        assert_eq!(peer.wait(|counts| counts.bodies == 200).accepted, 1);
        peer.ledger().assert_exactly_once(0..200);
    }
}

#[test]
fn tickets_after_the_handshake_and_on_idle_connections_are_absorbed() {
    let mut options = EndpointOptions::new(Answer::ok());
    let mut tls = TlsOptions::new(&testkit::certs::Authority::new());
    tls.tickets_after = Some(50 * MS);
    options.tls = Some(tls);
    let peer = Endpoint::start(options);
    lane(async {
        let endpoint = pair(&peer);
        for round in 0..100 {
            post_many(&endpoint, 10, 1).await;
            match round % 4 {
                0 => on_idle(&peer, 1, &[Step::Tickets(2), Step::KeyUpdate(true)]),
                1 => on_idle(&peer, 1, &[Step::KeyUpdate(true), Step::Tickets(1)]),
                2 => tokio::time::sleep(2 * MS).await,
                _ => std::thread::sleep(2 * MS),
            }
        }
        let counts = endpoint.counters().snapshot();
        assert_eq!((counts.dials, counts.closes.iter().sum::<u64>()), (1, 0));
        close_and_balance(&endpoint).await;
    });
    let counts = peer.counts();
    assert_eq!((counts.accepted, counts.requests), (1, 1_000));
    assert_eq!(counts.fired("key_update"), 50);
    assert_eq!(counts.key_updates_received, 50, "each one is answered");
}

/// A record of TLS 1.3 adds 22 bytes: 5 of head, 16 of tag, 1 of type.
#[test]
fn a_small_request_is_one_record_whatever_its_pieces() {
    let peer = Endpoint::https(Answer::ok());
    lane(async {
        let endpoint = pair(&peer);
        post_serial(&endpoint, 0).await;
        for pieces in [1, 7, 31, 32, 200] {
            let whole = body(1, 14_000);
            let pieces: Vec<Bytes> = whole.chunks(14_000 / pieces).map(Bytes::copy_from_slice).collect();
            let before = endpoint.counters().bytes_sent.get();
            let posted = post_head(&endpoint, &pieces).await;
            assert_delivered(&posted.outcome);
            posted.tail.await;
            let head = peer.requests().last().unwrap().head.len as u64;
            assert_eq!(endpoint.counters().bytes_sent.get() - before, head + 14_000 + 22);
        }
    });
}

#[test]
fn the_head_is_complete_and_nothing_more() {
    let peer = Endpoint::http(Answer::ok());
    lane(async {
        let mut settings = settings_for(&peer);
        settings.headers.add("X-Static", "yes").unwrap();
        let endpoint = start(&settings);
        post_serial(&endpoint, 0).await;
    });
    let head = &peer.requests()[0].head;
    let names: Vec<_> = head.fields.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["Host", "Content-Type", "User-Agent", "X-Static", "X-Id", "Content-Length"]);
    assert_eq!((head.method.as_str(), head.target.as_str()), ("POST", "/hook"));
}

#[test]
fn redirects_are_never_followed() {
    let peer = Endpoint::http(Script::new(|_| Answer::status(307).header("Location", "/elsewhere")));
    lane(async {
        let endpoint = pair(&peer);
        let outcome = post_serial(&endpoint, 0).await;
        assert_eq!((outcome.verdict, outcome.status), (delivery::Verdict::Retry, Some(307)));
    });
    assert_eq!(peer.counts().requests, 1);
}

#[test]
fn a_target_of_its_own_goes_over_the_same_connection() {
    let peer = Endpoint::http(Answer::ok());
    lane(async {
        let endpoint = pair(&peer);
        let target = Target::new("/other?x=1").unwrap();
        let body = [Bytes::from_static(b"x")];
        for target in [None, Some(&target), None] {
            let request = Request {
                target,
                head_lines: b"",
                body: &body,
                body_len: 1,
                idempotent: true,
                is_wanted: &|| true,
            };
            let posted = endpoint.post(&request).await;
            posted.tail.await;
            assert_delivered(&posted.outcome);
        }
        close_and_balance(&endpoint).await;
    });
    let targets: Vec<_> = peer.requests().into_iter().map(|request| request.head.target).collect();
    assert_eq!(targets, ["/hook", "/other?x=1", "/hook"]);
    assert_eq!(peer.counts().accepted, 1);
}
