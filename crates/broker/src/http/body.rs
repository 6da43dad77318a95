//! Reads request bodies, no more of each than its path allows, and no more of all together than there is room.
//!
//! There are two rooms of [`ROOM_BYTES`]. The small one is for bodies of up to [`SMALL_BYTES_MAX`], and for the beginnings of those that do not say
//! how long they are; the large one for whatever is longer. So those who send long bodies slowly, or never, do not hold up who sends a short one.
//!
//! A body takes its room of each kind at once, and who holds large room waits for nothing but its client: one that took its room piece by piece could
//! wait for a neighbour that waits for it. And who holds room has a time for the whole body, however it trickles.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::StatusCode;
use hyper::body::Body;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, timeout, timeout_at};

use super::answer::Rejected;

/// Bodies being read, or waiting for their commit, over all connections, in each room.
const ROOM_BYTES: u64 = 64 << 20;

/// What room is counted in. The semaphore counts in 32 bits.
const UNIT: u64 = 1024;

/// The longest body that the small room is for.
const SMALL_BYTES_MAX: u64 = 64 << 10;

/// How long a body may stand still before its connection is given up.
const STANDSTILL_MAX: Duration = Duration::from_secs(30);

/// How long the shortest body may take in all, and how fast a longer one must come on the whole.
const TIME_MIN: Duration = Duration::from_secs(60);
const BYTES_PER_SECOND_MIN: u64 = 64 << 10;

/// How long a body waits for its room.
const ROOM_TIMEOUT: Duration = Duration::from_secs(10);

/// The room for bodies.
#[derive(Debug)]
pub(super) struct Bodies {
    small: Semaphore,
    large: Semaphore,
}

/// A body, as far as it was read.
#[derive(Debug)]
pub(super) struct Read<'a> {
    pub(super) bytes: Bytes,
    /// Whether it goes on behind `bytes`, which are one more than allowed then.
    pub(super) too_long: bool,
    _room: Vec<SemaphorePermit<'a>>,
}

/// Why a body was not read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unread {
    /// It broke off, stood still, or took too long.
    Broken,
    /// There was no room for it.
    NoRoom,
}

impl From<Unread> for Rejected {
    fn from(unread: Unread) -> Self {
        match unread {
            Unread::Broken => Self::internal(),
            Unread::NoRoom => Self::new(StatusCode::SERVICE_UNAVAILABLE, "BUSY"),
        }
    }
}

impl Bodies {
    /// `body_bytes_max` is the largest that any path takes: there must be room for one of those, or it would wait for ever.
    pub(super) fn new(body_bytes_max: u64) -> Self {
        let room = |bytes: u64| {
            let units = bytes.div_ceil(UNIT) + 1;
            Semaphore::new(usize::try_from(units).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS))
        };
        Self { small: room(ROOM_BYTES), large: room(ROOM_BYTES.max(body_bytes_max)) }
    }

    /// Reads a body of at most `limit` bytes.
    pub(super) async fn read<B>(&self, mut body: B, limit: u64) -> Result<Read<'_>, Unread>
    where
        B: Body<Data = Bytes> + Unpin,
    {
        let size = body.size_hint();
        let announced = size.upper().unwrap_or(limit).min(limit);
        let known_long = size.lower() > SMALL_BYTES_MAX;
        let mut room = Vec::with_capacity(1);
        room.push(match known_long {
            true => take(&self.large, announced).await?,
            false => take(&self.small, announced.min(SMALL_BYTES_MAX)).await?,
        });
        let mut has_room_for = if known_long { announced } else { SMALL_BYTES_MAX };
        let deadline = Instant::now() + TIME_MIN + Duration::from_secs(announced / BYTES_PER_SECOND_MIN);
        let most = usize::try_from(limit.saturating_add(1)).unwrap_or(usize::MAX);
        let mut bytes = Bytes::new();
        let mut gathered = BytesMut::new();
        loop {
            let standstill = deadline.min(Instant::now() + STANDSTILL_MAX);
            let next = timeout_at(standstill, body.frame()).await.map_err(|_| Unread::Broken)?;
            let Some(frame) = next else { break };
            let Ok(piece) = frame.map_err(|_| Unread::Broken)?.into_data() else { continue };
            let len = bytes.len().max(gathered.len()) + piece.len();
            if len as u64 > has_room_for {
                room.push(take(&self.large, announced).await?);
                has_room_for = u64::MAX;
            }
            if gathered.is_empty() && bytes.is_empty() {
                // Mostly the only one: no copy.
                bytes = piece;
            } else {
                if gathered.is_empty() {
                    let whole = if has_room_for > SMALL_BYTES_MAX { announced } else { size.lower() };
                    gathered.reserve(usize::try_from(whole).unwrap_or(0).max(len));
                    gathered.extend_from_slice(&bytes);
                }
                gathered.extend_from_slice(&piece);
            }
            if len >= most {
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

async fn take(room: &Semaphore, bytes: u64) -> Result<SemaphorePermit<'_>, Unread> {
    let units = u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX);
    let taken = timeout(ROOM_TIMEOUT, room.acquire_many(units)).await.map_err(|_| Unread::NoRoom)?;
    Ok(taken.expect("it is never closed"))
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::pin::Pin;
    use std::task::{Context, Poll, ready};

    use hyper::body::Frame;
    use tokio::time::{Interval, interval};

    use super::*;

    const LIMIT: u64 = 5 << 20;

    /// A body in chunks, so many bytes each second, for ever or so often.
    struct Trickle {
        seconds: Interval,
        bytes: usize,
        times: usize,
    }

    fn trickle(bytes: usize, times: usize) -> Trickle {
        Trickle { seconds: interval(Duration::from_secs(1)), bytes, times }
    }

    impl Body for Trickle {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            ready!(self.seconds.poll_tick(cx));
            let Some(left) = self.times.checked_sub(1) else { return Poll::Ready(None) };
            self.times = left;
            Poll::Ready(Some(Ok(Frame::data(vec![b'x'; self.bytes].into()))))
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_has_a_time_however_it_trickles() {
        let bodies = Bodies::new(LIMIT);
        let begun = Instant::now();
        assert_eq!(bodies.read(trickle(1, usize::MAX), LIMIT).await.unwrap_err(), Unread::Broken);
        let lasted = begun.elapsed();
        assert!((140..=141).contains(&lasted.as_secs()), "{lasted:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn where_long_bodies_hold_all_the_room_a_short_one_is_read_and_a_long_one_told_to_come_again() {
        let bodies = Bodies::new(LIMIT);
        let slow = || bodies.read(trickle(70_000, 60), LIMIT);
        // What a room of 64 MiB has for bodies of 5 MiB.
        let mut held: Vec<_> = (0..12).map(|_| Box::pin(slow())).collect();
        let begun = Instant::now();
        let mut others = Box::pin(async {
            // They have begun, and hold their room.
            tokio::time::sleep(Duration::from_millis(1_500)).await;
            let short = bodies.read(trickle(1_000, 1), LIMIT).await.map(|read| read.bytes.len());
            let at = begun.elapsed();
            (short, at, bodies.read(trickle(70_000, 1), LIMIT).await.map(drop), begun.elapsed())
        });
        let (short, short_at, long, long_at) = std::future::poll_fn(|cx| {
            for one in &mut held {
                assert!(one.as_mut().poll(cx).is_pending(), "they trickle on");
            }
            others.as_mut().poll(cx)
        })
        .await;
        assert_eq!(short, Ok(1_000));
        assert!(short_at < Duration::from_secs(4), "{short_at:?}");
        assert_eq!(long, Err(Unread::NoRoom));
        assert!(long_at - short_at >= ROOM_TIMEOUT, "{long_at:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_is_read_up_to_its_limit_and_a_byte_more() {
        let bodies = Bodies::new(LIMIT);
        for (bytes, times) in [(1, 1), (70_000, 2), (40_000, 3), (0, 1)] {
            let read = bodies.read(trickle(bytes, times), LIMIT).await.unwrap();
            assert_eq!((read.bytes.len(), read.too_long), (bytes * times, false));
        }
        let read = bodies.read(trickle(70_000, 9), 100_000).await.unwrap();
        assert_eq!((read.bytes.len(), read.too_long), (100_001, true));
    }
}
