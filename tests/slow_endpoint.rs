//! An endpoint slower than nsqd's patience: messages are touched, and nothing is ever sent for one that nsqd has taken back.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use testkit::body::body;
use testkit::endpoint::{Answer, Endpoint, Step};
use testkit::nsqd::{Act, Command, NsqdConnection, NsqdOptions, ScriptedNsqd, id};
use testkit::process::{Nsqd, Posthaste};
use testkit::proxy::Proxy;
use testkit::{Gate, PATIENCE};

use crate::rig::{self, CHANNEL, Run, TOPIC, number};

const LEN: usize = 1024;

/// Figures of a summary that count deliveries which did not end well.
const NOTHING_AMISS: [&str; 5] = ["fin_failed", "touch_failed", "expired", "requeued", "nsq_disconnects"];

fn assert_figures<'a>(summary: &Value, figures: impl IntoIterator<Item = (&'a str, u64)>) {
    for (figure, expected) in figures {
        assert_eq!(number(summary, figure), expected, "{figure} in {summary:#}");
    }
}

/// An nsqd that looks after timeouts: it begins to look at a channel up to 5 s after that was made. What shows it is a deferred
/// message, since that is moved by the same rounds; it is the one of serial 0.
fn attentive_nsqd(flags: &[&str]) -> Nsqd {
    let nsqd = rig::nsqd(flags);
    nsqd.post(&format!("/pub?topic={TOPIC}&defer=1"), &body(0, LEN));
    nsqd.wait_channel(TOPIC, CHANNEL, |channel| channel.messages == 1 && channel.deferred == 0);
    nsqd
}

/// nsqd saw no timeout, no REQ and no answer that came too late.
fn assert_content(nsqd: &Nsqd) {
    let channel = nsqd.channel(TOPIC, CHANNEL);
    assert_eq!((channel.timeouts, channel.requeues), (0, 0), "timeouts and requeues at nsqd");
    assert_nothing_refused(nsqd);
}

fn assert_nothing_refused(nsqd: &Nsqd) {
    let log = nsqd.daemon.log();
    assert!(!log.contains("E_FIN_FAILED") && !log.contains("E_TOUCH_FAILED"), "{log}");
}

/// Half of the messages also wait 7 s for a permit, and are touched all the while. nsqd looks after timeouts for 9 s of the 14.
#[test]
fn answers_after_seven_seconds_and_a_timeout_of_two() {
    const MESSAGES: u64 = 200;
    let nsqd = rig::nsqd(&["--msg-timeout=2s"]);
    rig::publish(&nsqd, MESSAGES, LEN);
    let endpoint = Endpoint::https(Answer::ok().after(Duration::from_secs(7)));
    let run = Run::new([&nsqd], &endpoint.url("/")).trusting(&endpoint.ca_file());
    let posthaste = run.with("--concurrency", MESSAGES / 2).with("--max-in-flight", MESSAGES).start();
    rig::wait_finished(&nsqd, MESSAGES);
    assert_content(&nsqd);
    let (summary, _) = rig::drain(&posthaste);

    endpoint.ledger().assert_exactly_once(0..MESSAGES);
    assert_eq!(endpoint.counts().fired("sleep"), MESSAGES);
    // Every second while it is held: 6 times in 7 s, 13 times in 14 s.
    assert!(number(&summary, "touched") >= MESSAGES / 2 * (6 + 12), "{summary:#}");
    assert_figures(&summary, NOTHING_AMISS.map(|figure| (figure, 0)));
}

/// The answer comes when the first timeout is nearly over, and nsqd's clock started before its output buffer.
#[test]
fn answers_just_before_the_timeout_are_never_too_late() {
    const MESSAGES: u64 = 600;
    let nsqd = attentive_nsqd(&[]);
    let endpoint = Endpoint::https(Answer::ok().after(Duration::from_millis(900)));
    let run = Run::new([&nsqd], &endpoint.url("/")).trusting(&endpoint.ca_file());
    let posthaste = run.with("--concurrency", 300).with("--msg-timeout", "1s").start();
    let begun = Instant::now();
    for serial in 1..MESSAGES {
        let due = begun + Duration::from_millis(5) * serial as u32;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        nsqd.publish(TOPIC, &body(serial, LEN));
    }
    rig::wait_finished(&nsqd, MESSAGES);
    assert_content(&nsqd);
    let (summary, _) = rig::drain(&posthaste);

    endpoint.ledger().assert_exactly_once(0..MESSAGES);
    assert_eq!(endpoint.counts().fired("sleep"), MESSAGES);
    assert!(number(&summary, "touched") >= MESSAGES, "{summary:#}");
    assert_figures(&summary, NOTHING_AMISS.map(|figure| (figure, 0)));
}

/// nsqd extends no delivery past `max_msg_timeout`. It delivers the messages again while they are being posted, and the one
/// POST of each answers the newer delivery.
#[test]
fn past_the_longest_timeout_a_delivery_is_expired_and_the_next_one_is_answered() {
    const MESSAGES: u64 = 20;
    let nsqd = attentive_nsqd(&["--msg-timeout=2s", "--max-msg-timeout=3s"]);
    nsqd.publish_many(TOPIC, (1..MESSAGES).map(|serial| body(serial, LEN)));
    let endpoint = Endpoint::https(Answer::ok().after(Duration::from_secs(5)));
    let run = Run::new([&nsqd], &endpoint.url("/")).trusting(&endpoint.ca_file());
    let posthaste = run.with("--concurrency", MESSAGES).start();
    rig::wait_finished(&nsqd, MESSAGES);
    let channel = nsqd.channel(TOPIC, CHANNEL);
    assert_eq!((channel.timeouts, channel.requeues), (MESSAGES, 0), "timeouts and requeues at nsqd");
    assert_nothing_refused(&nsqd);
    let (summary, _) = rig::drain(&posthaste);

    endpoint.ledger().assert_exactly_once(0..MESSAGES);
    let counted = ["expired", "adopted", "finished", "requests"].map(|figure| (figure, MESSAGES));
    assert_figures(&summary, counted);
    assert_figures(&summary, [("received", 2 * MESSAGES), ("delivered_unfinished", 0)]);
    assert_figures(&summary, [("fin_failed", 0), ("touch_failed", 0)]);
}

fn start(nsqd: &ScriptedNsqd, endpoint: &Endpoint) -> (Posthaste, NsqdConnection) {
    let run = Run::new([], &endpoint.url("/")).with("--nsqd-tcp-address", nsqd.address());
    let posthaste = run.start();
    let mut connection = nsqd.wait_connection(0);
    connection.wait("RDY above 0", |command| matches!(command, Command::Rdy(1..)).then_some(()));
    (posthaste, connection)
}

/// The same at an nsqd that never takes the message back, so that whatever is sent too late would show.
#[test]
fn past_the_longest_timeout_nothing_is_sent_for_a_delivery() {
    // The second touch, at 1 s, asks for more than there is.
    let ceiling = Duration::from_millis(1_600);
    let nsqd = ScriptedNsqd::start_with(NsqdOptions {
        identify: json!({ "msg_timeout": 1_000, "max_msg_timeout": 1_600 }),
        ..NsqdOptions::default()
    });
    let endpoint = Endpoint::http(Answer::ok().after(ceiling + Duration::from_millis(100)));
    let (posthaste, connection) = start(&nsqd, &endpoint);
    let sent = Instant::now();
    connection.send([Act::message(id(1), 1, body(0, 100))]);
    endpoint.wait(|counts| counts.answers == 1);
    let (summary, _) = rig::drain(&posthaste);

    let about_it: Vec<_> = connection
        .book()
        .commands
        .into_iter()
        .filter(|(_, command)| matches!(command, Command::Touch(_) | Command::Fin(_) | Command::Req { .. }))
        .collect();
    let touches = about_it.iter().filter(|(_, command)| matches!(command, Command::Touch(_))).count();
    assert!(touches >= 2, "touched as long as there was something to gain: {about_it:?}");
    assert_eq!(touches, about_it.len(), "neither finished nor requeued: {about_it:?}");
    assert!(about_it.iter().all(|(at, _)| *at < sent + ceiling), "after the ceiling: {about_it:?}");
    assert_figures(&summary, [("received", 1), ("expired", 1), ("finished", 0), ("delivered_unfinished", 1)]);
}

#[test]
fn a_message_delivered_again_while_it_is_posted_is_posted_and_finished_once() {
    // Of the kit's heartbeats alone: the answer to one proves that what came before it was read.
    let nsqd = ScriptedNsqd::start_with(NsqdOptions { heartbeats: false, ..NsqdOptions::default() });
    let gate = Gate::new();
    let endpoint = Endpoint::http(Answer::ok().at_gate(&gate));
    let (posthaste, mut connection) = start(&nsqd, &endpoint);
    connection.send([Act::message(id(1), 1, body(0, 100))]);
    gate.wait_arrived(1);
    connection.send([
        Act::TimeOut(id(1)),
        Act::message(id(1), 2, body(0, 100)),
        Act::Response("_heartbeat_".into()),
    ]);
    connection.wait("NOP", |command| (*command == Command::Nop).then_some(()));
    gate.open();
    connection.wait("FIN", |command| (*command == Command::Fin(id(1))).then_some(()));
    let (summary, _) = rig::drain(&posthaste);

    let counts = nsqd.counts();
    assert_eq!(counts.fired("time_out"), 1);
    assert_eq!((counts.commands("FIN"), counts.finished, counts.fin_failed), (1, 1, 0), "{counts:#?}");
    assert_eq!((counts.commands("REQ"), counts.fired("error")), (0, 0), "{counts:#?}");
    assert_eq!(endpoint.counts().requests, 1);
    assert_figures(&summary, [("received", 2), ("adopted", 1), ("expired", 1)]);
    assert_figures(&summary, [("finished", 1), ("delivered", 1)]);
}

/// A dial can take longer than the message that waits for it is ours.
#[test]
fn a_message_whose_nsqd_goes_while_its_dial_hangs_is_not_posted() {
    let nsqd = ScriptedNsqd::start();
    let endpoint = Endpoint::https(Answer::ok());
    let proxy = Proxy::to(endpoint.address());
    proxy.stall();
    let run = Run::new([], &format!("https://{}/", proxy.address())).trusting(&endpoint.ca_file());
    let posthaste = run.with("--nsqd-tcp-address", nsqd.address()).start();
    let mut connection = nsqd.wait_connection(0);
    connection.wait("RDY above 0", |command| matches!(command, Command::Rdy(1..)).then_some(()));
    connection.send([Act::message(id(1), 1, body(0, LEN))]);
    proxy.wait(|counts| counts.accepted == 1);
    // It must not come again here, where it would be posted with good reason.
    nsqd.down();
    connection.send([Act::Drop]);
    posthaste.process.wait_stderr("connection ended", PATIENCE);
    proxy.heal();
    endpoint.wait(|counts| counts.handshakes_full == 1);
    let posted = endpoint.wait_within(Duration::from_millis(300), |counts| counts.requests > 0);
    assert!(posted.is_err(), "posted, although it may be someone else's by now");
    let (summary, _) = rig::drain(&posthaste);
    assert_figures(&summary, [("received", 1), ("connection_lost", 1), ("connections", 1)]);
    assert_figures(&summary, [("requests", 0), ("failed", 0), ("delivered", 0)]);
}

/// A message is settled as soon as its outcome is known. Its permit stays with the connection until the answer is read.
#[test]
fn a_message_is_finished_before_the_rest_of_its_answer_has_come() {
    let gate = Gate::new();
    let answer = Answer::steps([
        Step::ReadBody,
        Step::Send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n".into()),
        Step::Gate(gate.clone()),
        Step::Send("ok".into()),
    ]);
    let endpoint = Endpoint::http(answer);
    let nsqd = rig::nsqd(&[]);
    rig::publish(&nsqd, 2, LEN);
    let run = Run::new([&nsqd], &endpoint.url("/")).with("--concurrency", 1);
    let posthaste = run.with("--drain-timeout", "60s").start();
    gate.wait_arrived(1);
    nsqd.wait_channel(TOPIC, CHANNEL, |channel| channel.finished() == 1);
    assert_eq!((gate.passed(), endpoint.counts().requests), (0, 1), "the only permit is not free");
    gate.open();
    rig::wait_finished(&nsqd, 2);
    let (summary, _) = rig::drain(&posthaste);
    assert_figures(&summary, [("delivered", 2), ("finished", 2), ("dials", 1)]);
}
