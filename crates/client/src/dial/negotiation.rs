//! What IDENTIFY asks for, and what is in force after its answer. Pure.

use std::time::Duration;

use wire::{IdentifyRequest, IdentifyResponse};

use crate::settings::{Compression, ConnectionSettings};

/// nsqd's own defaults, in force where its answer leaves a field out (`nsqd/options.go`).
const MSG_TIMEOUT_MS: i64 = 60_000;
const MAX_MSG_TIMEOUT_MS: i64 = 15 * 60_000;
const MAX_RDY_COUNT: i64 = 2_500;
const OUTPUT_BUFFER_TIMEOUT_MS: i64 = 250;

/// What both sides are held to on one connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Negotiated {
    /// How long nsqd waits for an answer to a message.
    pub msg_timeout: Duration,
    /// The most that TOUCH can extend that to, counted from the delivery.
    pub max_msg_timeout: Duration,
    /// The most that RDY may say.
    pub max_rdy_count: u32,
    /// How often nsqd sends a heartbeat.
    pub heartbeat_interval: Duration,
    /// The longest that a message waits in nsqd's output buffer; zero where there is none.
    pub output_buffer_timeout: Duration,
    /// Compression in force.
    pub compression: Compression,
    /// Whether TLS is in force.
    pub tls: bool,
}

impl Negotiated {
    pub(super) fn new(settings: &ConnectionSettings, answer: &IdentifyResponse) -> Negotiated {
        let asked_msg_timeout = settings.msg_timeout.map_or(MSG_TIMEOUT_MS, millis);
        let msg_timeout = positive(answer.msg_timeout_ms).unwrap_or(asked_msg_timeout);
        let max_msg_timeout =
            positive(answer.max_msg_timeout_ms).unwrap_or(MAX_MSG_TIMEOUT_MS).max(msg_timeout);
        let max_rdy_count = positive(answer.max_rdy_count).unwrap_or(MAX_RDY_COUNT);
        let asked_buffer_timeout = match settings.output_buffer_timeout_ms {
            0 => OUTPUT_BUFFER_TIMEOUT_MS,
            asked => asked,
        };
        let buffer_timeout = answer.output_buffer_timeout_ms.unwrap_or(asked_buffer_timeout);
        Negotiated {
            msg_timeout: duration(msg_timeout),
            max_msg_timeout: duration(max_msg_timeout),
            max_rdy_count: u32::try_from(max_rdy_count).unwrap_or(u32::MAX),
            heartbeat_interval: settings.heartbeat_interval,
            output_buffer_timeout: duration(buffer_timeout),
            compression: granted_compression(settings.compression, answer),
            tls: settings.tls.is_some() && answer.tls_v1 == Some(true),
        }
    }
}

/// Compression is a matter of cost, so an nsqd that does not grant it is used without.
fn granted_compression(asked: Compression, answer: &IdentifyResponse) -> Compression {
    match asked {
        Compression::Snappy if answer.snappy == Some(true) => Compression::Snappy,
        Compression::Deflate { level } if answer.deflate == Some(true) => {
            let granted = answer.deflate_level.and_then(|level| u8::try_from(level).ok());
            Compression::Deflate {
                level: granted.filter(|granted| (1..=9).contains(granted)).unwrap_or(level),
            }
        }
        _ => Compression::None,
    }
}

/// The body of IDENTIFY.
pub(super) fn request(settings: &ConnectionSettings) -> IdentifyRequest {
    let (snappy, deflate_level) = match settings.compression {
        Compression::None => (false, None),
        Compression::Snappy => (true, None),
        Compression::Deflate { level } => (false, Some(i32::from(level))),
    };
    IdentifyRequest {
        client_id: Some(settings.client_id.clone()),
        hostname: Some(settings.hostname.clone()),
        user_agent: Some(settings.user_agent.clone()),
        feature_negotiation: Some(true),
        heartbeat_interval_ms: Some(millis(settings.heartbeat_interval)),
        msg_timeout_ms: settings.msg_timeout.map(millis),
        output_buffer_bytes: settings.output_buffer_size,
        output_buffer_timeout_ms: Some(settings.output_buffer_timeout_ms),
        sample_rate: (settings.sample_rate > 0).then_some(i32::from(settings.sample_rate)),
        tls_v1: Some(settings.tls.is_some()),
        snappy: Some(snappy),
        deflate: Some(deflate_level.is_some()),
        deflate_level,
        topology_region: settings.topology_region.clone(),
        topology_zone: settings.topology_zone.clone(),
    }
}

fn positive(value: Option<i64>) -> Option<i64> {
    value.filter(|value| *value > 0)
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// Below zero is nsqd's way of saying off.
fn duration(millis: i64) -> Duration {
    Duration::from_millis(u64::try_from(millis).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_setting_is_asked_for() {
        let settings = ConnectionSettings {
            client_id: "one".to_owned(),
            hostname: "one.example".to_owned(),
            user_agent: "test/1".to_owned(),
            heartbeat_interval: Duration::from_secs(2),
            msg_timeout: Some(Duration::from_secs(3)),
            output_buffer_size: Some(4096),
            output_buffer_timeout_ms: 30,
            sample_rate: 7,
            topology_region: Some("north".to_owned()),
            topology_zone: Some("a".to_owned()),
            tls: Some(crate::TlsSettings::default()),
            compression: Compression::Deflate { level: 3 },
            ..ConnectionSettings::default()
        };
        let asked = request(&settings);
        let expected = IdentifyRequest {
            client_id: Some("one".to_owned()),
            hostname: Some("one.example".to_owned()),
            user_agent: Some("test/1".to_owned()),
            feature_negotiation: Some(true),
            heartbeat_interval_ms: Some(2_000),
            msg_timeout_ms: Some(3_000),
            output_buffer_bytes: Some(4_096),
            output_buffer_timeout_ms: Some(30),
            sample_rate: Some(7),
            tls_v1: Some(true),
            snappy: Some(false),
            deflate: Some(true),
            deflate_level: Some(3),
            topology_region: Some("north".to_owned()),
            topology_zone: Some("a".to_owned()),
        };
        assert_eq!(asked, expected);
    }

    #[test]
    fn an_empty_answer_leaves_what_was_asked_for_and_nsqs_defaults() {
        let settings = ConnectionSettings {
            msg_timeout: Some(Duration::from_secs(3)),
            compression: Compression::Snappy,
            ..ConnectionSettings::default()
        };
        let negotiated = Negotiated::new(&settings, &IdentifyResponse::default());
        let expected = Negotiated {
            msg_timeout: Duration::from_secs(3),
            max_msg_timeout: Duration::from_secs(15 * 60),
            max_rdy_count: 2_500,
            heartbeat_interval: Duration::from_secs(5),
            output_buffer_timeout: Duration::from_millis(25),
            compression: Compression::None,
            tls: false,
        };
        assert_eq!(negotiated, expected);
    }

    #[test]
    fn the_answer_overrides_what_was_asked_for() {
        let settings = ConnectionSettings {
            msg_timeout: Some(Duration::from_secs(3)),
            compression: Compression::Deflate { level: 9 },
            ..ConnectionSettings::default()
        };
        let answer = IdentifyResponse {
            max_rdy_count: Some(i64::MAX),
            msg_timeout_ms: Some(4_000),
            max_msg_timeout_ms: Some(5_000),
            output_buffer_timeout_ms: Some(-1),
            deflate: Some(true),
            deflate_level: Some(6),
            ..IdentifyResponse::default()
        };
        let negotiated = Negotiated::new(&settings, &answer);
        assert_eq!(negotiated.msg_timeout, Duration::from_secs(4));
        assert_eq!(negotiated.max_msg_timeout, Duration::from_secs(5));
        assert_eq!(negotiated.max_rdy_count, u32::MAX);
        assert_eq!(negotiated.output_buffer_timeout, Duration::ZERO);
        assert_eq!(negotiated.compression, Compression::Deflate { level: 6 });
    }

    #[test]
    fn an_answer_out_of_all_reason_is_not_believed() {
        let answer = IdentifyResponse {
            max_rdy_count: Some(0),
            msg_timeout_ms: Some(-5),
            max_msg_timeout_ms: Some(0),
            ..IdentifyResponse::default()
        };
        let negotiated = Negotiated::new(&ConnectionSettings::default(), &answer);
        assert_eq!(negotiated.msg_timeout, Duration::from_secs(60));
        assert_eq!(negotiated.max_msg_timeout, Duration::from_secs(15 * 60));
        assert_eq!(negotiated.max_rdy_count, 2_500);
    }
}
