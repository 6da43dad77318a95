//! Host names of nsqds and nsqlookupds to addresses, without ever holding up a runtime.
//!
//! The names may come from nsqlookupd, as many as it likes, so only a few lookups run at once. The others wait in line, each for as long as its dial has time.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use resolve::{Abandoned, Lookups};

/// Threads that look names up, at most: so many dead names do not yet delay the others.
const THREADS_MAX: usize = 8;

/// The lookups under way. Clones share them.
#[derive(Clone)]
pub(crate) struct Resolver(Lookups);

impl Default for Resolver {
    fn default() -> Resolver {
        Resolver(Lookups::new(THREADS_MAX, Abandoned::Dropped, resolve::system()))
    }
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resolver").finish_non_exhaustive()
    }
}

impl Resolver {
    /// Every address of `host`, in the order that the system prefers; an address in figures is its own answer.
    pub(crate) async fn addresses(&self, host: &str) -> io::Result<Arc<[IpAddr]>> {
        if let Ok(address) = host.parse() {
            return Ok([address].into());
        }
        let found = self.0.lookup(host).found().await;
        found.map_err(|error| io::Error::new(error.kind(), error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_address_in_figures_starts_no_lookup() {
        let none = Arc::new(|name: &str| -> io::Result<Vec<IpAddr>> { panic!("{name} was looked up") });
        let resolver = Resolver(Lookups::new(THREADS_MAX, Abandoned::Dropped, none));
        for figures in ["127.0.0.1", "::1"] {
            assert_eq!(*resolver.addresses(figures).await.unwrap(), [figures.parse::<IpAddr>().unwrap()]);
        }
        assert!(resolver.addresses("localhost").await.is_err(), "a name is looked up");
    }

    #[tokio::test]
    async fn a_failed_lookup_keeps_its_kind_and_its_words() {
        let denied = || io::Error::new(io::ErrorKind::PermissionDenied, "not for you");
        let resolver = Resolver(Lookups::new(1, Abandoned::Dropped, Arc::new(move |_| Err(denied()))));
        let error = resolver.addresses("nsqd.test").await.unwrap_err();
        assert_eq!((error.kind(), error.to_string()), (denied().kind(), denied().to_string()));
    }
}
