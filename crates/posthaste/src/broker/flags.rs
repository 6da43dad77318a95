//! The flags of `posthaste broker`: every one of nsqd's, under its name in both places (command line and TOML file), and
//! the bounds that nsqd lacks.
//!
//! One table, from which the command line, the file, and the help are made. What nsqd has a flag for and this broker no
//! use is accepted, so that an existing unit file starts it, and answered by one line that says why it changes nothing.

use std::num::TryFromIntError;
use std::path::PathBuf;
use std::time::Duration;

use super::draft::Draft;
use super::words::{client_auth_policy, listen, log_format, log_level, path, tls_min_version, tls_required};

/// One flag.
#[derive(Debug)]
pub(super) struct Flag {
    /// As a mistake names it, with two dashes.
    pub(super) name: &'static str,
    /// In nsqd's TOML.
    pub(super) key: &'static str,
    pub(super) takes: Takes,
    /// For the help.
    pub(super) about: &'static str,
}

/// What a flag takes, and where it goes.
#[derive(Debug, Clone, Copy)]
pub(super) enum Takes {
    Text(fn(&mut Draft, String)),
    /// Given once for each.
    Texts(fn(&mut Draft, Vec<String>)),
    /// A word out of a few; the setter says what they are when it is none of them.
    Word(fn(&mut Draft, &str) -> Result<(), &'static str>),
    /// As `Word`, and a switch besides: alone it says `true`.
    WordSwitch(fn(&mut Draft, &str) -> Result<(), &'static str>),
    Switch(fn(&mut Draft, bool)),
    /// From `min` to `max`.
    Whole {
        min: i64,
        max: i64,
        set: fn(&mut Draft, i64) -> Result<(), TryFromIntError>,
    },
    Time(fn(&mut Draft, Duration)),
    /// Accepted, and of no use here.
    Unused {
        kind: Unused,
        why: &'static str,
    },
    /// The file that other settings come from; it cannot stand in the file itself.
    ConfigFile,
    /// `--version`.
    Version,
}

/// What an unused flag takes: it must be read as nsqd would read it, or the next argument would be misread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unused {
    Text,
    Switch,
    Whole,
    Time,
    Numbers,
}

impl Flag {
    /// Whether it stands alone, without a value behind it.
    pub(super) fn is_switch(&self) -> bool {
        matches!(
            self.takes,
            Takes::Switch(_)
                | Takes::WordSwitch(_)
                | Takes::Version
                | Takes::Unused { kind: Unused::Switch, .. }
        )
    }
}

const fn flag(name: &'static str, key: &'static str, takes: Takes, about: &'static str) -> Flag {
    Flag { name, key, takes, about }
}

const fn unused(name: &'static str, key: &'static str, kind: Unused, why: &'static str) -> Flag {
    Flag { name, key, takes: Takes::Unused { kind, why }, about: "" }
}

/// A time of the broker's settings, or a switch.
macro_rules! time {
    ($field:ident) => {
        Takes::Time(|draft, to| draft.settings.$field = to)
    };
}
macro_rules! switch {
    ($field:ident) => {
        Takes::Switch(|draft, to| draft.settings.$field = to)
    };
}

/// A count or a size of the broker's settings, of at least `min`.
macro_rules! whole {
    ($field:ident, $min:literal) => {
        whole!($field, $min, i64::MAX)
    };
    ($field:ident, $min:literal, $max:expr) => {
        Takes::Whole { min: $min, max: $max, set: |draft, to| Ok(draft.settings.$field = to.try_into()?) }
    };
}

/// nsqd counts these in more bits than make sense.
const COUNT_MAX: i64 = u32::MAX as i64;
const DISK: &str = "every acknowledgement is synced here; there is nothing to choose";
const SCAN: &str = "time-outs come from one timer here, on time, whatever the number of channels";
const STATSD: &str = "there is no statsd here; ask /stats";
const LATENCY: &str = "no latency quantiles are kept here";

/// By name, as `nsqd --help` lists them; the broker's own behind them.
pub(super) const FLAGS: &[Flag] = &[
    flag(
        "--auth-http-address",
        "auth_http_addresses",
        Takes::Texts(|draft, to| draft.settings.auth_http_addresses = to),
        "Auth server, HOST:PORT or a URL (repeatable)",
    ),
    flag(
        "--broadcast-address",
        "broadcast_address",
        Takes::Text(|draft, to| draft.settings.broadcast_address = Some(to).filter(|to| !to.is_empty())),
        "Name or address told to nsqlookupd [default: the host's name]",
    ),
    flag(
        "--broadcast-http-port",
        "broadcast_http_port",
        whole!(broadcast_http_port, 0, 65_535),
        "HTTP port told to nsqlookupd [default: the one listened on]",
    ),
    flag(
        "--broadcast-tcp-port",
        "broadcast_tcp_port",
        whole!(broadcast_tcp_port, 0, 65_535),
        "TCP port told to nsqlookupd [default: the one listened on]",
    ),
    flag("--config", "", Takes::ConfigFile, "nsqd's TOML file; flags count above it"),
    flag(
        "--data-path",
        "data_path",
        Takes::Text(|draft, to| {
            draft.data_path = Some(to.into()).filter(|to: &PathBuf| !to.as_os_str().is_empty())
        }),
        "Where messages are kept [default: the platform's state directory]",
    ),
    flag("--deflate", "deflate", switch!(deflate), "Offer deflate [default: true]"),
    unused(
        "--e2e-processing-latency-percentile",
        "e2e_processing_latency_percentiles",
        Unused::Numbers,
        LATENCY,
    ),
    unused(
        "--e2e-processing-latency-window-time",
        "e2e_processing_latency_window_time",
        Unused::Time,
        LATENCY,
    ),
    flag(
        "--http-address",
        "http_address",
        Takes::Text(|draft, to| draft.settings.http_address = listen(&to)),
        "Where to serve HTTP, HOST:PORT or the path of a Unix socket [default: 127.0.0.1:4151]",
    ),
    flag(
        "--http-client-connect-timeout",
        "http_client_connect_timeout",
        time!(http_client_connect_timeout),
        "To connect to an auth server or nsqlookupd [default: 2s]",
    ),
    flag(
        "--http-client-request-timeout",
        "http_client_request_timeout",
        time!(http_client_request_timeout),
        "For a whole request to one of them [default: 5s]",
    ),
    flag(
        "--https-address",
        "https_address",
        Takes::Text(|draft, to| draft.settings.https_address = listen(&to)),
        "Where to serve HTTPS, with --tls-cert [default: 127.0.0.1:4152]",
    ),
    flag(
        "--log-level",
        "log_level",
        Takes::Word(log_level),
        "debug, info, warn, error or fatal [default: info]",
    ),
    unused("--log-prefix", "log_prefix", Unused::Text, "log lines have no prefix here"),
    flag(
        "--lookupd-tcp-address",
        "nsqlookupd_tcp_addresses",
        Takes::Texts(|draft, to| draft.settings.lookupd_tcp_addresses = to),
        "nsqlookupd to register with, HOST:PORT (repeatable)",
    ),
    flag(
        "--max-body-size",
        "max_body_size",
        whole!(max_body_size, 1),
        "Bytes of a command's body, at most [default: 5242880]",
    ),
    unused(
        "--max-bytes-per-file",
        "max_bytes_per_file",
        Unused::Whole,
        "the log's segments have one size here",
    ),
    flag(
        "--max-channel-consumers",
        "max_channel_consumers",
        whole!(max_channel_consumers, 0, COUNT_MAX),
        "Consumers of one channel, 0 for no limit [default: 0]",
    ),
    flag(
        "--max-deflate-level",
        "max_deflate_level",
        whole!(max_deflate_level, 1, 9),
        "Deflate level that a client may ask for, at most [default: 6]",
    ),
    flag(
        "--max-heartbeat-interval",
        "max_heartbeat_interval",
        time!(max_heartbeat_interval),
        "Heartbeat that a client may ask for, at most [default: 1m0s]",
    ),
    flag(
        "--max-msg-size",
        "max_msg_size",
        whole!(max_msg_size, 1),
        "Bytes of a message, at most [default: 1048576]",
    ),
    flag(
        "--max-msg-timeout",
        "max_msg_timeout",
        time!(max_msg_timeout),
        "How long TOUCH may keep a message, from its delivery [default: 15m0s]",
    ),
    flag(
        "--max-output-buffer-size",
        "max_output_buffer_size",
        whole!(max_output_buffer_size, 64),
        "Output buffer that a client may ask for, bytes [default: 65536]",
    ),
    flag(
        "--max-output-buffer-timeout",
        "max_output_buffer_timeout",
        time!(max_output_buffer_timeout),
        "Longest output buffer timeout that a client may ask for [default: 30s]",
    ),
    flag(
        "--max-rdy-count",
        "max_rdy_count",
        whole!(max_rdy_count, 1, COUNT_MAX),
        "RDY of a client, at most [default: 2500]",
    ),
    flag(
        "--max-req-timeout",
        "max_req_timeout",
        time!(max_req_timeout),
        "Delay of REQ and DPUB, at most [default: 1h0m0s]",
    ),
    flag(
        "--mem-queue-size",
        "mem_queue_size",
        whole!(mem_queue_size, 0),
        "Messages that an #ephemeral topic or channel holds; all others are kept on disk [default: 10000]",
    ),
    flag(
        "--min-output-buffer-timeout",
        "min_output_buffer_timeout",
        time!(min_output_buffer_timeout),
        "Shortest output buffer timeout that a client may ask for [default: 25ms]",
    ),
    flag(
        "--msg-timeout",
        "msg_timeout",
        time!(msg_timeout),
        "How long a message may be in flight [default: 1m0s]",
    ),
    flag(
        "--node-id",
        "id",
        whole!(node_id, 0, 1_023),
        "Shown by /config; ids of messages do not depend on it here",
    ),
    flag(
        "--output-buffer-timeout",
        "output_buffer_timeout",
        time!(output_buffer_timeout),
        "Output buffer timeout of a client that asks for none [default: 250ms]",
    ),
    unused("--queue-scan-selection-count", "queue_scan_selection_count", Unused::Whole, SCAN),
    unused("--queue-scan-worker-pool-max", "queue_scan_worker_pool_max", Unused::Whole, SCAN),
    flag("--snappy", "snappy", switch!(snappy), "Offer snappy [default: true]"),
    unused("--statsd-address", "statsd_address", Unused::Text, STATSD),
    unused("--statsd-exclude-ephemeral", "statsd_exclude_ephemeral", Unused::Switch, STATSD),
    unused("--statsd-interval", "statsd_interval", Unused::Time, STATSD),
    unused("--statsd-mem-stats", "statsd_mem_stats", Unused::Switch, STATSD),
    unused("--statsd-prefix", "statsd_prefix", Unused::Text, STATSD),
    unused("--statsd-udp-packet-size", "statsd_udp_packet_size", Unused::Whole, STATSD),
    unused("--sync-every", "sync_every", Unused::Whole, DISK),
    unused("--sync-timeout", "sync_timeout", Unused::Time, DISK),
    flag(
        "--tcp-address",
        "tcp_address",
        Takes::Text(|draft, to| draft.settings.tcp_address = listen(&to)),
        "Where to serve the TCP protocol, HOST:PORT or the path of a Unix socket [default: 127.0.0.1:4150]",
    ),
    flag(
        "--tls-cert",
        "tls_cert",
        Takes::Text(|draft, to| draft.tls.cert = path(to)),
        "Certificate chain, PEM",
    ),
    flag(
        "--tls-client-auth-policy",
        "tls_client_auth_policy",
        Takes::Word(client_auth_policy),
        "require or require-verify a certificate of clients",
    ),
    flag("--tls-key", "tls_key", Takes::Text(|draft, to| draft.tls.key = path(to)), "Its private key, PEM"),
    flag(
        "--tls-min-version",
        "tls_min_version",
        Takes::Word(tls_min_version),
        "tls1.2 or tls1.3; older ones are taken as tls1.2",
    ),
    flag(
        "--tls-required",
        "tls_required",
        Takes::WordSwitch(tls_required),
        "Whether clients must use TLS: true, false, or tcp-https, which spares plain HTTP [default: false]",
    ),
    flag(
        "--tls-root-ca-file",
        "tls_root_ca_file",
        Takes::Text(|draft, to| draft.tls.root_ca_file = path(to)),
        "Authorities that vouch for clients' certificates, PEM",
    ),
    unused("--verbose", "verbose", Unused::Switch, "it has no effect in nsqd either; use --log-level"),
    flag("--version", "", Takes::Version, "Show the version"),
    unused("--worker-id", "worker_id", Unused::Switch, "ids of messages do not depend on it here"),
    // nsqd has none of these.
    flag(
        "--bytes-max",
        "bytes_max",
        whole!(bytes_max, 1),
        "Bytes of the unfinished messages of all topics; a publish beyond is refused [default: 68719476736]",
    ),
    flag(
        "--connections-max",
        "connections_max",
        whole!(connections_max, 1),
        "Connections at once, TCP and HTTP together [default: 10000]",
    ),
    flag(
        "--disk-reserve-bytes",
        "disk_reserve_bytes",
        whole!(disk_reserve_bytes, 0),
        "Free disk space below which publishes are refused, at most an eighth of the disk [default: 1073741824]",
    ),
    flag(
        "--import-nsqd",
        "import_nsqd",
        Takes::Switch(|draft, to| draft.import_nsqd = to),
        "Take over what an nsqd has left in --data-path: topics, channels, pauses, messages",
    ),
    flag(
        "--log-format",
        "log_format",
        Takes::Word(log_format),
        "human or json [default: human on a terminal, else json]",
    ),
    flag(
        "--messages-max",
        "messages_max",
        whole!(messages_max, 1),
        "Unfinished messages of all topics; a publish beyond is refused [default: 20000000]",
    ),
    flag(
        "--topic-bytes-max",
        "topic_bytes_max",
        whole!(topic_bytes_max, 1),
        "As --bytes-max, for each topic [default: 68719476736]",
    ),
    flag(
        "--topic-channels-max",
        "topic_channels_max",
        whole!(topic_channels_max, 1, COUNT_MAX),
        "Channels of one topic [default: 1000]",
    ),
    flag(
        "--topic-messages-max",
        "topic_messages_max",
        whole!(topic_messages_max, 1),
        "As --messages-max, for each topic [default: 20000000]",
    ),
    flag("--topics-max", "topics_max", whole!(topics_max, 1, COUNT_MAX), "Topics [default: 10000]"),
];

/// The flag of this name, without its dashes.
pub(super) fn named(name: &str) -> Option<&'static Flag> {
    FLAGS.iter().find(|flag| &flag.name[2..] == name)
}

/// The flag of this key of the file.
pub(super) fn keyed(key: &str) -> Option<&'static Flag> {
    FLAGS.iter().find(|flag| !flag.key.is_empty() && flag.key == key)
}
