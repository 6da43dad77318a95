//! The URL of an endpoint, taken apart once and refused with a reason and a way out.
//!
//! What is not certain is refused rather than guessed: two programs that read one URL differently is how requests
//! reach the wrong host. No error shows more of a URL than one byte of it, since it may hold a secret.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use thiserror::Error;

/// The longest URL accepted, in bytes: about what servers accept at most as a request line.
pub const URL_BYTES_MAX: usize = 8 * 1024;

/// Why a URL, or a `host` setting, is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
pub enum UrlError {
    /// It does not start with `http://` or `https://`.
    #[error("it does not start with https:// or http://: write it in full, as https://api.example.com/path")]
    Scheme,
    /// Nothing between `//` and the path.
    #[error("it has no host: write it in full, as https://api.example.com/path")]
    NoHost,
    /// `user:password@`.
    #[error(
        "it has a user name or password: leave it out and send it as a header, as `Authorization: Basic ...`"
    )]
    UserInfo,
    /// `#...`.
    #[error("it has a fragment (#...), which is never sent: leave it out, or write # as %23")]
    Fragment,
    /// The host has a byte that no host name has.
    #[error("the host has {:?} in it: a name is made of letters, digits, - _ and . (write other letters as xn--...)", char::from(*.0))]
    HostByte(u8),
    /// The host is not made of labels of 1 to 63 bytes, 253 in all, or a label starts or ends with `-`.
    #[error("the host is no host name: its parts have 1 to 63 bytes, 253 in all, and no - at either end")]
    HostLabel,
    /// The host ends in a number without being an IPv4 address, which some resolvers read as one.
    #[error("the host looks like an IPv4 address but is none: write all four numbers, in decimal")]
    HostNumber,
    /// What is in brackets is no IPv6 address.
    #[error("what is in the brackets is no IPv6 address (zones, as in %eth0, are not supported)")]
    Ipv6,
    /// Several colons and no brackets.
    #[error("the host has several colons: write an IPv6 address in brackets, as https://[::1]/")]
    Ipv6Brackets,
    /// The port is no number from 1 to 65535.
    #[error("the port is no number from 1 to 65535")]
    Port,
    /// A byte that cannot stand in a path or query.
    #[error("it has {:?} at byte {at}: write it as %{byte:02X}", char::from(*.byte))]
    TargetByte {
        /// The offending byte.
        byte: u8,
        /// Where it stands in the URL, from 0.
        at: usize,
    },
    /// `%` without two hexadecimal digits.
    #[error("it has a % at byte {at} that no two hexadecimal digits follow: write a % of your own as %25")]
    Percent {
        /// Where it stands in the URL, from 0.
        at: usize,
    },
    /// Over [`URL_BYTES_MAX`].
    #[error("it is longer than {URL_BYTES_MAX} bytes: send large values in a header or the body")]
    TooLong,
}

/// Whether TLS is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// Plain TCP.
    Http,
    /// TLS.
    Https,
}

impl Scheme {
    /// As it is written in a URL.
    pub fn as_str(self) -> &'static str {
        match self {
            Scheme::Http => "http",
            Scheme::Https => "https",
        }
    }

    /// The port that a URL need not name.
    pub fn default_port(self) -> u16 {
        match self {
            Scheme::Http => 80,
            Scheme::Https => 443,
        }
    }
}

/// Where to connect to: a name to look up, or an address.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Host {
    /// A name, in lower case.
    Name(Box<str>),
    /// An address.
    Address(IpAddr),
}

/// As in a URL and a `Host` field: IPv6 in brackets.
impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Host::Name(name) => f.write_str(name),
            Host::Address(IpAddr::V4(address)) => address.fmt(f),
            Host::Address(IpAddr::V6(address)) => write!(f, "[{address}]"),
        }
    }
}

/// The URL of an endpoint. `Display` and `Debug` leave the query out, as it may hold a secret.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct EndpointUrl {
    scheme: Scheme,
    host: Host,
    port: u16,
    target: Box<str>,
}

impl EndpointUrl {
    /// Takes a URL apart. An empty path becomes `/`, the query is kept, nothing else is changed or decoded.
    ///
    /// # Errors
    /// [`UrlError`] with the way out.
    pub fn parse(url: &str) -> Result<EndpointUrl, UrlError> {
        if url.len() > URL_BYTES_MAX {
            return Err(UrlError::TooLong);
        }
        let (scheme, rest) = split_scheme(url)?;
        let authority_len = rest.find(['/', '?', '#', '\\']).unwrap_or(rest.len());
        let (authority, tail) = rest.split_at(authority_len);
        if authority.contains('@') {
            return Err(UrlError::UserInfo);
        }
        let (host, port) = parse_authority(authority)?;
        check_target(tail, url.len() - tail.len())?;
        let slash = if tail.starts_with('/') { "" } else { "/" };
        let target = format!("{slash}{tail}").into_boxed_str();
        Ok(EndpointUrl { scheme, host, port: port.unwrap_or(scheme.default_port()), target })
    }

    /// Whether TLS is spoken.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// Where to connect to.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// The port to connect to.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Path and query as they stand in the request line.
    pub fn target(&self) -> &str {
        &self.target
    }

    /// The value of the `Host` field: without the port when that is the scheme's own, IPv6 in brackets.
    pub fn host_header(&self) -> String {
        if self.port == self.scheme.default_port() {
            self.host.to_string()
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

impl fmt::Display for EndpointUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (path, query) =
            self.target.split_once('?').map_or((&*self.target, ""), |(path, _)| (path, "?..."));
        write!(f, "{}://{}{path}{query}", self.scheme.as_str(), self.host_header())
    }
}

impl fmt::Debug for EndpointUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Path and query of one request, where it is not the endpoint's own: the same place, another resource.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Target(Box<str>);

impl Target {
    /// Checks it by the rules of an endpoint's URL: it starts with `/`, and an offset in an error counts from there.
    ///
    /// # Errors
    /// [`UrlError`] with the way out.
    pub fn new(target: &str) -> Result<Target, UrlError> {
        if target.len() > URL_BYTES_MAX {
            return Err(UrlError::TooLong);
        }
        match target.bytes().next() {
            Some(b'/') => check_target(target, 0)?,
            Some(byte) => return Err(UrlError::TargetByte { byte, at: 0 }),
            None => return Target::new("/"),
        }
        Ok(Target(target.into()))
    }

    /// As it stands in the request line.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A `Host` field other than the URL's own: `name`, `name:port`, or an address likewise.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HostField(Box<str>);

impl HostField {
    /// Checks it. It is sent as given.
    ///
    /// # Errors
    /// [`UrlError`] with the way out.
    pub fn new(value: &str) -> Result<HostField, UrlError> {
        if value.contains('@') {
            return Err(UrlError::UserInfo);
        }
        parse_authority(value)?;
        Ok(HostField(value.into()))
    }

    /// The value of the field.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn split_scheme(url: &str) -> Result<(Scheme, &str), UrlError> {
    let (scheme, rest) = url.split_once("://").ok_or(UrlError::Scheme)?;
    if scheme.eq_ignore_ascii_case("https") {
        Ok((Scheme::Https, rest))
    } else if scheme.eq_ignore_ascii_case("http") {
        Ok((Scheme::Http, rest))
    } else {
        Err(UrlError::Scheme)
    }
}

/// `host[:port]`; a colon without a port means none, as in RFC 3986 section 3.2.3.
fn parse_authority(authority: &str) -> Result<(Host, Option<u16>), UrlError> {
    let (host, port) = if let Some(bracketed) = authority.strip_prefix('[') {
        let (address, rest) = bracketed.split_once(']').ok_or(UrlError::Ipv6)?;
        let address: Ipv6Addr = address.parse().map_err(|_| UrlError::Ipv6)?;
        let port = if rest.is_empty() { "" } else { rest.strip_prefix(':').ok_or(UrlError::Port)? };
        (Host::Address(address.into()), port)
    } else {
        let (name, port) = authority.split_once(':').unwrap_or((authority, ""));
        if port.contains(':') {
            return Err(UrlError::Ipv6Brackets);
        }
        (parse_name(name)?, port)
    };
    let digits = port.bytes().all(|byte| byte.is_ascii_digit()); // `str::parse` would take a `+`
    match port.parse() {
        _ if port.is_empty() => Ok((host, None)),
        Ok(port @ 1..) if digits => Ok((host, Some(port))),
        _ => Err(UrlError::Port),
    }
}

fn parse_name(name: &str) -> Result<Host, UrlError> {
    if name.is_empty() {
        return Err(UrlError::NoHost);
    }
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if let Some(byte) = name.bytes().find(|&byte| !allowed(byte)) {
        return Err(UrlError::HostByte(byte));
    }
    if let Ok(address) = name.parse::<Ipv4Addr>() {
        return Ok(Host::Address(address.into()));
    }
    let relative = name.strip_suffix('.').unwrap_or(name); // a final dot names the root
    let label_fits =
        |label: &str| (1..=63).contains(&label.len()) && !label.starts_with('-') && !label.ends_with('-');
    if relative.len() > 253 || !relative.split('.').all(label_fits) {
        return Err(UrlError::HostLabel);
    }
    let last = relative.rsplit('.').next().unwrap_or(relative);
    let hexadecimal = last.strip_prefix("0x").or(last.strip_prefix("0X"));
    if last.bytes().all(|byte| byte.is_ascii_digit())
        || hexadecimal.is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
    {
        return Err(UrlError::HostNumber);
    }
    Ok(Host::Name(name.to_ascii_lowercase().into()))
}

/// The bytes of path and query in RFC 3986; `at` is where `tail` starts in the URL.
fn check_target(tail: &str, at: usize) -> Result<(), UrlError> {
    let bytes = tail.as_bytes();
    for (offset, &byte) in bytes.iter().enumerate() {
        let at = at + offset;
        match byte {
            b'#' => return Err(UrlError::Fragment),
            b'%' => match bytes.get(offset + 1..offset + 3) {
                Some(digits) if digits.iter().all(u8::is_ascii_hexdigit) => {}
                _ => return Err(UrlError::Percent { at }),
            },
            byte if byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/?".contains(&byte) => {}
            byte => return Err(UrlError::TargetByte { byte, at }),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> EndpointUrl {
        EndpointUrl::parse(url).unwrap_or_else(|error| panic!("{url}: {error}"))
    }

    #[test]
    fn taken_apart() {
        let cases: &[(&str, &str, u16, &str, &str)] = &[
            ("https://api.example.com", "api.example.com", 443, "/", "api.example.com"),
            ("https://API.Example.com/V2/Events", "api.example.com", 443, "/V2/Events", "api.example.com"),
            ("HTTP://h:8080/", "h", 8080, "/", "h:8080"),
            ("http://h:80/a//b/../c;d", "h", 80, "/a//b/../c;d", "h"),
            ("https://h:80/", "h", 80, "/", "h:80"),
            ("https://h:/x", "h", 443, "/x", "h"),
            ("https://h?key=a%20b&x", "h", 443, "/?key=a%20b&x", "h"),
            ("https://h/?", "h", 443, "/?", "h"),
            ("https://127.0.0.1:1/", "127.0.0.1", 1, "/", "127.0.0.1:1"),
            ("https://[::1]/x", "[::1]", 443, "/x", "[::1]"),
            ("https://[2001:DB8:0::1]:65535?q", "[2001:db8::1]", 65535, "/?q", "[2001:db8::1]:65535"),
            ("https://my_host.local.", "my_host.local.", 443, "/", "my_host.local."),
            ("https://xn--mnchen-3ya.de/", "xn--mnchen-3ya.de", 443, "/", "xn--mnchen-3ya.de"),
        ];
        for (url, host, port, target, header) in cases {
            let url = parse(url);
            assert_eq!(
                (&*url.host().to_string(), url.port(), url.target(), &*url.host_header()),
                (*host, *port, *target, *header)
            );
        }
        assert_eq!(parse("https://h").scheme(), Scheme::Https);
        assert_eq!(parse("http://h").scheme(), Scheme::Http);
        assert_eq!(*parse("http://10.0.0.1").host(), Host::Address(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1))));
    }

    #[test]
    fn refused_with_a_reason() {
        let cases: &[(&str, UrlError)] = &[
            ("", UrlError::Scheme),
            ("api.example.com/x", UrlError::Scheme),
            ("ftp://h/", UrlError::Scheme),
            (" https://h/", UrlError::Scheme),
            ("https:/h/", UrlError::Scheme),
            ("https://", UrlError::NoHost),
            ("https:///path", UrlError::NoHost),
            ("https://:80/", UrlError::NoHost),
            ("https://user@h/", UrlError::UserInfo),
            ("https://user:pw@h/", UrlError::UserInfo),
            ("https://h/#top", UrlError::Fragment),
            ("https://h#top", UrlError::Fragment),
            ("https://h h/", UrlError::HostByte(b' ')),
            ("https://m\u{fc}nchen.de/", UrlError::HostByte(0xc3)),
            ("https://h%41/", UrlError::HostByte(b'%')),
            ("https://h\\evil/", UrlError::TargetByte { byte: b'\\', at: 9 }),
            ("https://h\r\n/", UrlError::HostByte(b'\r')),
            ("https://a..b/", UrlError::HostLabel),
            ("https://-a.b/", UrlError::HostLabel),
            ("https://./", UrlError::HostLabel),
            ("https://127.1/", UrlError::HostNumber),
            ("https://1.2.3.256/", UrlError::HostNumber),
            ("https://0x7f000001/", UrlError::HostNumber),
            ("https://::1/", UrlError::Ipv6Brackets),
            ("https://[::1/", UrlError::Ipv6),
            ("https://[fe80::1%25eth0]/", UrlError::Ipv6),
            ("https://[127.0.0.1]/", UrlError::Ipv6),
            ("https://[::1]x/", UrlError::Port),
            ("https://h:0/", UrlError::Port),
            ("https://h:65536/", UrlError::Port),
            ("https://h:+80/", UrlError::Port),
            ("https://h:http/", UrlError::Port),
            ("https://h/a b", UrlError::TargetByte { byte: b' ', at: 11 }),
            ("https://h/a\nb", UrlError::TargetByte { byte: b'\n', at: 11 }),
            ("https://h/\u{fc}", UrlError::TargetByte { byte: 0xc3, at: 10 }),
            ("https://h/{id}", UrlError::TargetByte { byte: b'{', at: 10 }),
            ("https://h/%", UrlError::Percent { at: 10 }),
            ("https://h/?x=%2", UrlError::Percent { at: 13 }),
            ("https://h/%zz", UrlError::Percent { at: 10 }),
        ];
        for (url, expected) in cases {
            assert_eq!(EndpointUrl::parse(url), Err(*expected), "{url:?}");
        }
        let long = format!("https://h/{}", "x".repeat(URL_BYTES_MAX));
        assert_eq!(EndpointUrl::parse(&long), Err(UrlError::TooLong));
        let label = format!("https://{}.com", "x".repeat(64));
        assert_eq!(EndpointUrl::parse(&label), Err(UrlError::HostLabel));
    }

    #[test]
    fn no_secret_is_shown() {
        let url = parse("https://h:8443/hook?token=secret");
        assert_eq!(url.to_string(), "https://h:8443/hook?...");
        assert_eq!(format!("{url:?}"), "https://h:8443/hook?...");
        let error = EndpointUrl::parse("https://me:secret@h/").expect_err("userinfo is refused");
        assert!(!format!("{error} {error:?}").contains("secret"));
    }

    /// Whatever is accepted as a name must be one that TLS can ask for.
    #[test]
    fn accepted_names_are_server_names() {
        for url in [
            "https://a",
            "https://a.b.",
            "https://my_host.local",
            "https://a-1.2b",
            "https://1a",
            "https://3com.com",
        ] {
            let Host::Name(name) = parse(url).host else { panic!("{url} is a name") };
            assert!(rustls::pki_types::ServerName::try_from(&*name).is_ok(), "{name}");
        }
    }

    #[test]
    fn a_target_of_one_request() {
        let target = |text| Target::new(text).map(|target| target.as_str().to_owned());
        assert_eq!(target("/a?b=%20").as_deref(), Ok("/a?b=%20"));
        assert_eq!(target("").as_deref(), Ok("/"));
        assert_eq!(target("a"), Err(UrlError::TargetByte { byte: b'a', at: 0 }));
        assert_eq!(target("/a HTTP/1.1"), Err(UrlError::TargetByte { byte: b' ', at: 2 }));
        assert_eq!(target("/a\r\nX: y"), Err(UrlError::TargetByte { byte: b'\r', at: 2 }));
        assert_eq!(target("/#a"), Err(UrlError::Fragment));
    }

    #[test]
    fn a_host_field_of_its_own() {
        for value in ["internal", "Internal.example:8443", "[::1]:80", "10.0.0.1"] {
            assert_eq!(HostField::new(value).map(|host| host.as_str().to_owned()), Ok(value.to_owned()));
        }
        assert_eq!(HostField::new(""), Err(UrlError::NoHost));
        assert_eq!(HostField::new("a\r\nX: y"), Err(UrlError::HostByte(b'\r')));
        assert_eq!(HostField::new("a/b"), Err(UrlError::HostByte(b'/')));
        assert_eq!(HostField::new("u@a"), Err(UrlError::UserInfo));
    }
}
