//! One connection of the endpoint: reads requests, executes steps, keeps the books.

use std::future::{Future, pending};
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use tokio::time::{Instant as Moment, sleep_until};

use super::counts::End;
use super::options::Accept;
use super::peers::{Order, Peer};
use super::request::{BodyReader, Malformed, RequestHead, parse_head};
use super::shared::Shared;
use super::transport::{Read, Transport};
use crate::kill::Kill;

/// Bodies are judged up to this length; longer ones are only counted.
const JUDGED_BYTES_MAX: usize = 8 << 20;

pub(super) struct Connection {
    pub(super) shared: Arc<Shared>,
    pub(super) number: u64,
    pub(super) transport: Transport,
    pub(super) peer: Peer,
    /// Application bytes that belong to nothing read yet.
    pub(super) input: Vec<u8>,
    pub(super) served: u64,
    pub(super) request: Option<Request>,
    pub(super) tickets_due: Option<Moment>,
    /// The order being executed, until it is reported: after its last step, or after the socket's end if it resets or drops.
    pub(super) order: Option<Order>,
    pub(super) noted: (u64, u64, u64),
}

/// The request being worked on.
pub(super) struct Request {
    pub(super) head: RequestHead,
    pub(super) reader: BodyReader,
    pub(super) body: Vec<u8>,
    pub(super) body_len: u64,
    /// Set once the body is whole: its serial, if it carries one.
    pub(super) whole: Option<Option<u64>>,
    pub(super) status: Option<u16>,
}

/// Why steps stop before their end. `Drop` and `Reset` need the transport by value, so they travel to the top.
pub(super) enum Stop {
    Ended(End),
    Reset,
    Drop,
}

impl From<io::Error> for Stop {
    fn from(_: io::Error) -> Self {
        Stop::Ended(End::PeerReset)
    }
}

enum Event {
    Bytes,
    Order(Order),
}

impl Connection {
    pub(super) fn new(shared: Arc<Shared>, number: u64, transport: Transport, peer: Peer) -> Self {
        Self {
            shared,
            number,
            transport,
            peer,
            input: Vec::new(),
            served: 0,
            request: None,
            tickets_due: None,
            order: None,
            noted: (0, 0, 0),
        }
    }

    /// Runs the connection to its end and enters that in the books.
    pub(super) async fn run(mut self, accept: Accept) {
        let kill = self.peer.kill.clone();
        let stop = tokio::select! {
            stop = self.serve(accept) => stop,
            kill = kill.ordered() => match kill {
                Kill::Reset => Stop::Reset,
                Kill::Drop => Stop::Drop,
            },
        };
        self.note_bytes();
        let unfinished = self.request.take().is_some();
        let end = match stop {
            Stop::Ended(end) => end,
            Stop::Reset | Stop::Drop => End::Scripted,
        };
        if let Stop::Reset = stop {
            self.transport.reset();
        } else {
            drop(self.transport);
        }
        self.peer.forget(self.number);
        self.shared.books.update(|books| {
            books.counts.open -= 1;
            if unfinished {
                books.counts.busy -= 1;
                if end != End::Scripted {
                    books.counts.answers_broken += 1;
                }
            }
            books.connections[self.number as usize].ended = Some((Instant::now(), end));
        });
        self.order.take().into_iter().for_each(Order::report);
    }

    async fn serve(&mut self, accept: Accept) -> Stop {
        match self.begin(accept).await {
            Ok(()) => {}
            Err(stop) => return stop,
        }
        loop {
            if let Err(stop) = self.next().await {
                return stop;
            }
        }
    }

    /// What comes before the first request.
    async fn begin(&mut self, accept: Accept) -> Result<(), Stop> {
        if accept != Accept::Serve {
            self.fired(accept.name());
            return Err(self.misbehave(accept).await?);
        }
        let Some(config) = self.shared.tls.clone() else { return Ok(()) };
        let hold = self.shared.tickets_after;
        let made = self.transport.handshake(config, hold.is_some()).await;
        self.note_bytes();
        let number = self.number as usize;
        match made {
            Ok(agreed) => {
                self.tickets_due = hold.map(|after| Moment::now() + after);
                self.peer.idle.store(true, Ordering::SeqCst);
                self.shared.books.update(|books| {
                    match agreed.resumed {
                        true => books.counts.handshakes_resumed += 1,
                        false => books.counts.handshakes_full += 1,
                    }
                    books.connections[number].tls = Some(agreed);
                });
                Ok(())
            }
            Err(_) => {
                self.shared.books.update(|books| books.counts.handshakes_failed += 1);
                Err(Stop::Ended(End::Handshake))
            }
        }
    }

    async fn misbehave(&mut self, accept: Accept) -> Result<Stop, Stop> {
        let mut first = Vec::new();
        if !matches!(accept, Accept::Reset | Accept::Close | Accept::Freeze)
            && let Read::Ended(end) = self.transport.read(&mut first).await
        {
            return Err(Stop::Ended(end));
        }
        match accept {
            Accept::Reset | Accept::ResetAfterFirstBytes => Ok(Stop::Reset),
            Accept::Freeze | Accept::FreezeAfterFirstBytes => pending().await,
            Accept::Garbage(bytes) => {
                self.transport.write_raw(bytes).await?;
                self.close().await
            }
            Accept::Close | Accept::CloseAfterFirstBytes | Accept::Serve => self.close().await,
        }
    }

    /// Waits while idle, then serves one request or one order.
    async fn next(&mut self) -> Result<(), Stop> {
        loop {
            match self.take_head() {
                Ok(Some(head)) => return self.answer(head).await,
                Ok(None) => {}
                Err(malformed) => return Err(self.refuse(malformed).await),
            }
            let fresh = self.input.is_empty();
            self.peer.idle.store(fresh, Ordering::SeqCst);
            let event = self.idle_event(fresh).await?;
            match event {
                Event::Bytes if fresh && self.peer.reset_on_next_use.load(Ordering::SeqCst) => {
                    self.fired("reset_on_next_use");
                    return Err(Stop::Reset);
                }
                Event::Bytes => self.peer.idle.store(false, Ordering::SeqCst),
                Event::Order(order) => {
                    let steps = order.steps.clone();
                    self.order = Some(order);
                    self.steps(steps.into()).await?;
                    self.note_bytes();
                    self.report_order();
                }
            }
        }
    }

    async fn idle_event(&mut self, fresh: bool) -> Result<Event, Stop> {
        loop {
            let due = self.tickets_due;
            tokio::select! {
                biased;
                read = self.transport.read(&mut self.input) => {
                    return match read {
                        Read::Bytes => Ok(Event::Bytes),
                        Read::Ended(end) => Err(Stop::Ended(end)),
                    };
                }
                order = self.peer.next_order(), if fresh => return Ok(Event::Order(order)),
                () = sleep_until(due.unwrap_or_else(Moment::now)), if due.is_some() => self.send_held().await?,
            }
        }
    }

    async fn send_held(&mut self) -> Result<(), Stop> {
        self.tickets_due = None;
        if self.transport.release_held().await? {
            self.fired("tickets_late");
        }
        Ok(())
    }

    fn take_head(&mut self) -> Result<Option<RequestHead>, Malformed> {
        let Some(mut head) = parse_head(&self.input)? else { return Ok(None) };
        self.input.drain(..head.len);
        head.connection = self.number;
        head.on_connection = self.served;
        Ok(Some(head))
    }

    async fn refuse(&mut self, malformed: Malformed) -> Stop {
        self.shared.books.update(|books| books.counts.malformed += 1);
        let text = malformed.to_string();
        let answer =
            format!("HTTP/1.1 400 Bad\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{text}", text.len());
        // The peer may be gone; the count is what matters.
        self.transport.write(answer.as_bytes()).await.ok();
        Stop::Ended(End::Malformed)
    }

    async fn answer(&mut self, mut head: RequestHead) -> Result<(), Stop> {
        let length = match head.body() {
            Ok(length) => length,
            Err(malformed) => return Err(self.refuse(malformed).await),
        };
        self.peer.idle.store(false, Ordering::SeqCst);
        self.served += 1;
        let answer = self.shared.begin_request(&mut head);
        let reader = BodyReader::new(length);
        self.request =
            Some(Request { head, reader, body: Vec::new(), body_len: 0, whole: None, status: None });
        self.note_body();
        self.steps(answer.steps.into()).await?;
        self.read_body(u64::MAX).await?;
        self.note_bytes();
        let request =
            self.request.take().expect("set above, taken only here and at the end of the connection");
        // Before the count, so that a test that waited for it finds the connection idle.
        self.peer.idle.store(self.input.is_empty(), Ordering::SeqCst);
        self.shared.end_request(request.head.serial);
        Ok(())
    }

    /// Waits for `until` with an eye on the peer. While a body is unread nothing is read, so that the peer's write blocks.
    pub(super) async fn watch<T>(&mut self, until: impl Future<Output = T>, more: bool) -> Result<T, Stop> {
        tokio::pin!(until);
        loop {
            let readable = self.request.as_ref().is_none_or(|request| request.reader.is_done());
            let due = self.tickets_due;
            let before = self.input.len();
            tokio::select! {
                biased;
                done = &mut until => return Ok(done),
                read = self.transport.read(&mut self.input), if readable => {
                    if let Read::Ended(end) = read {
                        return Err(Stop::Ended(end));
                    }
                    if more {
                        let bytes = (self.input.len() - before) as u64;
                        self.shared.books.update(|books| books.counts.pipelined += bytes);
                    }
                }
                () = sleep_until(due.unwrap_or_else(Moment::now)), if due.is_some() => self.send_held().await?,
            }
        }
    }

    /// Reads the body until `wanted` bytes of it are in, or its end.
    pub(super) async fn read_body(&mut self, wanted: u64) -> Result<(), Stop> {
        while let Some(request) = &mut self.request {
            if request.reader.is_done() || request.body_len >= wanted {
                break;
            }
            let Request { reader, body, body_len, .. } = request;
            let fed = reader.feed(&self.input, &mut |piece| {
                *body_len += piece.len() as u64;
                if body.len() + piece.len() <= JUDGED_BYTES_MAX {
                    body.extend_from_slice(piece);
                }
            });
            match fed {
                Ok(0) => self.read_more().await?,
                Ok(taken) => drop(self.input.drain(..taken)),
                Err(malformed) => return Err(self.refuse(malformed).await),
            }
        }
        self.note_body();
        Ok(())
    }

    async fn read_more(&mut self) -> Result<(), Stop> {
        match self.transport.read(&mut self.input).await {
            Read::Bytes => Ok(()),
            Read::Ended(end) => {
                self.shared.books.update(|books| books.counts.bodies_broken += 1);
                Err(Stop::Ended(end))
            }
        }
    }

    /// Lets the test go on that waits for its order. What is left of the order waits for the peer, which may be the test itself.
    pub(super) fn report_order(&mut self) {
        self.order.take().into_iter().for_each(Order::report);
    }
}
