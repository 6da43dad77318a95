//! Reads request bodies, no more of each than its path allows, and no more of all together than [`BODIES_BYTES_MAX`].
//!
//! A body's room is taken before its first byte is read, by its announced length: one that took its room piece by piece could wait for a
//! neighbour that waits for it.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::body::{Body, Incoming};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

/// Bodies being read, or waiting for their commit, over all connections.
const BODIES_BYTES_MAX: u64 = 64 << 20;

/// What room is counted in. The semaphore counts in 32 bits.
const UNIT: u64 = 1024;

/// How long a body may stand still before its connection is given up.
const STANDSTILL_MAX: Duration = Duration::from_secs(30);

/// The room for bodies.
#[derive(Debug)]
pub(super) struct Bodies(Semaphore);

/// A body, as far as it was read.
#[derive(Debug)]
pub(super) struct Read<'a> {
    pub(super) bytes: Bytes,
    /// Whether it goes on behind `bytes`, which are one more than allowed then.
    pub(super) too_long: bool,
    _room: SemaphorePermit<'a>,
}

/// The body broke off, or stood still.
#[derive(Debug)]
pub(super) struct Broken;

impl Bodies {
    /// `body_bytes_max` is the largest that any path takes: there must be room for one of those, or it would wait for ever.
    pub(super) fn new(body_bytes_max: u64) -> Self {
        let units = BODIES_BYTES_MAX.max(body_bytes_max).div_ceil(UNIT) + 1;
        Self(Semaphore::new(usize::try_from(units).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS)))
    }

    /// Reads a body of at most `limit` bytes.
    pub(super) async fn read(&self, mut body: Incoming, limit: u64) -> Result<Read<'_>, Broken> {
        let announced = body.size_hint().upper().unwrap_or(limit).min(limit);
        let units = u32::try_from(announced.div_ceil(UNIT)).unwrap_or(u32::MAX);
        let room = self.0.acquire_many(units).await.expect("it is never closed");
        let most = usize::try_from(limit.saturating_add(1)).unwrap_or(usize::MAX);
        let mut bytes = Bytes::new();
        let mut gathered = BytesMut::new();
        while let Some(frame) = timeout(STANDSTILL_MAX, body.frame()).await.map_err(|_| Broken)? {
            let Ok(piece) = frame.map_err(|_| Broken)?.into_data() else { continue };
            if gathered.is_empty() && bytes.is_empty() {
                // Mostly the only one: no copy.
                bytes = piece;
            } else {
                if gathered.is_empty() {
                    gathered.reserve(usize::try_from(announced).unwrap_or(0).max(bytes.len() + piece.len()));
                    gathered.extend_from_slice(&bytes);
                }
                gathered.extend_from_slice(&piece);
            }
            if bytes.len().max(gathered.len()) >= most {
                break;
            }
        }
        if !gathered.is_empty() {
            bytes = gathered.freeze();
        }
        bytes.truncate(most);
        Ok(Read { too_long: bytes.len() == most, bytes, _room: room })
    }
}
