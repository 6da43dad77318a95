//! Keys of the embedded queue, which runs when a route names no NSQ.

use std::path::PathBuf;

use crate::config::keys::Otherwise::{Value, Words};
use crate::config::keys::keys;
use crate::config::kind::Kind;

keys! {
    /// The embedded queue as the user typed it.
    "Embedded queue" BrokerKeys {
        /// Folder that its messages are kept in, for one process at a time.
        data_path: PathBuf = "--data-path", Kind::Text("FOLDER"), Words("`posthaste` in the platform's state directory");
        /// Where it serves NSQ's TCP protocol, for any NSQ library: `host:port`, or the path of a Unix socket. Port 0 is a
        /// free one.
        tcp_address: String = "--tcp-address", Kind::Text("HOST:PORT"), Value("\"127.0.0.1:4150\"");
        /// Where it serves nsqd's HTTP API, for curl and NSQ's tools: `host:port`, or the path of a Unix socket.
        http_address: String = "--http-address", Kind::Text("HOST:PORT"), Value("\"127.0.0.1:4151\"");
        /// Bytes of the unfinished messages of all topics. A publish beyond is refused, and delivery goes on.
        bytes_max: u64 = "--bytes-max", Kind::Count { min: 1, max: i64::MAX, unit: "bytes" }, Value("68_719_476_736");
        /// Unfinished messages of all topics; likewise.
        messages_max: u64 = "--messages-max", Kind::Count { min: 1, max: i64::MAX, unit: "messages" }, Value("20_000_000");
        /// Bytes of the unfinished messages of one topic; likewise.
        topic_bytes_max: u64 = "--topic-bytes-max", Kind::Count { min: 1, max: i64::MAX, unit: "bytes" },
            Value("68_719_476_736");
        /// Unfinished messages of one topic; likewise.
        topic_messages_max: u64 = "--topic-messages-max", Kind::Count { min: 1, max: i64::MAX, unit: "messages" },
            Value("20_000_000");
        /// Free space of the disk below which publishes are refused, but at most an eighth of the disk. Delivery goes on
        /// from it.
        disk_reserve_bytes: u64 = "--disk-reserve-bytes", Kind::Count { min: 0, max: i64::MAX, unit: "bytes" },
            Value("1_073_741_824");
    }
}
