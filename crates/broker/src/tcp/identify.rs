//! IDENTIFY: what a client asks for, what it gets, and nsqd's words for what it cannot have.
//!
//! Nothing here touches a connection: a request and the settings go in, [`Terms`] and an answer come out.

use std::time::Duration;

use serde_json::{Map, Value};
use wire::{ErrorCode, IdentifyRequest, IdentifyResponse};

use super::refusal::Refusal;
use super::stream::{Compression, Upgrades};
use crate::settings::{NSQD_VERSION, Settings};

/// nsqd's output buffer, before and without IDENTIFY.
const OUTPUT_BUFFER_BYTES: u64 = 16 * 1024;

/// What is agreed with a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Terms {
    /// `None`: it asked for none, and may not subscribe.
    pub(super) heartbeat: Option<Duration>,
    pub(super) msg_timeout: Duration,
    /// Told, and the bound of what is gathered for one write. Nothing ever waits in it for more, so its time-out, which nsqd's
    /// clients ask for against that, is only told.
    pub(super) output_buffer_bytes: u64,
    pub(super) output_buffer_timeout: Duration,
    /// Per cent of the messages; 0 is all.
    pub(super) sample_rate: i32,
}

/// What an IDENTIFY leads to.
#[derive(Debug)]
pub(super) struct Agreed {
    pub(super) terms: Terms,
    /// The response's payload; `None` is a bare OK.
    pub(super) answer: Option<Vec<u8>>,
    pub(super) upgrades: Upgrades,
}

/// What the connection has to offer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Offer {
    pub(super) tls: bool,
    pub(super) auth_required: bool,
}

impl Terms {
    /// Without IDENTIFY.
    pub(super) fn new(settings: &Settings) -> Self {
        Self {
            heartbeat: Some(settings.client_timeout / 2),
            msg_timeout: settings.msg_timeout,
            output_buffer_bytes: OUTPUT_BUFFER_BYTES,
            output_buffer_timeout: settings.output_buffer_timeout,
            sample_rate: 0,
        }
    }

    /// Judged in nsqd's order, so that of two mistakes the same one is named.
    fn change(&mut self, request: &IdentifyRequest, settings: &Settings) -> Result<(), Refusal> {
        let ask = |field: Option<i64>| field.unwrap_or(0);
        match ask(request.heartbeat_interval_ms) {
            0 => {}
            -1 => self.heartbeat = None,
            asked => {
                let range = (Duration::from_secs(1), settings.max_heartbeat_interval);
                self.heartbeat = Some(within(asked, range, "heartbeat interval")?);
            }
        }
        match ask(request.output_buffer_timeout_ms) {
            0 => {}
            -1 => self.output_buffer_timeout = Duration::ZERO,
            asked => {
                let range = (settings.min_output_buffer_timeout, settings.max_output_buffer_timeout);
                self.output_buffer_timeout = within(asked, range, "output buffer timeout")?;
            }
        }
        match ask(request.output_buffer_bytes) {
            0 => {}
            -1 => (self.output_buffer_bytes, self.output_buffer_timeout) = (1, Duration::ZERO),
            asked => {
                let bytes = u64::try_from(asked).ok();
                let fits = |bytes: &u64| (64..=settings.max_output_buffer_size).contains(bytes);
                self.output_buffer_bytes =
                    bytes.filter(fits).ok_or_else(|| invalid("output buffer size", asked))?;
            }
        }
        let sample_rate = request.sample_rate.unwrap_or(0);
        if !(0..=99).contains(&sample_rate) {
            return Err(invalid("sample rate", sample_rate.into()));
        }
        self.sample_rate = sample_rate;
        match ask(request.msg_timeout_ms) {
            0 => {}
            asked => {
                let range = (Duration::from_secs(1), settings.max_msg_timeout);
                self.msg_timeout = within(asked, range, "msg timeout")?;
            }
        }
        Ok(())
    }
}

/// Reads a request, as leniently as Go's JSON does: names in any case, the last of two, `null` for nothing.
pub(super) fn read(body: &[u8]) -> Result<IdentifyRequest, Refusal> {
    let fields = match serde_json::from_str(&String::from_utf8_lossy(body)) {
        Ok(Value::Object(fields)) => fields,
        Ok(Value::Null) => Map::new(),
        _ => return Err(bad_body("IDENTIFY failed to decode JSON body".to_owned())),
    };
    let fields = fields.into_iter().map(|(name, value)| (name.to_ascii_lowercase(), value)).collect();
    serde_json::from_value(Value::Object(fields))
        .map_err(|_| bad_body("IDENTIFY failed to decode JSON body".to_owned()))
}

/// Judges a request against the settings, starting from the terms so far.
pub(super) fn agree(
    request: &IdentifyRequest,
    so_far: &Terms,
    settings: &Settings,
    offer: Offer,
) -> Result<Agreed, Refusal> {
    let mut terms = so_far.clone();
    terms.change(request, settings)?;
    if request.feature_negotiation != Some(true) {
        return Ok(Agreed { terms, answer: None, upgrades: Upgrades::default() });
    }
    let tls = offer.tls && request.tls_v1 == Some(true);
    let snappy = settings.snappy && request.snappy == Some(true);
    let deflate = settings.deflate && request.deflate == Some(true);
    if deflate && snappy {
        let detail = "cannot enable both deflate and snappy compression";
        return Err(Refusal::new(ErrorCode::IdentifyFailed, detail));
    }
    let level = deflate_level(request, deflate, settings);
    let compression = match (snappy, deflate) {
        (true, _) => Compression::Snappy,
        (_, true) => Compression::Deflate { level: u8::try_from(level).unwrap_or(9).min(9) },
        _ => Compression::None,
    };
    let answer = IdentifyResponse {
        max_rdy_count: Some(settings.max_rdy_count.into()),
        version: Some(NSQD_VERSION.to_owned()),
        max_msg_timeout_ms: Some(milliseconds(settings.max_msg_timeout)),
        msg_timeout_ms: Some(milliseconds(terms.msg_timeout)),
        tls_v1: Some(tls),
        deflate: Some(deflate),
        deflate_level: Some(level),
        max_deflate_level: Some(i32::try_from(settings.max_deflate_level).unwrap_or(i32::MAX)),
        snappy: Some(snappy),
        sample_rate: Some(terms.sample_rate),
        auth_required: Some(offer.auth_required),
        output_buffer_bytes: i64::try_from(terms.output_buffer_bytes).ok(),
        output_buffer_timeout_ms: Some(milliseconds(terms.output_buffer_timeout)),
        topology_region: None,
        topology_zone: None,
    };
    Ok(Agreed { terms, answer: Some(answer.to_json()), upgrades: Upgrades { tls, compression } })
}

/// nsqd's 6, or what was asked for; never above the limit.
fn deflate_level(request: &IdentifyRequest, deflate: bool, settings: &Settings) -> i32 {
    let asked = request.deflate_level.filter(|level| deflate && *level > 0).unwrap_or(6);
    asked.min(i32::try_from(settings.max_deflate_level).unwrap_or(i32::MAX))
}

fn milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

fn within(asked: i64, (least, most): (Duration, Duration), what: &str) -> Result<Duration, Refusal> {
    let fits = (milliseconds(least)..=milliseconds(most)).contains(&asked);
    match u64::try_from(asked) {
        Ok(asked) if fits => Ok(Duration::from_millis(asked)),
        _ => Err(invalid(what, asked)),
    }
}

fn invalid(what: &str, asked: i64) -> Refusal {
    bad_body(format!("IDENTIFY {what} ({asked}) is invalid"))
}

fn bad_body(detail: String) -> Refusal {
    Refusal::new(ErrorCode::BadBody, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OFFER: Offer = Offer { tls: true, auth_required: false };

    fn asked(json: &str) -> Result<Agreed, Refusal> {
        let settings = Settings::default();
        agree(&read(json.as_bytes())?, &Terms::new(&settings), &settings, OFFER)
    }

    #[test]
    fn the_defaults_are_nsqds() {
        let agreed = asked(r#"{"feature_negotiation":true}"#).unwrap();
        let answer = r#"{"max_rdy_count":2500,"version":"1.3.0","max_msg_timeout":900000,"msg_timeout":60000,"tls_v1":false,"deflate":false,"deflate_level":6,"max_deflate_level":6,"snappy":false,"sample_rate":0,"auth_required":false,"output_buffer_size":16384,"output_buffer_timeout":250}"#;
        assert_eq!(String::from_utf8(agreed.answer.unwrap()).unwrap(), answer);
        assert_eq!(agreed.terms.heartbeat, Some(Duration::from_secs(30)));
        assert_eq!(agreed.upgrades, Upgrades::default());
    }

    #[test]
    fn json_is_read_as_leniently_as_go_reads_it() {
        for json in ["null", "{}", r#"{"Client_ID":"a","CLIENT_ID":"b","new":[1]}"#, r#"{"snappy":null}"#] {
            assert!(read(json.as_bytes()).is_ok(), "{json}");
        }
        assert!(read(b"{\"client_id\":\"\xff\"}").is_ok());
        for json in ["", "[]", "7", "{", r#"{"msg_timeout":"1"}"#, r#"{"msg_timeout":1.5}"#] {
            let refusal = read(json.as_bytes()).unwrap_err();
            assert_eq!(refusal.detail, "IDENTIFY failed to decode JSON body", "{json}");
        }
    }

    #[test]
    fn every_range_ends_where_nsqds_does() {
        for (field, good, bad) in [
            ("heartbeat_interval", [-1, 0, 1000, 60_000], [-2, 1, 999, 60_001]),
            ("output_buffer_timeout", [-1, 0, 25, 30_000], [-2, 1, 24, 30_001]),
            ("output_buffer_size", [-1, 0, 64, 65_536], [-2, 1, 63, 65_537]),
            ("msg_timeout", [0, 1000, 60_000, 900_000], [-1, 1, 999, 900_001]),
            ("sample_rate", [0, 1, 50, 99], [-2, -1, 100, 101]),
        ] {
            for value in good {
                assert!(asked(&format!("{{\"{field}\":{value}}}")).is_ok(), "{field} {value}");
            }
            for value in bad {
                let refusal = asked(&format!("{{\"{field}\":{value}}}")).unwrap_err();
                let detail = format!("IDENTIFY {} ({value}) is invalid", field.replace('_', " "));
                assert_eq!((refusal.code, refusal.detail.as_ref()), (ErrorCode::BadBody, detail.as_str()));
            }
        }
    }

    #[test]
    fn compression_and_tls_need_negotiation_and_permission() {
        let both = r#""tls_v1":true,"deflate":true,"deflate_level":9"#;
        assert_eq!(asked(&format!("{{{both}}}")).unwrap().upgrades, Upgrades::default());
        let agreed = asked(&format!("{{\"feature_negotiation\":true,{both}}}")).unwrap();
        let deflate = Compression::Deflate { level: 6 };
        assert_eq!(agreed.upgrades, Upgrades { tls: true, compression: deflate });
        let refusal = asked(r#"{"feature_negotiation":true,"snappy":true,"deflate":true}"#).unwrap_err();
        assert_eq!(refusal.code, ErrorCode::IdentifyFailed);
    }
}
