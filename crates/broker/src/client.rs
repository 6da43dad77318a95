//! What a connection shows of itself in `/stats`.
//!
//! A session owns its [`Client`] by `Rc`, fills it as IDENTIFY, AUTH and SUB go by, and counts in it. The queue
//! holds the same `Rc` while the client is subscribed, counts deliveries and settles in it, and hands it out with
//! the channel's statistics. Publishers are in nobody's channel: whoever serves connections lists them.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::time::Duration;

use wire::TopicName;

/// nsqd's numbers for a client's state, as `/stats` shows them.
pub mod state {
    /// Connected, not subscribed.
    pub const INIT: i32 = 0;
    /// SUB done.
    pub const SUBSCRIBED: i32 = 3;
    /// CLS done.
    pub const CLOSING: i32 = 4;
}

/// The TLS of a connection, in Go's words, which `/stats` uses.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClientTls {
    /// `tls_cipher_suite`, as `TLS_AES_128_GCM_SHA256`.
    pub cipher_suite: String,
    /// `tls_version`, as `TLS1.3`.
    pub version: String,
    /// `tls_negotiated_protocol`: the ALPN name, mostly empty.
    pub negotiated_protocol: String,
    /// `tls_negotiated_protocol_is_mutual`.
    pub negotiated_protocol_is_mutual: bool,
}

/// One connection.
#[derive(Debug)]
pub struct Client {
    /// Unique for the broker's life.
    pub id: u64,
    /// Where it comes from, `address:port`.
    pub remote_address: String,
    /// The protocol's version, `V2`.
    pub version: &'static str,
    /// When it connected, seconds since 1970.
    pub connect_ts: i64,
    /// IDENTIFY's `client_id`; the host's address without one.
    pub client_id: RefCell<String>,
    /// IDENTIFY's `hostname`; likewise.
    pub hostname: RefCell<String>,
    /// IDENTIFY's `user_agent`.
    pub user_agent: RefCell<String>,
    /// One of [`state`].
    pub state: Cell<i32>,
    /// The last RDY.
    pub ready_count: Cell<u32>,
    /// Messages in flight to it. As nsqd counts: a message that timed out has left it.
    pub in_flight_count: Cell<i64>,
    /// Messages handed to it.
    pub message_count: Cell<u64>,
    /// FINs that succeeded.
    pub finish_count: Cell<u64>,
    /// REQs that succeeded.
    pub requeue_count: Cell<u64>,
    /// How long a message may be in flight to it: the broker's default until IDENTIFY.
    pub msg_timeout: Cell<Duration>,
    /// Per cent of the messages that it gets; 0 is all.
    pub sample_rate: Cell<i32>,
    /// Whether deflate was negotiated.
    pub deflate: Cell<bool>,
    /// Whether snappy was negotiated.
    pub snappy: Cell<bool>,
    /// Whether AUTH succeeded.
    pub authed: Cell<bool>,
    /// Who it is, by AUTH.
    pub auth_identity: RefCell<String>,
    /// Where more about it stands, by AUTH.
    pub auth_identity_url: RefCell<String>,
    /// Its TLS, once upgraded.
    pub tls: RefCell<Option<ClientTls>>,
    /// Messages published, by topic.
    pub pub_counts: RefCell<BTreeMap<TopicName, u64>>,
}

impl Client {
    /// A connection that has said nothing yet. Its id and host name are its address without the port, as nsqd has it;
    /// nothing where there is no port, as with a Unix socket.
    pub fn new(id: u64, remote_address: String, connect_ts: i64, msg_timeout: Duration) -> Self {
        let host = match remote_address.rsplit_once(':') {
            Some((host, _)) => host.trim_matches(['[', ']']).to_owned(),
            None => String::new(),
        };
        Self {
            id,
            remote_address,
            version: "V2",
            connect_ts,
            client_id: RefCell::new(host.clone()),
            hostname: RefCell::new(host),
            user_agent: RefCell::default(),
            state: Cell::new(state::INIT),
            ready_count: Cell::default(),
            in_flight_count: Cell::default(),
            message_count: Cell::default(),
            finish_count: Cell::default(),
            requeue_count: Cell::default(),
            msg_timeout: Cell::new(msg_timeout),
            sample_rate: Cell::default(),
            deflate: Cell::default(),
            snappy: Cell::default(),
            authed: Cell::default(),
            auth_identity: RefCell::default(),
            auth_identity_url: RefCell::default(),
            tls: RefCell::default(),
            pub_counts: RefCell::default(),
        }
    }

    /// Counts `messages` published to `topic`.
    pub fn count_published(&self, topic: &TopicName, messages: u64) {
        let mut counts = self.pub_counts.borrow_mut();
        match counts.get_mut(topic) {
            Some(count) => *count += messages,
            None => {
                counts.insert(topic.clone(), messages);
            }
        }
    }
}

/// Adds to a counter.
pub(crate) fn count<T: Copy + std::ops::Add<Output = T>>(counter: &Cell<T>, by: T) {
    counter.set(counter.get() + by);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_named_by_its_address_until_it_says_more() {
        let name =
            |address: &str| Client::new(1, address.to_owned(), 0, Duration::ZERO).client_id.into_inner();
        assert_eq!(name("127.0.0.1:5000"), "127.0.0.1");
        assert_eq!(name("[::1]:5000"), "::1");
        assert_eq!(name("@"), "");
    }
}
