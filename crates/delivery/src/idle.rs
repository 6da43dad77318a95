//! Watching idle connections without a task for each.
//!
//! At check-in a connection is read once with a waker of its own, which catches what came with the answer and makes
//! anything that comes later ring the pool's bell. What comes is judged by reading through TLS: session tickets and
//! KeyUpdates are absorbed there and the connection stays; everything else than line ends is the end of it.
//!
//! The waker knows nothing but a flag and the bell, because wakers have to be `Send` and a connection is not.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::coop::unconstrained;
use tokio::time::Instant;

use crate::close_reason::CloseReason;
use crate::codec::only_line_ends;
use crate::outcome::Cause;
use crate::socket::Judging;
use crate::transport::{Transport, cause, close_reason};

/// A connection that became idle less than this ago is not asked at checkout. Bytes may have come in that time that
/// tokio does not know of yet; but so soon after an answer they may as well come right behind the next request, where
/// nobody can tell them from its answer, so the question would narrow that gap and not close it. Measured: it costs
/// 0.23 µs.
const FRESH: Duration = Duration::from_millis(1);

/// Reads of the socket in one judgement. A batch of tickets is one or two.
const READS_MAX: u32 = 32;

/// Wakes the pool's task: a connection ended, or an idle one has something to read.
#[derive(Default)]
pub(crate) struct Bell {
    notify: Notify,
    /// Some idle connection's waker was called since the last look.
    idle_fired: AtomicBool,
}

impl Bell {
    pub(crate) fn ring(&self) {
        self.notify.notify_one();
    }

    pub(crate) async fn rung(&self) {
        self.notify.notified().await;
    }

    /// Whether any idle connection has something to read, since the last time this was asked.
    pub(crate) fn take_idle_fired(&self) -> bool {
        self.idle_fired.swap(false, Relaxed)
    }
}

/// The waker of one idle connection.
struct Watch {
    fired: AtomicBool,
    bell: Arc<Bell>,
}

impl Wake for Watch {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.fired.store(true, Relaxed);
        self.bell.idle_fired.store(true, Relaxed);
        // Notify orders the two stores before what its receiver reads.
        self.bell.ring();
    }
}

/// Watches one connection while it is idle.
pub(crate) struct IdleWatch {
    watch: Arc<Watch>,
    waker: Waker,
    since: Instant,
    /// What the end that was found means to a request, which may be more than its reason says: an alert's text.
    cause: Option<Cause>,
}

impl IdleWatch {
    pub(crate) fn new(bell: Arc<Bell>) -> IdleWatch {
        let watch = Arc::new(Watch { fired: AtomicBool::new(false), bell });
        IdleWatch { waker: watch.clone().into(), watch, since: Instant::now(), cause: None }
    }

    /// When the connection became idle.
    pub(crate) fn since(&self) -> Instant {
        self.since
    }

    /// Whether something came since the connection was looked at last.
    pub(crate) fn fired(&self) -> bool {
        self.watch.fired.load(Relaxed)
    }

    /// What to tell a request that waited for this connection, which was found at its end.
    pub(crate) fn cause(&self) -> Option<&Cause> {
        self.cause.as_ref()
    }

    /// Starts watching `transport` at `now`: its next bytes ring the bell.
    ///
    /// # Errors
    /// The reason to close it, when what is there already ends it.
    pub(crate) fn start(
        &mut self,
        transport: &mut Transport,
        scratch: &mut [u8],
        now: Instant,
    ) -> Result<(), CloseReason> {
        self.since = now;
        self.look(transport, scratch)
    }

    /// Judges what has come, and watches on.
    ///
    /// # Errors
    /// The reason to close the connection.
    pub(crate) fn look(&mut self, transport: &mut Transport, scratch: &mut [u8]) -> Result<(), CloseReason> {
        self.watch.fired.store(false, Relaxed);
        self.judge(transport, scratch, false)
    }

    /// Judges right before use whatever the kernel holds by now.
    ///
    /// # Errors
    /// The reason to close the connection.
    pub(crate) fn before_use(
        &mut self,
        transport: &mut Transport,
        scratch: &mut [u8],
        now: Instant,
    ) -> Result<(), CloseReason> {
        let asks = now - self.since > FRESH;
        let something =
            asks && transport.socket().has_something().map_err(|error| self.ended(end_by(&error)))?;
        if something || self.fired() { self.judge(transport, scratch, true) } else { Ok(()) }
    }

    fn judge(
        &mut self,
        transport: &mut Transport,
        scratch: &mut [u8],
        directly: bool,
    ) -> Result<(), CloseReason> {
        transport.socket_mut().judge(Some(Judging { directly, reads_left: READS_MAX }));
        let judgement = read_idle(transport, scratch, &mut Context::from_waker(&self.waker));
        transport.socket_mut().judge(None);
        judgement.map_err(|end| self.ended(end))
    }

    fn ended(&mut self, (reason, cause): End) -> CloseReason {
        self.cause = Some(cause);
        reason
    }
}

/// The end of a connection that no request is on.
type End = (CloseReason, Cause);

fn end(reason: CloseReason) -> End {
    (reason, cause(reason, None))
}

fn end_by(error: &io::Error) -> End {
    let reason = close_reason(error);
    (reason, cause(reason, Some(error)))
}

/// Reads until there is nothing more.
fn read_idle(transport: &mut Transport, scratch: &mut [u8], cx: &mut Context<'_>) -> Result<(), End> {
    // Outside the task's budget: with none left, tokio would say that there is nothing to read, and a connection with a
    // stray answer on it would go back among the idle ones. The allowance of reads bounds it instead.
    let read = unconstrained(std::future::poll_fn(|cx| {
        loop {
            match transport.poll_read(cx, scratch) {
                Poll::Pending if transport.settle_tls(cx) => return Poll::Ready(Ok(())),
                Poll::Pending => return Poll::Ready(Err(end(CloseReason::SocketFailed))),
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(end(transport.end_of_stream()))),
                Poll::Ready(Ok(len)) if only_line_ends(&scratch[..len]) => {}
                Poll::Ready(Ok(_)) => return Poll::Ready(Err(end(CloseReason::StrayBytes))),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(end_by(&error))),
            }
        }
    }));
    match std::future::Future::poll(pin!(read), cx) {
        Poll::Ready(judgement) => judgement,
        Poll::Pending => unreachable!("the future above is never pending"),
    }
}
