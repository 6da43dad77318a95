//! The connection side against real sockets: every rule of reuse, dialling, resending, deadlines and closing.

#![allow(clippy::unwrap_used, reason = "whatever a test calls may panic")]
#![allow(
    clippy::disallowed_methods,
    reason = "real sockets need real time, and some tests keep the reactor from its turn"
)]

mod cancel;
mod deadline;
mod early;
mod idle;
mod lookup;
mod pool;
mod resend;
mod reuse;
mod support;
mod tail;
mod tls;
