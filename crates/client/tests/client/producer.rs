//! A producer against an nsqd that does what it is told: which answer goes to which request, and what is known of a request when its answer does not come.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use client::{
    ConnectionSettings, Disconnect, NotSent, OutcomeUnknown, Producer, ProducerCounters, ProducerEvent,
    ProducerSettings, PublishError, Secret,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, LocalSet, spawn_local};
use tokio::time::{Instant, sleep, timeout};
use wire::command::{Parse, parse};
use wire::frame::{OK, write_error, write_response};
use wire::{Command, ErrorCode, Limits, TopicName};

const LONG: Duration = Duration::from_secs(10);

/// nsqd's side of one connection.
struct Session {
    socket: TcpStream,
    received: Vec<u8>,
}

impl Session {
    /// Accepts a connection and answers its IDENTIFY.
    async fn accept(listener: &TcpListener) -> Session {
        let (mut socket, _) = timeout(LONG, listener.accept()).await.expect("a dial").unwrap();
        let mut magic = [0; 4];
        socket.read_exact(&mut magic).await.unwrap();
        let mut session = Session { socket, received: Vec::new() };
        assert!(session.read().await.expect("IDENTIFY").starts_with("IDENTIFY"));
        session.ok().await;
        session
    }

    /// The next command as text: `PUB topic body`. `None` at the end.
    async fn read(&mut self) -> Option<String> {
        loop {
            if let Parse::Complete { command, consumed } = parse(&self.received, &Limits::default()).unwrap()
            {
                let text = text(&command);
                self.received.drain(..consumed);
                return Some(text);
            }
            let read =
                timeout(LONG, self.socket.read_buf(&mut self.received)).await.expect("a command, or an end");
            if read.unwrap_or(0) == 0 {
                return None;
            }
        }
    }

    async fn expect(&mut self, expected: &str) {
        assert_eq!(self.read().await.as_deref(), Some(expected));
    }

    async fn ok(&mut self) {
        self.respond(OK).await;
    }

    async fn respond(&mut self, payload: &[u8]) {
        let mut frame = Vec::new();
        write_response(&mut frame, payload);
        self.socket.write_all(&frame).await.unwrap();
    }

    async fn error(&mut self, code: ErrorCode, detail: &str) {
        let mut frame = Vec::new();
        write_error(&mut frame, code, detail);
        self.socket.write_all(&frame).await.unwrap();
    }

    /// Waits until the producer has closed, whatever it sends before.
    async fn closed(mut self) {
        while self.read().await.is_some() {}
    }
}

fn text(command: &Command<'_>) -> String {
    let shown = |bytes: &[u8]| String::from_utf8_lossy(&bytes[..bytes.len().min(20)]).into_owned();
    match command {
        Command::Identify { .. } => "IDENTIFY".to_owned(),
        Command::Pub { topic, body } => format!("PUB {topic} {}", shown(body)),
        Command::Dpub { topic, delay_ms, body } => format!("DPUB {topic} {delay_ms} {}", shown(body)),
        Command::Mpub { topic, bodies } => {
            format!("MPUB {topic} {}", bodies.iter().map(shown).collect::<Vec<_>>().join(" "))
        }
        Command::Nop => "NOP".to_owned(),
        other => format!("{other:?}"),
    }
}

/// A producer, what it told, and where it dials.
struct Setup {
    producer: Producer,
    listener: TcpListener,
    counters: Arc<ProducerCounters>,
    events: Rc<RefCell<Vec<String>>>,
}

impl Setup {
    async fn new(adjust: impl FnOnce(&mut ProducerSettings)) -> Setup {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let mut settings = ProducerSettings::new(address, ConnectionSettings::default());
        settings.reconnect_min = Duration::from_millis(10);
        adjust(&mut settings);
        let counters = Arc::new(ProducerCounters::default());
        let events = Rc::new(RefCell::new(Vec::new()));
        let told = Rc::clone(&events);
        let tell = move |event| {
            told.borrow_mut().push(match event {
                ProducerEvent::Connected => "connected".to_owned(),
                ProducerEvent::ConnectFailed { error, .. } => error.to_string(),
                ProducerEvent::Disconnected { reason } => reason.to_string(),
            });
        };
        let producer = Producer::start(&settings, Arc::clone(&counters), tell).unwrap();
        Setup { producer, listener, counters, events }
    }

    /// Publishes `body` on a task of its own.
    fn publish(&self, body: &str, timeout: Duration) -> JoinHandle<Result<(), PublishError>> {
        let (producer, body) = (self.producer.clone(), body.to_owned());
        spawn_local(async move { producer.publish(&topic(), body.as_bytes(), timeout).await })
    }
}

fn topic() -> TopicName {
    TopicName::new("t").unwrap()
}

async fn local<F: Future>(test: F) -> F::Output {
    LocalSet::new().run_until(test).await
}

#[tokio::test]
async fn answers_are_matched_in_order_and_heartbeats_take_no_place() {
    local(async {
        let setup = Setup::new(|_| ()).await;
        let mut nsqd = Session::accept(&setup.listener).await;
        let first = setup.publish("1", LONG);
        nsqd.expect("PUB t 1").await;
        let producer = setup.producer.clone();
        let second = spawn_local(async move { producer.publish_many(&topic(), &["2", "3"], LONG).await });
        nsqd.expect("MPUB t 2 3").await;
        nsqd.respond(b"_heartbeat_").await;
        nsqd.expect("NOP").await;
        let producer = setup.producer.clone();
        let delay = Duration::from_millis(1_500);
        let third = spawn_local(async move { producer.publish_deferred(&topic(), delay, b"4", LONG).await });
        nsqd.expect("DPUB t 1500 4").await;
        assert!(!first.is_finished());
        nsqd.ok().await;
        first.await.unwrap().unwrap();
        assert!(!second.is_finished() && !third.is_finished());
        nsqd.ok().await;
        nsqd.ok().await;
        second.await.unwrap().unwrap();
        third.await.unwrap().unwrap();
        assert_eq!((setup.counters.published.get(), setup.counters.heartbeats.get()), (3, 1));
    })
    .await;
}

#[tokio::test]
async fn a_deadline_closes_the_connection_and_an_answer_that_comes_late_is_nobodys() {
    local(async {
        let setup = Setup::new(|_| ()).await;
        let mut nsqd = Session::accept(&setup.listener).await;
        let begun = Instant::now();
        let short = setup.publish("short", Duration::from_millis(200));
        nsqd.expect("PUB t short").await;
        let neighbour = setup.publish("neighbour", LONG);
        nsqd.expect("PUB t neighbour").await;
        let error = short.await.unwrap().unwrap_err();
        assert!(matches!(error, PublishError::OutcomeUnknown(OutcomeUnknown::Deadline)), "{error}");
        let error = neighbour.await.unwrap().unwrap_err();
        let unknown = PublishError::OutcomeUnknown(OutcomeUnknown::Disconnected(Disconnect::Deadline));
        assert_eq!(error.to_string(), unknown.to_string());
        assert!(begun.elapsed() < Duration::from_secs(2));
        let next = setup.publish("next", LONG);
        // Too late, and perhaps to a closed socket.
        let mut frame = Vec::new();
        write_response(&mut frame, OK);
        let _late = nsqd.socket.write_all(&frame).await;
        let mut again = Session::accept(&setup.listener).await;
        again.expect("PUB t next").await;
        sleep(Duration::from_millis(50)).await;
        assert!(!next.is_finished());
        again.ok().await;
        next.await.unwrap().unwrap();
        assert_eq!((setup.counters.published.get(), setup.counters.outcome_unknown.get()), (1, 2));
    })
    .await;
}

#[tokio::test]
async fn a_refusal_is_its_own_requests_alone() {
    local(async {
        let setup = Setup::new(|settings| settings.reconnect_min = Duration::from_secs(5)).await;
        let mut nsqd = Session::accept(&setup.listener).await;
        let bad = setup.publish("bad", LONG);
        nsqd.expect("PUB t bad").await;
        let (one, two) = (setup.publish("one", LONG), setup.publish("two", LONG));
        nsqd.expect("PUB t one").await;
        nsqd.error(ErrorCode::BadMessage, "PUB message too big").await;
        let refused = bad.await.unwrap().unwrap_err();
        assert!(
            matches!(&refused, PublishError::Refused(error) if error.code == ErrorCode::BadMessage),
            "{refused}"
        );
        nsqd.closed().await;
        // At once, though the least delay is 5 s.
        let begun = Instant::now();
        let mut again = Session::accept(&setup.listener).await;
        assert!(begun.elapsed() < Duration::from_secs(2));
        again.expect("PUB t one").await;
        again.expect("PUB t two").await;
        again.ok().await;
        again.ok().await;
        one.await.unwrap().unwrap();
        two.await.unwrap().unwrap();
        assert_eq!(
            setup.events.borrow()[..2],
            ["connected", "nsqd answered E_BAD_MESSAGE PUB message too big"]
        );
    })
    .await;
}

#[tokio::test]
async fn a_connection_that_ends_loses_what_was_sent_and_keeps_what_was_not() {
    local(async {
        let setup = Setup::new(|_| ()).await;
        let mut nsqd = Session::accept(&setup.listener).await;
        let sent = setup.publish("sent", LONG);
        nsqd.expect("PUB t sent").await;
        // More than the sockets' buffers hold, so that it leaves in part only, and what is behind it not at all.
        let partly = setup.publish(&"x".repeat(15 << 20), LONG);
        sleep(Duration::from_millis(200)).await;
        let unsent = setup.publish("unsent", LONG);
        sleep(Duration::from_millis(50)).await;
        drop(nsqd);
        for lost in [sent, partly] {
            let error = lost.await.unwrap().unwrap_err();
            assert!(
                matches!(error, PublishError::OutcomeUnknown(OutcomeUnknown::Disconnected(_))),
                "{error}"
            );
        }
        let mut again = Session::accept(&setup.listener).await;
        again.expect("PUB t unsent").await;
        again.ok().await;
        unsent.await.unwrap().unwrap();
    })
    .await;
}

#[tokio::test]
async fn heartbeats_are_answered_between_requests_only() {
    local(async {
        let setup = Setup::new(|_| ()).await;
        let mut nsqd = Session::accept(&setup.listener).await;
        let large = setup.publish(&"x".repeat(15 << 20), LONG);
        sleep(Duration::from_millis(100)).await;
        nsqd.respond(b"_heartbeat_").await;
        sleep(Duration::from_millis(100)).await;
        // Session::read would not understand a NOP within the body.
        let limits = Limits { message_bytes_max: 32 << 20, body_bytes_max: 32 << 20 };
        let consumed = loop {
            match parse(&nsqd.received, &limits).unwrap() {
                Parse::Complete { command, consumed } => {
                    let Command::Pub { body, .. } = command else { panic!("{command:?}") };
                    assert!(body.iter().all(|byte| *byte == b'x'));
                    break consumed;
                }
                Parse::Incomplete { .. } => drop(nsqd.socket.read_buf(&mut nsqd.received).await.unwrap()),
            }
        };
        nsqd.received.drain(..consumed);
        nsqd.expect("NOP").await;
        nsqd.ok().await;
        large.await.unwrap().unwrap();
    })
    .await;
}

#[tokio::test]
async fn without_a_connection_nothing_is_sent() {
    local(async {
        let setup = Setup::new(|settings| settings.address = "127.0.0.1:1".to_owned()).await;
        let error = setup.publish("1", Duration::from_millis(100)).await.unwrap().unwrap_err();
        assert!(matches!(error, PublishError::NotSent(NotSent::NotConnected)), "{error}");
        assert!(setup.counters.connect_failures.get() >= 1);
        assert_eq!((setup.counters.connects.get(), setup.counters.not_sent.get()), (0, 1));
    })
    .await;
}

#[tokio::test]
async fn what_is_under_way_is_bounded() {
    local(async {
        let setup = Setup::new(|settings| (settings.requests_max, settings.bytes_max) = (3, 10)).await;
        let mut nsqd = Session::accept(&setup.listener).await;
        let error = setup.publish("eleven byte", LONG).await.unwrap().unwrap_err();
        assert!(matches!(error, PublishError::NotSent(NotSent::TooLarge { bytes: 11, max: 10 })), "{error}");
        let error = setup.producer.publish_many(&topic(), &["1", "2", "3"], LONG).await.unwrap_err();
        assert!(matches!(error, PublishError::NotSent(NotSent::TooLarge { bytes: 11, max: 10 })), "{error}");
        let error = setup.publish("", LONG).await.unwrap().unwrap_err();
        assert!(matches!(error, PublishError::NotSent(NotSent::Empty)), "{error}");
        let first = setup.publish("12345678", LONG);
        nsqd.expect("PUB t 12345678").await;
        let too_much = setup.publish("123", Duration::from_millis(100)).await.unwrap().unwrap_err();
        assert!(matches!(too_much, PublishError::NotSent(NotSent::Busy)), "{too_much}");
        let waiting = setup.publish("123", LONG);
        sleep(Duration::from_millis(50)).await;
        nsqd.ok().await;
        first.await.unwrap().unwrap();
        nsqd.expect("PUB t 123").await;
        let all: Vec<_> = (0..3).map(|_| setup.publish("1", LONG)).collect();
        nsqd.expect("PUB t 1").await;
        nsqd.expect("PUB t 1").await;
        let none = timeout(Duration::from_millis(100), nsqd.read()).await;
        assert!(none.is_err(), "a fourth at once");
        for _ in 0..4 {
            nsqd.ok().await;
        }
        nsqd.expect("PUB t 1").await;
        waiting.await.unwrap().unwrap();
        for one in all {
            one.await.unwrap().unwrap();
        }
    })
    .await;
}

#[tokio::test]
async fn a_publish_whose_caller_left_keeps_its_place_once_it_is_sent() {
    local(async {
        let setup = Setup::new(|_| ()).await;
        let mut nsqd = Session::accept(&setup.listener).await;
        let left = setup.publish("left", LONG);
        nsqd.expect("PUB t left").await;
        left.abort();
        let stays = setup.publish("stays", LONG);
        nsqd.expect("PUB t stays").await;
        nsqd.ok().await;
        sleep(Duration::from_millis(50)).await;
        assert!(!stays.is_finished(), "that answer was the other's");
        nsqd.ok().await;
        stays.await.unwrap().unwrap();
    })
    .await;
}

#[tokio::test]
async fn an_answer_that_nothing_asked_for_ends_the_connection() {
    local(async {
        let setup = Setup::new(|_| ()).await;
        for payload in [&b"OK"[..], b"CLOSE_WAIT", b"something"] {
            let mut nsqd = Session::accept(&setup.listener).await;
            nsqd.respond(payload).await;
            nsqd.closed().await;
        }
        let mut nsqd = Session::accept(&setup.listener).await;
        nsqd.socket.write_all(b"\x7f\xff\xff\xff\x00\x00\x00\x02").await.unwrap();
        nsqd.closed().await;
        let mut nsqd = Session::accept(&setup.listener).await;
        nsqd.error(ErrorCode::FinFailed, "FIN 0123456789abcdef failed").await;
        nsqd.closed().await;
    })
    .await;
}

#[tokio::test]
async fn a_silent_nsqd_is_given_up_after_two_heartbeats() {
    local(async {
        let setup =
            Setup::new(|settings| settings.connection.heartbeat_interval = Duration::from_secs(1)).await;
        let mut nsqd = Session::accept(&setup.listener).await;
        sleep(Duration::from_millis(1_500)).await;
        nsqd.respond(b"_heartbeat_").await;
        nsqd.expect("NOP").await;
        let heard = Instant::now();
        nsqd.closed().await;
        let silent = heard.elapsed();
        assert!((1_900..3_000).contains(&silent.as_millis()), "{silent:?}");
    })
    .await;
}

#[tokio::test]
async fn a_stop_waits_for_answers_and_then_for_no_longer() {
    local(async {
        let setup = Setup::new(|_| ()).await;
        let mut nsqd = Session::accept(&setup.listener).await;
        let answered = setup.publish("answered", LONG);
        nsqd.expect("PUB t answered").await;
        let producer = setup.producer.clone();
        let stop = spawn_local(async move { producer.stop(Duration::from_millis(500)).await });
        sleep(Duration::from_millis(50)).await;
        let late = setup.publish("late", LONG).await.unwrap().unwrap_err();
        assert!(matches!(late, PublishError::NotSent(NotSent::Stopped)), "{late}");
        assert!(!stop.is_finished());
        nsqd.ok().await;
        answered.await.unwrap().unwrap();
        timeout(Duration::from_millis(100), stop).await.expect("nothing is left").unwrap();
        nsqd.closed().await;

        let setup = Setup::new(|_| ()).await;
        let mut nsqd = Session::accept(&setup.listener).await;
        let unanswered = setup.publish("unanswered", LONG);
        nsqd.expect("PUB t unanswered").await;
        setup.producer.stop(Duration::from_millis(100)).await;
        let error = unanswered.await.unwrap().unwrap_err();
        assert!(matches!(error, PublishError::OutcomeUnknown(OutcomeUnknown::Stopped)), "{error}");
        nsqd.closed().await;
    })
    .await;
}

#[tokio::test]
async fn with_its_last_handle_a_producer_ends() {
    local(async {
        let setup = Setup::new(|_| ()).await;
        let nsqd = Session::accept(&setup.listener).await;
        drop(setup.producer.clone());
        drop(setup.producer);
        nsqd.closed().await;
    })
    .await;
}

#[tokio::test]
async fn wrong_settings_are_told_at_once() {
    local(async {
        let connection = ConnectionSettings { auth_secret: Some(Secret::new("")), ..Default::default() };
        let mut settings = ProducerSettings::new("nowhere", connection);
        settings.requests_max = 0;
        let errors = Producer::start(&settings, Arc::default(), |_| ()).unwrap_err();
        let fields: Vec<_> = errors.iter().map(|error| error.field).collect();
        assert_eq!(fields, ["auth_secret", "address", "requests_max"]);
    })
    .await;
}

#[tokio::test]
async fn publishes_end_when_the_task_is_gone() {
    let mut settings = ProducerSettings::new("127.0.0.1:1", ConnectionSettings::default());
    settings.requests_max = 1;
    let counters = Arc::new(ProducerCounters::default());
    let stopped = |result: Result<Result<(), PublishError>, tokio::time::error::Elapsed>| {
        let error = result.expect("it ends at once").unwrap_err();
        assert!(matches!(error, PublishError::NotSent(NotSent::Stopped)), "{error}");
    };
    let soon = Duration::from_secs(2);
    let tasks = LocalSet::new();
    let producer = tasks
        .run_until(async {
            // Its dial fails, and whoever is told of it panics.
            let tell = |event: ProducerEvent| panic!("on purpose: {event:?}");
            let producer = Producer::start(&settings, Arc::clone(&counters), tell).unwrap();
            let (first, second) = (topic(), topic());
            let both = async {
                tokio::join!(producer.publish(&first, b"1", LONG), producer.publish(&second, b"2", LONG))
            };
            let (first, second) = timeout(soon, both).await.expect("they end at once");
            stopped(Ok(first));
            stopped(Ok(second));
            Producer::start(&settings, Arc::clone(&counters), drop).unwrap()
        })
        .await;
    drop(tasks);
    stopped(timeout(soon, producer.publish(&topic(), b"3", LONG)).await);
}

/// The nsqd behind a load balancer that is shut down, say: each connection ends for a reason of its own.
#[tokio::test]
async fn an_error_that_answers_nothing_is_no_reason_to_dial_at_once() {
    local(async {
        let setup = Setup::new(|settings| settings.reconnect_min = Duration::from_millis(50)).await;
        let mut dials = 0;
        let end = Instant::now() + Duration::from_millis(500);
        while let Ok(accepted) = tokio::time::timeout_at(end, setup.listener.accept()).await {
            dials += 1;
            let mut socket = accepted.unwrap().0;
            let mut frames = Vec::new();
            write_response(&mut frames, OK);
            write_error(&mut frames, ErrorCode::Invalid, "not now");
            // The producer may have closed it already, which is no matter here.
            let _sent = socket.write_all(&frames).await;
            let _read = socket.read(&mut [0; 4096]).await;
        }
        assert!((2..=20).contains(&dials), "{dials} dials");
        assert!(setup.events.borrow().iter().any(|event| event.contains("E_INVALID not now")));
    })
    .await;
}

#[tokio::test]
async fn a_publish_may_wait_for_ever() {
    local(async {
        let setup = Setup::new(|settings| settings.connection.connect_timeout = Duration::MAX).await;
        let mut nsqd = Session::accept(&setup.listener).await;
        let patient = setup.publish("1", Duration::MAX);
        nsqd.expect("PUB t 1").await;
        nsqd.ok().await;
        patient.await.unwrap().unwrap();
    })
    .await;
}
