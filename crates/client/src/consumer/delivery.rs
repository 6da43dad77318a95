//! One delivery of a message, as its caller holds it.

use std::fmt;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;
use wire::{MessageHead, MessageId};

use super::in_flight::Key;
use super::link::Link;

/// A message in the caller's hands, to be finished or requeued.
///
/// It is touched on its own while it is held, up to nsqd's `max_msg_timeout`, so slow work needs no care.
/// Dropping it unsettled requeues it at once: nothing is kept in silence.
///
/// If nsqd delivers the same message again while it is held here, this delivery stands for the newer one too:
/// see [`Delivery::attempts`].
#[must_use = "a delivery that is dropped is requeued"]
pub struct Delivery {
    link: Rc<Link>,
    key: Key,
    head: MessageHead,
    body: Bytes,
    /// Until it is handed out, when it was read.
    handed_out_at: Instant,
    settled: bool,
}

/// What became of a finish or a requeue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "a message that could not be settled comes again"]
pub enum Settled {
    /// The command is on its way on the connection that delivered the message.
    Sent,
    /// Nothing was sent, since the delivery was no longer ours: the message comes again, here or elsewhere.
    TooLate(Lost),
}

/// Why a delivery can no longer be settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lost {
    /// Its time has passed: nsqd gives, or has given, the message to someone else.
    Expired,
    /// The connection that delivered it has ended.
    ConnectionLost,
    /// The consumer was stopped and its grace has passed: the message was requeued.
    Stopped,
}

/// Where a delivery stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeliveryState {
    /// It can be settled.
    Live,
    /// See [`Lost::Expired`]. It becomes live again if nsqd delivers the message again on the same
    /// connection.
    Expired,
    /// See [`Lost::ConnectionLost`].
    ConnectionLost,
    /// See [`Lost::Stopped`].
    Stopped,
}

impl Delivery {
    pub(super) fn new(
        link: Rc<Link>,
        key: Key,
        head: MessageHead,
        body: Bytes,
        read_at: Instant,
    ) -> Delivery {
        Delivery { link, key, head, body, handed_out_at: read_at, settled: false }
    }

    /// Out of the queue, to a receiver; false when it has expired there, and is to be dropped.
    pub(super) fn hand_out(&mut self, now: Instant) -> bool {
        self.handed_out_at = now;
        self.link.hand_out(self.key, now)
    }

    pub(super) fn is_live(&self) -> bool {
        self.link.is_live(self.key, Instant::now())
    }

    /// nsqd's id. It repeats across nsqds and topics: a message's key is (node, topic, channel, id).
    pub fn id(&self) -> MessageId {
        self.head.id
    }

    /// When nsqd took the message, in nanoseconds since 1970.
    pub fn timestamp_ns(&self) -> i64 {
        self.head.timestamp_ns
    }

    /// How often nsqd has delivered it, this time included, and a newer delivery that came while this one was
    /// held.
    pub fn attempts(&self) -> u16 {
        self.link.attempts(self.key).unwrap_or(self.head.attempts)
    }

    /// What was published.
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// When the consumer gave it out: the clock, as it was read for that.
    pub fn handed_out_at(&self) -> Instant {
        self.handed_out_at
    }

    /// `host:port` of the nsqd: its broadcast address where nsqlookupd gave it, else the address dialled.
    pub fn node(&self) -> &str {
        self.link.node()
    }

    /// The message is done with: FIN.
    pub fn finish(self) -> Settled {
        self.finish_at(Instant::now())
    }

    /// [`finish`](Delivery::finish) by a clock that was just read. An old reading could finish what has expired since:
    /// a FIN that comes late settles, at worst, a newer delivery of the message.
    pub fn finish_at(mut self, now: Instant) -> Settled {
        self.settled = true;
        self.link.finish(self.key, now)
    }

    /// The message is to come again, after `delay` (cut to `requeue_delay_max`): REQ.
    pub fn requeue(mut self, delay: Duration) -> Settled {
        self.settled = true;
        self.link.requeue(self.key, delay, Instant::now())
    }

    /// Renews its time now, for work that knows itself to be slow. Without effect when it is lost, or was
    /// renewed just before; it is done on its own at half of `msg_timeout`.
    pub fn touch(&self) {
        self.link.touch(self.key, Instant::now());
    }

    /// Until when it can be settled, as things stand; in the past when it cannot. Moved by touches and by a
    /// newer delivery.
    pub fn deadline(&self) -> Instant {
        self.link.deadline(self.key)
    }

    /// Where it stands now.
    pub fn state(&self) -> DeliveryState {
        self.link.state(self.key, Instant::now())
    }

    /// Waits until it can no longer be settled. An expiry is told up to a twentieth of `msg_timeout` late (at
    /// most 1 s). One waiter at a time is woken.
    pub async fn lost(&self) -> Lost {
        poll_fn(|cx| match self.state() {
            DeliveryState::Live => {
                self.link.watch(self.key, cx.waker());
                Poll::Pending
            }
            DeliveryState::Expired => Poll::Ready(Lost::Expired),
            DeliveryState::ConnectionLost => Poll::Ready(Lost::ConnectionLost),
            DeliveryState::Stopped => Poll::Ready(Lost::Stopped),
        })
        .await
    }
}

impl From<Lost> for DeliveryState {
    fn from(lost: Lost) -> DeliveryState {
        match lost {
            Lost::Expired => DeliveryState::Expired,
            Lost::ConnectionLost => DeliveryState::ConnectionLost,
            Lost::Stopped => DeliveryState::Stopped,
        }
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        if !self.settled {
            // Too late means that nsqd has it back already.
            let (Settled::Sent | Settled::TooLate(_)) =
                self.link.requeue(self.key, Duration::ZERO, Instant::now());
        }
    }
}

impl fmt::Debug for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delivery")
            .field("node", &self.node())
            .field("id", &self.head.id)
            .field("attempts", &self.attempts())
            .field("bytes", &self.body.len())
            .field("live", &self.is_live())
            .finish()
    }
}
