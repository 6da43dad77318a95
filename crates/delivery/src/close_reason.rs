//! Why a connection was closed. Every connection that was opened ends with exactly one of these, so the counters of
//! all reasons plus the open ones add up to the connections opened.

use crate::codec::CloseAfter;

macro_rules! close_reasons {
    ($($(#[$doc:meta])* $reason:ident = $name:literal,)*) => {
        /// Why a connection was closed.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum CloseReason {
            $($(#[$doc])* $reason,)*
        }

        impl CloseReason {
            /// Every reason, in the order of their counters.
            pub const ALL: [CloseReason; [$($name),*].len()] = [$(CloseReason::$reason),*];

            /// The name used in logs, metrics and the summary.
            pub fn name(self) -> &'static str {
                match self { $(CloseReason::$reason => $name,)* }
            }
        }
    };
}

close_reasons! {
    /// The peer closed its side: a FIN on a plain connection.
    PeerFin = "peer_fin",
    /// A FIN on a TLS connection without the close_notify that should precede it.
    PeerFinUnannounced = "peer_fin_unannounced",
    /// The peer announced the end of a TLS connection, with or without a FIN right behind.
    PeerCloseNotify = "peer_close_notify",
    /// The peer reset the connection.
    PeerReset = "peer_reset",
    /// The peer sent a fatal TLS alert.
    PeerAlert = "peer_alert",
    /// The peer sent TLS records that do not decrypt or make no sense.
    PeerBrokeTls = "peer_broke_tls",
    /// The kernel gave the peer up: keep-alive probes or sent bytes stayed without an answer.
    PeerSilent = "peer_silent",
    /// Any other error of the socket.
    SocketFailed = "socket_failed",
    /// Bytes other than line ends came while no request was out.
    StrayBytes = "stray_bytes",
    /// The answer said `Connection: close`.
    AnswerClose = "answer_close",
    /// The answer's framing leaves a doubt where its body ends, or ends it with the connection.
    AnswerFraming = "answer_framing",
    /// The answer was HTTP/1.0 without keep-alive.
    Http10 = "http10",
    /// The answer's body was not what its head announced.
    BadBody = "bad_body",
    /// The answer's body was longer than the drain limit, or took longer.
    Undrained = "undrained",
    /// What came was no usable answer.
    BadAnswer = "bad_answer",
    /// A final answer that ended the request came before the request was written in full.
    AnsweredBeforeBody = "answered_before_body",
    /// The request's deadline passed.
    Deadline = "deadline",
    /// The future that posted or drained was dropped.
    Cancelled = "cancelled",
    /// Idle for longer than the idle timeout.
    IdleTimeout = "idle_timeout",
    /// Older than the maximum age.
    Age = "age",
    /// Carried as many requests as it may.
    RequestsMax = "requests_max",
    /// Gave its place to a connection dialled for a resend.
    MadeRoom = "made_room",
    /// The endpoint was closed.
    Shutdown = "shutdown",
}

impl CloseReason {
    /// Position in [`CloseReason::ALL`].
    pub(crate) fn index(self) -> usize {
        self as usize
    }

    /// Whether a connection in order is ended by us, so that the peer deserves a close_notify.
    pub(crate) fn is_orderly(self) -> bool {
        use CloseReason as Is;
        matches!(
            self,
            Is::PeerCloseNotify
                | Is::AnswerClose
                | Is::AnswerFraming
                | Is::Http10
                | Is::IdleTimeout
                | Is::Age
                | Is::RequestsMax
                | Is::MadeRoom
                | Is::Shutdown
        )
    }

    /// Whether it is what a peer does that closes a connection it thinks idle.
    pub(crate) fn is_end_by_peer(self) -> bool {
        use CloseReason as Is;
        matches!(self, Is::PeerFin | Is::PeerFinUnannounced | Is::PeerCloseNotify | Is::PeerReset)
    }
}

impl From<CloseAfter> for CloseReason {
    fn from(close: CloseAfter) -> CloseReason {
        match close {
            CloseAfter::AnswerClose => CloseReason::AnswerClose,
            CloseAfter::AnswerFraming => CloseReason::AnswerFraming,
            CloseAfter::Http10 => CloseReason::Http10,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn index_is_the_position_in_all() {
        for (position, reason) in CloseReason::ALL.into_iter().enumerate() {
            assert_eq!(reason.index(), position, "{reason:?}");
        }
    }
}
