//! AUTH: a client's secret, what the auth servers said of it, and asking again when that expires.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{SystemTime, UNIX_EPOCH};

use wire::{CommandName, ErrorCode};

use super::grant::Grant;
use super::refusal::Refusal;
use crate::shared::BrokerShared;

/// Where a connection stands with the auth servers.
#[derive(Default)]
pub(super) struct Auth {
    secret: Vec<u8>,
    /// Whether AUTH succeeded once: a grant that is renewed without rules is one that allows nothing.
    authed: bool,
    grant: Option<Grant>,
    asking: Option<Asking>,
}

type Asking = Pin<Box<dyn Future<Output = Option<Grant>>>>;

/// Whether a command may go on.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Permission {
    Granted,
    /// Not known any more: ask, and look at the command once more.
    Expired,
}

/// Who a client is, as far as auth servers are told.
pub(super) struct Asker<'a> {
    pub(super) remote_address: &'a str,
    pub(super) tls: bool,
    pub(super) common_name: &'a str,
}

impl Auth {
    /// Whether AUTH brought any rules.
    pub(super) fn is_granted(&self) -> bool {
        self.grant.as_ref().is_some_and(|grant| grant.permissions() > 0)
    }

    pub(super) fn grant(&self) -> Option<&Grant> {
        self.grant.as_ref()
    }

    pub(super) fn is_asking(&self) -> bool {
        self.asking.is_some()
    }

    pub(super) fn set_secret(&mut self, secret: &[u8]) {
        self.secret = secret.to_vec();
    }

    /// AUTH succeeded.
    pub(super) fn set_authed(&mut self) {
        self.authed = true;
    }

    /// Asks the auth servers, the first at random, until one grants; [`poll_asked`](Self::poll_asked) goes on with it.
    pub(super) fn ask(&mut self, shared: &Rc<BrokerShared>, asker: &Asker<'_>) {
        let query = query(&self.secret, asker);
        let shared = Rc::clone(shared);
        let client = asker.remote_address.to_owned();
        self.asking = Some(Box::pin(async move {
            let servers = &shared.settings.auth_http_addresses;
            let first = arbitrary() % servers.len().max(1);
            for server in servers[first..].iter().chain(&servers[..first]) {
                let url = match server.contains("://") {
                    true => format!("{server}?{query}"),
                    false => format!("http://{server}/auth?{query}"),
                };
                // Neither the URL nor the answer goes into a log: both hold secrets.
                match shared.outbound.get_for_client(&url).await {
                    Ok(answer) => match Grant::parse(&answer) {
                        Ok(grant) => return Some(grant),
                        Err(error) => {
                            tracing::warn!(%client, %server, %error, "auth server's answer is of no use")
                        }
                    },
                    Err(error) => tracing::warn!(%client, %server, %error, "auth server did not grant"),
                }
            }
            None
        }));
    }

    /// Ready with whether there is a grant now, once the question that runs is answered; pending when none runs.
    pub(super) fn poll_asked(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        let Some(asking) = &mut self.asking else { return Poll::Pending };
        let Poll::Ready(grant) = asking.as_mut().poll(cx) else { return Poll::Pending };
        self.asking = None;
        let granted = grant.is_some();
        if granted {
            self.grant = grant;
        }
        Poll::Ready(granted)
    }

    /// Judges a command, as nsqd does, where authentication is required. Without a channel it is a publish.
    pub(super) fn check(
        &self,
        command: CommandName,
        topic: &str,
        channel: &str,
    ) -> Result<Permission, Refusal> {
        let Some(grant) = self.grant.as_ref().filter(|_| self.authed) else {
            return Err(Refusal::new(ErrorCode::AuthFirst, format!("AUTH required before {command}")));
        };
        if grant.is_expired() {
            return Ok(Permission::Expired);
        }
        if grant.allows(topic, channel) {
            return Ok(Permission::Granted);
        }
        let detail = format!("AUTH failed for {command} on \"{topic}\" \"{channel}\"");
        Err(Refusal::new(ErrorCode::Unauthorized, detail))
    }
}

/// The parameters of the question, in Go's order and escaping.
fn query(secret: &[u8], asker: &Asker<'_>) -> String {
    let remote_ip = asker.remote_address.parse::<SocketAddr>();
    let remote_ip = remote_ip.map(|address| address.ip().to_string()).unwrap_or_default();
    let tls: &[u8] = if asker.tls { b"true" } else { b"false" };
    let mut query = String::new();
    for (name, value) in [
        ("common_name=", asker.common_name.as_bytes()),
        ("&remote_ip=", remote_ip.as_bytes()),
        ("&secret=", secret),
        ("&tls=", tls),
    ] {
        query.push_str(name);
        escape(&mut query, value);
    }
    query
}

fn escape(out: &mut String, bytes: &[u8]) {
    for byte in bytes {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                out.push(char::from(*byte))
            }
            b' ' => out.push('+'),
            other => write!(out, "%{other:02X}").expect("a String takes every write"),
        }
    }
}

/// Any number, to spread questions over servers.
fn arbitrary() -> usize {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.subsec_micros() as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_question_is_as_nsqd_puts_it() {
        let asker = Asker { remote_address: "[::1]:4000", tls: true, common_name: "große kiste" };
        assert_eq!(
            query(b"a/b c\xff~", &asker),
            "common_name=gro%C3%9Fe+kiste&remote_ip=%3A%3A1&secret=a%2Fb+c%FF~&tls=true"
        );
        let asker = Asker { remote_address: "@", tls: false, common_name: "" };
        assert_eq!(query(b"", &asker), "common_name=&remote_ip=&secret=&tls=false");
    }

    #[test]
    fn without_a_grant_auth_comes_first() {
        let refusal = Auth::default().check(CommandName::Sub, "t", "c").unwrap_err();
        assert_eq!(
            (refusal.code, refusal.detail.as_ref()),
            (ErrorCode::AuthFirst, "AUTH required before SUB")
        );
    }
}
