//! A request's query, read as Go reads it: anything that is not well formed spoils the whole of it.

use wire::{ChannelName, TopicName};

use super::answer::Rejected;

const INVALID_REQUEST: Rejected = Rejected::bad_request("INVALID_REQUEST");

/// The parameters, in order.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    /// Reads what stands behind the `?`.
    pub(super) fn parse(text: Option<&str>) -> Result<Self, Rejected> {
        let mut pairs = Vec::new();
        for part in text.unwrap_or_default().split('&').filter(|part| !part.is_empty()) {
            let (key, value) = part.split_once('=').unwrap_or((part, ""));
            let semicolon = part.contains(';');
            let (Some(key), Some(value), false) = (decoded(key, true), decoded(value, true), semicolon)
            else {
                return Err(INVALID_REQUEST);
            };
            pairs.push((key, value));
        }
        Ok(Self(pairs))
    }

    /// The first value under this name.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// A flag of `/stats`: anything but nsqd's four words is the default.
    pub(super) fn flag(&self, name: &str, default: bool) -> bool {
        self.get(name).and_then(flag).unwrap_or(default)
    }

    /// `topic`, for what creates it.
    pub(super) fn topic(&self) -> Result<TopicName, Rejected> {
        let topic = self.topic_text()?;
        TopicName::new(topic).map_err(|_| Rejected::bad_request("INVALID_TOPIC"))
    }

    /// `topic`, for what only looks for it: a name that cannot be is one that is not there.
    pub(super) fn existing_topic(&self) -> Result<TopicName, Rejected> {
        let topic = self.topic_text()?;
        TopicName::new(topic).map_err(|_| Rejected::from(crate::queue::AdminError::TopicNotFound))
    }

    /// `topic` and `channel`, which have codes of their own.
    pub(super) fn topic_and_channel(&self) -> Result<(TopicName, ChannelName), Rejected> {
        let invalid = |code| move |_| Rejected::bad_request(code);
        let topic = TopicName::new(self.topic_text()?).map_err(invalid("INVALID_ARG_TOPIC"))?;
        let channel = self.get("channel").ok_or(Rejected::bad_request("MISSING_ARG_CHANNEL"))?;
        let channel = ChannelName::new(channel).map_err(invalid("INVALID_ARG_CHANNEL"))?;
        Ok((topic, channel))
    }

    fn topic_text(&self) -> Result<&str, Rejected> {
        self.get("topic").ok_or(Rejected::bad_request("MISSING_ARG_TOPIC"))
    }
}

/// nsqd's words for yes and no.
pub(super) fn flag(text: &str) -> Option<bool> {
    match text {
        "true" | "1" => Some(true),
        "false" | "0" => Some(false),
        _ => None,
    }
}

/// With its `%XX`, and in a query its `+`, replaced. Bytes that are no text become U+FFFD, which no name may have.
pub(super) fn decoded(text: &str, plus: bool) -> Option<String> {
    if !text.contains(['%', '+']) {
        return Some(text.to_owned());
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => hex(rest.next()?)? << 4 | hex(rest.next()?)?,
            b'+' if plus => b' ',
            other => other,
        });
    }
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_read_as_in_go() {
        let query = Query::parse(Some("=&&topic=a%23b&topic=second&to%70ic2=+x&flag")).unwrap();
        assert_eq!(query.get("topic"), Some("a#b"));
        assert_eq!(query.get("topic2"), Some(" x"));
        assert_eq!(query.get("flag"), Some(""));
        assert_eq!(query.get("none"), None);
        assert_eq!(Query::parse(None), Ok(Query::default()));
    }

    #[test]
    fn what_go_refuses_spoils_all_of_it() {
        for bad in ["topic=%zz", "topic=%2", "a;b&topic=t", "topic=a;b", "%"] {
            assert_eq!(Query::parse(Some(bad)), Err(INVALID_REQUEST), "{bad}");
        }
    }

    #[test]
    fn names_are_refused_under_the_codes_of_their_paths() {
        let query = |text| Query::parse(Some(text)).unwrap();
        let code = |rejected: Rejected| (rejected.status.as_u16(), rejected.code.into_owned());
        assert_eq!(code(query("topic=a+b").topic().unwrap_err()), (400, "INVALID_TOPIC".into()));
        assert_eq!(code(query("topic=%ff").topic().unwrap_err()), (400, "INVALID_TOPIC".into()));
        assert_eq!(code(query("topic=").existing_topic().unwrap_err()), (404, "TOPIC_NOT_FOUND".into()));
        assert_eq!(code(query("").existing_topic().unwrap_err()), (400, "MISSING_ARG_TOPIC".into()));
        let both = |text| code(query(text).topic_and_channel().unwrap_err());
        assert_eq!(both("topic=&channel=c"), (400, "INVALID_ARG_TOPIC".into()));
        assert_eq!(both("topic=t"), (400, "MISSING_ARG_CHANNEL".into()));
        assert_eq!(both("topic=t&channel=#"), (400, "INVALID_ARG_CHANNEL".into()));
    }
}
