//! The header lines that are the same in every request.

use pipeline::delivery::StaticHeaders;

use crate::config::mistake::Mistakes;
use crate::config::place::{Place, Placed};
use crate::config::read::HeaderLine;
use crate::config::secret::SecretSource;

/// Names that each message has a line of its own for.
const PER_MESSAGE: [&str; 6] =
    ["X-NSQ-Topic", "X-NSQ-Channel", "X-NSQ-Node", "X-NSQ-Message-ID", "X-NSQ-Attempts", "X-NSQ-Timestamp"];

/// What header lines are made of.
pub(super) struct HeaderKeys {
    pub(super) headers: Vec<HeaderLine>,
    pub(super) content_type: Placed<String>,
    pub(super) user_agent: Option<Placed<String>>,
    pub(super) idempotency_key: bool,
}

/// Checks every line, and reads those that are kept elsewhere.
pub(super) fn resolve(
    keys: HeaderKeys,
    mistakes: &mut Mistakes,
    warnings: &mut Vec<String>,
) -> StaticHeaders {
    let mut headers = StaticHeaders::new();
    for line in &keys.headers {
        let name = line.name.value.as_str();
        if let Some(reason) = reserved(name, keys.idempotency_key) {
            mistakes.push(&line.name.place, "", format!("`{name}` {reason}"), "leave it out");
            continue;
        }
        let Some(value) = reveal(&line.value, &format!("header {name}"), mistakes) else { continue };
        if let Err(error) = headers.add(name, &value) {
            mistakes.push(&line.name.place, "", error.to_string(), "");
        }
        if is_telling(name) {
            warn_of_clear(&line.value, &format!("the header {name}"), warnings);
        }
    }
    // One that was given as a header line takes the place of what would be sent by itself, but not of what was set.
    if !(keys.content_type.place == Place::Default && headers.contains("content-type")) {
        add(&mut headers, "Content-Type", &keys.content_type, mistakes);
    }
    match &keys.user_agent {
        Some(user_agent) => add(&mut headers, "User-Agent", user_agent, mistakes),
        None if headers.contains("user-agent") => {}
        None => {
            let value = concat!("posthaste/", env!("CARGO_PKG_VERSION")).to_owned();
            add(&mut headers, "User-Agent", &Placed::new(value, Place::Default), mistakes);
        }
    }
    headers
}

fn add(headers: &mut StaticHeaders, name: &str, value: &Placed<String>, mistakes: &mut Mistakes) {
    if let Err(error) = headers.add(name, &value.value) {
        mistakes.push(&value.place, "", error.to_string(), "");
    }
}

fn reserved(name: &str, idempotency_key: bool) -> Option<&'static str> {
    if PER_MESSAGE.iter().any(|own| own.eq_ignore_ascii_case(name)) {
        return Some("is sent with every message by itself");
    }
    (idempotency_key && name.eq_ignore_ascii_case("Idempotency-Key"))
        .then_some("is sent with every message by itself, unless `idempotency_key` is false")
}

/// The secret, or a mistake that says why it cannot be had.
pub(super) fn reveal(secret: &Placed<SecretSource>, what: &str, mistakes: &mut Mistakes) -> Option<String> {
    match secret.value.reveal() {
        Ok(value) => Some(value),
        Err(reason) => {
            let way_out = "a value that begins with @ or $ itself is written with @@ or $$";
            mistakes.push(&secret.place, what, reason, way_out);
            None
        }
    }
}

/// Warns when a secret stands where everyone on the machine can read it.
pub(super) fn warn_of_clear(secret: &Placed<SecretSource>, what: &str, warnings: &mut Vec<String>) {
    if secret.value.is_clear() && secret.place.is_flag() {
        warnings.push(format!(
            "the value of {what} stands in clear on the command line, where every user of this machine can read it: \
             give it as @FILE, or as $NAME in single quotes"
        ));
    }
}

/// Whether a header of this name is likely to hold a secret.
fn is_telling(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    ["auth", "key", "token", "secret", "password", "cookie", "signature", "credential"]
        .iter()
        .any(|word| name.contains(word))
}
