//! NSQ's TCP protocol: the same conversations with the broker and with the real nsqd, frame for frame.

#![allow(
    clippy::disallowed_methods,
    reason = "the tests' clock is the wall's, and their threads are their own"
)]

mod auth;
mod bounds;
mod conversations;
mod delivery;
mod differences;
mod negotiation;
mod script;
mod tls;

#[path = "../http/served.rs"]
#[allow(dead_code, reason = "the HTTP tests ask more of it")]
mod served;
