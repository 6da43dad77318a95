//! A broker on a thread of its own, on free ports of this machine, with data of its own.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::thread::JoinHandle;

use broker::settings::Listen;
use broker::{Broker, ConnectionCounters, Connector, Settings};
use tempfile::TempDir;
use tokio::sync::{mpsc, oneshot};

/// A running broker. Stopped when dropped.
pub(crate) struct Served {
    tcp: String,
    http: String,
    https: String,
    pub(crate) connector: Connector,
    orders: Option<mpsc::Sender<Order>>,
    thread: Option<JoinHandle<()>>,
    pub(crate) files: Option<TempDir>,
}

enum Order {
    Count(oneshot::Sender<ConnectionCounters>),
    Stop(oneshot::Sender<()>),
}

/// Settings for a test: loopback, free ports, the name that `testkit`'s nsqd is given.
pub(crate) fn settings() -> Settings {
    let free = || Listen::Tcp("127.0.0.1:0".to_owned());
    Settings {
        tcp_address: free(),
        http_address: free(),
        https_address: free(),
        broadcast_address: Some("127.0.0.1".to_owned()),
        disk_reserve_bytes: 0,
        ..Settings::default()
    }
}

impl Served {
    pub(crate) fn start(settings: Settings) -> Self {
        let files = tempfile::Builder::new().prefix("posthaste-broker-").tempdir().expect("a directory");
        Self::in_directory(settings, files)
    }

    /// On data that an earlier one left.
    pub(crate) fn in_directory(settings: Settings, files: TempDir) -> Self {
        let settings = Settings { data_path: files.path().to_owned(), ..settings };
        let (report, started) = sync_channel(1);
        let (orders, mut ordered) = mpsc::channel(1);
        let thread = std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            tokio::task::LocalSet::new().block_on(&runtime, async {
                let broker = Broker::start(settings, Arc::new(journal::Disk)).await.expect("it starts");
                let https = broker.https_address().to_string();
                let addresses = (broker.tcp_address().to_string(), broker.http_address().to_string(), https);
                report.send((addresses, broker.connector())).expect("the test waits");
                while let Some(order) = ordered.recv().await {
                    match order {
                        Order::Count(answer) => answer.send(broker.connections()).expect("the test waits"),
                        Order::Stop(done) => {
                            broker.stop().await.expect("the last sync");
                            return done.send(()).expect("the test waits");
                        }
                    }
                }
            });
        });
        let Ok(((tcp, http, https), connector)) = started.recv() else {
            std::panic::resume_unwind(thread.join().expect_err("it did not start"));
        };
        let (orders, thread) = (Some(orders), Some(thread));
        Self { tcp, http, https, connector, orders, thread, files: Some(files) }
    }

    pub(crate) fn tcp(&self) -> SocketAddr {
        self.tcp.parse().expect("it listens on an address")
    }

    pub(crate) fn http(&self) -> SocketAddr {
        self.http.parse().expect("it listens on an address")
    }

    pub(crate) fn https(&self) -> SocketAddr {
        self.https.parse().expect("it serves HTTPS")
    }

    pub(crate) fn connections(&self) -> ConnectionCounters {
        let (answer, answered) = oneshot::channel();
        let orders = self.orders.as_ref().expect("it runs");
        orders.blocking_send(Order::Count(answer)).expect("it runs");
        answered.blocking_recv().expect("it answers")
    }

    /// Stops it in order, and gives its directory back.
    pub(crate) fn stop(mut self) -> TempDir {
        let (done, stopped) = oneshot::channel();
        let orders = self.orders.take().expect("it runs");
        orders.blocking_send(Order::Stop(done)).expect("it runs");
        stopped.blocking_recv().expect("it stops");
        self.thread.take().expect("it runs").join().expect("no panic");
        self.files.take().expect("it has one")
    }
}

impl Served {
    /// Ends it without a stop, and gives its directory back.
    pub(crate) fn crash(mut self) -> TempDir {
        self.files.take().expect("it has one")
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.orders = None;
        if let Some(thread) = self.thread.take() {
            // Its panic is the test's failure, unless the test fails already.
            if let Err(panic) = thread.join()
                && !std::thread::panicking()
            {
                std::panic::resume_unwind(panic);
            }
        }
    }
}
