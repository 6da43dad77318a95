//! What an auth server allows a client, as nsqd understands it.
//!
//! Topic and channel are regular expressions that need only be found somewhere in the name. Go's are RE2, ours a close relative; both work
//! on bytes here, since names are ASCII. What does not compile makes the whole answer worthless, as with nsqd.

use std::time::Duration;

use regex::bytes::{Regex, RegexBuilder};
use serde::Deserialize;
use tokio::time::Instant;

/// An answer of an auth server, in force until it expires.
#[derive(Debug)]
pub(super) struct Grant {
    pub(super) identity: String,
    pub(super) identity_url: String,
    expires: Instant,
    authorizations: Vec<Authorization>,
}

#[derive(Debug)]
struct Authorization {
    topic: Regex,
    channels: Vec<Regex>,
    publish: bool,
    subscribe: bool,
}

/// Why an answer is none.
#[derive(Debug, thiserror::Error)]
pub(super) enum GrantError {
    #[error("not the JSON of an auth server: {0}")]
    Json(#[from] serde_json::Error),
    #[error("unknown permission {0}")]
    Permission(String),
    #[error(transparent)]
    Regex(#[from] regex::Error),
    #[error("invalid TTL {0} (must be >0)")]
    Ttl(i64),
}

#[derive(Deserialize)]
struct Answer {
    ttl: Option<i64>,
    identity: Option<String>,
    identity_url: Option<String>,
    authorizations: Option<Vec<Rule>>,
}

#[derive(Deserialize)]
struct Rule {
    topic: Option<String>,
    channels: Option<Vec<String>>,
    permissions: Option<Vec<String>>,
}

impl Grant {
    /// Reads an answer that came just now.
    pub(super) fn parse(json: &[u8]) -> Result<Self, GrantError> {
        let answer: Answer = serde_json::from_slice(json)?;
        let rules = answer.authorizations.unwrap_or_default();
        let authorizations = rules.into_iter().map(Authorization::new).collect::<Result<_, _>>()?;
        let ttl = answer.ttl.unwrap_or(0);
        let seconds = u64::try_from(ttl).ok().filter(|ttl| *ttl > 0).ok_or(GrantError::Ttl(ttl))?;
        // A century is for ever, and fits the clock.
        let lasts = Duration::from_secs(seconds.min(100 * 365 * 86_400));
        Ok(Self {
            identity: answer.identity.unwrap_or_default(),
            identity_url: answer.identity_url.unwrap_or_default(),
            expires: Instant::now() + lasts,
            authorizations,
        })
    }

    /// How many rules there are.
    pub(super) fn permissions(&self) -> usize {
        self.authorizations.len()
    }

    pub(super) fn is_expired(&self) -> bool {
        self.expires <= Instant::now()
    }

    /// Whether some rule allows it. Without a channel it is a publish.
    pub(super) fn allows(&self, topic: &str, channel: &str) -> bool {
        self.authorizations.iter().any(|rule| rule.allows(topic, channel))
    }
}

impl Authorization {
    fn new(rule: Rule) -> Result<Self, GrantError> {
        let permissions = rule.permissions.unwrap_or_default();
        if let Some(unknown) =
            permissions.iter().find(|name| !["publish", "subscribe"].contains(&name.as_str()))
        {
            return Err(GrantError::Permission(unknown.clone()));
        }
        let may = |what: &str| permissions.iter().any(|name| name == what);
        let channels = rule.channels.unwrap_or_default();
        Ok(Self {
            topic: compile(&rule.topic.unwrap_or_default())?,
            channels: channels.iter().map(|channel| compile(channel)).collect::<Result<_, _>>()?,
            publish: may("publish"),
            subscribe: may("subscribe"),
        })
    }

    fn allows(&self, topic: &str, channel: &str) -> bool {
        let permitted = if channel.is_empty() { self.publish } else { self.subscribe };
        permitted
            && self.topic.is_match(topic.as_bytes())
            && self.channels.iter().any(|expression| expression.is_match(channel.as_bytes()))
    }
}

fn compile(expression: &str) -> Result<Regex, regex::Error> {
    RegexBuilder::new(expression).unicode(false).build()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grant(rules: &str) -> Result<Grant, GrantError> {
        Grant::parse(format!(r#"{{"ttl":60,"identity":"joe","authorizations":{rules}}}"#).as_bytes())
    }

    #[test]
    fn a_rule_is_found_anywhere_in_a_name() {
        let rules = r#"[{"topic":"^ev","channels":["arch","^c$"],"permissions":["subscribe"]}]"#;
        let grant = grant(rules).unwrap();
        assert!(grant.allows("events", "the-archive") && grant.allows("ev", "c"));
        assert!(!grant.allows("my-events", "c") && !grant.allows("events", "cc"));
        assert!(!grant.allows("events", ""), "it may not publish");
    }

    #[test]
    fn publishing_needs_a_channel_that_matches_nothing() {
        let rules =
            |channels: &str| format!(r#"[{{"topic":".*","channels":{channels},"permissions":["publish"]}}]"#);
        assert!(grant(&rules(r#"[".*"]"#)).unwrap().allows("t", ""));
        assert!(!grant(&rules(r#"["c"]"#)).unwrap().allows("t", ""));
        assert!(!grant(&rules("[]")).unwrap().allows("t", ""));
        assert!(!grant(&rules(r#"[".*"]"#)).unwrap().allows("t", "c"), "it may not subscribe");
    }

    #[test]
    fn a_worthless_answer_is_an_error() {
        assert!(matches!(grant(r#"[{"permissions":["delete"]}]"#), Err(GrantError::Permission(_))));
        assert!(matches!(grant(r#"[{"topic":"("}]"#), Err(GrantError::Regex(_))));
        assert!(matches!(Grant::parse(b"{}"), Err(GrantError::Ttl(0))));
        assert!(matches!(Grant::parse(br#"{"ttl":-1}"#), Err(GrantError::Ttl(-1))));
        assert!(matches!(Grant::parse(br#"{"ttl":1.5}"#), Err(GrantError::Json(_))));
        assert_eq!(grant("null").unwrap().permissions(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn it_expires() {
        let grant = grant("[]").unwrap();
        assert!(!grant.is_expired());
        tokio::time::advance(Duration::from_secs(60)).await;
        assert!(grant.is_expired());
    }
}
