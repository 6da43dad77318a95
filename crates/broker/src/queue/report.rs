//! What the queue says of itself.

use wire::{ChannelName, TopicName};

use super::channel::Channel;
use super::core::Core;
use super::stats::{ChannelStats, QueueCounters, TopicStats};
use super::topic::Topic;

impl Core {
    pub(super) fn stats(&self, topic: Option<&str>, channel: Option<&str>) -> Vec<TopicStats> {
        let topics = self.state.names.iter().filter(|(name, _)| topic.is_none_or(|it| it == name.as_str()));
        let topics = topics.filter_map(|(_, number)| self.state.topics.get(number));
        topics.map(|topic| self.topic_stats(topic, channel)).collect()
    }

    fn topic_stats(&self, topic: &Topic, channel: Option<&str>) -> TopicStats {
        let channels = topic.channels.iter().filter_map(|number| self.state.channels.get(number));
        let channels = channels.filter(|it| channel.is_none_or(|name| name == it.name.as_str()));
        let mut channels: Vec<ChannelStats> = channels.map(|it| self.channel_stats(it)).collect();
        channels.sort_by(|a, b| a.channel_name.cmp(&b.channel_name));
        TopicStats {
            topic_name: topic.name.clone(),
            channels,
            depth: topic.depth(),
            backend_depth: topic.index.waiting,
            message_count: topic.published,
            message_bytes: topic.published_bytes,
            paused: topic.paused,
        }
    }

    fn channel_stats(&self, channel: &Channel) -> ChannelStats {
        let (depth, deferred_count) = channel.depth(self.clock.now_ms());
        ChannelStats {
            channel_name: channel.name.clone(),
            depth,
            backend_depth: if channel.is_memory() { 0 } else { depth },
            in_flight_count: channel.in_flight.len() as u64,
            deferred_count,
            message_count: channel.counts.messages,
            requeue_count: channel.counts.requeues,
            timeout_count: channel.counts.timeouts,
            clients: channel.consumers.values().map(|consumer| consumer.client.clone()).collect(),
            paused: channel.paused,
        }
    }

    pub(super) fn topics(&self) -> Vec<TopicName> {
        self.state.names.keys().cloned().collect()
    }

    pub(super) fn channels(&self, topic: &TopicName) -> Option<Vec<ChannelName>> {
        let numbers = self.state.topic(topic)?.channels.iter();
        let mut names: Vec<ChannelName> =
            numbers.filter_map(|number| Some(self.state.channels.get(number)?.name.clone())).collect();
        names.sort();
        Some(names)
    }

    pub(super) fn gated_topics(&self) -> Vec<TopicName> {
        self.state.topics.values().filter(|topic| topic.held).map(|topic| topic.name.clone()).collect()
    }

    pub(super) fn counters(&self) -> QueueCounters {
        QueueCounters { messages: self.state.live, bytes: self.state.bytes, ..self.counters }
    }

    pub(super) fn health(&self) -> Result<(), String> {
        if let Some(reason) = &self.doubt {
            return Err(reason.clone());
        }
        if self.room.full {
            let (free, reserve) = (self.room.free, self.room.reserve);
            return Err(format!("the disk is full: {free} bytes free, {reserve} kept in reserve"));
        }
        self.journal.health()
    }
}
