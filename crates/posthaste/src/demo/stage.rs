//! The parts of the demo put together, and what is played on them, one thing after the other, so that what each costs can
//! be told.

use std::cell::Cell;
use std::ffi::OsString;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use bytes::Bytes;
use pipeline::RouteSnapshot;
use pipeline::client::{ConnectionSettings, Producer, ProducerSettings, TopicName};
use pipeline::delivery::{Cause, Endpoint as Delivery, EndpointSettings, Local, Request, Roots, Shared};
use tempfile::TempDir;
use tokio::runtime::LocalRuntime;
use tokio::task::JoinSet;
use tokio::time::{Instant, interval, sleep};

use super::certificate::{Authority, HOST};
use super::endpoint::{self, Counts, Endpoint};
use super::naive::Naive;
use super::report::{Published, Report, Way};
use crate::cli::{self, Task};
use crate::config::{self, Mistakes, Settings};
use crate::embedded::{Before, Embedded};
use crate::figures::{count, counted};
use crate::screen::Screen;
use crate::usage::process_cpu;

const TOPIC: &str = "events";
/// Events that are sent the naive way: enough to see what it costs, few enough to wait for.
const NAIVE_EVENTS: usize = 2_000;
/// A batch of events is one MPUB.
const BATCH_EVENTS: usize = 200;
const BATCH_BYTES: usize = 1 << 20;
/// MPUBs that wait for their OK at once.
const BATCHES_AT_ONCE: usize = 8;
const PUBLISH_TIMEOUT: Duration = Duration::from_secs(30);
/// Nothing was delivered for so long: something is wrong, and waiting on would not mend it.
const STALL: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_millis(5);

/// Everything set up, on this machine.
pub(super) struct Stage<'a> {
    authority: Authority,
    endpoint: Endpoint,
    queue: Embedded,
    settings: Settings,
    folder: TempDir,
    screen: &'a Screen,
}

impl<'a> Stage<'a> {
    /// Sets it up. Must not be called from within a runtime: the flags that a user would type are checked in one of their own.
    pub(super) fn set(screen: &'a Screen, runtime: &LocalRuntime) -> anyhow::Result<Stage<'a>> {
        let folder = tempfile::Builder::new().prefix("posthaste-demo-").tempdir();
        let folder = folder.context("no temporary folder for the queue")?;
        let authority = Authority::new()?;
        let ca_file = folder.path().join("authority.pem");
        std::fs::write(&ca_file, authority.pem())?;
        let endpoint = Endpoint::start(authority.server()?)?;
        let mut settings = settings(folder.path(), &ca_file, endpoint.address().port())?;
        let broker = settings.broker.take().context("the demo's route takes its messages from the queue")?;
        let queue = runtime.block_on(Embedded::start(broker, Before::Nothing));
        let queue = queue.context("the embedded queue cannot start")?;
        queue.served().attach(&mut settings.pipeline);
        Ok(Stage { authority, endpoint, queue, settings, folder, screen })
    }

    /// Plays it to its end.
    pub(super) async fn play(&self, events: &[Bytes]) -> anyhow::Result<Report> {
        let stranger_refused = self.meet_a_stranger().await?;
        let published = self.publish(events).await?;
        let (delivered, snapshot) = self.deliver(events.len() as u64).await?;
        let naive_events = &events[..events.len().min(NAIVE_EVENTS)];
        let naive = self.send_naively(naive_events).await?;
        let permits = self.settings.pipeline.routes[0].concurrency;
        Ok(Report::new(stranger_refused, published, delivered, &snapshot, naive, permits))
    }

    /// Puts everything away.
    pub(super) async fn strike(self) -> anyhow::Result<()> {
        let stopped = self.queue.stop().await;
        // Only now: the queue was in there.
        self.folder.close().context("the demo's folder cannot be removed")?;
        stopped
    }

    /// A sender with the route's own settings, but for the authority that it trusts, must not deliver anything.
    async fn meet_a_stranger(&self) -> anyhow::Result<bool> {
        let file = self.folder.path().join("stranger.pem");
        std::fs::write(&file, Authority::new()?.pem())?;
        let mut settings: EndpointSettings = self.settings.pipeline.routes[0].endpoint.clone();
        settings.tls.roots = Roots::Files(vec![file]);
        let stranger = Delivery::new(&settings, &Shared::new(), &Local::new(1), Arc::default())?;
        let body = [Bytes::from_static(b"never")];
        let request = Request {
            target: None,
            head_lines: b"",
            body: &body,
            body_len: 5,
            idempotent: false,
            is_wanted: &|| true,
        };
        let posted = stranger.post(&request).await;
        Ok(matches!(posted.outcome.cause, Some(Cause::Tls(_))) && self.endpoint.counts().await?.requests == 0)
    }

    async fn publish(&self, events: &[Bytes]) -> anyhow::Result<Published> {
        self.begin(&format!("publishing {} over NSQ's protocol", counted(events.len() as u64, "event")));
        let settings = ProducerSettings::new(self.queue.served().tcp.as_str(), ConnectionSettings::default());
        let producer = Producer::start(&settings, Arc::default(), drop)
            .map_err(|errors| anyhow::anyhow!("the publisher's settings are wrong: {errors:?}"))?;
        let began = Instant::now();
        let acknowledged = Rc::new(Cell::new(0));
        let batches: Rc<[Vec<Bytes>]> = batches(events).into();
        let next = Rc::new(Cell::new(0));
        let mut publishers = JoinSet::new();
        for _ in 0..BATCHES_AT_ONCE {
            let (producer, batches, next, acknowledged) =
                (producer.clone(), Rc::clone(&batches), Rc::clone(&next), Rc::clone(&acknowledged));
            publishers.spawn_local(async move {
                let topic = TopicName::new(TOPIC).expect("it is a name");
                while let Some(batch) = batches.get(next.replace(next.get() + 1)) {
                    producer.publish_many(&topic, batch, PUBLISH_TIMEOUT).await?;
                    acknowledged.set(acknowledged.get() + batch.len() as u64);
                }
                anyhow::Ok(())
            });
        }
        let mut ticks = interval(crate::live::INTERVAL);
        loop {
            tokio::select! {
                ended = publishers.join_next() => match ended {
                    Some(ended) => ended?.context("the queue did not take an event")?,
                    None => break,
                },
                _ = ticks.tick() => self.progress("published", acknowledged.get(), events.len()),
            }
        }
        let wall = began.elapsed();
        producer.stop(Duration::from_secs(1)).await;
        Ok(Published {
            events: events.len() as u64,
            acknowledged: acknowledged.get(),
            bytes: events.iter().map(|event| event.len() as u64).sum(),
            digest: events.iter().fold(0, |sum, event| sum.wrapping_add(endpoint::digest(event))),
            wall,
        })
    }

    async fn deliver(&self, messages: u64) -> anyhow::Result<(Way, RouteSnapshot)> {
        self.begin("delivering them to the HTTPS endpoint");
        let before = self.endpoint.counts().await?;
        let (began, cpu_before) = (Instant::now(), process_cpu());
        let mut pipeline = pipeline::start(self.settings.pipeline.clone())?;
        let (mut finished, mut moved_at, mut shown_at) = (0, began, began);
        while finished < messages {
            sleep(LOOK).await;
            let now_finished = pipeline.snapshot().total().ledger.finished;
            let now = Instant::now();
            if now_finished > finished {
                (finished, moved_at) = (now_finished, now);
            } else if now.duration_since(moved_at) > STALL {
                bail!("nothing was delivered for {} s; {finished} of {messages} are", STALL.as_secs());
            }
            if now.duration_since(shown_at) >= crate::live::INTERVAL {
                shown_at = now;
                self.progress("delivered", finished, messages as usize);
            }
        }
        let (wall, cpu) = (began.elapsed(), process_cpu().saturating_sub(cpu_before));
        let endpoint_cpu = self.endpoint.counts().await?.since(&before).cpu;
        pipeline.drain();
        pipeline.finished().await;
        let snapshot = pipeline.snapshot().total();
        let counts = Counts { cpu: endpoint_cpu, ..self.closed().await?.since(&before) };
        Ok((Way::new(messages, &counts, wall, cpu.saturating_sub(endpoint_cpu)), snapshot))
    }

    async fn send_naively(&self, events: &[Bytes]) -> anyhow::Result<Way> {
        self.begin(&format!(
            "sending {} of them the naive way, a connection each",
            count(events.len() as u64)
        ));
        let before = self.endpoint.counts().await?;
        let naive = Rc::new(Naive {
            address: self.endpoint.address(),
            tls: self.authority.forgetful_client()?,
            answered: Rc::default(),
        });
        let at_once = self.settings.pipeline.routes[0].concurrency;
        let (began, cpu_before) = (Instant::now(), process_cpu());
        let mut ticks = interval(crate::live::INTERVAL);
        let send = naive.send(events, at_once);
        tokio::pin!(send);
        loop {
            tokio::select! {
                sent = &mut send => break sent.context("the naive way failed")?,
                _ = ticks.tick() => self.progress("sent", naive.answered.get(), events.len()),
            }
        }
        let (wall, cpu) = (began.elapsed(), process_cpu().saturating_sub(cpu_before));
        let counts = self.closed().await?.since(&before);
        Ok(Way::new(naive.answered.get(), &counts, wall, cpu.saturating_sub(counts.cpu)))
    }

    /// What the endpoint has counted when no connection is open any more.
    async fn closed(&self) -> anyhow::Result<Counts> {
        let began = Instant::now();
        loop {
            let counts = self.endpoint.counts().await?;
            if counts.open == 0 || began.elapsed() > STALL {
                return Ok(counts);
            }
            sleep(LOOK).await;
        }
    }

    /// Says what comes now: under the log on a terminal, else on a line of its own.
    fn begin(&self, what: &str) {
        use std::io::Write;
        use tracing_subscriber::fmt::MakeWriter;
        match self.screen.is_terminal() {
            true => self.screen.live(format!("{what} ...")),
            // A line goes to the screen's queue, which takes it or counts it as lost.
            false => drop(writeln!(self.screen.make_writer(), "{what} ...")),
        }
    }

    fn progress(&self, done: &str, number: u64, of: usize) {
        if self.screen.is_terminal() && number > 0 {
            let percent = number * 100 / (of as u64).max(1);
            self.screen.live(format!("{} of {} {done} ({percent} %)", count(number), count(of as u64)));
        }
    }
}

/// What `posthaste run` makes of the flags that a user would type for this.
fn settings(folder: &Path, ca_file: &Path, port: u16) -> anyhow::Result<Settings> {
    let to = format!("https://{HOST}:{port}/events");
    let line: [&std::ffi::OsStr; 14] = [
        "posthaste".as_ref(),
        "run".as_ref(),
        "--topic".as_ref(),
        TOPIC.as_ref(),
        "--to".as_ref(),
        to.as_ref(),
        "--ca-file".as_ref(),
        ca_file.as_ref(),
        "--data-path".as_ref(),
        folder.as_ref(),
        "--tcp-address".as_ref(),
        "127.0.0.1:0".as_ref(),
        "--http-address".as_ref(),
        "127.0.0.1:0".as_ref(),
    ];
    let mut mistakes = Mistakes::default();
    let task = cli::read(line.map(OsString::from).to_vec(), &mut mistakes);
    let settings = match task {
        Some(Task::Run(flags)) => config::of_flags(flags, &mut mistakes),
        task => bail!("these flags are those of `run`, not of {task:?}"),
    };
    match mistakes.is_empty() {
        true => Ok(settings),
        false => bail!("{}", config::render(&mistakes.sorted())),
    }
}

fn batches(events: &[Bytes]) -> Vec<Vec<Bytes>> {
    let mut batches: Vec<Vec<Bytes>> = Vec::new();
    let mut bytes = 0;
    for event in events {
        let full = bytes + event.len() > BATCH_BYTES;
        match batches.last_mut() {
            Some(batch) if !full && batch.len() < BATCH_EVENTS => batch.push(event.clone()),
            _ => {
                batches.push(vec![event.clone()]);
                bytes = 0;
            }
        }
        bytes += event.len();
    }
    batches
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_keep_the_order_and_their_bounds() {
        let events: Vec<Bytes> = (0..1_000_usize).map(|len| Bytes::from(vec![b'x'; 1 + len * 100])).collect();
        let batches = batches(&events);
        assert_eq!(batches.concat(), events);
        for batch in &batches {
            let bytes: usize = batch.iter().map(Bytes::len).sum();
            assert!(batch.len() <= BATCH_EVENTS && (bytes <= BATCH_BYTES || batch.len() == 1));
        }
    }

    #[test]
    fn the_demo_runs_what_a_user_would_type() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let ca_file = folder.path().join("ca.pem");
        std::fs::write(&ca_file, Authority::new().expect("an authority").pem()).expect("ours");
        let settings = settings(folder.path(), &ca_file, 8443).expect("the flags are right");
        assert_eq!(settings.broker.expect("an embedded queue").data_path, folder.path());
        assert_eq!(settings.pipeline.routes[0].endpoint.url.to_string(), "https://localhost:8443/events");
        assert!(!settings.pipeline.routes[0].endpoint.tls.danger_skip_verification);
    }
}
