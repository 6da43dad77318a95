//! CRC-32C (Castagnoli), which snappy's framing format puts over each chunk.
//!
//! Eight tables, eight bytes a step: about a fifth of the time that one table takes, and no `unsafe` as the CPU's own instruction would need.

/// Reversed polynomial of CRC-32C (RFC 3720, section 12.1).
const POLYNOMIAL: u32 = 0x82f6_3b78;

static TABLES: [[u32; 256]; 8] = tables();

const fn tables() -> [[u32; 256]; 8] {
    let mut tables = [[0; 256]; 8];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ POLYNOMIAL } else { crc >> 1 };
            bit += 1;
        }
        tables[0][byte] = crc;
        byte += 1;
    }
    let mut depth = 1;
    while depth < 8 {
        let mut byte = 0;
        while byte < 256 {
            let shorter = tables[depth - 1][byte];
            tables[depth][byte] = shorter >> 8 ^ tables[0][(shorter & 0xff) as usize];
            byte += 1;
        }
        depth += 1;
    }
    tables
}

/// CRC-32C of `bytes`.
fn crc32c(bytes: &[u8]) -> u32 {
    let mut crc = !0;
    let (eights, rest) = bytes.as_chunks::<8>();
    for eight in eights {
        let [a, b, c, d, e, f, g, h] = (u64::from_le_bytes(*eight) ^ u64::from(crc)).to_le_bytes();
        crc = lookup(7, a) ^ lookup(6, b) ^ lookup(5, c) ^ lookup(4, d);
        crc ^= lookup(3, e) ^ lookup(2, f) ^ lookup(1, g) ^ lookup(0, h);
    }
    for byte in rest {
        crc = lookup(0, crc as u8 ^ byte) ^ crc >> 8;
    }
    !crc
}

fn lookup(table: usize, byte: u8) -> u32 {
    TABLES[table][usize::from(byte)]
}

/// The checksum as the framing format stores it (its section 3): rotated and shifted, since a CRC over data that holds CRCs is weak.
pub(super) fn masked(bytes: &[u8]) -> u32 {
    crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

#[cfg(test)]
mod tests {
    use super::crc32c;

    #[test]
    fn agrees_with_rfc_3720_appendix_b_4() {
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(&[0xff; 32]), 0x62a8_ab43);
        let rising: Vec<u8> = (0..32).collect();
        assert_eq!(crc32c(&rising), 0x46dd_794e);
        let falling: Vec<u8> = (0..32).rev().collect();
        assert_eq!(crc32c(&falling), 0x113f_db5c);
    }

    #[test]
    fn agrees_with_the_usual_check_value_at_a_length_that_is_no_multiple_of_eight() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    }
}
