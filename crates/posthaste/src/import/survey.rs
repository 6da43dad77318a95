//! What nsqd has left, counted before any of it is taken over: what does not fit is refused whole. Else its first part would be copied, and taken over
//! once more by the next try.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use anyhow::{Context, bail};
use broker::queue::QueueCounters;
use broker::{FileSystem, Settings};
use pipeline::client::TopicName;

use super::diskqueue::DiskQueue;
use super::take_over::{Topic, open};
use crate::figures::{bytes, count, counted};

/// Messages and the bytes of their bodies.
#[derive(Debug, Clone, Copy, Default)]
struct Held {
    messages: u64,
    bytes: u64,
}

/// All of it.
#[derive(Debug, Default)]
pub(super) struct Survey {
    total: Held,
    /// The topic with the most messages, that with the most bytes, and that with the most channels.
    most_messages: (u64, String),
    most_bytes: (u64, String),
    most_channels: (u64, String),
    topics: u64,
    /// The largest body, and the queue that it waits in.
    largest: (u64, String),
}

impl Survey {
    /// Counts what these topics have in `folder`.
    pub(super) fn of(folder: &Path, topics: &BTreeMap<TopicName, Topic>) -> anyhow::Result<Survey> {
        let mut survey = Survey { topics: topics.len() as u64, ..Survey::default() };
        for (name, topic) in topics {
            let mut held = Held::default();
            let channels = topic.channels.keys().map(|channel| format!("{name}:{channel}"));
            for queue in channels.chain([name.to_string()]) {
                let mut files = open(folder, &queue)?;
                let counted = survey.count(&queue, &mut files, &mut held);
                counted.with_context(|| format!("the files of {queue} cannot be read"))?;
            }
            keep_most(&mut survey.most_channels, topic.channels.len() as u64, name.as_str());
            // It lives in memory, and is bounded by dropping.
            if !name.is_ephemeral() {
                keep_most(&mut survey.most_messages, held.messages, name.as_str());
                keep_most(&mut survey.most_bytes, held.bytes, name.as_str());
                survey.total.messages += held.messages;
                survey.total.bytes += held.bytes;
            }
        }
        Ok(survey)
    }

    fn count(&mut self, queue: &str, files: &mut DiskQueue, held: &mut Held) -> io::Result<()> {
        while let Some(stored) = files.next()? {
            let bytes = stored.body.len() as u64;
            keep_most(&mut self.largest, bytes, queue);
            held.messages += 1;
            held.bytes += bytes;
        }
        Ok(())
    }

    /// Whether all of it fits beside what the queue holds already.
    pub(super) fn check(
        &self,
        settings: &Settings,
        already: &QueueCounters,
        disk: &dyn FileSystem,
    ) -> anyhow::Result<()> {
        let (most_messages, most_bytes) = (&self.most_messages, &self.most_bytes);
        let (messages, bytes_in_all) =
            (self.total.messages + already.messages, self.total.bytes + already.bytes);
        let mut misfits = Vec::new();
        let mut hold = |number: u64, limit: u64, flag: &str, what: String| {
            if number > limit {
                misfits.push(format!("{what}, and {flag} is {}", count(limit)));
            }
        };
        let beside = if already.messages > 0 { " with what is here already" } else { "" };
        hold(
            messages,
            settings.messages_max,
            "--messages-max",
            format!("they are {}{beside}", count(messages)),
        );
        hold(
            bytes_in_all,
            settings.bytes_max,
            "--bytes-max",
            format!("they have {} bytes{beside}", count(bytes_in_all)),
        );
        let what = format!("{} of them are of topic {}", count(most_messages.0), most_messages.1);
        hold(most_messages.0, settings.topic_messages_max, "--topic-messages-max", what);
        let what = format!("those of topic {} have {} bytes", most_bytes.1, count(most_bytes.0));
        hold(most_bytes.0, settings.topic_bytes_max, "--topic-bytes-max", what);
        let what = format!("one in {} has {} bytes", self.largest.1, count(self.largest.0));
        hold(self.largest.0, settings.max_msg_size, "--max-msg-size", what);
        let what = format!("there are {} topics", count(self.topics));
        hold(self.topics, settings.topics_max.into(), "--topics-max", what);
        let what = format!("topic {} has {} channels", self.most_channels.1, count(self.most_channels.0));
        hold(self.most_channels.0, settings.topic_channels_max.into(), "--topic-channels-max", what);
        let space = disk.space(&settings.data_path)?;
        let room = space.free.saturating_sub(settings.disk_reserve_bytes.min(space.total / 8));
        if self.total.bytes > room {
            misfits.push(format!("the disk has room for {} besides its reserve", bytes(room)));
        }
        if misfits.is_empty() {
            return Ok(());
        }
        bail!(
            "nsqd's {} of {} do not fit, and none was taken over: {}",
            counted(self.total.messages, "message"),
            bytes(self.total.bytes),
            misfits.join("; ")
        )
    }
}

fn keep_most(most: &mut (u64, String), number: u64, of: &str) {
    if number > most.0 {
        *most = (number, of.to_owned());
    }
}
