//! The embedded queue: NSQ's topics and channels kept in a journal, served over NSQ's own TCP and HTTP APIs.
//!
//! Everything here runs on one thread: sessions are local tasks, state is behind an `Rc`, and the two other threads
//! do nothing but wait for the disk (syncs, checkpoints). So there is no lock, and no wake between threads, per message.
//!
//! | module | holds |
//! |---|---|
//! | [`settings`] | every knob, with nsqd's defaults, and the bounds that nsqd lacks |
//! | [`client`] | what a connection shows of itself in the statistics |
//! | `shared` | what every connection shares; the list of clients |
//! | `tcp` | NSQ's TCP protocol: a task for each connection |
//! | `tls` | certificates, for TCP and HTTPS |
//! | `outbound` | questions to auth servers and nsqlookupds |
//! | [`broker`] | the whole: opens, listens, serves, stops; the way in from the own process |
//! | `http` | NSQ's HTTP API |
//! | `lookupd` | registration with nsqlookupds, and the channels that they know |
//! | `advertised`, `options` | what others are told of this node; what changes while it runs |
//! | [`queue`] | topics, channels, in-flight and deferred messages: a state machine over the journal |

#![forbid(unsafe_code)]

mod advertised;
pub mod broker;
pub mod client;
mod http;
mod lookupd;
mod options;
mod outbound;
pub mod queue;
pub mod settings;
mod shared;
mod tcp;
mod tls;

pub use broker::{Broker, ConnectionCounters, Connector, Failed, ListenError, StartError, StopError};
pub use client::Client;
pub use journal::{Disk, FileSystem};
pub use queue::Queue;
pub use settings::Settings;
pub use tls::TlsError;
