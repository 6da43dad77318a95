//! Header fields that a request carries: which names and values may be sent, and the lines they become.
//!
//! Everything is checked once, when it enters: a [`FieldName`] is a token and none of the names that belong to the
//! connection, so that no setting can smuggle a second request into the first or break the reuse of a connection.
//! Values may be secrets: no error and no `Debug` shows one.

use std::fmt;

use thiserror::Error;

/// The longest name or value accepted, in bytes. Servers in use refuse a whole head of 8 KiB to 64 KiB.
pub const FIELD_BYTES_MAX: usize = 16 * 1024;

/// Whether `byte` may stand in a token (RFC 9110 section 5.6.2), of which field names are made.
pub(crate) fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Why a field cannot be sent.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum FieldError {
    /// A line without a colon.
    #[error("no colon found: write it as `Name: value`")]
    NoColon,
    /// Nothing before the colon.
    #[error("the name is empty: write it as `Name: value`")]
    EmptyName,
    /// A byte that no name may hold.
    #[error("`{}` has {} at byte {at}: a name is made of letters, digits and !#$%&'*+-.^_`|~", .name.escape_default(), Byte(*.byte))]
    NotAToken {
        /// The name as given.
        name: String,
        /// The offending byte.
        byte: u8,
        /// Where it stands, from 0.
        at: usize,
    },
    /// CR, LF, NUL or another control byte in a value. Only a tab may be one.
    #[error("the value of `{name}` has {} at byte {at}: remove it, or encode the value (base64, percent)", Byte(*.byte))]
    Control {
        /// The name.
        name: String,
        /// The offending byte.
        byte: u8,
        /// Where it stands in the value, from 0.
        at: usize,
    },
    /// A name that the connection itself writes or must not have.
    #[error("`{name}` cannot be set: {why}")]
    Forbidden {
        /// The name as given.
        name: String,
        /// The reason, and the way out.
        why: Forbidden,
    },
    /// A field of which a request has one was given twice.
    #[error("`{name}` is given twice, and a request has one: remove one of them")]
    Repeated {
        /// The name as given.
        name: String,
    },
    /// Name or value over [`FIELD_BYTES_MAX`].
    #[error("`{}` is {len} bytes long, more than {FIELD_BYTES_MAX}: send large values in the body", .name.escape_default())]
    TooLong {
        /// The name, or its first 64 bytes when it is the long one.
        name: String,
        /// Length of the name or value, in bytes.
        len: usize,
    },
}

/// Why a name is not the user's to set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
pub enum Forbidden {
    /// Content-Length, Transfer-Encoding, Trailer.
    #[error("it says how the body is framed, which follows from the body; leave it out")]
    Framing,
    /// Connection, Keep-Alive, Upgrade.
    #[error("it governs the connection, which is kept alive by itself; use the connection settings instead")]
    Connection,
    /// Proxy-*.
    #[error("it is meant for a proxy, and requests go straight to the endpoint; leave it out")]
    Proxy,
    /// TE, Accept-Encoding.
    #[error(
        "it asks for an encoded answer, and answers are read to their end without decoding; leave it out"
    )]
    AnswerEncoding,
    /// Expect.
    #[error("a request is sent in full without asking first; leave it out")]
    Expect,
    /// Host.
    #[error("it follows from the URL; to send another one, use the endpoint's `host` setting")]
    Host,
}

impl Forbidden {
    fn of(name: &str) -> Option<Forbidden> {
        const NAMES: [(&str, Forbidden); 10] = [
            ("content-length", Forbidden::Framing),
            ("transfer-encoding", Forbidden::Framing),
            ("trailer", Forbidden::Framing),
            ("connection", Forbidden::Connection),
            ("keep-alive", Forbidden::Connection),
            ("upgrade", Forbidden::Connection),
            ("te", Forbidden::AnswerEncoding),
            ("accept-encoding", Forbidden::AnswerEncoding),
            ("expect", Forbidden::Expect),
            ("host", Forbidden::Host),
        ];
        if name.get(..6).is_some_and(|start| start.eq_ignore_ascii_case("proxy-")) {
            return Some(Forbidden::Proxy);
        }
        NAMES.iter().find(|(forbidden, _)| name.eq_ignore_ascii_case(forbidden)).map(|&(_, why)| why)
    }
}

/// A byte as a person would name it.
struct Byte(u8);

impl fmt::Display for Byte {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            b'\r' => f.write_str("CR"),
            b'\n' => f.write_str("LF"),
            0 => f.write_str("NUL"),
            b' ' => f.write_str("a space"),
            b'\t' => f.write_str("a tab"),
            byte @ b'!'..=b'~' => write!(f, "`{}`", char::from(byte)),
            byte => write!(f, "0x{byte:02X}"),
        }
    }
}

/// A name that may be sent: a token, and not [`Forbidden`]. Sent in the case it was given.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FieldName(Box<str>);

impl FieldName {
    /// Checks a name.
    ///
    /// # Errors
    /// [`FieldError`] when it is no token, forbidden, or too long.
    pub fn new(name: &str) -> Result<FieldName, FieldError> {
        if name.is_empty() {
            return Err(FieldError::EmptyName);
        }
        if name.len() > FIELD_BYTES_MAX {
            return Err(FieldError::TooLong { name: name.chars().take(64).collect(), len: name.len() });
        }
        if let Some(at) = name.bytes().position(|byte| !is_token_byte(byte)) {
            return Err(FieldError::NotAToken { name: name.to_owned(), byte: name.as_bytes()[at], at });
        }
        match Forbidden::of(name) {
            Some(why) => Err(FieldError::Forbidden { name: name.to_owned(), why }),
            None => Ok(FieldName(name.into())),
        }
    }

    /// The name as given.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Appends `Name: value` and CR LF to `out`, for the lines that belong to one request.
    ///
    /// # Errors
    /// [`FieldError`] when the value cannot be sent; `out` is as it was.
    pub fn write_line(&self, out: &mut Vec<u8>, value: &[u8]) -> Result<(), FieldError> {
        check_value(&self.0, value)?;
        out.extend_from_slice(self.0.as_bytes());
        out.extend_from_slice(b": ");
        out.extend_from_slice(value);
        out.extend_from_slice(b"\r\n");
        Ok(())
    }
}

/// RFC 9110 section 5.5. Bytes from 0x80 are let through: they are UTF-8 here, and opaque to the standard.
fn check_value(name: &str, value: &[u8]) -> Result<(), FieldError> {
    if value.len() > FIELD_BYTES_MAX {
        return Err(FieldError::TooLong { name: name.to_owned(), len: value.len() });
    }
    match value.iter().position(|&byte| byte != b'\t' && byte.is_ascii_control()) {
        Some(at) => Err(FieldError::Control { name: name.to_owned(), byte: value[at], at }),
        None => Ok(()),
    }
}

/// The fields that are the same in every request to an endpoint, checked.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct StaticHeaders(Vec<(FieldName, Box<str>)>);

/// Names alone: a value may be a secret.
impl fmt::Debug for StaticHeaders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(name, _)| name.as_str())).finish()
    }
}

impl StaticHeaders {
    /// Fields of which a request has at most one.
    const SINGLE: [&'static str; 3] = ["content-type", "user-agent", "authorization"];

    /// No fields.
    pub fn new() -> StaticHeaders {
        StaticHeaders::default()
    }

    /// Adds a field. White space around the value is dropped, as every receiver would.
    ///
    /// # Errors
    /// [`FieldError`] when it cannot be sent.
    pub fn add(&mut self, name: &str, value: &str) -> Result<(), FieldError> {
        let name = FieldName::new(name)?;
        let value = value.trim_matches([' ', '\t']);
        check_value(name.as_str(), value.as_bytes())?;
        let single = StaticHeaders::SINGLE.iter().any(|single| name.as_str().eq_ignore_ascii_case(single));
        if single && self.contains(name.as_str()) {
            return Err(FieldError::Repeated { name: name.as_str().to_owned() });
        }
        self.0.push((name, value.into()));
        Ok(())
    }

    /// Adds a field written as `Name: value`.
    ///
    /// # Errors
    /// [`FieldError`] when it has no colon or cannot be sent.
    pub fn add_line(&mut self, line: &str) -> Result<(), FieldError> {
        let (name, value) = line.split_once(':').ok_or(FieldError::NoColon)?;
        self.add(name, value)
    }

    /// Whether a field of that name, in any case, is there.
    pub fn contains(&self, name: &str) -> bool {
        self.0.iter().any(|(own, _)| own.as_str().eq_ignore_ascii_case(name))
    }

    /// Names and values in the order they were added.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), &**value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forbidden_names_in_any_case_say_the_way_out() {
        let cases = [
            ("Content-Length", Forbidden::Framing),
            ("TRANSFER-ENCODING", Forbidden::Framing),
            ("Trailer", Forbidden::Framing),
            ("connection", Forbidden::Connection),
            ("Keep-Alive", Forbidden::Connection),
            ("Upgrade", Forbidden::Connection),
            ("Proxy-Authorization", Forbidden::Proxy),
            ("proxy-connection", Forbidden::Proxy),
            ("Proxy-Anything", Forbidden::Proxy),
            ("TE", Forbidden::AnswerEncoding),
            ("Accept-Encoding", Forbidden::AnswerEncoding),
            ("Expect", Forbidden::Expect),
            ("Host", Forbidden::Host),
        ];
        for (name, why) in cases {
            let error = FieldName::new(name).expect_err("a forbidden name");
            assert_eq!(error, FieldError::Forbidden { name: name.to_owned(), why });
            let said = error.to_string();
            assert!(
                said.contains(name) && (said.contains("leave it out") || said.contains("use the")),
                "{said}"
            );
        }
        for name in ["Content-Encoding", "Content-Type", "X-Host", "Connections", "Proxy", "TEX"] {
            assert!(FieldName::new(name).is_ok(), "{name}");
        }
    }

    #[test]
    fn names_are_tokens() {
        assert_eq!(FieldName::new(""), Err(FieldError::EmptyName));
        for (name, byte, at) in
            [("a b", b' ', 1), ("a:", b':', 1), ("a\r\nb", b'\r', 1), ("\0", 0, 0), ("\u{fc}", 0xc3, 0)]
        {
            assert_eq!(FieldName::new(name), Err(FieldError::NotAToken { name: name.to_owned(), byte, at }));
        }
        let error = FieldName::new("a\r\nb").expect_err("no token");
        assert_eq!(
            error.to_string(),
            "`a\\r\\nb` has CR at byte 1: a name is made of letters, digits and !#$%&'*+-.^_`|~"
        );
    }

    #[test]
    fn values_have_no_control_bytes_and_are_not_shown() {
        let mut headers = StaticHeaders::new();
        for (value, byte, at) in
            [("se\rcret", b'\r', 2), ("se\ncret", b'\n', 2), ("\0secret", 0, 0), ("secret\x7f", 0x7f, 6)]
        {
            let error = headers.add("X-Key", value).expect_err("a control byte");
            assert_eq!(error, FieldError::Control { name: "X-Key".to_owned(), byte, at });
            assert!(!format!("{error} {error:?}").contains("secret"));
        }
        assert!(headers.add("X-Key", "tab\tand \u{fc} are fine").is_ok());
        assert_eq!(format!("{headers:?}"), r#"["X-Key"]"#);
    }

    #[test]
    fn lines_as_a_person_writes_them() {
        let mut headers = StaticHeaders::new();
        headers.add_line("Authorization: Bearer a:b==").expect("a valid line");
        headers.add_line("X-Empty:").expect("an empty value is legal");
        headers.add_line("X-Two:1").expect("no space is needed");
        headers.add_line("x-two:  2\t").expect("a list may be repeated");
        let all: Vec<_> = headers.iter().collect();
        assert_eq!(all, [("Authorization", "Bearer a:b=="), ("X-Empty", ""), ("X-Two", "1"), ("x-two", "2")]);
        assert_eq!(headers.add_line("no colon"), Err(FieldError::NoColon));
        assert_eq!(headers.add_line(": x"), Err(FieldError::EmptyName));
        assert_eq!(
            headers.add_line("authorization: other"),
            Err(FieldError::Repeated { name: "authorization".to_owned() })
        );
        let long = "x".repeat(FIELD_BYTES_MAX + 1);
        assert_eq!(
            headers.add("X", &long),
            Err(FieldError::TooLong { name: "X".to_owned(), len: long.len() })
        );
    }

    #[test]
    fn a_line_of_one_request_is_checked_too() {
        let name = FieldName::new("X-NSQ-Node").expect("a valid name");
        let mut out = b"A: b\r\n".to_vec();
        assert!(name.write_line(&mut out, b"evil\r\nX: y").is_err());
        name.write_line(&mut out, b"10.0.0.1:4150").expect("a valid value");
        assert_eq!(out, b"A: b\r\nX-NSQ-Node: 10.0.0.1:4150\r\n");
    }
}
