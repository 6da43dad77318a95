//! An error on its way to a client: nsqd's code, and nsqd's words behind it.

use std::borrow::Cow;

use wire::frame::write_error;
use wire::{CommandError, CommandName, ErrorCode};

/// What a client is told. The code says whether the connection ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) code: ErrorCode,
    pub(super) detail: Cow<'static, str>,
}

impl Refusal {
    pub(super) fn new(code: ErrorCode, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { code, detail: detail.into() }
    }

    /// A command that may not come now.
    pub(super) fn state(command: CommandName) -> Self {
        Self::new(ErrorCode::Invalid, format!("cannot {command} in current state"))
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        write_error(out, self.code, &self.detail);
    }
}

impl From<&CommandError> for Refusal {
    fn from(error: &CommandError) -> Self {
        Self::new(error.code(), error.to_string())
    }
}
