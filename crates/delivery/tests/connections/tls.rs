//! Trust, identity and resumption.

use delivery::{
    Cause, ClientCertificate, CloseReason, EndpointSettings, Local, Outcome, Roots, Shared, TlsFailure,
    TlsVersion,
};
use testkit::certs::{Authority, LeafOptions};
use testkit::endpoint::{Accept, Answer, Endpoint, EndpointOptions, TlsOptions};

use crate::support::{
    assert_delivered, close_and_balance, lane, post_many, post_serial, settings_for, start, start_in,
};

fn serve(change: impl FnOnce(&Authority, &mut TlsOptions)) -> Endpoint {
    let authority = Authority::new();
    let mut tls = TlsOptions::new(&authority);
    change(&authority, &mut tls);
    Endpoint::start(EndpointOptions::new(Answer::ok()).tls(tls))
}

fn once(peer: &Endpoint, change: impl FnOnce(&mut EndpointSettings)) -> Outcome {
    let mut settings = settings_for(peer);
    change(&mut settings);
    lane(async {
        let endpoint = start(&settings);
        let outcome = post_serial(&endpoint, 1).await;
        close_and_balance(&endpoint).await;
        outcome
    })
}

#[track_caller]
fn assert_tls(outcome: &Outcome, fits: impl Fn(&TlsFailure) -> bool) {
    match &outcome.cause {
        Some(Cause::Tls(failure)) if fits(failure) => {}
        _ => panic!("{outcome:?}"),
    }
}

#[test]
fn a_certificate_is_verified_and_what_is_wrong_with_it_named() {
    let peer = serve(|_, _| {});
    assert_delivered(&once(&peer, |_| {}));
    let stranger = Authority::new();
    let untrusted = once(&peer, |settings| settings.tls.roots = Roots::Files(vec![stranger.ca_file()]));
    // The stranger has the same name, so it is its signature that does not fit.
    assert_tls(&untrusted, |failure| {
        matches!(failure, TlsFailure::UnknownIssuer | TlsFailure::BadCertificate(_))
    });
    assert!(!untrusted.bytes_taken);
    let misnamed = once(&peer, |settings| settings.tls.server_name = Some("api.example.com".into()));
    assert_tls(&misnamed, |failure| matches!(failure, TlsFailure::WrongName(_)));

    let expired = serve(|authority, tls| {
        tls.certificate = authority.leaf(LeafOptions { expired: true, ..LeafOptions::server() });
    });
    assert_tls(&once(&expired, |_| {}), |failure| *failure == TlsFailure::CertificateExpired);
}

#[test]
fn the_server_name_can_be_set_and_is_asked_for_and_verified() {
    let peer = serve(|authority, tls| {
        tls.certificate = authority.leaf(LeafOptions::server_named("api.example.com"))
    });
    assert_tls(&once(&peer, |_| {}), |failure| matches!(failure, TlsFailure::WrongName(_)));
    assert_delivered(&once(&peer, |settings| settings.tls.server_name = Some("api.example.com".into())));
    let tls = peer.connections().last().unwrap().tls.clone().unwrap();
    assert_eq!(tls.server_name.as_deref(), Some("api.example.com"));
}

#[test]
fn verification_can_be_switched_off() {
    let peer = serve(|_, _| {});
    let outcome = once(&peer, |settings| {
        settings.tls.roots = Roots::System;
        settings.tls.danger_skip_verification = true;
    });
    assert_delivered(&outcome);
}

#[test]
fn a_client_certificate_is_shown_where_it_is_wanted() {
    let peer = serve(|authority, tls| tls.client_authority = Some(authority.clone()));
    let without = once(&peer, |_| {});
    assert_tls(&without, |failure| matches!(failure, TlsFailure::ClientCertificate(_)));
    let client = peer.authority().client("posthaste");
    let with = once(&peer, |settings| {
        settings.tls.client_certificate = Some(ClientCertificate {
            certificate: client.certificate_file().into(),
            key: client.key_file().into(),
        });
    });
    assert_delivered(&with);
}

#[test]
fn the_minimum_version_is_kept() {
    let old = serve(|_, tls| tls.versions = vec![&rustls::version::TLS12]);
    assert_delivered(&once(&old, |_| {}));
    let refused = once(&old, |settings| settings.tls.min_version = TlsVersion::V1_3);
    assert_tls(&refused, |failure| matches!(failure, TlsFailure::Incompatible(_)));
}

#[test]
fn only_http_1_1_is_offered() {
    let peer = serve(|_, tls| tls.alpn = vec![b"h2".to_vec(), b"http/1.1".to_vec()]);
    assert_delivered(&once(&peer, |_| {}));
    assert_eq!(peer.connections()[0].tls.as_ref().unwrap().alpn.as_deref(), Some("http/1.1"));
}

#[test]
fn peers_that_fail_in_the_handshake() {
    let broken = |accept: Accept| {
        let authority = Authority::new();
        let options = EndpointOptions::new(Answer::ok()).tls(TlsOptions::new(&authority));
        let peer = Endpoint::start(options.accept(move |_| accept.clone()));
        once(&peer, |_| {})
    };
    assert_tls(&broken(Accept::CloseAfterFirstBytes), |failure| matches!(failure, TlsFailure::Ended(_)));
    assert_tls(&broken(Accept::ResetAfterFirstBytes), |failure| matches!(failure, TlsFailure::Ended(_)));
    let text = Accept::Garbage(b"HTTP/1.1 400 Bad Request\r\n\r\n");
    assert_tls(&broken(text), |failure| *failure == TlsFailure::NotTls);
}

#[test]
fn sessions_resume_across_connections_and_lanes() {
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let peer = serve(|_, tls| tls.versions = vec![version]);
        let shared = Shared::new();
        let mut settings = settings_for(&peer);
        settings.requests_per_connection_max = Some(1);
        for _ in 0..2 {
            lane(async {
                let endpoint = start_in(&settings, &shared, &Local::default());
                post_many(&endpoint, 10, 1).await;
                close_and_balance(&endpoint).await;
                assert_eq!(endpoint.counters().closed(CloseReason::RequestsMax), 10);
            });
        }
        let counts = peer.counts();
        assert_eq!((counts.handshakes_full, counts.handshakes_resumed), (1, 19), "{version:?}");
    }
}
