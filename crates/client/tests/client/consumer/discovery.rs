//! nsqds found through nsqlookupd.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use client::{ConsumerSettings, Event, Settled, Source};
use testkit::nsqd::{Act, ScriptedNsqd, id};
use tokio::time::{Instant, sleep};

use super::rig::{MS, Rig, local, settings};

/// An nsqlookupd of a few lines: it answers what it was told to, on a thread of its own.
struct Lookupd {
    address: SocketAddr,
    answer: Arc<Mutex<(u16, String)>>,
    asked: Arc<Mutex<Vec<Instant>>>,
}

impl Lookupd {
    fn start() -> Lookupd {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let answer = Arc::new(Mutex::new((404, r#"{"message":"TOPIC_NOT_FOUND"}"#.to_owned())));
        let asked: Arc<Mutex<Vec<Instant>>> = Arc::default();
        let (answers, asks) = (Arc::clone(&answer), Arc::clone(&asked));
        std::thread::spawn(move || {
            for mut tcp in listener.incoming().flatten() {
                let mut request = [0; 4096];
                let read = tcp.read(&mut request).unwrap_or(0);
                assert!(request[..read].starts_with(b"GET /lookup?topic=events "), "{:?}", &request[..read]);
                asks.lock().expect("no panic").push(Instant::now());
                let (status, body) = answers.lock().expect("no panic").clone();
                let head = format!(
                    "HTTP/1.1 {status} x\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                    body.len()
                );
                // A client that went away is its own business.
                tcp.write_all((head + &body).as_bytes()).ok();
            }
        });
        Lookupd { address, answer, asked }
    }

    fn lists(&self, nsqds: &[&ScriptedNsqd]) {
        let producers: Vec<_> = nsqds
            .iter()
            .map(|nsqd| {
                serde_json::json!({"remote_address": "127.0.0.1:1", "hostname": "h", "broadcast_address": "127.0.0.1",
                    "tcp_port": nsqd.address().port(), "http_port": 1, "version": "1.3.0"})
            })
            .collect();
        self.says(200, &serde_json::json!({"channels": ["tests"], "producers": producers}).to_string());
    }

    fn says(&self, status: u16, body: &str) {
        *self.answer.lock().expect("no panic") = (status, body.to_owned());
    }

    fn asked(&self) -> usize {
        self.asked.lock().expect("no panic").len()
    }
}

fn through(lookupds: &[&Lookupd], interval: Duration) -> ConsumerSettings {
    let lookupds = lookupds.iter().map(|lookupd| lookupd.address.to_string()).collect();
    ConsumerSettings { source: Source::Lookupds(lookupds), lookup_interval: interval, ..settings([]) }
}

/// 64 MiB hold 12 messages of 5 MiB, however many nsqds they come from and whenever those are found.
#[test]
fn nsqds_that_are_found_one_after_another_start_as_low_as_together() {
    local(async {
        let nsqds = [ScriptedNsqd::start(), ScriptedNsqd::start(), ScriptedNsqd::start()];
        let lookupd = Lookupd::start();
        let _rig = Rig::start(through(&[&lookupd], 100 * MS));
        let mut starts = Vec::new();
        for known in 1..=3 {
            lookupd.lists(&nsqds.iter().take(known).collect::<Vec<_>>());
            starts.push(nsqds[known - 1].until_connection(0).await.until_rdy().await);
        }
        assert_eq!(starts, [12, 6, 4]);
        sleep(300 * MS).await;
        assert_eq!(nsqds.each_ref().map(ScriptedNsqd::rdy_sum), [4, 4, 4]);
    });
}

#[test]
fn no_more_nsqds_are_dialled_than_a_cluster_can_have() {
    local(async {
        let lookupd = Lookupd::start();
        // Nobody listens there; what counts is how many are taken.
        let producers: Vec<_> = (1..=1_100)
            .map(|port| serde_json::json!({"broadcast_address": "127.0.0.1", "tcp_port": port}))
            .collect();
        lookupd.says(200, &serde_json::json!({"producers": producers}).to_string());
        let rig = Rig::start(through(&[&lookupd], 60_000 * MS));
        let told = rig
            .event(|event| match event {
                Event::TooManyListed { nodes, taken, .. } => Some((*nodes, *taken)),
                _ => None,
            })
            .await;
        assert_eq!(told, (1_100, 1_024));
        let listed = rig.events.borrow().iter().filter(|event| matches!(event, Event::Listed { .. })).count();
        assert_eq!(listed, 1_024);
    });
}

#[test]
fn an_nsqd_is_consumed_from_as_soon_as_one_lists_it() {
    local(async {
        let (nsqd, other) = (ScriptedNsqd::start(), ScriptedNsqd::start());
        let (first, second) = (Lookupd::start(), Lookupd::start());
        let rig = Rig::start(through(&[&first, &second], 100 * MS));
        rig.until(|_| first.asked() >= 2).await;
        first.says(500, "no");
        rig.until(|counts| counts.lookup_failures > 0).await;
        second.lists(&[&nsqd]);
        let mut connection = nsqd.until_connection(0).await;
        connection.until_rdy().await;
        first.lists(&[&nsqd, &other]);
        other.until_connection(0).await.until_rdy().await;
        connection.send([Act::message(id(1), 1, "x")]);
        let delivery = rig.recv().await;
        assert_eq!(delivery.node(), nsqd.address().to_string());
        assert_eq!(delivery.finish(), Settled::Sent);
        sleep(300 * MS).await;
        assert_eq!(
            (nsqd.counts().accepted, other.counts().accepted),
            (1, 1),
            "one connection each, however many list it"
        );
        let events = rig.events.borrow();
        let failed = events.iter().filter(|event| matches!(event, Event::LookupFailed { .. })).count() as u64;
        assert_eq!(failed, rig.counts().lookup_failures);
        let answered = events.iter().filter(|event| matches!(event, Event::LookupAnswered { .. })).count();
        assert_eq!(answered, 3, "only the first answer and the one after the failures are told: {events:?}");
    });
}

#[test]
fn a_delisted_nsqd_keeps_its_connection_and_is_not_dialled_again() {
    local(async {
        let nsqd = ScriptedNsqd::start();
        let (first, second) = (Lookupd::start(), Lookupd::start());
        first.lists(&[&nsqd]);
        second.lists(&[&nsqd]);
        let rig = Rig::start(through(&[&first, &second], 100 * MS));
        let mut connection = nsqd.until_connection(0).await;
        connection.until_rdy().await;
        let answered = |event: &&Event| matches!(event, Event::LookupAnswered { .. });
        rig.until(|_| rig.events.borrow().iter().filter(answered).count() == 2).await;
        let delisted = |event: &Event| matches!(event, Event::Delisted { .. }).then_some(());

        first.says(404, r#"{"message":"TOPIC_NOT_FOUND"}"#);
        second.says(500, "");
        sleep(400 * MS).await;
        assert!(rig.events.borrow().iter().find_map(delisted).is_none(), "an error is no answer");
        second.lists(&[]);
        rig.event(delisted).await;
        connection.send([Act::message(id(1), 1, "x")]);
        assert_eq!(rig.recv().await.finish(), Settled::Sent, "the connection lives");
        connection.until_fin(&id(1)).await;

        connection.send([Act::Drop]);
        rig.until(|counts| counts.disconnects == 1).await;
        sleep(500 * MS).await;
        assert_eq!(nsqd.counts().accepted, 1);
        first.lists(&[&nsqd]);
        nsqd.until_connection(1).await.until_rdy().await;
    });
}

#[test]
fn a_lost_connection_asks_at_once() {
    local(async {
        let nsqd = ScriptedNsqd::start();
        let lookupd = Lookupd::start();
        lookupd.lists(&[&nsqd]);
        let rig = Rig::start(through(&[&lookupd], Duration::from_secs(60)));
        nsqd.until_connection(0).await.until_rdy().await;
        sleep(1_100 * MS).await;
        assert_eq!(lookupd.asked(), 1);
        nsqd.kill_connections(testkit::Kill::Reset);
        rig.until(|_| lookupd.asked() == 2).await;
        nsqd.until_connection(1).await.until_rdy().await;
    });
}

#[test]
fn a_stop_does_not_wait_for_an_nsqlookupd() {
    local(async {
        // It accepts, by its backlog, and never answers.
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it is bound").to_string();
        let rig = Rig::start(ConsumerSettings { source: Source::Lookupds(vec![address]), ..settings([]) });
        sleep(100 * MS).await;
        let began = Instant::now();
        rig.consumer.stop(Duration::from_secs(30)).await;
        assert!(began.elapsed() < 200 * MS);
    });
}
