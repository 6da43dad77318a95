//! Publishing to one nsqd: PUB, MPUB, DPUB, each with its own answer and its own deadline.
//!
//! One local task owns the connection: it dials, writes requests in the order of their calls, as many as there are without waiting for answers, and reads the answers, which nsqd gives strictly
//! in that order (heartbeats take no place in it). A [`Producer`] is a handle to it, for any number of tasks of the same thread.
//!
//! What a failed publish says is exact:
//! - *refused*: nsqd's own word, it is not stored;
//! - *not sent*: no byte of it was given to a connection, it is not stored;
//! - *outcome unknown*: some of it was, and no answer came. Publishing it again may store it twice.
//!
//! A request that passes its deadline unanswered takes its connection with it: were the connection kept, a late answer would be credited to the next request in line.
//! A request that nsqd refuses ends the connection too, by nsqd's doing; nsqd reads nothing behind a refused command, so those behind it are sent again on the next connection.

mod connection;
mod error;
mod request;
mod run;
mod shared;

use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;
use wire::command::write_mpub;
use wire::{Command, TopicName};

use crate::after::after;
use crate::consumer::Counter;
use crate::dial::{DialError, Dialer};
use crate::settings::{ConnectionSettings, SettingError};
use crate::stream::split_address;

pub use connection::Disconnect;
pub use error::{NotSent, OutcomeUnknown, PublishError};
use run::Served;
use shared::Shared;

/// What stands before each body of several.
const LENGTH_BYTES: usize = 4;

/// Where and how to publish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProducerSettings {
    /// nsqd's TCP address, `host:port`.
    pub address: String,
    /// The connection to it.
    pub connection: ConnectionSettings,
    /// Requests that may be unanswered at once (1,000). A publish above it waits its turn, within its deadline.
    pub requests_max: usize,
    /// Bytes of requests that may be unanswered at once (16 MiB); so also the largest request. Bodies count, and the 4 bytes
    /// that each one behind the first of its request adds.
    pub bytes_max: usize,
    /// Shortest time between a failure and the next dial (100 ms).
    pub reconnect_min: Duration,
    /// Longest (5 s).
    pub reconnect_max: Duration,
}

impl ProducerSettings {
    /// The defaults, for this nsqd.
    pub fn new(address: impl Into<String>, connection: ConnectionSettings) -> ProducerSettings {
        ProducerSettings {
            address: address.into(),
            connection,
            requests_max: 1_000,
            bytes_max: 16 * 1024 * 1024,
            reconnect_min: Duration::from_millis(100),
            reconnect_max: Duration::from_secs(5),
        }
    }

    /// Every mistake that can be seen without opening a file or a socket.
    pub fn validate(&self) -> Vec<SettingError> {
        let mut errors = self.connection.validate();
        if split_address(&self.address).is_none() {
            errors.push(SettingError::new("address", &self.address, "is not host:port"));
        }
        let limits = [("requests_max", self.requests_max), ("bytes_max", self.bytes_max)];
        for (field, limit) in limits {
            // A semaphore counts them, and what it gives out at once is 32 bits.
            if !(1..=u32::MAX as usize / 8).contains(&limit) {
                errors.push(SettingError::new(field, limit, "1 to 536,870,911"));
            }
        }
        errors
    }
}

/// What a producer has done. Written by its thread alone; read by any.
#[derive(Debug, Default)]
pub struct ProducerCounters {
    /// Requests that nsqd answered with `OK`.
    pub published: Counter,
    /// Requests that nsqd refused.
    pub refused: Counter,
    /// Requests that never left.
    pub not_sent: Counter,
    /// Requests that left and were not answered.
    pub outcome_unknown: Counter,
    /// Requests sent once more, for they stood behind a refused one.
    pub resent: Counter,
    /// Heartbeats answered.
    pub heartbeats: Counter,
    /// Dials that led to a connection.
    pub connects: Counter,
    /// Dials that did not.
    pub connect_failures: Counter,
}

/// What happens to a producer's connection.
#[derive(Debug)]
pub enum ProducerEvent {
    /// It is connected.
    Connected,
    /// A dial failed; the next one comes in `retry_in`.
    ConnectFailed {
        /// Why.
        error: DialError,
        /// Until the next dial.
        retry_in: Duration,
    },
    /// The connection ended.
    Disconnected {
        /// Why.
        reason: Disconnect,
    },
}

/// A handle to a producer; cheap to clone. With the last handle the producer ends, at once.
#[derive(Clone)]
pub struct Producer(Rc<Handle>);

struct Handle(Rc<Shared>);

impl Drop for Handle {
    fn drop(&mut self) {
        self.0.end();
    }
}

impl fmt::Debug for Producer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Producer").field("address", &self.0.0.address).finish_non_exhaustive()
    }
}

impl Producer {
    /// Starts the task that dials, on the current `LocalSet` or local runtime. An nsqd that is down is no error: publishes wait for it, within their deadlines.
    ///
    /// # Errors
    /// Every mistake in the settings, at once.
    ///
    /// # Panics
    /// Outside of a `LocalSet` or local runtime.
    pub fn start(
        settings: &ProducerSettings,
        counters: Arc<ProducerCounters>,
        events: impl FnMut(ProducerEvent) + 'static,
    ) -> Result<Producer, Vec<SettingError>> {
        let errors = settings.validate();
        if !errors.is_empty() {
            return Err(errors);
        }
        let dialer = Dialer::new(&settings.connection)?;
        let shared = Rc::new(Shared::new(settings, counters));
        tokio::task::spawn_local(run::run(Served(Rc::clone(&shared)), dialer, settings.clone(), events));
        Ok(Producer(Rc::new(Handle(shared))))
    }

    /// Publishes one message and waits for nsqd's `OK`.
    ///
    /// # Errors
    /// See [`PublishError`]. It ends within `timeout`.
    pub async fn publish(
        &self,
        topic: &TopicName,
        body: &[u8],
        timeout: Duration,
    ) -> Result<(), PublishError> {
        let command = Command::Pub { topic: topic.as_str(), body };
        self.send(&[body], timeout, |out| command.write(out)).await
    }

    /// Publishes several messages in one request. nsqd limits the sum of their sizes (`--max-body-size`, 5 MiB).
    ///
    /// # Errors
    /// See [`PublishError`]; where nsqd stored some of them only, the outcome is unknown. It ends within `timeout`.
    pub async fn publish_many<B: AsRef<[u8]>>(
        &self,
        topic: &TopicName,
        bodies: &[B],
        timeout: Duration,
    ) -> Result<(), PublishError> {
        self.send(bodies, timeout, |out| write_mpub(out, topic.as_str(), bodies)).await
    }

    /// Publishes one message that nsqd gives out after `delay` at the earliest, and not above its `--max-req-timeout` (1 h): longer is refused.
    ///
    /// # Errors
    /// See [`PublishError`]. It ends within `timeout`.
    pub async fn publish_deferred(
        &self,
        topic: &TopicName,
        delay: Duration,
        body: &[u8],
        timeout: Duration,
    ) -> Result<(), PublishError> {
        let delay_ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
        let command = Command::Dpub { topic: topic.as_str(), delay_ms, body };
        self.send(&[body], timeout, |out| command.write(out)).await
    }

    async fn send<B: AsRef<[u8]>>(
        &self,
        bodies: &[B],
        timeout: Duration,
        encode: impl FnOnce(&mut Vec<u8>),
    ) -> Result<(), PublishError> {
        let deadline = after(timeout);
        let lens = || bodies.iter().map(|body| body.as_ref().len());
        // nsqd answers an empty message with a fatal error, which would end the connection under its neighbours.
        let published = match lens().min() {
            None | Some(0) => Err(PublishError::NotSent(NotSent::Empty)),
            // With many small bodies what stands between them is most of the request.
            Some(_) => {
                let bytes = lens().sum::<usize>() + LENGTH_BYTES * (bodies.len() - 1);
                self.0.0.publish(encode, bytes, deadline).await
            }
        };
        let counters = &self.0.0.counters;
        let counter = match &published {
            Ok(()) => &counters.published,
            Err(PublishError::Refused(_)) => &counters.refused,
            Err(PublishError::NotSent(_)) => &counters.not_sent,
            Err(PublishError::OutcomeUnknown(_)) => &counters.outcome_unknown,
        };
        counter.add(1);
        published
    }

    /// Takes no more publishes, waits up to `grace` until those under way are answered, and closes the connection. What is left then ends as not sent or as of unknown outcome.
    pub async fn stop(&self, grace: Duration) {
        let shared = &self.0.0;
        shared.refuse_new();
        let _in_time = timeout(grace, shared.all_answered()).await;
        shared.end();
    }
}
