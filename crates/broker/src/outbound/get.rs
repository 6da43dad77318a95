//! One GET, as nsqd asks auth servers and nsqlookupds: version 1.0 of their API, and HTTPS where a 403 says so.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, LengthLimitError, Limited};
use hyper::client::conn::http1;
use hyper::header::{ACCEPT, CONNECTION, HOST, USER_AGENT};
use hyper::{Request, Uri};
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;

use super::Outbound;

/// Asks servers before 1.0 for the answer without an envelope around it.
const ACCEPT_VERSION: &str = "application/vnd.nsq; version=1.0";

/// The longest answer that is believed: some ten thousand channels, or authorisations.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GetError {
    /// It is no `http://` or `https://` URL of a host.
    #[error("{0:?} is no URL that can be asked")]
    Url(String),
    /// No connection, or one that broke.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It was not HTTP, or broke off.
    #[error(transparent)]
    Http(#[from] hyper::Error),
    /// Not in time.
    #[error("no answer in time")]
    Late,
    /// It goes on beyond the bound.
    #[error("an answer of more than {ANSWER_BYTES_MAX} bytes")]
    TooLong,
    /// Any status but 200.
    #[error("status {0}")]
    Status(u16),
}

impl Outbound {
    /// The body of a 200. A 403 that names an `https_port` is asked again there, as nsqd does.
    pub(crate) async fn get(&self, url: &str) -> Result<Bytes, GetError> {
        timeout(self.request_timeout, self.ask(url)).await.unwrap_or(Err(GetError::Late))
    }

    /// As [`get`](Self::get), for a client that made us ask: it waits, within its time, while too many others do.
    pub(crate) async fn get_for_client(&self, url: &str) -> Result<Bytes, GetError> {
        let asked = async {
            let _place = self.clients_questions.acquire().await.expect("the semaphore is never closed");
            self.ask(url).await
        };
        timeout(self.request_timeout, asked).await.unwrap_or(Err(GetError::Late))
    }

    async fn ask(&self, url: &str) -> Result<Bytes, GetError> {
        let uri: Uri = url.parse().map_err(|_| GetError::Url(url.to_owned()))?;
        match self.get_once(&uri).await? {
            (200, body) => Ok(body),
            (403, body) => {
                let elsewhere = https_instead(&uri, &body).ok_or(GetError::Status(403))?;
                match self.get_once(&elsewhere).await? {
                    (200, body) => Ok(body),
                    (status, _) => Err(GetError::Status(status)),
                }
            }
            (status, _) => Err(GetError::Status(status)),
        }
    }

    async fn get_once(&self, uri: &Uri) -> Result<(u16, Bytes), GetError> {
        let bad = || GetError::Url(uri.to_string());
        let (host, authority) = (uri.host().ok_or_else(bad)?, uri.authority().ok_or_else(bad)?);
        let https = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(bad()),
        };
        let port = uri.port_u16().unwrap_or(if https { 443 } else { 80 });
        let target = uri.path_and_query().map_or("/", |target| target.as_str());
        let request = Request::get(target)
            .header(HOST, authority.as_str())
            .header(ACCEPT, ACCEPT_VERSION)
            .header(USER_AGENT, concat!("posthaste/", env!("CARGO_PKG_VERSION")))
            .header(CONNECTION, "close")
            .body(Empty::new())
            .map_err(|_| bad())?;
        let socket = self.connect(host, port, Instant::now() + self.connect_timeout).await?;
        if !https {
            return exchange(socket, request).await;
        }
        let config = self.tls.as_ref().ok_or_else(bad)?;
        let name = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let name = ServerName::try_from(name).map_err(|_| bad())?;
        let stream = TlsConnector::from(Arc::clone(config)).connect(name, socket).await?;
        exchange(stream, request).await
    }
}

async fn exchange<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    request: Request<Empty<Bytes>>,
) -> Result<(u16, Bytes), GetError> {
    let (mut requests, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let mut answer = Box::pin(async move {
        let response = requests.send_request(request).await?;
        let status = response.status().as_u16();
        #[expect(clippy::disallowed_methods, reason = "it is bounded: Limited")]
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
        let body = body.map_err(|error| match error.downcast::<hyper::Error>() {
            Ok(error) => GetError::Http(*error),
            Err(error) if error.is::<LengthLimitError>() => GetError::TooLong,
            Err(error) => GetError::Io(io::Error::other(error)),
        })?;
        Ok((status, body.to_bytes()))
    });
    // The connection moves the bytes; it may end with the last of them still to be taken from it.
    tokio::select! {
        answer = &mut answer => answer,
        _ended = connection => answer.await,
    }
}

/// Where a 403 sends a question asked over `http://`.
fn https_instead(asked: &Uri, body: &[u8]) -> Option<Uri> {
    if asked.scheme_str() == Some("https") {
        return None;
    }
    let answer: serde_json::Value = serde_json::from_slice(body).ok()?;
    let port = u16::try_from(answer.get("https_port")?.as_u64()?).ok()?;
    let authority = format!("{}:{port}", asked.host()?);
    let target = asked.path_and_query().map_or("/", |target| target.as_str());
    Uri::builder().scheme("https").authority(authority).path_and_query(target).build().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_403_may_name_the_https_port() {
        let instead = |body: &str| {
            https_instead(&"http://auth:4181/auth?secret=a%20b".parse().unwrap(), body.as_bytes())
                .map(|uri| uri.to_string())
        };
        let moved = instead(r#"{"message":"TLS_REQUIRED","https_port":4182}"#);
        assert_eq!(moved.as_deref(), Some("https://auth:4182/auth?secret=a%20b"));
        assert_eq!(instead("{}"), None);
        assert_eq!(instead("no"), None);
        assert_eq!(https_instead(&"https://auth/".parse().unwrap(), br#"{"https_port":1}"#), None);
    }
}
