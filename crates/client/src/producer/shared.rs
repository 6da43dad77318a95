//! What a producer's handles and its task share.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Poll, Waker};

use tokio::sync::{Semaphore, oneshot};
use tokio::time::{Instant, sleep_until, timeout_at};

use super::error::{NotSent, OutcomeUnknown, PublishError};
use super::request::{Request, Requests};
use super::{ProducerCounters, ProducerSettings};
use crate::after::FAR_OFF;

/// Where the producer stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Life {
    Open,
    /// No new request; those there are may be answered.
    Stopping,
    Ended,
}

pub(super) struct Shared {
    pub(super) address: String,
    pub(super) requests: RefCell<Requests>,
    pub(super) counters: Arc<ProducerCounters>,
    pub(super) connected: Cell<bool>,
    /// A request passed its deadline after it was sent: the connection has to go.
    sent_expired: Cell<bool>,
    life: Cell<Life>,
    requests_max: usize,
    bytes_max: usize,
    turns: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
    last_serial: Cell<u64>,
    task: RefCell<Option<Waker>>,
}

impl Shared {
    pub(super) fn new(settings: &ProducerSettings, counters: Arc<ProducerCounters>) -> Shared {
        Shared {
            address: settings.address.clone(),
            requests: RefCell::default(),
            counters,
            connected: Cell::new(false),
            sent_expired: Cell::new(false),
            life: Cell::new(Life::Open),
            requests_max: settings.requests_max,
            bytes_max: settings.bytes_max,
            turns: Arc::new(Semaphore::new(settings.requests_max)),
            bytes: Arc::new(Semaphore::new(settings.bytes_max)),
            last_serial: Cell::new(0),
            task: RefCell::default(),
        }
    }

    /// Queues what `encode` writes, once there is room for it, and waits for what becomes of it.
    pub(super) async fn publish(
        &self,
        encode: impl FnOnce(&mut Vec<u8>),
        request_bytes: usize,
        deadline: Instant,
    ) -> Result<(), PublishError> {
        let not_sent = |why| Err(PublishError::NotSent(why));
        if self.life.get() != Life::Open {
            return not_sent(NotSent::Stopped);
        }
        if request_bytes > self.bytes_max {
            return not_sent(NotSent::TooLarge { bytes: request_bytes, max: self.bytes_max });
        }
        let turn = async {
            let turn = Arc::clone(&self.turns).acquire_owned().await?;
            let bytes = Arc::clone(&self.bytes).acquire_many_owned(request_bytes as u32).await?;
            Ok::<_, tokio::sync::AcquireError>([turn, bytes])
        };
        let shares = match timeout_at(deadline, turn).await {
            // It may have been stopped meanwhile.
            Ok(Ok(shares)) if self.life.get() == Life::Open => shares,
            Ok(_) => return not_sent(NotSent::Stopped),
            Err(_) => return not_sent(self.why_not_sent()),
        };
        let mut bytes = Vec::new();
        encode(&mut bytes);
        let serial = self.last_serial.get() + 1;
        self.last_serial.set(serial);
        let (answer, answered) = oneshot::channel();
        let request = Request { serial, bytes, deadline, answer, _shares: Some(shares) };
        self.requests.borrow_mut().push(request);
        self.wake();
        let mut cancel = CancelOnDrop { shared: self, serial: Some(serial) };
        let published = answered.await;
        cancel.serial = None;
        // Without its task a producer answers nobody; whether it had sent this one is not known.
        published.unwrap_or(Err(PublishError::OutcomeUnknown(OutcomeUnknown::Stopped)))
    }

    fn why_not_sent(&self) -> NotSent {
        if self.connected.get() { NotSent::Busy } else { NotSent::NotConnected }
    }

    pub(super) fn refuse_new(&self) {
        if self.life.get() == Life::Open {
            self.life.set(Life::Stopping);
        }
    }

    /// Ends when no request is left: then every turn is free.
    pub(super) async fn all_answered(&self) {
        let _all = self.turns.acquire_many(self.requests_max as u32).await;
    }

    /// Tells the task to end.
    pub(super) fn end(&self) {
        self.life.set(Life::Ended);
        self.turns.close();
        self.bytes.close();
        self.wake();
    }

    pub(super) fn ended(&self) -> bool {
        self.life.get() == Life::Ended
    }

    /// Whether a sent request has passed its deadline since this was last asked.
    pub(super) fn take_sent_expired(&self) -> bool {
        self.sent_expired.take()
    }

    fn wake(&self) {
        if let Some(task) = &*self.task.borrow() {
            task.wake_by_ref();
        }
    }

    /// Runs `future` on the task, and ends requests at their deadlines meanwhile. `None` when the producer ends first.
    ///
    /// One alarm serves all deadlines: it is set to the earliest, and looks at all requests when it rings.
    pub(super) async fn tend<F: Future>(&self, future: F) -> Option<F::Output> {
        let mut future = pin!(future);
        let mut alarm = pin!(sleep_until(Instant::now() + FAR_OFF));
        poll_fn(|cx| {
            if self.ended() {
                return Poll::Ready(None);
            }
            self.task.replace(Some(cx.waker().clone()));
            loop {
                let expiry = self.requests.borrow().expiry();
                if let Some(expiry) = expiry.filter(|expiry| *expiry < alarm.deadline()) {
                    alarm.as_mut().reset(expiry);
                }
                if alarm.as_mut().poll(cx).is_pending() {
                    break;
                }
                let expired = self.requests.borrow_mut().expire(Instant::now(), self.why_not_sent());
                self.sent_expired.set(self.sent_expired.get() || expired);
                alarm.as_mut().reset(Instant::now() + FAR_OFF);
                if expired {
                    // Its deadline stays behind us until the connection is closed; the alarm must not ring on for it.
                    break;
                }
            }
            future.as_mut().poll(cx).map(Some)
        })
        .await
    }
}

/// Takes the request back when its caller leaves before the answer.
struct CancelOnDrop<'a> {
    shared: &'a Shared,
    serial: Option<u64>,
}

impl Drop for CancelOnDrop<'_> {
    fn drop(&mut self) {
        if let Some(serial) = self.serial {
            self.shared.requests.borrow_mut().cancel(serial);
        }
    }
}
