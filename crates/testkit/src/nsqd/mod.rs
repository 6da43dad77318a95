//! The scripted nsqd: a real socket, nsqd's manners unless a test takes them away, every command on record.
//!
//! ```no_run
//! use testkit::nsqd::{Act, Command, NsqdOptions, React, Reaction, ScriptedNsqd, id};
//! # async fn test() {
//! let nsqd = ScriptedNsqd::start();                    // answers IDENTIFY, SUB, CLS, PUB..., sends heartbeats
//! // ... start the consumer at nsqd.address() ...
//! let mut connection = nsqd.until_connection(0).await;
//! connection.until_rdy().await;                        // subscribed, and ready for messages
//! connection.send([Act::message(id(1), 1, "hello")]);
//! connection.until_fin(&id(1)).await;
//! connection.send([Act::Error("E_FIN_FAILED FIN 0000000000000001 failed ID not in flight".into())]);
//!
//! nsqd.feed((0..100).map(|serial| testkit::body::body(serial, 100)));  // delivered as RDY allows, as a channel would
//! nsqd.until(|counts| counts.finished == 101).await;
//! # }
//!
//! // The third PUB gets its OK after a second; every SUB is refused.
//! let late = React::new(|arrived| match (arrived.command, arrived.nth) {
//!     (Command::Pub { .. }, 2) => Reaction::Acts(vec![Act::Sleep(std::time::Duration::from_secs(1)), Act::Usual]),
//!     (Command::Sub { .. }, _) => Reaction::Acts(vec![Act::Error("E_BAD_TOPIC SUB topic name".into()), Act::Close]),
//!     _ => Reaction::Usual,
//! });
//! let nsqd = ScriptedNsqd::start_with(NsqdOptions { react: late, ..Default::default() });
//! ```
//!
//! What begins with `until` is awaited; its twin that begins with `wait` blocks the thread.

mod books;
mod manners;
mod protocol;
mod script;
mod session;
mod stream;

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;
use tokio::sync::Notify;

pub use books::{Held, NsqdConnectionBook, NsqdCounts, NsqdEnd};
pub use protocol::{Command, ERROR, MESSAGE, RESPONSE, frame, id, message_frame};
pub use script::{Act, Arrived, NsqdOptions, React, Reaction};

use crate::board::{Board, lock};
use crate::endpoint::TlsOptions;
use crate::gate::PATIENCE;
use crate::kill::Kill;
use crate::server::Server;
use books::Books;
use session::{Job, Shared};

/// A running scripted nsqd. It stops, and its connections end, when it is dropped.
pub struct ScriptedNsqd {
    shared: Arc<Shared>,
    server: Server,
}

impl ScriptedNsqd {
    /// With nsqd's usual manners, on a free port of 127.0.0.1.
    pub fn start() -> Self {
        Self::start_with(NsqdOptions::default())
    }

    /// With these options.
    ///
    /// # Panics
    /// When its port is taken.
    pub fn start_with(options: NsqdOptions) -> Self {
        let tls = options.certificate.map(|certificate| {
            let authority = certificate.authority().clone();
            let client_authority = options.client_authority;
            TlsOptions { certificate, client_authority, ..TlsOptions::new(&authority) }.config()
        });
        let shared = Arc::new(Shared {
            books: Board::new(Books::default()),
            react: Mutex::new(options.react),
            identify: Mutex::new(options.identify),
            heartbeats: options.heartbeats,
            tls,
            wires: Mutex::default(),
            queued: Notify::new(),
        });
        let sessions = shared.clone();
        let server = Server::start("nsqd", Ipv4Addr::LOCALHOST.into(), options.port, move |tcp, peer| {
            session::serve(sessions.clone(), tcp, peer)
        });
        Self { shared, server }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// What it counted so far.
    pub fn counts(&self) -> NsqdCounts {
        self.shared.books.read(|books| books.counts.clone())
    }

    /// The book of every connection accepted so far.
    pub fn connections(&self) -> Vec<NsqdConnectionBook> {
        self.shared.books.read(|books| books.connections.clone())
    }

    /// The sum of RDY over the open connections.
    pub fn rdy_sum(&self) -> i64 {
        self.shared.books.read(|books| {
            books.connections.iter().filter(|book| book.ended.is_none()).map(|book| book.rdy).sum()
        })
    }

    /// Reacts by this script from the next command on.
    pub fn set_react(&self, react: React) {
        *lock(&self.shared.react) = react;
    }

    /// Changes the answer to IDENTIFY, from the next one on ([`NsqdOptions::identify`]).
    pub fn set_identify(&self, changes: Value) {
        *lock(&self.shared.identify) = changes;
    }

    /// Queues messages, with ids from [`id`]`(1)` on. They are delivered to whichever connection has RDY, delivered again
    /// after REQ or [`Act::TimeOut`] or the end of their connection, and never time out by themselves.
    pub fn feed(&self, bodies: impl IntoIterator<Item = Bytes>) {
        self.shared.books.update(|books| books.feed(bodies));
        self.shared.queued.notify_waiters();
    }

    /// Messages that were fed and now wait for RDY.
    pub fn depth(&self) -> usize {
        self.shared.books.read(|books| books.queue.len())
    }

    /// The `number`th connection (from 0), once it is accepted.
    ///
    /// # Panics
    /// When it is not within 20 s.
    pub async fn until_connection(&self, number: u64) -> NsqdConnection {
        self.until(|counts| counts.accepted > number).await;
        NsqdConnection { shared: self.shared.clone(), number, seen: 0 }
    }

    /// As [`ScriptedNsqd::until_connection`], blocking.
    ///
    /// # Panics
    /// When it is not accepted within 20 s.
    #[track_caller]
    pub fn wait_connection(&self, number: u64) -> NsqdConnection {
        self.wait(|counts| counts.accepted > number);
        NsqdConnection { shared: self.shared.clone(), number, seen: 0 }
    }

    /// Waits until the counts satisfy `enough`.
    ///
    /// # Panics
    /// When they do not within 20 s, with the counts.
    pub async fn until(&self, enough: impl Fn(&NsqdCounts) -> bool) -> NsqdCounts {
        let look = |books: &mut Books| enough(&books.counts).then(|| books.counts.clone());
        let found = self.shared.books.until(PATIENCE, look).await;
        found.unwrap_or_else(|| panic!("not reached within {PATIENCE:?}: {:#?}", self.counts()))
    }

    /// As [`ScriptedNsqd::until`], blocking.
    ///
    /// # Panics
    /// When they do not within 20 s, with the counts.
    #[track_caller]
    pub fn wait(&self, enough: impl Fn(&NsqdCounts) -> bool) -> NsqdCounts {
        let look = |books: &mut Books| enough(&books.counts).then(|| books.counts.clone());
        let found = self.shared.books.wait(PATIENCE, look);
        found.unwrap_or_else(|| panic!("not reached within {PATIENCE:?}: {:#?}", self.counts()))
    }

    /// Stops listening: dials are refused. Open connections stay.
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

    /// Ends every open connection, whatever it is doing, and says how many.
    pub fn kill_connections(&self, kill: Kill) -> usize {
        let wires = lock(&self.shared.wires);
        wires.iter().filter(|wire| wire.killer.kill(kill)).count()
    }
}

impl fmt::Debug for ScriptedNsqd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScriptedNsqd")
            .field("address", &self.address())
            .field("counts", &self.counts())
            .finish()
    }
}

/// One connection of a scripted nsqd, in the hands of a test. It remembers how far the test has looked: each wait begins
/// behind the command that the last one found.
pub struct NsqdConnection {
    shared: Arc<Shared>,
    number: u64,
    seen: usize,
}

impl NsqdConnection {
    /// Has the connection execute these acts, after those it has already. Does not wait for them.
    pub fn send(&self, acts: impl IntoIterator<Item = Act>) {
        let wires = lock(&self.shared.wires);
        // The connection may have ended; what follows in the test will show it.
        wires[self.number as usize].jobs.send(Job::Acts(acts.into_iter().collect())).ok();
    }

    /// Its book.
    pub fn book(&self) -> NsqdConnectionBook {
        self.shared.books.update(|books| books.connection(self.number).clone())
    }

    /// Every command so far.
    pub fn commands(&self) -> Vec<Command> {
        self.book().commands.into_iter().map(|(_, command)| command).collect()
    }

    /// How many commands satisfy `which` so far.
    pub fn count(&self, which: impl Fn(&Command) -> bool) -> usize {
        self.shared.books.update(|books| {
            books.connection(self.number).commands.iter().filter(|(_, command)| which(command)).count()
        })
    }

    /// The next command that gives a value, skipping others.
    ///
    /// # Panics
    /// When none comes within 20 s, with what came instead.
    pub async fn until<R>(&mut self, what: &str, mut which: impl FnMut(&Command) -> Option<R>) -> R {
        let (number, seen) = (self.number, self.seen);
        let look = |books: &mut Books| find(books, number, seen, &mut which);
        let found = self.shared.books.until(PATIENCE, look).await;
        self.found(what, found)
    }

    /// As [`NsqdConnection::until`], blocking.
    ///
    /// # Panics
    /// When none comes within 20 s, with what came instead.
    #[track_caller]
    pub fn wait<R>(&mut self, what: &str, mut which: impl FnMut(&Command) -> Option<R>) -> R {
        let (number, seen) = (self.number, self.seen);
        let look = |books: &mut Books| find(books, number, seen, &mut which);
        let found = self.shared.books.wait(PATIENCE, look);
        self.found(what, found)
    }

    #[track_caller]
    fn found<R>(&mut self, what: &str, found: Option<(usize, R)>) -> R {
        let Some((at, value)) = found else {
            let since = self.commands().split_off(self.seen);
            panic!("no {what} on connection {} within {PATIENCE:?}, but {since:?}", self.number);
        };
        self.seen = at + 1;
        value
    }

    /// The next RDY above 0, which also means that the client has subscribed.
    pub async fn until_rdy(&mut self) -> i64 {
        self.until("RDY above 0", |command| match command {
            Command::Rdy(count) if *count > 0 => Some(*count),
            _ => None,
        })
        .await
    }

    /// The FIN of this message.
    pub async fn until_fin(&mut self, id: &str) {
        self.until(&format!("FIN {id}"), |command| (*command == Command::Fin(id.into())).then_some(())).await;
    }

    /// The TOUCH of this message.
    pub async fn until_touch(&mut self, id: &str) {
        self.until(&format!("TOUCH {id}"), |command| (*command == Command::Touch(id.into())).then_some(()))
            .await;
    }

    /// The REQ of this message, and its delay in milliseconds.
    pub async fn until_req(&mut self, id: &str) -> i64 {
        self.until(&format!("REQ {id}"), |command| match command {
            Command::Req { id: of, delay_ms } if of == id => Some(*delay_ms),
            _ => None,
        })
        .await
    }

    /// The end of the connection.
    ///
    /// # Panics
    /// When it does not come within 20 s.
    pub async fn until_ended(&self) -> NsqdEnd {
        let number = self.number;
        let look = |books: &mut Books| books.connection(number).ended.map(|(_, end)| end);
        let ended = self.shared.books.until(PATIENCE, look).await;
        ended.unwrap_or_else(|| panic!("connection {number} is open after {PATIENCE:?}"))
    }

    /// Nothing but NOP comes for this long.
    ///
    /// # Panics
    /// When something does.
    pub async fn until_silent(&self, time: Duration) {
        let before = self.commands().len();
        tokio::time::sleep(time).await;
        let since: Vec<_> = self.commands().split_off(before);
        assert!(since.iter().all(|command| *command == Command::Nop), "no silence, but {since:?}");
    }
}

impl fmt::Debug for NsqdConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NsqdConnection").field("number", &self.number).field("seen", &self.seen).finish()
    }
}

fn find<R>(
    books: &mut Books,
    number: u64,
    seen: usize,
    which: &mut impl FnMut(&Command) -> Option<R>,
) -> Option<(usize, R)> {
    // A connection is entered before its number can be asked for.
    let commands = &books.connection(number).commands;
    commands
        .iter()
        .enumerate()
        .skip(seen)
        .find_map(|(at, (_, command))| which(command).map(|value| (at, value)))
}
