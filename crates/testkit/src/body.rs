//! Message bodies that prove themselves: a serial, their own length, and filler made from the serial.
//!
//! Message ids of the queue repeat across nodes and say nothing about the bytes, so tests tell bodies apart by these serials.

use bytes::Bytes;

/// The shortest body that can carry a serial, in bytes.
pub const LEN_MIN: usize = 28;
const MAGIC: &[u8; 4] = b"pst1";

/// The body of `serial`, `len` bytes long (at least [`LEN_MIN`]). Two calls give the same bytes.
pub fn body(serial: u64, len: usize) -> Bytes {
    assert!(len >= LEN_MIN, "a body that proves itself needs {LEN_MIN} bytes, not {len}");
    let mut bytes = Vec::with_capacity(len + 8);
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(format!("{serial:016x}{len:08x}").as_bytes());
    for word in 0.. {
        if bytes.len() >= len {
            break;
        }
        bytes.extend_from_slice(&filler(serial, word));
    }
    bytes.truncate(len);
    bytes.into()
}

/// What a received body turned out to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The whole body of this serial, byte for byte.
    Whole(u64),
    /// It claims this serial, but bytes are missing, added or changed.
    Damaged {
        /// The serial it claims.
        serial: u64,
        /// What is wrong with it.
        reason: String,
    },
    /// Not a body made by [`body`].
    Foreign,
}

/// Judges received bytes.
pub fn judge(bytes: &[u8]) -> Verdict {
    let Some((serial, len)) = claimed(bytes) else { return Verdict::Foreign };
    if bytes.len() != len {
        let reason = format!("{} bytes instead of {len}", bytes.len());
        return Verdict::Damaged { serial, reason };
    }
    let filled = bytes[LEN_MIN..].chunks(8).enumerate();
    for (word, chunk) in filled {
        if chunk != &filler(serial, word as u64)[..chunk.len()] {
            let reason =
                format!("changed at byte {} to {}", LEN_MIN + word * 8, LEN_MIN + word * 8 + chunk.len());
            return Verdict::Damaged { serial, reason };
        }
    }
    Verdict::Whole(serial)
}

fn claimed(bytes: &[u8]) -> Option<(u64, usize)> {
    let head = bytes.strip_prefix(MAGIC)?.get(..24)?;
    let head = std::str::from_utf8(head).ok()?;
    let serial = u64::from_str_radix(&head[..16], 16).ok()?;
    let len = usize::from_str_radix(&head[16..], 16).ok()?;
    Some((serial, len))
}

// splitmix64: any two serials differ in nearly every word, so that swapped parts of two bodies are seen.
fn filler(serial: u64, word: u64) -> [u8; 8] {
    let mut z = serial.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ word.wrapping_mul(0xd1b5_4a32_d192_ed03);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (z ^ (z >> 31)).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_proves_itself_and_every_damage_shows() {
        for len in [LEN_MIN, 29, 36, 1024, 100_000] {
            let whole = body(7, len);
            assert_eq!(whole.len(), len);
            assert_eq!(judge(&whole), Verdict::Whole(7));
        }
        let whole = body(7, 1024);
        assert!(matches!(judge(&whole[..1023]), Verdict::Damaged { serial: 7, .. }));
        assert!(matches!(judge(&[&whole[..], b"x"].concat()), Verdict::Damaged { serial: 7, .. }));
        for at in LEN_MIN..1024 {
            let mut changed = whole.to_vec();
            changed[at] ^= 1;
            assert!(matches!(judge(&changed), Verdict::Damaged { .. }), "change at {at} was not seen");
        }
        let spliced = [&whole[..512], &body(8, 1024)[512..]].concat();
        assert!(matches!(judge(&spliced), Verdict::Damaged { .. }));
        assert_eq!(judge(b"hello"), Verdict::Foreign);
        assert_eq!(judge(b""), Verdict::Foreign);
    }
}
