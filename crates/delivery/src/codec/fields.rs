//! The few fields of an answer that matter here, read as their lists are: over repeated lines, across empty
//! elements, in any case.

use std::time::{Duration, SystemTime};

use crate::retry_after;

/// What `Content-Length` says over all its lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Length {
    #[default]
    Absent,
    Known(u64),
    /// Not a number, over 64 bits, or two different numbers.
    Invalid,
}

/// What `Transfer-Encoding` says over all its lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Coding {
    #[default]
    Absent,
    /// `chunked`, once, without parameters, and last.
    ChunkedLast,
    /// No plain `chunked` at all; the empty list too.
    Unchunked,
    /// `chunked` before another coding, or twice.
    ChunkedInside,
}

/// The fields of interest of one head.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Fields {
    pub(super) length: Length,
    pub(super) coding: Coding,
    pub(super) close: bool,
    pub(super) keep_alive: bool,
    pub(super) retry_after: Option<Duration>,
}

impl Fields {
    /// Takes one field line into account. The name's length is compared first: most lines are none of ours.
    pub(super) fn add(&mut self, name: &str, value: &[u8]) {
        match name.len() {
            10 if name.eq_ignore_ascii_case("connection") => self.add_connection(value),
            14 if name.eq_ignore_ascii_case("content-length") => self.add_length(value),
            17 if name.eq_ignore_ascii_case("transfer-encoding") => self.add_coding(value),
            11 if name.eq_ignore_ascii_case("retry-after") => {
                // The longest of several: waiting too long is polite, the other way round is not.
                self.retry_after = self.retry_after.max(retry_after::delay(value, SystemTime::now()));
            }
            _ => {}
        }
    }

    fn add_connection(&mut self, value: &[u8]) {
        for token in list(value) {
            self.close |= token.eq_ignore_ascii_case(b"close");
            self.keep_alive |= token.eq_ignore_ascii_case(b"keep-alive");
        }
    }

    /// RFC 9112 section 6.3 rule 5: a repeated value is one value; any other list, and an empty element, is invalid.
    fn add_length(&mut self, value: &[u8]) {
        for element in value.split(|&byte| byte == b',') {
            self.length = match (self.length, decimal(trim(element))) {
                (Length::Absent, Some(length)) => Length::Known(length),
                (Length::Known(known), Some(length)) if known == length => Length::Known(known),
                _ => Length::Invalid,
            };
        }
    }

    fn add_coding(&mut self, value: &[u8]) {
        if self.coding == Coding::Absent && list(value).next().is_none() {
            self.coding = Coding::Unchunked;
        }
        for coding in list(value) {
            self.coding = match self.coding {
                Coding::ChunkedLast | Coding::ChunkedInside => Coding::ChunkedInside,
                _ if coding.eq_ignore_ascii_case(b"chunked") => Coding::ChunkedLast,
                _ => Coding::Unchunked,
            };
        }
    }
}

/// The elements of a comma-separated list; empty ones are skipped (RFC 9110 section 5.6.1.2).
fn list(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&byte| byte == b',').map(trim).filter(|element| !element.is_empty())
}

/// Without the white space around, to which a fold (CR LF and white space, RFC 9112 section 5.2) belongs.
fn trim(mut bytes: &[u8]) -> &[u8] {
    while let [b' ' | b'\t' | b'\r' | b'\n', rest @ ..] | [rest @ .., b' ' | b'\t' | b'\r' | b'\n'] = bytes {
        bytes = rest;
    }
    bytes
}

/// Digits alone, no sign, no overflow. `str::parse` takes a `+`, so it will not do.
fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0u64, |number, &byte| match byte {
        b'0'..=b'9' => number.checked_mul(10)?.checked_add(u64::from(byte - b'0')),
        _ => None,
    })
}
