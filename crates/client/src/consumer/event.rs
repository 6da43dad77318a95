//! What happens between a consumer and its nsqds and nsqlookupds, for logs and decisions.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use wire::{FrameError, MessageId, ServerError};

use crate::dial::{DialError, Negotiated};
use crate::lookup::LookupError;

/// Something that happened. `Display` is one line for people; decide by the variant.
#[derive(Debug)]
pub enum Event {
    /// Subscribed to an nsqd; messages may come.
    Connected {
        /// The nsqd's address.
        node: Arc<str>,
        /// What both sides are held to.
        negotiated: Negotiated,
    },
    /// No connection came about.
    ConnectFailed {
        /// The nsqd's address.
        node: Arc<str>,
        /// Why not.
        error: DialError,
        /// When the next dial is made; `None` when none is.
        retry_in: Option<Duration>,
    },
    /// A connection ended.
    Disconnected {
        /// The nsqd's address.
        node: Arc<str>,
        /// Why.
        reason: DisconnectReason,
        /// Messages that were held of it, and come again when their time at nsqd has passed.
        connection_lost: u64,
        /// FINs that it took and could not send: their messages come again.
        finishes_unsent: u64,
        /// When it is dialled again; `None` when it is not.
        retry_in: Option<Duration>,
    },
    /// nsqd refused a FIN, REQ or TOUCH; the connection lives. Other errors end it: see
    /// [`DisconnectReason::Server`].
    ServerError {
        /// The nsqd's address.
        node: Arc<str>,
        /// What it said.
        error: ServerError,
    },
    /// A message over `message_bytes_max` was requeued unread.
    Oversized {
        /// The nsqd's address.
        node: Arc<str>,
        /// The message.
        id: MessageId,
        /// How often it has been delivered.
        attempts: u16,
        /// The size of its body.
        bytes: usize,
        /// How long it was put away for.
        delay: Duration,
    },
    /// nsqlookupd lists an nsqd that was not known.
    Listed {
        /// The nsqd's address.
        node: Arc<str>,
    },
    /// No nsqlookupd lists it any more: it is not dialled again once its connection ends.
    Delisted {
        /// The nsqd's address.
        node: Arc<str>,
    },
    /// An nsqlookupd could not be asked. What it said last stands.
    LookupFailed {
        /// The nsqlookupd's address.
        lookupd: String,
        /// Why.
        error: LookupError,
    },
    /// An nsqlookupd answered, for the first time or after a failure.
    LookupAnswered {
        /// The nsqlookupd's address.
        lookupd: String,
        /// How many nsqds it lists for the topic.
        nodes: usize,
    },
    /// An nsqlookupd lists more nsqds for the topic than are dialled.
    TooManyListed {
        /// The nsqlookupd's address.
        lookupd: String,
        /// How many it lists.
        nodes: usize,
        /// How many of them are taken: the first in the order of their addresses.
        taken: usize,
    },
}

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub enum DisconnectReason {
    /// The consumer was stopped, and nsqd has executed everything that was sent.
    #[error("stopped")]
    Stopped,
    /// The consumer was stopped, and nsqd did not close within its time: whether it executed everything is
    /// not known.
    #[error("stopped, but nsqd did not confirm that it has executed everything")]
    StopUnconfirmed,
    /// nsqd closed it.
    #[error("closed by nsqd")]
    Closed,
    /// Reading failed.
    #[error("reading failed: {0}")]
    Read(#[source] io::Error),
    /// Writing failed.
    #[error("writing failed: {0}")]
    Write(#[source] io::Error),
    /// nsqd sent nothing for two heartbeat intervals.
    #[error("nothing came from nsqd for {0:?}")]
    Silent(Duration),
    /// nsqd took nothing for `write_timeout`.
    #[error("nsqd took nothing for {0:?}")]
    WriteStalled(Duration),
    /// nsqd sent what cannot be a frame.
    #[error("{0}")]
    Frame(#[source] FrameError),
    /// nsqd sent a message whose id cannot be answered.
    #[error("impossible message id {0}")]
    ImpossibleId(MessageId),
    /// nsqd did not answer SUB within `connect_timeout`.
    #[error("no answer to SUB within {0:?}")]
    SubscribeTimeout(Duration),
    /// nsqd sent an error after which it closes.
    #[error("nsqd said {0}")]
    Server(#[source] ServerError),
}

impl Event {
    /// Whether something went wrong, so that a log shows it as a warning.
    pub fn is_trouble(&self) -> bool {
        match self {
            Event::Connected { .. }
            | Event::Listed { .. }
            | Event::Delisted { .. }
            | Event::LookupAnswered { .. } => false,
            Event::Disconnected { reason, .. } => !matches!(reason, DisconnectReason::Stopped),
            Event::ConnectFailed { .. }
            | Event::ServerError { .. }
            | Event::Oversized { .. }
            | Event::LookupFailed { .. }
            | Event::TooManyListed { .. } => true,
        }
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let again = |f: &mut fmt::Formatter<'_>, retry_in: &Option<Duration>| match retry_in {
            Some(delay) => write!(f, "; next dial in {} ms", delay.as_millis()),
            None => Ok(()),
        };
        match self {
            Event::Connected { node, negotiated } => write!(
                f,
                "nsqd {node}: connected (msg_timeout {:?}, max_rdy_count {})",
                negotiated.msg_timeout, negotiated.max_rdy_count
            ),
            Event::ConnectFailed { node, error, retry_in } => {
                write!(f, "nsqd {node}: not connected: {error}")?;
                again(f, retry_in)
            }
            Event::Disconnected { node, reason, connection_lost, finishes_unsent, retry_in } => {
                write!(f, "nsqd {node}: connection ended: {reason}")?;
                if connection_lost + finishes_unsent > 0 {
                    write!(
                        f,
                        "; {connection_lost} messages held and {finishes_unsent} FINs unsent, they come again"
                    )?;
                }
                again(f, retry_in)
            }
            Event::ServerError { node, error } => write!(f, "nsqd {node}: {error}"),
            Event::Oversized { node, id, attempts, bytes, delay } => write!(
                f,
                "nsqd {node}: message {id} of {bytes} bytes is over message_bytes_max: requeued for {delay:?}, unread (attempt {attempts})"
            ),
            Event::Listed { node } => write!(f, "nsqd {node}: listed by nsqlookupd"),
            Event::Delisted { node } => {
                write!(f, "nsqd {node}: no longer listed; it is not dialled again once its connection ends")
            }
            Event::LookupFailed { lookupd, error } => write!(f, "nsqlookupd {lookupd}: {error}"),
            Event::LookupAnswered { lookupd, nodes } => {
                write!(f, "nsqlookupd {lookupd}: lists {nodes} nsqds")
            }
            Event::TooManyListed { lookupd, nodes, taken } => {
                write!(f, "nsqlookupd {lookupd}: lists {nodes} nsqds, of which {taken} are dialled")
            }
        }
    }
}

/// Calls the caller's closure, one event at a time: what it does may bring about the next one.
pub(super) struct Events {
    told: RefCell<Box<dyn FnMut(Event)>>,
    waiting: RefCell<VecDeque<Event>>,
}

impl Events {
    pub(super) fn new(told: impl FnMut(Event) + 'static) -> Events {
        Events { told: RefCell::new(Box::new(told)), waiting: RefCell::default() }
    }

    /// Nothing of the consumer may be borrowed here: the closure may call any of its methods.
    pub(super) fn tell(&self, event: Event) {
        self.waiting.borrow_mut().push_back(event);
        let Ok(mut told) = self.told.try_borrow_mut() else { return };
        loop {
            let next = self.waiting.borrow_mut().pop_front();
            let Some(event) = next else { return };
            told(event);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::rc::{Rc, Weak};

    use super::*;

    #[test]
    fn an_event_brought_about_by_an_event_comes_after_it() {
        let heard: Rc<RefCell<Vec<String>>> = Rc::default();
        let listed = |name: &str| Event::Listed { node: name.into() };
        let events = Rc::new_cyclic(|events: &Weak<Events>| {
            let (heard, events) = (Rc::clone(&heard), events.clone());
            Events::new(move |event| {
                if heard.borrow().is_empty() {
                    events.upgrade().expect("in use").tell(Event::Delisted { node: "b".into() });
                }
                heard.borrow_mut().push(event.to_string());
            })
        });
        events.tell(listed("a"));
        let heard = heard.borrow();
        assert!(
            heard[0].starts_with("nsqd a: listed") && heard[1].starts_with("nsqd b: no longer"),
            "{heard:?}"
        );
    }
}
