//! One GET, on a connection of its own: at one question each 15 s there is nothing to keep open.

use std::io;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, LengthLimitError, Limited};
use hyper::Request;
use hyper::client::conn::http1;
use hyper::header::{ACCEPT, CONNECTION, HOST, USER_AGENT};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use super::lookupd::Lookupd;
use super::{Inner, LookupError};
use crate::stream::connect;
use crate::tls::tls_failure;

/// Asks an nsqlookupd before 1.0 for the answer without an envelope around it.
const ACCEPT_VERSION: &str = "application/vnd.nsq; version=1.0";

impl Inner {
    /// Status and body. Redirects are not followed: nsqlookupd gives none.
    pub(super) async fn get(
        &self,
        lookupd: &Lookupd,
        target: &str,
        deadline: Instant,
    ) -> Result<(u16, Bytes), LookupError> {
        let request = Request::get(target)
            .header(HOST, &lookupd.authority)
            .header(ACCEPT, ACCEPT_VERSION)
            .header(USER_AGENT, concat!("posthaste/", env!("CARGO_PKG_VERSION")))
            .header(CONNECTION, "close")
            .body(Empty::new())
            .expect("authority and target are made of characters that a request may have");
        let bytes_max = self.settings.answer_bytes_max;
        let socket = connect(&self.resolver, &lookupd.address, deadline).await?;
        match &self.tls {
            Some(tls) if lookupd.https => {
                let stream = tls.handshake(&lookupd.host, socket).await.map_err(broken)?;
                exchange(stream, request, bytes_max).await
            }
            _ => exchange(socket, request, bytes_max).await,
        }
    }
}

async fn exchange<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    request: Request<Empty<Bytes>>,
    bytes_max: usize,
) -> Result<(u16, Bytes), LookupError> {
    let (mut requests, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(http)?;
    let mut answer = Box::pin(async move {
        let response = requests.send_request(request).await.map_err(http)?;
        let status = response.status().as_u16();
        #[expect(clippy::disallowed_methods, reason = "it is bounded: Limited")]
        let body = Limited::new(response.into_body(), bytes_max).collect().await;
        let body = body.map_err(|error| match error.downcast::<hyper::Error>() {
            Ok(error) => http(*error),
            Err(error) if error.is::<LengthLimitError>() => LookupError::TooLong { max: bytes_max },
            Err(error) => LookupError::Broken(io::Error::other(error)),
        })?;
        Ok((status, body.to_bytes()))
    });
    // The connection moves the bytes; it may end with the last of them still to be taken from it.
    tokio::select! {
        answer = &mut answer => answer,
        _ended = connection => answer.await,
    }
}

fn http(error: hyper::Error) -> LookupError {
    let mut source = std::error::Error::source(&error);
    while let Some(inner) = source {
        if let Some(failure) = inner.downcast_ref().and_then(tls_failure) {
            return LookupError::Tls(failure);
        }
        source = inner.source();
    }
    LookupError::Http(error)
}

fn broken(error: io::Error) -> LookupError {
    match tls_failure(&error) {
        Some(failure) => LookupError::Tls(failure),
        None => LookupError::Broken(error),
    }
}
