//! A conversation, said to whoever listens, and what was answered.
//!
//! Two transcripts are compared as text, so they hold nothing that may differ: ids are numbered in the order in which they appear, times are
//! left out.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use broker::Settings;
use compress::Layer;
use rustls_pki_types::ServerName;
use testkit::process::Nsqd;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use wire::{Command, Frame, IdentifyRequest, MAGIC_V2, command};

use crate::served::{Served, settings};

/// For one answer. nsqd's slowest is a time-out of a new channel: 5 s behind its time.
const PATIENCE: Duration = Duration::from_secs(20);

/// One act of one connection, which is opened, and introduced by the magic, by its first.
#[derive(Clone)]
pub(crate) enum Act {
    /// Opens it without the magic.
    Bare,
    /// `{0}` stands for the first id that was seen, and so on.
    Say(Vec<u8>),
    /// So many frames.
    Hear(usize),
    /// So many frames that may come in any order, since an answer and a message do not wait for each other.
    HearAny(usize),
    /// Every frame up to the end.
    End,
    /// What the server cannot understand; then nothing is heard but the end.
    Garbage(Vec<u8>),
    /// Ends the client's half.
    Half,
    /// Goes on in TLS; what comes of the handshake is heard.
    Tls(TlsConnector),
    Snappy,
    Deflate,
}

pub(crate) fn say(bytes: impl AsRef<[u8]>) -> Act {
    Act::Say(bytes.as_ref().to_vec())
}

/// Several commands in one piece.
pub(crate) fn commands(commands: &[Command<'_>]) -> Act {
    let mut bytes = Vec::new();
    commands.iter().for_each(|command| command.write(&mut bytes));
    Act::Say(bytes)
}

pub(crate) fn publish(topic: &str, body: &str) -> Act {
    commands(&[Command::Pub { topic, body: body.as_bytes() }])
}

pub(crate) fn mpub(topic: &str, bodies: &[&str]) -> Act {
    let mut bytes = Vec::new();
    command::write_mpub(&mut bytes, topic, bodies);
    Act::Say(bytes)
}

pub(crate) fn identify(request: &IdentifyRequest) -> Act {
    commands(&[Command::Identify { body: &request.to_json() }])
}

/// As one connection's part of a conversation.
pub(crate) fn alone(acts: impl IntoIterator<Item = Act>) -> Vec<(usize, Act)> {
    acts.into_iter().map(|act| (0, act)).collect()
}

/// nsqd and the broker, set up alike.
pub(crate) struct Both {
    pub(crate) nsqd: Nsqd,
    pub(crate) broker: Served,
}

impl Both {
    pub(crate) fn start(flags: &[&str], set: Settings) -> Self {
        Self { nsqd: Nsqd::start(flags), broker: Served::start(set) }
    }

    pub(crate) fn plain() -> Self {
        Self::start(&[], settings())
    }

    /// Holds the conversation with each, and compares.
    #[track_caller]
    pub(crate) fn agree(&self, name: &str, steps: &[(usize, Act)]) -> String {
        let theirs = converse(self.nsqd.tcp_address(), steps);
        let ours = converse(self.broker.tcp(), steps);
        assert_eq!(ours, theirs, "{name}: the broker (left) and nsqd (right)");
        ours
    }
}

/// Holds a conversation and returns its transcript.
pub(crate) fn converse(address: SocketAddr, steps: &[(usize, Act)]) -> String {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let mut talk =
            Talk { address, connections: HashMap::new(), ids: Vec::new(), transcript: String::new() };
        for (who, act) in steps {
            talk.act(*who, act).await;
        }
        talk.transcript
    })
}

trait Io: AsyncRead + AsyncWrite + Unpin {}
impl<T: AsyncRead + AsyncWrite + Unpin> Io for T {}

struct Connection {
    stream: Option<Layer<Box<dyn Io>>>,
    received: Vec<u8>,
}

struct Talk {
    address: SocketAddr,
    connections: HashMap<usize, Connection>,
    ids: Vec<String>,
    transcript: String,
}

impl Talk {
    async fn act(&mut self, who: usize, act: &Act) {
        if !self.connections.contains_key(&who) {
            let mut connection = connect(self.address);
            if !matches!(act, Act::Bare) {
                connection.write(MAGIC_V2).await;
            }
            self.connections.insert(who, connection);
        }
        match act {
            Act::Bare => {}
            Act::Say(bytes) => {
                let bytes = self.with_ids(bytes);
                self.connection(who).write(&bytes).await;
            }
            Act::Hear(frames) => {
                for _ in 0..*frames {
                    let line = self.hear(who).await;
                    self.note(who, &line);
                    if line == "end" {
                        break;
                    }
                }
            }
            Act::HearAny(frames) => {
                let mut lines = Vec::new();
                for _ in 0..*frames {
                    lines.push(self.hear(who).await);
                }
                lines.sort();
                lines.iter().for_each(|line| self.note(who, line));
            }
            Act::Garbage(bytes) => {
                let connection = self.connection(who);
                connection.write(bytes).await;
                let mut last = Vec::new();
                let end = connection.stream().read_to_end(&mut last);
                let _end = timeout(PATIENCE, end).await.expect("an end in time");
                self.note(who, "end");
            }
            Act::End => loop {
                let line = self.hear(who).await;
                self.note(who, &line);
                if line == "end" {
                    break;
                }
            },
            Act::Half => self.connection(who).half().await,
            Act::Tls(connector) => {
                let outcome = self.connection(who).tls(connector).await;
                self.note(who, outcome);
            }
            Act::Snappy => self.connection(who).compress(Layer::snappy),
            Act::Deflate => self.connection(who).compress(|transport| Layer::deflate(transport, 6)),
        }
    }

    fn connection(&mut self, who: usize) -> &mut Connection {
        self.connections.get_mut(&who).expect("it was opened")
    }

    fn note(&mut self, who: usize, line: &str) {
        writeln!(self.transcript, "{who} {line}").expect("a String takes every write");
    }

    fn with_ids(&self, bytes: &[u8]) -> Vec<u8> {
        let mut bytes = bytes.to_vec();
        for (number, id) in self.ids.iter().enumerate() {
            let place = format!("{{{number}}}");
            while let Some(at) = bytes.windows(place.len()).position(|window| window == place.as_bytes()) {
                bytes.splice(at..at + place.len(), id.bytes());
            }
        }
        bytes
    }

    async fn hear(&mut self, who: usize) -> String {
        let connection = self.connections.get_mut(&who).expect("it was opened");
        let Some(frame) = connection.frame().await else { return "end".to_owned() };
        match Frame::parse(&frame).expect("a frame").expect("a whole one").0 {
            Frame::Response(payload) => format!("response {}", String::from_utf8_lossy(payload)),
            Frame::Error(payload) => {
                let mut text = String::from_utf8_lossy(payload).into_owned();
                for (number, id) in self.ids.iter().enumerate() {
                    text = text.replace(id, &format!("#{number}"));
                }
                format!("error {text}")
            }
            Frame::Message { head, body } => {
                let id = head.id.to_string();
                assert!(id.len() == 16 && id.bytes().all(|byte| b"0123456789abcdef".contains(&byte)), "{id}");
                assert!(head.timestamp_ns > 1_700_000_000_000_000_000, "nanoseconds since 1970");
                let number = self.ids.iter().position(|known| *known == id).unwrap_or_else(|| {
                    self.ids.push(id);
                    self.ids.len() - 1
                });
                format!("message #{number} attempt {} {}", head.attempts, String::from_utf8_lossy(body))
            }
        }
    }
}

fn connect(address: SocketAddr) -> Connection {
    let socket = std::net::TcpStream::connect(address).expect("it listens");
    socket.set_nonblocking(true).expect("a socket option");
    socket.set_nodelay(true).expect("a socket option");
    let socket = tokio::net::TcpStream::from_std(socket).expect("a runtime");
    Connection { stream: Some(Layer::plain(Box::new(socket))), received: Vec::new() }
}

impl Connection {
    fn stream(&mut self) -> &mut Layer<Box<dyn Io>> {
        self.stream.as_mut().expect("the handshake succeeded")
    }

    /// The other side may have closed: what it said before is what counts.
    async fn write(&mut self, bytes: &[u8]) {
        if self.stream().write_all(bytes).await.is_ok() {
            let _gone = self.stream().flush().await;
        }
    }

    async fn half(&mut self) {
        let _gone = self.stream().shutdown().await;
    }

    /// What lies below the next layer. What was read of it too early is read again.
    fn plain(&mut self) -> Box<dyn Io> {
        let plain = self.stream.take().and_then(|stream| stream.into_plain().ok()).expect("it is plain");
        let (reader, writer) = tokio::io::split(plain);
        let early = std::io::Cursor::new(std::mem::take(&mut self.received));
        Box::new(tokio::io::join(early.chain(reader), writer))
    }

    async fn tls(&mut self, connector: &TlsConnector) -> &'static str {
        let plain = self.plain();
        let name = ServerName::try_from("localhost").expect("a name");
        match timeout(PATIENCE, connector.connect(name, plain)).await.expect("a handshake in time") {
            Ok(tls) => {
                self.stream = Some(Layer::plain(Box::new(tls)));
                "handshake"
            }
            Err(_) => "no handshake",
        }
    }

    fn compress(&mut self, layer: impl FnOnce(Box<dyn Io>) -> Layer<Box<dyn Io>>) {
        let plain = self.plain();
        self.stream = Some(layer(plain));
    }

    /// The next one's bytes; `None` at the end, also when the other side resets what we still sent.
    async fn frame(&mut self) -> Option<Vec<u8>> {
        loop {
            if let Some((_, len)) = Frame::parse(&self.received).expect("frames") {
                let rest = self.received.split_off(len);
                return Some(std::mem::replace(&mut self.received, rest));
            }
            let stream = self.stream.as_mut()?;
            match timeout(PATIENCE, stream.read_buf(&mut self.received)).await.expect("an answer in time") {
                Ok(0) | Err(_) => {
                    assert_eq!(self.received, b"", "the end is not within a frame");
                    return None;
                }
                Ok(_) => {}
            }
        }
    }
}
