//! Keys of a route: which topic goes to which endpoint, and how much at once.

use std::time::Duration;

use crate::config::keys::Otherwise::{Value, Words};
use crate::config::keys::keys;
use crate::config::kind::Kind;
use crate::config::place::Placed;

keys! {
    /// A route as the user typed it.
    "Route" RouteKeys {
        /// Names the route in logs and in the summary.
        name: String = "--name", Kind::Text("NAME"), Words("`topic/channel`");
        /// Topic to take messages from.
        topic: String = "--topic", Kind::Text("NAME"), Words("required");
        /// Channel of the topic. Every copy of Posthaste on the same channel takes a share of its messages.
        channel: String = "--channel", Kind::Text("NAME"), Value("\"posthaste\"");
        /// Addresses of nsqds, `host:port`. Either these, or `lookupd_http_addresses`, or neither: then messages come from the
        /// embedded queue.
        nsqd_tcp_addresses: Vec<Placed<String>> = "--nsqd-tcp-address", Kind::Texts("HOST:PORT"), Words("none");
        /// Addresses of nsqlookupds, which know the nsqds of the topic: `host:port`, or a URL with http or https.
        lookupd_http_addresses: Vec<Placed<String>> = "--lookupd-http-address", Kind::Texts("HOST:PORT"), Words("none");
        /// URL of the endpoint that each message is POSTed to, http or https.
        to: String = "--to", Kind::Text("URL"), Words("required");
        /// Requests at once, and so connections to the endpoint, over all lanes.
        concurrency: u64 = "--concurrency", Kind::Count { min: 1, max: 1_000_000, unit: "requests" }, Value("64");
        /// Messages held at once, over all lanes: those being posted, and others so that a connection that comes free has
        /// its next message at hand.
        max_in_flight: u64 = "--max-in-flight", Kind::Count { min: 1, max: 4_000_000, unit: "messages" },
            Words("twice `concurrency`");
        /// Shares of the route that run beside each other, each with connections of its own. One carries tens of
        /// thousands of messages a second; more spread a busy route over several threads.
        lanes: u64 = "--lanes", Kind::Count { min: 1, max: 4096, unit: "lanes" }, Value("1");
        /// Sends `Idempotency-Key: "node/topic/channel/id"`, by which a receiver can tell duplicates. With it a request may
        /// be sent again, once, when a kept connection turns out to have been closed.
        idempotency_key: bool = "--idempotency-key", Kind::Switch, Value("true");
        /// Longest delay before the second attempt of a message that was not delivered. The actual one is drawn between
        /// an eighth of it and all of it, so that messages that failed together do not come back together.
        backoff_initial_ms: Duration = "--backoff-initial", Kind::Time { min_ms: 1, max_ms: 3_600_000 }, Value("1_000");
        /// Longest delay before any attempt; it doubles with each attempt up to here.
        backoff_max_ms: Duration = "--backoff-max", Kind::Time { min_ms: 1, max_ms: 3_600_000 }, Value("900_000");
        /// How long a drain lets requests finish before their messages are given back to the queue.
        drain_grace_ms: Duration = "--drain-grace", Kind::Time { min_ms: 0, max_ms: 3_600_000 }, Value("30_000");
    }
}
