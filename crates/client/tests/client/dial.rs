//! A dial against an nsqd that does what it is told, step by step: what each step's failure is called, and that nothing is read, sent or shown that must not be.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::borrow::Borrow;
use std::future::Future;
use std::time::Duration;

use client::{
    Compression, ConnectionSettings, DialError, Dialer, Dialled, Fault, Malformed, Secret, Step, TlsFailure,
    TlsSettings,
};
use testkit::certs::Authority;
use testkit::ports::Blackhole;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;
use wire::frame::{write_error, write_message, write_response};
use wire::{ErrorCode, IdentifyRequest, IdentifyResponse, MessageHead, MessageId};

fn settings() -> ConnectionSettings {
    ConnectionSettings { connect_timeout: Duration::from_millis(500), ..ConnectionSettings::default() }
}

/// Dials a listener whose one connection is given to `nsqd`, and waits for both.
async fn dial<F: Future<Output = ()>>(
    settings: impl Borrow<ConnectionSettings>,
    nsqd: impl FnOnce(TcpStream) -> F,
) -> Result<Dialled, DialError> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let dialer = Dialer::new(settings.borrow()).unwrap();
    let served = async { nsqd(listener.accept().await.unwrap().0).await };
    tokio::join!(dialer.dial(&address), served).0
}

/// Reads magic and IDENTIFY, to the byte, and returns what it asks for.
async fn read_identify(socket: &mut TcpStream) -> IdentifyRequest {
    let mut start = [0; 4 + 9 + 4];
    socket.read_exact(&mut start).await.unwrap();
    assert_eq!(&start[..13], b"  V2IDENTIFY\n");
    let len = u32::from_be_bytes(start[13..].try_into().unwrap());
    let mut body = vec![0; len as usize];
    socket.read_exact(&mut body).await.unwrap();
    IdentifyRequest::parse(&body).unwrap()
}

async fn respond(socket: &mut TcpStream, payload: &[u8]) {
    let mut frame = Vec::new();
    write_response(&mut frame, payload);
    socket.write_all(&frame).await.unwrap();
}

/// Answers IDENTIFY with `answer` and waits for the other side to close.
async fn identify_then_wait(mut socket: TcpStream, answer: IdentifyResponse) {
    read_identify(&mut socket).await;
    respond(&mut socket, &answer.to_json()).await;
    let _end = socket.read_u8().await;
}

#[tokio::test]
async fn what_follows_the_handshake_is_left_in_the_stream() {
    let dialled = dial(settings(), async |mut socket| {
        let asked = read_identify(&mut socket).await;
        assert_eq!(asked.heartbeat_interval_ms, Some(5_000));
        assert_eq!(asked.output_buffer_timeout_ms, Some(25));
        // A heartbeat before the answer, and bytes behind it, all at once.
        let mut bytes = Vec::new();
        write_response(&mut bytes, b"_heartbeat_");
        write_response(
            &mut bytes,
            &IdentifyResponse { max_rdy_count: Some(7), ..Default::default() }.to_json(),
        );
        bytes.extend_from_slice(b"behind it");
        socket.write_all(&bytes).await.unwrap();
        let mut nop = [0; 4];
        socket.read_exact(&mut nop).await.unwrap();
        assert_eq!(&nop, b"NOP\n");
    });
    let mut dialled = dialled.await.unwrap();
    assert_eq!(dialled.negotiated.max_rdy_count, 7);
    assert_eq!(dialled.peer, dialled.stream.peer_addr());
    assert!(dialled.peer.is_some());
    let mut rest = String::new();
    dialled.stream.read_to_string(&mut rest).await.unwrap();
    assert_eq!(rest, "behind it");
}

#[tokio::test]
async fn nobody_there() {
    let dialer = Dialer::new(&settings()).unwrap();
    let refused = dialer.dial("127.0.0.1:1").await.unwrap_err();
    assert!(matches!(refused, DialError::Connect(_)), "{refused}");
    assert_eq!((refused.step(), refused.fault()), (Step::Connect, Fault::Network));
    let nonsense = dialer.dial("no address").await.unwrap_err();
    assert_eq!(nonsense.fault(), Fault::Settings, "{nonsense}");
}

#[tokio::test]
async fn one_deadline_covers_every_step() {
    let hole = Blackhole::new();
    let begun = Instant::now();
    let error = Dialer::new(&settings()).unwrap().dial(&hole.address().to_string()).await.unwrap_err();
    assert_eq!((error.step(), error.fault()), (Step::Connect, Fault::Network), "{error}");

    let silent = dial(settings(), async |mut socket| {
        read_identify(&mut socket).await;
        let _end = socket.read_u8().await;
    });
    assert!(matches!(silent.await, Err(DialError::Timeout { step: Step::Identify, .. })));

    for (compression, answer) in [
        (Compression::Snappy, IdentifyResponse { snappy: Some(true), ..Default::default() }),
        (Compression::Deflate { level: 6 }, IdentifyResponse { deflate: Some(true), ..Default::default() }),
    ] {
        let settings = ConnectionSettings { compression, ..settings() };
        let silent = dial(&settings, |socket| identify_then_wait(socket, answer));
        assert!(matches!(silent.await, Err(DialError::Timeout { step: Step::Compression, .. })));
    }

    let tls = ConnectionSettings { tls: Some(TlsSettings::default()), ..settings() };
    let answer = IdentifyResponse { tls_v1: Some(true), ..Default::default() };
    let silent = dial(&tls, async |mut socket| {
        read_identify(&mut socket).await;
        respond(&mut socket, &answer.to_json()).await;
        let mut hello = Vec::new();
        socket.read_to_end(&mut hello).await.unwrap();
        assert_eq!(hello[0], 22, "a TLS handshake record, and nothing before it");
    });
    assert!(matches!(silent.await, Err(DialError::Timeout { step: Step::Tls, .. })));
    assert!(begun.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn what_breaks_the_protocol_is_named() {
    let long = [&(65 * 1024 + 4_i32).to_be_bytes()[..], &[0; 4]].concat();
    let mut message = Vec::new();
    write_message(
        &mut message,
        &MessageHead { timestamp_ns: 0, attempts: 1, id: MessageId([0; 16]) },
        b"body",
    );
    for (what, bytes) in [
        ("HTTP", b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec()),
        ("2 GiB", b"\x7f\xff\xff\xff\x00\x00\x00\x00".to_vec()),
        ("a response over its bound", long),
        ("an unknown kind", b"\x00\x00\x00\x04\x00\x00\x00\x09".to_vec()),
        ("a message", message),
        ("no JSON", b"\x00\x00\x00\x07\x00\x00\x00\x00{]}".to_vec()),
    ] {
        let error = dial(settings(), async |mut socket| {
            read_identify(&mut socket).await;
            socket.write_all(&bytes).await.unwrap();
            let _end = socket.read_u8().await;
        });
        let error = error.await.unwrap_err();
        assert!(matches!(error, DialError::Malformed { step: Step::Identify, .. }), "{what}: {error}");
        assert_eq!(error.fault(), Fault::Peer);
    }
    let closed =
        dial(settings(), async |mut socket| drop(read_identify(&mut socket).await)).await.unwrap_err();
    assert!(matches!(closed, DialError::Closed { step: Step::Identify }), "{closed}");
}

#[tokio::test]
async fn a_refusal_is_nsqds_own_word() {
    let refused = dial(settings(), async |mut socket| {
        read_identify(&mut socket).await;
        let mut frame = Vec::new();
        write_error(&mut frame, ErrorCode::BadBody, "IDENTIFY msg timeout (1) is invalid");
        socket.write_all(&frame).await.unwrap();
    });
    let refused = refused.await.unwrap_err();
    assert_eq!(refused.to_string(), "IDENTIFY: nsqd answered E_BAD_BODY IDENTIFY msg timeout (1) is invalid");
    assert_eq!(refused.fault(), Fault::Settings);
}

#[tokio::test]
async fn nothing_goes_in_clear_where_tls_is_set() {
    let settings = ConnectionSettings {
        tls: Some(TlsSettings::default()),
        auth_secret: Some(Secret::new("opensesame")),
        ..settings()
    };
    let error = dial(&settings, async |mut socket| {
        read_identify(&mut socket).await;
        let answer =
            IdentifyResponse { tls_v1: Some(false), auth_required: Some(true), ..Default::default() };
        respond(&mut socket, &answer.to_json()).await;
        let mut rest = Vec::new();
        socket.read_to_end(&mut rest).await.unwrap();
        assert_eq!(rest, b"");
    });
    assert!(matches!(error.await, Err(DialError::TlsNotOffered)));
}

#[tokio::test]
async fn compression_that_is_not_granted_is_done_without() {
    let settings = ConnectionSettings { compression: Compression::Snappy, ..settings() };
    let dialled = dial(&settings, async |mut socket| {
        assert_eq!(read_identify(&mut socket).await.snappy, Some(true));
        respond(&mut socket, &IdentifyResponse { snappy: Some(false), ..Default::default() }.to_json()).await;
    });
    assert_eq!(dialled.await.unwrap().negotiated.compression, Compression::None);
}

#[tokio::test]
async fn a_secret_is_sent_where_it_is_required_and_shown_nowhere() {
    let with_secret = ConnectionSettings { auth_secret: Some(Secret::new("opensesame")), ..settings() };
    assert!(!format!("{with_secret:?} {:?}", Dialer::new(&with_secret)).contains("opensesame"));
    let required = IdentifyResponse { auth_required: Some(true), ..Default::default() };

    let lacking = dial(settings(), |socket| identify_then_wait(socket, required.clone())).await.unwrap_err();
    assert!(matches!(lacking, DialError::AuthRequired));

    let unasked = dial(&with_secret, async |mut socket| {
        read_identify(&mut socket).await;
        respond(&mut socket, b"OK").await;
    });
    assert_eq!(unasked.await.unwrap().auth, None);

    let mut echoes = vec![(ErrorCode::AuthFailed, &b"AUTH failed for opensesame"[..])];
    echoes.push((ErrorCode::Unknown, b"opensesame"));
    for (code, text) in echoes {
        let refused = dial(&with_secret, async |mut socket| {
            read_identify(&mut socket).await;
            respond(&mut socket, &required.to_json()).await;
            let mut auth = [0; 5 + 4 + 10];
            socket.read_exact(&mut auth).await.unwrap();
            assert_eq!(&auth, b"AUTH\n\x00\x00\x00\x0aopensesame");
            let mut frame = Vec::new();
            match code {
                ErrorCode::Unknown => write_response(&mut frame, text),
                code => write_error(&mut frame, code, std::str::from_utf8(text).unwrap()),
            }
            socket.write_all(&frame).await.unwrap();
        });
        let refused = refused.await.unwrap_err();
        assert_eq!(refused.step(), Step::Auth);
        assert!(!format!("{refused} {refused:?}").contains("opensesame"), "{refused:?}");
    }
}

#[tokio::test]
async fn corrupt_compression_is_a_broken_connection() {
    let settings = ConnectionSettings { compression: Compression::Snappy, ..settings() };
    let error = dial(&settings, async |mut socket| {
        read_identify(&mut socket).await;
        respond(&mut socket, &IdentifyResponse { snappy: Some(true), ..Default::default() }.to_json()).await;
        socket.write_all(b"\xff\x06\x00\x00sNaPpX").await.unwrap();
        let _end = socket.read_u8().await;
    });
    let error = error.await.unwrap_err();
    assert!(matches!(error, DialError::Broken { step: Step::Compression, .. }), "{error}");
    let not_ok = dial(&settings, async |mut socket| {
        read_identify(&mut socket).await;
        respond(&mut socket, &IdentifyResponse { snappy: Some(true), ..Default::default() }.to_json()).await;
        let mut encoded = Vec::new();
        write_response(&mut encoded, b"no");
        let mut snappy = snap::write::FrameEncoder::new(Vec::new());
        std::io::Write::write_all(&mut snappy, &encoded).unwrap();
        socket.write_all(&snappy.into_inner().unwrap()).await.unwrap();
        let _end = socket.read_u8().await;
    });
    let not_ok = not_ok.await.unwrap_err();
    assert!(matches!(not_ok, DialError::Malformed { what: Malformed::NotOk, .. }), "{not_ok}");
}

#[tokio::test]
async fn a_peer_that_does_not_speak_tls_is_a_failure_of_tls() {
    let authority = Authority::new();
    let tls = TlsSettings { ca_files: vec![authority.ca_file()], ..TlsSettings::default() };
    let settings = ConnectionSettings { tls: Some(tls), ..settings() };
    let error = dial(&settings, async |mut socket| {
        read_identify(&mut socket).await;
        respond(&mut socket, &IdentifyResponse { tls_v1: Some(true), ..Default::default() }.to_json()).await;
        respond(&mut socket, b"OK").await;
        let _end = socket.read_u8().await;
    });
    let error = error.await.unwrap_err();
    assert!(matches!(error, DialError::Tls { failure: TlsFailure::Other(_), .. }), "{error}");
}

#[test]
fn every_mistake_in_the_settings_is_found_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let empty = directory.path().join("empty.pem");
    std::fs::write(&empty, "nothing").unwrap();
    let settings = ConnectionSettings {
        heartbeat_interval: Duration::from_millis(999),
        msg_timeout: Some(Duration::ZERO),
        output_buffer_size: Some(63),
        output_buffer_timeout_ms: -1,
        sample_rate: 100,
        compression: Compression::Deflate { level: 10 },
        auth_secret: Some(Secret::new("")),
        connect_timeout: Duration::ZERO,
        write_timeout: Duration::ZERO,
        tls: Some(TlsSettings {
            ca_files: vec![directory.path().join("missing.pem")],
            client_certificate: Some(client::ClientCertificate {
                certificate_file: empty.clone(),
                key_file: empty,
            }),
            server_name: Some("not a name".to_owned()),
            ..TlsSettings::default()
        }),
        ..ConnectionSettings::default()
    };
    let errors = Dialer::new(&settings).unwrap_err();
    let fields: Vec<_> = errors.iter().map(|error| error.field).collect();
    let expected = [
        "heartbeat_interval",
        "msg_timeout",
        "connect_timeout",
        "write_timeout",
        "output_buffer_size",
        "output_buffer_timeout_ms",
        "sample_rate",
        "compression.level",
        "auth_secret",
        "tls.server_name",
        "tls.ca_files",
        "tls.client_certificate.certificate_file",
    ];
    assert_eq!(fields, expected, "{errors:#?}");
    let unbuffered = ConnectionSettings {
        output_buffer_size: Some(-1),
        output_buffer_timeout_ms: -1,
        ..ConnectionSettings::default()
    };
    assert_eq!(unbuffered.validate(), []);
}

#[test]
fn a_key_of_another_certificate_is_refused() {
    let authority = Authority::new();
    let (one, other) = (authority.client("one"), authority.client("other"));
    let tls = TlsSettings {
        ca_files: vec![authority.ca_file()],
        client_certificate: Some(client::ClientCertificate {
            certificate_file: one.certificate_file().to_owned(),
            key_file: other.key_file().to_owned(),
        }),
        ..TlsSettings::default()
    };
    let settings = ConnectionSettings { tls: Some(tls), ..ConnectionSettings::default() };
    let errors = Dialer::new(&settings).unwrap_err();
    assert_eq!(errors[0].field, "tls.client_certificate.key_file", "{errors:?}");
}
