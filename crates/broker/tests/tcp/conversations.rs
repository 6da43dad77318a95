//! Every command, right and wrong, in every state.

use broker::Settings;

use crate::script::{Act, Both, alone, say};
use crate::served::settings;

const ID: &str = "0123456789abcdef";

/// A command as bytes, `len` being what its body's length says.
fn with_body(line: &str, len: i32, body: &[u8]) -> Vec<u8> {
    [line.as_bytes(), b"\n", &len.to_be_bytes(), body].concat()
}

fn sized(line: &str, body: &[u8]) -> Vec<u8> {
    with_body(line, i32::try_from(body.len()).expect("a short body"), body)
}

fn list(messages: &[&[u8]]) -> Vec<u8> {
    let mut body = (messages.len() as u32).to_be_bytes().to_vec();
    for message in messages {
        body.extend((message.len() as u32).to_be_bytes());
        body.extend(*message);
    }
    body
}

/// Lines without a body.
fn lines() -> Vec<Vec<u8>> {
    let texts = [
        "HELLO",
        "",
        "nop",
        " NOP",
        "NOP",
        "NOP x",
        "NOP\r",
        "CLS",
        "CLS now",
        "RDY",
        "RDY ",
        "RDY 0",
        "RDY 5",
        "RDY 007",
        "RDY 5 6",
        "RDY -1",
        "RDY x",
        "RDY 100",
        "RDY 101",
        "RDY 4294967295",
        "RDY 4294967296",
        "FIN",
        "FIN abc",
        "FIN  0123456789abcdef",
        "TOUCH",
        "TOUCH abc",
        "REQ",
        "REQ abc",
        "REQ abc 1",
        "REQ 0123456789abcdef",
        "REQ 0123456789abcdef -1",
        "REQ 0123456789abcdef x",
        "REQ 0123456789abcdef 1.5",
        "SUB",
        "SUB t",
        "SUB a/b c",
        "SUB a/b",
        "SUB t c!",
        "SUB  t c",
        "SUB t\u{e9} c",
        "SUB a\"b c",
        "SUB t c",
        "SUB t c more",
        "SUB t c#ephemeral",
        "SUB t#ephemeral c#ephemeral",
        "SUB #ephemeral c",
        "PUB",
        "PUB a/b",
        "PUB  t",
        "DPUB",
        "DPUB t",
        "DPUB a/b",
        "DPUB a/b 1",
        "DPUB t x",
        "DPUB t -1",
        "DPUB t 3600001",
        "MPUB",
        "MPUB a/b",
        "AUTH x",
    ];
    let mut lines: Vec<Vec<u8>> = texts.iter().map(|text| format!("{text}\n").into_bytes()).collect();
    for text in ["FIN", "TOUCH", "FIN more", "REQ", "REQ more"] {
        let (name, more) = text.split_once(' ').unwrap_or((text, ""));
        lines.push(format!("{name} {ID} 5 {more}\n").into_bytes());
    }
    lines.push(format!("PUB {}\n", "x".repeat(65)).into_bytes());
    lines.push(format!("SUB {} {}\n", "x".repeat(64), "y".repeat(65)).into_bytes());
    lines
}

/// Commands with a body, good, bad, and of a bad length. `max-msg-size` is 64, `max-body-size` 256.
fn bodies() -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for line in ["PUB t", "DPUB t 0", "DPUB t 3600000", "PUB t more", "DPUB t 5 more"] {
        all.extend([sized(line, b"hello"), sized(line, &[7; 64]), sized(line, b"")]);
        all.extend([with_body(line, -1, b""), with_body(line, 65, b""), with_body(line, i32::MAX, b"")]);
    }
    for line in ["IDENTIFY", "IDENTIFY now", "AUTH", "MPUB t"] {
        all.extend([sized(line, b""), with_body(line, -1, b""), with_body(line, 257, b"")]);
    }
    all.push(sized("AUTH", b"secret"));
    all.extend(
        [list(&[b"a"]), list(&[b"a", b"bc"]), list(&[&[7; 64], &[8; 64]])].map(|list| sized("MPUB t", &list)),
    );
    for bad in [
        list(&[]),
        list(&[b""]),
        list(&[b"a", b"", b"b"]),
        list(&[&[7; 65]]),
        [&[0xff; 4][..], b"abcdef"].concat(),
        [&[0, 0, 0, 127][..], b"\0\0\0\x01a"].concat(),
        [&[0, 0, 0, 1][..], b"\xff\xff\xff\xff", b"a"].concat(),
    ] {
        all.push(sized("MPUB t", &bad));
    }
    for json in [
        "{}",
        "null",
        "[]",
        "7",
        "{",
        "\"x\"",
        r#"{"client_id":7}"#,
        r#"{"client_id":"a","Hostname":"b","x":[]}"#,
        r#"{"feature_negotiation":true}"#,
        r#"{"feature_negotiation":true,"snappy":true,"deflate":true}"#,
        r#"{"feature_negotiation":true,"tls_v1":true}"#,
        r#"{"snappy":true}"#,
        r#"{"heartbeat_interval":-1}"#,
        r#"{"heartbeat_interval":999}"#,
        r#"{"heartbeat_interval":60001}"#,
        r#"{"heartbeat_interval":1.5}"#,
        r#"{"output_buffer_size":63}"#,
        r#"{"output_buffer_size":65537}"#,
        r#"{"output_buffer_timeout":24}"#,
        r#"{"output_buffer_timeout":30001}"#,
        r#"{"sample_rate":100}"#,
        r#"{"sample_rate":-1}"#,
        r#"{"msg_timeout":999}"#,
        r#"{"msg_timeout":900001}"#,
        r#"{"msg_timeout":-1}"#,
        r#"{"feature_negotiation":true,"output_buffer_size":-1,"output_buffer_timeout":-1,"msg_timeout":1000,"sample_rate":99}"#,
        r#"{"feature_negotiation":true,"output_buffer_size":64,"output_buffer_timeout":25,"heartbeat_interval":1000}"#,
        r#"{"feature_negotiation":true,"output_buffer_timeout":-1,"deflate_level":9}"#,
    ] {
        all.push(sized("IDENTIFY", json.as_bytes()));
    }
    all
}

/// Commands that end before they are whole.
fn cut() -> Vec<Vec<u8>> {
    let mpub = sized("MPUB t", &list(&[b"ab", b"cd"]));
    let whole = [
        sized("PUB t", b"hello"),
        sized("DPUB t 5", b"hello"),
        sized("IDENTIFY", b"{}"),
        sized("AUTH", b"secret"),
        mpub,
    ];
    whole.iter().flat_map(|bytes| (1..bytes.len()).map(|len| bytes[..len].to_vec())).collect()
}

fn small_limits() -> Both {
    let flags = ["--max-msg-size=64", "--max-body-size=256", "--max-rdy-count=100"];
    Both::start(&flags, Settings { max_msg_size: 64, max_body_size: 256, max_rdy_count: 100, ..settings() })
}

/// What leads to each state.
const STATES: [(&str, &[u8], usize); 4] = [
    ("at the start", b"", 0),
    ("without heartbeats", b"IDENTIFY\n\0\0\0\x19{\"heartbeat_interval\":-1}", 1),
    ("subscribed", b"SUB s c\n", 1),
    ("closing", b"SUB s c\nCLS\n", 2),
];

/// Says it, ends the half, and hears everything to the end: whoever serves executes all there is and then closes.
fn to_the_end(both: &Both, state: &(&str, &[u8], usize), bytes: &[u8]) -> String {
    let (name, before, replies) = state;
    let mut acts = vec![say(before), Act::Hear(*replies)];
    acts.extend([say(bytes), Act::Half, Act::End]);
    both.agree(&format!("{name}: {}", bytes.escape_ascii()), &alone(acts))
}

#[test]
fn every_command_in_every_state() {
    let both = small_limits();
    for state in &STATES {
        for bytes in lines().iter().chain(&bodies()) {
            to_the_end(&both, state, bytes);
        }
    }
}

#[test]
fn every_cut_of_a_command() {
    let both = small_limits();
    for bytes in cut() {
        to_the_end(&both, &STATES[0], &bytes);
    }
}

#[test]
fn what_is_not_the_protocol() {
    let both = Both::plain();
    for bytes in ["", "  ", "  V", "  V1", "GET / HTTP/1.1\r\n\r\n", "    ", "V2  NOP\n"] {
        both.agree(bytes, &alone([Act::Bare, say(bytes), Act::Half, Act::End]));
    }
    both.agree(
        "in pieces",
        &alone([Act::Bare, say(" "), say(" V2SUB"), say(" t c"), say("\n"), Act::Hear(1)]),
    );
}

#[test]
fn a_line_without_an_end_is_not_answered() {
    let both = Both::plain();
    for bytes in [16 * 1024 - 1, 16 * 1024, 16 * 1024 + 1, 100_000] {
        let line = [b"NOP ".as_slice(), &vec![b'x'; bytes - 5], b"\n"].concat();
        both.agree(&format!("{bytes}"), &alone([say(line), say("SUB t c\n"), Act::Half, Act::End]));
    }
    both.agree("no end", &alone([say(vec![b'x'; 16 * 1024]), Act::End]));
}

#[test]
fn commands_in_one_piece_are_answered_in_order() {
    let both = small_limits();
    let mut bytes = Vec::new();
    for i in 0..50_u8 {
        bytes.extend(sized("PUB order", &[i]));
        bytes.extend(b"NOP\n");
    }
    bytes.extend(sized("MPUB order", &list(&[b"a", b"b"])));
    bytes.extend(b"SUB order c\n");
    bytes.extend(
        format!("FIN {ID}\nPUB order\n\0\0\0\x01xTOUCH {ID}\nREQ {ID} 0\nCLS\nFIN {ID}\nHELLO\nNOP\n")
            .into_bytes(),
    );
    let transcript = both.agree("in one piece", &alone([say(&bytes), Act::End]));
    assert_eq!(transcript.matches("response OK").count(), 53);
}
