//! One connection to a queue, spoken by hand: it blocks, and does what its caller says and nothing else.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use wire::{Command, Frame, MAGIC_V2, MessageHead, MessageId};

/// How long an answer may take that is sure to come.
const PATIENCE: Duration = Duration::from_secs(20);

/// A connection.
pub(crate) struct Talk {
    socket: TcpStream,
    unread: Vec<u8>,
    /// Bytes at the front of `unread` that were given out.
    used: usize,
    out: Vec<u8>,
}

/// What came.
#[derive(Debug)]
pub(crate) enum Came {
    /// A response that is no heartbeat.
    Response(Vec<u8>),
    /// An error.
    Error(String),
    /// A message.
    Message(MessageHead, Vec<u8>),
}

impl Talk {
    /// Connects, and says no more than the magic.
    pub(crate) fn to(address: SocketAddr) -> io::Result<Talk> {
        let mut socket = TcpStream::connect_timeout(&address, PATIENCE)?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.write_all(MAGIC_V2)?;
        Ok(Talk { socket, unread: Vec::new(), used: 0, out: Vec::new() })
    }

    /// Joins a channel and asks for `rdy` messages.
    pub(crate) fn subscribed(address: SocketAddr, topic: &str, channel: &str, rdy: u32) -> io::Result<Talk> {
        let mut talk = Talk::to(address)?;
        talk.say(&Command::Sub { topic, channel });
        talk.expect_ok()?;
        talk.say(&Command::Rdy(rdy));
        talk.send()?;
        Ok(talk)
    }

    /// How long [`Talk::next`] waits.
    pub(crate) fn patience(&self, patience: Duration) {
        self.socket.set_read_timeout(Some(patience)).expect("not zero");
    }

    /// Gathers a command; [`Talk::send`] sends what has gathered.
    pub(crate) fn say(&mut self, command: &Command<'_>) {
        command.write(&mut self.out);
    }

    /// Gathers a FIN.
    pub(crate) fn finish(&mut self, id: MessageId) {
        self.say(&Command::Fin(id));
    }

    /// Gathers an MPUB.
    pub(crate) fn say_mpub<B: AsRef<[u8]>>(&mut self, topic: &str, bodies: &[B]) {
        wire::command::write_mpub(&mut self.out, topic, bodies);
    }

    pub(crate) fn send(&mut self) -> io::Result<()> {
        let sent = self.socket.write_all(&self.out);
        self.out.clear();
        sent
    }

    /// Sends, and waits for an OK.
    pub(crate) fn expect_ok(&mut self) -> io::Result<()> {
        self.send()?;
        match self.next()? {
            Came::Response(response) if response == b"OK" => Ok(()),
            other => Err(io::Error::other(format!("{other:?}"))),
        }
    }

    /// Publishes a message and waits for its OK.
    pub(crate) fn publish(&mut self, topic: &str, body: &[u8]) -> io::Result<()> {
        self.say(&Command::Pub { topic, body });
        self.expect_ok()
    }

    /// The next message; an error or a response is unexpected.
    pub(crate) fn message(&mut self) -> io::Result<(MessageHead, Vec<u8>)> {
        match self.next()? {
            Came::Message(head, body) => Ok((head, body)),
            other => Err(io::Error::other(format!("{other:?}"))),
        }
    }

    /// Whether a whole frame is at hand.
    pub(crate) fn has_more(&self) -> bool {
        matches!(Frame::parse(&self.unread[self.used..]), Ok(Some(_)))
    }

    /// The next frame. Heartbeats are answered on the way.
    pub(crate) fn next(&mut self) -> io::Result<Came> {
        loop {
            let parsed = Frame::parse(&self.unread[self.used..]).map_err(io::Error::other)?;
            let Some((frame, bytes)) = parsed else {
                self.read()?;
                continue;
            };
            let came = match frame {
                Frame::Response(wire::frame::HEARTBEAT) => None,
                Frame::Response(response) => Some(Came::Response(response.to_vec())),
                Frame::Error(error) => Some(Came::Error(String::from_utf8_lossy(error).into_owned())),
                Frame::Message { head, body } => Some(Came::Message(head, body.to_vec())),
            };
            self.used += bytes;
            match came {
                Some(came) => return Ok(came),
                None => {
                    self.say(&Command::Nop);
                    self.send()?;
                }
            }
        }
    }

    fn read(&mut self) -> io::Result<()> {
        self.unread.drain(..self.used);
        self.used = 0;
        let before = self.unread.len();
        self.unread.resize(before + (64 << 10), 0);
        let read = self.socket.read(&mut self.unread[before..]);
        self.unread.truncate(before + read.as_ref().map_or(0, |bytes| *bytes));
        match read {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            read => read.map(drop),
        }
    }
}
