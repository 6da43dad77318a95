//! Peers from which nothing comes, not even a refusal: packets that are dropped in a network namespace of the test's own.

use std::net::UdpSocket;
use std::time::{Duration, Instant};

use testkit::endpoint::{Answer, Endpoint};
use testkit::namespace::Namespace;
use testkit::process::{Nsqd, Posthaste, Signal};
use testkit::{PATIENCE, skip};

use crate::rig::{self, CHANNEL, Run, TOPIC, number};

/// Without `TCP_USER_TIMEOUT` this would last until the request's own deadline, 30 s.
#[test]
fn a_post_on_a_connection_gone_silent_fails_after_ten_seconds_and_is_retried() {
    let Some(namespace) = Namespace::new() else {
        return skip(
            "a_post_on_a_connection_gone_silent_fails_after_ten_seconds_and_is_retried",
            "needs root and nft",
        );
    };
    namespace.run(|| {
        let endpoint = Endpoint::https(Answer::ok());
        let nsqd = rig::nsqd(&[]);
        let run = Run::new([&nsqd], &endpoint.url("/"))
            .trusting(&endpoint.ca_file())
            .with("--backoff-initial", "500ms");
        let posthaste = run.start();
        rig::publish(&nsqd, 1, 200);
        rig::wait_finished(&nsqd, 1);
        let idle = endpoint.connections()[0].peer_port;
        // This connection alone: whoever dials anew gets through.
        let dropped = namespace.drop_packets(&format!("tcp dport {} tcp sport {idle}", endpoint.port()));

        let posted = Instant::now();
        nsqd.publish(TOPIC, &testkit::body::body(1, 200));
        posthaste.process.wait_stderr("not delivered", PATIENCE);
        let failed = posted.elapsed();
        rig::wait_finished(&nsqd, 2);
        println!("failed after {failed:?}, delivered after {:?}", posted.elapsed());
        assert!(dropped.packets() > 0);
        assert!(failed >= Duration::from_secs(8), "{failed:?}: something else than silence has failed it");
        assert!(failed <= Duration::from_secs(10), "{failed:?}");
        let (summary, _) = rig::drain(&posthaste);
        assert_eq!((number(&summary, "failed"), number(&summary, "requeued")), (1, 1), "{summary:#}");
        assert_eq!((number(&summary, "dials"), number(&summary, "finished")), (2, 2), "{summary:#}");
        endpoint.ledger().assert_exactly_once(0..2);
    });
}

/// Starts a Posthaste whose resolver never answers.
fn start(namespace: &Namespace, run: &Run) -> Posthaste {
    Posthaste::run_with(run.arguments(), |command| namespace.wrap(command))
}

/// Ends it; it has at most 2 s.
fn ends(posthaste: &Posthaste, what: &str) {
    let begun = Instant::now();
    posthaste.process.signal(Signal::TERM);
    let exited = posthaste.process.wait(PATIENCE);
    let took = begun.elapsed();
    println!("{what}: exit after {took:?}");
    assert_eq!(exited.code, Some(0), "{what}{}", posthaste.process.output());
    assert!(took <= Duration::from_secs(2), "{what}: exit after {took:?}{}", posthaste.process.output());
    Posthaste::assert_balanced(&posthaste.summary());
}

fn contains(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

#[test]
fn a_resolver_that_never_answers_does_not_hold_the_exit_up() {
    let Some(namespace) = Namespace::new() else {
        return skip("a_resolver_that_never_answers_does_not_hold_the_exit_up", "needs root and nft");
    };
    namespace.set_resolver("127.0.0.53");
    namespace.run(|| {
        // It hears every question. Packets that a filter drops on their way out would be refused to the sender instead.
        let resolver = UdpSocket::bind("127.0.0.53:53").expect("nobody else is in this namespace");
        resolver.set_read_timeout(Some(PATIENCE)).expect("a socket of ours");
        let asked = |name: &str| {
            let mut question = [0; 512];
            // A name goes over the wire as labels, each behind its length.
            while !resolver
                .recv(&mut question)
                .map(|len| contains(&question[..len], name))
                .expect("a question")
            {}
        };
        let nsqd: Nsqd = rig::nsqd(&[]);
        rig::publish(&nsqd, 10, 200);

        let of_endpoint = start(&namespace, &Run::new([&nsqd], "http://endpoint.test/"));
        asked("endpoint");
        ends(&of_endpoint, "endpoint");
        let channel = nsqd.channel(TOPIC, CHANNEL);
        assert_eq!((channel.in_flight, channel.depth, channel.deferred), (0, 10, 0), "{channel:#?}");

        let nowhere = |name: &str, address: &str| Run::new([], "http://127.0.0.1:9/").with(name, address);
        let of_nsqd = start(&namespace, &nowhere("--nsqd-tcp-address", "nsqd.test:4150"));
        asked("nsqd");
        ends(&of_nsqd, "nsqd");
        let of_lookupd = start(&namespace, &nowhere("--lookupd-http-address", "nsqlookupd.test:4161"));
        asked("nsqlookupd");
        ends(&of_lookupd, "nsqlookupd");
    });
}
