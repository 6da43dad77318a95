//! TLS, compression and secrets, towards nsqd and towards the endpoint.

use std::path::Path;
use std::time::Duration;

use testkit::auth::AuthServer;
use testkit::certs::{Authority, LeafOptions};
use testkit::endpoint::{Answer, Endpoint, EndpointOptions, TlsOptions};
use testkit::process::Posthaste;

use crate::rig::{self, Run, number};

fn text(path: &Path) -> &str {
    path.to_str().expect("a path of ours")
}

/// An nsqd that demands TLS with a certificate of `authority`, and an AUTH secret, and speaks this compression.
fn through_everything(compression: &str) {
    let authority = Authority::new();
    let (server, client) = (authority.server(), authority.client("posthaste"));
    let auth = AuthServer::start(&["open sesame"]);
    let nsqd = rig::nsqd(&[
        &auth.nsqd_flag(),
        "--tls-required=tcp-https",
        "--tls-client-auth-policy=require-verify",
        &format!("--tls-cert={}", text(server.certificate_file())),
        &format!("--tls-key={}", text(server.key_file())),
        &format!("--tls-root-ca-file={}", text(&authority.ca_file())),
    ]);
    let endpoint = Endpoint::https(Answer::ok());
    rig::publish(&nsqd, 2_000, 1024);
    let run = Run::new([&nsqd], &endpoint.url("/"))
        .trusting(&endpoint.ca_file())
        .switch("--nsq-tls")
        .with("--nsq-ca-file", text(&authority.ca_file()))
        .with("--nsq-certificate-file", text(client.certificate_file()))
        .with("--nsq-key-file", text(client.key_file()))
        .with("--compression", compression);
    let posthaste = Posthaste::run_with(
        run.arguments().iter().map(String::as_str).chain(["--auth-secret", "$SESAME"]),
        |command| {
            command.env("SESAME", "open sesame");
        },
    );
    rig::wait_finished(&nsqd, 2_000);
    let (summary, _) = rig::drain(&posthaste);
    assert_eq!(number(&summary, "fin_failed"), 0);
    assert!(auth.granted() > 0, "nsqd never asked");
    assert!(!posthaste.process.stderr().contains("sesame"), "{}", posthaste.process.stderr());
    endpoint.ledger().assert_exactly_once(0..2_000);
}

#[test]
fn consumes_through_tls_with_a_client_certificate_and_auth() {
    through_everything("none");
}

#[test]
fn consumes_through_tls_and_snappy() {
    through_everything("snappy");
}

#[test]
fn consumes_through_tls_and_deflate() {
    through_everything("deflate");
}

#[test]
fn a_wrong_secret_is_named_as_such_and_never_shown() {
    let auth = AuthServer::start(&["open sesame"]);
    let nsqd = rig::nsqd(&[&auth.nsqd_flag()]);
    let endpoint = Endpoint::http(Answer::ok());
    rig::publish(&nsqd, 10, 100);
    let run = Run::new([&nsqd], &endpoint.url("/"));
    let posthaste = Posthaste::run_with(
        run.arguments().iter().map(String::as_str).chain(["--auth-secret", "$SESAME"]),
        |command| {
            command.env("SESAME", "shut sesame");
        },
    );
    posthaste.process.wait_stderr("AUTH", Duration::from_secs(10));
    // It keeps trying: refused again after the first time.
    let until = std::time::Instant::now() + Duration::from_secs(10);
    while auth.refused() < 2 && std::time::Instant::now() < until {
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(auth.refused() >= 2, "{}", posthaste.process.stderr());
    let (summary, _) = rig::drain(&posthaste);
    assert_eq!(number(&summary, "received"), 0);
    assert!(!posthaste.process.stderr().contains("sesame"), "{}", posthaste.process.stderr());
}

#[test]
fn an_nsqd_with_a_certificate_of_someone_else_is_refused_by_name() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let server = theirs.server();
    let nsqd = rig::nsqd(&[
        "--tls-required=tcp-https",
        &format!("--tls-cert={}", text(server.certificate_file())),
        &format!("--tls-key={}", text(server.key_file())),
    ]);
    let endpoint = Endpoint::http(Answer::ok());
    rig::publish(&nsqd, 10, 100);
    let run = Run::new([&nsqd], &endpoint.url("/")).switch("--nsq-tls");
    let posthaste = run.with("--nsq-ca-file", text(&ours.ca_file())).start();
    posthaste.process.wait_stderr("certificate", Duration::from_secs(10));
    let (summary, _) = rig::drain(&posthaste);
    assert_eq!(number(&summary, "received"), 0);
}

/// Not a byte of a message goes to an endpoint that is not who it should be.
fn refused(options: EndpointOptions, ca: Option<&Authority>, word: &str) {
    let endpoint = Endpoint::start(options);
    let nsqd = rig::nsqd(&[]);
    rig::publish(&nsqd, 3, 100);
    let run = Run::new([&nsqd], &endpoint.url("/"));
    let run = match ca {
        Some(authority) => run.trusting(&authority.ca_file()),
        None => run,
    };
    let posthaste = run.start();
    posthaste.process.wait_stderr(word, Duration::from_secs(10));
    let (summary, _) = rig::drain(&posthaste);
    assert_eq!((endpoint.counts().requests, number(&summary, "delivered")), (0, 0));
    assert!(number(&summary, "handshake_failures") > 0, "{summary:#}");
    assert!(number(&summary, "requeued") > 0, "{summary:#}");
}

#[test]
fn an_endpoint_that_nobody_vouches_for_gets_no_message() {
    let (authority, other) = (Authority::new(), Authority::new());
    refused(EndpointOptions::new(Answer::ok()).tls(TlsOptions::new(&authority)), Some(&other), "certificate");
}

#[test]
fn an_endpoint_with_an_expired_certificate_gets_no_message() {
    let authority = Authority::new();
    let certificate = authority.leaf(LeafOptions { expired: true, ..LeafOptions::server() });
    let tls = TlsOptions { certificate, ..TlsOptions::new(&authority) };
    refused(EndpointOptions::new(Answer::ok()).tls(tls), Some(&authority), "expired");
}

#[test]
fn an_endpoint_with_another_name_gets_no_message() {
    let authority = Authority::new();
    let certificate = authority.leaf(LeafOptions::server_named("elsewhere.example"));
    let tls = TlsOptions { certificate, ..TlsOptions::new(&authority) };
    refused(EndpointOptions::new(Answer::ok()).tls(tls), Some(&authority), "name");
}

#[test]
fn an_endpoint_may_ask_for_our_certificate() {
    let authority = Authority::new();
    let tls = TlsOptions { client_authority: Some(authority.clone()), ..TlsOptions::new(&authority) };
    let endpoint = Endpoint::start(EndpointOptions::new(Answer::ok()).tls(tls));
    let client = authority.client("posthaste");
    let nsqd = rig::nsqd(&[]);
    rig::publish(&nsqd, 100, 100);
    let posthaste = Run::new([&nsqd], &endpoint.url("/"))
        .trusting(&authority.ca_file())
        .with("--certificate-file", text(client.certificate_file()))
        .with("--key-file", text(client.key_file()))
        .start();
    rig::wait_finished(&nsqd, 100);
    rig::drain(&posthaste);
    assert!(
        endpoint
            .connections()
            .iter()
            .all(|connection| { connection.tls.as_ref().is_some_and(|tls| tls.client_certificate) })
    );
    endpoint.ledger().assert_exactly_once(0..100);
}

/// The system's roots can be replaced by the usual variables.
#[test]
fn ssl_cert_file_and_ssl_cert_dir_are_honoured() {
    for variable in ["SSL_CERT_FILE", "SSL_CERT_DIR"] {
        let endpoint = Endpoint::https(Answer::ok());
        let nsqd = rig::nsqd(&[]);
        rig::publish(&nsqd, 10, 100);
        let directory = tempfile::tempdir().expect("a directory");
        // The name is of the form that OpenSSL's tools give.
        std::fs::copy(endpoint.ca_file(), directory.path().join("0123abcd.0")).expect("a copy");
        let value = if variable == "SSL_CERT_FILE" { endpoint.ca_file() } else { directory.path().into() };
        let run = Run::new([&nsqd], &endpoint.url("/"));
        let posthaste = Posthaste::run_with(run.arguments(), |command| {
            command.env(variable, value);
        });
        rig::wait_finished(&nsqd, 10);
        rig::drain(&posthaste);
        endpoint.ledger().assert_exactly_once(0..10);
    }
}

#[test]
fn unverified_tls_warns() {
    let endpoint = Endpoint::https(Answer::ok());
    let nsqd = rig::nsqd(&[]);
    rig::publish(&nsqd, 10, 100);
    let run = Run::new([&nsqd], &endpoint.url("/")).switch("--danger-skip-verification");
    let posthaste = run.start();
    rig::wait_finished(&nsqd, 10);
    rig::drain(&posthaste);
    let log = posthaste.process.stderr();
    assert!(log.contains("\"WARN\"") && log.contains("danger_skip_verification"), "{log}");
}
