//! The JSON of IDENTIFY, both ways.
//!
//! Every field is optional both ways: clients leave out what they do not care for, and nsqds of different
//! versions answer with different fields (the topology ones came after v1.3.0). What is not known here is
//! ignored. All times are whole milliseconds.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::frame::OK;
use crate::printable::printable;

/// JSON that is not what IDENTIFY or AUTH carries, with what is wrong with it, printable and bounded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not the JSON that was expected: {0}")]
pub struct JsonError(String);

/// Reads an object. serde alone would also take an array for a struct, its items as the fields in order.
pub(crate) fn parse_object<T: DeserializeOwned>(json: &[u8]) -> Result<T, JsonError> {
    match json.trim_ascii_start().first() {
        Some(b'{') => {
            serde_json::from_slice(json).map_err(|error| JsonError(printable(error.to_string().as_bytes())))
        }
        _ => Err(JsonError("it is no object".to_owned())),
    }
}

/// What a client says of itself and asks for.
///
/// In the numbers, 0 or nothing means nsqd's default and -1 means off, where off is allowed. nsqd refuses
/// what lies outside its range with a fatal `E_BAD_BODY`; the ranges are those of its default flags.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct IdentifyRequest {
    /// Names this client in nsqd's statistics.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// The host that the client runs on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// The client's program and version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_agent: Option<String>,
    /// Whether nsqd is to answer with an [`IdentifyResponse`] rather than a bare `OK`; nothing below TLS
    /// works without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub feature_negotiation: Option<bool>,
    /// How often nsqd sends a heartbeat: -1 (off, and then no SUB), or 1,000 to 60,000; default 30,000.
    #[serde(rename = "heartbeat_interval", skip_serializing_if = "Option::is_none")]
    pub heartbeat_interval_ms: Option<i64>,
    /// How long a message may be in flight before nsqd gives it to someone else: 1,000 to 900,000; default
    /// 60,000.
    #[serde(rename = "msg_timeout", skip_serializing_if = "Option::is_none")]
    pub msg_timeout_ms: Option<i64>,
    /// Bytes that nsqd gathers before it writes: -1 (none), or 64 to 65,536; default 16,384.
    #[serde(rename = "output_buffer_size", skip_serializing_if = "Option::is_none")]
    pub output_buffer_bytes: Option<i64>,
    /// How long nsqd gathers at most: -1 (off, of use only when the buffer is off too), or 25 to 30,000;
    /// default 250.
    #[serde(rename = "output_buffer_timeout", skip_serializing_if = "Option::is_none")]
    pub output_buffer_timeout_ms: Option<i64>,
    /// Per cent of the messages to get, 1 to 99; 0 is all. The others are discarded for everyone on the
    /// channel.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sample_rate: Option<i32>,
    /// Whether to go on in TLS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_v1: Option<bool>,
    /// Whether to go on in snappy's framing format; not together with deflate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snappy: Option<bool>,
    /// Whether to go on in raw deflate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deflate: Option<bool>,
    /// How hard nsqd is to compress, 1 to 9; default 6.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deflate_level: Option<i32>,
    /// The client's region, for nsqds that prefer near consumers (after v1.3.0).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub topology_region: Option<String>,
    /// The client's zone, likewise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub topology_zone: Option<String>,
}

impl IdentifyRequest {
    /// Reads the body of an IDENTIFY.
    ///
    /// # Errors
    /// When it is not a JSON object with these fields in it; nsqd answers that with `E_BAD_BODY`.
    pub fn parse(body: &[u8]) -> Result<Self, JsonError> {
        parse_object(body)
    }

    /// The body for [`Command::Identify`](crate::Command::Identify).
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("strings, numbers and booleans always have a JSON form")
    }
}

/// What nsqd grants.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct IdentifyResponse {
    /// Highest RDY that nsqd takes; above it RDY is a fatal error. nsqd's default is 2,500.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_rdy_count: Option<i64>,
    /// nsqd's version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// How long TOUCH can keep a message at most, from its delivery; nsqd's default is 900,000.
    #[serde(rename = "max_msg_timeout", skip_serializing_if = "Option::is_none")]
    pub max_msg_timeout_ms: Option<i64>,
    /// How long a message may be in flight on this connection: what was asked for, or nsqd's own.
    #[serde(rename = "msg_timeout", skip_serializing_if = "Option::is_none")]
    pub msg_timeout_ms: Option<i64>,
    /// Whether a TLS handshake comes next.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_v1: Option<bool>,
    /// Whether the connection goes on in deflate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deflate: Option<bool>,
    /// How hard nsqd compresses.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deflate_level: Option<i32>,
    /// How hard nsqd would compress at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_deflate_level: Option<i32>,
    /// Whether the connection goes on in snappy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snappy: Option<bool>,
    /// Per cent of the messages that come; 0 is all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sample_rate: Option<i32>,
    /// Whether AUTH must come before SUB and publishing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth_required: Option<bool>,
    /// Bytes that nsqd gathers before it writes.
    #[serde(rename = "output_buffer_size", skip_serializing_if = "Option::is_none")]
    pub output_buffer_bytes: Option<i64>,
    /// How long nsqd gathers at most.
    #[serde(rename = "output_buffer_timeout", skip_serializing_if = "Option::is_none")]
    pub output_buffer_timeout_ms: Option<i64>,
    /// nsqd's region (after v1.3.0).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub topology_region: Option<String>,
    /// nsqd's zone (after v1.3.0).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub topology_zone: Option<String>,
}

impl IdentifyResponse {
    /// Reads the payload of the response to IDENTIFY. A bare `OK`, from an nsqd that does not negotiate,
    /// grants nothing in particular.
    ///
    /// # Errors
    /// When it is neither that nor a JSON object with these fields in it.
    pub fn parse(payload: &[u8]) -> Result<Self, JsonError> {
        match payload {
            OK => Ok(Self::default()),
            json => parse_object(json),
        }
    }

    /// The payload for [`write_response`](crate::frame::write_response).
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("strings, numbers and booleans always have a JSON form")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_of_nsqd_1_3_0() {
        let payload = br#"{"max_rdy_count":2500,"version":"1.3.0","max_msg_timeout":900000,"msg_timeout":60000,
            "tls_v1":false,"deflate":false,"deflate_level":6,"max_deflate_level":6,"snappy":false,"sample_rate":0,
            "auth_required":false,"output_buffer_size":16384,"output_buffer_timeout":250}"#;
        let response = IdentifyResponse::parse(payload).expect("as nsqd writes it");
        assert_eq!(response.max_rdy_count, Some(2500));
        assert_eq!((response.msg_timeout_ms, response.max_msg_timeout_ms), (Some(60_000), Some(900_000)));
        assert_eq!(
            (response.output_buffer_bytes, response.output_buffer_timeout_ms),
            (Some(16_384), Some(250))
        );
        assert_eq!((response.version.as_deref(), response.topology_zone), (Some("1.3.0"), None));
    }

    #[test]
    fn fields_may_lack_be_null_or_be_new() {
        for payload in ["OK", "{}", r#"{"msg_timeout":null,"new":{"deep":[1,2]}}"#] {
            assert_eq!(
                IdentifyResponse::parse(payload.as_bytes()).expect(payload),
                IdentifyResponse::default()
            );
        }
        let large = IdentifyResponse::parse(br#"{"max_rdy_count":9223372036854775807}"#).expect("64 bits");
        assert_eq!(large.max_rdy_count, Some(i64::MAX));
    }

    #[test]
    fn what_is_not_the_json_expected_is_an_error() {
        for payload in
            ["", "ok", "[]", "[null]", "null", "{", r#"{"snappy":"yes"}"#, r#"{"msg_timeout":1e99}"#]
        {
            assert!(IdentifyResponse::parse(payload.as_bytes()).is_err(), "{payload}");
            assert!(IdentifyRequest::parse(payload.as_bytes()).is_err(), "{payload}");
        }
        assert!(IdentifyRequest::parse(&b"[".repeat(100_000)).is_err());
    }

    #[test]
    fn a_request_says_only_what_was_set() {
        assert_eq!(IdentifyRequest::default().to_json(), b"{}");
        let request = IdentifyRequest {
            client_id: Some("one".into()),
            feature_negotiation: Some(true),
            heartbeat_interval_ms: Some(5000),
            output_buffer_timeout_ms: Some(-1),
            ..IdentifyRequest::default()
        };
        let json = r#"{"client_id":"one","feature_negotiation":true,"heartbeat_interval":5000,"output_buffer_timeout":-1}"#;
        assert_eq!(String::from_utf8(request.to_json()).as_deref(), Ok(json));
        assert_eq!(IdentifyRequest::parse(json.as_bytes()).expect("its own JSON"), request);
    }
}
