//! The embedded queue: NSQ's topics and channels kept in a journal, served over NSQ's own TCP and HTTP APIs.
//!
//! Everything here runs on one thread: sessions are local tasks, state is behind an `Rc`, and the one other thread
//! does nothing but sync the log. So there is no lock, and no wake between threads, per message.
//!
//! | module | holds |
//! |---|---|
//! | [`settings`] | every knob, with nsqd's defaults, and the bounds that nsqd lacks |
//! | [`client`] | what a connection shows of itself in the statistics |
//! | `shared` | what every connection shares; the list of clients |
//! | `tcp` | NSQ's TCP protocol: a task for each connection |
//! | `tls` | certificates, for TCP and HTTPS |
//! | `outbound` | questions to auth servers and nsqlookupds |
//! | [`queue`] | topics, channels, in-flight and deferred messages: a state machine over the journal |

#![forbid(unsafe_code)]

pub mod client;
mod outbound;
pub mod queue;
pub mod settings;
mod shared;
mod tcp;
mod tls;

pub use client::Client;
pub use queue::Queue;
pub use settings::Settings;
pub use tls::TlsError;
