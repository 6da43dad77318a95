//! A TCP connection to `host:port`: lookup and every address in turn, before a deadline.

use std::io;
use std::net::{IpAddr, SocketAddr};

use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, timeout_at};

use super::Outbound;

impl Outbound {
    /// Connects before `deadline`. A name with several addresses gives each an equal share of what is left.
    pub(crate) async fn connect(&self, host: &str, port: u16, deadline: Instant) -> io::Result<TcpStream> {
        let addresses = timeout_at(deadline, self.resolver.addresses(host));
        connect(&addresses.await.unwrap_or_else(|_| Err(late()))?, port, deadline).await
    }
}

async fn connect(addresses: &[IpAddr], port: u16, deadline: Instant) -> io::Result<TcpStream> {
    let mut failed = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for (i, address) in addresses.iter().enumerate() {
        let now = Instant::now();
        let share = deadline.saturating_duration_since(now) / (addresses.len() - i) as u32;
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        socket.set_nodelay(true)?;
        socket.set_keepalive(true)?;
        let connecting = timeout_at(now + share, socket.connect(SocketAddr::new(*address, port)));
        match connecting.await.unwrap_or_else(|_| Err(late())) {
            Ok(stream) => return Ok(stream),
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

fn late() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "no answer in time")
}
