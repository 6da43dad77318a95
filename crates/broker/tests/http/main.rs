//! The HTTP API, the registration with nsqlookupd and NSQ's own tools, against the broker and the real nsqd side by side.

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
