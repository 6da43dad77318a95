//! One permit: the loop that carries one message after another, from the queue to its outcome.
//!
//! A permit is a task that lives as long as its lane, rather than a task made for each message: that costs no allocation
//! on a message's way, and the number of requests at once cannot exceed the number of these tasks.

use std::rc::Rc;
use std::time::Duration;

use client::{Delivery, DeliveryState, Settled};
use delivery::{Cause, Posted, Request};

use crate::head_lines::MessageLines;
use crate::lane::Lane;
use crate::settle::settle;

/// Runs until the consumer gives no more messages.
pub(crate) async fn run(lane: Rc<Lane>) {
    let mut head_lines = Vec::with_capacity(256);
    while let Some(delivery) = lane.consumer.recv().await {
        carry(&lane, delivery, &mut head_lines).await;
    }
}

async fn carry(lane: &Lane, delivery: Delivery, head_lines: &mut Vec<u8>) {
    // The clock is read twice for a message, when it is handed out and when its outcome is known, and handed on from there.
    let started = delivery.handed_out_at();
    let busy = lane.counters.busy(started);
    let message = MessageLines {
        node: delivery.node(),
        id: delivery.id(),
        attempts: delivery.attempts(),
        timestamp_ns: delivery.timestamp_ns(),
    };
    lane.head_lines.render(message, head_lines);
    let request = Request {
        target: None,
        head_lines,
        body: std::slice::from_ref(delivery.body()),
        body_len: delivery.body().len() as u64,
        idempotent: lane.idempotency_key,
        // A delivery that its nsqd no longer counts as ours must not be posted: someone else may have it by now. It was
        // ours a moment ago, so this is asked only where a connection had to be waited for.
        is_wanted: &|| delivery.state() == DeliveryState::Live,
    };
    let Posted { outcome, tail, ended_at } = lane.endpoint.post_at(&request, started).await;
    if let Some(Cause::Shutdown | Cause::Unwanted) = outcome.cause {
        // The drain began before it had a connection, or its nsqd took it back. Nothing has failed, nothing has to wait.
        let (Settled::Sent | Settled::TooLate(_)) = delivery.requeue(Duration::ZERO);
        return;
    }
    lane.counters.latency.record(ended_at - started);
    if outcome.cause.is_some() {
        lane.journalist.failed(&delivery, &outcome);
    }
    settle(delivery, &outcome, ended_at, &lane.backoff, &lane.jitter, &lane.counters);
    if tail.is_done() {
        return busy.end(ended_at);
    }
    // The message is settled; the permit stays with the connection until that is idle or closed.
    tail.await;
    drop(busy);
}
