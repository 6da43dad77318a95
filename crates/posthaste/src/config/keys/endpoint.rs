//! Keys of the endpoint: what its requests carry, its time limits, its connections and their TLS.

use std::path::PathBuf;
use std::time::Duration;

use crate::config::keys::Otherwise::{Value, Words};
use crate::config::keys::keys;
use crate::config::kind::Kind;
use crate::config::place::Placed;
use crate::config::read::HeaderLine;

keys! {
    /// The endpoint of a route as the user typed it.
    "Endpoint" EndpointKeys {
        /// `Host` to send, where it is not the one of the URL.
        host: String = "--host", Kind::Text("HOST"), Words("host and port of the URL");
        /// Header lines to send with every request.
        headers: Vec<HeaderLine> = "--header", Kind::Headers, Words("none");
        /// `Content-Type` to send.
        content_type: String = "--content-type", Kind::Text("TYPE"), Value("\"application/octet-stream\"");
        /// `User-Agent` to send.
        user_agent: String = "--user-agent", Kind::Text("TEXT"), Words("`posthaste/VERSION`");
        /// Time for a whole request: waiting for a connection, lookup, connect, TLS, writing, and the answer.
        request_timeout_ms: Duration = "--request-timeout", Kind::Time { min_ms: 1, max_ms: 3_600_000 }, Value("30_000");
        /// Time for a dial: lookup, TCP and TLS. Unless set, not more than `request_timeout_ms`.
        connect_timeout_ms: Duration = "--connect-timeout", Kind::Time { min_ms: 1, max_ms: 3_600_000 }, Value("5_000");
        /// How long a connection may be idle before it is closed. Best a little less than the endpoint's own limit.
        idle_timeout_ms: Duration = "--idle-timeout", Kind::Time { min_ms: 1, max_ms: 86_400_000 }, Value("30_000");
        /// How old a connection may grow, give or take 10 %, before it is closed between two requests.
        age_max_ms: Duration = "--age-max", Kind::Time { min_ms: 1, max_ms: 604_800_000 }, Value("600_000");
        /// Requests that a connection may carry.
        requests_per_connection_max: u64 = "--requests-per-connection-max",
            Kind::Count { min: 1, max: i64::MAX, unit: "requests" }, Words("unlimited");
        /// Connections to open and keep open without need, over all lanes.
        warm: u64 = "--warm", Kind::Count { min: 0, max: 1_000_000, unit: "connections" }, Value("0");
        /// Rest of an answer that is read so that its connection can be kept; past it the connection is closed.
        drain_bytes_max: u64 = "--drain-bytes-max", Kind::Count { min: 0, max: 1_073_741_824, unit: "bytes" },
            Value("65_536");
        /// Time for reading that rest.
        drain_timeout_ms: Duration = "--drain-timeout", Kind::Time { min_ms: 1, max_ms: 600_000 }, Value("1_000");
        /// Longest head of an answer.
        head_bytes_max: u64 = "--head-bytes-max", Kind::Count { min: 1_024, max: 16_777_216, unit: "bytes" }, Value("65_536");
        /// Most fields in the head of an answer.
        head_fields_max: u64 = "--head-fields-max", Kind::Count { min: 1, max: 256, unit: "fields" }, Value("100");
        /// PEM files of the authorities to trust instead of the system's. The system's heed `SSL_CERT_FILE` and
        /// `SSL_CERT_DIR`.
        ca_files: Vec<Placed<PathBuf>> = "--ca-file", Kind::Texts("FILE"), Words("the system's roots");
        /// PEM file of the certificate chain to show to an endpoint that asks for one. Needs `key_file`.
        certificate_file: PathBuf = "--certificate-file", Kind::Text("FILE"), Words("none");
        /// PEM file of its private key, not encrypted.
        key_file: PathBuf = "--key-file", Kind::Text("FILE"), Words("none");
        /// Name that the endpoint's certificate must carry, and that is sent as SNI.
        server_name: String = "--server-name", Kind::Text("NAME"), Words("the host of the URL");
        /// Oldest version of TLS to accept.
        tls_version_min: String = "--tls-version-min", Kind::Choice(&["1.2", "1.3"]), Value("\"1.2\"");
        /// Takes any certificate: whoever can reach the connection can then read and change every message.
        danger_skip_verification: bool = "--danger-skip-verification", Kind::Switch, Value("false");
        /// How long a resolved address is used.
        dns_ttl_ms: Duration = "--dns-ttl", Kind::Time { min_ms: 0, max_ms: 86_400_000 }, Value("30_000");
        /// How long a failed lookup is not repeated.
        dns_failure_ttl_ms: Duration = "--dns-failure-ttl", Kind::Time { min_ms: 0, max_ms: 86_400_000 }, Value("1_000");
        /// Idle time after which TCP asks whether the peer is still there. The kernel takes whole seconds; the rest is dropped.
        keepalive_time_ms: Duration = "--keepalive-time", Kind::Time { min_ms: 1_000, max_ms: 32_767_000 }, Value("15_000");
        /// Time between two such questions, in whole seconds too.
        keepalive_interval_ms: Duration = "--keepalive-interval", Kind::Time { min_ms: 1_000, max_ms: 32_767_000 },
            Value("5_000");
        /// Questions without an answer after which the connection is dead. Without effect on Linux, where
        /// `tcp_user_timeout_ms` decides that too.
        keepalive_probes: u64 = "--keepalive-probes", Kind::Count { min: 1, max: 127, unit: "probes" }, Value("3");
        /// How long sent bytes may go unacknowledged before the connection is dead, which the kernel notices up to 0.7 s later.
        tcp_user_timeout_ms: Duration = "--tcp-user-timeout", Kind::Time { min_ms: 1, max_ms: 3_600_000 }, Value("9_000");
        /// The kernel's send buffer of a connection.
        send_buffer_bytes: u64 = "--send-buffer-bytes", Kind::Count { min: 2_048, max: 1_073_741_824, unit: "bytes" },
            Words("the system's");
        /// The kernel's receive buffer of a connection.
        receive_buffer_bytes: u64 = "--receive-buffer-bytes", Kind::Count { min: 2_048, max: 1_073_741_824, unit: "bytes" },
            Words("the system's");
    }
}
