//! Tests that measure time, CPU or memory and so have the machine to themselves.

mod bounds;
mod demo;
mod outage;
mod pace;
mod queue_shares;
mod stored_backlog;
mod stored_latency;
mod stored_rate;
mod throughput;
