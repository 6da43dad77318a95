//! The endpoint under a client that shares no code with it: blocking sockets and rustls' own client.

#![allow(clippy::unwrap_used, missing_docs)]

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::{ClientConfig, ClientConnection, HandshakeKind, StreamOwned};
use testkit::body::body;
use testkit::endpoint::{Accept, Answer, End, Endpoint, EndpointOptions, Script, Step, TlsOptions};
use testkit::ports::{TcpState, sockets_to};
use testkit::{Gate, Kill, certs::Authority};

trait Stream: Read + Write {}
impl<T: Read + Write> Stream for T {}

fn tcp(endpoint: &Endpoint) -> TcpStream {
    let stream = TcpStream::connect(endpoint.address()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    stream
}

fn client_config(endpoint: &Endpoint) -> Arc<ClientConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    Arc::new(builder.with_root_certificates(endpoint.authority().roots()).with_no_client_auth())
}

fn tls(endpoint: &Endpoint, config: &Arc<ClientConfig>) -> StreamOwned<ClientConnection, TcpStream> {
    let connection = ClientConnection::new(config.clone(), "localhost".try_into().unwrap()).unwrap();
    StreamOwned::new(connection, tcp(endpoint))
}

fn request(body: &[u8]) -> Vec<u8> {
    let head = format!("POST /hook HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

/// Reads one answer with a Content-Length.
fn answer(stream: &mut impl Stream) -> std::io::Result<(u16, Vec<u8>)> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        if stream.read(&mut byte)? == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    let status = head[9..12].parse().unwrap();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("Content-Length: "))
        .map_or(0, |len| len.parse().unwrap());
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    Ok((status, body))
}

fn post(stream: &mut impl Stream, body: &[u8]) -> std::io::Result<(u16, Vec<u8>)> {
    stream.write_all(&request(body))?;
    stream.flush()?;
    answer(stream)
}

#[test]
fn counts_and_judges_on_a_plain_connection() {
    let endpoint =
        Endpoint::start(EndpointOptions { bodies_kept: 4096, ..EndpointOptions::new(Answer::ok()) });
    let mut stream = tcp(&endpoint);
    for serial in 0..3 {
        assert_eq!(post(&mut stream, &body(serial, 1024)).unwrap(), (200, b"ok".to_vec()));
    }
    let counts = endpoint.wait(|counts| counts.answers == 3);
    assert_eq!((counts.accepted, counts.open, counts.requests, counts.bodies), (1, 1, 3, 3));
    assert_eq!((counts.busy, counts.busy_max, counts.pipelined, counts.handshakes()), (0, 1, 0, 0));
    assert_eq!(counts.bytes_in, 3 * request(&body(0, 1024)).len() as u64);
    endpoint.ledger().assert_exactly_once(0..3);
    let records = endpoint.requests();
    assert_eq!(
        (records[2].head.connection, records[2].head.on_connection, records[2].head.serial),
        (0, 2, 2)
    );
    assert_eq!((records[2].body.as_deref(), records[2].status), (Some(&body(2, 1024)[..]), Some(200)));
    drop(stream);
    endpoint.wait(|counts| counts.open == 0);
    assert_eq!(endpoint.connections()[0].ended.unwrap().1, End::PeerFin { close_notify: false });
}

#[test]
fn tickets_and_key_updates_reach_a_real_client() {
    let script = Script::cycle(vec![
        Answer::ok().then(Step::KeyUpdate(true)),
        Answer::ok().then(Step::Tickets(2)),
        Answer::with_body(40_000).then(Step::KeyUpdate(false)),
    ]);
    let endpoint = Endpoint::https(script);
    let config = client_config(&endpoint);
    let mut stream = tls(&endpoint, &config);
    let mut on_idle = 0;
    for serial in 0..300 {
        let (status, bytes) = post(&mut stream, &body(serial, 30_000)).unwrap();
        assert_eq!((status, bytes.len()), (200, if serial % 3 == 2 { 40_000 } else { 2 }));
        if serial % 10 == 0 {
            endpoint.wait(|counts| counts.answers == serial + 1);
            on_idle += endpoint.on_idle([Step::Tickets(1), Step::KeyUpdate(true)]);
        }
    }
    assert_eq!(stream.conn.handshake_kind(), Some(HandshakeKind::Full));
    let counts = endpoint.wait(|counts| counts.answers == 300);
    assert!(on_idle == 30, "{on_idle}");
    assert_eq!((counts.accepted, counts.handshakes_full, counts.handshakes_resumed), (1, 1, 0));
    assert!(counts.fired("key_update") >= 200 && counts.fired("tickets") >= 100, "{counts:#?}");
    // The client answers an asked-for update with its next write.
    assert!(counts.key_updates_received >= 90, "{counts:#?}");
    endpoint.ledger().assert_exactly_once(0..300);
    let agreed = endpoint.connections()[0].tls.clone().unwrap();
    assert_eq!((agreed.version.as_str(), agreed.server_name.as_deref()), ("TLSv1_3", Some("localhost")));
}

#[test]
fn tickets_of_the_handshake_can_come_late_and_do_resume() {
    let authority = Authority::new();
    let late = TlsOptions { tickets_after: Some(Duration::from_millis(50)), ..TlsOptions::new(&authority) };
    let endpoint = Endpoint::start(EndpointOptions::new(Answer::ok()).tls(late));
    let config = client_config(&endpoint);
    let mut stream = tls(&endpoint, &config);
    while stream.conn.is_handshaking() {
        stream.conn.complete_io(&mut stream.sock).unwrap();
    }
    endpoint.wait(|counts| counts.handshakes_full == 1);
    std::thread::sleep(Duration::from_millis(20));
    assert_eq!(endpoint.counts().fired("tickets_late"), 0);
    endpoint.wait(|counts| counts.fired("tickets_late") == 1);
    assert_eq!(post(&mut stream, &body(0, 64)).unwrap().0, 200);
    let mut second = tls(&endpoint, &config);
    assert_eq!(
        post(&mut second, &body(1, 64)).unwrap().0,
        200,
        "tickets before the answer if that comes first"
    );
    assert_eq!(second.conn.handshake_kind(), Some(HandshakeKind::Resumed));
    let counts = endpoint.counts();
    assert_eq!((counts.handshakes_full, counts.handshakes_resumed, counts.fired("tickets_late")), (1, 1, 1));
}

#[test]
fn tls12_works_with_both_kinds_of_suite() {
    let authority = Authority::new();
    let old = TlsOptions { versions: vec![&rustls::version::TLS12], ..TlsOptions::new(&authority) };
    let endpoint = Endpoint::start(EndpointOptions::new(Answer::ok()).tls(old));
    let config = client_config(&endpoint);
    for round in 0..2 {
        let mut stream = tls(&endpoint, &config);
        for serial in 0..5 {
            assert_eq!(post(&mut stream, &body(round * 5 + serial, 20_000)).unwrap().0, 200);
        }
    }
    let counts = endpoint.counts();
    assert_eq!((counts.handshakes_full, counts.handshakes_resumed), (1, 1));
    endpoint.ledger().assert_exactly_once(0..10);
}

#[test]
fn acts_on_idle_connections_are_in_the_peers_kernel_at_once() {
    let endpoint = Endpoint::http(Answer::ok());
    let mut streams: Vec<_> = (0..3).map(|_| tcp(&endpoint)).collect();
    streams.iter_mut().for_each(|stream| assert_eq!(post(stream, b"x").unwrap().0, 200));
    endpoint.wait(|counts| counts.answers == 3);
    assert_eq!(endpoint.idle(), [0, 1, 2]);
    for (number, step) in [Step::Send("stray".into()), Step::Fin, Step::Reset].into_iter().enumerate() {
        assert!(endpoint.on_idle_connection(number as u64, [step]));
        let stream = &mut streams[number];
        stream.set_nonblocking(true).unwrap();
        let mut buffer = [0; 16];
        let seen = stream.read(&mut buffer);
        match number {
            0 => assert_eq!(&buffer[..seen.unwrap()], b"stray"),
            1 => assert_eq!(seen.unwrap(), 0),
            _ => assert_eq!(seen.unwrap_err().kind(), ErrorKind::ConnectionReset),
        }
    }
    let counts = endpoint.counts();
    assert_eq!((counts.fired("reset"), counts.fired("fin")), (1, 1));
    assert!(!endpoint.on_idle_connection(2, [Step::Fin]), "it is gone");
}

#[test]
fn closing_idle_connections_does_not_wait_for_the_peer() {
    let endpoint = Endpoint::http(Answer::ok());
    let mut streams: Vec<_> = (0..10).map(|_| tcp(&endpoint)).collect();
    streams.iter_mut().for_each(|stream| assert_eq!(post(stream, b"x").unwrap().0, 200));
    endpoint.wait(|counts| counts.answers == 10);
    let begun = Instant::now();
    assert_eq!(endpoint.on_idle([Step::Close]), 10);
    assert!(begun.elapsed() < Duration::from_secs(1));
    assert_eq!(sockets_to(endpoint.port()).get(&TcpState::CloseWait), Some(&10));
    drop(streams);
    endpoint.wait(|counts| counts.open == 0);
    assert!(endpoint.connections().iter().all(|record| record.ended.unwrap().1 == End::Scripted));
}

#[test]
fn alerts_and_closes_over_tls_look_as_they_should() {
    let endpoint = Endpoint::https(Answer::ok());
    let config = client_config(&endpoint);
    let mut streams: Vec<_> = (0..4).map(|_| tls(&endpoint, &config)).collect();
    streams.iter_mut().for_each(|stream| assert_eq!(post(stream, b"x").unwrap().0, 200));
    endpoint.wait(|counts| counts.answers == 4);
    let steps = [Step::Alert(80), Step::CloseNotify, Step::Fin, Step::Raw("plain".into())];
    let mut byte = [0];
    for (number, step) in steps.into_iter().enumerate() {
        assert!(endpoint.on_idle_connection(number as u64, [step]));
        let seen = streams[number].read(&mut byte);
        match number {
            0 => assert!(seen.unwrap_err().to_string().contains("InternalError")),
            1 => assert_eq!(seen.unwrap(), 0),
            2 => assert_eq!(seen.unwrap_err().kind(), ErrorKind::UnexpectedEof),
            _ => assert_eq!(seen.unwrap_err().kind(), ErrorKind::InvalidData),
        }
    }
    let closing = &mut streams[1];
    closing.conn.send_close_notify();
    closing.conn.complete_io(&mut closing.sock).ok();
    drop(streams);
    endpoint.wait(|counts| counts.open == 0);
    let ends: Vec<_> = endpoint.connections().iter().map(|record| record.ended.unwrap().1).collect();
    assert_eq!(ends[1], End::PeerFin { close_notify: true });
}

#[test]
fn early_answers_gates_and_pipelining() {
    let gate = Gate::new();
    let endpoint = Endpoint::http(Script::sequence(vec![
        Answer::ok().before_body(),
        Answer::ok().after_body_bytes(10),
        Answer::ok().at_gate(&gate),
        Answer::ok(),
    ]));
    let mut stream = tcp(&endpoint);
    let whole = request(&body(0, 100_000));
    stream.write_all(&whole[..100]).unwrap();
    assert_eq!(answer(&mut stream).unwrap().0, 200, "before the body");
    assert_eq!(endpoint.counts().bodies, 0);
    assert_eq!(endpoint.ledger().marks(0).answered_2xx, 0, "not before the body is whole");
    stream.write_all(&whole[100..]).unwrap();
    endpoint.wait(|counts| counts.answers == 1);
    assert_eq!(endpoint.ledger().marks(0).answered_2xx, 1);
    assert_eq!(post(&mut stream, &body(1, 1000)).unwrap().0, 200);

    stream.write_all(&[request(&body(2, 64)), request(&body(3, 64))].concat()).unwrap();
    gate.wait_arrived(1);
    std::thread::sleep(Duration::from_millis(20));
    assert_eq!(endpoint.counts().answers, 2);
    gate.pass(1);
    assert_eq!(answer(&mut stream).unwrap().0, 200);
    assert_eq!(answer(&mut stream).unwrap().0, 200);
    endpoint.wait(|counts| counts.answers == 4);
    endpoint.ledger().assert_exactly_once(0..4);
    stream.write_all(&[request(b""), b"POST".to_vec()].concat()).unwrap();
}

#[test]
fn pipelined_bytes_are_counted() {
    let gate = Gate::new();
    let endpoint = Endpoint::http(Answer::ok().at_gate(&gate));
    let mut stream = tcp(&endpoint);
    stream.write_all(&request(b"one")).unwrap();
    gate.wait_arrived(1);
    stream.write_all(&request(b"two")).unwrap();
    let expected = request(b"two").len() as u64;
    endpoint.wait(|counts| counts.pipelined == expected);
}

#[test]
fn a_peer_that_gives_up_is_seen() {
    let endpoint = Endpoint::http(Answer::ok().after(Duration::from_secs(60)));
    let mut stream = tcp(&endpoint);
    stream.write_all(&request(b"x")).unwrap();
    endpoint.wait(|counts| counts.busy == 1);
    drop(stream);
    let counts = endpoint.wait(|counts| counts.open == 0);
    assert_eq!((counts.answers_broken, counts.answers, counts.busy), (1, 0, 0));
    let mut stream = tcp(&endpoint);
    stream.write_all(&request(&body(0, 1000))[..500]).unwrap();
    endpoint.wait(|counts| counts.busy == 1);
    drop(stream);
    assert_eq!(endpoint.wait(|counts| counts.open == 0).bodies_broken, 1);
}

#[test]
fn down_up_kill_and_lost_connections() {
    let endpoint = Endpoint::http(Answer::ok());
    let mut old = tcp(&endpoint);
    assert_eq!(post(&mut old, b"x").unwrap().0, 200);
    endpoint.down();
    assert_eq!(TcpStream::connect(endpoint.address()).unwrap_err().kind(), ErrorKind::ConnectionRefused);
    assert_eq!(post(&mut old, b"x").unwrap().0, 200, "open connections stay");
    endpoint.up();
    assert_eq!(endpoint.reset_on_next_use(), 1);
    let mut fresh = tcp(&endpoint);
    assert_eq!(post(&mut fresh, b"x").unwrap().0, 200);
    assert!(post(&mut old, b"x").is_err());
    assert_eq!(endpoint.wait(|counts| counts.open == 1).fired("reset_on_next_use"), 1);
    assert_eq!(endpoint.kill_connections(Kill::Reset), 1);
    assert_eq!(fresh.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
}

#[test]
fn connections_can_be_mistreated_from_the_start() {
    let options = EndpointOptions::new(Answer::ok()).tls(TlsOptions::new(&Authority::new()));
    let endpoint = Endpoint::start(options.accept(|number| match number {
        0 => Accept::Reset,
        1 => Accept::Close,
        2 => Accept::CloseAfterFirstBytes,
        3 => Accept::Garbage(b"HTTP/1.1 400 Bad Request\r\n\r\n"),
        4 => Accept::FreezeAfterFirstBytes,
        _ => Accept::Serve,
    }));
    let config = client_config(&endpoint);
    for number in 0..4 {
        let error = post(&mut tls(&endpoint, &config), b"x").expect_err("no TLS");
        assert_ne!(error.kind(), ErrorKind::WouldBlock, "connection {number}");
    }
    let mut frozen = tls(&endpoint, &config);
    frozen.sock.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    assert_eq!(post(&mut frozen, b"x").expect_err("silence").kind(), ErrorKind::WouldBlock);
    assert_eq!(post(&mut tls(&endpoint, &config), b"x").unwrap().0, 200);
    let counts = endpoint.counts();
    for name in ["reset", "close", "close_after_first_bytes", "garbage", "freeze_after_first_bytes"] {
        assert_eq!(counts.fired(&format!("accept_{name}")), 1, "{name}");
    }
}

#[test]
fn an_untrusted_certificate_fails_at_the_client_and_is_counted() {
    let endpoint = Endpoint::https(Answer::ok());
    let other = Endpoint::https(Answer::ok());
    let mut stream = tls(&endpoint, &client_config(&other));
    assert!(post(&mut stream, b"x").unwrap_err().to_string().contains("certificate"));
    endpoint.wait(|counts| counts.handshakes_failed == 1);
    assert_eq!(endpoint.counts().requests, 0);
}

#[test]
fn answers_without_end_run_until_the_peer_leaves() {
    let endpoint = Endpoint::http(Script::cycle(vec![
        Answer::endless_chunks(),
        Answer::endless_body(),
        Answer::huge(1 << 30),
    ]));
    for round in 0..3 {
        let mut stream = tcp(&endpoint);
        stream.write_all(&request(b"x")).unwrap();
        let mut bytes = vec![0; 1 << 20];
        stream.read_exact(&mut bytes).unwrap();
        drop(stream);
        endpoint.wait(|counts| counts.open == 0 && counts.answers_broken == round + 1);
    }
}

#[tokio::test]
async fn a_test_on_one_thread_can_await_the_counts() {
    let endpoint = Endpoint::http(Script::by_body(|_, body| Answer::status(200 + body.len() as u16)));
    let mut stream = tcp(&endpoint);
    let posted = tokio::task::spawn_blocking(move || post(&mut stream, b"abc").unwrap().0);
    let counts = endpoint.until(|counts| counts.answers == 1).await;
    assert_eq!((counts.fired("decide"), posted.await.unwrap()), (1, 203));
}

#[test]
fn random_delays_lie_between() {
    let endpoint = Endpoint::http(Script::ok_between(Duration::from_millis(25), Duration::from_millis(75)));
    let mut stream = tcp(&endpoint);
    let times: Vec<_> = (0..30)
        .map(|_| {
            let begun = Instant::now();
            assert_eq!(post(&mut stream, b"x").unwrap().0, 200);
            begun.elapsed()
        })
        .collect();
    let mean = times.iter().sum::<Duration>() / 30;
    assert!(times.iter().all(|time| *time >= Duration::from_millis(25)), "{times:?}");
    assert!((Duration::from_millis(40)..Duration::from_millis(65)).contains(&mean), "{mean:?}");
}
