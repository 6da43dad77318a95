//! The rest of an answer once its outcome is known.

use std::time::Instant;

use delivery::CloseReason;
use testkit::endpoint::{Answer, Endpoint, Step};

use crate::support::{MS, assert_delivered, close_and_balance, lane, pair, post_head, settings_for, start};

#[test]
fn answers_without_an_end_cost_the_connection_and_a_second_at_most() {
    let answers = [
        ("1 GiB", Answer::huge(1 << 30)),
        ("endless chunks", Answer::endless_chunks()),
        ("endless until close", Answer::endless_body()),
        ("no end", Answer::no_end()),
    ];
    for (name, answer) in answers {
        let peer = Endpoint::https(answer);
        lane(async {
            let endpoint = pair(&peer);
            let posted = post_head(&endpoint, &[testkit::body::body(1, 1024)]).await;
            let at_head = Instant::now();
            assert_delivered(&posted.outcome);
            posted.tail.await;
            let elapsed = at_head.elapsed();
            assert!(elapsed < 1_100 * MS, "{name}: {elapsed:?}");
            assert_eq!(endpoint.counters().closed(CloseReason::Undrained), 1, "{name}");
            assert!(endpoint.counters().bytes_received.get() < 200_000, "{name}");
            close_and_balance(&endpoint).await;
        });
    }
}

#[test]
fn the_outcome_is_known_at_the_head_and_the_connection_stays_with_its_tail() {
    let gate = testkit::Gate::new();
    let head = "HTTP/1.1 503 X\r\nRetry-After: 7\r\nContent-Length: 2\r\n\r\n";
    let steps = [Step::ReadBody, Step::Send(head.into()), Step::Gate(gate.clone()), Step::Send("ok".into())];
    let peer = Endpoint::http(Answer::steps(steps));
    lane(async {
        let endpoint = pair(&peer);
        let posted = post_head(&endpoint, &[testkit::body::body(1, 1024)]).await;
        assert_eq!(posted.outcome.status, Some(503));
        assert_eq!(posted.outcome.retry_after, Some(7_000 * MS));
        assert!(!posted.tail.is_done());
        assert_eq!((endpoint.counters().open.get(), endpoint.counters().idle.get()), (1, 0));
        gate.open();
        posted.tail.await;
        assert_eq!((endpoint.counters().open.get(), endpoint.counters().idle.get()), (1, 1));
        close_and_balance(&endpoint).await;
    });
}

#[test]
fn a_dropped_tail_closes_its_connection() {
    let peer = Endpoint::http(Answer::split(10_000 * MS));
    lane(async {
        let endpoint = pair(&peer);
        let posted = post_head(&endpoint, &[testkit::body::body(1, 1024)]).await;
        assert!(!posted.tail.is_done());
        drop(posted.tail);
        assert_eq!(endpoint.counters().open.get(), 0);
        assert_eq!(endpoint.counters().closed(CloseReason::Cancelled), 1);
        close_and_balance(&endpoint).await;
    });
}

#[test]
fn a_body_that_is_cut_short_changes_no_outcome() {
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok";
    for (last, reason) in [(Step::Fin, CloseReason::PeerFin), (Step::Reset, CloseReason::PeerReset)] {
        let peer = Endpoint::http(Answer::steps([
            Step::ReadBody,
            Step::Send(head.into()),
            Step::Sleep(20 * MS),
            last,
        ]));
        lane(async {
            let endpoint = pair(&peer);
            let posted = post_head(&endpoint, &[testkit::body::body(1, 1024)]).await;
            assert_delivered(&posted.outcome);
            posted.tail.await;
            assert_eq!(endpoint.counters().closed(reason), 1);
            close_and_balance(&endpoint).await;
        });
    }
}

#[test]
fn the_drain_limits_are_settings() {
    let peer = Endpoint::http(Answer::with_body(100_000));
    lane(async {
        let mut settings = settings_for(&peer);
        settings.drain_bytes_max = 200_000;
        let endpoint = start(&settings);
        crate::support::post_many(&endpoint, 20, 1).await;
        assert_eq!(endpoint.counters().dials.get(), 1);
        settings.drain_bytes_max = 50_000;
        let endpoint = start(&settings);
        crate::support::post_many(&endpoint, 20, 1).await;
        assert_eq!(endpoint.counters().closed(CloseReason::Undrained), 20);
    });
}

#[test]
fn closing_the_endpoint_lets_requests_finish_and_refuses_new_ones() {
    let gate = testkit::Gate::new();
    let peer = Endpoint::https(Answer::ok().at_gate(&gate));
    lane(async {
        let endpoint = pair(&peer);
        let running = crate::support::post_serial(&endpoint, 1);
        let closing = async {
            peer.until(|counts| counts.requests == 1).await;
            endpoint.close();
            let refused = crate::support::post_serial(&endpoint, 2).await;
            assert_eq!(refused.cause, Some(delivery::Cause::Shutdown));
            gate.open();
        };
        let (outcome, ()) = tokio::join!(running, closing);
        assert_delivered(&outcome);
        close_and_balance(&endpoint).await;
        assert_eq!(endpoint.counters().closed(CloseReason::Shutdown), 1);
    });
    // The TLS goodbye came before the FIN.
    peer.wait(|counts| counts.open == 0);
    let ended = peer.connections()[0].ended.map(|(_, end)| end);
    assert_eq!(ended, Some(testkit::endpoint::End::PeerFin { close_notify: true }));
}
