//! Topics, channels, in-flight and deferred messages: an event-sourced state machine over the journal.
//!
//! Every durable event is a record of the log, and applying the records in order gives the state. A checkpoint is
//! the encoded state at a position of the log; a start is the newest checkpoint and the records behind it. A
//! delivery writes nothing.
//!
//! # What holds
//! - A commit is granted only once its records are durable, and no message is handed out before its record is.
//! - A FIN, REQ or timeout is given to the kernel before the message that takes its place is handed out, and synced
//!   with the next group commit or 100 ms later.
//! - A message is named by its record's position in the log, never by counting: a record lost to damage shifts
//!   nothing.
//! - Fan-out is a pure function of the records' order, so nothing is logged for it.
//! - Bodies of the log are not held: a message is read when it is handed out. Those of ephemeral topics are.
//!
//! # The parts
//! | module | its one idea | |
//! |---|---|---|
//! | `varint`, `bitmap`, `fifo` | numbers, bits and queues in few bytes | pure |
//! | `record`, `settle` | the log's records | pure |
//! | `slot`, `index`, `view` | a topic's messages; what a channel knows of them | pure |
//! | `backlog`, `held` | a channel's messages: in the log, or in memory | pure |
//! | `channel`, `topic`, `state` | a channel with its consumers, a topic, the books of what is live | pure |
//! | `fan_out`, `moves`, `apply`, `loss` | events: from topic to channels, from segment to segment, from the log, to nowhere | pure |
//! | `snapshot`, `open` | the state as a checkpoint's bytes; a start | |
//! | `commits` | who waits for which sync | pure |
//! | `core` | state and journal together, and what happens when the disk fails | |
//! | `publish`, `admin`, `deliver`, `unread`, `report`, `import` | what clients ask for | |
//! | `ids` | message ids, reserved ahead | |
//! | `driver`, `checkpoint`, `rewrite`, `elsewhere`, `clock` | what happens by itself | |
//!
//! # Rejected
//! - A log for each topic: as many syncs as topics have publishers.
//! - Logging deliveries: a restart would not have to work out what was out, and every delivery would be a write.
//! - Counting messages instead of naming positions in records: smaller, and one lost record shifts all others.

mod admin;
mod apply;
mod backlog;
mod bitmap;
mod channel;
mod checkpoint;
mod clock;
mod commits;
mod core;
mod deliver;
mod driver;
mod elsewhere;
mod error;
mod fan_out;
mod fifo;
mod held;
mod ids;
mod import;
mod index;
mod loss;
mod moves;
mod open;
mod publish;
mod record;
mod report;
mod rewrite;
mod settle;
mod slot;
mod snapshot;
mod state;
mod stats;
mod topic;
mod unread;
mod varint;
mod view;

#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::fmt;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use wire::{ChannelName, MessageHead, MessageId, TopicName};

use self::core::Shared;
use crate::client::Client;
use crate::settings::Settings;

pub use error::{AdminError, Bound, CloseError, OpenError, Refused, SettleError, SubscribeError};
pub use import::ImportedMessage;
pub use stats::{Change, ChannelStats, QueueCounters, Recovery, TopicStats};

/// What must become durable before something is acknowledged: see [`Queue::committed`]. Commits are granted in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Commit(u64);

/// Changes of topics and channels, in order. Ends with the queue.
pub type Changes = tokio::sync::mpsc::UnboundedReceiver<Change>;

/// A message handed to a consumer. It is in flight from now on.
#[derive(Debug, Clone)]
pub struct Handed {
    /// Timestamp, attempts (this one included) and id.
    pub head: MessageHead,
    /// The message.
    pub body: Bytes,
}

/// The queue. Cloning shares it; it never leaves its thread.
#[derive(Clone)]
pub struct Queue(Shared);

impl fmt::Debug for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Queue")
    }
}

impl Queue {
    /// Opens the journal in [`Settings::data_path`] and brings back what it holds.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(
        fs: Arc<dyn journal::FileSystem>,
        settings: &Settings,
    ) -> Result<(Self, Recovery), OpenError> {
        let (core, recovery) = open::open(fs, settings)?;
        Ok((Self(Rc::new(RefCell::new(core))), recovery))
    }

    /// The driver: group commits, timeouts, deferred messages, checkpoints, rewriting, retiring. One local task, for
    /// the queue's life; ends after [`close`](Self::close). Nothing is ever granted without it.
    pub async fn run(self) {
        driver::Driver::new(self.0).run().await;
    }

    /// From now on every publish, creation and deletion is refused as [`Refused::Exiting`]; settling goes on.
    pub fn refuse_publishes(&self) {
        self.0.borrow_mut().exiting = true;
    }

    /// Waits for the last group commit, writes a last checkpoint, and ends [`run`](Self::run). Whoever is subscribed
    /// is told that the channel is closed.
    ///
    /// # Errors
    /// When the last sync failed.
    pub async fn close(&self) -> Result<(), CloseError> {
        let end = {
            let mut core = self.0.borrow_mut();
            core.exiting = true;
            core.stopping = true;
            core.driver.notify_one();
            core.end.clone()
        };
        loop {
            let ended = end.notified();
            if let Some(closed) = self.0.borrow().closed.clone() {
                return closed;
            }
            ended.await;
        }
    }

    /// Appends messages to a topic, which is created if it lacks. All or nothing. With a `defer` above zero the
    /// delay of each begins at its fan-out.
    ///
    /// Acknowledge only once the commit is granted.
    ///
    /// # Errors
    /// When a bound is met or the journal does not take it; nothing of it is kept then.
    pub fn publish(&self, topic: &TopicName, bodies: &[Bytes], defer: Duration) -> Result<Commit, Refused> {
        self.0.borrow_mut().publish(topic, bodies, defer)
    }

    /// Appends messages of another queue, their timestamps and attempts kept: to one channel alone, or, without one, to
    /// the topic, from where every channel gets them. Before anybody subscribes.
    ///
    /// # Errors
    /// When topic or channel lack, a bound is met, or the journal does not take it.
    pub fn import(
        &self,
        topic: &TopicName,
        channel: Option<&ChannelName>,
        messages: &[ImportedMessage],
    ) -> Result<Commit, AdminError> {
        self.0.borrow_mut().import(topic, channel, messages)
    }

    /// Whether a commit was granted, asking for a wake when it is not known yet.
    pub fn poll_committed(&self, commit: Commit, cx: &mut Context<'_>) -> Poll<Result<(), Refused>> {
        self.0.borrow_mut().commits.poll(commit, cx)
    }

    /// Waits until it was.
    ///
    /// # Errors
    /// [`Refused::NotStored`] when its sync failed.
    pub async fn committed(&self, commit: Commit) -> Result<(), Refused> {
        poll_fn(|cx| self.poll_committed(commit, cx)).await
    }

    /// Creates a topic, if it lacks.
    ///
    /// # Errors
    /// When there are too many, or the journal does not take it.
    pub fn create_topic(&self, topic: &TopicName) -> Result<Commit, AdminError> {
        self.0.borrow_mut().create_topic(topic)
    }

    /// Deletes a topic with everything in it. Who is subscribed is told that the channel is closed.
    ///
    /// # Errors
    /// When there is none, or the journal does not take it.
    pub fn delete_topic(&self, topic: &TopicName) -> Result<Commit, AdminError> {
        self.0.borrow_mut().delete_topic(topic)
    }

    /// Drops what no channel has been given yet, as nsqd does; the channels keep theirs.
    ///
    /// # Errors
    /// As [`delete_topic`](Self::delete_topic).
    pub fn empty_topic(&self, topic: &TopicName) -> Result<Commit, AdminError> {
        self.0.borrow_mut().empty_topic(topic)
    }

    /// Stops or resumes handing the topic's messages to its channels.
    ///
    /// # Errors
    /// As [`delete_topic`](Self::delete_topic).
    pub fn pause_topic(&self, topic: &TopicName, paused: bool) -> Result<Commit, AdminError> {
        self.0.borrow_mut().pause_topic(topic, paused)
    }

    /// Creates a channel, if it lacks. The first one of a topic gets what the topic holds.
    ///
    /// # Errors
    /// When the topic lacks, there are too many, or the journal does not take it.
    pub fn create_channel(&self, topic: &TopicName, channel: &ChannelName) -> Result<Commit, AdminError> {
        self.0.borrow_mut().create_channel(topic, channel)
    }

    /// Deletes a channel with everything in it. Who is subscribed is told that it is closed.
    ///
    /// # Errors
    /// When topic or channel lack, or the journal does not take it.
    pub fn delete_channel(&self, topic: &TopicName, channel: &ChannelName) -> Result<Commit, AdminError> {
        self.0.borrow_mut().delete_channel(topic, channel)
    }

    /// Drops everything in a channel: ready, in flight (a FIN fails then) and deferred.
    ///
    /// # Errors
    /// As [`delete_channel`](Self::delete_channel).
    pub fn empty_channel(&self, topic: &TopicName, channel: &ChannelName) -> Result<Commit, AdminError> {
        self.0.borrow_mut().empty_channel(topic, channel)
    }

    /// Stops or resumes handing a channel's messages to its consumers.
    ///
    /// # Errors
    /// As [`delete_channel`](Self::delete_channel).
    pub fn pause_channel(
        &self,
        topic: &TopicName,
        channel: &ChannelName,
        paused: bool,
    ) -> Result<Commit, AdminError> {
        self.0.borrow_mut().pause_channel(topic, channel, paused)
    }

    /// Lets a topic made while [`Settings::hold_new_topics`] was set fan out: nsqlookupd's channels are there now.
    /// Without such a topic nothing happens.
    pub fn open_gate(&self, topic: &TopicName) {
        // A topic that was deleted meanwhile has no gate.
        self.0.borrow_mut().open_gate(topic).ok();
    }

    /// From now on new topics have a gate, or none, whatever [`Settings::hold_new_topics`] says: nsqlookupds may come and go
    /// while the broker runs.
    pub fn set_hold_new_topics(&self, hold: bool) {
        self.0.borrow_mut().settings.hold_new_topics = hold;
    }

    /// Topics whose gate is closed: after a start, those whose gate a crash kept from being opened.
    pub fn gated_topics(&self) -> Vec<TopicName> {
        self.0.borrow().gated_topics()
    }

    /// Subscribes `client`, creating topic and channel if they lack.
    ///
    /// # Errors
    /// When the channel has its consumers, or something could not be created.
    pub fn subscribe(
        &self,
        topic: &TopicName,
        channel: &ChannelName,
        client: Rc<Client>,
    ) -> Result<Subscription, SubscribeError> {
        let (channel, number) = self.0.borrow_mut().subscribe(topic, channel, client.clone())?;
        Ok(Subscription { core: self.0.clone(), channel, number, client })
    }

    /// Makes the queue acknowledge before it syncs, so that a test can show that it would find out.
    #[cfg(any(test, feature = "flaws"))]
    pub fn set_flawed(&self, flawed: bool) {
        self.0.borrow_mut().grants_before_sync = flawed;
    }

    /// All topics, by name.
    pub fn topics(&self) -> Vec<TopicName> {
        self.0.borrow().topics()
    }

    /// A topic's channels, by name.
    pub fn channels(&self, topic: &TopicName) -> Option<Vec<ChannelName>> {
        self.0.borrow().channels(topic)
    }

    /// nsqd's numbers, topics and channels by name; of one topic or channel when they are given.
    pub fn stats(&self, topic: Option<&str>, channel: Option<&str>) -> Vec<TopicStats> {
        self.0.borrow().stats(topic, channel)
    }

    /// What the queue holds and has done.
    pub fn counters(&self) -> QueueCounters {
        self.0.borrow().counters()
    }

    /// Whether it takes publishes; else why not, for `/ping`'s `NOK - ...`.
    ///
    /// # Errors
    /// The reason, for people.
    pub fn health(&self) -> Result<(), String> {
        self.0.borrow().health()
    }

    /// Topics and channels as they come and go, from now on.
    pub fn changes(&self) -> Changes {
        #[expect(
            clippy::disallowed_methods,
            reason = "an entry for each change of topics and channels, which are bounded; one that is dropped would never be registered"
        )]
        let (sender, changes) = tokio::sync::mpsc::unbounded_channel();
        self.0.borrow_mut().changes.push(sender);
        changes
    }
}

/// A consumer of one channel. Dropped, everything in flight to it is requeued at once, and an `#ephemeral` channel
/// goes with its last one.
#[must_use = "dropped, it is over"]
pub struct Subscription {
    core: Shared,
    channel: u32,
    number: u64,
    client: Rc<Client>,
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription").field("number", &self.number).finish()
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.core.borrow_mut().unsubscribe(self.channel, self.number);
    }
}

impl Subscription {
    /// RDY: how many messages may be in flight to it. Ignored after [`start_closing`](Self::start_closing).
    pub fn set_ready(&mut self, count: u32) {
        self.client.ready_count.set(count);
        self.consumer(|consumer| {
            if !consumer.closing {
                consumer.ready = count;
            }
        });
    }

    /// The next message. Pending while as many are in flight as may be, the channel is paused, or nothing durable
    /// waits; `None`: the channel is gone, close the connection.
    ///
    /// A caller that takes many in a row must yield now and then: this never makes it.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Handed>> {
        self.core.borrow_mut().poll_next(self.channel, self.number, cx)
    }

    /// FIN.
    ///
    /// # Errors
    /// When it is not in flight to this client.
    pub fn finish(&mut self, id: MessageId) -> Result<(), SettleError> {
        self.core.borrow_mut().finish(self.channel, self.number, id)
    }

    /// REQ. A delay above [`Settings::max_req_timeout`] is cut to it; zero: ready at once, behind the others.
    ///
    /// # Errors
    /// When it is not in flight to this client.
    pub fn requeue(&mut self, id: MessageId, delay: Duration) -> Result<(), SettleError> {
        self.core.borrow_mut().requeue(self.channel, self.number, id, delay)
    }

    /// TOUCH: the client's timeout begins again, never past [`Settings::max_msg_timeout`] from the delivery.
    ///
    /// # Errors
    /// When it is not in flight to this client.
    pub fn touch(&mut self, id: MessageId) -> Result<(), SettleError> {
        self.core.borrow_mut().touch(self.channel, self.number, id)
    }

    /// CLS: nothing more is handed out; settling goes on.
    pub fn start_closing(&mut self) {
        self.client.ready_count.set(0);
        self.consumer(|consumer| {
            consumer.closing = true;
            consumer.ready = 0;
        });
    }

    fn consumer(&self, change: impl FnOnce(&mut channel::Consumer)) {
        let mut core = self.core.borrow_mut();
        let channel = core.state.channels.get_mut(&self.channel);
        if let Some(consumer) = channel.and_then(|channel| channel.consumers.get_mut(&self.number)) {
            change(consumer);
        }
    }
}
