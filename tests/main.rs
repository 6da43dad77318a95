//! The whole program against the real parts: the real nsqd and nsqlookupd, nginx or the kit's endpoint, real TLS, real sockets.
//!
//! One binary, so that it links once. A module a subject; what measures time or a rate lives under [`exclusive`], which
//! `cargo xtask test` runs one test at a time after all the others. What a library promises on its own is tested in its crate.

mod rig;

mod bounds;
mod delivery;
mod exclusive;
mod impossible_frames;
mod nsq_faults;
mod queue;
mod reuse;
mod shutdown;
mod silence;
mod slow_endpoint;
mod start;
mod stored;
mod transport_security;
