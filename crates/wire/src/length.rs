//! Lengths on the wire: 32 bits, big-endian, signed, because nsqd reads them so.

/// Appends `len` as nsqd reads it. `false`, and -1 written, when `len` is over `max`: then the bytes must
/// stay out, so that the peer refuses the length instead of taking what follows it for something else.
pub(crate) fn write_len(out: &mut Vec<u8>, len: usize, max: usize) -> bool {
    let expressible = i32::try_from(len).ok().filter(|_| len <= max);
    out.extend_from_slice(&expressible.unwrap_or(-1).to_be_bytes());
    expressible.is_some()
}

/// Appends `bytes` behind their length.
pub(crate) fn write_sized(out: &mut Vec<u8>, bytes: &[u8]) {
    out.reserve(4 + bytes.len());
    if write_len(out, bytes.len(), i32::MAX as usize) {
        out.extend_from_slice(bytes);
    }
}

/// The length at the front of `bytes`, if it is all there.
pub(crate) fn read_len(bytes: &[u8]) -> Option<i32> {
    bytes.first_chunk().map(|len| i32::from_be_bytes(*len))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_over_the_bound_is_written_as_minus_one() {
        let mut out = Vec::new();
        assert!(write_len(&mut out, 7, 7));
        assert!(!write_len(&mut out, 8, 7));
        assert!(!write_len(&mut out, usize::MAX, usize::MAX));
        assert_eq!(out, [0, 0, 0, 7, 255, 255, 255, 255, 255, 255, 255, 255]);
    }
}
