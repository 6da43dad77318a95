//! Which nsqds have a topic, by asking nsqlookupds over HTTP.
//!
//! [`Lookup`] asks, all side by side, each within its own deadline, so that one that hangs holds up no other. [`Listing`] says what the answers mean together. When to ask, and
//! what to dial, is the consumer's affair.

mod answer;
mod get;
mod listing;
mod lookupd;

use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use tokio::time::timeout_at;

use crate::after::after;
use crate::settings::{SettingError, TlsSettings};
use crate::stream::{ConnectError, Resolver};
use crate::tls::{Tls, TlsFailure};

pub use answer::Node;
pub use listing::{Listing, ListingChange};
use lookupd::Lookupd;

/// How to ask nsqlookupds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LookupSettings {
    /// One nsqlookupd each: `host:port`, or a URL of the scheme http or https. A URL's path is asked in place of `/lookup`.
    pub addresses: Vec<String>,
    /// Trust and identity for https.
    pub tls: TlsSettings,
    /// Time for one answer, from the name's lookup to the last byte (5 s).
    pub timeout: Duration,
    /// Longest body of an answer, in bytes (8 MiB: some 40,000 nsqds).
    pub answer_bytes_max: usize,
}

impl LookupSettings {
    /// The defaults, for these nsqlookupds.
    pub fn new(addresses: Vec<String>) -> LookupSettings {
        LookupSettings {
            addresses,
            tls: TlsSettings::default(),
            timeout: Duration::from_secs(5),
            answer_bytes_max: 8 * 1024 * 1024,
        }
    }

    /// Every mistake that can be seen without opening a file or a socket.
    pub fn validate(&self) -> Vec<SettingError> {
        let mut errors: Vec<SettingError> =
            self.addresses.iter().filter_map(|address| Lookupd::parse(address).err()).collect();
        if self.addresses.is_empty() {
            errors.push(SettingError::new("lookup.addresses", "[]", "at least one nsqlookupd is needed"));
        }
        if self.timeout.is_zero() {
            errors.push(SettingError::new("lookup.timeout", "0", "must be above 0"));
        }
        errors
    }
}

/// Asks nsqlookupds. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Lookup(Rc<Inner>);

#[derive(Debug)]
struct Inner {
    settings: LookupSettings,
    lookupds: Vec<Lookupd>,
    /// There is no need for trust roots where nobody is asked over https.
    tls: Option<Tls>,
    resolver: Resolver,
}

/// Why an nsqlookupd gave no valid answer. That a topic is unknown to it is an answer.
#[derive(Debug, thiserror::Error)]
pub enum LookupError {
    /// There is no TCP connection.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// There was no whole answer in time.
    #[error("no answer within {after:?}")]
    Timeout {
        /// `timeout` of the settings.
        after: Duration,
    },
    /// One of the two certificates is not good enough for the other side, or TLS failed in another way.
    #[error("TLS: {0}")]
    Tls(TlsFailure),
    /// The network failed.
    #[error(transparent)]
    Broken(io::Error),
    /// The connection broke off within the answer, or it is not HTTP/1.
    #[error("{0}")]
    Http(hyper::Error),
    /// An answer that says neither which nsqds there are nor that the topic is unknown.
    #[error("status {status}: {text}")]
    Refused {
        /// HTTP status, or the one inside the answer of an nsqlookupd before 1.0.
        status: u16,
        /// What it said, cut and printable.
        text: String,
    },
    /// The body is longer than `answer_bytes_max`.
    #[error("the answer is longer than {max} bytes")]
    TooLong {
        /// `answer_bytes_max` of the settings.
        max: usize,
    },
    /// The body is not what nsqlookupd writes.
    #[error("the answer cannot be read: {reason}")]
    Json {
        /// What is wrong with it.
        reason: String,
    },
}

impl Lookup {
    /// Checks the settings and, where one of the addresses is https, opens the files for TLS.
    ///
    /// # Errors
    /// Every mistake in them, at once.
    pub fn new(settings: &LookupSettings) -> Result<Lookup, Vec<SettingError>> {
        let mut errors = settings.validate();
        let lookupds: Vec<Lookupd> =
            settings.addresses.iter().filter_map(|address| Lookupd::parse(address).ok()).collect();
        let mut tls = None;
        if lookupds.iter().any(|lookupd| lookupd.https) {
            match Tls::new(&settings.tls, &[b"http/1.1"]) {
                Ok(ready) => tls = Some(ready),
                Err(more) => errors.extend(more),
            }
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        let settings = settings.clone();
        Ok(Lookup(Rc::new(Inner { settings, lookupds, tls, resolver: Resolver::default() })))
    }

    /// The nsqlookupds, in the order of the index that [`Lookup::ask`] gives.
    pub fn addresses(&self) -> &[String] {
        &self.0.settings.addresses
    }

    /// Asks all of them for the nsqds that have `topic`, and tells each answer as soon as it is there, with the index of who gave it. Ends with the last. Nodes without an address that
    /// could be dialled are left out.
    pub async fn ask(&self, topic: &str, mut answered: impl FnMut(usize, Result<Vec<Node>, LookupError>)) {
        let inner = &*self.0;
        let ask =
            |lookupd| Some(Box::pin(inner.ask_one(lookupd, topic)) as Pin<Box<dyn Future<Output = _> + '_>>);
        let mut running: Vec<_> = inner.lookupds.iter().map(ask).collect();
        poll_fn(|cx| {
            let mut left = false;
            for (i, slot) in running.iter_mut().enumerate() {
                let Some(asked) = slot else { continue };
                match asked.as_mut().poll(cx) {
                    Poll::Pending => left = true,
                    Poll::Ready(answer) => {
                        *slot = None;
                        answered(i, answer);
                    }
                }
            }
            if left { Poll::Pending } else { Poll::Ready(()) }
        })
        .await;
    }
}

impl Inner {
    async fn ask_one(&self, lookupd: &Lookupd, topic: &str) -> Result<Vec<Node>, LookupError> {
        let timeout = self.settings.timeout;
        let deadline = after(timeout);
        let got = timeout_at(deadline, self.get(lookupd, &lookupd.target(topic), deadline)).await;
        let (status, body) = got.unwrap_or(Err(LookupError::Timeout { after: timeout }))?;
        answer::parse(status, &body)
    }
}
