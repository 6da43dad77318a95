//! `/stats` for people.

use std::fmt::Write as _;
use std::time::SystemTime;

use super::super::{Api, go};
use super::Shown;
use super::client;
use super::memory::Memory;
use crate::queue::{ChannelStats, TopicStats};
use crate::settings::NSQD_VERSION;

pub(super) fn render(api: &Api, shown: &Shown) -> String {
    let mut page = format!(
        "nsqd v{NSQD_VERSION} (posthaste v{})\nstart_time {}\nuptime {}\n\nHealth: {}\n",
        env!("CARGO_PKG_VERSION"),
        go::rfc3339(go::unix(api.started)),
        go::duration(api.started_at.elapsed()),
        shown.health,
    );
    write(&mut page, shown).expect("a String takes everything");
    page
}

fn write(page: &mut String, shown: &Shown) -> std::fmt::Result {
    if let Some(memory) = &shown.memory {
        write_memory(page, memory)?;
    }
    match shown.topics.as_deref() {
        None | Some([]) => page.push_str("\nTopics: None\n"),
        Some(_) => page.push_str("\nTopics:"),
    }
    let now = SystemTime::now();
    for topic in shown.topics.iter().flatten() {
        write_topic(page, topic)?;
        for channel in &topic.channels {
            write_channel(page, channel)?;
            for one in channel.clients.iter().filter(|_| shown.clients) {
                writeln!(page, "        {}", client::line(one, shown.topic.as_deref(), now))?;
            }
        }
    }
    if shown.producers.is_empty() {
        page.push_str("\nProducers: None\n");
        return Ok(());
    }
    page.push_str("\nProducers:\n");
    for producer in &shown.producers {
        writeln!(page, "   {}", client::line(producer, shown.topic.as_deref(), now))?;
    }
    Ok(())
}

fn write_memory(page: &mut String, memory: &Memory) -> std::fmt::Result {
    page.push_str("\nMemory:\n");
    for (name, value) in [
        ("heap_objects", memory.heap_objects),
        ("heap_idle_bytes", memory.heap_idle_bytes),
        ("heap_in_use_bytes", memory.heap_in_use_bytes),
        ("heap_released_bytes", memory.heap_released_bytes),
        ("gc_pause_usec_100", memory.gc_pause_usec_100),
        ("gc_pause_usec_99", memory.gc_pause_usec_99),
        ("gc_pause_usec_95", memory.gc_pause_usec_95),
        ("next_gc_bytes", memory.next_gc_bytes),
        ("gc_total_runs", u64::from(memory.gc_total_runs)),
    ] {
        writeln!(page, "   {name:<25}\t{value}")?;
    }
    Ok(())
}

fn write_topic(page: &mut String, topic: &TopicStats) -> std::fmt::Result {
    writeln!(
        page,
        "\n{}[{:<15}] depth: {:<5} be-depth: {:<5} msgs: {:<8} e2e%: ",
        if topic.paused { "*P " } else { "   " },
        topic.topic_name,
        topic.depth,
        topic.backend_depth,
        topic.message_count,
    )
}

fn write_channel(page: &mut String, channel: &ChannelStats) -> std::fmt::Result {
    writeln!(
        page,
        "{}[{:<25}] depth: {:<5} be-depth: {:<5} inflt: {:<4} def: {:<4} re-q: {:<5} timeout: {:<5} msgs: {:<8} e2e%: ",
        if channel.paused { "   *P " } else { "      " },
        channel.channel_name,
        channel.depth,
        channel.backend_depth,
        channel.in_flight_count,
        channel.deferred_count,
        channel.requeue_count,
        channel.timeout_count,
        channel.message_count,
    )
}
