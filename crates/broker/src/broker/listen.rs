//! Where connections come from: TCP, a Unix socket, or pipes in memory.

use std::future::pending;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use tokio::io::DuplexStream;
use tokio::net::{TcpListener, TcpSocket, TcpStream, UnixListener, UnixStream};
use tokio::sync::mpsc;

use crate::settings::Listen;

/// Connections that the kernel keeps until they are taken.
const BACKLOG: u32 = 1024;

/// Why an address cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {source}")]
pub struct ListenError {
    /// As it was set.
    pub address: String,
    /// Why.
    pub source: io::Error,
}

/// A source of connections.
#[derive(Debug)]
pub(super) enum Listener {
    Tcp(TcpListener),
    /// The socket's file goes with it.
    Unix(UnixListener, SocketFile),
    Pipe(mpsc::Receiver<DuplexStream>),
}

/// One connection.
pub(super) enum Accepted {
    Tcp(TcpStream),
    Unix(UnixStream),
    Pipe(DuplexStream),
}

/// A Unix socket's file, removed when this is dropped.
#[derive(Debug)]
pub(super) struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.0) {
            tracing::debug!(path = %self.0.display(), %error, "the socket's file is gone already");
        }
    }
}

impl Listener {
    pub(super) async fn bind(address: &Listen) -> Result<Self, ListenError> {
        let bound = match address {
            Listen::Tcp(address) => bind_tcp(address).await.map(Self::Tcp),
            Listen::Unix(path) => {
                bind_unix(path).await.map(|listener| Self::Unix(listener, SocketFile(path.clone())))
            }
            Listen::Off => Err(io::Error::new(io::ErrorKind::InvalidInput, "there must be an address")),
        };
        bound.map_err(|source| ListenError { address: address.to_string(), source })
    }

    /// As [`bind`](Self::bind); none where nothing is to be served.
    pub(super) async fn bind_unless_off(address: &Listen) -> Result<Option<Self>, ListenError> {
        match address {
            Listen::Off => Ok(None),
            address => Self::bind(address).await.map(Some),
        }
    }

    /// As bound. A pipe has none.
    pub(super) fn address(&self) -> Listen {
        match self {
            Self::Tcp(_) => {
                Listen::Tcp(self.socket_address().map(|address| address.to_string()).unwrap_or_default())
            }
            Self::Unix(_, file) => Listen::Unix(file.0.clone()),
            Self::Pipe(_) => Listen::Off,
        }
    }

    pub(super) fn socket_address(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(listener) => listener.local_addr().ok(),
            Self::Unix(..) | Self::Pipe(_) => None,
        }
    }

    /// The next connection, and who it is from, as Go writes it. Cancel-safe.
    pub(super) async fn accept(&mut self) -> io::Result<(Accepted, String)> {
        Ok(match self {
            Self::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                stream.set_nodelay(true)?;
                (Accepted::Tcp(stream), peer.to_string())
            }
            // Clients bind to no path as a rule.
            Self::Unix(listener, _) => (Accepted::Unix(listener.accept().await?.0), "@".to_owned()),
            Self::Pipe(pipes) => match pipes.recv().await {
                Some(pipe) => (Accepted::Pipe(pipe), "in-process".to_owned()),
                None => pending().await,
            },
        })
    }
}

/// An empty host is every address, of both kinds where the machine has both.
async fn bind_tcp(address: &str) -> io::Result<TcpListener> {
    let invalid = || io::Error::new(io::ErrorKind::InvalidInput, "it is no host and port");
    let (host, port) = address.rsplit_once(':').ok_or_else(invalid)?;
    let port: u16 = port.parse().map_err(|_| invalid())?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    if host.is_empty() {
        let both = bind_one(SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), port));
        return both.or_else(|_| bind_one(SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port)));
    }
    let addresses = match host.parse::<IpAddr>() {
        Ok(ip) => vec![SocketAddr::new(ip, port)],
        // Once, at the start: nothing else waits for it.
        Err(_) => tokio::net::lookup_host((host, port)).await?.collect(),
    };
    // As Go: an IPv4 address of a name that has both.
    let first = addresses.iter().find(|address| address.is_ipv4()).or(addresses.first());
    bind_one(*first.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the name has no address"))?)
}

fn bind_one(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// A crash leaves the file of its socket behind. Nobody answers there: it is replaced. (nsqd does not start then.)
async fn bind_unix(path: &Path) -> io::Result<UnixListener> {
    match UnixListener::bind(path) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            match UnixStream::connect(path).await {
                Err(refused) if refused.kind() == io::ErrorKind::ConnectionRefused => {}
                _ => return Err(error),
            }
            std::fs::remove_file(path)?;
            UnixListener::bind(path)
        }
        bound => bound,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_form_of_address_is_bound() {
        for address in ["127.0.0.1:0", ":0", "localhost:0"] {
            let listener = Listener::bind(&Listen::Tcp(address.to_owned())).await.expect(address);
            assert_ne!(listener.socket_address().expect("it is TCP").port(), 0);
        }
        let error = Listener::bind(&Listen::Tcp("127.0.0.1".to_owned())).await.unwrap_err();
        assert_eq!(error.to_string(), "cannot listen on 127.0.0.1: it is no host and port");
    }

    #[tokio::test]
    async fn a_socket_left_by_a_crash_is_replaced_and_one_in_use_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("nsqd.sock");
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists(), "a closed socket leaves its file");
        let listener = Listener::bind(&Listen::Unix(path.clone())).await.unwrap();
        let error = Listener::bind(&Listen::Unix(path.clone())).await.unwrap_err();
        assert_eq!(error.source.kind(), io::ErrorKind::AddrInUse);
        assert!(path.exists());
        drop(listener);
        assert!(!path.exists());
    }
}
