//! Answers that come while the request is still being written.

use delivery::{Cause, CloseReason, Outcome, Verdict};
use testkit::body::body;
use testkit::endpoint::{Answer, Endpoint, Step};

use crate::support::{MS, close_and_balance, lane, post, settings_for, start};

/// Posts 8 MiB through a small buffer to a peer with this answer: the outcome, and why the connection was closed.
fn early(answer: Answer) -> (Outcome, Option<CloseReason>) {
    let peer = Endpoint::https(answer);
    lane(async {
        let mut settings = settings_for(&peer);
        settings.socket.send_buffer_bytes = Some(40_000);
        settings.request_timeout = 2_000 * MS;
        let endpoint = start(&settings);
        let outcome = post(&endpoint, &body(1, 8 << 20)).await;
        let closed = CloseReason::ALL.into_iter().find(|reason| endpoint.counters().closed(*reason) > 0);
        close_and_balance(&endpoint).await;
        assert_eq!(endpoint.counters().dials.get(), 1);
        (outcome, closed)
    })
}

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const OK_CLOSE: &str = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok";
const TOO_LARGE: &str = "HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno";

#[test]
fn a_2xx_without_close_lets_the_write_go_on_to_its_end() {
    let (outcome, closed) =
        early(Answer::steps([Step::Send(OK.into()), Step::Sleep(50 * MS), Step::ReadBody]));
    assert_eq!((outcome.verdict, closed), (Verdict::Delivered, None));
}

#[test]
fn a_2xx_whose_body_is_long_is_read_while_the_write_goes_on() {
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n";
    let steps = [Step::Send(head.into()), Step::Send(vec![b'x'; 60_000].into()), Step::ReadBody];
    let (outcome, closed) = early(Answer::steps(steps));
    assert_eq!((outcome.verdict, closed), (Verdict::Delivered, None));
}

#[test]
fn a_2xx_longer_than_the_drain_limit_costs_the_connection_but_not_the_write() {
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 2000000\r\n\r\n";
    let steps = [Step::Send(head.into()), Step::Send(vec![b'x'; 2_000_000].into()), Step::ReadBody];
    let (outcome, closed) = early(Answer::steps(steps));
    assert_eq!((outcome.verdict, closed), (Verdict::Delivered, Some(CloseReason::Undrained)));
}

#[test]
fn a_2xx_from_a_peer_that_then_breaks_off_delivers_nothing() {
    for (last, reason) in [
        (Step::Reset, CloseReason::PeerReset),
        (Step::CloseNotify, CloseReason::PeerCloseNotify),
        (Step::Fin, CloseReason::PeerFinUnannounced),
    ] {
        let steps = [Step::Send(OK.into()), Step::ReadBodyBytes(100_000), last, Step::Freeze];
        let (outcome, closed) = early(Answer::steps(steps));
        assert_eq!((outcome.verdict, closed), (Verdict::Retry, Some(reason)), "{outcome:?}");
        assert_eq!(outcome.cause, Some(Cause::AnsweredBeforeBody(200)));
        assert!(outcome.bytes_taken);
    }
}

#[test]
fn a_2xx_with_close_before_the_end_delivers_nothing() {
    let (outcome, closed) = early(Answer::steps([Step::Send(OK_CLOSE.into()), Step::Freeze]));
    assert_eq!((outcome.verdict, closed), (Verdict::Retry, Some(CloseReason::AnsweredBeforeBody)));
    assert_eq!(outcome.cause, Some(Cause::AnsweredBeforeBody(200)));
}

#[test]
fn a_2xx_without_an_end_is_given_up_and_nothing_is_delivered() {
    let peer = Endpoint::http(Answer::endless_chunks().before_body());
    lane(async {
        let mut settings = settings_for(&peer);
        settings.socket.send_buffer_bytes = Some(40_000);
        let endpoint = start(&settings);
        let outcome = post(&endpoint, &body(1, 8 << 20)).await;
        assert_eq!(outcome.cause, Some(Cause::AnsweredBeforeBody(200)));
        let counts = endpoint.counters().snapshot();
        assert_eq!(counts.closed(CloseReason::Undrained), 1, "{counts:#?}");
        assert!(counts.bytes_received < 40 << 20, "{counts:#?}");
        close_and_balance(&endpoint).await;
    });
}

#[test]
fn any_other_status_stops_the_write_and_decides() {
    let started = std::time::Instant::now();
    let (outcome, closed) = early(Answer::steps([Step::Send(TOO_LARGE.into()), Step::Freeze]));
    assert_eq!((outcome.verdict, outcome.status), (Verdict::Reject, Some(413)));
    assert_eq!(closed, Some(CloseReason::AnsweredBeforeBody));
    assert!(started.elapsed() < 1_500 * MS, "it did not wait for the deadline");
}

/// Both lie in our kernel when the next write finds the connection gone.
#[test]
fn a_status_sent_right_before_a_reset_is_still_found() {
    let peer = Endpoint::https(Answer::steps([
        Step::ReadBodyBytes(1),
        Step::Sleep(50 * MS),
        Step::Send(TOO_LARGE.into()),
        Step::Sleep(20 * MS),
        Step::Reset,
    ]));
    lane(async {
        let mut settings = settings_for(&peer);
        settings.socket.send_buffer_bytes = Some(40_000);
        let endpoint = start(&settings);
        let message = body(1, 8 << 20);
        let block = async {
            peer.until(|counts| counts.fired("read_body_bytes") == 1).await;
            std::thread::sleep(200 * MS);
        };
        let (outcome, ()) = tokio::join!(post(&endpoint, &message), block);
        assert_eq!((outcome.verdict, outcome.status), (Verdict::Reject, Some(413)), "{outcome:?}");
        assert_eq!(peer.counts().fired("reset"), 1);
        assert_eq!(endpoint.counters().closed(CloseReason::PeerReset), 1);
        close_and_balance(&endpoint).await;
    });
}

#[test]
fn a_write_that_never_ends_meets_the_deadline() {
    let (outcome, closed) = early(Answer::steps([Step::Send(OK.into()), Step::Freeze]));
    assert_eq!((outcome.verdict, closed), (Verdict::Retry, Some(CloseReason::Deadline)));
    assert_eq!(outcome.cause, Some(Cause::Deadline(delivery::Phase::Write)));
}
