//! Tests that measure time or a rate, or load the whole machine, and so have it to themselves.

mod demo;
mod endless_answers;
mod pace;
mod queue_shares;
mod stored_backlog;
mod stored_latency;
mod stored_rate;
mod throughput;
