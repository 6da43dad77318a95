//! What can be chosen for the pipeline, and what is refused before anything starts.

use std::time::Duration;

use crate::backoff::BackoffSettings;
use crate::share::{default_max_in_flight, share};

/// All routes of a process, and the threads that carry them.
#[derive(Debug, Clone)]
pub struct PipelineSettings {
    /// One entry a route. At least one.
    pub routes: Vec<RouteSettings>,
    /// Worker threads; lanes are spread over them. Default: the processors, but not more than there are lanes.
    pub threads: Option<usize>,
    /// Dials under way at once on one worker, over all its lanes. Default 16: a thousand handshakes at once would
    /// stall the lanes beside them for 100 ms. One that hangs counts for its own lane alone.
    pub dials_max: usize,
}

/// One topic and channel, tied to one endpoint.
#[derive(Debug, Clone)]
pub struct RouteSettings {
    /// Names the route in logs and in the summary.
    pub name: String,
    /// Where messages come from. Its `max_in_flight` is set by the route's, for each lane.
    pub consumer: client::ConsumerSettings,
    /// Where they go. Its `concurrency` is set by the route's, for each lane.
    pub endpoint: delivery::EndpointSettings,
    /// Shares of the route that run beside each other, each with connections of its own. Default 1.
    pub lanes: usize,
    /// Requests at once over all lanes, and so connections. Default 64.
    pub concurrency: usize,
    /// Messages held at once over all lanes. Default: twice the concurrency.
    pub max_in_flight: Option<u32>,
    /// Whether `Idempotency-Key` is sent. With it a request may be sent again on a fresh connection when a kept one
    /// turned out to be closed. Default true.
    pub idempotency_key: bool,
    /// How long a message waits that was not delivered.
    pub backoff: BackoffSettings,
    /// How long a drain lets requests finish before their messages are requeued. Default 30 s, the request timeout.
    pub drain_grace: Duration,
}

/// A setting that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field} = {value}: {reason}")]
pub struct SettingError {
    /// The setting's name, as in the configuration file.
    pub field: &'static str,
    /// What it was set to.
    pub value: String,
    /// Why that cannot be, and what can.
    pub reason: &'static str,
}

impl RouteSettings {
    /// Every mistake that only shows in the whole route. What belongs to the consumer or the endpoint is theirs to say.
    pub fn check(&self) -> Vec<SettingError> {
        let mut mistakes = Vec::new();
        let mut refuse = |field, value: String, reason| mistakes.push(SettingError { field, value, reason });
        if self.concurrency == 0 {
            refuse("concurrency", "0".into(), "at least one request at once is needed: use 1 or more");
        }
        if self.lanes == 0 {
            refuse("lanes", "0".into(), "a route needs a lane: use 1 or more");
        }
        if self.lanes > self.concurrency && self.concurrency > 0 {
            refuse(
                "lanes",
                self.lanes.to_string(),
                "each lane needs a permit: use at most as many as `concurrency`",
            );
        }
        if self.max_in_flight.is_some_and(|held| (held as usize) < self.lanes) {
            let value = self.max_in_flight.unwrap_or_default().to_string();
            refuse(
                "max_in_flight",
                value,
                "each lane must be able to hold a message: use at least as many as `lanes`",
            );
        }
        if self.backoff.initial.is_zero() || self.backoff.max < self.backoff.initial {
            let value = format!("{:?} to {:?}", self.backoff.initial, self.backoff.max);
            refuse("backoff", value, "the first delay must be above 0 and not above the longest one");
        }
        mistakes
    }

    /// Messages held at once over all lanes.
    pub fn max_in_flight(&self) -> usize {
        self.max_in_flight.map_or_else(|| default_max_in_flight(self.concurrency), |held| held as usize)
    }

    /// The settings of lane number `lane`: its share of what belongs to the route.
    pub(crate) fn lane(&self, lane: usize) -> LaneSettings {
        let mut consumer = self.consumer.clone();
        let max_in_flight = share(self.max_in_flight(), self.lanes, lane);
        consumer.max_in_flight = u32::try_from(max_in_flight).unwrap_or(u32::MAX);
        consumer.in_flight_bytes_max = (self.consumer.in_flight_bytes_max / self.lanes as u64).max(1);
        let mut endpoint = self.endpoint.clone();
        endpoint.concurrency = share(self.concurrency, self.lanes, lane);
        endpoint.warm = share(self.endpoint.warm, self.lanes, lane);
        LaneSettings {
            route: self.name.clone(),
            consumer,
            endpoint,
            idempotency_key: self.idempotency_key,
            backoff: self.backoff,
            drain_grace: self.drain_grace,
        }
    }
}

/// What one lane runs with.
#[derive(Debug, Clone)]
pub(crate) struct LaneSettings {
    pub(crate) route: String,
    pub(crate) consumer: client::ConsumerSettings,
    pub(crate) endpoint: delivery::EndpointSettings,
    pub(crate) idempotency_key: bool,
    pub(crate) backoff: BackoffSettings,
    pub(crate) drain_grace: Duration,
}
