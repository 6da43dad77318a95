//! A TCP connection to `host:port`: lookup, every address in turn, socket options.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, timeout_at};

use super::resolver::Resolver;

/// Keep-alive: a peer gone without a word is noticed after 15 + 3 × 5 s, even where heartbeats are rare.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(15);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
const KEEPALIVE_PROBES: u32 = 3;
/// Bytes that stay unacknowledged this long end the connection; the kernel alone would go on for a quarter of an hour.
const USER_TIMEOUT: Duration = Duration::from_secs(10);

/// Why there is no TCP connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// What was to be dialled cannot be read as an address.
    #[error("{address:?} is not host:port")]
    Address {
        /// As it was given.
        address: String,
    },
    /// The host has no address, or nobody said in time which.
    #[error("looking up {host}: {source}")]
    NameLookup {
        /// The host.
        host: String,
        /// What the resolver said.
        source: io::Error,
    },
    /// No address took the connection.
    #[error("connecting to {}", Attempts(.attempts))]
    Connect {
        /// Every address tried, in order, and how it failed.
        attempts: Vec<(SocketAddr, io::Error)>,
    },
}

struct Attempts<'a>(&'a [(SocketAddr, io::Error)]);

impl fmt::Display for Attempts<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (address, error)) in self.0.iter().enumerate() {
            let comma = if i == 0 { "" } else { ", " };
            write!(f, "{comma}{address}: {error}")?;
        }
        Ok(())
    }
}

/// Connects to `address` before `deadline`. A name with several addresses gives each an equal share of what is left, so that one black hole cannot use it up.
pub(crate) async fn connect(
    resolver: &Resolver,
    address: &str,
    deadline: Instant,
) -> Result<TcpStream, ConnectError> {
    let Some((host, port)) = split_address(address) else {
        return Err(ConnectError::Address { address: address.to_owned() });
    };
    let found = timeout_at(deadline, resolver.addresses(host)).await.unwrap_or_else(|_| Err(timed_out()));
    let addresses = match found {
        Ok(addresses) if addresses.is_empty() => {
            Err(io::Error::new(io::ErrorKind::NotFound, "it has no address"))
        }
        found => found,
    };
    let addresses = addresses.map_err(|source| ConnectError::NameLookup { host: host.to_owned(), source })?;
    let mut attempts = Vec::new();
    for (i, ip) in addresses.iter().enumerate() {
        let now = Instant::now();
        let share = deadline.saturating_duration_since(now) / (addresses.len() - i) as u32;
        let address = SocketAddr::new(*ip, port);
        match connect_one(address, now + share).await {
            Ok(socket) => return Ok(socket),
            Err(error) => attempts.push((address, error)),
        }
    }
    Err(ConnectError::Connect { attempts })
}

async fn connect_one(address: SocketAddr, deadline: Instant) -> io::Result<TcpStream> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_nodelay(true)?;
    let options = SockRef::from(&socket);
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE_IDLE)
        .with_interval(KEEPALIVE_INTERVAL)
        .with_retries(KEEPALIVE_PROBES);
    options.set_tcp_keepalive(&keepalive)?;
    #[cfg(target_os = "linux")]
    options.set_tcp_user_timeout(Some(USER_TIMEOUT))?;
    timeout_at(deadline, socket.connect(address)).await.unwrap_or_else(|_| Err(timed_out()))
}

fn timed_out() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "no answer in time")
}

/// Host, without the brackets of an IPv6 address, and port. `None` where that is not what it says, or is not certain: the last
/// group of a bare IPv6 address may be meant as one.
pub(crate) fn split_address(address: &str) -> Option<(&str, u16)> {
    let (host, port) = address.rsplit_once(':')?;
    let port = port.parse().ok().filter(|port| *port != 0)?;
    let host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(bracketed) => bracketed.parse::<IpAddr>().ok().filter(IpAddr::is_ipv6).map(|_| bracketed)?,
        None => {
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
            Some(host).filter(|host| !host.is_empty() && host.bytes().all(plain))?
        }
    };
    Some((host, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_and_port_are_told_apart() {
        assert_eq!(split_address("nsqd-1.example:4150"), Some(("nsqd-1.example", 4150)));
        assert_eq!(split_address("127.0.0.1:4150"), Some(("127.0.0.1", 4150)));
        assert_eq!(split_address("[::1]:4150"), Some(("::1", 4150)));
        for wrong in [
            "",
            ":",
            "host",
            "host:",
            ":4150",
            "host:0",
            "host:65536",
            "[::1]",
            "[name]:1",
            "a b:1",
            "a/b:4150",
            "user@h:4150",
            "::1:4150",
            "[127.0.0.1]:1",
            "http://a:1",
        ] {
            assert_eq!(split_address(wrong), None, "{wrong:?}");
        }
    }

    #[tokio::test]
    async fn every_address_is_tried_and_each_failure_kept() {
        // Port 1 of the loopback: nobody listens there.
        let deadline = Instant::now() + Duration::from_secs(5);
        let error = connect(&Resolver::default(), "localhost:1", deadline).await.unwrap_err();
        let ConnectError::Connect { attempts } = &error else { panic!("{error}") };
        assert!(
            attempts.iter().all(|(_, error)| error.kind() == io::ErrorKind::ConnectionRefused),
            "{error}"
        );
        assert!(!attempts.is_empty());
    }

    #[tokio::test]
    async fn the_socket_has_its_options() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let deadline = Instant::now() + Duration::from_secs(5);
        let socket = connect(&Resolver::default(), &address, deadline).await.unwrap();
        assert!(socket.nodelay().unwrap());
        let options = SockRef::from(&socket);
        assert!(options.keepalive().unwrap());
        assert_eq!(options.tcp_keepalive_time().unwrap(), KEEPALIVE_IDLE);
        assert_eq!(options.tcp_keepalive_interval().unwrap(), KEEPALIVE_INTERVAL);
        assert_eq!(options.tcp_keepalive_retries().unwrap(), KEEPALIVE_PROBES);
        #[cfg(target_os = "linux")]
        assert_eq!(options.tcp_user_timeout().unwrap(), Some(USER_TIMEOUT));
    }
}
