//! Host names to addresses, without ever holding up the broker.
//!
//! Only so many are looked up at once, the stuck ones included: whoever can make the broker ask (a client that sends AUTH) must not be able to
//! make threads without end. Who comes beyond that waits, for as long as the question may take.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use resolve::{Abandoned, Lookups};

/// Lookups at once, one for each host.
const LOOKUPS_MAX: usize = 8;

/// The lookups under way. Clones share them.
#[derive(Clone)]
pub(super) struct Resolver(Lookups);

impl Resolver {
    pub(super) fn new() -> Self {
        Self(Lookups::new(LOOKUPS_MAX, Abandoned::Dropped, resolve::system()))
    }

    /// Every address of `host`, in the order that the system prefers; an address in figures is its own answer. Safe to cancel.
    pub(super) async fn addresses(&self, host: &str) -> io::Result<Arc<[IpAddr]>> {
        let host = host.trim_start_matches('[').trim_end_matches(']');
        if let Ok(address) = host.parse() {
            return Ok([address].into());
        }
        let found = self.0.lookup(host).found().await;
        found.map_err(|error| io::Error::new(error.kind(), error.to_string()))
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "this resolver blocks, as real ones do")]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn more_names_than_may_be_looked_up_at_once_wait_and_an_address_in_figures_does_not() {
        let asked = Arc::new(AtomicUsize::new(0));
        let counted = asked.clone();
        let hangs = move |_: &str| {
            counted.fetch_add(1, Ordering::SeqCst);
            std::thread::sleep(Duration::from_secs(3_600));
            Ok(vec![])
        };
        let resolver = Resolver(Lookups::new(LOOKUPS_MAX, Abandoned::Dropped, Arc::new(hangs)));
        let names: Vec<String> = (0..=LOOKUPS_MAX).map(|number| format!("stuck-{number}.example")).collect();
        let _asking: Vec<_> = names.iter().map(|name| resolver.0.lookup(name)).collect();
        while asked.load(Ordering::SeqCst) < LOOKUPS_MAX {
            std::thread::sleep(Duration::from_millis(1));
        }
        let waits = timeout(Duration::from_millis(50), resolver.addresses("localhost")).await;
        assert!(waits.is_err(), "there is no place for another");
        assert_eq!(asked.load(Ordering::SeqCst), LOOKUPS_MAX);
        for figures in ["[::1]", "::1", "127.0.0.1"] {
            assert!(resolver.addresses(figures).await.unwrap()[0].is_loopback(), "no lookup, so no place");
        }
        assert!(Resolver::new().addresses("localhost").await.unwrap().iter().all(IpAddr::is_loopback));
    }
}
