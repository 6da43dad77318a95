//! What the endpoints of one worker thread share.

use std::cell::{RefCell, RefMut};
use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::Semaphore;

/// Default of [`Local::new`]: a thousand TLS handshakes at once stall everything else on the thread for 100 ms.
pub const DIALS_MAX_DEFAULT: usize = 16;

/// Answers are read into this; most are some hundred bytes, and a larger one is drained in pieces of it.
const SCRATCH_BYTES: usize = 32 * 1024;

/// A buffer that grew above this is not kept.
const KEPT_BUFFER_BYTES_MAX: usize = 16 * 1024;

/// Buffers kept at most.
const KEPT_BUFFERS_MAX: usize = 4_096;

/// One per worker thread; cloning gives the same one.
#[derive(Clone)]
pub struct Local(Rc<Worker>);

struct Worker {
    dials_max: usize,
    dial_places: Arc<Semaphore>,
    /// Shared by all connections of the thread: bytes are in it only within one poll.
    scratch: RefCell<Box<[u8]>>,
    /// For heads, of requests on their way and of answers not complete yet. Idle connections hold none.
    buffers: RefCell<Vec<Vec<u8>>>,
}

impl Local {
    /// `dials_max` dials at once, over all endpoints of the thread; at least 1. Dials that hang count for their own
    /// endpoint alone.
    pub fn new(dials_max: usize) -> Local {
        let dials_max = dials_max.clamp(1, Semaphore::MAX_PERMITS);
        Local(Rc::new(Worker {
            dials_max,
            dial_places: Arc::new(Semaphore::new(dials_max)),
            scratch: RefCell::new(vec![0; SCRATCH_BYTES].into()),
            buffers: RefCell::default(),
        }))
    }

    pub(crate) fn dials_max(&self) -> usize {
        self.0.dials_max
    }

    pub(crate) fn dial_places(&self) -> Arc<Semaphore> {
        self.0.dial_places.clone()
    }

    /// To be held within one poll, and not while anything is called that reads from a connection itself.
    pub(crate) fn scratch(&self) -> RefMut<'_, Box<[u8]>> {
        self.0.scratch.borrow_mut()
    }

    pub(crate) fn take_buffer(&self) -> Vec<u8> {
        self.0.buffers.borrow_mut().pop().unwrap_or_default()
    }

    pub(crate) fn give_buffer_back(&self, mut buffer: Vec<u8>) {
        let mut buffers = self.0.buffers.borrow_mut();
        if (1..=KEPT_BUFFER_BYTES_MAX).contains(&buffer.capacity()) && buffers.len() < KEPT_BUFFERS_MAX {
            buffer.clear();
            buffers.push(buffer);
        }
    }
}

impl Default for Local {
    fn default() -> Self {
        Local::new(DIALS_MAX_DEFAULT)
    }
}
