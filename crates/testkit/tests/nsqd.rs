//! The scripted nsqd under a client that shares no code with it.

#![allow(clippy::unwrap_used, missing_docs)]

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::{Value, json};
use testkit::Kill;
use testkit::body::body;
use testkit::certs::Authority;
use testkit::nsqd::{Act, Command, NsqdEnd, NsqdOptions, React, Reaction, ScriptedNsqd, id};

trait Stream: Read + Write {}
impl<T: Read + Write> Stream for T {}

struct Client(Box<dyn Stream>);

impl Client {
    fn dial(nsqd: &ScriptedNsqd) -> Self {
        let stream = TcpStream::connect(nsqd.address()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let mut client = Client(Box::new(stream));
        client.send(b"  V2");
        client
    }

    fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).unwrap();
        self.0.flush().unwrap();
    }

    fn identify(&mut self, request: Value) -> Value {
        let text = request.to_string();
        self.send(&[b"IDENTIFY\n", &(text.len() as u32).to_be_bytes()[..], text.as_bytes()].concat());
        serde_json::from_slice(&self.frame().1).unwrap()
    }

    fn frame(&mut self) -> (u32, Vec<u8>) {
        let mut head = [0; 8];
        self.0.read_exact(&mut head).unwrap();
        let size = u32::from_be_bytes(head[..4].try_into().unwrap());
        let mut bytes = vec![0; size as usize - 4];
        self.0.read_exact(&mut bytes).unwrap();
        (u32::from_be_bytes(head[4..].try_into().unwrap()), bytes)
    }

    fn response(&mut self) -> String {
        let (kind, bytes) = self.frame();
        assert!(kind < 2);
        String::from_utf8(bytes).unwrap()
    }

    fn subscribe(&mut self, rdy: i64) {
        self.send(b"SUB t c\n");
        assert_eq!(self.response(), "OK");
        self.send(format!("RDY {rdy}\n").as_bytes());
    }

    /// Id, attempts, body.
    fn message(&mut self) -> (String, u16, Vec<u8>) {
        let (kind, bytes) = self.frame();
        assert_eq!(kind, 2, "{}", String::from_utf8_lossy(&bytes));
        let id = String::from_utf8(bytes[10..26].to_vec()).unwrap();
        (id, u16::from_be_bytes([bytes[8], bytes[9]]), bytes[26..].to_vec())
    }
}

#[test]
fn feeds_under_rdy_and_judges_every_answer() {
    let nsqd = ScriptedNsqd::start();
    nsqd.feed((0..5).map(|serial| body(serial, 64)));
    let mut client = Client::dial(&nsqd);
    let answer = client.identify(json!({"feature_negotiation": true, "msg_timeout": 7000}));
    assert_eq!((&answer["msg_timeout"], &answer["tls_v1"]), (&json!(7000), &json!(false)));
    client.subscribe(2);
    let first = client.message();
    assert_eq!(first, (id(1), 1, body(0, 64).to_vec()));
    let second = client.message();
    std::thread::sleep(Duration::from_millis(20));
    assert_eq!((nsqd.counts().messages, nsqd.depth()), (2, 3), "RDY 2 lets no more than two through");
    client.send(format!("FIN {}\nREQ {} 0\n", first.0, second.0).as_bytes());
    assert_eq!([client.message().0, client.message().0], [id(3), id(4)]);
    client.send(format!("FIN {}\nFIN {}\nFIN {}\n", first.0, id(3), id(4)).as_bytes());
    assert_eq!(client.response(), format!("E_FIN_FAILED FIN {} failed ID not in flight", first.0));
    let (fifth, again) = (client.message(), client.message());
    assert_eq!((fifth.0, again.0.clone(), again.1), (id(5), second.0, 2), "requeued ones go to the back");
    client.send(format!("TOUCH {}\nCLS\n", again.0).as_bytes());
    assert_eq!(client.response(), "CLOSE_WAIT");
    let counts = nsqd.wait(|counts| counts.commands("CLS") == 1);
    assert_eq!((counts.finished, counts.requeued, counts.fin_failed, counts.touch_failed), (3, 1, 1, 0));
    let book = &nsqd.connections()[0];
    assert_eq!((book.in_flight_max, book.in_flight.len(), book.rdy, book.closing), (2, 2, 0, true));
    drop(client);
    nsqd.wait(|counts| counts.open == 0);
    assert_eq!(nsqd.depth(), 2, "what was in flight waits for someone else");
}

#[test]
fn a_time_out_makes_a_late_fin_fail_and_redelivers() {
    let nsqd = ScriptedNsqd::start();
    let mut client = Client::dial(&nsqd);
    client.subscribe(5);
    let mut connection = nsqd.wait_connection(0);
    connection.wait("RDY", |command| matches!(command, Command::Rdy(5)).then_some(()));
    connection.send([Act::message(id(9), 1, "x"), Act::TimeOut(id(9)), Act::message(id(9), 2, "x")]);
    assert_eq!((client.message().1, client.message().1), (1, 2));
    client.send(format!("FIN {0}\nFIN {0}\n", id(9)).as_bytes());
    assert!(client.response().starts_with("E_FIN_FAILED"));
    let counts = nsqd.wait(|counts| counts.finished == 1);
    assert_eq!((counts.fin_failed, counts.fired("time_out")), (1, 1));
}

#[test]
fn scripts_change_any_answer() {
    let react = React::new(|arrived| match (arrived.command, arrived.nth) {
        (Command::Pub { .. }, 0) => Reaction::Acts(vec![Act::Sleep(Duration::from_millis(100)), Act::Usual]),
        (Command::Pub { .. }, 1) => Reaction::Ignore,
        (Command::Pub { .. }, 2) => Reaction::Acts(vec![Act::Error("E_BAD_TOPIC PUB".into()), Act::Close]),
        _ => Reaction::Usual,
    });
    let nsqd = ScriptedNsqd::start_with(NsqdOptions {
        react,
        identify: json!({"max_rdy_count": 10, "version": null}),
        ..NsqdOptions::default()
    });
    let mut client = Client::dial(&nsqd);
    let answer = client.identify(json!({"feature_negotiation": true}));
    assert_eq!((&answer["max_rdy_count"], answer.get("version")), (&json!(10), None));
    let begun = std::time::Instant::now();
    client.send(b"PUB t\n\0\0\0\x01x");
    assert_eq!(client.response(), "OK");
    assert!(begun.elapsed() >= Duration::from_millis(100));
    client.send(b"PUB t\n\0\0\0\x01xPUB t\n\0\0\0\x01x");
    assert_eq!(client.response(), "E_BAD_TOPIC PUB");
    assert_eq!(client.0.read(&mut [0]).unwrap(), 0);
    drop(client);
    nsqd.wait(|counts| counts.open == 0);
    assert_eq!(nsqd.connections()[0].ended.unwrap().1, NsqdEnd::Scripted);

    let mut client = Client::dial(&nsqd);
    client.subscribe(11);
    assert_eq!(client.response(), "E_INVALID RDY count 11 out of range 0-10");
    assert_eq!(client.0.read(&mut [0]).unwrap(), 0);
}

#[test]
fn raw_bytes_resets_kills_and_a_closed_door() {
    let nsqd = ScriptedNsqd::start();
    let mut client = Client::dial(&nsqd);
    let connection = nsqd.wait_connection(0);
    connection.send([Act::claimed_message(&id(1), 0x7fff_ffff - 30, 3), Act::Raw("junk".into())]);
    let mut bytes = [0; 41];
    client.0.read_exact(&mut bytes).unwrap();
    assert_eq!((&bytes[..4], &bytes[37..]), (&0x7fff_ffffu32.to_be_bytes()[..], &b"junk"[..]));
    connection.send([Act::Reset]);
    assert_eq!(client.0.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    nsqd.wait(|counts| counts.open == 0);
    nsqd.down();
    assert_eq!(TcpStream::connect(nsqd.address()).unwrap_err().kind(), ErrorKind::ConnectionRefused);
    nsqd.up();
    let mut client = Client::dial(&nsqd);
    nsqd.wait_connection(1);
    assert_eq!(nsqd.kill_connections(Kill::Drop), 1);
    assert!(matches!(client.0.read(&mut [0]), Ok(0) | Err(_)));
}

#[test]
fn heartbeats_come_at_the_interval_asked_for_and_can_stop() {
    let nsqd = ScriptedNsqd::start();
    let mut client = Client::dial(&nsqd);
    client.identify(json!({"feature_negotiation": true, "heartbeat_interval": 50}));
    assert_eq!([client.response(), client.response()], ["_heartbeat_", "_heartbeat_"]);
    let sent = nsqd.counts().heartbeats;
    nsqd.wait_connection(0).send([Act::Heartbeats(false), Act::Response("sync".into())]);
    while client.response() != "sync" {}
    std::thread::sleep(Duration::from_millis(150));
    assert!(nsqd.counts().heartbeats <= sent + 1);
}

#[test]
fn an_unread_socket_makes_the_client_block() {
    let nsqd = ScriptedNsqd::start();
    let stream = TcpStream::connect(nsqd.address()).unwrap();
    (&stream).write_all(b"  V2NOP\n").unwrap();
    let connection = nsqd.wait_connection(0);
    nsqd.wait(|counts| counts.commands("NOP") == 1);
    connection.send([Act::StopReading]);
    nsqd.wait(|counts| counts.fired("stop_reading") == 1);
    stream.set_write_timeout(Some(Duration::from_millis(200))).unwrap();
    let publish = [&b"PUB t\n\0\x10\0\0"[..], &[0; 1 << 20]].concat();
    let mut written = 0usize;
    let blocked = loop {
        match (&stream).write(&publish[written % publish.len()..]) {
            Ok(bytes) => written += bytes,
            Err(error) => break error.kind(),
        }
    };
    assert_eq!(blocked, ErrorKind::WouldBlock);
    connection.send([Act::StartReading]);
    let whole = (written / publish.len()) as u64;
    assert!(whole > 0);
    nsqd.wait(|counts| counts.commands("PUB") == whole);
}

#[test]
fn tls_snappy_and_deflate_carry_the_protocol() {
    let authority = Authority::new();
    let options = NsqdOptions { certificate: Some(authority.server()), ..NsqdOptions::default() };
    let nsqd = ScriptedNsqd::start_with(options);
    let request = json!({"feature_negotiation": true, "tls_v1": true});
    let stream = TcpStream::connect(nsqd.address()).unwrap();
    let mut client = Client(Box::new(stream.try_clone().unwrap()));
    client.send(b"  V2");
    assert_eq!(client.identify(request)["tls_v1"], json!(true));
    let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config =
        rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_root_certificates(authority.roots()).with_no_client_auth();
    let tls = rustls::ClientConnection::new(config.into(), "localhost".try_into().unwrap()).unwrap();
    let mut client = Client(Box::new(rustls::StreamOwned::new(tls, stream)));
    assert_eq!(client.response(), "OK");
    nsqd.feed((0..3).map(|serial| body(serial, 100_000)));
    client.subscribe(3);
    (0..3).for_each(|serial| assert_eq!(client.message().2, body(serial, 100_000)));
}

#[tokio::test]
async fn one_thread_can_await_commands() {
    let nsqd = ScriptedNsqd::start();
    let address = nsqd.address();
    let client = tokio::task::spawn_blocking(move || {
        let stream = TcpStream::connect(address).unwrap();
        (&stream).write_all(b"  V2SUB t c\nRDY 0\nRDY 3\nNOP\n").unwrap();
        (&stream).read_exact(&mut [0; 10]).unwrap();
        stream
    });
    let mut connection = nsqd.until_connection(0).await;
    assert_eq!(connection.until_rdy().await, 3);
    assert_eq!(connection.commands()[0], Command::Sub { topic: "t".into(), channel: "c".into() });
    connection.until_silent(Duration::from_millis(20)).await;
    drop(client.await.unwrap());
    assert_eq!(connection.until_ended().await, NsqdEnd::ClientFin);
}
