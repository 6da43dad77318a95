//! A queue of this very process, consumed like any nsqd: bytes of the same protocol, through a pipe in memory.
//!
//! Whoever serves the queue gives a way to connect. What it serves is on another thread as a rule, so that way can be
//! called from any. There is no TLS and no compression on a pipe: nobody is on the way, and nothing is saved.

use std::fmt;
use std::io;
use std::sync::Arc;

use tokio::io::DuplexStream;

/// How to connect to it, and what it is called.
#[derive(Clone)]
pub struct InProcess {
    name: Arc<str>,
    connect: Arc<dyn Fn() -> io::Result<DuplexStream> + Send + Sync>,
}

impl InProcess {
    /// `name` stands where an nsqd's address would: in `Delivery::node`, and so in what receivers tell duplicates by.
    /// It must stay the same over restarts, and differ from those of other queues whose messages meet at one receiver.
    ///
    /// `connect` makes a pipe whose other end is served as a socket would be. Its errors are told and tried again like
    /// those of a dial.
    pub fn new(
        name: impl Into<Arc<str>>,
        connect: impl Fn() -> io::Result<DuplexStream> + Send + Sync + 'static,
    ) -> InProcess {
        InProcess { name: name.into(), connect: Arc::new(connect) }
    }

    /// One that does not serve yet: every dial fails. For settings that are made before the queue is started.
    pub fn unserved(name: impl Into<Arc<str>>) -> InProcess {
        InProcess::new(name, || Err(io::ErrorKind::NotConnected.into()))
    }

    /// What it is called.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    pub(crate) fn connect(&self) -> io::Result<DuplexStream> {
        (self.connect)()
    }
}

/// The same name and the same door.
impl PartialEq for InProcess {
    fn eq(&self, other: &InProcess) -> bool {
        self.name == other.name && Arc::ptr_eq(&self.connect, &other.connect)
    }
}

impl Eq for InProcess {}

impl fmt::Debug for InProcess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("InProcess").field(&self.name).finish()
    }
}
