//! The library over real sockets: against scripted peers, which do what real ones never do on demand, and against the
//! real nsqd and nsqlookupd, which know what a script could be wrong about.
//!
//! One program, because each would compile the runtime, TLS and the kit anew.

mod consumer;
mod consumer_nsqd;
mod dial;
mod dial_nsqd;
mod lookup;
mod producer;
mod producer_nsqd;
