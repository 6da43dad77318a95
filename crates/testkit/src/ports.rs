//! Free ports that stay ours, a port that swallows connection attempts, and what the kernel says of sockets.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use socket2::{Domain, Socket, Type};

/// A port that nobody else on this machine is given while this value lives, also while its server is down.
///
/// The reservation is a bound socket that never listens. With SO_REUSEADDR on both sides (nsqd, nginx and Rust's listeners set
/// it) a server may listen on the port beside it, go, and come back; the kernel does not pick the port for anyone else.
#[derive(Debug)]
pub struct Reserved {
    address: SocketAddr,
    _socket: Socket,
}

impl Reserved {
    /// A free port of 127.0.0.1.
    ///
    /// # Panics
    /// When the kernel has none.
    pub fn new() -> Self {
        Self::bind(Ipv4Addr::LOCALHOST.into(), 0).expect("a free port")
    }

    /// This port of this address, or a free one for 0.
    ///
    /// # Errors
    /// When somebody else has it.
    pub fn bind(address: IpAddr, port: u16) -> io::Result<Self> {
        let socket = bound(SocketAddr::new(address, port))?;
        let address = socket.local_addr()?.as_socket().expect("an IP socket");
        Ok(Self { address, _socket: socket })
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Address and port.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A listener on the port, with this backlog.
    ///
    /// # Errors
    /// When one listens there already.
    pub fn listen(&self, backlog: i32) -> io::Result<TcpListener> {
        let socket = bound(self.address)?;
        socket.listen(backlog)?;
        Ok(socket.into())
    }
}

impl Default for Reserved {
    fn default() -> Self {
        Self::new()
    }
}

fn bound(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM.cloexec(), None)?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

/// A port whose SYNs the kernel drops: its accept queue is full and nobody accepts. Connecting takes for ever.
#[derive(Debug)]
pub struct Blackhole {
    reserved: Reserved,
    _listener: TcpListener,
    _filling: Vec<TcpStream>,
}

impl Blackhole {
    /// A black hole on a free port of 127.0.0.1.
    ///
    /// # Panics
    /// When the queue does not fill, so that the port would not be a black hole.
    pub fn new() -> Self {
        let reserved = Reserved::new();
        let listener = reserved.listen(0).expect("the port is ours");
        let mut filling = Vec::new();
        // A backlog of 0 holds one connection; a few more in case the kernel rounds up. The first that hangs proves it full.
        for _ in 0..16 {
            match TcpStream::connect_timeout(&reserved.address(), Duration::from_millis(200)) {
                Ok(stream) => filling.push(stream),
                Err(_) => return Self { reserved, _listener: listener, _filling: filling },
            }
        }
        panic!("the accept queue of {} did not fill", reserved.address());
    }

    /// Where connecting hangs.
    pub fn address(&self) -> SocketAddr {
        self.reserved.address()
    }
}

impl Default for Blackhole {
    fn default() -> Self {
        Self::new()
    }
}

/// The state of a TCP socket, as `/proc/net/tcp` numbers them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs, reason = "the names are the states of RFC 9293")]
pub enum TcpState {
    Established,
    SynSent,
    SynReceived,
    FinWait1,
    FinWait2,
    TimeWait,
    Closed,
    CloseWait,
    LastAck,
    Listen,
    Closing,
    Other,
}

impl TcpState {
    fn of(hex: &str) -> Self {
        use TcpState as S;
        match u8::from_str_radix(hex, 16) {
            Ok(1) => S::Established,
            Ok(2) => S::SynSent,
            Ok(3) => S::SynReceived,
            Ok(4) => S::FinWait1,
            Ok(5) => S::FinWait2,
            Ok(6) => S::TimeWait,
            Ok(7) => S::Closed,
            Ok(8) => S::CloseWait,
            Ok(9) => S::LastAck,
            Ok(10) => S::Listen,
            Ok(11) => S::Closing,
            _ => S::Other,
        }
    }
}

/// The client ends of connections to `port` on this machine (in this thread's network namespace), by state.
///
/// ```no_run
/// # use testkit::ports::{TcpState, sockets_to};
/// assert_eq!(sockets_to(4150).get(&TcpState::CloseWait), None);
/// ```
pub fn sockets_to(port: u16) -> BTreeMap<TcpState, usize> {
    let mut states = BTreeMap::new();
    for file in ["/proc/thread-self/net/tcp", "/proc/thread-self/net/tcp6"] {
        for line in std::fs::read_to_string(file).unwrap_or_default().lines().skip(1) {
            let mut columns = line.split_ascii_whitespace().skip(2);
            let (Some(remote), Some(state)) = (columns.next(), columns.next()) else { continue };
            let remote_port = remote.rsplit(':').next().and_then(|hex| u16::from_str_radix(hex, 16).ok());
            if remote_port == Some(port) {
                *states.entry(TcpState::of(state)).or_default() += 1;
            }
        }
    }
    states
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    #[test]
    fn a_reserved_port_can_be_listened_on_again_and_again() {
        let reserved = Reserved::new();
        for _ in 0..3 {
            assert!(TcpStream::connect(reserved.address()).is_err(), "nobody listens yet");
            let listener = reserved.listen(16).expect("the port is ours");
            let client = TcpStream::connect(reserved.address()).expect("the listener is there");
            let (server, _) = listener.accept().expect("a connection waits");
            assert_eq!(sockets_to(reserved.port()).get(&TcpState::Established), Some(&1));
            drop(server);
            std::thread::sleep(Duration::from_millis(5));
            assert_eq!(sockets_to(reserved.port()).get(&TcpState::CloseWait), Some(&1));
            drop((client, listener));
        }
        assert!(Reserved::bind(Ipv4Addr::LOCALHOST.into(), 0).expect("another").port() != reserved.port());
    }

    #[test]
    fn a_black_hole_swallows() {
        let hole = Blackhole::new();
        let begun = Instant::now();
        let error = TcpStream::connect_timeout(&hole.address(), Duration::from_millis(300))
            .expect_err("no one answers");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(begun.elapsed() >= Duration::from_millis(300));
    }
}
