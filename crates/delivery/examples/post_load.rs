//! POSTs as fast as one lane can and says what a request costs.
//!
//! ```text
//! cargo run --release -p delivery --example post_load -- URL [--requests N] [--concurrency C] [--bytes B] [--ca FILE]
//! ```

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use delivery::{
    Endpoint, EndpointCounters, EndpointSettings, EndpointUrl, Local, Request, Roots, Shared, Verdict,
};
use rustix::time::{ClockId, clock_gettime};
use tokio::task::{JoinSet, LocalSet};
use tokio::time::Instant;

struct Load {
    url: String,
    requests: u64,
    concurrency: u64,
    bytes: usize,
    ca: Option<String>,
}

impl Load {
    fn from_args() -> Option<Load> {
        let mut args = std::env::args().skip(1);
        let mut load =
            Load { url: args.next()?, requests: 200_000, concurrency: 100, bytes: 1_024, ca: None };
        while let Some(flag) = args.next() {
            let value = args.next()?;
            match flag.as_str() {
                "--requests" => load.requests = value.parse().ok()?,
                "--concurrency" => load.concurrency = value.parse().ok()?,
                "--bytes" => load.bytes = value.parse().ok()?,
                "--ca" => load.ca = Some(value),
                _ => return None,
            }
        }
        Some(load)
    }
}

fn main() -> ExitCode {
    let Some(load) = Load::from_args() else {
        eprintln!("usage: post_load URL [--requests N] [--concurrency C] [--bytes B] [--ca FILE]");
        return ExitCode::from(64);
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    LocalSet::new().block_on(&runtime, run(load));
    ExitCode::SUCCESS
}

async fn run(load: Load) {
    let mut settings = EndpointSettings::new(EndpointUrl::parse(&load.url).expect("a URL"));
    settings.concurrency = usize::try_from(load.concurrency).expect("a concurrency");
    if let Some(ca) = &load.ca {
        settings.tls.roots = Roots::Files(vec![ca.into()]);
    }
    let counters = Arc::new(EndpointCounters::default());
    let endpoint = Endpoint::new(&settings, &Shared::new(), &Local::default(), counters).expect("settings");
    let body = [Bytes::from(vec![b'x'; load.bytes])];
    let (cpu, wall) = (process_cpu(), Instant::now());
    let mut tasks = JoinSet::new();
    for _ in 0..load.concurrency {
        let (endpoint, body) = (endpoint.clone(), body.clone());
        let count = load.requests / load.concurrency;
        tasks.spawn_local(async move { post(&endpoint, &body, count).await });
    }
    let delivered: u64 = tasks.join_all().await.into_iter().sum();
    let (cpu, wall) = (process_cpu() - cpu, wall.elapsed());
    let counts = endpoint.counters().snapshot();
    println!(
        "{delivered} delivered, {:.0} /s, {:.2} µs CPU each, {} dials, {} full and {} resumed handshakes, {} resends",
        delivered as f64 / wall.as_secs_f64(),
        cpu.as_secs_f64() * 1e6 / counts.requests as f64,
        counts.dials,
        counts.handshakes_full,
        counts.handshakes_resumed,
        counts.stale_resends + counts.unsent_resends,
    );
}

async fn post(endpoint: &Endpoint, body: &[Bytes], count: u64) -> u64 {
    let mut delivered = 0;
    for _ in 0..count {
        let body_len = body[0].len() as u64;
        let request = Request {
            target: None,
            head_lines: b"X-Id: 1\r\n",
            body,
            body_len,
            idempotent: true,
            is_wanted: &|| true,
        };
        let posted = endpoint.post(&request).await;
        match posted.outcome.cause {
            None => delivered += u64::from(posted.outcome.verdict == Verdict::Delivered),
            Some(cause) => eprintln!("{cause}"),
        }
        posted.tail.await;
    }
    delivered
}

fn process_cpu() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ProcessCPUTime)).unwrap_or_default()
}
