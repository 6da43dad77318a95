//! A connection's state, and its turn.
//!
//! The task of a connection is woken by whatever moves: bytes, a commit, a message, the clock, an auth server, room in the socket. Each
//! time it takes a turn over all of them, in one order: clock, commands, answers, messages, one write. It repeats that a few times while
//! there is more at once, and then lets others have the thread.

use std::fmt;
use std::io;
use std::mem;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use wire::frame::{HEARTBEAT, write_response};
use wire::{Limits, TopicName};

use super::auth::Auth;
use super::clock::{Clock, Due};
use super::cut::cut_off;
use super::identify::Terms;
use super::intake::Intake;
use super::outbox::Outbox;
use super::refusal::Refusal;
use super::replies::Replies;
use super::stream::{Compression, Handshake, Stream, Upgrades};
use crate::client::Client;
use crate::queue::Subscription;
use crate::settings::TlsRequired;
use crate::shared::{BrokerShared, Clients, Entered};

/// How often a turn goes round before it lets others have the thread.
const ROUNDS_MAX: usize = 4;

/// Reads of one round.
const READS_MAX: usize = 4;

/// Bytes of replies that a client may leave unread before it is not read either.
const REPLY_BYTES_MAX: usize = 256 * 1024;

/// Least that is gathered for one write where there is as much: a client that asks for no buffer wants no waiting, and has none.
const GATHERED_BYTES: usize = 16 * 1024;

/// How a turn ends.
pub(super) enum Turn {
    /// Everything before it is written; nothing behind it was read.
    Upgrade(Upgrades),
    End(End),
}

/// Why a connection ends.
#[derive(Debug)]
pub(super) enum End {
    /// The client has ended its half, and everything in it is done.
    Done,
    /// It was told why.
    Refused,
    /// A line without an end. nsqd says nothing then.
    LineTooLong,
    /// Its channel is gone.
    ChannelGone,
    /// No command for two heartbeats.
    Silent,
    /// It takes nothing.
    Stalled,
    Broken(io::Error),
}

/// What the question to the auth servers is for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Asked {
    Auth,
    Renewal,
}

pub(super) struct Session {
    pub(super) shared: Rc<BrokerShared>,
    pub(super) client: Rc<Client>,
    pub(super) limits: Limits,
    pub(super) terms: Terms,
    pub(super) replies: Replies,
    pub(super) clock: Clock,
    pub(super) auth: Auth,
    pub(super) asked: Asked,
    /// Of the client's certificate.
    pub(super) common_name: String,
    pub(super) subscription: Option<Subscription>,
    pub(super) last_topic: Option<TopicName>,
    /// Agreed on, and to be done as soon as the answer to IDENTIFY is written.
    pub(super) upgrades: Option<Upgrades>,
    pub(super) upgraded: bool,
    intake: Intake,
    outbox: Outbox,
    /// Nothing more is executed or handed out; the connection ends when what is due is answered and written.
    ending: Option<End>,
    sample: Sample,
    _entered: Entered,
}

/// Why no command was read.
#[derive(PartialEq, Eq)]
enum Input {
    /// There is none, or none is wanted.
    Waits,
    /// There may be more at once.
    More,
}

impl Session {
    pub(super) fn new(shared: &Rc<BrokerShared>, peer: String) -> Self {
        let settings = &shared.settings;
        let entered = Clients::enter(shared, peer);
        let terms = Terms::new(settings);
        let bytes = |bytes: u64| u32::try_from(bytes.min(i32::MAX as u64)).unwrap_or(u32::MAX);
        Self {
            client: Rc::clone(&entered.client),
            limits: Limits {
                body_bytes_max: bytes(settings.max_body_size),
                message_bytes_max: bytes(settings.max_msg_size),
            },
            replies: Replies::default(),
            clock: Clock::new(terms.heartbeat, settings.client_timeout),
            terms,
            auth: Auth::default(),
            asked: Asked::Auth,
            common_name: String::new(),
            subscription: None,
            last_topic: None,
            upgrades: None,
            upgraded: false,
            intake: Intake::default(),
            outbox: Outbox::default(),
            ending: None,
            sample: Sample(entered.client.id),
            shared: Rc::clone(shared),
            _entered: entered,
        }
    }

    /// Goes on with whatever can go on.
    pub(super) fn poll_turn<S: AsyncRead + AsyncWrite + Unpin>(
        &mut self,
        stream: &mut Stream<S>,
        cx: &mut Context<'_>,
    ) -> Poll<Turn> {
        if let Some(end) = self.poll_clock(cx) {
            return Poll::Ready(Turn::End(end));
        }
        for _ in 0..ROUNDS_MAX {
            let input = match self.poll_commands(stream, cx) {
                Ok(input) => input,
                Err(error) => return Poll::Ready(Turn::End(End::Broken(error))),
            };
            // Behind the commands: a question that one of them has just begun must be set going.
            self.poll_asked(cx);
            let answered = self.poll_replies(cx);
            let more_messages = self.poll_messages(cx);
            match self.outbox.poll_flush(stream, cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Turn::End(End::Broken(error))),
                Poll::Pending => {
                    if let Some(since) = self.outbox.stalled() {
                        self.clock.watch_stall(since);
                    }
                    return Poll::Pending;
                }
            }
            if answered && let Some(turn) = self.last_turn() {
                return Poll::Ready(turn);
            }
            if !(more_messages || input == Input::More && self.takes_commands()) {
                return Poll::Pending;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// What comes when everything is answered and written.
    fn last_turn(&mut self) -> Option<Turn> {
        let upgrade = self.upgrades.take().filter(|_| self.ending.is_none()).map(Turn::Upgrade);
        upgrade.or_else(|| self.ending.take().map(Turn::End))
    }

    fn poll_clock(&mut self, cx: &mut Context<'_>) -> Option<End> {
        while let Poll::Ready(due) = self.clock.poll(self.outbox.stalled(), cx) {
            match due {
                Due::Heartbeat => write_response(&mut self.outbox.bytes, HEARTBEAT),
                Due::Stalled => return Some(End::Stalled),
                Due::Silent if self.ending.is_some() => return Some(End::Silent),
                // It waits for us.
                Due::Silent if !self.replies.is_empty() || self.auth.is_asking() => self.clock.heard(),
                Due::Silent => {
                    // It has a while more to take what it is told.
                    self.clock.heard();
                    self.end_of_input(End::Silent);
                }
            }
        }
        None
    }

    fn poll_asked(&mut self, cx: &mut Context<'_>) {
        if let Poll::Ready(granted) = self.auth.poll_asked(cx)
            && let Err(refusal) = self.asked(granted)
        {
            let end = self.refuse(&refusal);
            self.end(end);
        }
    }

    /// Whether a command may be executed now.
    pub(super) fn takes_commands(&self) -> bool {
        let settings = &self.shared.settings;
        let (replies, bytes) = self.replies.waiting();
        self.ending.is_none()
            && self.upgrades.is_none()
            && !self.auth.is_asking()
            && replies < settings.connection_pending_replies_max
            && bytes < settings.connection_pending_bytes_max
            && self.outbox.reply_bytes() < REPLY_BYTES_MAX
    }

    fn poll_commands<S: AsyncRead + AsyncWrite + Unpin>(
        &mut self,
        stream: &mut Stream<S>,
        cx: &mut Context<'_>,
    ) -> io::Result<Input> {
        let mut reads = 0;
        while self.takes_commands() {
            // Its own while it executes, so that the commands can have all the rest.
            let mut intake = mem::take(&mut self.intake);
            let polled = if intake.is_ready() {
                intake.execute(|bytes| self.execute_all(bytes));
                Poll::Ready(Ok(()))
            } else if intake.is_ended() {
                self.intake = intake;
                self.end_of_input(End::Done);
                return Ok(Input::Waits);
            } else if reads == READS_MAX {
                self.intake = intake;
                return Ok(Input::More);
            } else {
                reads += 1;
                intake.poll_read(stream, cx, |bytes| self.execute_all(bytes))
            };
            self.intake = intake;
            match polled {
                Poll::Ready(read) => read?,
                Poll::Pending => return Ok(Input::Waits),
            }
        }
        Ok(Input::More)
    }

    /// True when no reply is due any more.
    fn poll_replies(&mut self, cx: &mut Context<'_>) -> bool {
        let before = self.replies.waiting();
        let polled = self.replies.poll(&self.shared.queue, &mut self.outbox.bytes, cx);
        if before != self.replies.waiting() {
            // The client's time begins again with its answer.
            self.clock.heard();
        }
        match polled {
            Poll::Pending => false,
            Poll::Ready(Ok(())) => !self.auth.is_asking(),
            Poll::Ready(Err(refusal)) => {
                let end = self.refuse(&refusal);
                self.ending = None;
                self.end(end);
                true
            }
        }
    }

    /// Hands out messages. True when there may be more, and only the write must come first.
    fn poll_messages(&mut self, cx: &mut Context<'_>) -> bool {
        let buffer = usize::try_from(self.terms.output_buffer_bytes).unwrap_or(usize::MAX);
        while let Some(subscription) = &mut self.subscription {
            if self.outbox.len() >= buffer.max(GATHERED_BYTES) {
                return true;
            }
            match subscription.poll_next(cx) {
                Poll::Pending => return false,
                Poll::Ready(None) => self.end(End::ChannelGone),
                Poll::Ready(Some(handed)) => {
                    if self.sample.leaves_out(self.terms.sample_rate) {
                        // nsqd takes it from the channel, and counts it nowhere.
                        let _gone = subscription.finish(handed.head.id);
                        for counter in [&self.client.finish_count, &self.client.message_count] {
                            counter.set(counter.get().saturating_sub(1));
                        }
                    } else {
                        self.outbox.message(&handed.head, &handed.body);
                    }
                }
            }
        }
        false
    }

    /// Answers a command, in its turn.
    pub(super) fn tell(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        self.replies.frame(&mut self.outbox.bytes, write);
    }

    /// The last that the client is told.
    pub(super) fn refuse(&mut self, refusal: &Refusal) -> End {
        tracing::info!(client = %self.client.remote_address, code = %refusal.code, detail = %refusal.detail, "client refused");
        self.tell(|out| refusal.write(out));
        End::Refused
    }

    /// From now on nothing is executed or handed out. What was in flight is ready for others at once.
    pub(super) fn end(&mut self, end: End) {
        self.subscription = None;
        self.ending.get_or_insert(end);
    }

    /// No more commands will come.
    fn end_of_input(&mut self, end: End) {
        let rest = self.intake.rest();
        let end = match cut_off(rest) {
            Some(refusal) => {
                let line = rest.split(|byte| *byte == b'\n').next().unwrap_or_default();
                self.create_topic_of_mpub(line);
                self.refuse(&refusal)
            }
            None => end,
        };
        self.end(end);
    }

    /// So many bytes of commands were executed.
    pub(super) fn heard(&mut self, bytes: usize) {
        if bytes > 0 {
            self.clock.heard();
        }
    }

    /// What a client that asks for TLS gets.
    pub(super) fn tls_config(&self) -> Option<Arc<ServerConfig>> {
        self.shared.tls.clone()
    }

    pub(super) fn tls_required(&self) -> bool {
        self.shared.settings.tls.as_ref().is_some_and(|tls| tls.required != TlsRequired::No)
    }

    pub(super) fn upgraded_tls(&mut self, handshake: Handshake) {
        self.client.tls.replace(Some(handshake.shown));
        self.common_name = handshake.common_name;
        self.upgraded();
    }

    pub(super) fn upgraded_compression(&mut self, compression: Compression) {
        self.client.snappy.set(compression == Compression::Snappy);
        self.client.deflate.set(matches!(compression, Compression::Deflate { .. }));
        self.upgraded();
    }

    /// What was read in clear and not used is gone, as with nsqd: none of it may be taken for something that came encrypted.
    fn upgraded(&mut self) {
        self.upgraded = true;
        self.intake = Intake::default();
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Done => "it ended its half",
            Self::Refused => "it was refused",
            Self::LineTooLong => "it sent a line without an end",
            Self::ChannelGone => "its channel is gone",
            Self::Silent => "it said nothing for two heartbeats",
            Self::Stalled => "it took nothing for a heartbeat",
            Self::Broken(error) => return write!(f, "its connection broke: {error}"),
        })
    }
}

/// Which messages a client that wants only some of them gets: xorshift, seeded by the client's id.
struct Sample(u64);

impl Sample {
    /// Whether this one is left out at `rate` per cent. nsqd's test lets a hundredth more through than was asked for.
    fn leaves_out(&mut self, rate: i32) -> bool {
        if rate == 0 {
            return false;
        }
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % 100) as i32 >= rate
    }
}
