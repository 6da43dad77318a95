//! A POST dropped at any moment: nothing of it may reach another message, and nothing may leak.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;

use delivery::{Endpoint as Ours, Outcome, Request};
use testkit::body::body;
use testkit::endpoint::{Answer, Endpoint, EndpointOptions, Script, Step, TlsOptions};

use crate::support::{MS, close_and_balance, lane, settings_for, start};

/// Posts `serial`, but drops the POST, or its tail, after so many polls. Its outcome, and whether it was let run to its end.
async fn post_and_drop(endpoint: &Ours, serial: u64, len: usize, polls: u64) -> (Option<Outcome>, bool) {
    let body = [body(serial, len)];
    let line = format!("X-Serial: {serial}\r\n");
    let request = Request {
        target: None,
        head_lines: line.as_bytes(),
        body: &body,
        body_len: len as u64,
        idempotent: true,
        is_wanted: &|| true,
    };
    let mut left = polls;
    let mut bounded = async |step: std::pin::Pin<&mut dyn Future<Output = ()>>| {
        let mut step = step;
        poll_fn(|cx| match step.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(true),
            Poll::Pending if left == 0 => Poll::Ready(false),
            Poll::Pending => {
                left -= 1;
                Poll::Pending
            }
        })
        .await
    };
    let mut outcome = None;
    let whole = async {
        let posted = endpoint.post(&request).await;
        outcome = Some(posted.outcome);
        posted.tail.await;
    };
    let whole = {
        let whole = pin!(whole);
        bounded(whole).await
    };
    (outcome, whole)
}

/// The status tells which message was answered: 200 + serial % 7.
fn answers() -> Script {
    Script::by_body(|head, bytes| {
        let testkit::body::Verdict::Whole(serial) = testkit::body::judge(bytes) else {
            return Answer::status(400);
        };
        let status = 200 + serial % 7;
        let start = format!("HTTP/1.1 {status} Yes\r\n");
        match head.serial % 5 {
            0 => Answer::raw(start + "Content-Length: 2\r\n\r\nok"),
            1 => Answer::steps([
                Step::Send(start.into()),
                Step::Sleep(MS),
                Step::Send("Content-Length: 0\r\n\r\n".into()),
            ]),
            2 => Answer::steps([
                Step::Send((start + "Content-Length: 2\r\n\r\n").into()),
                Step::Sleep(MS),
                Step::Send("ok".into()),
            ]),
            3 => {
                Answer::steps([Step::Sleep(2 * MS), Step::Send((start + "Content-Length: 0\r\n\r\n").into())])
            }
            _ => Answer::raw(start + "Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"),
        }
    })
}

/// Every round is cut off, after 0 to 7 polls that were pending, which is more than a POST has: those cut late live, so that there is something to
/// reuse. It shares no factor with the 5 kinds of answers and the 7 statuses, so that each meets every limit.
const LIMITS: u64 = 8;

#[test]
fn ten_thousand_posts_dropped_at_every_await_point() {
    let peer = Endpoint::https(answers());
    lane(async {
        let mut settings = settings_for(&peer);
        settings.concurrency = 8;
        let endpoint = start(&settings);
        let mut tasks = tokio::task::JoinSet::new();
        for task in 0..10 {
            let endpoint = endpoint.clone();
            tasks.spawn_local(async move {
                let (mut answered, mut dropped) = (0, 0);
                let mut cut = [0; LIMITS as usize];
                for round in 0..1_000 {
                    let serial = task * 1_000 + round;
                    let polls = serial % LIMITS;
                    let (ended, whole) = post_and_drop(&endpoint, serial, 1024, polls).await;
                    if !whole {
                        cut[polls as usize] += 1;
                    }
                    let counters = endpoint.counters();
                    assert!(counters.open.get() + counters.dialling.get() <= 8);
                    match ended {
                        Some(outcome) => {
                            let status = u64::from(outcome.status.expect("answered"));
                            assert_eq!(status, 200 + serial % 7, "another message's answer: {outcome:?}");
                            answered += 1;
                        }
                        None => dropped += 1,
                    }
                }
                (answered, dropped, cut)
            });
        }
        let (mut answered, mut dropped) = (0, 0);
        let mut cut = [0; LIMITS as usize];
        while let Some(ended) = tasks.join_next().await {
            let (a, d, c) = ended.unwrap();
            (answered, dropped) = (answered + a, dropped + d);
            cut.iter_mut().zip(c).for_each(|(all, task)| *all += task);
        }
        println!("{answered} answered, {dropped} dropped, cut at each limit: {cut:?}");
        assert!(answered > 6_000 && dropped > 2_000, "{answered} answered, {dropped} dropped");
        // Without a connection, without an answer, and within the rest of one.
        assert!(cut[..3].iter().all(|cut| *cut > 200), "{cut:?}");
        let tails = cut.iter().sum::<u64>() - dropped;
        assert!(tails > 50, "{tails} cut behind their outcome");
        assert_eq!(cut[LIMITS as usize - 1], 0, "there are await points beyond the last limit: {cut:?}");
        let counts = endpoint.counters().snapshot();
        assert_eq!((counts.waiting, counts.open), (0, counts.idle), "nothing is left in use: {counts:#?}");
        close_and_balance(&endpoint).await;
        peer.until(|counts| counts.open == 0).await;
    });
}

/// Bodies that do not fit the kernel's buffer, so that most of the await points lie within the write, and answers that
/// come before, within and after the body. Again the status tells which message was answered.
#[test]
fn posts_dropped_in_the_middle_of_their_write() {
    let script = Script::new(|head| {
        let serial: u64 = head.field("X-Serial").unwrap().parse().unwrap();
        let answer = Answer::raw(format!("HTTP/1.1 {} Yes\r\nContent-Length: 2\r\n\r\nok", 200 + serial % 7));
        match serial % 3 {
            0 => answer.before_body(),
            1 => answer.after_body_bytes(50_000),
            _ => answer,
        }
    });
    let mut options = EndpointOptions::new(script).tls(TlsOptions::new(&testkit::certs::Authority::new()));
    options.receive_buffer_bytes = Some(40_000);
    let peer = Endpoint::start(options);
    lane(async {
        let mut settings = settings_for(&peer);
        settings.concurrency = 4;
        settings.socket.send_buffer_bytes = Some(40_000);
        let endpoint = start(&settings);
        let mut tasks = tokio::task::JoinSet::new();
        for task in 0..6 {
            let endpoint = endpoint.clone();
            tasks.spawn_local(async move {
                let (mut answered, mut dropped) = (0, 0);
                for serial in task * 60..(task + 1) * 60 {
                    let polls = if serial % 2 == 0 { serial % 5 } else { u64::MAX };
                    let (Some(outcome), _) = post_and_drop(&endpoint, serial, 300_000, polls).await else {
                        dropped += 1;
                        continue;
                    };
                    let status = u64::from(outcome.status.expect("answered"));
                    assert_eq!(status, 200 + serial % 7, "another message's answer: {outcome:?}");
                    answered += 1;
                }
                (answered, dropped)
            });
        }
        let (mut answered, mut dropped) = (0, 0);
        while let Some(ended) = tasks.join_next().await {
            let (a, d) = ended.unwrap();
            (answered, dropped) = (answered + a, dropped + d);
        }
        assert!(answered >= 180 && dropped >= 90, "{answered} answered, {dropped} dropped");
        let counts = endpoint.counters().snapshot();
        assert_eq!((counts.waiting, counts.open), (0, counts.idle), "nothing is left in use: {counts:#?}");
        close_and_balance(&endpoint).await;
    });
}
