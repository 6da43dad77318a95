//! From an identity to a connection that can carry requests: lookup, TCP, TLS, under one deadline.
//!
//! Every address is tried in turn, each with an even share of the time left, so that one that swallows packets does
//! not use up what the next would need.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use rustls::HandshakeKind;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::counters::{EndpointCounters, micros};
use crate::identity::Identity;
use crate::outcome::{Cause, ConnectFailure, LookupFailure, Phase, TlsFailure};
use crate::resolver::{Resolver, Ttl, is_out_of_descriptors};
use crate::settings::SocketSettings;
use crate::socket::Socket;
use crate::target::Host;
use crate::tls::Tls;
use crate::transport::Transport;

/// Dials connections of one identity.
pub(crate) struct Dialer {
    pub(crate) identity: Identity,
    /// Made from the identity's TLS settings.
    pub(crate) tls: Option<Tls>,
    pub(crate) resolver: Arc<Resolver>,
    pub(crate) ttl: Ttl,
    pub(crate) connect_timeout: Duration,
    pub(crate) counters: Arc<EndpointCounters>,
}

/// Why a dial gave no connection.
#[derive(Debug)]
pub(crate) enum DialError {
    /// This process or system has no descriptor free: nobody's fault, and it passes.
    OutOfDescriptors,
    /// It failed for whoever waits for it.
    Failed(Cause),
}

impl Dialer {
    /// One dial. Dropping the future closes the socket.
    ///
    /// # Errors
    /// [`DialError`] with every address that was tried.
    pub(crate) async fn dial(&self) -> Result<Transport, DialError> {
        let started = Instant::now();
        let deadline = started + self.connect_timeout;
        let addresses = in_time(deadline, Phase::Lookup, self.lookup()).await?;
        let socket = Socket::new(self.connect(&addresses, deadline).await?, self.counters.clone());
        self.counters.connects.one();
        let transport = match &self.tls {
            None => Transport::Plain(socket),
            Some(tls) => {
                let handshake = in_time(deadline, Phase::Handshake, self.handshake(tls, socket)).await;
                let stream = handshake.inspect_err(|_| self.counters.handshake_failures.one())?;
                Transport::Tls(Box::new(stream))
            }
        };
        self.counters.dial_us.record(micros(started.elapsed()));
        Ok(transport)
    }

    async fn lookup(&self) -> Result<Arc<[IpAddr]>, DialError> {
        let name = match &self.identity.host {
            Host::Address(address) => return Ok([*address].into()),
            Host::Name(name) => name,
        };
        // Counted when it starts, so that one that never ends is seen too.
        let on_start = || self.counters.lookups.one();
        let looked = self.resolver.lookup(name, self.ttl, on_start).await;
        looked.addresses.map_err(|none| {
            if looked.started {
                self.counters.lookup_failures.one();
            }
            if none.is_out_of_descriptors() {
                return DialError::OutOfDescriptors;
            }
            DialError::Failed(LookupFailure { host: (**name).into(), reason: none.reason }.into())
        })
    }

    async fn connect(&self, addresses: &[IpAddr], deadline: Instant) -> Result<TcpStream, DialError> {
        let mut attempts = Vec::new();
        for (tried, &ip) in (0u32..).zip(addresses) {
            let left = u32::try_from(addresses.len()).unwrap_or(u32::MAX) - tried;
            let share = deadline.saturating_duration_since(Instant::now()) / left;
            let address = SocketAddr::new(ip, self.identity.port);
            let connect = connect(address, &self.identity.socket);
            let error = match timeout_at(Instant::now() + share, connect).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) if is_out_of_descriptors(error.raw_os_error()) => {
                    return Err(DialError::OutOfDescriptors);
                }
                Ok(Err(error)) => error.kind(),
                Err(_elapsed) => io::ErrorKind::TimedOut,
            };
            attempts.push((address, error));
        }
        Err(DialError::Failed(ConnectFailure { attempts: attempts.into() }.into()))
    }

    async fn handshake(&self, tls: &Tls, socket: Socket) -> Result<TlsStream<Socket>, DialError> {
        let started = Instant::now();
        let cpu = Cell::new(Duration::ZERO);
        let connector = TlsConnector::from(tls.config.clone());
        let handshake = measure_cpu(&cpu, connector.connect(tls.server_name.clone(), socket));
        let stream = handshake.await.map_err(|error| {
            let failure = TlsFailure::in_io_error(&error).unwrap_or_else(|| TlsFailure::Ended(error.kind()));
            DialError::Failed(failure.into())
        })?;
        match stream.get_ref().1.handshake_kind() {
            Some(HandshakeKind::Resumed) => self.counters.handshakes_resumed.one(),
            _ => self.counters.handshakes_full.one(),
        }
        self.counters.handshake_wall_us.add(micros(started.elapsed()));
        self.counters.handshake_cpu_us.add(micros(cpu.get()));
        Ok(stream)
    }
}

async fn in_time<T>(
    deadline: Instant,
    phase: Phase,
    step: impl Future<Output = Result<T, DialError>>,
) -> Result<T, DialError> {
    timeout_at(deadline, step).await.unwrap_or(Err(DialError::Failed(Cause::Deadline(phase))))
}

async fn connect(address: SocketAddr, settings: &SocketSettings) -> io::Result<TcpStream> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    configure(SockRef::from(&socket), settings)?;
    socket.connect(address).await
}

/// Before connecting: the window that a receive buffer allows is agreed on in the first packets.
fn configure(socket: SockRef<'_>, settings: &SocketSettings) -> io::Result<()> {
    let SocketSettings {
        keepalive_time,
        keepalive_interval,
        keepalive_probes,
        user_timeout,
        send_buffer_bytes,
        receive_buffer_bytes,
    } = settings;
    socket.set_tcp_nodelay(true)?;
    let keepalive = TcpKeepalive::new()
        .with_time(*keepalive_time)
        .with_interval(*keepalive_interval)
        .with_retries(*keepalive_probes);
    socket.set_tcp_keepalive(&keepalive)?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(*user_timeout))?;
    #[cfg(not(target_os = "linux"))]
    let _: &Duration = user_timeout;
    if let Some(bytes) = send_buffer_bytes {
        socket.set_send_buffer_size(*bytes)?;
    }
    if let Some(bytes) = receive_buffer_bytes {
        socket.set_recv_buffer_size(*bytes)?;
    }
    Ok(())
}

/// Adds up in `total` the CPU time of this thread while `step` is polled: other tasks of the thread do not count.
async fn measure_cpu<T>(total: &Cell<Duration>, step: impl Future<Output = T>) -> T {
    let mut step = pin!(step);
    poll_fn(|cx| {
        let before = thread_cpu();
        let polled = step.as_mut().poll(cx);
        total.set(total.get() + thread_cpu().saturating_sub(before));
        polled
    })
    .await
}

fn thread_cpu() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "current_thread")]
    async fn the_socket_has_its_options() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let settings = SocketSettings {
            keepalive_time: Duration::from_secs(7),
            keepalive_interval: Duration::from_secs(2),
            keepalive_probes: 4,
            user_timeout: Duration::from_millis(3_210),
            send_buffer_bytes: Some(50_000),
            receive_buffer_bytes: Some(60_000),
        };
        let socket = connect(address, &settings).await.expect("it listens");
        let options = SockRef::from(&socket);
        assert!(options.tcp_nodelay().expect("an option"));
        assert!(options.keepalive().expect("an option"));
        assert_eq!(options.tcp_keepalive_time().expect("an option"), settings.keepalive_time);
        assert_eq!(options.tcp_keepalive_interval().expect("an option"), settings.keepalive_interval);
        assert_eq!(options.tcp_keepalive_retries().expect("an option"), settings.keepalive_probes);
        #[cfg(target_os = "linux")]
        assert_eq!(options.tcp_user_timeout().expect("an option"), Some(settings.user_timeout));
        // The kernel doubles what it is asked for, for its own book-keeping.
        assert!(options.send_buffer_size().expect("an option") >= 50_000);
        assert!(options.recv_buffer_size().expect("an option") >= 60_000);
    }
}
