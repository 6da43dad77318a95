//! Dials and what they lead to, against the real nsqd: TLS with and without a client certificate, both compressions over either, AUTH.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::time::Duration;

use client::{
    ClientCertificate, Compression, ConnectionSettings, DialError, Dialer, Fault, Secret, Step, Stream,
    TlsFailure, TlsSettings, TlsVersion,
};
use testkit::auth::AuthServer;
use testkit::certs::{Authority, Leaf, LeafOptions};
use testkit::process::Nsqd;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;
use wire::command::write_mpub;
use wire::{Command, Frame, Response};

const COMPRESSIONS: [Compression; 4] = [
    Compression::None,
    Compression::Snappy,
    Compression::Deflate { level: 1 },
    Compression::Deflate { level: 9 },
];

/// Writes all of it, flushes, and reads until the frames satisfy `enough`, which is told of each.
async fn exchange(stream: &mut Stream, out: &[u8], mut enough: impl FnMut(Frame<'_>) -> bool) {
    stream.write_all(out).await.unwrap();
    stream.flush().await.unwrap();
    let mut received = Vec::new();
    loop {
        while let Some((frame, len)) = Frame::parse(&received).unwrap() {
            if enough(frame) {
                assert_eq!(received.len(), len, "nothing behind it");
                return;
            }
            received.drain(..len);
        }
        let read = timeout(Duration::from_secs(10), stream.read_buf(&mut received)).await;
        assert!(read.expect("an answer").unwrap() > 0, "an answer and no end");
    }
}

fn is_ok(frame: Frame<'_>) -> bool {
    assert!(!matches!(frame, Frame::Error(_)), "{frame:?}");
    matches!(frame, Frame::Response(payload) if Response::new(payload) == Response::Ok)
}

/// From one byte to a megabyte, half of them noise.
fn bodies() -> Vec<Vec<u8>> {
    let sizes = [1, 100, 65_535, 65_536, 65_537, 1_000_000];
    let body = |(i, size): (usize, &usize)| {
        let noise = testkit::body::body(i as u64, (*size).max(100));
        noise[..*size].iter().map(|byte| if i % 2 == 0 { 7 } else { *byte }).collect()
    };
    sizes.iter().enumerate().map(body).collect()
}

/// Publishes and consumes over one connection, and compares.
async fn work(mut stream: Stream, topic: &str) {
    let bodies = bodies();
    let mut out = Vec::new();
    write_mpub(&mut out, topic, &bodies);
    exchange(&mut stream, &out, is_ok).await;
    out.clear();
    Command::Sub { topic, channel: "c" }.write(&mut out);
    exchange(&mut stream, &out, is_ok).await;
    out.clear();
    Command::Rdy(100).write(&mut out);
    let (mut ids, mut received) = (Vec::new(), Vec::new());
    exchange(&mut stream, &out, |frame| {
        if let Frame::Message { head, body } = frame {
            ids.push(head.id);
            received.push(body.to_vec());
        }
        received.len() == bodies.len()
    })
    .await;
    received.sort();
    let mut expected = bodies;
    expected.sort();
    assert!(received == expected);
    out.clear();
    ids.iter().for_each(|id| Command::Fin(*id).write(&mut out));
    // Nothing answers a FIN; the CLS behind them does.
    Command::Cls.write(&mut out);
    exchange(
        &mut stream,
        &out,
        |frame| matches!(frame, Frame::Response(payload) if Response::new(payload) == Response::CloseWait),
    )
    .await;
    stream.shutdown().await.unwrap();
    let mut rest = Vec::new();
    let closed = timeout(Duration::from_secs(5), stream.read_to_end(&mut rest)).await.expect("nsqd closes");
    // It reads no further than the end of a compressed stream, and closing with something unread resets.
    assert!(closed.is_ok() || closed.is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionReset));
    assert!(rest.is_empty());
}

/// Dials, works, and checks with nsqd that this is what it sees.
async fn dial_and_work(nsqd: &Nsqd, settings: &ConnectionSettings, topic: &str) {
    let dialled = Dialer::new(settings).unwrap().dial(&nsqd.tcp_address().to_string()).await.unwrap();
    assert_eq!(dialled.negotiated.tls, settings.tls.is_some());
    assert_eq!(
        std::mem::discriminant(&dialled.negotiated.compression),
        std::mem::discriminant(&settings.compression)
    );
    assert_eq!(dialled.identify.version.as_deref(), Some("1.3.0"));
    timeout(Duration::from_secs(30), work(dialled.stream, topic)).await.expect("within 30 s");
    assert_eq!(nsqd.channel(topic, "c").finished(), 6, "{settings:?}");
}

fn server_flags(leaf: &Leaf) -> Vec<String> {
    vec![
        format!("--tls-cert={}", leaf.certificate_file().display()),
        format!("--tls-key={}", leaf.key_file().display()),
        // Plain HTTP stays open, for the tests' own questions.
        "--tls-required=tcp-https".to_owned(),
    ]
}

fn start(flags: &[String]) -> Nsqd {
    Nsqd::start(&flags.iter().map(String::as_str).collect::<Vec<_>>())
}

fn trusting(authority: &Authority) -> TlsSettings {
    TlsSettings { ca_files: vec![authority.ca_file()], ..TlsSettings::default() }
}

fn with_tls(tls: TlsSettings) -> ConnectionSettings {
    ConnectionSettings { tls: Some(tls), ..ConnectionSettings::default() }
}

async fn failure(nsqd: &Nsqd, settings: &ConnectionSettings) -> DialError {
    Dialer::new(settings).unwrap().dial(&nsqd.tcp_address().to_string()).await.unwrap_err()
}

#[tokio::test]
async fn plain_and_compressed() {
    let nsqd = Nsqd::start(&[]);
    for (i, compression) in COMPRESSIONS.into_iter().enumerate() {
        let settings = ConnectionSettings { compression, ..ConnectionSettings::default() };
        dial_and_work(&nsqd, &settings, &format!("plain{i}")).await;
    }
}

#[tokio::test]
async fn over_tls_and_compressed() {
    let authority = Authority::new();
    let nsqd = start(&server_flags(&authority.server()));
    for (i, compression) in COMPRESSIONS.into_iter().enumerate() {
        let settings = ConnectionSettings { compression, ..with_tls(trusting(&authority)) };
        dial_and_work(&nsqd, &settings, &format!("tls{i}")).await;
    }
}

#[tokio::test]
async fn only_the_newest_tls() {
    let authority = Authority::new();
    let mut flags = server_flags(&authority.server());
    flags.push("--tls-min-version=tls1.3".to_owned());
    let nsqd = start(&flags);
    let newest = TlsSettings { min_version: TlsVersion::V1_3, ..trusting(&authority) };
    dial_and_work(&nsqd, &with_tls(newest), "newest").await;
}

#[tokio::test]
async fn a_server_that_is_not_trusted_is_not_used() {
    let authority = Authority::new();
    let nsqd = start(&server_flags(&authority.server()));
    let stranger = Authority::new();
    let named = TlsSettings { server_name: Some("other.example".to_owned()), ..trusting(&authority) };
    for tls in [trusting(&stranger), named.clone()] {
        let error = failure(&nsqd, &with_tls(tls)).await;
        assert!(
            matches!(&error, DialError::Tls { failure: TlsFailure::ServerCertificate(_), .. }),
            "{error}"
        );
        assert_eq!((error.step(), error.fault()), (Step::Tls, Fault::Settings));
    }
    let expired = authority.leaf(LeafOptions { expired: true, ..LeafOptions::server() });
    let expired = start(&server_flags(&expired));
    let error = failure(&expired, &with_tls(trusting(&authority))).await;
    assert!(error.to_string().contains("expired"), "{error}");
    // Whoever insists may: without any verification, each of them is used.
    let danger = TlsSettings { danger_skip_verification: true, ..TlsSettings::default() };
    dial_and_work(&nsqd, &with_tls(danger.clone()), "danger").await;
    dial_and_work(&expired, &with_tls(danger), "danger").await;
    // Another name is fine when it is the certificate's.
    let renamed = authority.leaf(LeafOptions::server_named("other.example"));
    let renamed = start(&server_flags(&renamed));
    dial_and_work(&renamed, &with_tls(named), "renamed").await;
}

#[tokio::test]
async fn a_client_certificate_is_shown_to_an_nsqd_that_requires_one() {
    let authority = Authority::new();
    let mut flags = server_flags(&authority.server());
    flags.push("--tls-client-auth-policy=require-verify".to_owned());
    flags.push(format!("--tls-root-ca-file={}", authority.ca_file().display()));
    let nsqd = start(&flags);
    let with_certificate = |leaf: &Leaf| {
        let files = ClientCertificate {
            certificate_file: leaf.certificate_file().to_owned(),
            key_file: leaf.key_file().to_owned(),
        };
        TlsSettings { client_certificate: Some(files), ..trusting(&authority) }
    };
    let good = with_certificate(&authority.client("posthaste"));
    for compression in [Compression::None, Compression::Snappy] {
        let settings = ConnectionSettings { compression, ..with_tls(good.clone()) };
        dial_and_work(&nsqd, &settings, &format!("mutual-{}", compression == Compression::None)).await;
    }
    // Without one, and with a stranger's: in both versions of TLS it says that the certificate is at fault.
    for wrong in [trusting(&authority), with_certificate(&Authority::new().client("stranger"))] {
        let error = failure(&nsqd, &with_tls(wrong)).await;
        assert!(
            matches!(error, DialError::Tls { failure: TlsFailure::ClientCertificate(_), .. }),
            "{error:?}"
        );
    }
}

#[tokio::test]
async fn tls_that_nsqd_does_not_have() {
    let nsqd = Nsqd::start(&[]);
    let error = failure(&nsqd, &with_tls(TlsSettings::default())).await;
    assert!(matches!(error, DialError::TlsNotOffered), "{error}");
}

#[tokio::test]
async fn what_nsqd_refuses_at_identify_is_its_own_word() {
    let nsqd = Nsqd::start(&[]);
    let settings = ConnectionSettings {
        msg_timeout: Some(Duration::from_secs(86_400)),
        ..ConnectionSettings::default()
    };
    let error = failure(&nsqd, &settings).await;
    assert!(error.to_string().starts_with("IDENTIFY: nsqd answered E_BAD_BODY"), "{error}");
    let http =
        Dialer::new(&ConnectionSettings::default()).unwrap().dial(&nsqd.http_address().to_string()).await;
    let error = http.unwrap_err();
    assert!(error.to_string().contains("HTTP"), "{error}");
}

#[tokio::test]
async fn what_is_asked_for_is_in_force() {
    let nsqd = Nsqd::start(&["--max-rdy-count=77", "--max-msg-timeout=3m"]);
    let settings = ConnectionSettings {
        client_id: "test client".to_owned(),
        hostname: "test.example".to_owned(),
        user_agent: "test/1".to_owned(),
        msg_timeout: Some(Duration::from_millis(2_345)),
        output_buffer_timeout_ms: 40,
        ..ConnectionSettings::default()
    };
    let mut dialled = Dialer::new(&settings).unwrap().dial(&nsqd.tcp_address().to_string()).await.unwrap();
    assert_eq!(dialled.negotiated.msg_timeout, Duration::from_millis(2_345));
    assert_eq!(dialled.negotiated.max_msg_timeout, Duration::from_secs(180));
    assert_eq!(dialled.negotiated.max_rdy_count, 77);
    assert_eq!(dialled.negotiated.output_buffer_timeout, Duration::from_millis(40));
    let mut out = Vec::new();
    Command::Sub { topic: "t", channel: "c" }.write(&mut out);
    exchange(&mut dialled.stream, &out, is_ok).await;
    let client = nsqd.channel("t", "c").clients.remove(0);
    assert_eq!(client["client_id"], "test client");
    assert_eq!(client["hostname"], "test.example");
    assert_eq!(client["user_agent"], "test/1");
}

#[tokio::test]
async fn auth() {
    let authority = Authority::new();
    let mut flags = server_flags(&authority.server());
    let server = AuthServer::start(&["opensesame"]);
    flags.push(server.nsqd_flag());
    let nsqd = start(&flags);
    let with_secret = |secret: &str| ConnectionSettings {
        auth_secret: Some(Secret::new(secret)),
        compression: Compression::Snappy,
        ..with_tls(trusting(&authority))
    };
    let good = with_secret("opensesame");
    dial_and_work(&nsqd, &good, "auth").await;
    let dialled = Dialer::new(&good).unwrap().dial(&nsqd.tcp_address().to_string()).await.unwrap();
    let auth = dialled.auth.expect("AUTH was required");
    assert_eq!((auth.identity.as_deref(), auth.permission_count), (Some("kit"), Some(1)));

    let wrong = failure(&nsqd, &with_secret("letmein")).await;
    assert!(matches!(wrong, DialError::Refused { step: Step::Auth, .. }), "{wrong}");
    assert!(!format!("{wrong} {wrong:?}").contains("letmein"), "{wrong:?}");
    let lacking = failure(&nsqd, &with_tls(trusting(&authority))).await;
    assert!(matches!(lacking, DialError::AuthRequired), "{lacking}");
    // One that requires no AUTH is not told the secret.
    let open = Nsqd::start(&[]);
    let settings = ConnectionSettings { auth_secret: Some(Secret::new("opensesame")), ..Default::default() };
    dial_and_work(&open, &settings, "open").await;
    assert_eq!((server.granted(), server.refused()), (2, 1));
}
