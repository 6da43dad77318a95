//! The auth server that nsqd asks with `--auth-http-address`.
//!
//! ```no_run
//! use testkit::{auth::AuthServer, process::Nsqd};
//! let auth = AuthServer::start(&["s3cret"]);
//! let nsqd = Nsqd::start(&[&auth.nsqd_flag()]);
//! // ... a consumer with another secret: nsqd answers E_AUTH_FAILED ...
//! assert_eq!(auth.refused(), 1);
//! ```

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use crate::board::lock;
use crate::endpoint::{Answer, Endpoint, Script};

/// A running auth server.
#[derive(Debug)]
pub struct AuthServer {
    endpoint: Endpoint,
    asked: Arc<Mutex<Asked>>,
}

#[derive(Debug, Default)]
struct Asked {
    granted: u64,
    refused: u64,
    secrets: BTreeSet<String>,
}

impl AuthServer {
    /// Grants everything on every topic to these secrets, for an hour, and refuses others with 403, which nsqd tells its client
    /// as E_AUTH_FAILED.
    pub fn start(secrets: &[&str]) -> Self {
        Self::start_with(secrets, 3600)
    }

    /// As [`AuthServer::start`], with the lifetime of a grant in seconds: nsqd asks again after it.
    pub fn start_with(secrets: &[&str], ttl_s: u64) -> Self {
        let known: BTreeSet<String> = secrets.iter().map(|secret| (*secret).to_owned()).collect();
        let asked: Arc<Mutex<Asked>> = Arc::default();
        let book = asked.clone();
        let script = Script::new(move |head| {
            let secret = parameter(&head.target, "secret").unwrap_or_default();
            let granted = known.contains(&secret);
            let mut book = lock(&book);
            match granted {
                true => book.granted += 1,
                false => book.refused += 1,
            }
            book.secrets.insert(secret);
            if granted { grant(ttl_s) } else { Answer::status(403) }
        });
        Self { endpoint: Endpoint::http(script), asked }
    }

    /// The flag that makes an nsqd ask here.
    pub fn nsqd_flag(&self) -> String {
        format!("--auth-http-address={}", self.endpoint.address())
    }

    /// How often a secret was granted.
    pub fn granted(&self) -> u64 {
        lock(&self.asked).granted
    }

    /// How often one was refused.
    pub fn refused(&self) -> u64 {
        lock(&self.asked).refused
    }

    /// Every secret that was shown.
    pub fn secrets(&self) -> BTreeSet<String> {
        lock(&self.asked).secrets.clone()
    }

    /// The HTTP server, to take it down or to see its requests.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }
}

fn grant(ttl_s: u64) -> Answer {
    let body = format!(
        r#"{{"ttl":{ttl_s},"identity":"kit","identity_url":"","authorizations":[{{"topic":".*","channels":[".*"],"permissions":["subscribe","publish"]}}]}}"#
    );
    Answer::raw(format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    ))
}

/// A parameter of the query, with `%XX` and `+` decoded.
fn parameter(target: &str, name: &str) -> Option<String> {
    let (_, query) = target.split_once('?')?;
    let value = query.split('&').find_map(|pair| pair.split_once('=').filter(|(key, _)| *key == name))?.1;
    let bytes = value.as_bytes();
    let mut decoded = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let hex = bytes.get(at + 1..at + 3).and_then(|hex| std::str::from_utf8(hex).ok());
        match (bytes[at], hex.and_then(|hex| u8::from_str_radix(hex, 16).ok())) {
            (b'%', Some(byte)) => {
                decoded.push(byte);
                at += 3;
                continue;
            }
            (b'+', _) => decoded.push(b' '),
            (byte, _) => decoded.push(byte),
        }
        at += 1;
    }
    String::from_utf8(decoded).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_decoded() {
        let target = "/auth?remote_ip=127.0.0.1&tls=false&secret=a%2Fb+c%25&common_name=";
        assert_eq!(parameter(target, "secret").as_deref(), Some("a/b c%"));
        assert_eq!(parameter(target, "common_name").as_deref(), Some(""));
        assert_eq!(parameter(target, "none"), None);
    }
}
