//! What can be changed while the broker runs, by `PUT /config/...`: which nsqlookupds there are, and the level that is shown.

use std::cell::{Cell, RefCell};

use tokio::sync::Notify;

use crate::settings::Settings;

/// nsqd's levels, by the numbers that `/config/log_level` shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LogLevel {
    Debug = 1,
    Info = 2,
    Warn = 3,
    Error = 4,
    Fatal = 5,
}

impl LogLevel {
    /// By its name, in any case.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        Some(match text.to_ascii_lowercase().as_str() {
            "debug" => Self::Debug,
            "info" => Self::Info,
            "warn" => Self::Warn,
            "error" => Self::Error,
            "fatal" => Self::Fatal,
            _ => return None,
        })
    }
}

/// The options, and a wake for whoever acts on them.
#[derive(Debug)]
pub(crate) struct Options {
    /// `None` is JSON's `null`, which means none and is shown as it was put.
    lookupd_tcp_addresses: RefCell<Option<Vec<String>>>,
    log_level: Cell<LogLevel>,
    lookupds_changed: Notify,
}

impl Options {
    pub(crate) fn new(settings: &Settings) -> Self {
        Self {
            lookupd_tcp_addresses: RefCell::new(Some(settings.lookupd_tcp_addresses.clone())),
            log_level: Cell::new(LogLevel::parse(&settings.log_level).unwrap_or(LogLevel::Info)),
            lookupds_changed: Notify::new(),
        }
    }

    pub(crate) fn lookupd_tcp_addresses(&self) -> Option<Vec<String>> {
        self.lookupd_tcp_addresses.borrow().clone()
    }

    pub(crate) fn set_lookupd_tcp_addresses(&self, addresses: Option<Vec<String>>) {
        self.lookupd_tcp_addresses.replace(addresses);
        self.lookupds_changed.notify_one();
    }

    /// Resolves once after each change of the nsqlookupds, for one waiter.
    pub(crate) async fn lookupds_changed(&self) {
        self.lookupds_changed.notified().await;
    }

    pub(crate) fn log_level(&self) -> LogLevel {
        self.log_level.get()
    }

    pub(crate) fn set_log_level(&self, level: LogLevel) {
        self.log_level.set(level);
    }
}
