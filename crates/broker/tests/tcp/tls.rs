//! TLS: offered, required, with certificates of clients.

use std::sync::Arc;

use broker::Settings;
use broker::settings::{ClientAuthPolicy, TlsMinVersion, TlsRequired, TlsSettings};
use rustls::ClientConfig;
use rustls::client::Resumption;
use rustls::version::{TLS12, TLS13};
use testkit::certs::{Authority, Leaf, LeafOptions};
use tokio_rustls::TlsConnector;
use wire::IdentifyRequest;

use crate::script::{Act, Both, alone, converse, identify, mpub, say};
use crate::served::settings;

fn connector(authority: &Authority, client: Option<&Leaf>) -> TlsConnector {
    connector_of(authority, client, &[&TLS13, &TLS12])
}

fn connector_of(
    authority: &Authority,
    client: Option<&Leaf>,
    versions: &[&'static rustls::SupportedProtocolVersion],
) -> TlsConnector {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .expect("versions")
        .with_root_certificates(authority.roots());
    let mut config = match client {
        Some(leaf) => builder.with_client_auth_cert(leaf.chain(), leaf.key()).expect("a fitting key"),
        None => builder.with_no_client_auth(),
    };
    // One's ticket is nothing to the other.
    config.resumption = Resumption::disabled();
    TlsConnector::from(Arc::new(config))
}

/// One that keeps the tickets it is given, and shows them to whoever answers under the same name.
fn remembering(authority: &Authority) -> TlsConnector {
    let mut config = connector(authority, None).config().as_ref().clone();
    config.resumption = Resumption::in_memory_sessions(8);
    TlsConnector::from(Arc::new(config))
}

/// nsqd and the broker with a server certificate, and these further flags and settings.
fn both(authority: &Authority, flags: &[&str], set: impl FnOnce(&mut TlsSettings)) -> Both {
    let leaf = authority.server();
    let mut tls = TlsSettings {
        cert: leaf.certificate_file().to_owned(),
        key: leaf.key_file().to_owned(),
        client_auth_policy: ClientAuthPolicy::Off,
        root_ca_file: None,
        required: TlsRequired::No,
        min_version: TlsMinVersion::default(),
    };
    set(&mut tls);
    let mut all =
        vec![format!("--tls-cert={}", tls.cert.display()), format!("--tls-key={}", tls.key.display())];
    all.extend(tls.root_ca_file.iter().map(|file| format!("--tls-root-ca-file={}", file.display())));
    all.extend(flags.iter().map(|flag| (*flag).to_owned()));
    let flags: Vec<&str> = all.iter().map(String::as_str).collect();
    Both::start(&flags, Settings { tls: Some(tls), ..settings() })
}

fn asking() -> IdentifyRequest {
    IdentifyRequest { feature_negotiation: Some(true), tls_v1: Some(true), ..IdentifyRequest::default() }
}

fn through(
    connector: &TlsConnector,
    request: &IdentifyRequest,
    compression: Option<Act>,
) -> Vec<(usize, Act)> {
    let mut acts = vec![identify(request), Act::Hear(1), Act::Tls(connector.clone()), Act::Hear(1)];
    if let Some(layer) = compression {
        acts.extend([layer, Act::Hear(1)]);
    }
    let body = "x".repeat(40_000);
    acts.extend([mpub("t", &["a", &body]), Act::Hear(1), say("SUB t c\nRDY 2\n"), Act::Hear(3)]);
    acts.extend([say("FIN {0}\nFIN {1}\nFIN {1}\nCLS\n"), Act::Hear(2), Act::Half, Act::End]);
    alone(acts)
}

#[test]
fn a_client_that_asks_goes_on_in_tls() {
    let authority = Authority::new();
    let both = both(&authority, &[], |_| {});
    for versions in [&[&TLS13][..], &[&TLS12]] {
        let connector = connector_of(&authority, None, versions);
        both.agree("tls", &through(&connector, &asking(), None));
        let snappy = IdentifyRequest { snappy: Some(true), ..asking() };
        both.agree("snappy", &through(&connector, &snappy, Some(Act::Snappy)));
        let deflate = IdentifyRequest { deflate: Some(true), ..asking() };
        both.agree("deflate", &through(&connector, &deflate, Some(Act::Deflate)));
    }
    // Nobody must.
    both.agree("clear", &alone([say("SUB t c\n"), Act::Hear(1)]));
    // Asked for without negotiation, nothing happens.
    let mute = IdentifyRequest { feature_negotiation: None, ..asking() };
    both.agree("mute", &alone([identify(&mute), Act::Hear(1), say("SUB t c\n"), Act::Hear(1)]));
}

/// The broker stands where an nsqd stood: clients still hold its tickets.
#[test]
fn a_client_with_a_ticket_of_nsqd_is_let_in() {
    let authority = Authority::new();
    let both = both(&authority, &[], |_| {});
    let connector = remembering(&authority);
    // The second time each is shown the other's tickets too.
    for name in ["first", "second"] {
        let theirs = converse(both.nsqd.tcp_address(), &through(&connector, &asking(), None));
        let ours = converse(both.broker.tcp(), &through(&connector, &asking(), None));
        assert_eq!(ours, theirs, "{name}");
    }
}

#[test]
fn where_tls_is_required_nothing_goes_without() {
    let authority = Authority::new();
    // The other value closes nsqd's plain HTTP too, which is how its start is seen.
    let both = both(&authority, &["--tls-required=tcp-https"], |tls| tls.required = TlsRequired::TcpHttps);
    for command in ["SUB t c\n", "NOP\n", "HELLO there\n", "\n", "PUB t\n", "AUTH x\n", "RDY\n"] {
        both.agree(command, &alone([say(command), Act::End]));
    }
    both.agree("tls", &through(&connector(&authority, None), &asking(), None));
}

#[test]
fn a_client_certificate_may_be_wanted() {
    let authority = Authority::new();
    let (stranger, known) = (Authority::new().client("stranger"), authority.client("known"));
    let expired = authority.leaf(LeafOptions { expired: true, ..LeafOptions::client("expired") });
    for (policy, setting) in
        [("require", ClientAuthPolicy::Require), ("require-verify", ClientAuthPolicy::RequireVerify)]
    {
        let flags = [&*format!("--tls-client-auth-policy={policy}"), "--tls-required=tcp-https"];
        let both = both(&authority, &flags, |tls| {
            tls.client_auth_policy = setting;
            tls.required = TlsRequired::TcpHttps;
            tls.root_ca_file = Some(authority.ca_file());
        });
        both.agree("known", &through(&connector(&authority, Some(&known)), &asking(), None));
        for client in [None, Some(&stranger), Some(&expired)] {
            // In TLS 1.2 the client learns of it in its handshake; in 1.3 it has shaken hands already.
            let refused = connector_of(&authority, client, &[&TLS12]);
            let acts = [identify(&asking()), Act::Hear(1), Act::Tls(refused)];
            both.agree(&format!("{policy} {client:?}"), &alone(acts));
        }
    }
}

#[test]
fn the_lowest_version_is_held() {
    let authority = Authority::new();
    let both = both(&authority, &["--tls-min-version=tls1.3"], |tls| tls.min_version = TlsMinVersion::Tls13);
    let old = connector_of(&authority, None, &[&TLS12]);
    both.agree("old", &alone([identify(&asking()), Act::Hear(1), Act::Tls(old)]));
    both.agree("new", &through(&connector(&authority, None), &asking(), None));
}
