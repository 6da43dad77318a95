//! One connection to nsqd, from SUB to its end: the task that reads and writes.
//!
//! One future owns the stream and does everything in one poll: read what has come, see what time demands,
//! write what has gathered. Reading never waits for a receiver: what cannot be taken yet lies in the queue,
//! bounded by RDY, and heartbeats are answered whatever the receivers do. There is one timer, for whatever is
//! due first.
//!
//! Answers gather before they are written. As long as each round of the runtime brings another one, the write waits for
//! the next round, sixteen answers at most: a busy thread writes many in one go, which saves nsqd a read, a wake and a
//! write of its own for each, and an idle one writes at once. No timer is involved, and nobody waits for room: what
//! lies in the queue meanwhile is more than that.
//!
//! A stop goes through here too: CLS (first, and once), then answers to what is held and to what still comes,
//! then the write side is shut and the stream read to its end. nsqd closes only after it has executed every
//! command it got, so that end is the confirmation.

#[cfg(test)]
mod tests;

use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::yield_now;
use tokio::time::{Instant, Sleep, sleep_until};
use wire::Command;

use super::event::{DisconnectReason, Event};
use super::frames::{Frames, Inbound};
use super::link::{Link, Stage};
use super::shared::Shared;
use crate::after::{FAR_OFF, after};
use crate::dial::Negotiated;

/// Reads in one poll before others have their turn: 512 KiB with the default buffer.
const READS_PER_POLL: usize = 8;
/// Answers that are waited for at most before they are written. Measured side by side with 1, 4, 16 and 64: 28.0, 27.0, 25.9
/// and 25.5 µs of CPU for a message here, and 56, 53, 47 and 45 of nsqd and the endpoint. Above 16 there is little to gain.
const GATHERED_MAX: usize = 16;
/// How long a message may still come after CLOSE_WAIT: nsqd may have been handing one out. Shutting the write
/// side at once would leave it unanswered.
const LATE_MESSAGE: Duration = Duration::from_millis(50);
/// How long to wait for CLOSE_WAIT with nothing held, for what is held to leave once the grace has passed,
/// and for the end of the stream.
const CLOSE_PATIENCE: Duration = Duration::from_secs(1);

/// What the connection is busy with.
#[derive(Debug)]
enum Phase {
    Subscribing { until: Instant },
    Flowing,
    Closing { cls_at: Instant, close_wait_at: Option<Instant> },
    Shut { until: Instant, shut: bool },
}

/// How a connection went.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) reason: DisconnectReason,
    /// Since SUB's answer; `None` when there was none.
    pub(super) lived: Option<Duration>,
    pub(super) connection_lost: u64,
    pub(super) finishes_unsent: u64,
}

pub(super) struct Connection<S> {
    stream: S,
    link: Rc<Link>,
    frames: Frames,
    negotiated: Negotiated,
    phase: Phase,
    /// Since when messages may come.
    subscribed_at: Option<Instant>,
    /// When bytes last came.
    heard_at: Instant,
    /// When the writes now standing last made progress; `None` while nothing waits to be written.
    stalled_at: Option<Instant>,
    /// Answers that stood in the outbox when their write was put off; 0 when it is not.
    gathered: usize,
    /// The stream may hold bytes back until it is flushed.
    unflushed: bool,
    sweep_at: Instant,
    timer: Pin<Box<Sleep>>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    /// Over a stream on which IDENTIFY and what follows from it are done.
    pub(super) fn new(
        shared: &Rc<Shared>,
        node: Arc<str>,
        stream: S,
        negotiated: Negotiated,
    ) -> Connection<S> {
        let settings = &shared.settings;
        let link = Rc::new(Link::new(Rc::clone(shared), node, &negotiated));
        shared.entered(Rc::clone(&link));
        let (topic, channel) = (settings.topic.as_str(), settings.channel.as_str());
        link.command(&Command::Sub { topic, channel });
        let now = Instant::now();
        Connection {
            stream,
            frames: Frames::new(settings.read_buffer_bytes, settings.message_bytes_max),
            phase: Phase::Subscribing { until: after(settings.connection.connect_timeout) },
            subscribed_at: None,
            heard_at: now,
            stalled_at: None,
            gathered: 0,
            unflushed: false,
            sweep_at: now + link.timing().sweep_interval(),
            timer: Box::pin(sleep_until(now)),
            negotiated,
            link,
        }
    }

    /// Runs it to its end.
    pub(super) async fn serve(mut self) -> Ended {
        let reason = poll_fn(|cx| self.poll(cx)).await;
        let lived = self.subscribed_at.map(|at| at.elapsed());
        let (connection_lost, finishes_unsent) = self.end();
        Ended { reason, lived, connection_lost, finishes_unsent }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<DisconnectReason> {
        self.link.attend(cx.waker());
        let mut end = self.read(cx).and_then(|()| self.keep_time(cx));
        if let Err(DisconnectReason::Write(_)) = end {
            // nsqd closes behind an error frame, and a write then fails before the frame was read: it is the reason.
            if let Err(said @ DisconnectReason::Server(_)) = self.read(cx) {
                end = Err(said);
            }
        }
        if self.gathered == 0 {
            self.link.rest();
        }
        match end {
            Ok(()) => Poll::Pending,
            Err(reason) => Poll::Ready(reason),
        }
    }

    /// Sees what is due, writes, and sets the timer, until nothing is due any more.
    fn keep_time(&mut self, cx: &mut Context<'_>) -> Result<(), DisconnectReason> {
        loop {
            let now = Instant::now();
            self.check(now)?;
            self.advance(now)?;
            if !self.gathers(cx) {
                self.write(cx, now)?;
            }
            self.shut(cx, now)?;
            let due = self.next_due(now);
            if self.timer.deadline() != due {
                self.timer.as_mut().reset(due);
            }
            if self.timer.as_mut().poll(cx).is_pending() {
                return Ok(());
            }
        }
    }
}

/// Reading.
impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    fn read(&mut self, cx: &mut Context<'_>) -> Result<(), DisconnectReason> {
        let shared = Rc::clone(self.link.shared());
        for _ in 0..READS_PER_POLL {
            // Before the read: a message is never older than it is taken to be.
            let now = Instant::now();
            match self.frames.poll_fill(cx, &mut self.stream, &shared.spare_buffer) {
                Poll::Pending => return Ok(()),
                Poll::Ready(Ok(0)) => return Err(self.end_of_stream()),
                Poll::Ready(Ok(_)) => self.heard_at = now,
                Poll::Ready(Err(error)) => return Err(DisconnectReason::Read(error)),
            }
            while let Some(inbound) = self.frames.next(now).map_err(DisconnectReason::Frame)? {
                self.take(inbound, now)?;
            }
        }
        cx.waker().wake_by_ref();
        Ok(())
    }

    fn end_of_stream(&self) -> DisconnectReason {
        if matches!(self.phase, Phase::Shut { .. }) {
            DisconnectReason::Stopped
        } else {
            DisconnectReason::Closed
        }
    }

    fn take(&mut self, inbound: Inbound, now: Instant) -> Result<(), DisconnectReason> {
        match inbound {
            Inbound::Message { head, body, read_at } if head.id.is_speakable() => {
                self.link.receive(head, body, read_at)
            }
            Inbound::Oversized { head, bytes } if head.id.is_speakable() => {
                self.link.receive_oversized(head, bytes)
            }
            Inbound::Message { head, .. } | Inbound::Oversized { head, .. } => {
                return Err(DisconnectReason::ImpossibleId(head.id));
            }
            Inbound::Heartbeat => {
                self.link.shared().counters.heartbeats.add(1);
                self.link.command(&Command::Nop);
            }
            Inbound::Ok => self.subscribed(now),
            Inbound::CloseWait => {
                if let Phase::Closing { close_wait_at, .. } = &mut self.phase {
                    close_wait_at.get_or_insert(now);
                }
            }
            Inbound::Error(error) if error.is_fatal() => return Err(DisconnectReason::Server(error)),
            Inbound::Error(error) => self.link.refused(error),
            Inbound::Other => tracing::debug!(node = &**self.link.node(), "a response that answers nothing"),
        }
        Ok(())
    }

    /// SUB is answered: RDY, and with it messages, may come.
    fn subscribed(&mut self, now: Instant) {
        if !matches!(self.phase, Phase::Subscribing { .. }) {
            return;
        }
        self.phase = Phase::Flowing;
        self.subscribed_at = Some(now);
        self.link.enter(Stage::Flowing);
        let shared = Rc::clone(self.link.shared());
        shared.counters.connects.add(1);
        let (node, negotiated) = (Arc::clone(self.link.node()), self.negotiated.clone());
        shared.events.tell(Event::Connected { node, negotiated });
        shared.joined();
    }
}

/// Time.
impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    fn silence(&self) -> Duration {
        self.negotiated.heartbeat_interval * 2
    }

    fn write_timeout(&self) -> Duration {
        self.link.shared().settings.connection.write_timeout.min(FAR_OFF)
    }

    /// What ends a connection by its time, and the sweep.
    fn check(&mut self, now: Instant) -> Result<(), DisconnectReason> {
        if now >= self.sweep_at {
            self.link.sweep(now);
            self.sweep_at = now + self.link.timing().sweep_interval();
        }
        if now >= self.heard_at + self.silence() {
            return Err(DisconnectReason::Silent(now - self.heard_at));
        }
        if self.stalled_at.is_some_and(|since| now >= since + self.write_timeout()) {
            return Err(DisconnectReason::WriteStalled(self.write_timeout()));
        }
        match self.phase {
            Phase::Subscribing { until } if now >= until => Err(DisconnectReason::SubscribeTimeout(
                self.link.shared().settings.connection.connect_timeout,
            )),
            Phase::Shut { until, .. } if now >= until => Err(DisconnectReason::StopUnconfirmed),
            _ => Ok(()),
        }
    }

    /// Takes the next step of a stop, if there is one and it can be taken.
    fn advance(&mut self, now: Instant) -> Result<(), DisconnectReason> {
        let Some(grace_end) = self.link.shared().stops_at() else { return Ok(()) };
        if matches!(self.phase, Phase::Subscribing { .. }) {
            // No message can have come, and CLS is allowed only after SUB's OK.
            return Err(DisconnectReason::Stopped);
        }
        if matches!(self.phase, Phase::Flowing) {
            // Before what waits: a FIN ahead of it would still draw the next message.
            self.link.outbox().borrow_mut().push_first(&Command::Cls);
            self.link.enter(Stage::Closing);
            self.phase = Phase::Closing { cls_at: now, close_wait_at: None };
        }
        if matches!(self.phase, Phase::Closing { .. }) && now >= grace_end {
            self.link.requeue_all(now);
            if now >= grace_end + CLOSE_PATIENCE && self.is_unwritten() {
                return Err(DisconnectReason::StopUnconfirmed);
            }
        }
        Ok(())
    }

    /// From when on nothing more is expected to come that could be answered.
    fn quiet_from(&self) -> Option<Instant> {
        let Phase::Closing { cls_at, close_wait_at } = self.phase else { return None };
        Some(close_wait_at.map_or(cls_at + CLOSE_PATIENCE, |at| at + LATE_MESSAGE))
    }

    fn next_due(&self, now: Instant) -> Instant {
        let mut due = self.sweep_at.min(self.heard_at + self.silence());
        if let Some(since) = self.stalled_at {
            due = due.min(since + self.write_timeout());
        }
        match self.phase {
            Phase::Subscribing { until } | Phase::Shut { until, .. } => due.min(until),
            Phase::Flowing => due,
            Phase::Closing { .. } => {
                let grace_end = self.link.shared().stops_at();
                let steps = [self.quiet_from(), grace_end, grace_end.map(|end| end + CLOSE_PATIENCE)];
                steps.into_iter().flatten().filter(|step| *step > now).fold(due, Instant::min)
            }
        }
    }
}

/// Writing.
impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    fn is_unwritten(&self) -> bool {
        self.unflushed || !self.link.outbox().borrow().is_empty()
    }

    /// Puts the write off to the runtime's next round, where answers still come. The task counts as awake until then: what
    /// is appended meanwhile wakes nobody.
    fn gathers(&mut self, cx: &mut Context<'_>) -> bool {
        let answers = self.link.outbox().borrow().answers();
        let more_came = answers > self.gathered;
        let flows = matches!(self.phase, Phase::Flowing) && self.stalled_at.is_none();
        if !more_came || !flows || answers >= GATHERED_MAX {
            self.gathered = 0;
            return false;
        }
        self.gathered = answers;
        // Its wake comes behind everything that can run now and everything that the sockets hold by then.
        pin!(yield_now()).poll(cx).is_pending()
    }

    /// Writes what has gathered, as far as the stream takes it.
    fn write(&mut self, cx: &mut Context<'_>, now: Instant) -> Result<(), DisconnectReason> {
        if matches!(self.phase, Phase::Shut { .. }) {
            return Ok(());
        }
        self.link.cut_late(now);
        let mut outbox = self.link.outbox().borrow_mut();
        let mut progress = false;
        while !outbox.is_empty() {
            match Pin::new(&mut self.stream).poll_write(cx, outbox.unwritten()) {
                Poll::Ready(Ok(0)) => return Err(DisconnectReason::Write(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(bytes)) => {
                    outbox.wrote(bytes);
                    (progress, self.unflushed) = (true, true);
                }
                Poll::Ready(Err(error)) => return Err(DisconnectReason::Write(error)),
                Poll::Pending => break,
            }
        }
        drop(outbox);
        if self.unflushed {
            match Pin::new(&mut self.stream).poll_flush(cx) {
                Poll::Ready(Ok(())) => self.unflushed = false,
                Poll::Ready(Err(error)) => return Err(DisconnectReason::Write(error)),
                Poll::Pending => {}
            }
        }
        let blocked = self.is_unwritten();
        self.link.wrote(blocked);
        self.stalled_at = match self.stalled_at {
            _ if !blocked => None,
            Some(since) if !progress => Some(since),
            _ => Some(now),
        };
        Ok(())
    }

    /// Shuts the write side of a stopped connection when everything is answered and written.
    fn shut(&mut self, cx: &mut Context<'_>, now: Instant) -> Result<(), DisconnectReason> {
        if self.quiet_from().is_some_and(|from| now >= from) && self.link.live() == 0 && !self.is_unwritten()
        {
            self.link.enter(Stage::Shut);
            self.phase = Phase::Shut { until: now + CLOSE_PATIENCE, shut: false };
        }
        if let Phase::Shut { shut: shut @ false, .. } = &mut self.phase {
            match Pin::new(&mut self.stream).poll_shutdown(cx) {
                Poll::Ready(Ok(())) => *shut = true,
                Poll::Ready(Err(error)) => return Err(DisconnectReason::Write(error)),
                Poll::Pending => {}
            }
        }
        Ok(())
    }
}

impl<S> Connection<S> {
    fn end(&mut self) -> (u64, u64) {
        let ended = self.link.end();
        self.link.shared().left(&self.link, self.subscribed_at.is_some());
        ended
    }
}

/// A task that is dropped half-way, with its runtime for example, must not leave deliveries that believe to
/// be live.
impl<S> Drop for Connection<S> {
    fn drop(&mut self) {
        if self.link.stage() != Stage::Ended {
            self.end();
        }
    }
}
