//! The head of a request. Everything that is the same for an endpoint is rendered once; what is left per request is
//! two copies and a number.

use crate::field::StaticHeaders;
use crate::target::{EndpointUrl, HostField, Target};

/// `Content-Type` unless the endpoint's headers say otherwise: a message is bytes.
pub const CONTENT_TYPE_DEFAULT: &str = "application/octet-stream";

/// `User-Agent` unless the endpoint's headers say otherwise.
pub const USER_AGENT_DEFAULT: &str = concat!("posthaste/", env!("CARGO_PKG_VERSION"));

/// Longest decimal form of a `u64`, and the lines around it.
const LENGTH_BYTES_MAX: usize = CONTENT_LENGTH.len() + 20 + END.len();
const CONTENT_LENGTH: &[u8] = b"Content-Length: ";
const END: &[u8] = b"\r\n\r\n";

/// The part of a request's head that is the same for every request to one endpoint.
///
/// There is no `Connection` field: HTTP/1.1 keeps alive by default. No `Accept-Encoding` and no `Expect` either.
#[derive(Clone)]
pub struct HeadTemplate {
    /// `POST` and the endpoint's own target.
    request_line: Box<[u8]>,
    /// From behind the target to the last static field.
    lines: Box<[u8]>,
}

const METHOD: &[u8] = b"POST ";

impl HeadTemplate {
    /// Renders request line, `Host`, and the static fields with their defaults.
    pub fn new(url: &EndpointUrl, host: Option<&HostField>, headers: &StaticHeaders) -> HeadTemplate {
        let mut lines = String::from(" HTTP/1.1\r\n");
        let mut add = |name: &str, value: &str| {
            for part in [name, ": ", value, "\r\n"] {
                lines.push_str(part);
            }
        };
        add("Host", host.map_or(&*url.host_header(), HostField::as_str));
        for (name, default) in [("Content-Type", CONTENT_TYPE_DEFAULT), ("User-Agent", USER_AGENT_DEFAULT)] {
            if !headers.contains(name) {
                add(name, default);
            }
        }
        for (name, value) in headers.iter() {
            add(name, value);
        }
        let request_line = [METHOD, url.target().as_bytes()].concat().into();
        HeadTemplate { request_line, lines: lines.into_bytes().into() }
    }

    /// Appends a complete head to `out`, for the endpoint's own target unless another is given. `per_request_lines` are whole lines, each with its CR LF, written with
    /// [`FieldName::write_line`](crate::field::FieldName::write_line).
    pub fn write(
        &self,
        out: &mut Vec<u8>,
        target: Option<&Target>,
        per_request_lines: &[u8],
        content_length: u64,
    ) {
        debug_assert!(per_request_lines.is_empty() || per_request_lines.ends_with(b"\r\n"));
        out.reserve(self.len_max(target, per_request_lines));
        match target {
            None => out.extend_from_slice(&self.request_line),
            Some(target) => {
                out.extend_from_slice(METHOD);
                out.extend_from_slice(target.as_str().as_bytes());
            }
        }
        out.extend_from_slice(&self.lines);
        out.extend_from_slice(per_request_lines);
        out.extend_from_slice(CONTENT_LENGTH);
        out.extend_from_slice(itoa::Buffer::new().format(content_length).as_bytes());
        out.extend_from_slice(END);
    }

    /// Upper bound of what [`write`](HeadTemplate::write) appends, in bytes.
    pub fn len_max(&self, target: Option<&Target>, per_request_lines: &[u8]) -> usize {
        let request_line =
            target.map_or(self.request_line.len(), |target| METHOD.len() + target.as_str().len());
        request_line + self.lines.len() + per_request_lines.len() + LENGTH_BYTES_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::field::FieldName;

    fn url(url: &str) -> EndpointUrl {
        EndpointUrl::parse(url).expect("a valid URL")
    }

    fn write(template: &HeadTemplate, lines: &[u8], length: u64) -> String {
        let mut out = Vec::new();
        template.write(&mut out, None, lines, length);
        assert!(out.len() <= template.len_max(None, lines));
        String::from_utf8(out).expect("the cases are text")
    }

    #[test]
    fn a_whole_head() {
        let mut headers = StaticHeaders::new();
        headers.add("X-Key", "secret").expect("a valid field");
        let template = HeadTemplate::new(&url("https://[::1]:8443/hook?a=b"), None, &headers);
        let mut lines = Vec::new();
        FieldName::new("X-Id").expect("a valid name").write_line(&mut lines, b"7").expect("a valid value");
        assert_eq!(
            write(&template, &lines, 1024),
            format!(
                "POST /hook?a=b HTTP/1.1\r\nHost: [::1]:8443\r\nContent-Type: application/octet-stream\r\n\
                 User-Agent: posthaste/{}\r\nX-Key: secret\r\nX-Id: 7\r\nContent-Length: 1024\r\n\r\n",
                env!("CARGO_PKG_VERSION")
            )
        );
    }

    #[test]
    fn own_values_replace_defaults_and_host() {
        let mut headers = StaticHeaders::new();
        headers.add("content-type", "application/json").expect("a valid field");
        headers.add("USER-AGENT", "mine").expect("a valid field");
        let host = HostField::new("other.example").expect("a valid host");
        let template = HeadTemplate::new(&url("http://10.0.0.1"), Some(&host), &headers);
        assert_eq!(
            write(&template, b"", 0),
            "POST / HTTP/1.1\r\nHost: other.example\r\ncontent-type: application/json\r\nUSER-AGENT: mine\r\n\
             Content-Length: 0\r\n\r\n"
        );
    }

    #[test]
    fn a_target_of_its_own_changes_nothing_else() {
        let template = HeadTemplate::new(&url("http://h/hook"), None, &StaticHeaders::new());
        let (mut own, mut other) = (Vec::new(), Vec::new());
        let target = Target::new("/other?x=1").expect("a valid target");
        template.write(&mut own, None, b"", 7);
        template.write(&mut other, Some(&target), b"", 7);
        assert!(other.len() <= template.len_max(Some(&target), b""));
        let own = String::from_utf8(own).expect("text").replace("/hook", "/other?x=1");
        assert_eq!(own.as_bytes(), other);
    }

    #[test]
    fn the_longest_length_fits_the_bound() {
        let template = HeadTemplate::new(&url("http://h"), None, &StaticHeaders::new());
        assert!(write(&template, b"", u64::MAX).ends_with("Content-Length: 18446744073709551615\r\n\r\n"));
    }
}
