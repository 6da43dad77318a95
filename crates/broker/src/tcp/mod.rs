//! NSQ's TCP protocol V2, served.

use std::rc::Rc;

use tokio::io::{AsyncRead, AsyncWrite};

use crate::shared::BrokerShared;

/// Serves one connection from `peer` to its end.
pub(crate) async fn serve<S: AsyncRead + AsyncWrite + Unpin + 'static>(
    _stream: S,
    _peer: String,
    _shared: Rc<BrokerShared>,
) {
}
