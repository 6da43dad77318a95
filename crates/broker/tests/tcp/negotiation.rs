//! IDENTIFY's upgrades, and what is said through them.

use wire::IdentifyRequest;

use crate::script::{Act, Both, alone, identify, mpub, say};

fn negotiating() -> IdentifyRequest {
    IdentifyRequest { feature_negotiation: Some(true), ..IdentifyRequest::default() }
}

/// From an IDENTIFY to the end of a message.
fn through(request: &IdentifyRequest, upgrade: Act, topic: &str) -> Vec<(usize, Act)> {
    let body = "x".repeat(10_000);
    alone([
        identify(request),
        Act::Hear(1),
        upgrade,
        Act::Hear(1),
        mpub(topic, &["a", &body]),
        Act::Hear(1),
        say(format!("SUB {topic} c\nRDY 5\n")),
        Act::Hear(3),
        say("FIN {0}\nFIN {1}\nFIN {1}\n"),
        Act::Hear(1),
        say("CLS\n"),
        Act::Hear(1),
    ])
}

#[test]
fn snappy_and_deflate_at_every_level() {
    let both = Both::plain();
    let snappy = IdentifyRequest { snappy: Some(true), ..negotiating() };
    both.agree("snappy", &through(&snappy, Act::Snappy, "snappy"));
    for level in [None, Some(-1), Some(0), Some(1), Some(6), Some(9), Some(100)] {
        let deflate = IdentifyRequest { deflate: Some(true), deflate_level: level, ..negotiating() };
        both.agree(&format!("{level:?}"), &through(&deflate, Act::Deflate, "deflate"));
    }
}

#[test]
fn what_the_server_does_not_offer_is_not_granted() {
    let flags = ["--snappy=false", "--deflate=false"];
    let set = broker::Settings { snappy: false, deflate: false, ..crate::served::settings() };
    let both = Both::start(&flags, set);
    let all =
        IdentifyRequest { snappy: Some(true), deflate: Some(true), tls_v1: Some(true), ..negotiating() };
    both.agree("none", &alone([identify(&all), Act::Hear(1), say("SUB t c\n"), Act::Hear(1)]));
}

#[test]
fn the_limits_are_told() {
    let flags = [
        "--max-rdy-count=77",
        "--msg-timeout=7s",
        "--max-msg-timeout=70s",
        "--max-deflate-level=3",
        "--output-buffer-timeout=77ms",
    ];
    let set = broker::Settings {
        max_rdy_count: 77,
        msg_timeout: std::time::Duration::from_secs(7),
        max_msg_timeout: std::time::Duration::from_secs(70),
        max_deflate_level: 3,
        output_buffer_timeout: std::time::Duration::from_millis(77),
        ..crate::served::settings()
    };
    let both = Both::start(&flags, set);
    for request in [
        negotiating(),
        IdentifyRequest { deflate: Some(true), ..negotiating() },
        IdentifyRequest { msg_timeout_ms: Some(70_001), ..negotiating() },
    ] {
        both.agree("told", &alone([identify(&request), Act::Hear(1)]));
    }
}

/// Only before SUB, but then as often as a client likes.
#[test]
fn identify_may_be_repeated() {
    let both = Both::plain();
    both.agree(
        "twice",
        &alone([
            identify(&negotiating()),
            identify(&IdentifyRequest::default()),
            Act::Hear(2),
            say("SUB t c\n"),
            Act::Hear(1),
        ]),
    );
}

#[test]
fn garbage_in_a_compressed_stream_ends_it() {
    let both = Both::plain();
    for (request, name) in [
        (IdentifyRequest { snappy: Some(true), ..negotiating() }, "snappy"),
        (IdentifyRequest { deflate: Some(true), ..negotiating() }, "deflate"),
    ] {
        both.agree(name, &alone([identify(&request), Act::Hear(1), Act::Garbage(vec![0xff; 64])]));
    }
}
