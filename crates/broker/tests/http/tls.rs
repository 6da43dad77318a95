//! HTTPS, and plain HTTP where TLS is required.

use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use broker::settings::{ClientAuthPolicy, TlsMinVersion, TlsRequired, TlsSettings};
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use testkit::certs::Authority;
use testkit::process::Nsqd;

use crate::raw::{Answer, get, read_answer};
use crate::served::{Served, settings};

fn tls(authority: &Authority, required: TlsRequired) -> TlsSettings {
    let server = authority.server();
    TlsSettings {
        cert: server.certificate_file().to_owned(),
        key: server.key_file().to_owned(),
        client_auth_policy: ClientAuthPolicy::Off,
        root_ca_file: None,
        required,
        min_version: TlsMinVersion::default(),
    }
}

/// GETs over TLS; `client` is the certificate to show.
fn get_https(address: SocketAddr, authority: &Authority, client: bool) -> std::io::Result<Answer> {
    use std::io::Write as _;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider has suites")
        .with_root_certificates(authority.roots());
    let config = match client {
        true => {
            let leaf = authority.client("me");
            builder.with_client_auth_cert(leaf.chain(), leaf.key()).expect("they fit")
        }
        false => builder.with_no_client_auth(),
    };
    let name = "localhost".try_into().expect("a name");
    let connection = ClientConnection::new(Arc::new(config), name).expect("a configuration");
    let socket = TcpStream::connect(address)?;
    socket.set_read_timeout(Some(Duration::from_secs(10)))?;
    let mut stream = StreamOwned::new(connection, socket);
    stream.write_all(b"GET /ping HTTP/1.1\r\nHost: x\r\n\r\n")?;
    // A refusal of the certificate comes with the first read.
    let mut first = [0];
    std::io::Read::read_exact(&mut stream, &mut first)?;
    Ok(read_answer(&mut std::io::Read::chain(&first[..], stream), false))
}

#[test]
fn https_is_served_and_plain_http_refused_where_tls_is_required() {
    let authority = Authority::new();
    for (required, flag, plain) in [
        (TlsRequired::No, "--tls-required=false", 200),
        (TlsRequired::TcpHttps, "--tls-required=tcp-https", 200),
        (TlsRequired::Yes, "--tls-required=true", 403),
    ] {
        let server = authority.server();
        let cert = format!("--tls-cert={}", server.certificate_file().display());
        let key = format!("--tls-key={}", server.key_file().display());
        // Its HTTP is not there to be asked when it is ready; so none is asked.
        let broker = Served::start(broker::Settings { tls: Some(tls(&authority, required)), ..settings() });
        let ours = get(broker.http(), "/ping");
        assert_eq!(ours.code(), plain, "{flag}");
        if plain == 200 {
            let nsqd = Nsqd::start(&[&cert, &key, flag]);
            assert_eq!(ours, get(nsqd.http_address(), "/ping"));
        } else {
            let port = broker.https().port();
            assert_eq!(ours.body, format!(r#"{{"message": "TLS_REQUIRED", "https_port": {port}}}"#));
            assert!(ours.fields.contains(&"X-Nsq-Content-Type: nsq; version=1.0".to_owned()), "{ours:?}");
        }
        let over_tls = get_https(broker.https(), &authority, false).expect("HTTPS");
        assert_eq!((over_tls.code(), &*over_tls.body), (200, "OK"));
    }
}

/// `--tls-required=true` closes nsqd's plain HTTP, which is how its start is seen elsewhere: this one is looked for on its TCP port.
#[test]
fn the_refusal_of_plain_http_is_nsqds_own() {
    let authority = Authority::new();
    let server = authority.server();
    let [tcp, http, https] = [(); 3].map(|()| testkit::ports::Reserved::new());
    let data = tempfile::tempdir().expect("a directory");
    let mut nsqd = std::process::Command::new(testkit::process::nsq_program("nsqd"))
        .arg(format!("--tcp-address={}", tcp.address()))
        .arg(format!("--http-address={}", http.address()))
        .arg(format!("--https-address={}", https.address()))
        .arg(format!("--data-path={}", data.path().display()))
        .arg(format!("--tls-cert={}", server.certificate_file().display()))
        .arg(format!("--tls-key={}", server.key_file().display()))
        .arg("--tls-required=true")
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("nsqd starts");
    let begun = std::time::Instant::now();
    while TcpStream::connect(http.address()).is_err() && begun.elapsed() < testkit::PATIENCE {
        std::thread::sleep(Duration::from_millis(10));
    }
    let required = broker::Settings { tls: Some(tls(&authority, TlsRequired::Yes)), ..settings() };
    let broker = Served::start(required);
    let ports = [(broker.http(), broker.https()), (http.address(), https.address())];
    let refused = |target: &str| {
        ports.map(|(http, https)| {
            let mut answer = get(http, target);
            answer.body = answer.body.replace(&https.port().to_string(), "PORT");
            // Its length goes with the port's digits.
            answer.fields.retain(|field| !field.starts_with("Content-Length:"));
            answer
        })
    };
    let answers = ["/ping", "/nowhere", "/stats?format=json"].map(refused);
    // Over TCP nothing goes without either.
    let said = [broker.tcp(), tcp.address()].map(|address| {
        let mut client = crate::nsq::NsqClient::connect(address, "client");
        client.send(b"SUB t c\n");
        client.error()
    });
    nsqd.kill().expect("it runs");
    nsqd.wait().expect("it ends");
    for [ours, theirs] in answers {
        assert_eq!(ours, theirs);
        assert_eq!((ours.code(), &*ours.body), (403, r#"{"message": "TLS_REQUIRED", "https_port": PORT}"#));
    }
    assert_eq!(said[0], said[1]);
}

#[test]
fn clients_certificates_are_demanded() {
    let (authority, other) = (Authority::new(), Authority::new());
    let policy = |client_auth_policy, root_ca_file| {
        let tls = TlsSettings { client_auth_policy, root_ca_file, ..tls(&authority, TlsRequired::No) };
        Served::start(broker::Settings { tls: Some(tls), ..settings() })
    };
    let any = policy(ClientAuthPolicy::Require, None);
    assert!(get_https(any.https(), &authority, false).is_err());
    assert_eq!(get_https(any.https(), &authority, true).expect("a certificate").code(), 200);
    // The policy makes TLS required.
    assert_eq!(get(any.http(), "/ping").code(), 403);
    let verified = policy(ClientAuthPolicy::RequireVerify, Some(authority.ca_file()));
    assert_eq!(get_https(verified.https(), &authority, true).expect("our own").code(), 200);
    let foreign = policy(ClientAuthPolicy::RequireVerify, Some(other.ca_file()));
    assert!(get_https(foreign.https(), &authority, true).is_err());
}
