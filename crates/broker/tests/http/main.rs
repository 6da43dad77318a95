//! The HTTP API, the registration with nsqlookupd and NSQ's own tools, against the broker and the real nsqd side by side.

#![allow(clippy::unwrap_used, reason = "whatever a test calls may panic")]
#![allow(
    clippy::disallowed_methods,
    reason = "real programs need real time, and are waited for by looking again"
)]

mod bounds;
mod cluster;
mod conversations;
mod differences;
mod nsq;
mod raw;
mod sequences;
mod served;
mod stats;
mod stopping;
mod tls;
mod tools;
mod unix;
