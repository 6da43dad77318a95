//! What is left of an answer once its outcome is known.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio::time::Instant;

use crate::close_reason::CloseReason;
use crate::connection::Connection;
use crate::local::Local;
use crate::pool::Pool;
use crate::post::{AnswerEnd, Rest};
use crate::transport::close_reason;

/// Reads the rest of an answer, within the drain limits, and gives the connection back or closes it. The permit of its
/// request is not free before this is done. Mostly the whole answer came at once, and it is done from the start;
/// dropping it before closes the connection.
#[must_use = "await it before the request's permit is given back; dropping it closes the connection"]
pub struct Tail(Option<Box<Draining>>);

struct Draining {
    /// `None` once it went its way.
    connection: Option<Box<Connection>>,
    rest: Rest,
    until: Instant,
    pool: Rc<Pool>,
    local: Local,
}

impl Tail {
    pub(crate) fn done() -> Tail {
        Tail(None)
    }

    pub(crate) fn of(
        connection: Box<Connection>,
        rest: Rest,
        until: Instant,
        pool: Rc<Pool>,
        local: Local,
    ) -> Tail {
        Tail(Some(Box::new(Draining { connection: Some(connection), rest, until, pool, local })))
    }

    /// Whether there is nothing to wait for.
    pub fn is_done(&self) -> bool {
        self.0.is_none()
    }
}

impl Future for Tail {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Some(draining) = &mut self.0 else { return Poll::Ready(()) };
        let end = ready!(draining.poll_end(cx));
        let connection = draining.connection.take().expect("taken only here, where the tail ends");
        match end {
            Ok(()) => draining.pool.check_in(connection, Instant::now()),
            Err(reason) => connection.close(reason),
        }
        self.0 = None;
        Poll::Ready(())
    }
}

impl Draining {
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<AnswerEnd> {
        let connection = self.connection.as_mut().expect("there until the tail ends");
        if let Poll::Ready(end) = poll_rest(connection, &mut self.rest, &self.local, cx) {
            return Poll::Ready(end);
        }
        connection.poll_deadline(cx, self.until).map(|()| Err(CloseReason::Undrained))
    }
}

fn poll_rest(
    connection: &mut Connection,
    rest: &mut Rest,
    local: &Local,
    cx: &mut Context<'_>,
) -> Poll<AnswerEnd> {
    let scratch = &mut *local.scratch();
    loop {
        let len = match ready!(connection.transport.poll_read(cx, scratch)) {
            Ok(0) => return Poll::Ready(Err(rest.end_of_stream(connection.transport.end_of_stream()))),
            Ok(len) => len,
            Err(error) => return Poll::Ready(Err(rest.end_of_stream(close_reason(&error)))),
        };
        if let Some(end) = rest.take(&scratch[..len]) {
            return Poll::Ready(end);
        }
    }
}
