//! What a consumer can be told, and what is refused before it starts.

use std::time::Duration;

use wire::frame::{FRAME_BYTES_MAX, MESSAGE_HEAD_LEN};
use wire::{ChannelName, TopicName};

use crate::in_process::InProcess;
use crate::lookup::LookupSettings;
use crate::settings::{Compression, ConnectionSettings, SettingError, TlsSettings};
use crate::stream::split_address;

/// Everything about a consumer. [`ConsumerSettings::new`] gives the defaults; each field can then be set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsumerSettings {
    /// The topic to read.
    pub topic: TopicName,
    /// The channel of it: consumers of one channel share its messages, each channel gets all.
    pub channel: ChannelName,
    /// Where the nsqds are.
    pub source: Source,
    /// How to talk to each nsqd.
    pub connection: ConnectionSettings,
    /// Messages held at once over all nsqds, waiting or handed out (128: twice a concurrency of 64, so
    /// that a freed permit has its next message at hand).
    pub max_in_flight: u32,
    /// Bytes of bodies held at once over all nsqds (64 MiB). NSQ knows no credit in bytes: it is kept by
    /// lowering RDY to what fits of the largest message seen lately.
    pub in_flight_bytes_max: u64,
    /// Largest body that is held (5 MiB). A larger one is requeued while it streams by, with a growing delay.
    pub message_bytes_max: usize,
    /// Longest delay that a REQ carries (1 h, nsqd's own default limit, which it does not announce). Longer
    /// ones are cut to it.
    pub requeue_delay_max: Duration,
    /// Time between two polls of the nsqlookupds (15 s), each ± 30 %. A lost connection polls at once.
    pub lookup_interval: Duration,
    /// Time for one nsqlookupd to answer (5 s).
    pub lookup_timeout: Duration,
    /// For nsqlookupds that are given as `https://`.
    pub lookup_tls: TlsSettings,
    /// Shortest wait before an nsqd is dialled again (100 ms).
    pub reconnect_min: Duration,
    /// Longest wait before an nsqd is dialled again (5 s): it doubles up to here, with full jitter.
    pub reconnect_max: Duration,
    /// Bytes read from a connection at once (64 KiB). A message that does not fit is read straight into its
    /// own memory. An idle connection holds no buffer.
    pub read_buffer_bytes: usize,
}

/// Where the nsqds are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// These, each `host:port` of the TCP protocol.
    Nsqds(Vec<String>),
    /// Those that these nsqlookupds know for the topic, each `host:port` or a URL, `http://` or `https://`.
    Lookupds(Vec<String>),
    /// The queue of this process. TLS and compression are not asked of it, whatever `connection` says.
    Memory(InProcess),
}

impl ConsumerSettings {
    /// The defaults.
    pub fn new(topic: TopicName, channel: ChannelName, source: Source) -> ConsumerSettings {
        ConsumerSettings {
            topic,
            channel,
            source,
            connection: ConnectionSettings::default(),
            max_in_flight: 128,
            in_flight_bytes_max: 64 << 20,
            message_bytes_max: 5 << 20,
            requeue_delay_max: Duration::from_secs(3_600),
            lookup_interval: Duration::from_secs(15),
            lookup_timeout: Duration::from_secs(5),
            lookup_tls: TlsSettings::default(),
            reconnect_min: Duration::from_millis(100),
            reconnect_max: Duration::from_secs(5),
            read_buffer_bytes: 64 << 10,
        }
    }

    /// Every mistake that can be seen without opening a file or a socket, those of `connection` among them.
    pub fn validate(&self) -> Vec<SettingError> {
        let mut errors = self.connection.validate();
        self.check_source(&mut errors);
        self.check_times(&mut errors);
        let mut refuse =
            |field, value: String, reason: &str| errors.push(SettingError::new(field, value, reason));
        if self.max_in_flight == 0 {
            refuse("max_in_flight", "0".into(), "at least one message must be held");
        }
        if self.in_flight_bytes_max == 0 {
            refuse("in_flight_bytes_max", "0".into(), "at least one byte must be held");
        }
        let possible = 1..=FRAME_BYTES_MAX - MESSAGE_HEAD_LEN;
        if !possible.contains(&self.message_bytes_max) {
            refuse("message_bytes_max", self.message_bytes_max.to_string(), "1 byte to 1 GiB");
        }
        if !(4 << 10..=16 << 20).contains(&self.read_buffer_bytes) {
            refuse("read_buffer_bytes", self.read_buffer_bytes.to_string(), "4 KiB to 16 MiB");
        }
        errors
    }

    fn check_source(&self, errors: &mut Vec<SettingError>) {
        let mut refuse =
            |value: &str, reason| errors.push(SettingError::new("nsqd_tcp_addresses", value, reason));
        match &self.source {
            Source::Nsqds(nsqds) if nsqds.is_empty() => refuse("[]", "name at least one nsqd"),
            Source::Nsqds(nsqds) => {
                for address in nsqds.iter().filter(|address| split_address(address).is_none()) {
                    refuse(address, "must be host:port, such as 10.0.0.5:4150 or [::1]:4150");
                }
            }
            Source::Lookupds(lookupds) => errors.extend(self.lookup(lookupds.clone()).validate()),
            Source::Memory(_) => {}
        }
    }

    /// How to talk to what `source` names: on a pipe in memory nobody is on the way and nothing is saved.
    pub(super) fn connection(&self) -> ConnectionSettings {
        let connection = self.connection.clone();
        match &self.source {
            Source::Memory(_) => {
                ConnectionSettings { tls: None, compression: Compression::None, ..connection }
            }
            Source::Nsqds(_) | Source::Lookupds(_) => connection,
        }
    }

    /// How to ask these nsqlookupds.
    pub(super) fn lookup(&self, addresses: Vec<String>) -> LookupSettings {
        let (tls, timeout) = (self.lookup_tls.clone(), self.lookup_timeout);
        LookupSettings { tls, timeout, ..LookupSettings::new(addresses) }
    }

    fn check_times(&self, errors: &mut Vec<SettingError>) {
        let mut refuse = |field, value: Duration, reason: &str| {
            errors.push(SettingError::new(field, format_args!("{} ms", value.as_millis()), reason));
        };
        // Far above this nsqd's arithmetic overflows, and the message comes back at once.
        if self.requeue_delay_max.as_millis() > u128::from(u32::MAX) {
            refuse("requeue_delay_max", self.requeue_delay_max, "at most 49 days");
        }
        if self.lookup_interval < Duration::from_millis(100) {
            refuse("lookup_interval", self.lookup_interval, "at least 100 ms");
        }
        if self.lookup_timeout.is_zero() {
            refuse("lookup_timeout", self.lookup_timeout, "must be above 0");
        }
        if self.reconnect_min < Duration::from_millis(1) {
            refuse(
                "reconnect_min",
                self.reconnect_min,
                "at least 1 ms, or a dead nsqd would be dialled in a tight loop",
            );
        }
        if self.reconnect_max < self.reconnect_min {
            refuse("reconnect_max", self.reconnect_max, "must not be below reconnect_min");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> ConsumerSettings {
        let name = |error: wire::NameError| error.to_string();
        ConsumerSettings::new(
            TopicName::new("events").map_err(name).expect("a name"),
            ChannelName::new("posthaste").map_err(name).expect("a name"),
            Source::Nsqds(vec!["127.0.0.1:4150".into()]),
        )
    }

    #[test]
    fn the_defaults_are_taken() {
        assert_eq!(settings().validate(), []);
    }

    #[test]
    fn every_mistake_is_told_at_once() {
        let wrong = ConsumerSettings {
            source: Source::Nsqds(vec![
                "nowhere".into(),
                "::1:4150".into(),
                "[::1]:4150".into(),
                "h:0".into(),
                ":1".into(),
                "[name]:1".into(),
                "a/b:4150".into(),
                "user@h:4150".into(),
            ]),
            max_in_flight: 0,
            in_flight_bytes_max: 0,
            message_bytes_max: 0,
            requeue_delay_max: Duration::from_secs(10_000_000),
            lookup_interval: Duration::ZERO,
            lookup_timeout: Duration::ZERO,
            reconnect_min: Duration::ZERO,
            read_buffer_bytes: 1,
            connection: ConnectionSettings {
                heartbeat_interval: Duration::ZERO,
                ..ConnectionSettings::default()
            },
            ..settings()
        };
        let fields: Vec<&str> = wrong.validate().iter().map(|error| error.field).collect();
        assert_eq!(fields.iter().filter(|field| **field == "nsqd_tcp_addresses").count(), 7);
        for field in [
            "heartbeat_interval",
            "max_in_flight",
            "in_flight_bytes_max",
            "message_bytes_max",
            "requeue_delay_max",
            "lookup_interval",
            "lookup_timeout",
            "reconnect_min",
            "read_buffer_bytes",
        ] {
            assert!(fields.contains(&field), "{field} is missing in {fields:?}");
        }
        let upside_down = ConsumerSettings { reconnect_max: Duration::from_millis(1), ..settings() };
        assert_eq!(upside_down.validate().len(), 1);
        let none = ConsumerSettings { source: Source::Lookupds(vec![]), ..settings() };
        assert_eq!(none.validate().len(), 1);
    }
}
