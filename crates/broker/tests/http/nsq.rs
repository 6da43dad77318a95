//! A client of the TCP side, by hand: enough to be shown in `/stats`, and to take messages.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// A connection.
pub(crate) struct NsqClient(TcpStream);

/// A message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) id: [u8; 16],
    pub(crate) attempts: u16,
    pub(crate) body: Vec<u8>,
}

impl NsqClient {
    /// Connects and identifies itself.
    pub(crate) fn connect(address: SocketAddr, name: &str) -> Self {
        let stream = TcpStream::connect(address).expect("it listens");
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a socket option");
        let mut client = Self(stream);
        let json = format!(r#"{{"client_id":"{name}","hostname":"{name}.host","user_agent":"hand<&>/1"}}"#);
        let mut identify = b"  V2IDENTIFY\n".to_vec();
        identify.extend(u32::try_from(json.len()).unwrap().to_be_bytes());
        identify.extend(json.as_bytes());
        client.send(&identify);
        client.expect_ok();
        client
    }

    pub(crate) fn subscribe(&mut self, topic: &str, channel: &str) {
        self.send(format!("SUB {topic} {channel}\n").as_bytes());
        self.expect_ok();
    }

    pub(crate) fn publish(&mut self, topic: &str, body: &[u8]) {
        let mut command = format!("PUB {topic}\n").into_bytes();
        command.extend(u32::try_from(body.len()).unwrap().to_be_bytes());
        command.extend(body);
        self.send(&command);
        self.expect_ok();
    }

    pub(crate) fn send(&mut self, command: &[u8]) {
        self.0.write_all(command).expect("it reads");
    }

    pub(crate) fn finish(&mut self, message: &Message) {
        self.send(&[b"FIN ", &message.id[..], b"\n"].concat());
    }

    /// The next message, heartbeats left aside.
    pub(crate) fn message(&mut self) -> Message {
        loop {
            match self.frame() {
                (2, frame) => {
                    return Message {
                        attempts: u16::from_be_bytes(frame[8..10].try_into().unwrap()),
                        id: frame[10..26].try_into().unwrap(),
                        body: frame[26..].to_vec(),
                    };
                }
                (_, frame) => assert_eq!(frame, b"_heartbeat_"),
            }
        }
    }

    /// The next error, heartbeats left aside.
    pub(crate) fn error(&mut self) -> String {
        loop {
            match self.frame() {
                (1, frame) => return String::from_utf8(frame).expect("text"),
                (_, frame) => assert_eq!(frame, b"_heartbeat_"),
            }
        }
    }

    pub(crate) fn end_half(&mut self) {
        self.0.shutdown(std::net::Shutdown::Write).expect("it is open");
    }

    /// Whether the other side has closed, once what it sent is read.
    pub(crate) fn is_at_end(&mut self) -> bool {
        matches!(self.0.read(&mut [0]), Ok(0) | Err(_))
    }

    fn expect_ok(&mut self) {
        let (kind, frame) = self.frame();
        assert_eq!((kind, &*frame), (0, &b"OK"[..]), "{:?}", String::from_utf8_lossy(&frame));
    }

    fn frame(&mut self) -> (i32, Vec<u8>) {
        let mut head = [0; 8];
        self.0.read_exact(&mut head).expect("a frame in time");
        let size = i32::from_be_bytes(head[..4].try_into().unwrap());
        let mut frame = vec![0; usize::try_from(size - 4).unwrap()];
        self.0.read_exact(&mut frame).expect("a whole frame");
        (i32::from_be_bytes(head[4..].try_into().unwrap()), frame)
    }
}
