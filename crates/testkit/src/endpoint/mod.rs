//! The scripted HTTP and HTTPS endpoint.
//!
//! It runs on a thread and a runtime of its own, so that it neither disturbs the code under test nor waits for it; every
//! method here may be called from a test that blocks and, unless its documentation says otherwise, from one that must not.
//! It counts at its sockets: what a client says of its connections can be held against what really arrived.
//!
//! ```no_run
//! use std::time::Duration;
//! use testkit::endpoint::{Answer, Endpoint, EndpointOptions, Script, Step};
//!
//! let endpoint = Endpoint::https(Script::every(10, Answer::ok().closing(), Answer::ok()));
//! // ... POST a thousand times to endpoint.url("/"), trusting endpoint.ca_file() ...
//! let counts = endpoint.counts();
//! assert_eq!((counts.accepted, counts.requests), (100, 1000));
//! assert_eq!(counts.fired("close"), 100);
//! endpoint.ledger().assert_exactly_once(0..1000);
//!
//! // Something arrives on an idle connection: the call returns when the bytes are in the peer's kernel.
//! let stray = Step::Send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".into());
//! assert_eq!(endpoint.on_idle([stray]), 1);
//! ```

mod answer;
mod connection;
mod counts;
mod noting;
mod options;
mod peers;
mod records;
mod request;
mod script;
mod shared;
mod steps;
mod transport;

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

pub use answer::Answer;
pub use counts::{ConnectionRecord, Counts, End, RequestRecord, TlsRecord};
pub use options::{Accept, AcceptScript, EndpointOptions, TlsOptions};
pub use request::RequestHead;
pub use script::{Decide, Script, Step};

use crate::board::{Board, lock};
use crate::certs::Authority;
use crate::gate::PATIENCE;
use crate::kill::Kill;
use crate::ledger::Ledger;
use crate::server::Server;
use connection::Connection;
use counts::Books;
use shared::Shared;
use transport::Transport;

/// A running endpoint. It stops, and its connections end, when it is dropped.
pub struct Endpoint {
    shared: Arc<Shared>,
    authority: Option<Authority>,
    server: Server,
}

impl Endpoint {
    /// A plain endpoint on a free port of 127.0.0.1.
    pub fn http(script: impl Into<Script>) -> Self {
        Self::start(EndpointOptions::new(script))
    }

    /// An endpoint with TLS under an authority of its own ([`Endpoint::ca_file`]).
    pub fn https(script: impl Into<Script>) -> Self {
        Self::start(EndpointOptions::new(script).tls(TlsOptions::new(&Authority::new())))
    }

    /// An endpoint with these options.
    ///
    /// # Panics
    /// When its port is taken.
    pub fn start(options: EndpointOptions) -> Self {
        let shared = Arc::new(Shared {
            books: Board::new(Books::default()),
            peers: Arc::default(),
            tls: options.tls.as_ref().map(TlsOptions::config),
            tickets_after: options.tls.as_ref().and_then(|tls| tls.tickets_after),
            bodies_kept: options.bodies_kept,
            requests_kept: options.requests_kept,
            script: Mutex::new(options.script),
            accept: Mutex::new(options.accept),
            random: Default::default(),
        });
        let receive_buffer_bytes = options.receive_buffer_bytes;
        let books = shared.clone();
        let server = Server::start("endpoint", options.address, options.port, move |tcp, peer| {
            begin(&books, tcp, peer, receive_buffer_bytes)
        });
        Self { shared, authority: options.tls.map(|tls| tls.authority), server }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.address().port()
    }

    /// Its URL with this path, by address: `https://127.0.0.1:4711/hook`.
    pub fn url(&self, path: &str) -> String {
        format!("{}://{}{path}", self.scheme(), self.address())
    }

    /// Its URL by the name `localhost`, for what concerns names and lookups.
    pub fn url_by_name(&self, path: &str) -> String {
        format!("{}://localhost:{}{path}", self.scheme(), self.port())
    }

    fn scheme(&self) -> &'static str {
        if self.authority.is_some() { "https" } else { "http" }
    }

    /// The certificate to trust, PEM.
    ///
    /// # Panics
    /// When the endpoint is plain.
    pub fn ca_file(&self) -> PathBuf {
        self.authority().ca_file()
    }

    /// The authority of its certificates.
    ///
    /// # Panics
    /// When the endpoint is plain.
    pub fn authority(&self) -> &Authority {
        self.authority.as_ref().expect("an endpoint with TLS")
    }

    /// What it counted so far. Requests and bodies are entered before their answer is sent; `answers`, `busy` and bytes may
    /// lag behind what the peer sees by a moment, so wait for those ([`Endpoint::wait`]).
    pub fn counts(&self) -> Counts {
        self.shared.books.read(|books| books.counts.clone())
    }

    /// Deliveries by serial.
    pub fn ledger(&self) -> Ledger {
        self.shared.books.read(|books| books.ledger.clone())
    }

    /// Every connection accepted so far.
    pub fn connections(&self) -> Vec<ConnectionRecord> {
        self.shared.books.read(|books| books.connections.clone())
    }

    /// The last requests ([`EndpointOptions::requests_kept`]).
    pub fn requests(&self) -> Vec<RequestRecord> {
        self.shared.books.read(|books| books.requests.iter().cloned().collect())
    }

    /// Blocks until the counts satisfy `enough`.
    ///
    /// # Panics
    /// When they do not within 20 s, with the counts.
    #[track_caller]
    pub fn wait(&self, enough: impl Fn(&Counts) -> bool) -> Counts {
        let found = self.wait_within(PATIENCE, enough);
        found.unwrap_or_else(|counts| panic!("not reached within {PATIENCE:?}: {counts:#?}"))
    }

    /// Blocks until the counts satisfy `enough`, at most this long.
    ///
    /// # Errors
    /// The counts as they are when the time is up.
    pub fn wait_within(
        &self,
        timeout: Duration,
        enough: impl Fn(&Counts) -> bool,
    ) -> Result<Counts, Box<Counts>> {
        let look = |books: &mut Books| enough(&books.counts).then(|| books.counts.clone());
        self.shared.books.wait(timeout, look).ok_or_else(|| Box::new(self.counts()))
    }

    /// As [`Endpoint::wait`], without blocking the thread.
    ///
    /// # Panics
    /// When they do not within 20 s, with the counts.
    pub async fn until(&self, enough: impl Fn(&Counts) -> bool) -> Counts {
        let look = |books: &mut Books| enough(&books.counts).then(|| books.counts.clone());
        let found = self.shared.books.until(PATIENCE, look).await;
        found.unwrap_or_else(|| panic!("not reached within {PATIENCE:?}: {:#?}", self.counts()))
    }

    /// Answers by this script from the next request on.
    pub fn set_script(&self, script: impl Into<Script>) {
        *lock(&self.shared.script) = script.into();
    }

    /// Treats accepted connections by this choice from the next one on.
    pub fn set_accept(&self, accept: impl Into<AcceptScript>) {
        *lock(&self.shared.accept) = accept.into();
    }

    /// The numbers of the connections that are open with no request on them (fresh ones too).
    pub fn idle(&self) -> Vec<u64> {
        self.shared.peers.idle()
    }

    /// Has every idle connection execute these steps, and says how many did. When it returns the bytes (or FIN, or RST) are
    /// sent: on loopback that means they are in the peer's socket, although no epoll of the peer has run. Blocks only for the
    /// endpoint: a [`Step::Close`] goes on waiting for the peer's FIN after the return.
    pub fn on_idle(&self, steps: impl IntoIterator<Item = Step>) -> usize {
        let steps: Vec<Step> = steps.into_iter().collect();
        self.shared.peers.order(&self.idle(), &steps)
    }

    /// As [`Endpoint::on_idle`], for one connection; `false` if it was not idle.
    pub fn on_idle_connection(&self, number: u64, steps: impl IntoIterator<Item = Step>) -> bool {
        let steps: Vec<Step> = steps.into_iter().collect();
        self.shared.peers.order(&[number], &steps) == 1
    }

    /// From now on every connection open now answers its next bytes with RST, as a host does that restarted and lost them.
    /// Connections accepted later are served. Says how many it concerns; `fired("reset_on_next_use")` counts the resets.
    pub fn reset_on_next_use(&self) -> usize {
        self.shared.peers.reset_on_next_use()
    }

    /// Ends every open connection, whatever it is doing, and says how many.
    pub fn kill_connections(&self, kill: Kill) -> usize {
        self.shared.peers.kill(kill)
    }

    /// Stops listening: dials are refused. Open connections stay; see [`Endpoint::kill_connections`].
    pub fn down(&self) {
        self.server.down();
    }

    /// Listens again, on the same port.
    ///
    /// # Panics
    /// When it listens already.
    pub fn up(&self) {
        self.server.up();
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint").field("address", &self.address()).field("counts", &self.counts()).finish()
    }
}

fn begin(
    shared: &Arc<Shared>,
    tcp: tokio::net::TcpStream,
    peer: SocketAddr,
    receive_buffer_bytes: Option<usize>,
) -> impl Future<Output = ()> + use<> {
    if let Some(bytes) = receive_buffer_bytes {
        socket2::SockRef::from(&tcp).set_recv_buffer_size(bytes).ok();
    }
    let number = shared.books.read(|books| books.counts.accepted);
    let accept = shared.choose_accept(number);
    let served = accept == Accept::Serve && shared.tls.is_none();
    let wires = shared.peers.enter(number, served);
    shared.books.update(|books| {
        books.counts.accepted += 1;
        books.counts.open += 1;
        books.counts.open_max = books.counts.open_max.max(books.counts.open);
        books.connections.push(ConnectionRecord {
            connection: number,
            peer_port: peer.port(),
            requests: 0,
            tls: None,
            opened: Instant::now(),
            ended: None,
        });
    });
    Connection::new(shared.clone(), number, Transport::plain(tcp), wires).run(accept)
}
