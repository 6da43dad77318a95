//! A fault proxy for TCP, with toxiproxy's set of faults: between real peers, where no script reaches.
//!
//! ```no_run
//! use std::time::Duration;
//! use testkit::{process::Nsqd, proxy::{Fault, Proxy}};
//! let nsqd = Nsqd::start(&[]);
//! let proxy = Proxy::to(nsqd.tcp_address());
//! // ... a consumer at proxy.address() ...
//! proxy.to_client(Fault::Latency(Duration::from_millis(50)));
//! proxy.stall();                       // both sides stay connected and hear nothing
//! assert!(proxy.counts().fired("stall") > 0);
//! ```

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until};

use crate::board::Board;
use crate::gate::PATIENCE;
use crate::kill::{self, Kill, Killer};
use crate::server::Server;

/// What happens to the bytes of one direction, from the next piece on.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Fault {
    /// Passed on as they come.
    #[default]
    None,
    /// Each piece is passed on this much later (the order stays).
    Latency(Duration),
    /// At most so many bytes a second.
    BytesPerSecond(u64),
    /// In slices of so many bytes with a pause between them.
    Slices(usize, Duration),
    /// Read and never passed on: the sender believes all is well.
    Swallow,
    /// Nothing passes and, but for one piece of up to 64 KiB, nothing is read: the sender's writes pile up.
    Stall,
    /// The connection is reset when so many bytes (of this connection and direction) have passed.
    ResetAfter(u64),
    /// The connection is closed when so many bytes have passed.
    CloseAfter(u64),
    /// The sender's FIN is passed on this much later.
    SlowClose(Duration),
}

impl Fault {
    /// The name under which it is counted when it acts.
    pub fn name(&self) -> &'static str {
        match self {
            Fault::None => "none",
            Fault::Latency(_) => "latency",
            Fault::BytesPerSecond(_) => "bytes_per_second",
            Fault::Slices(..) => "slices",
            Fault::Swallow => "swallow",
            Fault::Stall => "stall",
            Fault::ResetAfter(_) => "reset_after",
            Fault::CloseAfter(_) => "close_after",
            Fault::SlowClose(_) => "slow_close",
        }
    }
}

/// Totals of one proxy.
#[derive(Clone, Debug, Default)]
pub struct ProxyCounts {
    /// Connections accepted.
    pub accepted: u64,
    /// Of these, still open.
    pub open: u64,
    /// Connections for which the server could not be reached; the client sees a reset.
    pub unreachable: u64,
    /// Bytes passed to the server.
    pub bytes_to_server: u64,
    /// Bytes passed to the client.
    pub bytes_to_client: u64,
    /// When bytes were last passed to a client: the moment before they were written, so that no client had them earlier.
    pub to_client_at: Option<std::time::Instant>,
    /// How often a fault acted, by [`Fault::name`] (`reset` and `close` for [`Proxy::kill_connections`]).
    pub fired: BTreeMap<&'static str, u64>,
}

impl ProxyCounts {
    /// How often a fault of this name acted.
    pub fn fired(&self, fault: &str) -> u64 {
        self.fired.get(fault).copied().unwrap_or(0)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Direction {
    ToServer,
    ToClient,
}

#[derive(Default)]
struct State {
    counts: ProxyCounts,
    to_server: Fault,
    to_client: Fault,
    killers: BTreeMap<u64, Killer>,
}

impl State {
    fn fault(&self, direction: Direction) -> Fault {
        match direction {
            Direction::ToServer => self.to_server,
            Direction::ToClient => self.to_client,
        }
    }

    fn fired(&mut self, name: &'static str) {
        *self.counts.fired.entry(name).or_default() += 1;
    }
}

/// A running proxy. It stops, and its connections end, when it is dropped.
pub struct Proxy {
    board: Arc<Board<State>>,
    server: Server,
}

impl Proxy {
    /// A proxy to this server, on a free port of 127.0.0.1. The server need not be there yet.
    pub fn to(target: SocketAddr) -> Self {
        let board: Arc<Board<State>> = Arc::default();
        let connections = board.clone();
        let server = Server::start("proxy", Ipv4Addr::LOCALHOST.into(), 0, move |client, _| {
            connect(connections.clone(), client, target)
        });
        Self { board, server }
    }

    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// What it counted so far.
    pub fn counts(&self) -> ProxyCounts {
        self.board.read(|state| state.counts.clone())
    }

    /// Blocks until the counts satisfy `enough`.
    ///
    /// # Panics
    /// When they do not within 20 s, with the counts.
    #[track_caller]
    pub fn wait(&self, enough: impl Fn(&ProxyCounts) -> bool) -> ProxyCounts {
        let found = self.board.wait(PATIENCE, |state| enough(&state.counts).then(|| state.counts.clone()));
        found.unwrap_or_else(|| panic!("not reached within {PATIENCE:?}: {:#?}", self.counts()))
    }

    /// As [`Proxy::wait`], without blocking the thread.
    ///
    /// # Panics
    /// When they do not within 20 s, with the counts.
    pub async fn until(&self, enough: impl Fn(&ProxyCounts) -> bool) -> ProxyCounts {
        let found =
            self.board.until(PATIENCE, |state| enough(&state.counts).then(|| state.counts.clone())).await;
        found.unwrap_or_else(|| panic!("not reached within {PATIENCE:?}: {:#?}", self.counts()))
    }

    /// The fault for bytes on their way to the server, on connections old and new.
    pub fn to_server(&self, fault: Fault) {
        self.board.update(|state| state.to_server = fault);
    }

    /// The fault for bytes on their way to the client.
    pub fn to_client(&self, fault: Fault) {
        self.board.update(|state| state.to_client = fault);
    }

    /// Nothing is read or passed on in either direction, and nobody is told: a partition.
    pub fn stall(&self) {
        self.to_server(Fault::Stall);
        self.to_client(Fault::Stall);
    }

    /// No faults any more; what was held back goes on.
    pub fn heal(&self) {
        self.to_server(Fault::None);
        self.to_client(Fault::None);
    }

    /// Ends every open connection on both sides, and says how many.
    pub fn kill_connections(&self, kill: Kill) -> usize {
        let name = if kill == Kill::Reset { "reset" } else { "close" };
        self.board.update(|state| {
            let killed = state.killers.values().filter(|killer| killer.kill(kill)).count();
            (0..killed).for_each(|_| state.fired(name));
            killed
        })
    }

    /// Stops listening: dials are refused. Open connections stay.
    pub fn down(&self) {
        self.server.down();
    }

    /// Listens again, on the same port.
    ///
    /// # Panics
    /// When it listens already.
    pub fn up(&self) {
        self.server.up();
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proxy").field("address", &self.address()).field("counts", &self.counts()).finish()
    }
}

async fn connect(board: Arc<Board<State>>, mut client: TcpStream, target: SocketAddr) {
    let (killer, killed) = kill::switch();
    let number = board.update(|state| {
        let number = state.counts.accepted;
        state.counts.accepted += 1;
        state.counts.open += 1;
        state.killers.insert(number, killer);
        number
    });
    match TcpStream::connect(target).await {
        Ok(mut server) => {
            server.set_nodelay(true).ok();
            let reset = tokio::select! {
                reset = pass_both(&board, &mut client, &mut server) => reset,
                kill = killed.ordered() => kill == Kill::Reset,
            };
            if reset {
                reset_at_close(&server);
                reset_at_close(&client);
            }
        }
        Err(_) => {
            board.update(|state| state.counts.unreachable += 1);
            reset_at_close(&client);
        }
    }
    board.update(|state| {
        state.counts.open -= 1;
        state.killers.remove(&number);
    });
}

fn reset_at_close(stream: &TcpStream) {
    // An error means that the socket is gone already, which is what was wanted.
    socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO)).ok();
}

/// Passes bytes until both directions have ended; `true` asks for RST on both sides. The streams are borrowed: owned halves
/// would send a FIN when dropped, ahead of the RST.
async fn pass_both(board: &Board<State>, client: &mut TcpStream, server: &mut TcpStream) -> bool {
    let (client_read, client_write) = client.split();
    let (server_read, server_write) = server.split();
    let up = pass(board, Direction::ToServer, client_read, server_write);
    let down = pass(board, Direction::ToClient, server_read, client_write);
    // An end that is an error ends the other direction, too; a FIN leaves it open.
    match tokio::try_join!(up, down) {
        Ok(_) => false,
        Err(end) => end == End::Reset,
    }
}

#[derive(Debug, PartialEq, Eq)]
enum End {
    Reset,
    Close,
}

impl From<io::Error> for End {
    fn from(_: io::Error) -> Self {
        // A peer's RST is passed on as one.
        End::Reset
    }
}

/// Pieces read and not yet passed on. Latency needs a queue: with a sleep between reads it would also limit the rate.
const QUEUED_MAX: usize = 256;

async fn pass(
    board: &Board<State>,
    direction: Direction,
    from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
) -> Result<(), End> {
    let (queue, mut queued) = mpsc::channel::<(Instant, Vec<u8>)>(QUEUED_MAX);
    let write = async {
        let mut passed = 0;
        while let Some((due, bytes)) = queued.recv().await {
            sleep_until(due).await;
            deliver(board, direction, &bytes, &mut to, &mut passed).await?;
        }
        if let Fault::SlowClose(pause) = board.read(|state| state.fault(direction)) {
            board.update(|state| state.fired("slow_close"));
            sleep(pause).await;
        }
        Ok(to.shutdown().await?)
    };
    tokio::try_join!(read(board, direction, from, queue), write).map(|_| ())
}

async fn read(
    board: &Board<State>,
    direction: Direction,
    mut from: ReadHalf<'_>,
    queue: mpsc::Sender<(Instant, Vec<u8>)>,
) -> Result<(), End> {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let got = from.read(&mut buffer).await?;
        // A stall holds what was read back and stops further reading. Looked at behind the read, which may wait for long.
        unstalled(board, direction).await;
        if got == 0 {
            return Ok(());
        }
        let fault = board.read(|state| state.fault(direction));
        let latency = match fault {
            Fault::Latency(latency) => {
                board.update(|state| state.fired("latency"));
                latency
            }
            _ => Duration::ZERO,
        };
        // The writer ends first only by an error, which ends us, too.
        queue.send((Instant::now() + latency, buffer[..got].to_vec())).await.ok();
    }
}

async fn unstalled(board: &Board<State>, direction: Direction) {
    if board.read(|state| state.fault(direction)) != Fault::Stall {
        return;
    }
    board.update(|state| state.fired("stall"));
    let forever = Duration::from_secs(3600);
    board.until(forever, |state| (state.fault(direction) != Fault::Stall).then_some(())).await;
}

async fn deliver(
    board: &Board<State>,
    direction: Direction,
    bytes: &[u8],
    to: &mut WriteHalf<'_>,
    passed: &mut u64,
) -> Result<(), End> {
    let fault = board.read(|state| state.fault(direction));
    let room =
        |limit: u64| usize::try_from(limit.saturating_sub(*passed)).unwrap_or(usize::MAX).min(bytes.len());
    let over = |limit: u64| *passed + bytes.len() as u64 >= limit;
    let (bytes, end) = match fault {
        Fault::ResetAfter(limit) if over(limit) => (&bytes[..room(limit)], Some(End::Reset)),
        Fault::CloseAfter(limit) if over(limit) => (&bytes[..room(limit)], Some(End::Close)),
        _ => (bytes, None),
    };
    if end.is_some() || matches!(fault, Fault::BytesPerSecond(_) | Fault::Slices(..) | Fault::Swallow) {
        board.update(|state| state.fired(fault.name()));
    }
    if direction == Direction::ToClient && fault != Fault::Swallow {
        board.update(|state| state.counts.to_client_at = Some(Instant::now().into_std()));
    }
    match fault {
        Fault::Swallow => return Ok(()),
        Fault::BytesPerSecond(rate) => {
            // In pieces of a twentieth of a second, so that the rate is not made of bursts.
            let piece = usize::try_from(rate / 20).unwrap_or(usize::MAX).max(1);
            for piece in bytes.chunks(piece) {
                to.write_all(piece).await?;
                sleep(Duration::from_secs_f64(piece.len() as f64 / rate.max(1) as f64)).await;
            }
        }
        Fault::Slices(len, pause) => {
            for slice in bytes.chunks(len.max(1)) {
                to.write_all(slice).await?;
                sleep(pause).await;
            }
        }
        _ => to.write_all(bytes).await?,
    }
    *passed += bytes.len() as u64;
    board.update(|state| match direction {
        Direction::ToServer => state.counts.bytes_to_server += bytes.len() as u64,
        Direction::ToClient => state.counts.bytes_to_client += bytes.len() as u64,
    });
    end.map_or(Ok(()), Err)
}
