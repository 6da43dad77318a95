//! Where an nsqlookupd is, as the settings say it.

use std::fmt::Write;

use hyper::Uri;

use crate::settings::SettingError;
use crate::stream::split_address;

/// One nsqlookupd.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Lookupd {
    pub(super) https: bool,
    /// `host:port`, to dial.
    pub(super) address: String,
    /// The host alone, without brackets: the name to verify.
    pub(super) host: String,
    /// The Host field.
    pub(super) authority: String,
    path: String,
}

impl Lookupd {
    pub(super) fn parse(text: &str) -> Result<Lookupd, SettingError> {
        let wrong = |reason: &str| SettingError::new("lookup.addresses", text, reason);
        let url = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
        if url.contains(['?', '#', '@']) {
            return Err(wrong("user, query and fragment have no meaning here"));
        }
        let uri: Uri = url.parse().map_err(|_| wrong("neither host:port nor a URL"))?;
        let https = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(wrong("the scheme must be http or https")),
        };
        let authority = uri.authority().ok_or_else(|| wrong("names no host"))?;
        let port = match authority.port_u16() {
            Some(port) => port,
            // A bare host is more likely to have forgotten nsqlookupd's port than to mean HTTP's.
            None if url != text => return Err(wrong("has no port; nsqlookupd's is 4161")),
            None if https => 443,
            None => 80,
        };
        let address = format!("{}:{port}", authority.host());
        let (host, _) = split_address(&address).ok_or_else(|| wrong("is not a host and a port"))?;
        let path = match uri.path() {
            "" | "/" => "/lookup",
            path => path,
        };
        Ok(Lookupd {
            https,
            host: host.to_owned(),
            authority: authority.as_str().to_owned(),
            path: path.to_owned(),
            address,
        })
    }

    /// The request's target. A topic's `#` would otherwise end it.
    pub(super) fn target(&self, topic: &str) -> String {
        let mut target = format!("{}?topic=", self.path);
        for byte in topic.bytes() {
            match byte {
                b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' | b'-' | b'.' | b'_' => target.push(char::from(byte)),
                other => write!(target, "%{other:02X}").expect("a String takes everything"),
            }
        }
        target
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_leads_to_an_address() {
        for (text, https, address, host, target) in [
            ("10.0.0.5:4161", false, "10.0.0.5:4161", "10.0.0.5", "/lookup?topic=t"),
            ("http://lookup.example", false, "lookup.example:80", "lookup.example", "/lookup?topic=t"),
            ("https://lookup.example/", true, "lookup.example:443", "lookup.example", "/lookup?topic=t"),
            (
                "https://lookup.example:1/nsq/lookup",
                true,
                "lookup.example:1",
                "lookup.example",
                "/nsq/lookup?topic=t",
            ),
            ("[::1]:4161", false, "[::1]:4161", "::1", "/lookup?topic=t"),
        ] {
            let lookupd = Lookupd::parse(text).expect(text);
            assert_eq!((lookupd.https, &*lookupd.address, &*lookupd.host), (https, address, host));
            assert_eq!(lookupd.target("t"), target);
        }
    }

    #[test]
    fn mistakes_are_refused() {
        for text in [
            "",
            "lookup.example",
            "ftp://a:1",
            "http://u:p@a:1",
            "a:1?x=y",
            "a:1#f",
            "a:0",
            "a b:1",
            "http://",
        ] {
            assert!(Lookupd::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn an_ephemeral_topic_stays_whole() {
        let lookupd = Lookupd::parse("a:1").unwrap();
        assert_eq!(lookupd.target("a.b_c-1#ephemeral"), "/lookup?topic=a.b_c-1%23ephemeral");
    }
}
