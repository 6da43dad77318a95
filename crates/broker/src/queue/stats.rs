//! What `/stats` says of topics and channels: nsqd's numbers, under nsqd's names.

use std::rc::Rc;

use wire::{ChannelName, TopicName};

use crate::client::Client;

/// A topic's numbers.
#[derive(Debug, Clone)]
pub struct TopicStats {
    /// Its name.
    pub topic_name: TopicName,
    /// Its channels, by name.
    pub channels: Vec<ChannelStats>,
    /// Messages that no channel has been given yet.
    pub depth: u64,
    /// Those of `depth` that are on disk: all, and none of an `#ephemeral` topic's.
    pub backend_depth: u64,
    /// Messages published since the broker started.
    pub message_count: u64,
    /// Bytes of their bodies.
    pub message_bytes: u64,
    /// Whether it hands out nothing.
    pub paused: bool,
}

/// A channel's numbers.
#[derive(Debug, Clone)]
pub struct ChannelStats {
    /// Its name.
    pub channel_name: ChannelName,
    /// Messages that wait for a consumer, neither in flight nor deferred.
    pub depth: u64,
    /// Those of `depth` that are on disk: all, and none of an `#ephemeral` channel's.
    pub backend_depth: u64,
    /// Messages at consumers.
    pub in_flight_count: u64,
    /// Messages that wait for their time.
    pub deferred_count: u64,
    /// Messages that the channel was given since the broker started.
    pub message_count: u64,
    /// REQs since then.
    pub requeue_count: u64,
    /// Timeouts since then.
    pub timeout_count: u64,
    /// Who is subscribed, in the order of their SUBs.
    pub clients: Vec<Rc<Client>>,
    /// Whether it hands out nothing.
    pub paused: bool,
}

/// What the queue holds and does besides: nothing of nsqd's, for `/metrics` and logs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct QueueCounters {
    /// Messages that some channel, or a topic, still waits for.
    pub messages: u64,
    /// Bytes of their records.
    pub bytes: u64,
    /// Group commits that ended well.
    pub commits: u64,
    /// Group commits whose sync failed.
    pub commits_failed: u64,
    /// Checkpoints written.
    pub checkpoints: u64,
    /// Segments given back to the disk.
    pub segments_retired: u64,
    /// Messages appended afresh so that a segment could be given back.
    pub messages_moved: u64,
    /// Messages that could not be read from the disk, and were given up.
    pub messages_damaged: u64,
}

/// What a start found.
#[derive(Debug, Clone)]
pub struct Recovery {
    /// What the journal found: records, and what was cut or quarantined.
    pub journal: journal::Recovery,
    /// Topics.
    pub topics: usize,
    /// Channels.
    pub channels: usize,
    /// Messages that some channel, or a topic, still waits for.
    pub messages: u64,
    /// Records that spoke of a record that is gone, or made no sense: skipped.
    pub skipped: u64,
}

impl Recovery {
    /// Tells the log: what was lost or may be, with where its copies are, or that all is well.
    pub(super) fn tell(&self) {
        let Self { topics, channels, messages, skipped, .. } = *self;
        let journal = &self.journal;
        let set_aside = journal.set_aside.join(", ");
        if !journal.is_clean() {
            tracing::error!(
                quarantined = journal.quarantined,
                quarantined_bytes = journal.quarantined_bytes,
                unreadable_segments = journal.unreadable_segments,
                unreadable_bytes = journal.unreadable_bytes,
                damaged_checkpoints = journal.damaged_checkpoints,
                set_aside,
                "the log is damaged: what could be read is served, the rest is set aside"
            );
        } else if !set_aside.is_empty() || journal.cut_bytes > 0 {
            // A power cut leaves that; what was acknowledged is before it.
            let bytes = journal.cut_bytes;
            tracing::warn!(bytes, set_aside, "the log ended in what is no record; it was set aside and cut");
        }
        let (segments, records) = (journal.segments, journal.records);
        tracing::info!(topics, channels, messages, segments, records, skipped, "the log was read");
    }
}

/// A topic or channel came or went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A topic was created; with [`hold_new_topics`](crate::Settings::hold_new_topics) its gate waits to be opened.
    TopicCreated(TopicName),
    /// A topic was deleted, with its channels.
    TopicDeleted(TopicName),
    /// A channel was created.
    ChannelCreated(TopicName, ChannelName),
    /// A channel was deleted.
    ChannelDeleted(TopicName, ChannelName),
}
