//! The embedded queue within this process: a thread of its own, which serves sockets and, over pipes in memory, this
//! process's lanes.
//!
//! The broker is a thing of one thread. Everything that is asked of it from outside goes through one channel, and its end
//! is told through another, so nobody here shares anything with it but that.
//!
//! Its stop has an order: publishes are refused first, so that nobody is told OK for what comes too late, and then the
//! last sync is made. Dropping it stops it, too, without waiting. A signal may end its start: recovery and an import take
//! their time.

use std::path::PathBuf;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use anyhow::{Context, anyhow};
use broker::queue::QueueCounters;
use broker::settings::Listen;
use broker::{Broker, ConnectionCounters, Connector, Disk, FileSystem, Settings};
use pipeline::PipelineSettings;
use pipeline::client::{InProcess, Source};
use tokio::sync::{mpsc, oneshot};
use tokio::task::LocalSet;
use tracing::info;

use crate::import::{self, Imported};
use crate::signals::Signals;

/// One asks at a time as a rule.
const WISHES_AHEAD: usize = 8;

/// What is asked of the thread.
#[derive(Debug)]
enum Wish {
    Look(oneshot::Sender<Seen>),
    Stop,
}

/// What the queue holds and has done, and who is connected to it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seen {
    pub(crate) queue: QueueCounters,
    pub(crate) connections: ConnectionCounters,
}

/// Looks at a running queue.
#[derive(Debug, Clone)]
pub(crate) struct Looker(mpsc::Sender<Wish>);

impl Looker {
    /// `None` when it has ended.
    pub(crate) async fn look(&self) -> Option<Seen> {
        let (answer, answered) = oneshot::channel();
        self.0.send(Wish::Look(answer)).await.ok()?;
        answered.await.ok()
    }
}

/// What is done before it serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Before {
    Nothing,
    /// What nsqd has left in the data path is taken over.
    Import,
}

/// A running queue.
#[derive(Debug)]
pub(crate) struct Embedded {
    served: Served,
    wishes: mpsc::Sender<Wish>,
    ended: oneshot::Receiver<anyhow::Result<()>>,
    thread: JoinHandle<()>,
}

/// Where it serves.
#[derive(Debug, Clone)]
pub(crate) struct Served {
    pub(crate) tcp: String,
    pub(crate) http: Option<String>,
    pub(crate) https: Option<String>,
    pub(crate) data_path: PathBuf,
    /// What it is called in `X-NSQ-Node` and `Idempotency-Key`, as an nsqd's address would be.
    pub(crate) name: String,
    pub(crate) connector: Connector,
    /// What was taken over from an nsqd.
    pub(crate) imported: Option<Imported>,
}

impl Embedded {
    /// As [`Embedded::start`], unless a signal comes before it serves: that is told, and nothing was started.
    ///
    /// # Errors
    /// As there.
    pub(crate) async fn start_unless(
        settings: Settings,
        before: Before,
        signals: &mut Signals,
    ) -> anyhow::Result<Option<Embedded>> {
        tokio::select! {
            biased;
            signal = signals.next() => {
                info!("{signal}: stopping before the queue serves; what it holds is on the disk");
                Ok(None)
            }
            started = Embedded::start(settings, before) => started.map(Some),
        }
    }

    /// Starts it and waits until it serves. Dropped before, it ends as soon as it would serve, or with the process.
    ///
    /// # Errors
    /// Whatever keeps it from serving: an address or a data path that someone else has, files of a newer version.
    pub(crate) async fn start(settings: Settings, before: Before) -> anyhow::Result<Embedded> {
        let (wishes, wished) = mpsc::channel(WISHES_AHEAD);
        let (report, reported) = oneshot::channel();
        let (end, ended) = oneshot::channel();
        let thread = thread::Builder::new()
            .name("queue".to_owned())
            // Whoever waited for either is gone when it is not heard.
            .spawn(move || drop(end.send(run(settings, before, report, wished))))
            .context("cannot start the queue's thread")?;
        match reported.await {
            Ok(served) => Ok(Embedded { served, wishes, ended, thread }),
            // It ended instead, and says why.
            Err(_) => match ended.await {
                Ok(Err(error)) => Err(error),
                _ => Err(anyhow!("the queue's thread ended at once")),
            },
        }
    }

    pub(crate) fn served(&self) -> &Served {
        &self.served
    }

    pub(crate) fn looker(&self) -> Looker {
        Looker(self.wishes.clone())
    }

    /// Waits until it has ended, which only [`Embedded::stop`] should bring about. Safe to cancel.
    pub(crate) async fn ended(&mut self) -> anyhow::Result<()> {
        match (&mut self.ended).await {
            Ok(ended) => ended,
            Err(_) => Err(anyhow!("the queue's thread panicked; what it had acknowledged is on the disk")),
        }
    }

    /// Refuses publishes, makes the last sync, and waits for it.
    ///
    /// # Errors
    /// When the last sync failed: what was acknowledged is safe, what was not may be lost.
    pub(crate) async fn stop(mut self) -> anyhow::Result<()> {
        // One that has ended already has nothing to be wished for.
        drop(self.wishes.send(Wish::Stop).await);
        let ended = self.ended().await;
        // It has sent its end as the last thing it does.
        drop(self.thread.join());
        ended
    }
}

impl Served {
    /// Lets every route that takes its messages from the embedded queue take them from this one.
    pub(crate) fn attach(&self, settings: &mut PipelineSettings) {
        let connector = self.connector.clone();
        let queue = InProcess::new(self.name.as_str(), move || Ok(connector.connect()));
        for route in &mut settings.routes {
            if let Source::Memory(source) = &mut route.consumer.source {
                *source = queue.clone();
            }
        }
    }
}

fn run(
    settings: Settings,
    before: Before,
    report: oneshot::Sender<Served>,
    wished: mpsc::Receiver<Wish>,
) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("cannot start the queue's runtime")?;
    LocalSet::new().block_on(&runtime, serve(settings, before, report, wished))
}

async fn serve(
    settings: Settings,
    before: Before,
    report: oneshot::Sender<Served>,
    mut wished: mpsc::Receiver<Wish>,
) -> anyhow::Result<()> {
    let data_path = settings.data_path.clone();
    let host = settings.broadcast_address.clone().unwrap_or_else(host_name);
    let disk: Arc<dyn FileSystem> = Arc::new(Disk);
    let imported = match before {
        Before::Nothing => None,
        Before::Import => import::run(Arc::clone(&disk), &settings).await.context("cannot import")?,
    };
    let mut broker = Broker::start(settings, disk).await?;
    let tcp = broker.tcp_address().to_string();
    let shown = |listen: &Listen| (*listen != Listen::Off).then(|| listen.to_string());
    let port = tcp.rsplit_once(':').map_or(tcp.as_str(), |(_, port)| port);
    let served = Served {
        name: format!("{host}:{port}"),
        http: shown(broker.http_address()),
        https: shown(broker.https_address()),
        data_path,
        connector: broker.connector(),
        imported,
        tcp,
    };
    // Were nobody waiting for it, nobody would wish for anything either, and the loop ends at once.
    drop(report.send(served));
    loop {
        let wish = tokio::select! {
            wish = wished.recv() => wish,
            failed = broker.failed() => return Err(failed.into()),
        };
        match wish {
            Some(Wish::Look(answer)) => {
                let seen = Seen { queue: broker.queue().counters(), connections: broker.connections() };
                // Who asked may have gone.
                let _gone = answer.send(seen).is_err();
            }
            Some(Wish::Stop) | None => break,
        }
    }
    broker.stop().await.context("the queue did not end well")
}

/// The name that nsqd would register.
fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// Says where it serves, for the log.
impl std::fmt::Display for Served {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the queue serves TCP on {}", self.tcp)?;
        for (name, address) in [("HTTP", &self.http), ("HTTPS", &self.https)] {
            if let Some(address) = address {
                write!(f, ", {name} on {address}")?;
            }
        }
        write!(f, "; its messages are in {}", self.data_path.display())
    }
}
