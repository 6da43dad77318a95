//! Sending a request again: once, on a connection dialled for it, within the same deadline.

use std::future::{Future, poll_fn};
use std::task::Poll;

use delivery::{Cause, CloseReason, Endpoint as Ours, Outcome, Request, Verdict};
use testkit::body::body;
use testkit::endpoint::{Answer, Endpoint, Script, Step};

use crate::support::{
    assert_delivered, begin, close_and_balance, lane, pair, post_many, post_serial, settings_for, start,
};

async fn post_without_id(endpoint: &Ours, serial: u64) -> Outcome {
    let body = [body(serial, 1024)];
    let posted = endpoint
        .post(&Request {
            target: None,
            head_lines: b"",
            body: &body,
            body_len: 1024,
            idempotent: false,
            is_wanted: &|| true,
        })
        .await;
    posted.tail.await;
    posted.outcome
}

/// Every connection's first request is answered, its second one meets `end`.
fn ends_when_reused(end: Vec<Step>) -> Script {
    Script::new(move |head| if head.on_connection == 0 { Answer::ok() } else { Answer::steps(end.clone()) })
}

#[test]
fn a_reused_connection_that_ends_before_the_answer_costs_one_resend() {
    let ends = [
        vec![Step::ReadBody, Step::Fin],
        vec![Step::ReadBody, Step::Reset],
        vec![Step::ReadBody, Step::CloseNotify],
    ];
    for end in ends {
        let peer = Endpoint::https(ends_when_reused(end));
        lane(async {
            let endpoint = pair(&peer);
            post_many(&endpoint, 20, 1).await;
            let counts = endpoint.counters().snapshot();
            assert_eq!((counts.stale_resends, counts.dials, counts.unsent_resends), (19, 20, 0));
            close_and_balance(&endpoint).await;
        });
    }
}

#[test]
fn a_server_restarted_under_a_hundred_idle_connections() {
    let gate = testkit::Gate::new();
    let peer = Endpoint::https(Answer::ok().at_gate(&gate));
    lane(async {
        let mut settings = settings_for(&peer);
        settings.concurrency = 100;
        let endpoint = start(&settings);
        let warm_up = async {
            peer.until(|counts| counts.requests == 100).await;
            gate.open();
        };
        tokio::join!(post_many(&endpoint, 100, 100), warm_up);
        assert_eq!(peer.reset_on_next_use(), 100);
        post_many(&endpoint, 100, 100).await;
        let counts = endpoint.counters().snapshot();
        assert_eq!((counts.stale_resends, counts.unsent_resends), (100, 0), "{counts:#?}");
        assert_eq!(peer.counts().fired("reset_on_next_use"), 100);
        close_and_balance(&endpoint).await;
    });
}

#[test]
fn nothing_is_resent_without_an_id_or_against_the_setting() {
    let peer = Endpoint::http(ends_when_reused(vec![Step::ReadBody, Step::Reset]));
    lane(async {
        let endpoint = pair(&peer);
        assert_delivered(&post_without_id(&endpoint, 0).await);
        let outcome = post_without_id(&endpoint, 1).await;
        assert_eq!((outcome.verdict, outcome.cause), (Verdict::Retry, Some(Cause::Reset)));
        let mut settings = settings_for(&peer);
        settings.idempotent = false;
        let endpoint = start(&settings);
        assert_delivered(&post_serial(&endpoint, 2).await);
        assert_eq!(post_serial(&endpoint, 3).await.verdict, Verdict::Retry);
        assert_eq!(endpoint.counters().stale_resends.get(), 0);
    });
}

#[test]
fn a_new_connection_that_ends_is_a_failure_and_no_resend() {
    let peer = Endpoint::http(Answer::steps([Step::ReadBody, Step::Fin]));
    lane(async {
        let endpoint = pair(&peer);
        let outcome = post_serial(&endpoint, 0).await;
        assert_eq!(outcome.cause, Some(Cause::ClosedBeforeAnswer));
        assert!(outcome.bytes_taken);
        assert_eq!((endpoint.counters().dials.get(), endpoint.counters().requests.get()), (1, 1));
        close_and_balance(&endpoint).await;
    });
}

#[test]
fn a_resend_is_never_resent() {
    let peer = Endpoint::http(Script::new(|head| match head.serial {
        0 => Answer::ok(),
        _ => Answer::steps([Step::ReadBody, Step::Reset]),
    }));
    lane(async {
        let endpoint = pair(&peer);
        assert_delivered(&post_serial(&endpoint, 0).await);
        assert_eq!(post_serial(&endpoint, 1).await.cause, Some(Cause::Reset));
        assert_eq!(endpoint.counters().stale_resends.get(), 1);
        close_and_balance(&endpoint).await;
    });
    assert_eq!(peer.counts().requests, 3);
}

#[test]
fn a_byte_of_the_answer_rules_a_resend_out() {
    let peer =
        Endpoint::http(ends_when_reused(vec![Step::ReadBody, Step::Send("HTTP/1.1 2".into()), Step::Fin]));
    lane(async {
        let endpoint = pair(&peer);
        assert_delivered(&post_serial(&endpoint, 0).await);
        let outcome = post_serial(&endpoint, 1).await;
        assert!(matches!(outcome.cause, Some(Cause::BadAnswer(_))), "{outcome:?}");
        assert_eq!(endpoint.counters().stale_resends.get(), 0);
        close_and_balance(&endpoint).await;
    });
}

#[test]
fn a_408_with_close_on_a_reused_connection_is_an_idle_close() {
    let timed_out = Answer::status(408).header("Connection", "close").then(Step::Close);
    let peer = Endpoint::http(Script::new(move |head| {
        if head.on_connection == 0 && head.connection < 5 { Answer::ok() } else { timed_out.clone() }
    }));
    lane(async {
        let endpoint = pair(&peer);
        for serial in 0..5 {
            assert_delivered(&post_serial(&endpoint, serial).await);
        }
        assert_eq!(endpoint.counters().stale_resends.get(), 4);
        // The next one goes to a new connection in the end, and a 408 there is an answer.
        assert_eq!(post_serial(&endpoint, 5).await.status, Some(408));
        assert_eq!(endpoint.counters().stale_resends.get(), 5);
        close_and_balance(&endpoint).await;
    });
}

/// A reset that arrives within the millisecond after a check-in is seen only by the write.
#[test]
fn a_request_of_which_nothing_was_taken_is_sent_again_even_without_an_id() {
    let peer = Endpoint::http(Answer::ok());
    lane(async {
        let endpoint = pair(&peer);
        for round in 0..500 {
            assert_delivered(&post_without_id(&endpoint, round).await);
            peer.on_idle([Step::Reset]); // not always in time
            assert_delivered(&post_without_id(&endpoint, round).await);
            if endpoint.counters().unsent_resends.get() >= 3 {
                assert_eq!(endpoint.counters().stale_resends.get(), 0);
                return close_and_balance(&endpoint).await;
            }
        }
        panic!("never hit: {:#?}", endpoint.counters().snapshot());
    });
}

/// The one that was reset waits for a dial; the other one waits longer and gets that dial. Its connection, idle at last,
/// stands in the way of the next dial.
#[test]
fn at_the_limit_a_resend_takes_the_place_of_an_idle_connection() {
    let peer = Endpoint::http(Script::new(|head| match (head.connection, head.on_connection) {
        (0, 1) => Answer::steps([Step::ReadBody, Step::Reset]),
        _ => Answer::ok(),
    }));
    lane(async {
        let mut settings = settings_for(&peer);
        settings.concurrency = 1;
        let endpoint = start(&settings);
        assert_delivered(&post_serial(&endpoint, 0).await);
        let (reset, waits) = tokio::join!(post_serial(&endpoint, 1), post_serial(&endpoint, 2));
        assert_delivered(&reset);
        assert_delivered(&waits);
        let counts = endpoint.counters().snapshot();
        assert_eq!((counts.stale_resends, counts.dials, counts.closed(CloseReason::MadeRoom)), (1, 3, 1));
        close_and_balance(&endpoint).await;
    });
}

/// A request that its connection's end cuts off while, or before, the endpoint is closed has been posted: it goes on.
#[test]
fn a_resend_outlives_the_close_of_the_endpoint() {
    for closes_first in [true, false] {
        let gate = testkit::Gate::new();
        let end = Answer::steps([Step::ReadBody, Step::Gate(gate.clone()), Step::Reset]);
        let peer = Endpoint::https(Script::new(move |head| match (head.connection, head.on_connection) {
            (0, 1) => end.clone(),
            _ => Answer::ok(),
        }));
        lane(async {
            let endpoint = pair(&peer);
            assert_delivered(&post_serial(&endpoint, 0).await);
            let mut post = Box::pin(post_serial(&endpoint, 1));
            begin(&mut post).await;
            gate.until_arrived(1).await;
            if closes_first {
                endpoint.close();
                gate.open();
            } else {
                gate.open();
                let counters = endpoint.counters();
                poll_fn(|cx| {
                    assert!(post.as_mut().poll(cx).is_pending(), "it waits for its dial");
                    if counters.waiting.get() == 1 { Poll::Ready(()) } else { Poll::Pending }
                })
                .await;
                endpoint.close();
            }
            assert_delivered(&post.await);
            let counts = endpoint.counters().snapshot();
            assert_eq!((counts.stale_resends, counts.dials, counts.dials_aborted), (1, 2, 0));
            assert_eq!(post_serial(&endpoint, 2).await.cause, Some(Cause::Shutdown));
            close_and_balance(&endpoint).await;
        });
        assert_eq!(peer.counts().requests, 3);
    }
}
