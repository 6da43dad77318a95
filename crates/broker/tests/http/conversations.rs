//! Every path, right and wrong, sent to both: the same status, fields and body. What differs stands in `differences`.

use std::net::SocketAddr;

use testkit::process::Nsqd;

use crate::raw::{exchange, request};
use crate::served::{Served, settings};

const LIMITS: [&str; 2] = ["--max-msg-size=1000", "--max-body-size=5000"];

/// Sends each request to both and compares.
fn same(requests: &[Vec<u8>]) {
    let nsqd = Nsqd::start(&LIMITS);
    let broker = Served::start(broker::Settings { max_msg_size: 1_000, max_body_size: 5_000, ..settings() });
    for request in requests {
        let said = |address: SocketAddr| exchange(address, request);
        let shown = String::from_utf8_lossy(&request[..request.len().min(200)]).into_owned();
        assert_eq!(said(broker.http()), said(nsqd.http_address()), "{shown}");
    }
}

fn posts(targets: &[&str], body: &[u8]) -> Vec<Vec<u8>> {
    targets.iter().map(|target| request("POST", target, body)).collect()
}

fn bare(method: &str, target: &str) -> Vec<u8> {
    format!("{method} {target} HTTP/1.1\r\nHost: x\r\n\r\n").into_bytes()
}

#[test]
fn paths_and_methods() {
    let mut requests = Vec::new();
    for target in [
        "/ping",
        "/",
        "/nope",
        "/ping/",
        "/PING",
        "//ping",
        "/p%69ng",
        "/config",
        "/config/",
        "/config/a/b",
        "/stats/",
        "/topic/create/",
        "/ping/?a=b",
        "/ping/?a=%22'&c",
        "/../ping",
        "/topic",
        "/pub",
    ] {
        for method in ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"] {
            // With an empty body: Go would not say that it closes otherwise.
            requests.push(match method {
                "POST" | "PUT" => request(method, target, b""),
                _ => bare(method, target),
            });
        }
    }
    requests.push(bare("OPTIONS", "*"));
    requests.push(b"GET /ping HTTP/1.0\r\n\r\n".to_vec());
    requests.push(b"GET /ping HTTP/1.0\r\nConnection: keep-alive\r\n\r\n".to_vec());
    requests.push(b"GET /ping HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".to_vec());
    same(&requests);
}

#[test]
fn publishing_one() {
    let mut requests = posts(
        &[
            "/pub",
            "/pub?topic=",
            "/pub?topic=a%20b",
            "/pub?topic=a+b",
            "/pub?topic=t",
            "/pub?topic=t%23ephemeral",
            "/pub?topic=%zz",
            "/pub?topic=a;b",
            "/pub?a;b&topic=t",
            "/pub?topic=t&topic=a%20b",
            "/pub?=&&topic=t",
            "/pub?to%70ic=t",
            "/pub?topic=t&defer=",
            "/pub?topic=t&defer=-1",
            "/pub?topic=t&defer=0",
            "/pub?topic=t&defer=3600000",
            "/pub?topic=t&defer=3600001",
            "/pub?topic=t&defer=%2b5",
            "/pub?topic=t&defer=1.5",
            "/pub?topic=t&defer=x",
            "/pub?topic=t&defer=99999999999999999999",
            "/pub?topic=made&defer=x",
            "/channel/create?topic=made&channel=c",
        ],
        b"x",
    );
    requests.extend(posts(&["/pub", "/pub?topic=t"], b""));
    requests.extend(posts(&["/pub?topic=t"], &[b'x'; 1_000]));
    requests.extend(posts(&["/pub?topic=t", "/pub", "/pub?topic=a%20b"], &[b'x'; 1_001]));
    for length in [3, 1_000, 1_001] {
        let head = "POST /pub?topic=t HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
        let body = format!("{head}{length:x}\r\n{}\r\n0\r\n\r\n", "x".repeat(length));
        requests.push(body.into_bytes());
    }
    same(&requests);
}

fn binary(messages: &[&[u8]]) -> Vec<u8> {
    let mut body = i32::try_from(messages.len()).unwrap().to_be_bytes().to_vec();
    for message in messages {
        body.extend(i32::try_from(message.len()).unwrap().to_be_bytes());
        body.extend_from_slice(message);
    }
    body
}

#[test]
fn publishing_lines() {
    let mut requests = Vec::new();
    let long = |length: usize| "x".repeat(length);
    for body in [
        String::new(),
        "a".into(),
        "a\n".into(),
        "a\n\nb\n".into(),
        "\n".into(),
        "a\nb".into(),
        long(1_000) + "\n",
        long(1_001) + "\n",
        long(1_001),
        "ab\n".repeat(1_666) + "ab",
        "ab\n".repeat(1_667),
        long(1_001) + "\n" + &"ab\n".repeat(1_667),
    ] {
        requests.extend(posts(&["/mpub?topic=m"], body.as_bytes()));
    }
    requests.extend(posts(&["/mpub", "/mpub?topic=a%20b", "/mpub?topic=%zz", "/mpub?topic=m&defer=x"], b"a"));
    let chunked = "POST /mpub?topic=m HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
    requests.push(format!("{chunked}5\r\na\nb\nc\r\n0\r\n\r\n").into_bytes());
    same(&requests);
}

#[test]
fn publishing_counted_messages() {
    let two = binary(&[b"a", b"bc"]);
    let words = ["true", "1", "false", "0", "yes", "", "TRUE"];
    let mut requests: Vec<_> =
        words.iter().map(|word| request("POST", &format!("/mpub?topic=m&binary={word}"), &two)).collect();
    let short = binary(&[b"xxxxx"]);
    let bodies: [&[u8]; 12] = [
        b"",
        b"\0\0",
        &0_i32.to_be_bytes(),
        &(-1_i32).to_be_bytes(),
        &1_000_i32.to_be_bytes(),
        &[&999_i32.to_be_bytes()[..], b"\0\0\0\x01a"].concat(),
        &binary(&[b""]),
        &binary(&[&[b'x'; 1_001]]),
        &[&binary(&[b"x"])[..], b"trailing"].concat(),
        &binary(&[&[b'x'; 1_000][..]; 5]),
        &short[..short.len() - 2],
        &short[..6],
    ];
    requests.extend(bodies.iter().map(|body| request("POST", "/mpub?topic=m&binary=true", body)));
    requests.push(request("POST", "/mpub?topic=m&binary", &two));
    same(&requests);
}

#[test]
fn topics_and_channels() {
    let mut requests = Vec::new();
    // Once while there is nothing, once with topic and channel.
    for _ in 0..2 {
        for what in ["topic", "channel"] {
            for change in ["pause", "unpause", "empty", "delete", "create"] {
                for query in [
                    "",
                    "?topic=",
                    "?topic=a%20b",
                    "?topic=absent&channel=c",
                    "?topic=absent&channel=",
                    "?topic=absent&channel=a%20b",
                    "?%zz",
                    "?topic=t",
                    "?topic=t&channel=absent",
                    "?topic=t&channel=c",
                ] {
                    if change == "create" && query.contains("absent&") && what == "topic" {
                        continue;
                    }
                    requests.extend(posts(&[&format!("/{what}/{change}{query}")], b"ignored"));
                }
            }
        }
    }
    same(&requests);
}

#[test]
fn options_that_mean_something_here() {
    let mut requests: Vec<_> = [
        "nsqlookupd_tcp_addresses",
        "log_level",
        "broadcast_address",
        "auth_http_addresses",
        "http_client_connect_timeout",
        "http_client_request_timeout",
        "mem_queue_size",
        "msg_timeout",
        "max_msg_timeout",
        "max_msg_size",
        "max_body_size",
        "max_req_timeout",
        "max_heartbeat_interval",
        "max_rdy_count",
        "max_output_buffer_size",
        "max_output_buffer_timeout",
        "min_output_buffer_timeout",
        "output_buffer_timeout",
        "max_channel_consumers",
        "tls_cert",
        "tls_key",
        "tls_client_auth_policy",
        "tls_root_ca_file",
        "tls_required",
        "tls_min_version",
        "deflate",
        "max_deflate_level",
        "snappy",
        "nope",
        "LOG_LEVEL",
        "queue_scan_interval",
        "client_timeout",
        "lookupd_tcp_address",
        "node_id",
    ]
    .iter()
    .map(|option| bare("GET", &format!("/config/{option}")))
    .collect();
    let mut put = |option: &str, value: &[u8]| {
        requests.push(request("PUT", &format!("/config/{option}"), value));
        requests.push(bare("GET", &format!("/config/{option}")));
    };
    for level in ["debug", "DEBUG", "error", "nope", "", "1", &"x".repeat(1_001), "warn", "fatal", "info"] {
        put("log_level", level.as_bytes());
    }
    for addresses in
        ["[]", "null", "x", "\"a\"", "[1]", " [ ] ", "[] x", "[\"a\",1]", "[\"127.0.0.1:1\"]", "[]"]
    {
        put("nsqlookupd_tcp_addresses", addresses.as_bytes());
    }
    put("msg_timeout", b"5");
    put("msg_timeout", b"");
    put("nope", b"5");
    same(&requests);
}
