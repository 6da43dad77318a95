//! Log lines: for reading on a terminal, else one JSON object each.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use tracing::level_filters::LevelFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;

use crate::screen::Screen;

/// What is logged, and how.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LogSettings {
    /// Least urgent level that is written.
    pub(crate) level: LevelFilter,
    /// `None`: for reading on a terminal, else JSON.
    pub(crate) format: Option<LogFormat>,
}

/// How a line is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LogFormat {
    /// For reading.
    Human,
    /// One object a line.
    Json,
}

/// Sends every log line of the process to `screen` from now on.
pub(crate) fn start(settings: LogSettings, screen: &Screen) {
    let colours = screen.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let lines = tracing_subscriber::fmt()
        .with_max_level(settings.level)
        .with_writer(screen.clone())
        .with_target(false)
        .with_ansi(colours)
        // What cannot be written there cannot be told there.
        .log_internal_errors(false);
    let by_itself = if screen.is_terminal() { LogFormat::Human } else { LogFormat::Json };
    match settings.format.unwrap_or(by_itself) {
        LogFormat::Human => lines.with_timer(TimeOfDay).init(),
        LogFormat::Json => {
            lines.json().flatten_event(true).with_current_span(false).with_span_list(false).init()
        }
    }
}

/// `HH:MM:SS.mmm`, UTC: whoever looks at a terminal knows the day.
struct TimeOfDay;

impl FormatTime for TimeOfDay {
    fn format_time(&self, writer: &mut Writer<'_>) -> fmt::Result {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let second = since.as_secs() % 86_400;
        let (hour, minute) = (second / 3_600, second / 60 % 60);
        write!(writer, "{hour:02}:{minute:02}:{:02}.{:03}", second % 60, since.subsec_millis())
    }
}
