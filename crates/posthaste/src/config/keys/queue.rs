//! Keys of the NSQ side: connections to nsqd and nsqlookupd, and what is held of their messages.

use std::path::PathBuf;
use std::time::Duration;

use crate::config::keys::Otherwise::{Value, Words};
use crate::config::keys::keys;
use crate::config::kind::Kind;
use crate::config::place::Placed;
use crate::config::secret::SecretSource;

keys! {
    /// The NSQ side of a route as the user typed it.
    "NSQ" QueueKeys {
        /// Bytes of message bodies held at once, over all lanes.
        in_flight_bytes_max: u64 = "--in-flight-bytes-max", Kind::Count { min: 65_536, max: i64::MAX, unit: "bytes" },
            Value("67_108_864");
        /// Body of the largest message that is taken. A larger one is requeued with a growing delay, and logged.
        message_bytes_max: u64 = "--message-bytes-max", Kind::Count { min: 1, max: 1_073_741_824, unit: "bytes" },
            Value("5_242_880");
        /// Bytes read from a connection at once. A larger message is read straight into memory of its own.
        read_buffer_bytes: u64 = "--read-buffer-bytes", Kind::Count { min: 4_096, max: 16_777_216, unit: "bytes" },
            Value("65_536");
        /// Longest delay that a message is requeued with: nsqd's `--max-req-timeout`, which it does not announce.
        requeue_delay_max_ms: Duration = "--requeue-delay-max", Kind::Time { min_ms: 0, max_ms: 86_400_000 },
            Value("3_600_000");
        /// How often nsqlookupd is asked, give or take 30 %.
        lookup_interval_ms: Duration = "--lookup-interval", Kind::Time { min_ms: 100, max_ms: 3_600_000 }, Value("15_000");
        /// Time for nsqlookupd's answer.
        lookup_timeout_ms: Duration = "--lookup-timeout", Kind::Time { min_ms: 1, max_ms: 600_000 }, Value("5_000");
        /// Shortest wait before any dial after a connection has ended; the first wait is up to twice as long.
        reconnect_min_ms: Duration = "--reconnect-min", Kind::Time { min_ms: 1, max_ms: 600_000 }, Value("100");
        /// Longest wait before any dial; it doubles with each failure up to here.
        reconnect_max_ms: Duration = "--reconnect-max", Kind::Time { min_ms: 1, max_ms: 600_000 }, Value("5_000");
        /// Time for a whole dial: name lookup, TCP, IDENTIFY, TLS, AUTH.
        nsq_connect_timeout_ms: Duration = "--nsq-connect-timeout", Kind::Time { min_ms: 1, max_ms: 600_000 }, Value("5_000");
        /// How long a write may stand still before the connection is given up.
        nsq_write_timeout_ms: Duration = "--nsq-write-timeout", Kind::Time { min_ms: 1, max_ms: 600_000 }, Value("10_000");
        /// How often nsqd sends a heartbeat. A connection on which nothing came for two of them is dead.
        heartbeat_interval_ms: Duration = "--heartbeat-interval", Kind::Time { min_ms: 1_000, max_ms: 3_600_000 },
            Value("5_000");
        /// How long nsqd waits for an answer to a message; half of it later the message is touched.
        msg_timeout_ms: Duration = "--msg-timeout", Kind::Time { min_ms: 1_000, max_ms: 86_400_000 },
            Words("nsqd's own, 60,000");
        /// Buffer that nsqd collects messages in: 64 or more, -1 for none.
        output_buffer_size: i64 = "--output-buffer-size", Kind::Count { min: -1, max: 1_073_741_824, unit: "bytes" },
            Words("nsqd's own, 16,384");
        /// How long a message may wait in that buffer; 0 for nsqd's own (250), -1 for ever, which is taken only without a
        /// buffer.
        output_buffer_timeout_ms: i64 = "--output-buffer-timeout", Kind::Time { min_ms: -1, max_ms: 60_000 }, Value("25");
        /// Share of the channel's messages to receive, 0 for all. nsqd throws the others away for every consumer of the
        /// channel.
        sample_rate: u64 = "--sample-rate", Kind::Count { min: 0, max: 99, unit: "%" }, Value("0");
        /// Compression to ask nsqd for.
        compression: String = "--compression", Kind::Choice(&["none", "snappy", "deflate"]), Value("\"none\"");
        /// Level of deflate, fast to small. nsqd lowers it to its own limit.
        deflate_level: u64 = "--deflate-level", Kind::Count { min: 1, max: 9, unit: "" }, Value("6");
        /// Name of this client in nsqd's statistics.
        client_id: String = "--client-id", Kind::Text("NAME"), Words("first label of the host name");
        /// Host name in nsqd's statistics.
        hostname: String = "--hostname", Kind::Text("NAME"), Words("the machine's");
        /// User agent in nsqd's statistics.
        nsq_user_agent: String = "--nsq-user-agent", Kind::Text("TEXT"), Words("`posthaste/VERSION`");
        /// Region of this client, for an nsqd that prefers consumers nearby.
        topology_region: String = "--topology-region", Kind::Text("NAME"), Words("none");
        /// Zone of this client within the region.
        topology_zone: String = "--topology-zone", Kind::Text("NAME"), Words("none");
        /// Secret for an nsqd that requires AUTH.
        auth_secret: SecretSource = "--auth-secret", Kind::Secret, Words("none");
        /// Requires TLS of nsqd.
        nsq_tls: bool = "--nsq-tls", Kind::Switch, Value("false");
        /// PEM files of the authorities to trust, instead of the system's, for nsqd and nsqlookupd.
        nsq_ca_files: Vec<Placed<PathBuf>> = "--nsq-ca-file", Kind::Texts("FILE"), Words("the system's roots");
        /// PEM file of the certificate chain to show to nsqd and nsqlookupd. Needs `nsq_key_file`.
        nsq_certificate_file: PathBuf = "--nsq-certificate-file", Kind::Text("FILE"), Words("none");
        /// PEM file of its private key, not encrypted.
        nsq_key_file: PathBuf = "--nsq-key-file", Kind::Text("FILE"), Words("none");
        /// Name that nsqd's certificate must carry.
        nsq_server_name: String = "--nsq-server-name", Kind::Text("NAME"), Words("the host of its address");
        /// Oldest version of TLS to accept from nsqd and nsqlookupd.
        nsq_tls_version_min: String = "--nsq-tls-version-min", Kind::Choice(&["1.2", "1.3"]), Value("\"1.2\"");
        /// Takes any certificate from nsqd and nsqlookupd: whoever can reach the connection can then read and change it.
        nsq_danger_skip_verification: bool = "--nsq-danger-skip-verification", Kind::Switch, Value("false");
    }
}
