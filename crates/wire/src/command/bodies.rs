//! The messages of an MPUB: `[u32 count]([u32 len][bytes])*`.

use super::{CommandError, Limits};
use crate::length::{read_len, write_len, write_sized};

/// The messages of an MPUB, borrowed and known to be well-formed: there is at least one, none is empty, and
/// they fill the body.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Bodies<'a> {
    encoded: &'a [u8],
    count: usize,
}

impl<'a> Bodies<'a> {
    /// Reads what stands behind an MPUB's length.
    ///
    /// nsqd reads `count` messages and leaves it there, even when they end elsewhere than the length said, so
    /// that the next command begins inside or behind the body. Here that is refused.
    ///
    /// # Errors
    /// What nsqd would refuse, and the above.
    pub fn decode(encoded: &'a [u8], limits: &Limits) -> Result<Self, CommandError> {
        let declared = read_len(encoded).unwrap_or(0);
        let messages = encoded.get(4..).unwrap_or_default();
        // nsqd's bound: as many as the longest body could hold, each with its length and one byte.
        let most = limits.body_bytes_max.saturating_sub(4) / 5;
        let count = u32::try_from(declared).ok().filter(|count| (1..=most).contains(count));
        let count = count.ok_or(CommandError::MpubCount { count: declared })? as usize;
        let mut rest = messages;
        for index in 0..count {
            rest = after_message(rest, index, limits.message_bytes_max).map_err(|error| match error {
                // More than could have been there.
                CommandError::MpubCut { .. } if count > messages.len() / 5 => {
                    CommandError::MpubCount { count: declared }
                }
                other => other,
            })?;
        }
        match rest.len() {
            0 => Ok(Self { encoded, count }),
            left => Err(CommandError::MpubLength { declared: encoded.len(), used: encoded.len() - left }),
        }
    }

    /// How many messages there are.
    #[expect(clippy::len_without_is_empty, reason = "there is always at least one")]
    pub const fn len(&self) -> usize {
        self.count
    }

    /// The messages, in order.
    pub fn iter(&self) -> BodiesIter<'a> {
        BodiesIter { rest: self.encoded.get(4..).unwrap_or_default(), left: self.count }
    }

    /// As the wire has them, count first.
    pub const fn as_bytes(&self) -> &'a [u8] {
        self.encoded
    }
}

/// What follows message `index`, once that is found well-formed.
fn after_message(rest: &[u8], index: usize, message_bytes_max: u32) -> Result<&[u8], CommandError> {
    let size = read_len(rest).ok_or(CommandError::MpubCut { index })?;
    match u32::try_from(size) {
        Err(_) | Ok(0) => Err(CommandError::MpubMessageSize { index, size }),
        Ok(bytes) if bytes > message_bytes_max => {
            Err(CommandError::MpubMessageTooBig { size: bytes, max: message_bytes_max })
        }
        Ok(bytes) => rest.get(4 + bytes as usize..).ok_or(CommandError::MpubCut { index }),
    }
}

impl std::fmt::Debug for Bodies<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Bodies[{} messages, {} bytes]", self.count, self.encoded.len())
    }
}

impl<'a> IntoIterator for Bodies<'a> {
    type Item = &'a [u8];
    type IntoIter = BodiesIter<'a>;

    fn into_iter(self) -> BodiesIter<'a> {
        self.iter()
    }
}

/// The messages of [`Bodies`], in order.
#[derive(Clone)]
pub struct BodiesIter<'a> {
    rest: &'a [u8],
    left: usize,
}

impl<'a> Iterator for BodiesIter<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let size = usize::try_from(read_len(self.rest)?).ok()?;
        let end = size.checked_add(4)?;
        let body = self.rest.get(4..end)?;
        self.rest = &self.rest[end..];
        self.left -= 1;
        Some(body)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for BodiesIter<'_> {}

/// Appends the length of the whole, the count, and each of `bodies` behind its length.
pub(super) fn write_list<B: AsRef<[u8]>>(out: &mut Vec<u8>, bodies: &[B]) {
    let total = bodies
        .iter()
        .fold(4_usize, |total, body| total.saturating_add(body.as_ref().len()).saturating_add(4));
    if !write_len(out, total, i32::MAX as usize) {
        return;
    }
    out.reserve(total);
    write_len(out, bodies.len(), i32::MAX as usize);
    for body in bodies {
        write_sized(out, body.as_ref());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(bodies: &[&str]) -> Vec<u8> {
        let mut out = Vec::new();
        write_list(&mut out, bodies);
        out.split_off(4)
    }

    #[test]
    fn a_list_comes_back() {
        let encoded = list(&["a", "bc", "d"]);
        let decode =
            |message_bytes_max| Bodies::decode(&encoded, &Limits { message_bytes_max, ..Limits::default() });
        let bodies = decode(2).expect("well-formed");
        assert_eq!(bodies.iter().collect::<Vec<_>>(), [b"a".as_slice(), b"bc", b"d"]);
        assert_eq!((bodies.len(), bodies.iter().len()), (3, 3));
        assert_eq!(decode(1), Err(CommandError::MpubMessageTooBig { size: 2, max: 1 }));
    }

    #[test]
    fn what_does_not_add_up_is_refused() {
        let two = list(&["a", "bc"]);
        let with_count = |count: i32| [&count.to_be_bytes(), &two[4..]].concat();
        let limits = Limits { message_bytes_max: 100, ..Limits::default() };
        let decode = |encoded: &[u8]| Bodies::decode(encoded, &limits).map(|bodies| bodies.len());
        assert_eq!(decode(&[]), Err(CommandError::MpubCount { count: 0 }));
        assert_eq!(decode(&with_count(0)), Err(CommandError::MpubCount { count: 0 }));
        assert_eq!(decode(&with_count(-1)), Err(CommandError::MpubCount { count: -1 }));
        assert_eq!(decode(&with_count(i32::MAX)), Err(CommandError::MpubCount { count: i32::MAX }));
        assert_eq!(decode(&with_count(3)), Err(CommandError::MpubCount { count: 3 }));
        assert_eq!(decode(&with_count(1)), Err(CommandError::MpubLength { declared: 15, used: 9 }));
        assert_eq!(decode(&two[..14]), Err(CommandError::MpubCut { index: 1 }));
        assert_eq!(decode(&list(&["", "abcdef"])), Err(CommandError::MpubMessageSize { index: 0, size: 0 }));
    }
}
