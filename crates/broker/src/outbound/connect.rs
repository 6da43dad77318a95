//! A TCP connection to `host:port`: lookup and every address in turn, before a deadline.
//!
//! `getaddrinfo` may block for half a minute and cannot be cancelled, so each lookup has a thread of its own that nothing waits for. Only
//! so many run at once: whoever can make the broker ask (a client that sends AUTH) must not be able to make threads without end.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

/// Lookups at once in this process, the stuck ones included.
const LOOKUPS_MAX: usize = 8;

static LOOKUPS: AtomicUsize = AtomicUsize::new(0);

/// Connects before `deadline`. A name with several addresses gives each an equal share of what is left.
pub(crate) async fn connect(host: &str, port: u16, deadline: Instant) -> io::Result<TcpStream> {
    let addresses = timeout_at(deadline, addresses(host, port)).await.unwrap_or_else(|_| Err(late()))?;
    let mut failed = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for (i, address) in addresses.iter().enumerate() {
        let now = Instant::now();
        let share = deadline.saturating_duration_since(now) / (addresses.len() - i) as u32;
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        socket.set_nodelay(true)?;
        socket.set_keepalive(true)?;
        match timeout_at(now + share, socket.connect(*address)).await.unwrap_or_else(|_| Err(late())) {
            Ok(stream) => return Ok(stream),
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

fn late() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "no answer in time")
}

async fn addresses(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(ip, port)]);
    }
    let place = Place::take()?;
    let (found, lookup) = oneshot::channel();
    let name = host.to_owned();
    thread::Builder::new().name("name lookup".to_owned()).spawn(move || {
        #[expect(clippy::disallowed_methods, reason = "it may block here: this thread is for nothing else")]
        let addresses = std::net::ToSocketAddrs::to_socket_addrs(&(name.as_str(), port));
        drop(place);
        // Whoever asked may have given up.
        let _gone = found.send(addresses.map(Iterator::collect));
    })?;
    lookup.await.unwrap_or_else(|_| Err(io::Error::other("the lookup broke off")))
}

/// One of the lookups that may run.
struct Place;

impl Place {
    fn take() -> io::Result<Self> {
        if LOOKUPS.fetch_add(1, Ordering::Relaxed) < LOOKUPS_MAX {
            return Ok(Self);
        }
        LOOKUPS.fetch_sub(1, Ordering::Relaxed);
        Err(io::Error::other(format!("{LOOKUPS_MAX} lookups run already")))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        LOOKUPS.fetch_sub(1, Ordering::Relaxed);
    }
}
