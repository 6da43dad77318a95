//! AUTH against an auth server.

use broker::Settings;
use testkit::auth::AuthServer;
use testkit::endpoint::{Answer, Endpoint};
use wire::Command;

use crate::script::{Act, Both, alone, commands, converse, mpub, publish, say};
use crate::served::{Served, settings};

fn with_server(address: &str) -> Both {
    let flag = format!("--auth-http-address={address}");
    Both::start(&[&flag], Settings { auth_http_addresses: vec![address.to_owned()], ..settings() })
}

fn auth(secret: &[u8]) -> Act {
    commands(&[Command::Auth { secret }])
}

/// An auth server that gives every secret this answer.
fn answering(body: &str) -> Endpoint {
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n";
    Endpoint::http(Answer::raw(format!("{head}Content-Length: {}\r\n\r\n{body}", body.len())))
}

#[test]
fn a_secret_opens_what_the_server_grants() {
    let server = AuthServer::start(&["s3cret / +%ü"]);
    let both = with_server(&server.endpoint().address().to_string());
    let negotiate = commands(&[Command::Identify { body: br#"{"feature_negotiation":true}"# }]);
    both.agree("told", &alone([negotiate, Act::Hear(1)]));
    let good = auth("s3cret / +%ü".as_bytes());
    both.agree(
        "good",
        &alone([good.clone(), Act::Hear(1), publish("t", "x"), say("SUB t c\nRDY 1\n"), Act::Hear(3)]),
    );
    both.agree("twice", &alone([good.clone(), Act::Hear(1), good.clone(), Act::End]));
    both.agree("bad", &alone([auth(b"wrong"), Act::End]));
    both.agree("not text", &alone([auth(b"\xff\0 "), Act::End]));
    both.agree(
        "too late",
        &alone([good, Act::Hear(1), say("SUB t c\n"), Act::Hear(1), auth(b"x"), Act::End]),
    );
    for without in [
        publish("t", "x"),
        mpub("t", &["x"]),
        say("SUB t c\n"),
        say("DPUB t 5\n\0\0\0\x01x"),
        say("MPUB t\n\0\0\0\0"),
    ] {
        both.agree("without", &alone([without, Act::End]));
    }
    both.agree("needs none", &alone([say("NOP\nSUB t\n"), Act::End]));
    assert!(server.secrets().contains("s3cret / +%ü"));
}

#[test]
fn topics_and_channels_are_matched_as_nsqd_matches_them() {
    let rules = r#"{"ttl":60,"identity":"joe \"<&>\"","identity_url":"http://x/?a=1&b=<2>","authorizations":[
        {"topic":"^ev","channels":["^arch"],"permissions":["subscribe"]},
        {"topic":"pub","channels":[".*"],"permissions":["publish"]},
        {"topic":"both$","channels":["c",""],"permissions":["publish","subscribe"]}]}"#;
    let server = answering(rules);
    let both = with_server(&server.address().to_string());
    for (topic, channel) in [
        ("events", "archive"),
        ("my-events", "archive"),
        ("events", "my-archive"),
        ("publish", "c"),
        ("xboth", "xcx"),
        ("bothx", "c"),
    ] {
        let sub = commands(&[Command::Sub { topic, channel }]);
        both.agree(topic, &alone([auth(b"x"), Act::Hear(1), sub, Act::Half, Act::End]));
        for publish in [publish(topic, "x"), mpub(topic, &["x"])] {
            both.agree(topic, &alone([auth(b"x"), Act::Hear(1), publish, Act::Half, Act::End]));
        }
    }
}

#[test]
fn an_answer_of_no_use_is_none() {
    for answer in [
        "",
        "{}",
        "[]",
        r#"{"ttl":60}"#,
        r#"{"ttl":60,"authorizations":[]}"#,
        r#"{"ttl":0,"authorizations":[{"topic":".*","channels":[".*"],"permissions":["subscribe"]}]}"#,
        r#"{"ttl":60,"authorizations":[{"topic":".*","channels":[".*"],"permissions":["delete"]}]}"#,
        r#"{"ttl":60,"authorizations":[{"topic":"(","channels":[".*"],"permissions":["subscribe"]}]}"#,
        r#"{"ttl":60,"authorizations":[{}]}"#,
    ] {
        let server = answering(answer);
        let both = with_server(&server.address().to_string());
        both.agree(answer, &alone([auth(b"x"), Act::Hear(1), say("SUB t c\n"), Act::Half, Act::End]));
    }
}

#[test]
fn a_grant_that_expired_is_asked_for_again() {
    let server = AuthServer::start_with(&["s"], 1);
    let both = with_server(&server.endpoint().address().to_string());
    let hold = |who| {
        let heartbeat = commands(&[Command::Identify { body: br#"{"heartbeat_interval":1200}"# }]);
        // A heartbeat later the grant is over.
        [
            (who, heartbeat),
            (who, auth(b"s")),
            (who, Act::Hear(3)),
            (who, publish("t", "x")),
            (who, Act::Hear(1)),
        ]
    };
    both.agree("renewed", &hold(0));
    assert_eq!(server.granted(), 4, "twice for each");
}

#[test]
fn an_auth_server_that_is_gone_grants_nothing() {
    // Nobody listens on port 1.
    let both = with_server("127.0.0.1:1");
    both.agree("gone", &alone([auth(b"x"), Act::End]));
}

/// Each is asked over a connection of its own, and a name is not looked up for each.
#[test]
fn many_clients_that_come_at_once_are_all_granted() {
    let server = AuthServer::start(&["s"]);
    let address = format!("localhost:{}", server.endpoint().address().port());
    let broker = Served::start(Settings { auth_http_addresses: vec![address], ..settings() });
    const CLIENTS: usize = 40;
    let first = (0..CLIENTS).map(|who| (who, auth(b"s")));
    let then = (0..CLIENTS).map(|who| (who, Act::Hear(1)));
    let transcript = converse(broker.tcp(), &first.chain(then).collect::<Vec<_>>());
    assert_eq!(transcript.matches("permission_count").count(), CLIENTS, "{transcript}");
}
