//! Message in, outcome out: what lies between the queue and the endpoint.
//!
//! A *route* ties one topic and channel to one endpoint. It is divided into *lanes*: a lane has its own NSQ
//! connections, its own HTTP connections and its own *permits*, and lives on one *worker*, a thread with a
//! single-threaded runtime. A message is read, posted and finished on the thread that received it, so nothing on its
//! way takes a lock or wakes another thread.
//!
//! # Layout
//! - `settings`: what can be chosen, and what is refused;
//! - `share`: how a route's permits and messages in flight are divided over its lanes;
//! - `worker`, `lane`, `permit`: the thread, the lane on it, and the loop that carries one message after another;
//! - `head_lines`: the header lines that tell a receiver which message it has;
//! - `settle`, `backoff`: what an outcome does to the message, and how long a requeued one waits;
//! - `journalist`: turns what happens into log lines, without letting an outage flood the log;
//! - [`ledger`], `histogram`: what was received and where it went, counted so that it adds up.
//!
//! # What must never happen
//! - A message is finished without a 2xx whose request was sent in full.
//! - A permit is lost: a task that panics is started again, and its message is requeued by the drop of its delivery.
//! - A POST starts for a message that has already expired or whose connection is gone.
//! - Anything here grows with the number of messages: every structure is bounded by permits, lanes and routes.

mod backoff;
mod head_lines;
mod histogram;
mod journalist;
mod lane;
pub mod ledger;
mod permit;
mod pipeline;
mod settings;
mod settle;
mod share;
mod worker;

pub use {client, delivery};

pub use backoff::BackoffSettings;
pub use histogram::Quantiles;
pub use lane::StartCause;
pub use ledger::{Ledger, RouteSnapshot, Snapshot};
pub use pipeline::{Pipeline, StartError, start};
pub use settings::{PipelineSettings, RouteSettings, SettingError};
