//! One deadline over everything.

use std::time::{Duration, Instant};

use bytes::Bytes;
use delivery::{Cause, CloseReason, EndpointSettings, Outcome, Phase};
use testkit::endpoint::{Accept, Answer, Endpoint, EndpointOptions, Step, TlsOptions};

use crate::support::{MS, assert_delivered, close_and_balance, lane, post_serial, settings_for, start};

fn timed(
    peer: &Endpoint,
    change: impl FnOnce(&mut EndpointSettings),
) -> (Outcome, Duration, Option<CloseReason>) {
    let mut settings = settings_for(peer);
    settings.request_timeout = 300 * MS;
    settings.connect_timeout = 300 * MS;
    change(&mut settings);
    lane(async {
        let endpoint = start(&settings);
        let started = Instant::now();
        let outcome = post_serial(&endpoint, 1).await;
        let elapsed = started.elapsed();
        let closed = CloseReason::ALL.into_iter().find(|reason| endpoint.counters().closed(*reason) > 0);
        close_and_balance(&endpoint).await;
        (outcome, elapsed, closed)
    })
}

#[track_caller]
fn assert_deadline(peer: &Endpoint, phase: Phase, change: impl FnOnce(&mut EndpointSettings)) {
    let (outcome, elapsed, _) = timed(peer, change);
    assert_eq!(outcome.cause, Some(Cause::Deadline(phase)));
    assert!((290 * MS..400 * MS).contains(&elapsed), "{elapsed:?}");
}

#[test]
fn no_answer() {
    assert_deadline(&Endpoint::https(Answer::never()), Phase::Head, |_| {});
}

#[test]
fn heads_that_drip_in_for_ever() {
    let drip = Bytes::from("HTTP/1.1 200 OK\r\n".to_owned() + &"X-Slow: 1\r\n".repeat(100));
    assert_deadline(
        &Endpoint::http(Answer::steps([Step::ReadBody, Step::Drip(drip, 10 * MS)])),
        Phase::Head,
        |_| {},
    );
    let interim = Bytes::from("HTTP/1.1 102 Processing\r\n\r\n".repeat(100));
    assert_deadline(
        &Endpoint::http(Answer::steps([Step::ReadBody, Step::Drip(interim, 2 * MS)])),
        Phase::Head,
        |_| {},
    );
}

#[test]
fn a_flood_of_interim_heads_ends_before_the_deadline() {
    let interim = Bytes::from("HTTP/1.1 102 Processing\r\n\r\n".repeat(1_000));
    let peer = Endpoint::http(Answer::steps([Step::ReadBody, Step::Repeat(interim, None)]));
    let (outcome, elapsed, closed) = timed(&peer, |_| {});
    assert!(matches!(outcome.cause, Some(Cause::BadAnswer(_))), "{outcome:?}");
    assert!(elapsed < 250 * MS && closed == Some(CloseReason::BadAnswer), "{elapsed:?} {closed:?}");
}

#[test]
fn a_peer_that_stops_reading() {
    let peer = Endpoint::http(Answer::steps([Step::Freeze]));
    let mut settings = settings_for(&peer);
    settings.request_timeout = 300 * MS;
    settings.connect_timeout = 300 * MS;
    settings.socket.send_buffer_bytes = Some(20_000);
    lane(async {
        let endpoint = start(&settings);
        let outcome = crate::support::post(&endpoint, &testkit::body::body(1, 8 << 20)).await;
        assert_eq!(outcome.cause, Some(Cause::Deadline(Phase::Write)));
        assert!(outcome.bytes_taken);
        close_and_balance(&endpoint).await;
    });
}

#[test]
fn a_handshake_that_stalls() {
    let authority = testkit::certs::Authority::new();
    let options = EndpointOptions::new(Answer::ok()).tls(TlsOptions::new(&authority));
    let peer = Endpoint::start(options.accept(|_| Accept::FreezeAfterFirstBytes));
    assert_deadline(&peer, Phase::Handshake, |settings| settings.request_timeout = 5_000 * MS);
}

#[test]
fn waiting_for_a_place() {
    let gate = testkit::Gate::new();
    let peer = Endpoint::http(Answer::ok().at_gate(&gate));
    lane(async {
        let mut settings = settings_for(&peer);
        settings.concurrency = 1;
        settings.request_timeout = 1_000 * MS;
        settings.connect_timeout = 300 * MS;
        let endpoint = start(&settings);
        let first = post_serial(&endpoint, 1);
        let second = async {
            peer.until(|counts| counts.requests == 1).await;
            // Only the second one is short of time.
            let waits = tokio::time::timeout(300 * MS, post_serial(&endpoint, 2)).await;
            assert!(waits.is_err(), "it still waits");
            assert_eq!(endpoint.counters().waiting.get(), 0, "and left no trace");
            post_serial(&endpoint, 3).await
        };
        let (first, second) = tokio::join!(first, second);
        assert_eq!(first.cause, Some(Cause::Deadline(Phase::Head)));
        // The third came when the first one's time was nearly up, and got its own connection after that.
        assert_eq!(second.cause, Some(Cause::Deadline(Phase::Head)), "{second:?}");
        gate.open();
        assert_delivered(&post_serial(&endpoint, 4).await);
        close_and_balance(&endpoint).await;
    });
}

#[test]
fn a_queue_that_does_not_move() {
    let peer = Endpoint::http(Answer::no_end());
    lane(async {
        let mut settings = settings_for(&peer);
        settings.concurrency = 1;
        settings.request_timeout = 300 * MS;
        let endpoint = start(&settings);
        let first = crate::support::post_head(&endpoint, &[Bytes::from_static(b"holds the place")]).await;
        assert!(!first.tail.is_done());
        let outcome = post_serial(&endpoint, 2).await;
        assert_eq!(outcome.cause, Some(Cause::Deadline(Phase::Place)));
        assert!(!outcome.bytes_taken);
        drop(first.tail);
        close_and_balance(&endpoint).await;
    });
}

/// The timer of a connection is set once and left alone; a request that is short of time must not wait for it.
#[test]
fn an_earlier_deadline_than_the_last_ones_is_kept() {
    let peer = Endpoint::http(testkit::endpoint::Script::sequence(vec![Answer::ok(), Answer::never()]));
    lane(async {
        let mut settings = settings_for(&peer);
        settings.request_timeout = 400 * MS;
        settings.connect_timeout = 400 * MS;
        let endpoint = start(&settings);
        assert_delivered(&post_serial(&endpoint, 1).await);
        tokio::time::sleep(300 * MS).await;
        let started = Instant::now();
        let outcome = post_serial(&endpoint, 2).await;
        assert_eq!(outcome.cause, Some(Cause::Deadline(Phase::Head)));
        let elapsed = started.elapsed();
        assert!((390 * MS..500 * MS).contains(&elapsed), "not at the first one's deadline: {elapsed:?}");
        close_and_balance(&endpoint).await;
    });
}
