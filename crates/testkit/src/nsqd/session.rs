//! One connection of the scripted nsqd: reads commands, reacts, writes.

use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustls::ServerConfig;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant as Moment, sleep, sleep_until};

use super::books::{Books, NsqdEnd};
use super::protocol::{Command, ERROR, RESPONSE, frame, message_frame};
use super::script::{Act, Arrived, React, Reaction, identify_answer};
use super::stream::{self, Stream};
use crate::board::{Board, lock};
use crate::kill::{self, Kill, Killer};

pub(super) struct Shared {
    pub(super) books: Board<Books>,
    pub(super) react: Mutex<React>,
    pub(super) identify: Mutex<Value>,
    pub(super) heartbeats: bool,
    pub(super) tls: Option<Arc<ServerConfig>>,
    /// By connection number: how the test reaches a connection.
    pub(super) wires: Mutex<Vec<Wire>>,
    /// Something was fed or requeued.
    pub(super) queued: Notify,
}

pub(super) struct Wire {
    pub(super) jobs: mpsc::UnboundedSender<Job>,
    pub(super) killer: Killer,
}

/// Work of a connection's writer.
pub(super) enum Job {
    Acts(Vec<Act>),
    /// Frames whose messages are entered already.
    Frames(Vec<u8>),
}

/// nsqd's interval for a client that did not ask for one.
const HEARTBEAT: Duration = Duration::from_secs(30);
/// How long a scripted close waits for the client's FIN.
const LINGER: Duration = Duration::from_secs(1);
const HEARTBEAT_TEXT: &[u8] = b"_heartbeat_";

pub(super) struct Session {
    pub(super) shared: Arc<Shared>,
    pub(super) number: u64,
    jobs: mpsc::UnboundedSender<Job>,
    reading: Rc<Cell<bool>>,
    reading_changed: Rc<Notify>,
    heartbeat: Rc<Cell<Option<Duration>>>,
    /// A script has shut the connection and waits for the client's FIN.
    closing: Cell<bool>,
}

/// What IDENTIFY asked to be put over the connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Upgrades {
    tls: bool,
    snappy: bool,
    deflate: Option<u32>,
}

pub(super) async fn serve(shared: Arc<Shared>, tcp: TcpStream, peer: SocketAddr) {
    let (jobs, writer_jobs) = mpsc::unbounded_channel();
    let (killer, killed) = kill::switch();
    let number = {
        // One lock over both, so that a test that sees the connection can also send on it.
        let mut wires = lock(&shared.wires);
        wires.push(Wire { jobs: jobs.clone(), killer });
        shared.books.update(|books| books.open(peer.port()))
    };
    // The layers own the socket; a second descriptor of it can still ask for RST.
    let descriptor = socket2::SockRef::from(&tcp).try_clone().expect("a descriptor is free");
    let reset = Rc::new(Cell::new(false));
    let session = Session {
        shared: shared.clone(),
        number,
        jobs,
        reading: Rc::new(Cell::new(true)),
        reading_changed: Rc::default(),
        heartbeat: Rc::new(Cell::new(shared.heartbeats.then_some(HEARTBEAT))),
        closing: Cell::new(false),
    };
    let end = tokio::select! {
        end = session.run(Box::new(tcp), writer_jobs, &reset) => end,
        kill = killed.ordered() => {
            reset.set(kill == Kill::Reset);
            NsqdEnd::Scripted
        }
    };
    if reset.get() {
        // An error means that the socket is gone already, which is what was wanted.
        descriptor.set_linger(Some(Duration::ZERO)).ok();
    }
    drop(descriptor);
    shared.books.update(|books| books.close(number, end));
    shared.queued.notify_waiters();
}

impl Session {
    async fn run(
        &self,
        mut stream: Stream,
        mut jobs: mpsc::UnboundedReceiver<Job>,
        reset: &Cell<bool>,
    ) -> NsqdEnd {
        let mut input = Vec::new();
        if let Err(end) = self.magic(&mut stream, &mut input).await {
            return end;
        }
        // Acts of the test do not wait for a client that says nothing; such a connection has no upgrades.
        let early = tokio::select! {
            biased;
            begun = self.await_command(&mut stream, &mut input) => match begun {
                Ok(()) => None,
                Err(end) => return end,
            },
            job = jobs.recv() => job,
        };
        let stream = match early {
            Some(_) => stream,
            None => match self.first_command(stream, &mut input).await {
                Ok(stream) => stream,
                Err(end) => return end,
            },
        };
        let (read, write) = tokio::io::split(stream);
        let end = tokio::select! {
            biased;
            end = self.write(write, early, jobs, reset) => end,
            end = self.read(read, input) => end,
        };
        if self.closing.get() { NsqdEnd::Scripted } else { end }
    }

    async fn read(&self, mut read: ReadHalf<Stream>, mut input: Vec<u8>) -> NsqdEnd {
        loop {
            // Registered before the queue is looked at, or what is fed in between would wait for the next command.
            let queued = self.shared.queued.notified();
            tokio::pin!(queued);
            queued.as_mut().enable();
            self.take_commands(&mut input);
            while !self.reading.get() {
                self.reading_changed.notified().await;
            }
            tokio::select! {
                got = read.read_buf(&mut input) => match got {
                    Ok(0) => return NsqdEnd::ClientFin,
                    Ok(_) => {}
                    Err(_) => return NsqdEnd::ClientBroke,
                },
                () = self.reading_changed.notified() => {}
                () = queued => {}
            }
        }
    }

    async fn write(
        &self,
        mut write: WriteHalf<Stream>,
        mut early: Option<Job>,
        mut jobs: mpsc::UnboundedReceiver<Job>,
        reset: &Cell<bool>,
    ) -> NsqdEnd {
        let mut beat = Moment::now();
        loop {
            let interval = self.heartbeat.get();
            let next = async { if let Some(job) = early.take() { Some(job) } else { jobs.recv().await } };
            let worked = tokio::select! {
                biased;
                job = next => self.work(job.expect("this session holds a sender"), &mut write, reset).await,
                () = sleep_until(beat + interval.unwrap_or(HEARTBEAT)), if interval.is_some() => {
                    beat = Moment::now();
                    self.shared.books.update(|books| books.counts.heartbeats += 1);
                    send(&mut write, &frame(RESPONSE, HEARTBEAT_TEXT)).await.map(|()| true)
                }
            };
            match worked {
                Ok(true) => {}
                Ok(false) => return NsqdEnd::Scripted,
                Err(_) => return NsqdEnd::ClientBroke,
            }
        }
    }

    async fn magic(&self, stream: &mut Stream, input: &mut Vec<u8>) -> Result<(), NsqdEnd> {
        while input.len() < 4 {
            if stream.read_buf(input).await.unwrap_or(0) == 0 {
                return Err(NsqdEnd::ClientFin);
            }
        }
        if input[..4] == *b"  V2" {
            input.drain(..4);
            return Ok(());
        }
        stream.write_all(&frame(ERROR, b"E_BAD_PROTOCOL")).await.ok();
        Err(NsqdEnd::BadMagic)
    }

    /// Reads until the first command is complete.
    async fn await_command(&self, stream: &mut Stream, input: &mut Vec<u8>) -> Result<(), NsqdEnd> {
        while Command::parse(input).is_none() {
            if stream.read_buf(input).await.map_err(|_| NsqdEnd::ClientBroke)? == 0 {
                return Err(NsqdEnd::ClientFin);
            }
        }
        Ok(())
    }

    /// If the first command is IDENTIFY with upgrades they are made here, while nobody else has the stream.
    async fn first_command(&self, mut stream: Stream, input: &mut Vec<u8>) -> Result<Stream, NsqdEnd> {
        let Some((Command::Identify(request), len)) = Command::parse(input) else { return Ok(stream) };
        let command = Command::Identify(request.clone());
        let request = &request;
        let answer = self.identify_answer(request);
        let upgrades = Upgrades::agreed(&answer);
        if upgrades == Upgrades::default() {
            return Ok(stream);
        }
        input.drain(..len);
        match self.enter(&command) {
            Reaction::Usual => {}
            // A scripted answer to IDENTIFY makes no upgrades: its bytes are the test's business.
            Reaction::Ignore => return Ok(stream),
            Reaction::Acts(acts) => {
                self.jobs.send(Job::Acts(self.expand(&command, acts))).ok();
                return Ok(stream);
            }
        }
        self.note_heartbeat(request);
        let mut ok = frame(RESPONSE, answer.to_string().as_bytes());
        for upgrade in [Upgrade::Tls, Upgrade::Snappy, Upgrade::Deflate] {
            send(&mut stream, &ok).await.map_err(|_| NsqdEnd::ClientBroke)?;
            ok.clear();
            stream = match (upgrade, upgrades) {
                (Upgrade::Tls, Upgrades { tls: true, .. }) => {
                    let config = self.shared.tls.clone().ok_or(NsqdEnd::Scripted)?;
                    stream::tls(stream, config).await.map_err(|_| {
                        self.shared.books.update(|books| books.counts.handshakes_failed += 1);
                        NsqdEnd::ClientBroke
                    })?
                }
                (Upgrade::Snappy, Upgrades { snappy: true, .. }) => stream::snappy(stream),
                (Upgrade::Deflate, Upgrades { deflate: Some(level), .. }) => stream::deflate(stream, level),
                _ => continue,
            };
            ok = frame(RESPONSE, b"OK");
        }
        send(&mut stream, &ok).await.map_err(|_| NsqdEnd::ClientBroke)?;
        Ok(stream)
    }

    pub(super) fn identify_answer(&self, request: &Value) -> Value {
        let changes = lock(&self.shared.identify);
        identify_answer(request, self.shared.tls.is_some(), &changes)
    }

    pub(super) fn note_heartbeat(&self, request: &Value) {
        if let Some(asked) = request.get("heartbeat_interval").and_then(Value::as_i64) {
            let asked = u64::try_from(asked).ok().filter(|asked| *asked > 0).map(Duration::from_millis);
            self.heartbeat.set(asked.filter(|_| self.heartbeat.get().is_some()));
        }
    }

    fn take_commands(&self, input: &mut Vec<u8>) {
        let mut taken = 0;
        while let Some((command, len)) = Command::parse(&input[taken..]) {
            taken += len;
            self.handle(&command);
        }
        input.drain(..taken);
        self.pump();
    }

    fn handle(&self, command: &Command) {
        let acts = match self.enter(command) {
            Reaction::Usual => self.usual(command),
            Reaction::Ignore => Vec::new(),
            Reaction::Acts(acts) => self.expand(command, acts),
        };
        if !acts.is_empty() {
            self.jobs.send(Job::Acts(acts)).ok();
        }
    }

    fn expand(&self, command: &Command, acts: Vec<Act>) -> Vec<Act> {
        let expand = |act| match act {
            Act::Usual => self.usual(command),
            act => vec![act],
        };
        acts.into_iter().flat_map(expand).collect()
    }

    /// Enters the command and asks the script about it.
    fn enter(&self, command: &Command) -> Reaction {
        let nth = self.shared.books.update(|books| {
            books.connection(self.number).commands.push((Instant::now(), command.clone()));
            let count = books.counts.commands.entry(command.name()).or_default();
            *count += 1;
            *count - 1
        });
        let arrived = Arrived { connection: self.number, nth, command };
        lock(&self.shared.react).choose(&arrived)
    }

    /// Sends what was fed, as far as RDY allows.
    fn pump(&self) {
        let frames = self.shared.books.update(|books| books.deliverable(self.number));
        if !frames.is_empty() {
            self.jobs.send(Job::Frames(frames)).ok();
        }
    }

    /// `false` when the connection is to end.
    async fn work(&self, job: Job, write: &mut WriteHalf<Stream>, reset: &Cell<bool>) -> io::Result<bool> {
        let acts = match job {
            Job::Acts(acts) => acts,
            Job::Frames(frames) => {
                send(write, &frames).await?;
                return Ok(true);
            }
        };
        for act in acts {
            self.shared.books.update(|books| *books.counts.fired.entry(act.name()).or_default() += 1);
            let bytes = match act {
                Act::Raw(bytes) => bytes.to_vec(),
                Act::Response(bytes) => frame(RESPONSE, &bytes),
                Act::Error(text) => frame(ERROR, text.as_bytes()),
                Act::Message { id, attempts, body } => {
                    self.shared.books.update(|books| books.hold(self.number, &id, attempts, None));
                    message_frame(&id, attempts, 1_700_000_000_000_000_000, &body)
                }
                Act::Close => {
                    write.shutdown().await.ok();
                    // Reading goes on for a while, or the kernel would answer unread bytes with a RST that overtakes ours.
                    self.closing.set(true);
                    sleep(LINGER).await;
                    return Ok(false);
                }
                Act::Drop => return Ok(false),
                Act::Reset => {
                    reset.set(true);
                    return Ok(false);
                }
                Act::Fin => {
                    write.shutdown().await?;
                    continue;
                }
                quiet => {
                    self.quiet(quiet).await;
                    continue;
                }
            };
            send(write, &bytes).await?;
        }
        Ok(true)
    }

    /// Acts that write nothing.
    async fn quiet(&self, act: Act) {
        match act {
            Act::Sleep(pause) => sleep(pause).await,
            Act::Gate(gate) => gate.through().await,
            Act::TimeOut(id) => {
                self.shared.books.update(|books| {
                    if let Some(held) = books.connection(self.number).in_flight.remove(&id) {
                        books.requeue(id, held);
                    }
                });
                self.shared.queued.notify_waiters();
            }
            Act::StopReading | Act::StartReading => {
                self.reading.set(matches!(act, Act::StartReading));
                self.reading_changed.notify_waiters();
                self.reading_changed.notify_one();
            }
            Act::Heartbeats(on) => self.heartbeat.set(on.then(|| self.heartbeat.get().unwrap_or(HEARTBEAT))),
            _ => {}
        }
    }
}

async fn send(to: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> io::Result<()> {
    to.write_all(bytes).await?;
    to.flush().await
}

#[derive(Clone, Copy)]
enum Upgrade {
    Tls,
    Snappy,
    Deflate,
}

impl Upgrades {
    fn agreed(answer: &Value) -> Self {
        let on = |name: &str| answer.get(name).and_then(Value::as_bool).unwrap_or(false);
        let level = answer.get("deflate_level").and_then(Value::as_u64).unwrap_or(6);
        Self { tls: on("tls_v1"), snappy: on("snappy"), deflate: on("deflate").then_some(level as u32) }
    }
}
