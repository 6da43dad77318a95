//! Lookups against nsqlookupds that answer as they are told: side by side, bounded, each failure under its name.

#![allow(clippy::unwrap_used, reason = "a test may panic")]
#![allow(clippy::disallowed_methods, reason = "the servers need tasks, and no message passes here")]

use std::time::Duration;

use client::{Lookup, LookupError, LookupSettings, Node, TlsFailure, TlsSettings};
use testkit::certs::Authority;
use testkit::ports::Blackhole;
use testkit::process::{Nsqd, Nsqlookupd};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;

const TWO_NODES: &str = r#"{"channels":["c"],"producers":[
    {"remote_address":"127.0.0.1:1","hostname":"a","broadcast_address":"a.example","tcp_port":4150,"http_port":4151,"version":"1.3.0"},
    {"remote_address":"127.0.0.1:2","hostname":"b","broadcast_address":"b.example","tcp_port":4150,"http_port":4151,"version":"1.3.0"}]}"#;

/// Reads one request's head, answers with `answer`, closes. Returns the head.
async fn answer(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), answer: &[u8]) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    // The other side may close first, when it has seen enough.
    let _written = stream.write_all(answer).await;
    let _ended = stream.shutdown().await;
    String::from_utf8(head).unwrap()
}

fn http(status: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

/// An nsqlookupd that gives every request this answer.
async fn lookupd(bytes: Vec<u8>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        loop {
            let (mut socket, _) = listener.accept().await.unwrap();
            answer(&mut socket, &bytes).await;
        }
    });
    address
}

fn settings(addresses: Vec<String>) -> LookupSettings {
    LookupSettings {
        timeout: Duration::from_millis(500),
        answer_bytes_max: 10_000,
        ..LookupSettings::new(addresses)
    }
}

/// Every answer, in the order of the addresses.
async fn ask(settings: &LookupSettings, topic: &str) -> Vec<Result<Vec<Node>, LookupError>> {
    let lookup = Lookup::new(settings).unwrap();
    let mut answers: Vec<_> = lookup.addresses().iter().map(|_| None).collect();
    lookup.ask(topic, |i, answer| assert!(answers[i].replace(answer).is_none())).await;
    answers.into_iter().map(Option::unwrap).collect()
}

async fn ask_one(bytes: Vec<u8>) -> Result<Vec<Node>, LookupError> {
    ask(&settings(vec![lookupd(bytes).await]), "t").await.remove(0)
}

#[tokio::test]
async fn nodes_are_found() {
    let nodes = ask_one(http("200 OK", TWO_NODES)).await.unwrap();
    let addresses: Vec<_> = nodes.iter().map(Node::address).collect();
    assert_eq!(addresses, ["a.example:4150", "b.example:4150"]);
    assert_eq!(ask_one(http("404 Not Found", r#"{"message":"TOPIC_NOT_FOUND"}"#)).await.unwrap(), []);
}

#[tokio::test]
async fn the_question_is_what_nsqlookupd_expects() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let served = async {
        let (mut socket, _) = listener.accept().await.unwrap();
        answer(&mut socket, &http("200 OK", TWO_NODES)).await
    };
    let settings = settings(vec![address.clone()]);
    let (head, answers) = tokio::join!(served, ask(&settings, "t#ephemeral"));
    assert_eq!(answers[0].as_ref().unwrap().len(), 2);
    let lines: Vec<_> = head.trim_end().split("\r\n").collect();
    assert_eq!(lines[0], "GET /lookup?topic=t%23ephemeral HTTP/1.1");
    let has = |line: &str| lines.iter().any(|one| one.eq_ignore_ascii_case(line));
    assert!(has(&format!("host: {address}")), "{head}");
    assert!(has("accept: application/vnd.nsq; version=1.0"), "{head}");
}

#[tokio::test]
async fn every_way_to_give_no_answer_is_named() {
    let error =
        ask_one(http("500 Internal Server Error", r#"{"message":"INTERNAL_ERROR"}"#)).await.unwrap_err();
    assert_eq!(error.to_string(), "status 500: INTERNAL_ERROR");
    let error = ask_one(http("302 Found", "")).await.unwrap_err();
    assert!(matches!(error, LookupError::Refused { status: 302, .. }), "{error}");
    let error = ask_one(http("200 OK", "hello")).await.unwrap_err();
    assert!(matches!(error, LookupError::Json { .. }), "{error}");
    let error = ask_one(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{".to_vec()).await.unwrap_err();
    assert!(matches!(error, LookupError::Http(_)), "{error}");
    let error = ask_one(Vec::new()).await.unwrap_err();
    assert!(matches!(error, LookupError::Http(_)), "{error}");
    let error = ask_one(http("200 OK", &"x".repeat(10_001))).await.unwrap_err();
    assert!(matches!(error, LookupError::TooLong { max: 10_000 }), "{error}");
    let endless = [&b"HTTP/1.1 200 OK\r\n\r\n"[..], &[b'x'; 1 << 20]].concat();
    let error = ask_one(endless).await.unwrap_err();
    assert!(matches!(error, LookupError::TooLong { max: 10_000 }), "{error}");
}

#[tokio::test]
async fn one_that_hangs_holds_up_no_other() {
    let hole = Blackhole::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent = listener.local_addr().unwrap().to_string();
    let good = lookupd(http("200 OK", TWO_NODES)).await;
    let addresses = vec![hole.address().to_string(), silent, "127.0.0.1:1".to_owned(), good];
    let lookup = Lookup::new(&settings(addresses)).unwrap();
    let begun = Instant::now();
    let mut told = Vec::new();
    lookup.ask("t", |i, answer| told.push((i, answer, begun.elapsed()))).await;
    assert!(begun.elapsed() < Duration::from_secs(2));
    told.sort_by_key(|(i, ..)| *i);
    assert!(matches!(&told[0].1, Err(LookupError::Connect(_) | LookupError::Timeout { .. })), "{told:?}");
    assert!(matches!(&told[1].1, Err(LookupError::Timeout { .. })), "{told:?}");
    assert!(matches!(&told[2].1, Err(LookupError::Connect(_))), "{told:?}");
    assert_eq!(told[3].1.as_ref().unwrap().len(), 2);
    assert!(told[3].2 < Duration::from_millis(400), "told as soon as it was there: {told:?}");
}

#[tokio::test]
async fn https_is_verified() {
    let authority = Authority::new();
    let server = authority.server();
    let config =
        rustls::ServerConfig::builder_with_provider(rustls::crypto::aws_lc_rs::default_provider().into())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(server.chain(), server.key())
            .unwrap();
    let acceptor = TlsAcceptor::from(std::sync::Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("https://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        loop {
            let (socket, _) = listener.accept().await.unwrap();
            if let Ok(mut stream) = acceptor.accept(socket).await {
                answer(&mut stream, &http("200 OK", TWO_NODES)).await;
            }
        }
    });
    let trusting = TlsSettings { ca_files: vec![authority.ca_file()], ..TlsSettings::default() };
    let trusted = LookupSettings { tls: trusting.clone(), ..settings(vec![address.clone()]) };
    assert_eq!(ask(&trusted, "t").await[0].as_ref().unwrap().len(), 2);

    let stranger = Authority::new();
    let other = TlsSettings { ca_files: vec![stranger.ca_file()], ..TlsSettings::default() };
    let named = TlsSettings { server_name: Some("other.example".to_owned()), ..trusting };
    for tls in [other, named] {
        let error =
            ask(&LookupSettings { tls, ..settings(vec![address.clone()]) }, "t").await.remove(0).unwrap_err();
        assert!(matches!(error, LookupError::Tls(TlsFailure::ServerCertificate(_))), "{error}");
    }
}

#[tokio::test]
async fn the_real_nsqlookupd() {
    let nsqlookupd = Nsqlookupd::start(&[]);
    let settings = LookupSettings::new(vec![nsqlookupd.http_address().to_string()]);
    assert_eq!(ask(&settings, "t#ephemeral").await.remove(0).unwrap(), []);
    let nsqd = Nsqd::start(&[&format!("--lookupd-tcp-address={}", nsqlookupd.tcp_address())]);
    // Of an ephemeral one, to see that its name arrives whole. nsqd's own HTTP needs the # written so.
    nsqd.create_topic("t%23ephemeral");
    nsqlookupd.wait_producers("t%23ephemeral", 1);
    let nodes = ask(&settings, "t#ephemeral").await.remove(0).unwrap();
    assert_eq!(nodes[0].address(), nsqd.tcp_address().to_string());
    assert_eq!((nodes[0].http_port, &*nodes[0].version), (nsqd.http_address().port(), "1.3.0"));
    assert_eq!(ask(&settings, "t").await.remove(0).unwrap(), []);
}

#[test]
fn every_mistake_in_the_settings_is_found_at_once() {
    let addresses = vec!["good:4161".to_owned(), "bad".to_owned(), "ftp://bad:1".to_owned()];
    let settings = LookupSettings { timeout: Duration::ZERO, ..LookupSettings::new(addresses) };
    let errors = Lookup::new(&settings).unwrap_err();
    let values: Vec<_> = errors.iter().map(|error| error.value.as_str()).collect();
    assert_eq!(values, ["bad", "ftp://bad:1", "0"], "{errors:?}");
    assert_eq!(Lookup::new(&LookupSettings::new(Vec::new())).unwrap_err().len(), 1);
}
