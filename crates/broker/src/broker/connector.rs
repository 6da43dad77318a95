//! The way into the broker from its own process: pipes in memory, served like sockets.

use tokio::io::{DuplexStream, duplex};
use tokio::sync::mpsc;

/// What a pipe holds in each direction, and no more: a reader that is slow stops its writer.
const PIPE_BYTES: usize = 64 * 1024;

/// Pipes that may wait to be taken. Beyond them one is closed at once, like a connection beyond a full backlog.
const PIPES_WAITING_MAX: usize = 1024;

/// Leads to a broker, from any thread.
#[derive(Debug, Clone)]
pub struct Connector {
    nsq: mpsc::Sender<DuplexStream>,
    http: mpsc::Sender<DuplexStream>,
}

/// The other ends.
pub(super) struct Pipes {
    pub(super) nsq: mpsc::Receiver<DuplexStream>,
    pub(super) http: mpsc::Receiver<DuplexStream>,
}

pub(super) fn pair() -> (Connector, Pipes) {
    let (nsq, nsq_pipes) = mpsc::channel(PIPES_WAITING_MAX);
    let (http, http_pipes) = mpsc::channel(PIPES_WAITING_MAX);
    (Connector { nsq, http }, Pipes { nsq: nsq_pipes, http: http_pipes })
}

impl Connector {
    /// A connection to the TCP side. Of a broker that is gone it is at its end from the start.
    pub fn connect(&self) -> DuplexStream {
        through(&self.nsq)
    }

    /// A connection to the HTTP API, likewise.
    pub fn connect_http(&self) -> DuplexStream {
        through(&self.http)
    }
}

fn through(door: &mpsc::Sender<DuplexStream>) -> DuplexStream {
    let (ours, theirs) = duplex(PIPE_BYTES);
    if let Err(refused) = door.try_send(theirs) {
        tracing::debug!(reason = %refused, "a pipe to the broker is closed at once");
    }
    ours
}
