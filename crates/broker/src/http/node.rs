//! `/ping` and `/info`.

use hyper::StatusCode;
use serde::Serialize;

use super::answer::{Rejected, Said};
use super::{Api, go};
use crate::settings::NSQD_VERSION;

#[derive(Serialize)]
struct Node<'a> {
    version: &'a str,
    broadcast_address: &'a str,
    hostname: &'a str,
    http_port: i32,
    tcp_port: i32,
    start_time: i64,
    /// Nanoseconds, as all durations.
    max_heartbeat_interval: u128,
    max_output_buffer_size: u64,
    max_output_buffer_timeout: u128,
    max_deflate_level: u32,
}

impl Api {
    /// `GET /ping`: whether publishes are taken.
    pub(super) fn ping(&self) -> Result<Said, Rejected> {
        match self.sick() {
            None => Ok(Said::OK()),
            Some(_) => {
                Err(Rejected { status: StatusCode::INTERNAL_SERVER_ERROR, code: self.health().into() })
            }
        }
    }

    /// `OK`, or `NOK - ` and why.
    pub(super) fn health(&self) -> String {
        self.sick().map_or_else(|| "OK".to_owned(), |reason| format!("NOK - {reason}"))
    }

    /// Why a publish would be refused now, whatever its topic: the disk, or the bounds on all topics together. As full counts also what has no room for
    /// the largest message.
    fn sick(&self) -> Option<String> {
        if let Err(reason) = self.broker.queue.health() {
            return Some(reason);
        }
        let settings = &self.broker.settings;
        let held = self.broker.queue.counters();
        if held.messages >= settings.messages_max {
            return Some(format!(
                "the queue is full: {} messages of {}",
                held.messages, settings.messages_max
            ));
        }
        let full = held.bytes.saturating_add(settings.max_msg_size) > settings.bytes_max;
        full.then(|| format!("the queue is full: {} bytes of {}", held.bytes, settings.bytes_max))
    }

    /// `GET /info`.
    pub(super) fn node(&self) -> Said {
        let settings = &self.broker.settings;
        let told = &self.advertised;
        Said::json(&Node {
            version: NSQD_VERSION,
            broadcast_address: &told.broadcast_address,
            hostname: &told.hostname,
            http_port: told.listening.http.map_or(-1, |address| i32::from(address.port())),
            tcp_port: told.listening.tcp.map_or(-1, |address| i32::from(address.port())),
            start_time: go::unix(self.started),
            max_heartbeat_interval: settings.max_heartbeat_interval.as_nanos(),
            max_output_buffer_size: settings.max_output_buffer_size,
            max_output_buffer_timeout: settings.max_output_buffer_timeout.as_nanos(),
            max_deflate_level: settings.max_deflate_level,
        })
    }
}
