//! Names to addresses, off the workers: `getaddrinfo` blocks, and some resolvers never answer.
//!
//! Lookups run on a few threads of their own, started when needed. Not on the runtime's blocking pool: that one is
//! joined at exit, and a resolver that hangs would hold the exit up. There is one lookup at a time per name, however
//! many dials of however many workers wait for it, and what it found is kept for a while.

use std::collections::hash_map::Entry as Slot;
use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::{IpAddr, ToSocketAddrs};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::io::Errno;
use tokio::sync::oneshot;
use tokio::time::Instant;

/// Threads that look names up, at most. Each can be held up by one name for as long as the system's resolver takes,
/// so this many dead names do not yet delay the others.
const THREADS_MAX: usize = 8;

/// Names remembered before outdated ones are dropped.
const NAMES_KEPT: usize = 1_024;

/// Finds the addresses of a name; blocks for as long as it takes.
pub type ResolveFn = dyn Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync;

/// What a lookup found: addresses in the order of preference, at least one; or why there are none.
pub(crate) type Addresses = Result<Arc<[IpAddr]>, NoAddress>;

/// Why a name has no address.
#[derive(Clone, Debug)]
pub(crate) struct NoAddress {
    pub(crate) reason: Arc<str>,
    /// The error number of the system, when it gave one.
    os_error: Option<i32>,
}

/// What [`Resolver::lookup`] gives.
pub(crate) struct Looked {
    pub(crate) addresses: Addresses,
    /// Whether this call made the lookup happen, rather than finding it made or under way.
    pub(crate) started: bool,
}

/// How long answers are used.
#[derive(Clone, Copy)]
pub(crate) struct Ttl {
    pub(crate) found: Duration,
    pub(crate) failed: Duration,
}

/// Looks names up and remembers them, for the whole process.
pub(crate) struct Resolver(Arc<Inner>);

struct Inner {
    state: Mutex<State>,
    /// Tells a thread of a name in the queue, or of the end.
    work: Condvar,
    resolve: Arc<ResolveFn>,
}

#[derive(Default)]
struct State {
    names: HashMap<Arc<str>, Entry>,
    /// Names to look up; each stands here once at most, as its entry says that it is under way.
    queue: VecDeque<Arc<str>>,
    threads: usize,
    /// Threads that wait for a name.
    idle: usize,
    closed: bool,
}

enum Entry {
    Running(Vec<oneshot::Sender<Addresses>>),
    Known { addresses: Addresses, at: Instant },
}

impl Resolver {
    pub(crate) fn new(resolve: Arc<ResolveFn>) -> Resolver {
        Resolver(Arc::new(Inner { state: Mutex::default(), work: Condvar::new(), resolve }))
    }

    /// The addresses of `name`, remembered or looked up; `on_start` is called when this call makes a lookup happen.
    /// Dropping the future leaves the lookup running for others.
    pub(crate) async fn lookup(&self, name: &str, ttl: Ttl, on_start: impl FnOnce()) -> Looked {
        let (answer, started) = match self.0.join(name, ttl) {
            Joined::Known(addresses) => return Looked { addresses, started: false },
            Joined::Waits(answer) => (answer, false),
            Joined::Started(answer) => {
                on_start();
                (answer, true)
            }
        };
        let addresses = answer.await.expect("the sender stays in the table until it is told");
        Looked { addresses, started }
    }
}

impl Drop for Resolver {
    fn drop(&mut self) {
        self.0.lock().closed = true;
        self.0.work.notify_all();
    }
}

impl Inner {
    fn join(self: &Arc<Self>, name: &str, ttl: Ttl) -> Joined {
        let mut state = self.lock();
        let (sender, answer) = oneshot::channel();
        if state.names.len() >= NAMES_KEPT {
            state.names.retain(|_, entry| matches!(entry, Entry::Running(_)));
        }
        match state.names.entry(name.into()) {
            Slot::Occupied(mut slot) => match slot.get_mut() {
                Entry::Running(waiting) => {
                    // A lookup that hangs must not gather the dials that gave up on it.
                    waiting.retain(|sender| !sender.is_closed());
                    waiting.push(sender);
                    return Joined::Waits(answer);
                }
                Entry::Known { addresses, at } if at.elapsed() < ttl.of(addresses) => {
                    return Joined::Known(addresses.clone());
                }
                outdated @ Entry::Known { .. } => *outdated = Entry::Running(vec![sender]),
            },
            Slot::Vacant(slot) => {
                slot.insert(Entry::Running(vec![sender]));
            }
        }
        self.start(&mut state, name.into());
        Joined::Started(answer)
    }

    fn start(self: &Arc<Self>, state: &mut State, name: Arc<str>) {
        state.queue.push_back(name);
        if state.queue.len() <= state.idle {
            self.work.notify_one();
        } else if state.threads < THREADS_MAX {
            let inner = self.clone();
            let thread = std::thread::Builder::new().name(format!("resolver-{}", state.threads));
            // Detached on purpose: nothing waits for a thread that the system's resolver holds.
            match thread.spawn(move || inner.work()) {
                Ok(_detached) => state.threads += 1,
                Err(error) if state.threads == 0 => state.give_up(&error),
                Err(_) => {} // the threads there are will come to it
            }
        }
    }

    /// The life of a thread.
    fn work(&self) {
        while let Some(name) = self.next_name() {
            let addresses = self.resolve(&name);
            self.finish(name, addresses);
        }
    }

    fn next_name(&self) -> Option<Arc<str>> {
        let mut state = self.lock();
        loop {
            if state.closed {
                return None;
            }
            if let Some(name) = state.queue.pop_front() {
                return Some(name);
            }
            state.idle += 1;
            state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.idle -= 1;
        }
    }

    fn resolve(&self, name: &str) -> Addresses {
        match (self.resolve)(name) {
            Ok(addresses) if addresses.is_empty() => Err(NoAddress::because("the name has no address")),
            Ok(addresses) => Ok(addresses.into()),
            Err(error) => Err(NoAddress::of(&error)),
        }
    }

    fn finish(&self, name: Arc<str>, addresses: Addresses) {
        let mut state = self.lock();
        // Being out of descriptors says nothing about the name.
        let waiting = if addresses.as_ref().is_err_and(NoAddress::is_out_of_descriptors) {
            state.names.remove(&name)
        } else {
            state.names.insert(name, Entry::Known { addresses: addresses.clone(), at: Instant::now() })
        };
        if let Some(Entry::Running(waiting)) = waiting {
            tell(waiting, &addresses);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

enum Joined {
    Known(Addresses),
    Waits(oneshot::Receiver<Addresses>),
    Started(oneshot::Receiver<Addresses>),
}

impl State {
    /// No thread can be started at all: everyone who waits is told.
    fn give_up(&mut self, error: &io::Error) {
        for name in std::mem::take(&mut self.queue) {
            if let Some(Entry::Running(waiting)) = self.names.remove(&name) {
                tell(waiting, &Err(NoAddress::of(error)));
            }
        }
    }
}

fn tell(waiting: Vec<oneshot::Sender<Addresses>>, addresses: &Addresses) {
    for sender in waiting {
        // A dial that no longer waits is no loss.
        drop(sender.send(addresses.clone()));
    }
}

impl Ttl {
    fn of(self, addresses: &Addresses) -> Duration {
        if addresses.is_ok() { self.found } else { self.failed }
    }
}

impl NoAddress {
    fn because(reason: &str) -> NoAddress {
        NoAddress { reason: reason.into(), os_error: None }
    }

    pub(crate) fn is_out_of_descriptors(&self) -> bool {
        is_out_of_descriptors(self.os_error)
    }

    fn of(error: &io::Error) -> NoAddress {
        NoAddress { reason: error.to_string().into(), os_error: error.raw_os_error() }
    }
}

/// EMFILE (this process) or ENFILE (the system): nothing is wrong with the peer, and it passes.
pub(crate) fn is_out_of_descriptors(os_error: Option<i32>) -> bool {
    os_error.is_some_and(|number| [Errno::MFILE, Errno::NFILE].iter().any(|out| out.raw_os_error() == number))
}

/// The system's resolver: `getaddrinfo`, which honours nsswitch and the hosts file.
pub(crate) fn system() -> Arc<ResolveFn> {
    #[expect(clippy::disallowed_methods, reason = "called on the resolver's threads alone, which may block")]
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

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "these resolvers block, as real ones do")]
mod tests {
    use std::net::Ipv4Addr;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    const TTL: Ttl = Ttl { found: Duration::from_secs(30), failed: Duration::from_millis(50) };
    const HOME: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    fn counting(
        resolve: impl Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync + 'static,
    ) -> (Resolver, Arc<AtomicUsize>) {
        let calls = Arc::new(AtomicUsize::new(0));
        let counted = calls.clone();
        let resolver = Resolver::new(Arc::new(move |name| {
            counted.fetch_add(1, Ordering::SeqCst);
            resolve(name)
        }));
        (resolver, calls)
    }

    #[tokio::test]
    async fn one_lookup_serves_all_who_wait_and_is_kept() {
        let (resolver, calls) = counting(|_| {
            std::thread::sleep(Duration::from_millis(30));
            Ok(vec![HOME])
        });
        let (one, two) = tokio::join!(resolver.lookup("a", TTL, || {}), resolver.lookup("a", TTL, || {}));
        assert_eq!((one.started, two.started), (true, false));
        assert_eq!(*two.addresses.unwrap(), [HOME]);
        assert!(!resolver.lookup("a", TTL, || {}).await.started);
        assert_eq!(calls.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn failures_and_outdated_answers_are_looked_up_again() {
        let (resolver, calls) = counting(|_| Err(io::Error::other("no such host")));
        assert_eq!(&*resolver.lookup("a", TTL, || {}).await.addresses.unwrap_err().reason, "no such host");
        assert!(!resolver.lookup("a", TTL, || {}).await.started, "kept for 50 ms");
        tokio::time::sleep(Duration::from_millis(60)).await;
        assert!(resolver.lookup("a", TTL, || {}).await.started);
        assert_eq!(calls.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn a_name_that_hangs_does_not_delay_another() {
        let (resolver, _) = counting(|name| {
            if name == "dead" {
                std::thread::sleep(Duration::from_secs(3_600));
            }
            Ok(vec![HOME])
        });
        let dead = resolver.lookup("dead", TTL, || {});
        assert!(tokio::time::timeout(Duration::from_millis(20), dead).await.is_err());
        assert!(resolver.lookup("alive", TTL, || {}).await.addresses.is_ok());
        let again = resolver.lookup("dead", TTL, || {});
        assert!(
            tokio::time::timeout(Duration::from_millis(20), again).await.is_err(),
            "joined, still hanging"
        );
    }

    #[tokio::test]
    async fn the_system_knows_localhost() {
        let addresses = Resolver::new(system()).lookup("localhost", TTL, || {}).await.addresses.unwrap();
        assert!(addresses.iter().all(IpAddr::is_loopback), "{addresses:?}");
    }
}
