//! The HTTPS API of the demo: takes every POST, and counts what really arrived.
//!
//! It runs on a thread of its own, so that what it costs can be told from what the sender costs, and everything is asked of
//! it through a channel. It is written on hyper and shares no code with the sender: what both count can be held against each
//! other.

use std::cell::RefCell;
use std::collections::HashSet;
use std::convert::Infallible;
use std::hash::{DefaultHasher, Hasher};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::{HandshakeKind, ServerConfig};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::{LocalSet, spawn_local};
use tokio::time::sleep;
use tokio_rustls::TlsAcceptor;

use crate::usage::thread_cpu;

/// The largest body: nothing larger is sent.
const BODY_BYTES_MAX: usize = 2 << 20;
const LISTEN_BACKLOG: usize = 8;
/// After an accept that failed: to ask at once again would only burn CPU.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);

/// What has arrived so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// Handshakes that were finished, and so connections.
    pub(super) handshakes_full: u64,
    pub(super) handshakes_resumed: u64,
    /// Handshakes that the other side broke off.
    pub(super) handshakes_failed: u64,
    /// Connections that are open now.
    pub(super) open: u64,
    pub(super) requests: u64,
    /// Messages by their ids, each once.
    pub(super) distinct: u64,
    /// Requests for a message that had arrived before.
    pub(super) repeated: u64,
    /// Of the bodies that came first; see [`digest`].
    pub(super) digest: u64,
    /// Of its thread.
    pub(super) cpu: Duration,
}

impl Counts {
    pub(super) fn connections(&self) -> u64 {
        self.handshakes_full + self.handshakes_resumed
    }

    /// What has come since `earlier`.
    pub(super) fn since(&self, earlier: &Counts) -> Counts {
        Counts {
            handshakes_full: self.handshakes_full - earlier.handshakes_full,
            handshakes_resumed: self.handshakes_resumed - earlier.handshakes_resumed,
            handshakes_failed: self.handshakes_failed - earlier.handshakes_failed,
            open: self.open,
            requests: self.requests - earlier.requests,
            distinct: self.distinct - earlier.distinct,
            repeated: self.repeated - earlier.repeated,
            digest: self.digest.wrapping_sub(earlier.digest),
            cpu: self.cpu.saturating_sub(earlier.cpu),
        }
    }
}

/// A number that a body is added up by. The sum over many does not depend on their order, so that it can be held against
/// that of what was published.
pub(super) fn digest(body: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(body);
    hasher.finish()
}

/// The running endpoint. It ends with this.
#[derive(Debug)]
pub(super) struct Endpoint {
    address: SocketAddr,
    asks: mpsc::Sender<oneshot::Sender<Counts>>,
}

impl Endpoint {
    /// Starts it on a free port of 127.0.0.1.
    pub(super) fn start(tls: Arc<ServerConfig>) -> anyhow::Result<Endpoint> {
        let (asks, asked) = mpsc::channel(LISTEN_BACKLOG);
        let listener = std::net::TcpListener::bind("127.0.0.1:0").context("no port for the endpoint")?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        thread::Builder::new().name("endpoint".to_owned()).spawn(move || {
            // It ends when nobody can ask it any more; what is still open then is closed with it.
            LocalSet::new().block_on(&runtime, serve(listener, tls, asked))
        })?;
        Ok(Endpoint { address, asks })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// What has arrived so far.
    pub(super) async fn counts(&self) -> anyhow::Result<Counts> {
        let (answer, answered) = oneshot::channel();
        self.asks.send(answer).await.ok().context("the endpoint has ended")?;
        answered.await.context("the endpoint has ended")
    }
}

/// What its connections share.
#[derive(Debug, Default)]
struct Books {
    counts: Counts,
    ids: HashSet<u64>,
}

async fn serve(
    listener: std::net::TcpListener,
    tls: Arc<ServerConfig>,
    mut asked: mpsc::Receiver<oneshot::Sender<Counts>>,
) {
    let Ok(listener) = TcpListener::from_std(listener) else { return };
    let acceptor = TlsAcceptor::from(tls);
    let books = Rc::new(RefCell::new(Books::default()));
    loop {
        tokio::select! {
            biased;
            ask = asked.recv() => {
                let Some(answer) = ask else { return };
                let counts = Counts { cpu: thread_cpu(), ..books.borrow().counts };
                // Who asked may have gone.
                let _gone = answer.send(counts).is_err();
            }
            accepted = listener.accept() => match accepted {
                Ok((socket, _)) => drop(spawn_local(connection(socket, acceptor.clone(), Rc::clone(&books)))),
                // A connection that broke before it was taken is nobody's; descriptors come back when one ends.
                Err(_) => sleep(ACCEPT_PAUSE).await,
            },
        }
    }
}

async fn connection(socket: TcpStream, acceptor: TlsAcceptor, books: Rc<RefCell<Books>>) {
    let shaken = match socket.set_nodelay(true) {
        Ok(()) => acceptor.accept(socket).await,
        Err(error) => Err(error),
    };
    let Ok(stream) = shaken else {
        books.borrow_mut().counts.handshakes_failed += 1;
        return;
    };
    {
        let counts = &mut books.borrow_mut().counts;
        match stream.get_ref().1.handshake_kind() {
            Some(HandshakeKind::Resumed) => counts.handshakes_resumed += 1,
            _ => counts.handshakes_full += 1,
        }
        counts.open += 1;
    }
    let service = service_fn(|request| answer(request, &books));
    // How it ended is the sender's to say.
    drop(http1::Builder::new().serve_connection(TokioIo::new(stream), service).await);
    books.borrow_mut().counts.open -= 1;
}

#[expect(clippy::disallowed_methods, reason = "the body is limited")]
async fn answer(
    request: Request<Incoming>,
    books: &RefCell<Books>,
) -> Result<Response<Empty<Bytes>>, Infallible> {
    let id = request.headers().get("X-NSQ-Message-ID").and_then(|id| id.to_str().ok());
    let id = id.and_then(|id| u64::from_str_radix(id, 16).ok());
    let mut response = Response::new(Empty::new());
    match Limited::new(request.into_body(), BODY_BYTES_MAX).collect().await {
        Ok(body) => books.borrow_mut().arrived(id, &body.to_bytes()),
        Err(_) => *response.status_mut() = StatusCode::BAD_REQUEST,
    }
    Ok(response)
}

impl Books {
    fn arrived(&mut self, id: Option<u64>, body: &[u8]) {
        let counts = &mut self.counts;
        counts.requests += 1;
        match id {
            Some(id) if !self.ids.insert(id) => counts.repeated += 1,
            Some(_) => {
                counts.distinct += 1;
                counts.digest = counts.digest.wrapping_add(digest(body));
            }
            // Sent the naive way: it has no id.
            None => counts.digest = counts.digest.wrapping_add(digest(body)),
        }
    }
}
