//! The words that some flags take, and addresses and paths, which nsqd reads in ways of its own.

use std::path::PathBuf;

use broker::settings::{ClientAuthPolicy, Listen, TlsMinVersion, TlsRequired};
use tracing::level_filters::LevelFilter;

use super::draft::Draft;
use super::go;
use crate::log::LogFormat;

pub(super) fn listen(text: &str) -> Listen {
    match text.parse() {
        Ok(listen) => listen,
        Err(never) => match never {},
    }
}

pub(super) fn path(text: String) -> Option<PathBuf> {
    (!text.is_empty()).then(|| text.into())
}

pub(super) fn log_level(draft: &mut Draft, word: &str) -> Result<(), &'static str> {
    let word = word.to_ascii_lowercase();
    draft.log_level = match word.as_str() {
        "debug" => LevelFilter::DEBUG,
        "info" => LevelFilter::INFO,
        "warn" => LevelFilter::WARN,
        // What is fatal is told on the way out.
        "error" | "fatal" => LevelFilter::ERROR,
        _ => return Err("it takes debug, info, warn, error or fatal"),
    };
    draft.settings.log_level = word;
    Ok(())
}

pub(super) fn log_format(draft: &mut Draft, word: &str) -> Result<(), &'static str> {
    draft.log_format = Some(match word {
        "human" => LogFormat::Human,
        "json" => LogFormat::Json,
        _ => return Err("it takes human or json"),
    });
    Ok(())
}

pub(super) fn client_auth_policy(draft: &mut Draft, word: &str) -> Result<(), &'static str> {
    draft.tls.client_auth_policy = match word {
        "" => ClientAuthPolicy::Off,
        "require" => ClientAuthPolicy::Require,
        "require-verify" => ClientAuthPolicy::RequireVerify,
        _ => return Err("it takes require or require-verify"),
    };
    Ok(())
}

pub(super) fn tls_min_version(draft: &mut Draft, word: &str) -> Result<(), &'static str> {
    draft.tls.min_version = match word.to_ascii_lowercase().as_str() {
        "" => TlsMinVersion::default(),
        "ssl3.0" => TlsMinVersion::Ssl30,
        "tls1.0" => TlsMinVersion::Tls10,
        "tls1.1" => TlsMinVersion::Tls11,
        "tls1.2" => TlsMinVersion::Tls12,
        "tls1.3" => TlsMinVersion::Tls13,
        _ => return Err("it takes tls1.2 or tls1.3"),
    };
    Ok(())
}

pub(super) fn tls_required(draft: &mut Draft, word: &str) -> Result<(), &'static str> {
    draft.tls.required = match (word.to_ascii_lowercase().as_str(), go::switch(word)) {
        ("tcp-https", _) => TlsRequired::TcpHttps,
        (_, Some(true)) => TlsRequired::Yes,
        (_, Some(false)) => TlsRequired::No,
        _ => return Err("it takes true, false or tcp-https"),
    };
    Ok(())
}
