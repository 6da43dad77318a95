//! The common name of a certificate, which nsqd tells its auth servers.
//!
//! A dozen lines of DER (X.690) instead of a crate: the path to the subject is fixed (RFC 5280, section 4.1), the certificate has
//! passed rustls, and whatever does not fit is simply no name.

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const OBJECT_IDENTIFIER: u8 = 0x06;
/// `[0] EXPLICIT`, in front of the certificate's version.
const VERSION: u8 = 0xa0;
/// 2.5.4.3, `id-at-commonName`.
const SUBJECT_NAME: &[u8] = &[0x55, 0x04, 0x03];
/// UTF8String, PrintableString, TeletexString, IA5String: those whose bytes are (nearly) UTF-8.
const STRINGS: [u8; 4] = [0x0c, 0x13, 0x14, 0x16];

/// The last common name of the subject, as Go's `Subject.CommonName` has it.
pub(super) fn subject_name(der: &[u8]) -> Option<String> {
    let (certificate, _) = expect(der, SEQUENCE)?;
    let (mut fields, _) = expect(certificate, SEQUENCE)?;
    if let Some((_, rest)) = expect(fields, VERSION) {
        fields = rest;
    }
    // Serial number, signature algorithm, issuer, validity.
    for _ in 0..4 {
        (_, _, fields) = element(fields)?;
    }
    let (mut names, _) = expect(fields, SEQUENCE)?;
    let mut found = None;
    while let Some((mut attributes, rest)) = expect(names, SET) {
        names = rest;
        while let Some((attribute, rest)) = expect(attributes, SEQUENCE) {
            attributes = rest;
            let (oid, value) = expect(attribute, OBJECT_IDENTIFIER)?;
            let (tag, text, _) = element(value)?;
            if oid == SUBJECT_NAME && STRINGS.contains(&tag) {
                found = Some(String::from_utf8_lossy(text).into_owned());
            }
        }
    }
    found
}

/// The content of the element at the front, when it has this tag, and what follows it.
fn expect(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    element(der).filter(|(found, ..)| *found == tag).map(|(_, content, rest)| (content, rest))
}

/// Tag and content of the element at the front, and what follows it.
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&[tag, first], rest) = der.split_first_chunk()?;
    let (len, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81..=0x84 => {
            let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (bytes.iter().fold(0, |len, byte| len << 8 | usize::from(*byte)), rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(len)?;
    Some((tag, content, rest))
}

#[cfg(test)]
mod tests {
    use testkit::certs::{Authority, LeafOptions};

    use super::*;

    #[test]
    fn the_subject_is_named_and_not_the_issuer() {
        let authority = Authority::new();
        for name in ["posthaste", "größe", &"x".repeat(60)] {
            let leaf =
                authority.leaf(LeafOptions { common_name: name.to_owned(), ..LeafOptions::client("c") });
            assert_eq!(subject_name(&leaf.chain()[0]).as_deref(), Some(name));
        }
        assert_eq!(subject_name(&authority.ca()).as_deref(), Some("posthaste test authority"));
    }

    #[test]
    fn what_is_cut_or_bent_names_nobody_and_breaks_nothing() {
        let der = Authority::new().client("posthaste").chain()[0].to_vec();
        for cut in 0..der.len().min(300) {
            assert_eq!(subject_name(&der[..cut]), None);
        }
        for place in 0..der.len() {
            let mut bent = der.clone();
            bent[place] ^= 0xff;
            let _any = subject_name(&bent);
        }
    }
}
