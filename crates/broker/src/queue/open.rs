//! A start: the newest checkpoint, the records behind it, and what a stop leaves to be done.

use std::sync::Arc;

use journal::{FileSystem, Journal};

use super::clock::Clock;
use super::core::Core;
use super::error::OpenError;
use super::record::{self, Record};
use super::snapshot;
use super::state::State;
use super::stats::Recovery;
use crate::settings::Settings;

/// What a record may have beside its body: names, and the channels that a moved message is kept for.
const RECORD_SPARE_BYTES: u64 = 64 * 1024;

pub(super) fn open(fs: Arc<dyn FileSystem>, settings: &Settings) -> Result<(Core, Recovery), OpenError> {
    let dir = settings.journal_path();
    let mut replay = Journal::open(fs, dir, journal_settings(settings))?;
    let unreadable = |reason: String| OpenError::Unreadable { path: dir.to_owned(), reason };
    let newer = |what: String| OpenError::Newer { path: dir.to_owned(), what };
    let checkpoint = replay.checkpoint();
    if let Some(version) = checkpoint.as_deref().and_then(snapshot::newer_version) {
        return Err(newer(format!("checkpoint, of version {version},")));
    }
    let mut state = match checkpoint {
        Some(bytes) => State::decode(&bytes, settings.mem_queue_size)
            .map_err(|error| unreadable(format!("its checkpoint: {error}")))?,
        None => State { held_max: settings.mem_queue_size, ..State::default() },
    };
    while let Some((at, bytes)) = replay.next() {
        if let Some(kind) = record::newer_kind(&bytes) {
            return Err(newer(format!("record at {at}, of kind {kind},")));
        }
        if state.apply(at, &bytes).is_err() {
            state.skipped += 1;
        }
    }
    let (journal, report) = replay.finish()?;
    state.bring_back();
    let clock = Clock::new(state.last_timestamp_ns, !settings.sync_inline);
    let mut core = Core::new(settings.clone(), journal, state, clock);
    core.replayed_segments = report.segments;
    core.drop_ephemeral();
    core.begin_ids();
    let recovery = Recovery {
        journal: report,
        topics: core.state.topics.len(),
        channels: core.state.channels.len(),
        messages: core.state.live,
        skipped: core.state.skipped,
    };
    recovery.tell();
    Ok((core, recovery))
}

fn journal_settings(settings: &Settings) -> journal::Settings {
    let default = journal::Settings::default();
    let record_bytes_max = settings.max_msg_size.saturating_add(RECORD_SPARE_BYTES);
    journal::Settings {
        segment_bytes: settings.segment_bytes.map_or(default.segment_bytes, saturated),
        record_bytes_max: saturated(record_bytes_max),
        reserve_bytes: settings.disk_reserve_bytes,
        ..default
    }
}

fn saturated(bytes: u64) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

impl Core {
    /// Ephemeral channels went with their clients when the broker stopped. Their ends are logged now: the fan-out of
    /// what comes depends on them.
    fn drop_ephemeral(&mut self) {
        for (number, topic, channel) in self.state.ephemeral_channels() {
            self.log_or_doubt(&Record::ChannelDeleted { topic, channel });
            self.state.delete_channel(number);
        }
        self.commit_wanted = true;
    }
}
