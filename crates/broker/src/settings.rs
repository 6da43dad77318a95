//! Every knob of the broker: nsqd's, under nsqd's names and with nsqd's defaults, and the bounds that nsqd lacks.
//!
//! Here are values, not text: flags, files and environment are read elsewhere. What nsqd has a flag for that
//! means nothing here (`sync-every`, `queue-scan-*`, `statsd-*`, ...) has no field: whoever reads flags says so.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

/// nsqd's version, whose protocol, paths and JSON the broker speaks: what `/info`, `/stats` and IDENTIFY answer.
pub const NSQD_VERSION: &str = "1.3.0";

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;
const GIB: u64 = 1024 * MIB;

/// Where to listen, as nsqd reads it: what splits into a host and a port is TCP, anything else the path of a Unix
/// socket, and an empty text is nowhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listen {
    /// `host:port`; an empty host is every address, port 0 a free one.
    Tcp(String),
    /// A Unix socket's path.
    Unix(PathBuf),
    /// Nowhere. TCP clients must have somewhere.
    Off,
}

impl FromStr for Listen {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let port = text.rsplit_once(':').map(|(_, port)| port);
        Ok(match port {
            None if text.is_empty() => Self::Off,
            Some(_) if !text.contains('/') => Self::Tcp(text.to_owned()),
            _ => Self::Unix(PathBuf::from(text)),
        })
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => f.write_str(address),
            Self::Unix(path) => path.display().fmt(f),
            Self::Off => Ok(()),
        }
    }
}

/// nsqd's `--tls-required`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TlsRequired {
    /// TLS is offered, nobody must take it.
    #[default]
    No,
    /// TCP clients must upgrade and plain HTTP is refused.
    Yes,
    /// TCP clients must upgrade; plain HTTP is served (`tcp-https`).
    TcpHttps,
}

impl TlsRequired {
    /// What holds under this policy: a client without TLS cannot show a certificate.
    #[must_use]
    pub fn under(self, policy: ClientAuthPolicy) -> Self {
        match (self, policy) {
            (Self::No, ClientAuthPolicy::Require | ClientAuthPolicy::RequireVerify) => Self::Yes,
            (required, _) => required,
        }
    }
}

/// nsqd's `--tls-client-auth-policy`. Anything but `Off` makes TLS required.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ClientAuthPolicy {
    /// No certificate is asked for.
    #[default]
    Off,
    /// A client must show a certificate, whoever signed it.
    Require,
    /// A client must show a certificate that `root_ca_file`, or whom the system trusts, vouches for.
    RequireVerify,
}

/// nsqd's `--tls-min-version`. What is below 1.2 is accepted and served as 1.2: no library here speaks it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TlsMinVersion {
    /// `ssl3.0`.
    Ssl30,
    /// `tls1.0`, nsqd's default.
    #[default]
    Tls10,
    /// `tls1.1`.
    Tls11,
    /// `tls1.2`.
    Tls12,
    /// `tls1.3`.
    Tls13,
}

/// TLS for TCP clients that upgrade, and for the HTTPS listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsSettings {
    /// The certificate chain, PEM.
    pub cert: PathBuf,
    /// Its key, PEM.
    pub key: PathBuf,
    /// Whether clients show certificates.
    pub client_auth_policy: ClientAuthPolicy,
    /// Who may vouch for clients' certificates, PEM; without it, whom the system trusts.
    pub root_ca_file: Option<PathBuf>,
    /// Whether clients must upgrade.
    pub required: TlsRequired,
    /// The lowest version taken.
    pub min_version: TlsMinVersion,
}

/// Everything that a broker is told. [`Settings::default`] is nsqd's defaults and the bounds' own.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where the journal lives; created when it lacks. nsqd's `--data-path`.
    pub data_path: PathBuf,
    /// TCP clients; `--tcp-address`.
    pub tcp_address: Listen,
    /// HTTP; `--http-address`.
    pub http_address: Listen,
    /// HTTPS, served only when `tls` is set; `--https-address`.
    pub https_address: Listen,
    /// What is told to nsqlookupd and `/info`; `None` is the host's name. `--broadcast-address`.
    pub broadcast_address: Option<String>,
    /// The TCP port told to nsqlookupd; 0 is the one listened on.
    pub broadcast_tcp_port: u16,
    /// The HTTP port told to nsqlookupd; 0 is the one listened on.
    pub broadcast_http_port: u16,
    /// Every nsqlookupd to register with, `host:port` of its TCP side.
    pub lookupd_tcp_addresses: Vec<String>,
    /// Auth servers, `host:port` or a full URL; none: AUTH is disabled.
    pub auth_http_addresses: Vec<String>,
    /// To connect to an auth server or nsqlookupd over HTTP.
    pub http_client_connect_timeout: Duration,
    /// For a whole request to one of them.
    pub http_client_request_timeout: Duration,
    /// Shown by `/config`, and otherwise without meaning: ids come from a counter.
    pub node_id: u16,
    /// What `/config/log_level` shows.
    pub log_level: String,

    /// Messages that an `#ephemeral` topic or channel holds; beyond them it drops. 0 still hands a message to a
    /// consumer that waits. `--mem-queue-size`.
    pub mem_queue_size: u64,
    /// How long a message may be in flight unless its client says otherwise.
    pub msg_timeout: Duration,
    /// How long TOUCH may keep a message, from its delivery.
    pub max_msg_timeout: Duration,
    /// The largest message, bytes.
    pub max_msg_size: u64,
    /// The largest body of a command, and of an HTTP request, bytes.
    pub max_body_size: u64,
    /// The longest delay of REQ (clamped to it) and DPUB (refused beyond it).
    pub max_req_timeout: Duration,
    /// A client that says nothing this long is closed; half of it is the default heartbeat. nsqd has no flag for it.
    pub client_timeout: Duration,
    /// The longest heartbeat that a client may ask for.
    pub max_heartbeat_interval: Duration,
    /// The highest RDY.
    pub max_rdy_count: u32,
    /// The largest output buffer that a client may ask for, bytes.
    pub max_output_buffer_size: u64,
    /// The longest output buffer timeout that a client may ask for.
    pub max_output_buffer_timeout: Duration,
    /// The shortest one.
    pub min_output_buffer_timeout: Duration,
    /// The one that it gets unasked.
    pub output_buffer_timeout: Duration,
    /// Consumers of one channel; 0 is no limit.
    pub max_channel_consumers: u32,
    /// Whether clients may ask for deflate.
    pub deflate: bool,
    /// The highest deflate level that one may ask for, 1 to 9.
    pub max_deflate_level: u32,
    /// Whether clients may ask for snappy.
    pub snappy: bool,
    /// TLS; `None`: clients that ask for it go on in clear, and there is no HTTPS.
    pub tls: Option<TlsSettings>,

    /// Messages of one topic that some channel has not finished; a publish beyond is refused.
    pub topic_messages_max: u64,
    /// Bytes of their records: bodies, and a few dozen bytes with each.
    pub topic_bytes_max: u64,
    /// Messages of all topics.
    pub messages_max: u64,
    /// Bytes of their records.
    pub bytes_max: u64,
    /// Topics; one more is refused.
    pub topics_max: u32,
    /// Channels of one topic; one more is refused.
    pub topic_channels_max: u32,
    /// Free disk space below which publishes are refused; an eighth of the file system if that is less.
    pub disk_reserve_bytes: u64,
    /// Log segments of this size; `None` is the journal's own choice.
    pub segment_bytes: Option<u64>,
    /// Connections served at once, TCP and HTTP together; beyond them one is closed at once.
    pub connections_max: usize,
    /// Publishes of one connection that wait for the sync; beyond them nothing more is read from it.
    pub connection_pending_replies_max: usize,
    /// Bytes of them.
    pub connection_pending_bytes_max: u64,

    /// Whether a new topic fans nothing out before [`Queue::open_gate`](crate::Queue::open_gate), so that channels
    /// known to nsqlookupd get its first messages. Set when there are nsqlookupds.
    pub hold_new_topics: bool,
    /// Whether syncs and checkpoints run on the broker's own thread. For a simulation, which must be repeatable.
    pub sync_inline: bool,
}

impl Settings {
    /// Where the queue keeps its journal.
    pub fn journal_path(&self) -> &Path {
        &self.data_path
    }

    /// nsqd's bound on the messages of one MPUB: what a body of nothing but one-byte messages would hold.
    pub fn mpub_messages_max(&self) -> u64 {
        self.max_body_size.saturating_sub(4) / 5
    }
}

impl Default for Settings {
    fn default() -> Self {
        let second = Duration::from_secs(1);
        Self {
            data_path: PathBuf::new(),
            tcp_address: Listen::Tcp("0.0.0.0:4150".to_owned()),
            http_address: Listen::Tcp("0.0.0.0:4151".to_owned()),
            https_address: Listen::Tcp("0.0.0.0:4152".to_owned()),
            broadcast_address: None,
            broadcast_tcp_port: 0,
            broadcast_http_port: 0,
            lookupd_tcp_addresses: Vec::new(),
            auth_http_addresses: Vec::new(),
            http_client_connect_timeout: 2 * second,
            http_client_request_timeout: 5 * second,
            node_id: 0,
            log_level: "info".to_owned(),
            mem_queue_size: 10_000,
            msg_timeout: 60 * second,
            max_msg_timeout: 900 * second,
            max_msg_size: MIB,
            max_body_size: 5 * MIB,
            max_req_timeout: 3_600 * second,
            client_timeout: 60 * second,
            max_heartbeat_interval: 60 * second,
            max_rdy_count: 2_500,
            max_output_buffer_size: 64 * KIB,
            max_output_buffer_timeout: 30 * second,
            min_output_buffer_timeout: Duration::from_millis(25),
            output_buffer_timeout: Duration::from_millis(250),
            max_channel_consumers: 0,
            deflate: true,
            max_deflate_level: 6,
            snappy: true,
            tls: None,
            topic_messages_max: 20_000_000,
            topic_bytes_max: 64 * GIB,
            messages_max: 20_000_000,
            bytes_max: 64 * GIB,
            topics_max: 10_000,
            topic_channels_max: 1_000,
            disk_reserve_bytes: GIB,
            segment_bytes: None,
            connections_max: 10_000,
            connection_pending_replies_max: 1_024,
            connection_pending_bytes_max: 4 * MIB,
            hold_new_topics: false,
            sync_inline: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listen_address_is_told_from_a_path_as_nsqd_does() {
        let listen = |text: &str| text.parse::<Listen>().expect("every text is one");
        for tcp in ["0.0.0.0:4150", ":4150", "[::1]:0", "localhost:4151", "localhost:http"] {
            assert_eq!(listen(tcp), Listen::Tcp(tcp.to_owned()));
        }
        for unix in ["/tmp/nsqd.sock", "nsqd.sock", "/tmp/a:1/b"] {
            assert_eq!(listen(unix), Listen::Unix(PathBuf::from(unix)));
        }
        assert_eq!((listen(""), Listen::Off.to_string()), (Listen::Off, String::new()));
    }

    #[test]
    fn an_mpub_is_bounded_as_by_nsqd() {
        assert_eq!(Settings::default().mpub_messages_max(), (5_242_880 - 4) / 5);
    }
}
