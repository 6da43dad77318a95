//! What an nsqlookupd's answer says. Pure.
//!
//! Since 1.0 the answer is the bare object `{channels, producers}`; before, that stood as `data` in an envelope `{status_code, status_txt, data}`. Both are read.

use serde::{Deserialize, Deserializer};

use super::LookupError;
use crate::stream::split_address;

/// By this an nsqlookupd says that no nsqd has the topic.
const TOPIC_NOT_FOUND: &str = "TOPIC_NOT_FOUND";

/// Longest text of a refusal to keep, in characters.
const TEXT_MAX: usize = 200;

/// An nsqd as nsqlookupd knows it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Node {
    /// The address that it announces; one that lookups before 1.0 call `address`.
    #[serde(alias = "address")]
    pub broadcast_address: String,
    /// Port of the TCP protocol.
    pub tcp_port: u16,
    /// Port of its HTTP API.
    pub http_port: u16,
    /// Its host's own name.
    pub hostname: String,
    /// Its version.
    pub version: String,
}

impl Node {
    /// `broadcast_address:tcp_port`: what to dial, and the node's key. IPv6 in brackets.
    pub fn address(&self) -> String {
        let Node { broadcast_address, tcp_port, .. } = self;
        if broadcast_address.contains(':') && !broadcast_address.starts_with('[') {
            format!("[{broadcast_address}]:{tcp_port}")
        } else {
            format!("{broadcast_address}:{tcp_port}")
        }
    }
}

/// Everything that either form may hold.
#[derive(Deserialize)]
struct Answer {
    #[serde(default, deserialize_with = "null_is_empty")]
    producers: Option<Vec<Node>>,
    data: Option<Producers>,
    message: Option<String>,
    status_code: Option<u16>,
    status_txt: Option<String>,
}

#[derive(Deserialize)]
struct Producers {
    #[serde(default, deserialize_with = "null_is_empty")]
    producers: Option<Vec<Node>>,
}

/// Go writes an empty list as `null` when it was never filled; a list that is not there at all is another thing.
fn null_is_empty<'de, D: Deserializer<'de>>(json: D) -> Result<Option<Vec<Node>>, D::Error> {
    Option::deserialize(json).map(|nodes| Some(nodes.unwrap_or_default()))
}

/// The nodes of an answer; none for an unknown topic. A 404 that is not about the topic is some other server's, and no answer: it must not make nodes vanish.
pub(super) fn parse(status: u16, body: &[u8]) -> Result<Vec<Node>, LookupError> {
    if status == 404 && body.trim_ascii().is_empty() {
        return Ok(Vec::new());
    }
    let refused = |status, text: &str| LookupError::Refused { status, text: shown(text) };
    let answer: Answer = match serde_json::from_slice(body) {
        Ok(answer) => answer,
        Err(error) if status == 200 => return Err(LookupError::Json { reason: shown(&error.to_string()) }),
        Err(_) => return Err(refused(status, &String::from_utf8_lossy(body))),
    };
    let text = answer.message.or(answer.status_txt).unwrap_or_default();
    if text == TOPIC_NOT_FOUND {
        return Ok(Vec::new());
    }
    let status = answer.status_code.filter(|_| status == 200).unwrap_or(status);
    if status != 200 {
        return Err(refused(status, &text));
    }
    let nodes = answer.producers.or(answer.data.and_then(|data| data.producers));
    let mut nodes = nodes.ok_or_else(|| LookupError::Json { reason: "it names no producers".to_owned() })?;
    nodes.retain(|node| split_address(&node.address()).is_some());
    Ok(nodes)
}

fn shown(text: &str) -> String {
    text.trim().chars().take(TEXT_MAX).map(|char| if char.is_control() { ' ' } else { char }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(address: &str, port: u16) -> Node {
        Node { broadcast_address: address.to_owned(), tcp_port: port, ..Node::default() }
    }

    #[test]
    fn the_answer_of_1_3_0() {
        let body = br#"{"channels":["c"],"producers":[{"remote_address":"127.0.0.1:51442","hostname":"a",
            "broadcast_address":"a.example","tcp_port":4150,"http_port":4151,"version":"1.3.0"}]}"#;
        let expected = Node {
            http_port: 4151,
            hostname: "a".to_owned(),
            version: "1.3.0".to_owned(),
            ..node("a.example", 4150)
        };
        assert_eq!(parse(200, body).unwrap(), [expected]);
    }

    #[test]
    fn the_envelope_before_1_0() {
        let body = br#"{"status_code":200,"status_txt":"OK","data":{"channels":[],"producers":[
            {"address":"a.example","tcp_port":4150,"http_port":4151}]}}"#;
        assert_eq!(parse(200, body).unwrap(), [Node { http_port: 4151, ..node("a.example", 4150) }]);
        let body = br#"{"status_code":500,"status_txt":"INVALID_ARG_TOPIC","data":null}"#;
        assert!(matches!(parse(200, body), Err(LookupError::Refused { status: 500, .. })));
        let body = br#"{"status_code":404,"status_txt":"TOPIC_NOT_FOUND","data":null}"#;
        assert_eq!(parse(200, body).unwrap(), []);
    }

    #[test]
    fn an_unknown_topic_is_an_answer_and_another_404_is_none() {
        assert_eq!(parse(404, br#"{"message":"TOPIC_NOT_FOUND"}"#).unwrap(), []);
        assert_eq!(parse(404, b"").unwrap(), []);
        for body in [&br#"{"message":"NOT_FOUND"}"#[..], b"<html>no such page</html>"] {
            assert!(matches!(parse(404, body), Err(LookupError::Refused { status: 404, .. })));
        }
    }

    #[test]
    fn an_empty_list_is_an_answer_and_a_lacking_one_is_none() {
        assert_eq!(parse(200, br#"{"producers":[]}"#).unwrap(), []);
        assert_eq!(parse(200, br#"{"producers":null}"#).unwrap(), []);
        for body in [&b"{}"[..], b"[]", b"", b"OK", br#"{"data":{}}"#, br#"{"producers":[{"tcp_port":"x"}]}"#]
        {
            assert!(matches!(parse(200, body), Err(LookupError::Json { .. })), "{body:?}");
        }
    }

    #[test]
    fn what_cannot_be_dialled_is_left_out() {
        let body =
            br#"{"producers":[{"broadcast_address":"","tcp_port":1},{"broadcast_address":"a","tcp_port":0},
            {"broadcast_address":"a b","tcp_port":1},{"broadcast_address":"::1","tcp_port":4150}]}"#;
        let nodes = parse(200, body).unwrap();
        assert_eq!(nodes, [node("::1", 4150)]);
        assert_eq!(nodes[0].address(), "[::1]:4150");
    }

    #[test]
    fn a_refusal_is_cut_and_printable() {
        let body = [&b"\x1b[31m"[..], &b"x".repeat(10_000)].concat();
        let Err(LookupError::Refused { status: 502, text }) = parse(502, &body) else { panic!() };
        assert_eq!(text.chars().count(), TEXT_MAX);
        assert!(!text.contains('\x1b'));
    }

    #[test]
    fn what_is_no_answer_is_cut_and_printable_too() {
        let body = [&br#"{"producers":"\u001b"#[..], &b"x".repeat(1 << 20), br#""}"#].concat();
        let Err(LookupError::Json { reason }) = parse(200, &body) else { panic!() };
        assert_eq!(reason.chars().count(), TEXT_MAX);
        assert!(!reason.contains('\x1b'));
    }

    #[test]
    fn no_answer_panics() {
        bolero::check!().with_type::<(u16, Vec<u8>)>().for_each(|(status, body)| {
            let _nodes = parse(*status, body);
        });
    }
}
