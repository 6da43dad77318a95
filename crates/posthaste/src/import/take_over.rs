//! From nsqd's files to the queue's log.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::Path;

use anyhow::Context;
use broker::Queue;
use broker::queue::ImportedMessage;
use pipeline::client::{ChannelName, TopicName};

use super::diskqueue::{self, DiskQueue};
use super::metadata;
use crate::figures::{bytes, counted};

/// Bodies that are appended before their sync is waited for.
const BATCH_BYTES: usize = 4 << 20;
const BATCH_MESSAGES: usize = 10_000;

/// What was taken over.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Imported {
    pub(crate) topics: u64,
    pub(crate) channels: u64,
    /// A message that waited in several channels counts for each.
    pub(crate) messages: u64,
    /// Bytes of nsqd's files that are no messages.
    pub(crate) damaged_bytes: u64,
}

impl fmt::Display for Imported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Imported { topics, channels, messages, damaged_bytes } = *self;
        write!(
            f,
            "taken over from nsqd: {}, {}, {}",
            counted(topics, "topic"),
            counted(channels, "channel"),
            counted(messages, "message")
        )?;
        if damaged_bytes > 0 {
            write!(f, "; {} of its files could not be read as messages", bytes(damaged_bytes))?;
        }
        Ok(())
    }
}

/// A topic as nsqd's list and its files have it.
#[derive(Debug, Default)]
pub(super) struct Topic {
    paused: bool,
    /// By name, and whether it is paused.
    pub(super) channels: BTreeMap<ChannelName, bool>,
}

/// Takes over everything that these topics have in `folder`.
pub(super) async fn take_over(
    queue: &Queue,
    folder: &Path,
    topics: &BTreeMap<TopicName, Topic>,
) -> anyhow::Result<Imported> {
    let mut imported = Imported::default();
    for (name, topic) in topics {
        imported.topics += 1;
        imported.channels += topic.channels.len() as u64;
        one(queue, folder, name, topic, &mut imported).await.with_context(|| format!("topic {name}"))?;
    }
    Ok(imported)
}

/// Those of the list and those that have files: nsqd would forget the latter, we take what is there.
pub(super) fn topics(folder: &Path, files: &[String]) -> anyhow::Result<BTreeMap<TopicName, Topic>> {
    let mut topics: BTreeMap<TopicName, Topic> = BTreeMap::new();
    let list = metadata::read(folder).with_context(|| format!("{} cannot be read", metadata::FILE))?;
    for listed in list.topics {
        // nsqd skips names that it would not take, too.
        let Ok(name) = TopicName::new(&listed.name) else { continue };
        let topic = topics.entry(name).or_default();
        topic.paused = listed.paused;
        for channel in listed.channels.unwrap_or_default() {
            if let Ok(name) = ChannelName::new(&channel.name) {
                topic.channels.insert(name, channel.paused);
            }
        }
    }
    for file in files {
        let queue = diskqueue::numbered_file(file).map(|(queue, _)| queue);
        let Some(queue) = queue.or_else(|| diskqueue::meta_file(file)) else { continue };
        let (topic, channel) =
            queue.split_once(':').map_or((queue, None), |(topic, channel)| (topic, Some(channel)));
        let Ok(topic) = TopicName::new(topic) else { continue };
        let topic = topics.entry(topic).or_default();
        if let Some(Ok(channel)) = channel.map(ChannelName::new) {
            topic.channels.entry(channel).or_default();
        }
    }
    Ok(topics)
}

async fn one(
    queue: &Queue,
    folder: &Path,
    name: &TopicName,
    topic: &Topic,
    imported: &mut Imported,
) -> anyhow::Result<()> {
    queue.create_topic(name)?;
    if topic.paused {
        queue.pause_topic(name, true)?;
    }
    for (channel, paused) in &topic.channels {
        queue.create_channel(name, channel)?;
        if *paused {
            queue.pause_channel(name, channel, true)?;
        }
        let mut files = open(folder, &format!("{name}:{channel}"))?;
        copy(queue, name, Some(channel), &mut files, imported).await?;
    }
    let mut files = open(folder, name.as_str())?;
    copy(queue, name, None, &mut files, imported).await
}

pub(super) fn open(folder: &Path, queue: &str) -> anyhow::Result<DiskQueue> {
    DiskQueue::open(folder, queue).with_context(|| format!("the files of {queue} cannot be read"))
}

/// Appends every message of `files` to the channel, or, without one, to the topic, from where every channel gets it.
async fn copy(
    queue: &Queue,
    topic: &TopicName,
    channel: Option<&ChannelName>,
    files: &mut DiskQueue,
    imported: &mut Imported,
) -> anyhow::Result<()> {
    loop {
        let batch = batch(files)?;
        if batch.is_empty() {
            imported.damaged_bytes += files.damaged_bytes();
            return Ok(());
        }
        imported.messages += batch.len() as u64;
        let commit = queue.import(topic, channel, &batch)?;
        queue.committed(commit).await?;
    }
}

fn batch(files: &mut DiskQueue) -> io::Result<Vec<ImportedMessage>> {
    let (mut batch, mut bytes) = (Vec::new(), 0);
    while bytes < BATCH_BYTES && batch.len() < BATCH_MESSAGES {
        let Some(stored) = files.next()? else { break };
        bytes += stored.body.len();
        batch.push(ImportedMessage {
            timestamp_ns: u64::try_from(stored.timestamp).unwrap_or_default(),
            attempts: stored.attempts,
            body: stored.body,
        });
    }
    Ok(batch)
}
