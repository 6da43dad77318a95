//! What the scripted servers have in common: a port that stays theirs, a thread with its own runtime, an accept loop that can
//! be stopped and started again.

use std::future::Future;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::rc::Rc;
use std::thread::JoinHandle;

use tokio::net::TcpStream;
use tokio::sync::mpsc;

use crate::gate::PATIENCE;
use crate::ports::Reserved;

pub(crate) struct Server {
    reserved: Reserved,
    control: mpsc::UnboundedSender<Control>,
    thread: Option<JoinHandle<()>>,
    name: &'static str,
}

enum Control {
    Listen(TcpListener),
    StopListening(std::sync::mpsc::Sender<()>),
}

/// As many may wait to be accepted as the kernel allows: the kit must not be the bottleneck of a burst of dials.
const BACKLOG: i32 = 4096;

impl Server {
    /// Listens, and runs the future of `serve` for every accepted connection, on the server's thread.
    pub(crate) fn start<F: Future<Output = ()> + 'static>(
        name: &'static str,
        address: IpAddr,
        port: u16,
        serve: impl FnMut(TcpStream, SocketAddr) -> F + Send + 'static,
    ) -> Self {
        let reserved = Reserved::bind(address, port).expect("the port is free");
        let (control, orders) = mpsc::unbounded_channel();
        let thread = std::thread::Builder::new().name(name.into());
        let thread = thread.spawn(move || run(name, orders, serve)).expect("a thread for the server");
        let server = Self { reserved, control, thread: Some(thread), name };
        server.up();
        server
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.reserved.address()
    }

    /// Stops listening; returns when dials are refused.
    pub(crate) fn down(&self) {
        let (done, stopped) = std::sync::mpsc::channel();
        if self.control.send(Control::StopListening(done)).is_ok() {
            // An error means that the thread died, and its listener with it.
            stopped.recv_timeout(PATIENCE).ok();
        }
    }

    /// Listens again.
    pub(crate) fn up(&self) {
        let listener = self.reserved.listen(BACKLOG).expect("the port is ours and nobody listens on it");
        listener.set_nonblocking(true).expect("a listener can be non-blocking");
        self.control.send(Control::Listen(listener)).expect("the server's thread is alive");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The closed channel ends the thread.
        self.control = mpsc::unbounded_channel().0;
        let Some(thread) = self.thread.take() else { return };
        let panicked = thread.join().is_err();
        assert!(
            !panicked || std::thread::panicking(),
            "the thread of the scripted {} panicked: its counts are worthless",
            self.name
        );
    }
}

fn run<F: Future<Output = ()> + 'static>(
    name: &'static str,
    control: mpsc::UnboundedReceiver<Control>,
    serve: impl FnMut(TcpStream, SocketAddr) -> F,
) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let tasks = tokio::task::LocalSet::new();
    runtime.block_on(tasks.run_until(accept(name, control, serve)));
}

async fn accept<F: Future<Output = ()> + 'static>(
    name: &'static str,
    mut control: mpsc::UnboundedReceiver<Control>,
    mut serve: impl FnMut(TcpStream, SocketAddr) -> F,
) {
    // A connection's task that panics (a script's closure, most likely) must not pass for a quiet peer.
    let panicked = Rc::new(tokio::sync::Notify::new());
    let mut listener = None;
    loop {
        let accepted = async {
            match &listener {
                Some(listener) => tokio::net::TcpListener::accept(listener).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            order = control.recv() => match order {
                None => return,
                Some(Control::Listen(fresh)) => {
                    listener = Some(tokio::net::TcpListener::from_std(fresh).expect("inside the runtime"));
                }
                Some(Control::StopListening(done)) => {
                    listener = None;
                    done.send(()).ok();
                }
            },
            accepted = accepted => {
                // Errors of accept are those of the connection that is gone already.
                let Ok((tcp, peer)) = accepted else { continue };
                // Without it the kernel would merge what a script sends apart.
                tcp.set_nodelay(true).ok();
                let task = tokio::task::spawn_local(serve(tcp, peer));
                let panicked = panicked.clone();
                tokio::task::spawn_local(async move {
                    if task.await.is_err_and(|error| error.is_panic()) {
                        panicked.notify_one();
                    }
                });
            }
            () = panicked.notified() => panic!("a connection of the scripted {name} panicked"),
        }
    }
}
