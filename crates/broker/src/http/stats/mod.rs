//! `/stats`: everything that nsqd's has, under the same names in the same order, as JSON ([`json`]) and as text ([`text`]).
//!
//! What has no meaning here is there all the same, since tools read it: the percentiles of a latency that nobody measures are none, and of Go's
//! heap only what this process holds is filled in.

mod client;
mod json;
mod memory;
mod text;

use std::rc::Rc;

use hyper::Uri;

use super::Api;
use super::answer::{Rejected, Said};
use super::query::Query;
use crate::client::Client;
use crate::queue::TopicStats;
use memory::Memory;

/// What one request asked to see.
struct Shown {
    health: String,
    /// `None` where one topic was asked for that does not exist.
    topics: Option<Vec<TopicStats>>,
    /// Only its publishes are told.
    topic: Option<String>,
    memory: Option<Memory>,
    clients: bool,
    producers: Vec<Rc<Client>>,
}

impl Api {
    /// `GET /stats?format=json|text&topic=...&channel=...&include_clients=...&include_mem=...`
    pub(super) fn stats(&self, uri: &Uri) -> Result<Said, Rejected> {
        let query = Query::parse(uri.query())?;
        let one = |name| query.get(name).filter(|text| !text.is_empty());
        let (topic, channel) = (one("topic"), one("channel"));
        let clients = query.flag("include_clients", true);
        let topics = self.topics(topic, channel);
        // Of a topic that is not there nsqd shows nobody.
        let producers = clients && topics.is_some();
        let shown = Shown {
            health: self.health(),
            topics,
            topic: topic.map(str::to_owned),
            memory: query.flag("include_mem", true).then(memory::now),
            clients,
            producers: if producers { self.broker.clients.producers() } else { Vec::new() },
        };
        Ok(match query.get("format") {
            Some("json") => Said::Json(json::render(self, &shown)),
            _ => Said::Text(text::render(self, &shown)),
        })
    }

    fn topics(&self, topic: Option<&str>, channel: Option<&str>) -> Option<Vec<TopicStats>> {
        let queue = &self.broker.queue;
        let mut topics = queue.stats(topic, channel);
        if topics.is_empty() && topic.is_some() && queue.stats(topic, None).is_empty() {
            return None;
        }
        // A topic without the channel that was asked for is not shown.
        if channel.is_some() {
            topics.retain(|topic| !topic.channels.is_empty());
        }
        Some(topics)
    }
}
