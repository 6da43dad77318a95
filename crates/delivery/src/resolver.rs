//! Names to addresses, off the workers: `getaddrinfo` blocks, and some resolvers never answer.
//!
//! There is one lookup at a time per name, however many dials of however many workers wait for it (crate `resolve`), and
//! what it found is kept for a while, also when all who asked have given up by then: a resolver that takes longer than a
//! dial may would otherwise never give an address.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use resolve::{Abandoned, Lookups, ResolveFn};
use rustix::io::Errno;
use tokio::time::Instant;

/// Threads that look names up, at most. Each can be held up by one name for as long as the system's resolver takes,
/// so this many dead names do not yet delay the others.
const THREADS_MAX: usize = 8;

/// Names remembered before all are forgotten.
const NAMES_KEPT: usize = 1_024;

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
pub(crate) struct Resolver {
    known: Arc<Known>,
    lookups: Lookups,
}

/// What lookups found, and when.
#[derive(Default)]
struct Known(Mutex<HashMap<Box<str>, (Addresses, Instant)>>);

impl Resolver {
    pub(crate) fn new(resolve: Arc<ResolveFn>) -> Resolver {
        let known = Arc::new(Known::default());
        let keeper = known.clone();
        let resolve = move |name: &str| {
            let found = resolve(name).and_then(|addresses| match addresses.is_empty() {
                true => Err(io::Error::other("the name has no address")),
                false => Ok(addresses),
            });
            // Before the lookup ends, so that nobody finds neither the one nor the other.
            keeper.keep(name, &found);
            found
        };
        Resolver { known, lookups: Lookups::new(THREADS_MAX, Abandoned::Kept, Arc::new(resolve)) }
    }

    /// The addresses of `name`, remembered or looked up; `on_start` is called when this call makes a lookup happen.
    /// Dropping the future leaves the lookup running for others.
    pub(crate) async fn lookup(&self, name: &str, ttl: Ttl, on_start: impl FnOnce()) -> Looked {
        let lookup = {
            // Held until the lookup is joined: one that ends in between would be made twice.
            let known = self.known.lock();
            match known.get(name) {
                Some((addresses, at)) if at.elapsed() < ttl.of(addresses) => {
                    return Looked { addresses: addresses.clone(), started: false };
                }
                _ => self.lookups.lookup(name),
            }
        };
        let started = lookup.begun();
        if started {
            on_start();
        }
        let addresses = lookup.found().await.map_err(|error| NoAddress::of(&error));
        Looked { addresses, started }
    }
}

impl Known {
    fn keep(&self, name: &str, found: &io::Result<Vec<IpAddr>>) {
        let addresses = match found {
            Ok(addresses) => Ok(Arc::from(&addresses[..])),
            Err(error) => Err(NoAddress::of(error)),
        };
        let mut known = self.lock();
        if known.len() >= NAMES_KEPT {
            known.clear();
        }
        if addresses.as_ref().is_err_and(NoAddress::is_out_of_descriptors) {
            // Being out of descriptors says nothing about the name.
            known.remove(name);
        } else {
            known.insert(name.into(), (addresses, Instant::now()));
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Box<str>, (Addresses, Instant)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ttl {
    fn of(self, addresses: &Addresses) -> Duration {
        if addresses.is_ok() { self.found } else { self.failed }
    }
}

impl NoAddress {
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
    async fn what_comes_after_all_have_given_up_is_kept_too() {
        let (resolver, calls) = counting(|_| {
            std::thread::sleep(Duration::from_millis(60));
            Ok(vec![HOME])
        });
        let late = resolver.lookup("slow", TTL, || {});
        assert!(tokio::time::timeout(Duration::from_millis(20), late).await.is_err());
        std::thread::sleep(Duration::from_millis(500));
        assert!(!resolver.lookup("slow", TTL, || {}).await.started);
        assert_eq!(calls.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn being_out_of_descriptors_is_told_and_not_kept() {
        let (resolver, calls) = counting(|_| Err(Errno::MFILE.into()));
        for call in 1..=2 {
            let looked = resolver.lookup("a", TTL, || {}).await;
            assert!(looked.started && looked.addresses.unwrap_err().is_out_of_descriptors());
            assert_eq!(calls.load(Ordering::SeqCst), call);
        }
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
        let addresses =
            Resolver::new(resolve::system()).lookup("localhost", TTL, || {}).await.addresses.unwrap();
        assert!(addresses.iter().all(IpAddr::is_loopback), "{addresses:?}");
    }
}
