//! Host names to addresses, without ever holding up a runtime or an exit.
//!
//! `getaddrinfo` blocks, for half a minute when no name server answers, and cannot be cancelled. tokio's own lookup runs it on a pool that a
//! runtime waits for when it ends. Here lookups run on a few threads of their own that nothing waits for, started when there is a name for
//! them and ended when there is none. There is one lookup at a time for each name: who asks while it runs, or stands in line, joins it.
//!
//! It stands in a crate of its own because the queue's client, the embedded queue and the delivery need it, and none of them may know another.
//! What an answer is worth, how long it is used and how a failure is told differ between them, so nothing of that is here: an
//! answer is told to those who wait for it, and forgotten.

mod line;
#[cfg(test)]
mod tests;

use std::io;
use std::net::{IpAddr, ToSocketAddrs};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use tokio::sync::oneshot;

use line::Line;

/// Finds the addresses of a name; blocks for as long as it takes.
pub type ResolveFn = dyn Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync;

/// What a lookup found: addresses in the order of preference, or why there are none. An `io::Error` cannot be cloned, and several may get this one.
pub type Found = Result<Arc<[IpAddr]>, Arc<io::Error>>;

/// What becomes of a name that stands in line when all who asked for it have given up. A lookup that runs is never broken off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Abandoned {
    /// It is looked up all the same, so that the next to ask may find the answer where this one's [`ResolveFn`] has put it.
    /// Only where names come from few hands, since the line is then as long as there are names.
    Kept,
    /// It leaves the line, so that it is in nobody's way. For names that come from others, as many as they like.
    Dropped,
}

/// Lookups under way and in line. Clones share them.
#[derive(Clone)]
pub struct Lookups(Arc<Inner>);

struct Inner {
    resolve: Arc<ResolveFn>,
    threads_max: usize,
    state: Mutex<State>,
}

struct State {
    line: Line,
    threads: usize,
}

/// A lookup that this call has begun or joined. Dropping it gives up.
pub struct Lookup {
    answer: oneshot::Receiver<Found>,
    begun: bool,
}

impl Lookups {
    /// Lookups by `resolve`, on `threads_max` threads at most. Each can be held up by one name for as long as the system's resolver takes, so
    /// one less dead names do not yet delay the others.
    pub fn new(threads_max: usize, abandoned: Abandoned, resolve: Arc<ResolveFn>) -> Lookups {
        let state = State { line: Line::new(abandoned), threads: 0 };
        Lookups(Arc::new(Inner { resolve, threads_max, state: Mutex::new(state) }))
    }

    /// Joins the lookup of `name`, or has it made.
    pub fn lookup(&self, name: &str) -> Lookup {
        let mut state = self.0.lock();
        let (answer, begun) = state.line.join(name);
        // A thread that is done takes the next name in line before it ends, under the same lock.
        if begun && state.threads < self.0.threads_max {
            let inner = self.0.clone();
            // Detached on purpose: nothing waits for a thread that the system's resolver holds.
            match thread::Builder::new().name("name lookup".to_owned()).spawn(move || inner.work()) {
                Ok(_detached) => state.threads += 1,
                Err(error) if state.threads == 0 => state.line.give_up(error),
                Err(_) => {} // the threads there are will come to it
            }
        }
        Lookup { answer, begun }
    }
}

impl Lookup {
    /// Whether this call had the lookup made, rather than finding it under way.
    pub fn begun(&self) -> bool {
        self.begun
    }

    /// Waits for it. Safe to cancel: the lookup goes on for others.
    pub async fn found(self) -> Found {
        self.answer.await.expect("the sender stays in the line until it is told")
    }
}

impl Inner {
    /// The life of a thread.
    fn work(&self) {
        while let Some(name) = self.next_name() {
            // Without this, whoever waits for the name would wait for ever. Nothing of ours is half changed: the call had a name alone.
            let found = catch_unwind(AssertUnwindSafe(|| (self.resolve)(&name)))
                .unwrap_or_else(|_| Err(io::Error::other("the lookup broke off")));
            self.lock().line.tell(&name, &found.map(Arc::from).map_err(Arc::new));
        }
    }

    fn next_name(&self) -> Option<Arc<str>> {
        let mut state = self.lock();
        let name = state.line.next();
        if name.is_none() {
            state.threads -= 1;
        }
        name
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The system's resolver: `getaddrinfo`, which honours nsswitch and the hosts file.
pub fn system() -> Arc<ResolveFn> {
    #[expect(clippy::disallowed_methods, reason = "called on a lookup's own thread, which may block")]
    Arc::new(|name| {
        let mut addresses: Vec<IpAddr> = Vec::new();
        for address in (name, 0).to_socket_addrs()? {
            if !addresses.contains(&address.ip()) {
                addresses.push(address.ip());
            }
        }
        Ok(addresses)
    })
}
