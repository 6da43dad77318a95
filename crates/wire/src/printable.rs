//! Bytes of a peer as text that a log can take.

use std::fmt::Write;

/// At most this many bytes of a peer's text are kept: enough for nsqd's longest error, too little to fill a
/// log.
pub(crate) const PRINTABLE_BYTES_MAX: usize = 512;

/// `bytes` as text of one line: control characters and what is not UTF-8 come out escaped, and a long text
/// ends in `…`.
pub(crate) fn printable(bytes: &[u8]) -> String {
    let kept = &bytes[..bytes.len().min(PRINTABLE_BYTES_MAX)];
    let mut text = String::with_capacity(kept.len());
    for chunk in kept.utf8_chunks() {
        for character in chunk.valid().chars() {
            match u8::try_from(character) {
                Ok(byte) if byte.is_ascii_control() => text.extend(byte.escape_ascii().map(char::from)),
                _ if character.is_control() || is_invisible(character) => {
                    text.extend(character.escape_unicode())
                }
                _ => text.push(character),
            }
        }
        for byte in chunk.invalid() {
            write!(text, "\\x{byte:02x}").expect("a String takes every write");
        }
    }
    if kept.len() < bytes.len() {
        text.push('…');
    }
    text
}

/// As [`printable`], for text that stands between quotation marks, as Go's `%q` escapes it.
pub(crate) fn quotable(bytes: &[u8]) -> String {
    let plain = |byte: &u8| !matches!(byte, b'"' | b'\\');
    if bytes.iter().all(plain) {
        return printable(bytes);
    }
    let kept = &bytes[..bytes.len().min(PRINTABLE_BYTES_MAX)];
    let mut text = String::new();
    for piece in kept.chunk_by(|a, b| plain(a) && plain(b)) {
        match piece {
            [b'"'] => text.push_str("\\\""),
            [b'\\'] => text.push_str("\\\\"),
            _ => text.push_str(&printable(piece)),
        }
    }
    if kept.len() < bytes.len() {
        text.push('…');
    }
    text
}

/// Line and paragraph separators, and the marks that reorder or hide what stands around them on a terminal.
fn is_invisible(character: char) -> bool {
    matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_text_stays_and_the_rest_is_escaped() {
        assert_eq!(printable("größe 5 > 4".as_bytes()), "größe 5 > 4");
        assert_eq!(printable(b"a\nb\x1b[2Jc\xff\0"), "a\\nb\\x1b[2Jc\\xff\\x00");
        assert_eq!(printable("\u{202e}x".as_bytes()), "\\u{202e}x");
    }

    #[test]
    fn what_stands_between_quotation_marks_has_none_bare() {
        assert_eq!(quotable(b"a b"), "a b");
        assert_eq!(quotable(b"a\"b\\c\n\""), "a\\\"b\\\\c\\n\\\"");
        assert!(quotable(&b"\"".repeat(1000)).ends_with("\\\"…"));
    }

    #[test]
    fn long_text_is_cut_even_inside_a_character() {
        let long = "ä".repeat(PRINTABLE_BYTES_MAX);
        assert!(printable(long.as_bytes()).ends_with("ä…"));
        let odd = format!("x{long}");
        assert!(printable(odd.as_bytes()).ends_with("ä\\xc3…"));
    }
}
