//! `/stats?format=json`.

use serde::Serialize;

use super::super::{Api, go};
use super::Shown;
use super::client::{self, ClientJson};
use super::memory::Memory;
use crate::queue::{ChannelStats, TopicStats};
use crate::settings::NSQD_VERSION;

#[derive(Serialize)]
struct Stats<'a> {
    version: &'static str,
    health: &'a str,
    start_time: i64,
    topics: Option<Vec<Topic<'a>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    memory: Option<&'a Memory>,
    /// `null` where there are none.
    producers: Option<Vec<ClientJson>>,
}

#[derive(Serialize)]
struct Topic<'a> {
    topic_name: &'a str,
    channels: Vec<Channel<'a>>,
    depth: u64,
    backend_depth: u64,
    message_count: u64,
    message_bytes: u64,
    paused: bool,
    e2e_processing_latency: Latency,
}

#[derive(Serialize)]
struct Channel<'a> {
    channel_name: &'a str,
    depth: u64,
    backend_depth: u64,
    in_flight_count: u64,
    deferred_count: u64,
    message_count: u64,
    requeue_count: u64,
    timeout_count: u64,
    client_count: usize,
    /// `null` where they were not asked for.
    clients: Option<Vec<ClientJson>>,
    paused: bool,
    e2e_processing_latency: Latency,
}

/// As nsqd has it without `--e2e-processing-latency-percentile`.
#[derive(Default, Serialize)]
struct Latency {
    count: u64,
    percentiles: Option<Vec<()>>,
}

pub(super) fn render(api: &Api, shown: &Shown) -> Vec<u8> {
    let topic = shown.topic.as_deref();
    let topics = shown.topics.as_ref();
    let producers: Vec<ClientJson> =
        shown.producers.iter().map(|producer| client::json(producer, topic)).collect();
    go::json(&Stats {
        version: NSQD_VERSION,
        health: &shown.health,
        start_time: go::unix(api.started),
        topics: topics.map(|topics| topics.iter().map(|stats| topic_json(stats, shown)).collect()),
        memory: shown.memory.as_ref(),
        producers: Some(producers).filter(|producers| !producers.is_empty()),
    })
}

fn topic_json<'a>(topic: &'a TopicStats, shown: &Shown) -> Topic<'a> {
    Topic {
        topic_name: topic.topic_name.as_str(),
        channels: topic.channels.iter().map(|channel| channel_json(channel, shown)).collect(),
        depth: topic.depth,
        backend_depth: topic.backend_depth,
        message_count: topic.message_count,
        message_bytes: topic.message_bytes,
        paused: topic.paused,
        e2e_processing_latency: Latency::default(),
    }
}

fn channel_json<'a>(channel: &'a ChannelStats, shown: &Shown) -> Channel<'a> {
    let clients = || channel.clients.iter().map(|one| client::json(one, shown.topic.as_deref())).collect();
    Channel {
        channel_name: channel.channel_name.as_str(),
        depth: channel.depth,
        backend_depth: channel.backend_depth,
        in_flight_count: channel.in_flight_count,
        deferred_count: channel.deferred_count,
        message_count: channel.message_count,
        requeue_count: channel.requeue_count,
        timeout_count: channel.timeout_count,
        client_count: channel.clients.len(),
        clients: shown.clients.then(clients),
        paused: channel.paused,
        e2e_processing_latency: Latency::default(),
    }
}
